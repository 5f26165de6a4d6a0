/**
 * The root file system of a container, for operations on its paths. It is mounted during the operation,
 * unless it is mounted already. As in docker, the mount points of its volumes exist, but the volumes are not
 * mounted.
 */
import type { RwLayerStore } from '../rwlayer/store.ts';
import type { Root } from '../system/root.ts';
import { RootfsArchive, type OpenRootfs, type RootfsSource } from './archive.ts';
import { FileTree } from './file-tree.ts';
import { rwLayerOf, type Container } from './record.ts';
import { makeMountPoints } from './volumes.ts';

/** Copies in and out of a container's root file system. */
export function containerArchive(root: Root, rwLayers: RwLayerStore, container: Container): RootfsArchive {
  return new RootfsArchive(containerRootfs(root, rwLayers, container));
}

/** A store that is open read-only can only use an existing mount. */
function containerRootfs(root: Root, rwLayers: RwLayerStore, container: Container): RootfsSource {
  const layer = rwLayerOf(container);
  const rootfs = (path: string): Omit<OpenRootfs, typeof Symbol.asyncDispose> => ({
    path,
    tree: new FileTree(path, `${container.name}:`),
    user: container.config.User,
    caps: root.caps,
  });
  return {
    name: container.name,
    async open({ write, signal }) {
      const mounted = await rwLayers.mounted(layer);
      if (mounted && !write && root.readOnly)
        return { ...rootfs(mounted.path), [Symbol.asyncDispose]: () => Promise.resolve() };
      // A new mount is writable, also for reading: a read-only one would keep other operations from writing.
      const readOnly = !write && mounted !== undefined;
      const mount = await rwLayers.mountForOperation(layer, { readOnly, signal });
      try {
        await makeMountPoints(root, container, mount);
      } catch (error) {
        await mount[Symbol.asyncDispose]();
        throw error;
      }
      return { ...rootfs(mount.path), [Symbol.asyncDispose]: () => mount[Symbol.asyncDispose]() };
    },
  };
}
