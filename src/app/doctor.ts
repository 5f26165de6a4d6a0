/**
 * Finds out what this machine and a store can do, and what is wrong with them. It tries everything and
 * changes nothing, except for a scratch directory that the probe makes and removes. It works in any state of
 * the store, even where the store cannot be opened.
 */
import { isHex64 } from '../core/digest.ts';
import { constants } from 'node:fs';
import { tmpdir } from 'node:os';
import { resolve } from 'node:path';
import { RUNTIMES } from '../container/run/runtime.ts';
import { isSystemError } from '../core/errors.ts';
import { probeCapabilities, probeErofs, type Capabilities } from '../system/caps.ts';
import { Layout } from '../system/layout.ts';
import { native, type ErofsMethod, type MountMethod, type Probe } from '../system/native.ts';
import { findProgram } from '../system/programs.ts';
import { readEntry } from '../system/removal.ts';
import { placeOf, unsafeDirectory, type RootPlace } from '../system/safe-root.ts';
import { listDirectory, openStoreFile } from '../system/store-files.ts';
import { EXT4_PROGRAMS } from '../transfer/archive/ext4-disk.ts';

/** The result of one check. */
export interface Finding {
  readonly name: string;
  /**
   * `warn`: layerstack works, but not as well as it could, or there is something that a user should look at.
   * `fail`: layerstack cannot work like this. `unknown`: this user cannot make the check, and `detail` says
   * why.
   */
  readonly state: 'ok' | 'warn' | 'fail' | 'unknown';
  /** The facts that the check found. */
  readonly detail: string;
  /** What to do; empty where nothing needs to be done. */
  readonly advice: string;
}

/** dockerd takes images with at most this many layers (its `maxLayerDepth`). */
const DOCKER_MAX_DEPTH = 125;
const READ_CONCURRENCY = 32;

/** Makes all checks. A bad result is a finding, never an error. */
export async function diagnose(root: string): Promise<Finding[]> {
  const place = await placeOf(root);
  const directory = place.path;
  const caps = await unlessDenied(probeCapabilities(directory));
  const layout = new Layout(place.exists ? directory : resolve(root));
  const machine = caps ?? (await probeCapabilities(tmpdir()));
  return [
    ...machineFindings(machine),
    await packedFinding(machine, caps ? directory : tmpdir()),
    ...(caps ? fileSystemFindings(caps, directory) : [unwritable(machine, directory)]),
    await rootFinding(place),
    ...libraryFindings(machine),
    await dockerdFinding(layout),
    await sessionFinding(layout),
    await depthFinding(layout),
    ...programFindings(),
  ];
}

/** Returns the result of a probe; undefined where this process may not write. */
async function unlessDenied<T>(probe: Promise<T>): Promise<T | undefined> {
  return probe.catch((error: unknown) => {
    if (isSystemError(error, 'EACCES', 'EPERM', 'EROFS')) return undefined;
    throw error;
  });
}

function finding(name: string, good: boolean, detail: string, advice: string): Finding {
  return { name, state: good ? 'ok' : 'fail', detail, advice: good ? '' : advice };
}

/** Returns a finding that only warns where the check fails. */
function warning(name: string, good: boolean, detail: string, advice: string): Finding {
  return good ? finding(name, good, detail, advice) : { name, state: 'warn', detail, advice };
}

/**
 * Returns the finding about a file system that cannot be probed: only root may write there, or it is mounted
 * read-only.
 */
function unwritable({ probe }: Capabilities, directory: string): Finding {
  return probe.sysAdmin
    ? finding(
        'file system',
        false,
        `${directory} cannot be written`,
        'mount it writable, or read the store with --read-only',
      )
    : unknown('file system', `uid ${probe.uid} cannot write to ${directory}`);
}

/** Returns the finding about a check that only root can make. */
function unknown(name: string, why: string): Finding {
  return {
    name,
    state: 'unknown',
    detail: `cannot tell: ${why}`,
    advice: 'run it as root: sudo layerstack doctor',
  };
}

const METHODS: Readonly<Record<MountMethod, string>> = {
  fsconfig: 'new mount API, one lowerdir+ per layer',
  mount: 'mount(2), short names relative to the store',
  flat: 'mount(2) with one flattened lower',
};

function machineFindings({ probe, mountMethod }: Capabilities): Finding[] {
  return [
    finding('kernel', true, `Linux ${probe.kernel}`, ''),
    finding(
      'privileges',
      probe.sysAdmin,
      probe.sysAdmin ? `uid ${probe.uid} with CAP_SYS_ADMIN` : `uid ${probe.uid} without CAP_SYS_ADMIN`,
      'run as root: overlay mounts and trusted xattrs need CAP_SYS_ADMIN',
    ),
    ...(probe.sysAdmin
      ? mountFindings(probe, mountMethod)
      : ['overlay', 'mount'].map((name) => unknown(name, `uid ${probe.uid} may not mount`))),
  ];
}

function mountFindings(probe: Probe, method: MountMethod): Finding[] {
  const forced = process.env['LAYERSTACK_CAPS'];
  const why = probe.lowerdirAppend
    ? 'the kernel has lowerdir+'
    : probe.multipleLowers
      ? 'the kernel lacks lowerdir+ (Linux 6.7)'
      : 'the kernel takes only one lower (before Linux 4.0)';
  return [
    finding(
      'overlay',
      probe.overlay,
      probe.overlay ? 'can be mounted' : 'cannot be mounted',
      'load the module: modprobe overlay',
    ),
    {
      name: 'mount',
      state: forced === undefined ? 'ok' : 'warn',
      detail: `${method} (${METHODS[method]}): ${forced === undefined ? why : `LAYERSTACK_CAPS=${forced}`}`,
      advice: forced === undefined ? '' : 'unset LAYERSTACK_CAPS, which is for tests',
    },
  ];
}

const EROFS_METHODS: Readonly<Record<ErofsMethod | 'none', string>> = {
  file: 'archives and packed images are mounted by EROFS, over their files',
  loop: 'archives and packed images are mounted by EROFS, over loop devices',
  none: 'the kernel cannot mount EROFS with 512-byte blocks, so archives and new images are extracted',
};

async function packedFinding({ probe }: Capabilities, directory: string): Promise<Finding> {
  if (!probe.sysAdmin) return unknown('erofs', `uid ${probe.uid} may not mount`);
  const method = await probeErofs(directory);
  return warning(
    'erofs',
    method !== 'none',
    `${method}: ${EROFS_METHODS[method]}`,
    'load the module: modprobe erofs (Linux 6.4 and later)',
  );
}

function fileSystemFindings({ probe }: Capabilities, directory: string): Finding[] {
  const elsewhere = 'put the store on ext4, or on xfs that was made with ftype=1';
  const privileged: readonly Finding[] = [
    finding('trusted xattrs', probe.trustedXattr, probe.trustedXattr ? 'kept' : 'refused', elsewhere),
    finding(
      'whiteouts',
      probe.whiteouts,
      probe.whiteouts ? 'character device 0:0 can be made' : 'character device 0:0 cannot be made',
      'mount the file system without nodev restrictions, or run with CAP_MKNOD',
    ),
  ];
  return [
    finding('file system', true, `${probe.fsType} at ${directory}`, ''),
    finding('d_type', probe.dType, probe.dType ? 'reported' : 'not reported', elsewhere),
    ...(probe.sysAdmin
      ? privileged
      : privileged.map(({ name }) =>
          unknown(name, `uid ${probe.uid} cannot make device nodes on any file system`),
        )),
  ];
}

async function rootFinding(place: RootPlace): Promise<Finding> {
  const found = await unsafeDirectory(place);
  return finding(
    'root',
    found === undefined,
    found === undefined ? `only root can write to ${place.path}` : `${found.path}: ${found.why}`,
    `others can make root read and write anything: ${found?.hint ?? ''}`,
  );
}

function libraryFindings({ probe, zstd, gzip }: Capabilities): Finding[] {
  return [
    warning(
      'sha256',
      probe.sha256 === 'openssl',
      probe.sha256,
      'use a Node that exports its OpenSSL: digests are slower without it',
    ),
    finding('inflate', true, probe.inflate, ''),
    warning(
      'gzip',
      gzip === 'libdeflate',
      gzip === 'libdeflate' ? gzip : `zlib (${probe.inflate})`,
      'install libdeflate0: pushes compress slower without it',
    ),
    warning(
      'zstd',
      zstd === 'native',
      zstd === 'native' ? probe.zstd : 'JavaScript',
      'install libzstd1 or use Node >= 22.15: zstd layers load slower without it',
    ),
  ];
}

async function dockerdFinding(layout: Layout): Promise<Finding> {
  const path = layout.at(layout.writerLock);
  const running = await isLocked(path, false);
  if (running === undefined) return unknown('dockerd', `${path} cannot be read`);
  return warning(
    'dockerd',
    !running,
    running ? 'runs on this root' : 'does not run on this root',
    'stop dockerd to change the store, or read it with --read-only',
  );
}

async function sessionFinding(layout: Layout): Promise<Finding> {
  const directory = layout.at(layout.sessions);
  const names = await list(directory);
  if (names === undefined) return unknown('sessions', `${directory} cannot be read`);
  const locked = await Promise.all(
    names.map((name) => isLocked(layout.at(layout.session(name, 'lock')), true)),
  );
  const live = locked.filter((one) => one === true).length;
  const dead = locked.filter((one) => one === false).length;
  return warning(
    'sessions',
    dead === 0,
    `${live} at work, ${dead} dead`,
    'the next command that writes removes what the dead ones left',
  );
}

async function depthFinding(layout: Layout): Promise<Finding> {
  const parents = new Map<string, string>();
  const directory = layout.at(layout.layers);
  const names = await list(directory);
  if (names === undefined) return unknown('layers', `${directory} cannot be read`);
  const layers = names.filter(isHex64);
  for (let start = 0; start < layers.length; start += READ_CONCURRENCY)
    await Promise.all(
      layers.slice(start, start + READ_CONCURRENCY).map(async (name) => {
        const parent = await readEntry(layout, `${layout.layers}/${name}/parent`).catch(() => undefined);
        parents.set(name, (parent ?? '').replace(/^sha256:/, ''));
      }),
    );
  const depths = new Map<string, number>();
  const depth = (name: string): number => {
    const path: string[] = [];
    for (let at = name; at !== '' && !depths.has(at) && !path.includes(at); at = parents.get(at) ?? '')
      path.push(at);
    for (const each of path.reverse()) depths.set(each, (depths.get(parents.get(each) ?? '') ?? 0) + 1);
    return depths.get(name) ?? 0;
  };
  const deep = layers.filter((name) => depth(name) > DOCKER_MAX_DEPTH);
  return warning(
    'layers',
    deep.length === 0,
    `${layers.length} layers` + (deep.length > 0 ? `, ${deep.length} deeper than ${DOCKER_MAX_DEPTH}` : ''),
    'dockerd cannot use images that deep; layerstack can',
  );
}

function programFindings(): Finding[] {
  return [
    ...RUNTIMES.map((name) => programFinding(name, 'only needed by `run`, unless another runtime is', '')),
    ...EXT4_PROGRAMS.map((name) =>
      programFinding(name, 'only needed by `image --format ext4`', 'install e2fsprogs to write ext4 images'),
    ),
  ];
}

function programFinding(name: string, purpose: string, advice: string): Finding {
  const path = findProgram(name);
  return {
    ...{ name, state: 'ok', detail: path ?? `not installed (${purpose})` },
    advice: path === undefined ? advice : '',
  };
}

/**
 * Returns whether another process holds the lock of a file: false where the file does not exist, undefined
 * where this user cannot tell.
 */
async function isLocked(path: string, exclusive: boolean): Promise<boolean | undefined> {
  return unlessDenied(
    (async () => {
      try {
        const file = await openStoreFile(path, constants.O_RDONLY);
        try {
          return !native.tryFlock(file.fd, exclusive);
        } finally {
          await file.close();
        }
      } catch (error) {
        if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return false;
        throw error;
      }
    })(),
  );
}

/**
 * Returns the entries of a directory: none where it does not exist, undefined where this user cannot tell.
 */
async function list(path: string): Promise<string[] | undefined> {
  return unlessDenied(
    listDirectory(path)
      .then((names) => names ?? [])
      .catch((error: unknown) => {
        if (isSystemError(error, 'ENOTDIR')) return [];
        throw error;
      }),
  );
}
