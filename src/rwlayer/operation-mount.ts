/**
 * Mounts an RW layer's root file system for one operation. An open descriptor protects it from other
 * processes: a surplus `unmount` by one of them fails, since the mount is in use. Otherwise the operation
 * would read or, worse, write the empty directory below the mount point. The path leads through the
 * descriptor, so the operation ends on the same mount even after a forced unmount.
 */
import { constants } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { LayerstackError, unlessMissing } from '../core/errors.ts';
import type { MountOptions, ProcessMount, RwLayerMounts } from './mounts.ts';
import type { RwLayer } from './rwlayer.ts';

export interface OperationMount extends AsyncDisposable {
  /** The path of the mounted root file system, valid in this process. */
  readonly path: string;
}

/**
 * Another process may unmount between the mount and the open. After this many times in a row it is an error.
 */
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
    `${layer.owner} was unmounted by another process during the operation: try again`,
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
    // The dot makes the path a directory and not a link.
    path: `/proc/self/fd/${root.fd}/.`,
    [Symbol.asyncDispose]: () => (released ??= release()),
  };
}

/** Opens the root file system; undefined when others have unmounted it. */
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
