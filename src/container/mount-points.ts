/**
 * Derives from a host config the mounts that a runtime will make in the container, in the form of docker's
 * `inspect`. dockerd does so when it makes a container (moby/moby: daemon/volumes_unix.go,
 * volume/mounts/parser.go).
 */
type Document = Readonly<Record<string, unknown>>;

/** Returns the mounts that `Binds` and `Mounts` of a host config request. */
export function mountPoints({ Binds, Mounts }: Document): Document[] {
  return [...list(Binds).flatMap(ofBind), ...list(Mounts).flatMap(ofMount)];
}

/** Parses `SOURCE:DESTINATION[:MODE]`. A source that is not a path names a volume. */
function ofBind(bind: unknown): Document[] {
  const [source = '', destination, mode = ''] = typeof bind === 'string' ? bind.split(':') : [];
  if (destination === undefined) return [];
  const isWritable = !mode.split(',').includes('ro');
  const type = source.startsWith('/') ? 'bind' : 'volume';
  return [mountPoint(type, source, destination, mode || (type === 'volume' ? 'z' : ''), isWritable)];
}

function ofMount(mount: unknown): Document[] {
  if (typeof mount !== 'object' || mount === null) return [];
  const { Type, Source, Target, ReadOnly } = mount as Document;
  if (typeof Type !== 'string' || typeof Target !== 'string') return [];
  const source = typeof Source === 'string' ? Source : '';
  return [mountPoint(Type, source, Target, Type === 'volume' ? 'z' : '', ReadOnly !== true)];
}

function mountPoint(type: string, source: string, destination: string, mode: string, rw: boolean): Document {
  return {
    Type: type,
    // A volume has no directory before the first start of the container.
    ...(type === 'volume' ? { Name: source, Source: '' } : { Source: source }),
    Destination: destination,
    ...(type === 'volume' && { Driver: 'local' }),
    Mode: mode,
    RW: rw,
    Propagation: type === 'bind' ? 'rprivate' : '',
  };
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
