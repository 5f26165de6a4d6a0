/**
 * Implements `docker cp`: copies files and directories between a container and the host, by Docker's rules
 * (copy-path.ts). Files from a container belong to the caller and have no set-id bits, unless owners are
 * kept: a program of the container must not run as root on the host.
 */
import { lstat, readlink, realpath, stat as statFollowing } from 'node:fs/promises';
import { posix, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import type { ArchiveOptions, RootfsArchive, OpenRootfs, PathArchive } from './archive.ts';
import {
  baseName,
  containerPath,
  keepEnding,
  planCopy,
  splitPath,
  type CopyDestination,
} from './copy-path.ts';
import { FileTree } from './file-tree.ts';
import { hasMode, type PathStat } from './path-stat.ts';

export interface CopyOptions extends ArchiveOptions {
  /** Copies the target of a link at the end of the source, under the link's name. Default false. */
  readonly followLink?: boolean | undefined;
  /**
   * Into a container: gives all files to its user, if its config names one. Out of a container: keeps owners
   * and set-id bits. Default false.
   */
  readonly archive?: boolean | undefined;
  /**
   * For a tar into a container: the limit of its uncompressed bytes, holes of sparse files included. Default
   * 16 TiB.
   */
  readonly maxBytes?: number | undefined;
}

/** The limit of docker's client. */
const MAX_LINKS = 10;

/**
 * Returns the tar of a path of a container. With `followLink`, its top entry has the name of the link's
 * target, as in docker.
 * @throws {@link LayerstackError} the errors of {@link RootfsArchive.getArchive}.
 */
export async function packOut(
  archive: RootfsArchive,
  source: string,
  { followLink = false, ...options }: CopyOptions = {},
): Promise<PathArchive> {
  if (!followLink) return archive.getArchive(source, options);
  await using rootfs = await archive.open({ write: false, signal: options.signal });
  const { at } = await locate(rootfs, source, true);
  return await archive.getArchive(at, options);
}

/**
 * Copies a path of a container to the host.
 * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND for the source or the directory above the destination,
 *   ERR_PATH_TYPE as in {@link planCopy}, and when a directory would replace another kind of file, or the
 *   reverse.
 */
export async function copyOut(
  archive: RootfsArchive,
  source: string,
  destination: string,
  { followLink = false, archive: keep = false, onProgress, signal }: CopyOptions = {},
): Promise<void> {
  await using rootfs = await archive.open({ write: false, signal });
  const { at, stat } = await locate(rootfs, source, followLink);
  const name = baseName(containerPath(source));
  const plan = planCopy(
    { name, isDirectory: hasMode(stat.mode, 'directory') },
    await hostTarget(destination),
  );
  const tar = rootfs.tree.pack(at, { name: plan.name, crossMounts: false, sparse: true, onProgress });
  try {
    await new FileTree(plan.directory).unpack('/', tar, {
      keepKinds: true,
      owner: keep ? 'archive' : 'caller',
      maxBytes: Infinity,
      onProgress,
      signal,
    });
  } finally {
    await close(tar);
  }
}

/**
 * Copies a path of the host, or a tar, into a container. A tar needs an existing directory.
 * @throws {@link LayerstackError} the errors of {@link copyOut} and {@link RootfsArchive.putArchive}.
 */
export async function copyIn(
  archive: RootfsArchive,
  source: string | AsyncIterable<Uint8Array>,
  destination: string,
  { followLink = false, archive: keep = false, maxBytes, onProgress, signal }: CopyOptions = {},
): Promise<void> {
  await using rootfs = await archive.open({ write: true, signal });
  const target = await containerTarget(rootfs, destination);
  const put = { noOverwriteDirNonDir: true, copyUIDGID: keep, onProgress, signal };
  if (typeof source !== 'string') {
    if (target.kind !== 'directory')
      throw new LayerstackError(
        'ERR_PATH_TYPE',
        `${archive.name}:${destination} is not a directory, so a tar cannot be extracted into it`,
        { path: destination },
      );
    return await archive.putArchive(target.path, source, { ...put, maxBytes });
  }
  const host = new FileTree('/');
  const given = keepEnding(resolve(source), source);
  const path = followLink ? keepEnding(await hostPath(given, realpath(given)), given) : given;
  const stat = await host.stat(path);
  const plan = planCopy({ name: baseName(given), isDirectory: hasMode(stat.mode, 'directory') }, target);
  const tar = host.pack(path, { name: plan.name, crossMounts: true, sparse: true, onProgress });
  await archive.putArchive(plan.directory, tar, { ...put, maxBytes: Infinity });
}

/** Waits until the stream has closed its files, so that the mount can be released. */
async function close(tar: Readable): Promise<void> {
  tar.on('error', () => undefined).destroy();
  if (!tar.closed) await new Promise((done) => tar.once('close', done));
}

/** Returns the path to copy from. Follows a link at its end if `followLink` is set. */
async function locate(
  rootfs: OpenRootfs,
  source: string,
  followLink: boolean,
): Promise<{ readonly at: string; readonly stat: PathStat }> {
  const path = containerPath(source);
  const stat = await rootfs.tree.stat(path);
  if (!followLink || !hasMode(stat.mode, 'symlink')) return { at: path, stat };
  const at = keepEnding(stat.linkTarget, path);
  const target = await rootfs.tree.stat(at);
  if (hasMode(target.mode, 'symlink')) throw tooManyLinks(source);
  return { at, stat: target };
}

/** Returns the destination in a container. Follows a link at its end, even to a missing target. */
async function containerTarget(rootfs: OpenRootfs, destination: string): Promise<CopyDestination> {
  let path = containerPath(destination);
  // A path that cannot be reached counts as missing. The extraction reports the reason.
  const find = () => rootfs.tree.stat(path).catch(() => undefined);
  let stat = await find();
  if (stat && hasMode(stat.mode, 'symlink')) {
    path = stat.linkTarget;
    stat = await find();
  }
  if (!stat) return { path, kind: 'missing' };
  if (hasMode(stat.mode, 'device')) throw isDevice(destination);
  return { path, kind: hasMode(stat.mode, 'directory') ? 'directory' : 'other' };
}

/** Returns the destination on the host. Follows a link at its end, even to a missing target. */
async function hostTarget(destination: string): Promise<CopyDestination> {
  let path = keepEnding(resolve(destination), destination);
  for (let links = 0; links <= MAX_LINKS; ++links) {
    const stat = await hostPath(path, lstat(path)).catch((error: unknown) => {
      if (LayerstackError.is(error, 'ERR_PATH_NOT_FOUND')) return undefined;
      throw error;
    });
    if (!stat) {
      const { directory } = splitPath(path);
      if ((await hostPath(directory, statFollowing(directory))).isDirectory())
        return { path, kind: 'missing' };
      throw new LayerstackError('ERR_PATH_TYPE', `${directory} is not a directory`, { path: directory });
    }
    if (stat.isCharacterDevice() || stat.isBlockDevice()) throw isDevice(destination);
    if (!stat.isSymbolicLink()) return { path, kind: stat.isDirectory() ? 'directory' : 'other' };
    path = posix.resolve(splitPath(path).directory, await readlink(path));
  }
  throw tooManyLinks(destination);
}

function tooManyLinks(path: string, cause?: unknown): LayerstackError {
  return new LayerstackError('ERR_PATH_TYPE', `${path} leads through too many symbolic links`, {
    path,
    cause,
  });
}

function isDevice(path: string): LayerstackError {
  return new LayerstackError('ERR_PATH_TYPE', `${path} is a device: name a directory or a file`, { path });
}

/** Returns the result of `work` on a path of the host, with clear errors when the path does not exist. */
async function hostPath<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENAMETOOLONG'))
      throw new LayerstackError('ERR_PATH_NOT_FOUND', `${path} does not exist`, { path, cause: error });
    if (isSystemError(error, 'ELOOP')) throw tooManyLinks(path, error);
    throw error;
  }
}
