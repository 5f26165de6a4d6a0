/**
 * A container's root file system for the length of one operation that others may know nothing of. A descriptor keeps it: an
 * `unmount` too many by somebody else fails as being in use, instead of taking the ground away while files are read or, worse,
 * written below the mount point; and after a forced one the operation ends on what it had. Hence the path is the descriptor's.
 */
import { constants } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { LayerstackError, unlessMissing } from '../core/errors.ts';
import type { ContainerMounts, Mount, MountOptions } from './mount.ts';
import type { Container } from './record.ts';

export interface HeldMount extends AsyncDisposable {
  /** Of the mounted root file system, in this process. */
  readonly path: string;
}

/** Between mounting and opening somebody may unmount: once is bad luck. */
const TRIES = 5;

/**
 * Mounts (or uses the mount that is there) until it is disposed.
 * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED where others unmount it again and again, and what `mount` throws.
 */
export async function holdMount(
  mounts: Pick<ContainerMounts, 'mountForOperation'>,
  container: Container,
  options: MountOptions,
): Promise<HeldMount> {
  for (let tries = 0; tries < TRIES; tries++) {
    const mount = await mounts.mountForOperation(container, options);
    let root: FileHandle | undefined;
    try {
      root = await openRoot(mount.path);
    } finally {
      if (!root) await mount.unmount();
    }
    if (root) return held(root, mount);
  }
  throw new LayerstackError(
    'ERR_CONTAINER_MOUNTED',
    `container ${container.name} is unmounted by others while it is needed: try again`,
    { id: container.id },
  );
}

function held(root: FileHandle, mount: Mount): HeldMount {
  const release = async (): Promise<void> => {
    await root.close();
    await mount.unmount();
  };
  let released: Promise<void> | undefined;
  return {
    // With the dot it is no link, whoever opens it.
    path: `/proc/self/fd/${root.fd}/.`,
    [Symbol.asyncDispose]: () => (released ??= release()),
  };
}

/** Undefined where nothing is mounted any more. */
async function openRoot(path: string): Promise<FileHandle | undefined> {
  const root = await unlessMissing(
    open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW),
  );
  if (!root) return undefined;
  const [own, above] = await Promise.all([root.stat(), unlessMissing(stat(dirname(path)))]);
  if (own.dev !== above?.dev) return root;
  await root.close();
  return undefined;
}
