/**
 * An RW layer's root file system for the length of one operation that others may know nothing of. An open
 * descriptor keeps it: an `unmount` too many by somebody else fails as being in use, instead of taking the
 * ground away while files are read or, worse, written below the mount point; and after a forced one the
 * operation ends on what it had. Hence the path is the descriptor's.
 */
import { constants } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { LayerstackError, unlessMissing } from '../core/errors.ts';
import type { MountOptions, ProcessMount, RwLayerMounts } from './mounts.ts';
import type { RwLayer } from './rwlayer.ts';

export interface OperationMount extends AsyncDisposable {
  /** Of the mounted root file system, in this process. */
  readonly path: string;
}

/** Between mounting and opening somebody may unmount: once is bad luck. */
const TRIES = 5;

/** @see RwLayerStore.mountForOperation */
export async function mountForOperation(
  mounts: RwLayerMounts,
  layer: RwLayer,
  options: MountOptions,
): Promise<OperationMount> {
  for (let tries = 0; tries < TRIES; tries++) {
    const mount = await mounts.mountForProcess(layer, options);
    let root: FileHandle | undefined;
    try {
      root = await openRoot(mount.path);
    } finally {
      if (!root) await mount.unmount();
    }
    if (root) return pinned(root, mount);
  }
  throw new LayerstackError(
    'ERR_CONTAINER_MOUNTED',
    `${layer.owner} is unmounted by others while it is needed: try again`,
    { id: layer.key },
  );
}

function pinned(root: FileHandle, mount: ProcessMount): OperationMount {
  const release = async (): Promise<void> => {
    await root.close();
    await mount.unmount();
  };
  let released: Promise<void> | undefined;
  return {
    // With the dot it is a directory and not a link.
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
