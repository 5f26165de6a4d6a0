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
  return [mountPoint({ type, source, destination, mode: mode || defaultMode(type), isWritable })];
}

function ofMount(mount: unknown): Document[] {
  if (typeof mount !== 'object' || mount === null) return [];
  const { Type, Source, Target, ReadOnly } = mount as Document;
  if (typeof Type !== 'string' || typeof Target !== 'string') return [];
  const source = typeof Source === 'string' ? Source : '';
  const isWritable = ReadOnly !== true;
  return [mountPoint({ type: Type, source, destination: Target, mode: defaultMode(Type), isWritable })];
}

interface MountRequest {
  readonly type: string;
  readonly source: string;
  readonly destination: string;
  readonly mode: string;
  readonly isWritable: boolean;
}

/** docker relabels volumes for SELinux, shared (`z`). */
function defaultMode(type: string): string {
  return type === 'volume' ? 'z' : '';
}

function mountPoint({ type, source, destination, mode, isWritable }: MountRequest): Document {
  return {
    Type: type,
    // A volume has no directory before the first start of the container.
    ...(type === 'volume' ? { Name: source, Source: '' } : { Source: source }),
    Destination: destination,
    ...(type === 'volume' && { Driver: 'local' }),
    Mode: mode,
    RW: isWritable,
    Propagation: type === 'bind' ? 'rprivate' : '',
  };
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
