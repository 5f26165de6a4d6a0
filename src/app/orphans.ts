/** Lists and removes the directories of overlay2 that nothing in the store explains. */
import { chainIdOf, digestOfHex, isHex64, type ChainID } from '../core/digest.ts';
import { knownLayers, readConfigs } from '../image/check.ts';
import type { LayerStore } from '../layer/store.ts';
import { pruneOrphans, type Orphan, type OrphanOptions } from '../rwlayer/orphans.ts';
import { unlessPlanted } from '../system/check-entries.ts';
import { listEntries } from '../system/removal.ts';
import type { Root } from '../system/root.ts';

export function orphans(
  root: Root,
  layers: Pick<LayerStore, 'findAll'>,
  options: OrphanOptions,
): Promise<Orphan[]> {
  return pruneOrphans(root, { lacksContent: () => lacksContent(root, layers) }, options);
}

/** Returns whether a layer that an image has, or that layerdb lists, cannot be found. */
async function lacksContent(root: Root, layers: Pick<LayerStore, 'findAll'>): Promise<boolean> {
  const { layout } = root;
  const listed = (await listEntries(layout, layout.layers)).filter(isHex64);
  const wanted = new Set<ChainID>([
    ...knownLayers(await readConfigs(root)).keys(),
    ...listed.map((name) => chainIdOf(digestOfHex(name))),
  ]);
  const found = await unlessPlanted(layers.findAll([...wanted]));
  return found === undefined || found.includes(undefined);
}
