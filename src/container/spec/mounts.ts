/**
 * Derives the mounts of a container: the default ones, and those that `Binds`, `Mounts` and `Tmpfs` of the
 * host config request. A requested mount replaces the default one with its destination. Mirrors `moby/moby:
 * daemon/oci_linux.go` (WithMounts), `pkg/mount`.
 */
import { readFile, realpath } from 'node:fs/promises';
import { posix } from 'node:path';
import { LayerstackError, unlessMissing } from '../../core/errors.ts';
import { makeDirectories } from '../../system/make-directories.ts';
import { cleanPath, PROPAGATIONS } from '../validate-mounts.ts';
import { DEFAULT_MOUNTS, DEFAULT_SHM_SIZE } from './defaults.ts';
import type { MappingLog } from './mapping.ts';
import type { HostSettings, MountRequest, Whole } from './settings.ts';

/** A mount of the runtime configuration. */
export interface RuntimeMount {
  /** An absolute path in the container. */
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

export interface RequestedMounts {
  readonly mounts: readonly RuntimeMount[];
  /** The anonymous volumes that `Binds` and `Mounts` request. */
  readonly anonymous: readonly { readonly path: string; readonly isEmpty: boolean }[];
  /** `linux.rootfsPropagation`, if a mount needs another propagation than the runtime's default. */
  readonly propagation: string | undefined;
}

/** Returns the host's directory of a named volume; undefined if it does not exist. */
export type VolumeLookup = (name: string) => string | undefined;

/** The default propagation of a mount: later mounts, on either side, do not reach the other side. */
const PRIVATE = 'rprivate';
const TMPFS_DEFAULTS = ['noexec', 'nosuid', 'nodev', PRIVATE];

/** Pairs of contrary flags. */
const FLAG_PAIRS = [
  ...[
    ['ro', 'rw'],
    ['suid', 'nosuid'],
    ['dev', 'nodev'],
    ['exec', 'noexec'],
    ['sync', 'async'],
    ['mand', 'nomand'],
  ],
  ...[
    ['atime', 'noatime'],
    ['diratime', 'nodiratime'],
    ['relatime', 'norelatime'],
    ['strictatime', 'nostrictatime'],
  ],
];
const FLAGS = new Map<string, string>([
  ...FLAG_PAIRS.flatMap(([first = '', second = '']) => [first, second].map((flag) => [flag, first] as const)),
  ...['dirsync', 'remount', 'bind', 'rbind', 'unbindable', 'runbindable', ...PROPAGATIONS].map(
    (flag) => [flag, flag] as const,
  ),
]);
const TMPFS_VALUES = new Set(['size', 'mode', 'uid', 'gid', 'nr_inodes', 'nr_blocks', 'mpol']);

/**
 * Returns the mounts that a host config requests. As in docker, a missing source directory of `Binds` is
 * made.
 * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND for a missing source of `Mounts`, ERR_INVALID_ARGUMENT
 *   for wrong options of a tmpfs and for a propagation that the source's own mount does not allow.
 */
export async function requestedMounts(
  host: HostSettings,
  volumeOf: VolumeLookup,
  log: MappingLog,
): Promise<RequestedMounts> {
  const { Binds, Mounts, Tmpfs } = host;
  const mounts: RuntimeMount[] = [];
  const add = (key: string, mount: RuntimeMount | undefined): void => {
    if (mount === undefined) return;
    mounts.push(mount);
    log.note(key, `mounts[${mount.destination}]`, `${mount.source} (${mount.options.join(',')})`);
  };
  for (const bind of Binds ?? []) add('Binds', await ofBind(bind, volumeOf));
  for (const mount of Mounts ?? []) add('Mounts', await ofMount(mount, volumeOf));
  for (const [path, options] of Object.entries(Tmpfs ?? {}))
    add('Tmpfs', tmpfs(path, options.split(',').filter(Boolean)));
  return { mounts, anonymous: anonymousVolumes(host), propagation: await rootPropagation(mounts) };
}

/** Returns the anonymous volumes that a host config requests. */
export function anonymousVolumes({ Binds, Mounts }: HostSettings): RequestedMounts['anonymous'] {
  return [
    ...(Binds ?? []).filter((text) => !text.includes(':')).map((path) => ({ path, isEmpty: false })),
    ...(Mounts ?? [])
      .filter(isAnonymous)
      .map(({ Target = '', VolumeOptions }) => ({ path: Target, isEmpty: VolumeOptions?.NoCopy === true })),
  ];
}

/**
 * Returns the destinations of the other requested mounts: directories of the host, named volumes, and tmpfs.
 */
export function namedDestinations({ Binds, Mounts, Tmpfs }: HostSettings): readonly string[] {
  return [
    ...(Binds ?? []).flatMap((text) => text.split(':')[1] ?? []),
    ...(Mounts ?? []).filter((mount) => !isAnonymous(mount)).flatMap(({ Target }) => Target ?? []),
    ...Object.keys(Tmpfs ?? {}),
  ].map(cleanPath);
}

function isAnonymous({ Type, Source }: MountRequest): boolean {
  return Type === 'volume' && !Source;
}

/**
 * Parses `[SOURCE:]DESTINATION[:MODE]`, which validateMounts has checked. A source that is not a path names a
 * volume.
 */
async function ofBind(text: string, volumeOf: VolumeLookup): Promise<RuntimeMount | undefined> {
  const [source = '', destination = '', mode = ''] = text.split(':');
  if (destination === '') return undefined;
  const words = mode.split(',');
  const readOnly = words.includes('ro') ? ['ro'] : [];
  if (!source.startsWith('/')) return volume(volumeOf(source), destination, readOnly);
  if ((await unlessMissing(realpath(source))) === undefined) await makeDirectories(source, 0o755);
  const propagation = words.find((word) => PROPAGATIONS.includes(word)) ?? PRIVATE;
  return bind(source, destination, ['rbind', ...readOnly, propagation]);
}

async function ofMount(mount: MountRequest, volumeOf: VolumeLookup): Promise<RuntimeMount | undefined> {
  const { Type, Source = '', Target = '', ReadOnly, BindOptions, TmpfsOptions } = mount;
  const readOnly = ReadOnly === true ? ['ro'] : [];
  if (Type === 'tmpfs') return tmpfs(Target, [...readOnly, ...tmpfsOptions(TmpfsOptions ?? {})]);
  if (Type === 'volume') return Source === '' ? undefined : volume(volumeOf(Source), Target, readOnly);
  if ((await unlessMissing(realpath(Source))) === undefined) {
    if (BindOptions?.CreateMountpoint !== true)
      throw new LayerstackError(
        'ERR_PATH_NOT_FOUND',
        `bind source path does not exist: ${Source}, which is to be mounted on ${Target}`,
        { path: Source },
      );
    await makeDirectories(Source, 0o755);
  }
  const access = BindOptions?.ReadOnlyForceRecursive === true ? readOnly.map(() => 'rro') : readOnly;
  return bind(Source, Target, [
    BindOptions?.NonRecursive === true ? 'bind' : 'rbind',
    ...access,
    BindOptions?.Propagation || PRIVATE,
  ]);
}

function bind(source: string, destination: string, options: readonly string[]): RuntimeMount {
  return { destination: cleanPath(destination), type: 'bind', source: cleanPath(source), options };
}

function volume(
  source: string | undefined,
  destination: string,
  readOnly: readonly string[],
): RuntimeMount | undefined {
  return source === undefined ? undefined : bind(source, destination, ['rbind', ...readOnly]);
}

function tmpfs(destination: string, options: readonly string[]): RuntimeMount {
  return {
    destination: cleanPath(destination),
    type: 'tmpfs',
    source: 'tmpfs',
    options: mergeTmpfsOptions(options),
  };
}

/**
 * Merges Docker's options of a tmpfs with the caller's. Of several options for the same setting, the last one
 * counts.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for an option that a tmpfs does not have.
 */
export function mergeTmpfsOptions(options: readonly string[]): readonly string[] {
  const said = new Set<string>();
  const merged: string[] = [];
  for (const option of [...TMPFS_DEFAULTS, ...options].reverse()) {
    const [name = '', value] = option.split('=', 2);
    const subject = value === undefined ? FLAGS.get(option) : TMPFS_VALUES.has(name) ? name : undefined;
    if (option === 'defaults') continue;
    if (subject === undefined)
      throw new LayerstackError('ERR_INVALID_ARGUMENT', `Invalid tmpfs option ${JSON.stringify(option)}`);
    if (!said.has(subject)) merged.unshift(option);
    said.add(subject);
  }
  return merged;
}

function tmpfsOptions({
  SizeBytes = 0,
  Mode = 0,
  Options,
}: NonNullable<MountRequest['TmpfsOptions']>): string[] {
  return [
    ...(Mode === 0 ? [] : [`mode=${Mode.toString(8)}`]),
    ...(SizeBytes === 0 ? [] : [`size=${sizeWord(SizeBytes)}`]),
    ...(Options ?? []).map((words) => (words ?? []).join('=')),
  ];
}

/** Writes a size in the largest unit that is exact. */
function sizeWord(bytes: Whole): string {
  const size = BigInt(bytes);
  for (const [unit, bits] of [
    ['g', 30n],
    ['m', 20n],
    ['k', 10n],
  ] as const)
    if (size % (1n << bits) === 0n) return `${size >> bits}${unit}`;
  return String(size);
}

export interface GivenMounts {
  readonly requested: readonly RuntimeMount[];
  /** The container's own mounts: anonymous volumes, and the files of {@link nameFiles}. */
  readonly own: readonly RuntimeMount[];
}

/** Returns all mounts in the order in which the runtime makes them: parents before children. */
export function allMounts(
  host: HostSettings,
  { requested, own }: GivenMounts,
  writableCgroups: boolean,
  log: MappingLog,
): readonly RuntimeMount[] {
  const given = byDepth([...requested, ...own, ...sharedMemory(host, requested, log)]);
  const taken = new Set(given.map(({ destination }) => destination));
  // A requested mount on /dev replaces the default mounts below it too.
  const isTaken = (path: string): boolean =>
    taken.has(path) || (taken.has('/dev') && path.startsWith('/dev/'));
  const ownsMemory = ['', 'private', 'shareable'].includes(host.IpcMode ?? '');
  const defaults = DEFAULT_MOUNTS.filter(
    ({ destination }) => !isTaken(destination) && (ownsMemory || destination !== '/dev/shm'),
  );
  return [...defaults.map((mount) => adjusted(mount, host, writableCgroups, log)), ...given];
}

function adjusted(
  mount: RuntimeMount,
  { Privileged, ShmSize = 0 }: HostSettings,
  writableCgroups: boolean,
  log: MappingLog,
): RuntimeMount {
  const { destination, options } = mount;
  if (destination === '/dev/shm') {
    const size = `size=${ShmSize > 0 ? ShmSize : DEFAULT_SHM_SIZE}`;
    if (!options.includes(size)) log.note('ShmSize', 'mounts[/dev/shm]', size);
    return { ...mount, options: options.map((option) => (option.startsWith('size=') ? size : option)) };
  }
  const isWritable =
    (Privileged === true && ['/sys', '/sys/fs/cgroup'].includes(destination)) ||
    (writableCgroups && destination === '/sys/fs/cgroup');
  if (isWritable)
    log.note(writableCgroups ? 'SecurityOpt' : 'Privileged', `mounts[${destination}]`, 'writable');
  return isWritable ? { ...mount, options: options.filter((option) => option !== 'ro') } : mount;
}

/** Returns the host's /dev/shm for a container that shares the host's IPC namespace. */
function sharedMemory(
  { IpcMode }: HostSettings,
  requested: readonly RuntimeMount[],
  log: MappingLog,
): readonly RuntimeMount[] {
  if (IpcMode !== 'host' || requested.some(({ destination }) => destination === '/dev/shm')) return [];
  log.note('IpcMode', 'mounts[/dev/shm]', "the host's");
  return [bind('/dev/shm', '/dev/shm', ['rbind', PRIVATE])];
}

function byDepth(mounts: readonly RuntimeMount[]): readonly RuntimeMount[] {
  const depthOf = ({ destination }: RuntimeMount): number => posix.normalize(destination).split('/').length;
  return [...mounts].sort((a, b) => depthOf(a) - depthOf(b));
}

/**
 * Returns the propagation that the root needs, so that mounts propagate into the container, or out of it.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT when the source's own mount does not allow it.
 */
async function rootPropagation(mounts: readonly RuntimeMount[]): Promise<string | undefined> {
  const has = (mount: RuntimeMount, kind: string): boolean =>
    mount.options.some((option) => option === kind || option === `r${kind}`);
  const [shared, slaves] = ['shared', 'slave'].map((kind) => mounts.filter((mount) => has(mount, kind)));
  for (const { source } of shared ?? []) await requirePropagation(source, ['shared']);
  for (const { source } of slaves ?? []) await requirePropagation(source, ['shared', 'master']);
  if (shared?.length) return 'shared';
  return slaves?.length ? 'slave' : undefined;
}

async function requirePropagation(source: string, kinds: readonly string[]): Promise<void> {
  const path = await realpath(source);
  const mount = mountOf(path, await readFile('/proc/self/mountinfo', 'utf8'));
  if (mount.tags.some((tag) => kinds.includes(tag.split(':')[0] ?? ''))) return;
  const wanted = kinds.includes('master') ? 'shared or slave' : 'shared';
  throw new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    `path ${source} is mounted on ${mount.point} but it is not a ${wanted} mount: ` +
      `run \`mount --make-shared ${mount.point}\`, or leave the propagation out`,
    { path: source },
  );
}

/** Finds the mount of a path in `mountinfo`: the deepest one, and of several on one mount point the last. */
function mountOf(path: string, mountinfo: string): { point: string; tags: readonly string[] } {
  let found = { point: '/', tags: [] as readonly string[] };
  for (const line of mountinfo.split('\n')) {
    const [, , , , text = '', , ...rest] = line.split(' ');
    const point = text.replace(/\\(\d{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    const holds = path === point || path.startsWith(point === '/' ? '/' : `${point}/`);
    if (point !== '' && holds && point.length >= found.point.length)
      found = { point, tags: rest.slice(0, rest.indexOf('-')) };
  }
  return found;
}
