/**
 * Makes the anonymous volumes that an image or a container requests, for a runtime. Each is a directory
 * beside the container, bound over its path, so that writes go to no layer. Like docker's anonymous volumes,
 * it is filled once with the image's content at the path, with the owner and mode of the directory. It is
 * kept between runs, and removed with the container:
 *
 *   containers/<id>/volumes/<32 digits: the digest of the path>
 *
 * The paths come from an image, and may be anything, so they are resolved inside the root file system.
 * Mirrors moby/moby: daemon/create_unix.go and container/container_unix.go (CopyImagePathContent).
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { join, posix } from 'node:path';
import { compareBytes } from '../core/bytes.ts';
import { digestOf, hexOf } from '../core/digest.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { call, native, type RootPathStat } from '../system/native.ts';
import type { Layout } from '../system/layout.ts';
import type { Root } from '../system/root.ts';
import { spaceError } from '../system/space.ts';
import { hasDirectory, listDirectory } from '../system/store-files.ts';
import { FileTree } from './file-tree.ts';
import type { Mount } from './mount.ts';
import type { Container } from './record.ts';
import { anonymousVolumes, namedDestinations, type RuntimeMount } from './spec/mounts.ts';
import { readHostSettings } from './spec/settings.ts';
import { cleanPath, VOLUME_NAME } from './validate-mounts.ts';

/** The place of the volumes of one root file system. */
export interface VolumeHome {
  /** In messages, e.g. `container build`. */
  readonly owner: string;
  readonly id: string;
  /** An absolute directory, and the directory of the volumes relative to it. */
  readonly base: string;
  readonly directory: string;
  /** Locks the volumes; undefined where the store is open read-only: then existing volumes are used. */
  lock(): Promise<AsyncDisposable | undefined>;
  /** @throws {@link LayerstackError} ERR_STORE_READ_ONLY */
  requireWritable(): void;
  /** Lets entries that begin with this absolute path be removed if this process dies. */
  temporary(path: string): Promise<AsyncDisposable>;
}

/** Returns the place of a container's volumes. */
export function containerVolumes(root: Root, { id, name }: Pick<Container, 'id' | 'name'>): VolumeHome {
  const { layout } = root;
  return {
    ...{ owner: `container ${name}`, id, base: layout.root, directory: layout.container(id, 'volumes') },
    lock: async () => (root.readOnly ? undefined : root.locks.acquire('containers', id)),
    requireWritable: () => void root.session(),
    temporary: (path) => root.session().temporary(path),
  };
}

/** A volume without a name. */
export interface WantedVolume {
  readonly path: string;
  /** The volume is not filled with the image's content at the path. */
  readonly isEmpty: boolean;
}

export interface ImageVolumes {
  /** The binds, parents before children. Links in their destinations have been resolved. */
  readonly mounts: readonly RuntimeMount[];
  /**
   * The paths that a volume cannot be mounted on: the root, /proc, /sys, /dev, and paths missing in a
   * read-only root.
   */
  readonly leftOut: readonly string[];
}

const MAX_VOLUMES = 1000;
/** The kernel's own limit of links in a path. */
const MAX_LINKS = 40;
const TEMPORARY = '.tmp-';
/** The paths that a runtime mounts itself, or does not allow a mount on. */
const KERNELS = /^\/(?:$|dev$|(?:proc|sys)(?:\/|$))/;

/**
 * Makes the missing mount points and volumes of a mounted container.
 * @throws {@link LayerstackError} ERR_PATH_TYPE when the image has a file in a volume's place;
 *   ERR_CONFIG_INVALID for too many volumes; ERR_STORE_READ_ONLY, ERR_NO_SPACE, ERR_UPPER_CHANGED.
 */
export async function imageVolumes(
  home: VolumeHome,
  mount: Pick<Mount, 'path'>,
  named: readonly WantedVolume[],
): Promise<ImageVolumes> {
  if (named.length > MAX_VOLUMES)
    throw new LayerstackError(
      'ERR_CONFIG_INVALID',
      `${home.owner} has ${named.length} volumes; ${MAX_VOLUMES} are allowed`,
      { id: home.id, limit: MAX_VOLUMES },
    );
  if (named.length === 0) return { mounts: [], leftOut: [] };
  await using _lock = await home.lock();
  const leftOut: string[] = [];
  const sources = new Map<string, string>();
  for (const { path, isEmpty } of [...named].sort((a, b) => compareBytes(a.path, b.path))) {
    const destination = await destinationOf(home, mount.path, path);
    if (destination === undefined) leftOut.push(path);
    else if (!sources.has(destination))
      sources.set(destination, await volumeOf(home, mount, destination, isEmpty));
  }
  const mounts = [...sources].map(([destination, source]) => ({
    ...{ destination, type: 'bind', source, options: ['rbind', 'rprivate'] },
  }));
  return { mounts: mounts.sort((a, b) => depthOf(a) - depthOf(b)), leftOut };
}

/**
 * Makes the mount points of a container's anonymous volumes. As in docker, they exist before the container
 * has run, so that files can be copied into them. The first bundle copies these files into the volume. A path
 * that another mount will cover is skipped, since the mount would hide copied files. A directory that cannot
 * be made stays missing.
 */
export async function makeMountPoints(
  root: Root,
  container: Container,
  mount: Pick<Mount, 'path'>,
): Promise<void> {
  const host = readHostSettings(root.layout, container.id);
  const taken = new Set(namedDestinations(host));
  const wanted = [...(container.config.Volumes ?? []), ...anonymousVolumes(host).map(({ path }) => path)]
    .map((path) => cleanPath(`/${path}`))
    .filter((path) => !taken.has(path));
  for (const path of wanted.slice(0, MAX_VOLUMES)) {
    try {
      await destinationOf(containerVolumes(root, container), mount.path, path);
    } catch (error) {
      // The image has a file in its place, or the disk is full. A copy to another path does not need the
      // mount point.
      const isFile = LayerstackError.is(error, 'ERR_PATH_TYPE');
      if (!isFile && !isSystemError(error)) throw error;
    }
  }
}

function depthOf({ destination }: RuntimeMount): number {
  return destination.split('/').length;
}

/**
 * Returns the mount point of a volume, and makes it if it is missing; undefined if it cannot be mounted over.
 */
async function destinationOf(home: VolumeHome, rootfs: string, path: string): Promise<string | undefined> {
  const wanted = posix.normalize(`/${path}`);
  if (KERNELS.test(wanted)) return undefined;
  try {
    const destination = await makeDirectory(home, rootfs, wanted);
    return KERNELS.test(destination) ? undefined : destination;
  } catch (error) {
    if (isSystemError(error, 'EROFS')) return undefined;
    throw error;
  }
}

/**
 * Makes the directory at an absolute path of a root file system, with its parents. Returns its path without
 * links.
 */
async function makeDirectory(home: VolumeHome, rootfs: string, path: string, links = 0): Promise<string> {
  let at = '';
  for (const name of path.split('/').filter(Boolean)) {
    const next = `${at}/${name}`;
    const stat = await statIn(rootfs, next);
    const kind = stat && stat.mode & constants.S_IFMT;
    if (kind === undefined) {
      home.requireWritable();
      await call(native.batch(rootfs, [{ op: 'mkdir', path: next.slice(1), mode: 0o755, exist: true }]));
      at = next;
    } else if (kind === constants.S_IFDIR) at = next;
    else if (kind === constants.S_IFLNK && stat?.linkTarget !== undefined && links < MAX_LINKS)
      at = await makeDirectory(home, rootfs, stat.linkTarget, links + 1);
    else
      throw new LayerstackError(
        'ERR_PATH_TYPE',
        `the volume ${path} of the image cannot be mounted: ${next} in its root file system is not a directory`,
        { path },
      );
  }
  return at === '' ? '/' : at;
}

/** Returns the stat of a path; undefined when it is missing. A link to itself has no target. */
async function statIn(
  rootfs: string,
  path: string,
): Promise<Pick<RootPathStat, 'mode' | 'linkTarget'> | undefined> {
  try {
    return await call(native.statInRoot(rootfs, path));
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    if (isSystemError(error, 'ELOOP')) return { mode: constants.S_IFLNK };
    throw error;
  }
}

/**
 * Returns the volume's directory. Makes and fills it if it is missing. The caller holds the container's lock.
 */
async function volumeOf(
  home: VolumeHome,
  mount: Pick<Mount, 'path'>,
  destination: string,
  isEmpty: boolean,
): Promise<string> {
  const { base, directory } = home;
  const name = hexOf(digestOf(destination)).slice(0, 32);
  const volume = `${directory}/${name}`;
  if (hasDirectory(join(base, volume))) return join(base, volume);
  const temporary = `${directory}/${TEMPORARY}${randomBytes(6).toString('hex')}`;
  await using _marked = await home.temporary(join(base, temporary));
  try {
    // Finds temporary directories that a process has left without a marker.
    const left = ((await listDirectory(join(base, directory))) ?? []).filter((each) =>
      each.startsWith(TEMPORARY),
    );
    await call(
      native.removeTree(
        base,
        left.map((each) => `${directory}/${each}`),
      ),
    );
    await call(
      native.batch(base, [
        { op: 'mkdir', path: directory, mode: 0o710, exist: true },
        { op: 'mkdir', path: temporary, mode: 0o700 },
      ]),
    );
    if (isEmpty) await call(native.batch(base, [{ op: 'mkdir', path: `${temporary}/${name}`, mode: 0o755 }]));
    else await copyOut(mount.path, destination, join(base, temporary), name);
    await call(
      native.batch(base, [
        { op: 'rename', from: `${temporary}/${name}`, to: volume },
        { op: 'rmdir', path: temporary },
      ]),
    );
  } catch (error) {
    await call(native.removeTree(base, temporary)).catch(() => undefined);
    throw spaceError(error, base);
  }
  return join(base, volume);
}

/** Copies the image's content at a path, with its owner and mode, to `name` in a directory. */
async function copyOut(rootfs: string, path: string, directory: string, name: string): Promise<void> {
  const tar = new FileTree(rootfs).pack(path, { name, crossMounts: false, sparse: true });
  await new FileTree(directory).unpack('/', tar, { keepKinds: true, owner: 'archive', maxBytes: Infinity });
}

/**
 * Finds the directories of volumes that dockerd has made in the same root. layerstack's own volumes have only
 * names.
 */
export function namedVolumes(layout: Layout): (name: string) => string | undefined {
  return (name) => {
    const path = layout.at(`volumes/${name}/_data`);
    return VOLUME_NAME.test(name) && hasDirectory(path) ? path : undefined;
  };
}
