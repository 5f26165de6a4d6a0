/** Mounts an RW layer's root file system for one operation, and pins it (system/pinned-mount.ts). */
import { LayerstackError } from '../core/errors.ts';
import { pinMount, type PinnedMount } from '../system/pinned-mount.ts';
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
    let pinned: PinnedMount | undefined;
    try {
      pinned = await pinMount(mount.path);
    } finally {
      if (!pinned) await mount.unmount();
    }
    if (pinned) return operationMount(pinned, mount);
  }
  throw new LayerstackError(
    'ERR_CONTAINER_MOUNTED',
    `${layer.owner} was unmounted by another process during the operation: try again`,
    { id: layer.key },
  );
}

function operationMount({ path, release: unpin }: PinnedMount, mount: ProcessMount): OperationMount {
  const release = async (): Promise<void> => {
    await unpin();
    await mount.unmount();
  };
  let released: Promise<void> | undefined;
  return { path, [Symbol.asyncDispose]: () => (released ??= release()) };
}
