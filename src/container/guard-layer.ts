/**
 * Keeps the containers on a layer from being mounted while its files are repaired. The behaviour of overlayfs
 * is undefined when a lower changes below a mount. Mounts in other mount namespaces than this process's are
 * not seen (docs/reliability.md).
 */
import { LayerstackError } from '../core/errors.ts';
import type { DamagedLayer } from '../layer/store.ts';
import { standsOn } from '../layer/lineage.ts';
import { readEntry } from '../rwlayer/entry.ts';
import { mountState } from '../system/mounts.ts';
import { listEntries } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { readContainer } from './record.ts';

/**
 * Makes sure that no container on the layer is mounted until the result is disposed.
 * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED naming the containers on it that are mounted.
 */
export async function guardLayer(root: Root, { chainId, diffId }: DamagedLayer): Promise<AsyncDisposable> {
  const { layout, locks } = root;
  const above = (await listEntries(layout, layout.mounts)).flatMap((key) => {
    const entry = readEntry(layout, key);
    const isAbove = entry?.parent !== undefined && standsOn(layout, entry.parent, chainId);
    return isAbove ? [{ key, mountId: entry.mountId }] : [];
  });
  const lock = await locks.acquireAll(
    'containers',
    above.map(({ key }) => key),
  );
  try {
    const mounted: string[] = [];
    for (const { key, mountId } of above)
      if ((await mountState(layout.at(layout.overlay(mountId, 'merged')))) !== 'none')
        mounted.push(readContainer(layout, key)?.name ?? key.slice(0, 12));
    if (mounted.length === 0) return lock;
    throw new LayerstackError(
      'ERR_CONTAINER_MOUNTED',
      `layer ${diffId} stays as it is while containers on it are mounted: unmount ${mounted.join(', ')}`,
      { layer: diffId, id: mounted[0] },
    );
  } catch (error) {
    await lock.release();
    throw error;
  }
}
