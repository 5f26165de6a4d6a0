/**
 * Checks the mounts of a host config as docker does: `Mounts`, `Binds` (`[SOURCE:]TARGET[:MODE]`), `Tmpfs`,
 * `VolumesFrom`. Mirrors `moby/moby: volume/mounts/linux_parser.go, daemon/volumes.go` at v20.10.
 */
import { lstat } from 'node:fs/promises';
import { posix } from 'node:path';
import { LayerstackError, unlessMissing } from '../core/errors.ts';

interface MountSpec {
  readonly Type?: string;
  readonly Source?: string;
  readonly Target?: string;
  readonly ReadOnly?: boolean;
  readonly BindOptions?: { readonly Propagation?: string } | null;
  readonly VolumeOptions?: object | null;
}

export interface MountSettings {
  readonly Binds?: readonly string[] | null;
  readonly Mounts?: readonly MountSpec[] | null;
  readonly Tmpfs?: Readonly<Record<string, string>> | null;
  readonly VolumesFrom?: readonly string[] | null;
}

export const PROPAGATIONS: readonly string[] = [
  'private',
  'rprivate',
  'slave',
  'rslave',
  'shared',
  'rshared',
];

/** docker's grammar of volume names. */
export const VOLUME_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** A mode may have one word of each kind. */
const MODES = [['rw', 'ro'], ['z', 'Z'], PROPAGATIONS, ['nocopy'], ['consistent', 'cached', 'delegated']];

/** Refuses a value with docker's message. */
export function refuse(message: string): never {
  throw new LayerstackError('ERR_INVALID_ARGUMENT', message);
}

/**
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT, with docker's message, for an invalid volume name.
 */
export function requireVolumeName(name: string): void {
  if (name.length === 1)
    refuse(`create ${name}: volume name is too short, names should be at least two alphanumeric characters`);
  if (!VOLUME_NAME.test(name))
    refuse(
      `create ${name}: ${JSON.stringify(name)} includes invalid characters for a local volume name, only ` +
        '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path',
    );
}

/**
 * Returns a path as docker stores it: without `.`, `..` and double slashes, and without a slash at its end.
 */
export function cleanPath(path: string): string {
  return path === '' ? '' : posix.normalize(path).replace(/(?<=.)\/$/, '');
}

/** @throws {@link LayerstackError} ERR_INVALID_ARGUMENT */
export async function validateMounts({ Binds, Mounts, Tmpfs, VolumesFrom }: MountSettings): Promise<void> {
  for (const mount of Mounts ?? []) await validateMount(mount);
  for (const target of Object.keys(Tmpfs ?? {})) {
    const wrong = wrongTarget(target);
    if (wrong !== undefined) refuse(wrong);
  }
  for (const from of VolumesFrom ?? []) validateVolumesFrom(from);
  const taken = new Set<string>();
  for (const bind of Binds ?? []) {
    const target = validateBind(bind);
    if (taken.has(target) || target in (Tmpfs ?? {})) refuse(`Duplicate mount point: ${target}`);
    taken.add(target);
  }
  for (const { Target = '' } of Mounts ?? []) {
    if (taken.has(cleanPath(Target))) refuse(`Duplicate mount point: ${Target}`);
    taken.add(cleanPath(Target));
  }
}

async function validateMount(mount: MountSpec): Promise<void> {
  const { Type = '', Source = '', Target = '', ReadOnly = false, BindOptions, VolumeOptions } = mount;
  const wrong = (why: string): never =>
    refuse(`invalid mount config for type ${JSON.stringify(Type)}: ${why}`);
  const extra = (field: string): never => wrong(`field ${field} must not be specified`);
  const target = Target === '' ? 'field Target must not be empty' : wrongTarget(Target);
  if (target !== undefined) wrong(target);
  if (Type === 'bind') {
    const source = wrongSource(Source, BindOptions?.Propagation ?? '');
    if (source !== undefined) wrong(source);
    if (VolumeOptions) extra('VolumeOptions');
    if ((await unlessMissing(lstat(Source))) === undefined)
      wrong(`bind source path does not exist: ${Source}`);
  } else if (Type === 'volume') {
    if (BindOptions) extra('BindOptions');
    if (Source === '' && ReadOnly) wrong('must not set ReadOnly mode when using anonymous volumes');
    if (Source !== '') requireVolumeName(Source);
  } else if (Type === 'tmpfs') {
    if (BindOptions) extra('BindOptions');
    if (Source !== '') extra('Source');
  } else wrong('mount type unknown');
}

function wrongTarget(target: string): string | undefined {
  if (cleanPath(target) === '/') return "invalid specification: destination can't be '/'";
  return wrongPath(target);
}

function wrongSource(source: string, propagation: string): string | undefined {
  if (source === '') return 'field Source must not be empty';
  if (propagation !== '' && !PROPAGATIONS.includes(propagation))
    return `invalid propagation mode: ${propagation}`;
  return wrongPath(source);
}

function wrongPath(path: string): string | undefined {
  return path.startsWith('/') ? undefined : `invalid mount path: '${path}' mount path must be absolute`;
}

/** Checks a bind, and returns its target. */
function validateBind(bind: string): string {
  const wrong = `invalid volume specification: '${bind}'`;
  const parts = bind.split(':');
  const [first = '', second, mode = ''] = parts;
  // TARGET:MODE is invalid: an anonymous volume has no mode.
  if (parts.length > 3 || first === '' || (parts.length === 2 && isMode(second ?? ''))) refuse(wrong);
  if (!isMode(mode)) refuse(`invalid mode: ${mode}`);
  const [source, target] = second === undefined ? ['', first] : [first, second];
  const type = source.startsWith('/') ? 'bind' : 'volume';
  const why =
    target === ''
      ? 'field Target must not be empty'
      : (wrongTarget(target) ??
        (type === 'volume' && mode.split(',').some((each) => PROPAGATIONS.includes(each))
          ? 'field BindOptions must not be specified'
          : type === 'bind' && mode.split(',').includes('nocopy')
            ? 'field VolumeOptions must not be specified'
            : undefined));
  if (why !== undefined) refuse(`${wrong}: invalid mount config for type "${type}": ${why}`);
  if (type === 'volume' && source !== '') requireVolumeName(source);
  return cleanPath(target);
}

function isMode(text: string): boolean {
  if (text === '') return true;
  const words = text.split(',');
  return (
    words.every((word) => MODES.some((kind) => kind.includes(word))) &&
    MODES.every((kind) => words.filter((word) => kind.includes(word)).length <= 1)
  );
}

/**
 * Checks `CONTAINER[:MODE]`. Propagation and `nocopy` are not allowed, since they are properties of the other
 * mount.
 */
function validateVolumesFrom(text: string): void {
  if (text === '') refuse('volumes-from specification cannot be an empty string');
  const colon = text.indexOf(':');
  const mode = colon < 0 ? 'rw' : text.slice(colon + 1);
  const words = mode.split(',');
  if (!isMode(mode) || words.some((word) => PROPAGATIONS.includes(word) || word === 'nocopy'))
    refuse(`invalid mode: ${mode}`);
}
