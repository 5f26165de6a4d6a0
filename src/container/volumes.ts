/**
 * The volumes that an image names, and those without a name that a container asks for, for a runtime: each is a directory beside the container, bound over its path, so that what is
 * written there is in no layer. As docker's anonymous volumes it is filled once with what the image has at the path, owner and
 * mode of the directory included, is kept between runs, and goes with the container:
 *
 *   containers/<id>/volumes/<32 digits: the digest of the path>
 *
 * The paths are an image's, and so anything: they are resolved inside the root file system. Mirrors moby/moby:
 * daemon/create_unix.go and container/container_unix.go (CopyImagePathContent).
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { posix } from 'node:path';
import { compareBytes } from '../core/bytes.ts';
import { digestOf, hexOf } from '../core/digest.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { call, native, type RootPathStat } from '../system/native.ts';
import type { Layout } from '../system/layout.ts';
import type { Root } from '../system/root.ts';
import { spaceError } from '../system/space.ts';
import { listEntries } from '../system/removal.ts';
import { hasDirectory } from '../system/store-files.ts';
import { FileTree } from './file-tree.ts';
import type { Mount } from './mount.ts';
import type { Container } from './record.ts';
import { anonymousVolumes, namedDestinations, type RuntimeMount } from './spec/mounts.ts';
import { readHostSettings } from './spec/settings.ts';
import { cleanPath, VOLUME_NAME } from './validate-mounts.ts';

/** A volume without a name. */
export interface WantedVolume {
  readonly path: string;
  /** It is not filled with what the image has at the path. */
  readonly isEmpty: boolean;
}

export interface ImageVolumes {
  /** Binds, those above others first. Their destinations were without links when they were resolved. */
  readonly mounts: readonly RuntimeMount[];
  /** Paths that nothing can be mounted over: the root, /proc, /sys and /dev, and what is missing in a read-only root. */
  readonly leftOut: readonly string[];
}

const MAX_VOLUMES = 1000;
/** The kernel's own maximum of links on a path. */
const MAX_LINKS = 40;
const TEMPORARY = '.tmp-';
/** What a runtime mounts itself, or takes nothing over. */
const KERNELS = /^\/(?:$|dev$|(?:proc|sys)(?:\/|$))/;

/**
 * Makes what is missing of the directories and volumes of a container that is mounted.
 * @throws {@link LayerstackError} ERR_PATH_TYPE where the image has a file in a volume's place; ERR_CONFIG_INVALID for too many;
 *   ERR_STORE_READ_ONLY, ERR_NO_SPACE, ERR_UPPER_CHANGED.
 */
export async function imageVolumes(
  root: Root,
  container: Container,
  mount: Pick<Mount, 'path'>,
  named: readonly WantedVolume[],
): Promise<ImageVolumes> {
  if (named.length > MAX_VOLUMES)
    throw new LayerstackError(
      'ERR_CONFIG_INVALID',
      `container ${container.name} has ${named.length} volumes; ${MAX_VOLUMES} are allowed`,
      { id: container.id, limit: MAX_VOLUMES },
    );
  if (named.length === 0) return { mounts: [], leftOut: [] };
  // Of a store that is open read-only what is there is used, and nothing is made.
  await using _lock = root.readOnly ? undefined : await root.locks.acquire('containers', container.id);
  const leftOut: string[] = [];
  const sources = new Map<string, string>();
  for (const { path, isEmpty } of [...named].sort((a, b) => compareBytes(a.path, b.path))) {
    const destination = await destinationOf(root, mount.path, path);
    if (destination === undefined) leftOut.push(path);
    else if (!sources.has(destination))
      sources.set(destination, await volumeOf(root, container, mount, destination, isEmpty));
  }
  const mounts = [...sources].map(([destination, source]) => ({
    ...{ destination, type: 'bind', source, options: ['rbind', 'rprivate'] },
  }));
  return { mounts: mounts.sort((a, b) => depthOf(a) - depthOf(b)), leftOut };
}

/**
 * Makes the directories that the volumes without a name of a container will be mounted over: as in docker they are there before it
 * has run, so that files can be copied into them; its first bundle takes those into the volume. Where something else will be
 * mounted nothing is made, since that would hide what is copied there. What cannot be made stays missing.
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
      await destinationOf(root, mount.path, path);
    } catch (error) {
      // A file of the image is in its place, or the disk is full: what is copied elsewhere needs none of it.
      const isFile = LayerstackError.is(error, 'ERR_PATH_TYPE');
      if (!isFile && !isSystemError(error)) throw error;
    }
  }
}

function depthOf({ destination }: RuntimeMount): number {
  return destination.split('/').length;
}

/** Where a volume is, made where it is missing; undefined where none can be. */
async function destinationOf(root: Root, rootfs: string, path: string): Promise<string | undefined> {
  const wanted = posix.normalize(`/${path}`);
  if (KERNELS.test(wanted)) return undefined;
  try {
    const destination = await makeDirectory(root, rootfs, wanted);
    return KERNELS.test(destination) ? undefined : destination;
  } catch (error) {
    if (isSystemError(error, 'EROFS')) return undefined;
    throw error;
  }
}

/** The directory at an absolute path of a root file system, made with its parents; its path without links. */
async function makeDirectory(root: Root, rootfs: string, path: string, links = 0): Promise<string> {
  let at = '';
  for (const name of path.split('/').filter(Boolean)) {
    const next = `${at}/${name}`;
    const stat = await statIn(rootfs, next);
    const kind = stat && stat.mode & constants.S_IFMT;
    if (kind === undefined) {
      root.session();
      await call(native.batch(rootfs, [{ op: 'mkdir', path: next.slice(1), mode: 0o755, exist: true }]));
      at = next;
    } else if (kind === constants.S_IFDIR) at = next;
    else if (kind === constants.S_IFLNK && stat?.linkTarget !== undefined && links < MAX_LINKS)
      at = await makeDirectory(root, rootfs, stat.linkTarget, links + 1);
    else
      throw new LayerstackError(
        'ERR_PATH_TYPE',
        `${path} is a volume of the image, and ${next} in its root file system is no directory: nothing can be mounted there`,
        { path },
      );
  }
  return at === '' ? '/' : at;
}

/** Undefined where it is missing. A link that leads to itself is one that leads nowhere. */
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

/** The volume's directory, filled when it is made. The caller holds the container's lock. */
async function volumeOf(
  root: Root,
  container: Container,
  mount: Pick<Mount, 'path'>,
  destination: string,
  isEmpty: boolean,
): Promise<string> {
  const { layout } = root;
  const name = hexOf(digestOf(destination)).slice(0, 32);
  const directory = layout.container(container.id, 'volumes');
  const volume = `${directory}/${name}`;
  if (hasDirectory(layout.at(volume))) return layout.at(volume);
  const temporary = `${directory}/${TEMPORARY}${randomBytes(6).toString('hex')}`;
  await using _marked = await root.session().temporary(layout.at(temporary));
  try {
    // Of those who marked nothing.
    const left = (await listEntries(layout, directory)).filter((each) => each.startsWith(TEMPORARY));
    await call(
      native.removeTree(
        layout.root,
        left.map((each) => `${directory}/${each}`),
      ),
    );
    await call(
      native.batch(layout.root, [
        { op: 'mkdir', path: directory, mode: 0o710, exist: true },
        { op: 'mkdir', path: temporary, mode: 0o700 },
      ]),
    );
    if (isEmpty)
      await call(native.batch(layout.root, [{ op: 'mkdir', path: `${temporary}/${name}`, mode: 0o755 }]));
    else await copyOut(mount.path, destination, layout.at(temporary), name);
    await call(
      native.batch(layout.root, [
        { op: 'rename', from: `${temporary}/${name}`, to: volume },
        { op: 'rmdir', path: temporary },
      ]),
    );
  } catch (error) {
    await call(native.removeTree(layout.root, temporary)).catch(() => undefined);
    throw spaceError(error, layout.root);
  }
  return layout.at(volume);
}

/** What an image has at a path, with its owner and mode, to `name` in a directory. */
async function copyOut(rootfs: string, path: string, directory: string, name: string): Promise<void> {
  const tar = new FileTree(rootfs).pack(path, { name, crossMounts: false, sparse: true });
  await new FileTree(directory).unpack('/', tar, { keepKinds: true, owner: 'archive', maxBytes: Infinity });
}

/** Finds the directories of volumes that dockerd has made on the same root; layerstack's own are names alone. */
export function namedVolumes(layout: Layout): (name: string) => string | undefined {
  return (name) => {
    const path = layout.at(`volumes/${name}/_data`);
    return VOLUME_NAME.test(name) && hasDirectory(path) ? path : undefined;
  };
}
