/**
 * Checks RW layers: each has its directories and a stack that can be mounted, and no mount point remains of
 * an ended mount. A repair never touches the upper, even if it is unusable.
 */
import type { ChainID } from '../core/digest.ts';
import type { Problem } from '../core/store-finding.ts';
import { LayerstackError } from '../core/errors.ts';
import { checkOverlay, stackOf, writeLower } from '../layer/check-overlay.ts';
import type { LayerStore } from '../layer/store.ts';
import { unlessPlanted } from '../system/check-entries.ts';
import { mountState } from '../system/mounts.ts';
import { call, native } from '../system/native.ts';
import { listEntries, readEntry } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { hasDirectory, statEntry } from '../system/store-files.ts';
import type { RwLayer } from './rwlayer.ts';
import { MountPoint } from './mount-point.ts';
import { sealedBelow } from './sealed.ts';

/** Returns the directories in overlay2 of RW layers and their init layers, usable or not. */
export async function rwLayerOverlays({ layout }: Root): Promise<Set<string>> {
  const found = new Set<string>();
  for (const key of await listEntries(layout, layout.mounts))
    for (const file of ['mount-id', 'init-id'] as const) {
      const id = await unlessPlanted(readEntry(layout, layout.mount(key, file)));
      if (id !== undefined) found.add(id);
    }
  return found;
}

/** @param isThere - returns whether the owner still exists: it may be removed during the check */
export async function* checkRwLayer(
  root: Root,
  layers: Pick<LayerStore, 'find'>,
  layer: RwLayer,
  isThere: () => boolean,
): AsyncGenerator<Problem> {
  const { layout } = root;
  const { key, owner, mountId, initId, parent } = layer;
  const broken = (path: string, message: string): Problem => ({
    code: 'container-incomplete',
    severity: 'error',
    path,
    message: `${owner}: ${message}`,
    advice: `save what you need from ${layout.overlay(mountId, 'diff')}, then remove the container (rm)`,
  });
  const overlays = initId === undefined ? [mountId] : [mountId, initId];
  const missing = overlays.find((overlay) => !hasDirectory(layout.at(layout.overlay(overlay, 'diff'))));
  if (missing !== undefined) {
    if (isThere()) yield broken(layout.overlay(missing, 'diff'), 'its writable layer is missing');
    return;
  }
  const below = parent === undefined ? [] : await stackOfLayer(root, layers, parent);
  if (below === undefined)
    yield {
      ...broken(layout.mount(key, 'parent'), `its image's layer ${String(parent)} is missing`),
      advice: 'load or pull its image again',
    };
  if (initId !== undefined)
    yield* checkOverlay(root, {
      ...{ id: initId, owner: `the init layer of ${owner}` },
      ...{ lowers: below, hasChildren: true },
    });
  const stack = await stackOfRwLayer(root, layers, layer);
  if (stack === 'unknown')
    yield broken(layout.overlay(mountId, 'lower'), 'its `lower` is damaged, and may have named snapshots');
  const lowers = stack === 'unknown' ? undefined : stack;
  for await (const problem of checkOverlay(root, { id: mountId, owner, lowers, hasChildren: false }))
    yield problem.code === 'overlay-lower'
      ? { ...problem, repair: () => repairLower(root, layers, layer) }
      : problem;
  yield* checkMountPoint(root, layer);
}

/**
 * Returns the stack below an RW layer: the sealed uppers that its `lower` names, its init layer, and the
 * layers of its image; undefined when a layer is missing. Only `lower` names the sealed uppers. So a damaged
 * one is `unknown` in a store with sealed uppers: a repair would lose what they have.
 */
async function stackOfRwLayer(
  root: Root,
  layers: Pick<LayerStore, 'find'>,
  layer: RwLayer,
): Promise<readonly string[] | 'unknown' | undefined> {
  const { initId, parent } = layer;
  const below = parent === undefined ? [] : await stackOfLayer(root, layers, parent);
  const lowers = initId === undefined ? below : await stackOf(root, initId, below);
  if (lowers === undefined) return undefined;
  try {
    return [...sealedBelow(root.layout, layer), ...lowers];
  } catch (error) {
    if (!LayerstackError.is(error, 'ERR_STORE_CORRUPT')) throw error;
    return (await hasSealedUppers(root)) ? 'unknown' : lowers;
  }
}

/** Records may be lost, but a sealed upper always has an entry whose key is the name of its directory. */
async function hasSealedUppers({ layout }: Root): Promise<boolean> {
  const keys = await listEntries(layout, layout.mounts);
  return keys.some((key) => statEntry(layout.at(layout.overlay(key))) !== undefined);
}

/**
 * Writes the `lower` of an RW layer. A snapshot or a rollback may have changed the stack since it was
 * checked, so it is found again under the lock.
 */
async function repairLower(root: Root, layers: Pick<LayerStore, 'find'>, layer: RwLayer): Promise<void> {
  const { key, owner, mountId } = layer;
  root.session();
  await using _lock = await root.locks.acquire('containers', key);
  if (!hasDirectory(root.layout.at(root.layout.overlay(mountId)))) return;
  if (await new MountPoint(root, layer).isMounted())
    throw new LayerstackError('ERR_CONTAINER_MOUNTED', `${owner} is mounted: unmount it first`, { id: key });
  const stack = await stackOfRwLayer(root, layers, layer);
  if (stack === 'unknown' || stack === undefined)
    throw new LayerstackError('ERR_STORE_CORRUPT', `the stack of ${owner} was damaged meanwhile`, {
      id: key,
    });
  await writeLower(root, mountId, stack);
}

async function* checkMountPoint(root: Root, { key, owner, mountId }: RwLayer): AsyncGenerator<Problem> {
  const { layout } = root;
  const merged = layout.overlay(mountId, 'merged');
  const isLeft = async (): Promise<boolean> => (await mountState(layout.at(merged))) === 'none';
  if (statEntry(layout.at(merged)) === undefined || !(await isLeft())) return;
  yield {
    code: 'mount-leftover',
    severity: 'note',
    path: merged,
    message: `${owner} is not mounted, but has a mount point`,
    advice: 'repair removes it; a mount would reuse it',
    repair: async () => {
      root.session();
      await using _lock = await root.locks.acquire('containers', key);
      if (await isLeft())
        await call(native.batch(layout.root, [{ op: 'rmdir', path: merged, missing: true }]));
    },
  };
}

/**
 * Returns the stack with a layer on top, by the layer's own files. The check of layers verifies these files.
 */
async function stackOfLayer(
  root: Root,
  layers: Pick<LayerStore, 'find'>,
  chainId: ChainID,
): Promise<readonly string[] | undefined> {
  const layer = await layers.find(chainId);
  if (layer === undefined) return undefined;
  if (layer.packed) {
    const below = layer.parent === undefined ? [] : await stackOfLayer(root, layers, layer.parent);
    return below && [`l/${layer.link}`, ...below];
  }
  const lower = (await readEntry(root.layout, root.layout.overlay(layer.cacheId, 'lower'))) ?? '';
  return stackOf(root, layer.cacheId, lower === '' ? [] : lower.split(':'));
}
