/** Turns planned images into stacks of layers that can be published. */
import { chainIds, type ChainID } from '../../core/digest.ts';
import type { OnProgress } from '../../core/progress.ts';
import { Tally } from '../../core/tally.ts';
import type { Layer, LayerStore, StagedLayer } from '../../layer/store.ts';
import type { PlannedImage, PlannedLayer } from './planned.ts';
import type { LayerPool } from './layer-pool.ts';

export interface StagedImages {
  /** The layers of each image, bottom to top. */
  readonly stacks: readonly (readonly (StagedLayer | Layer)[])[];
  /** The layers that the store did not have, each once. */
  readonly fresh: readonly StagedLayer[];
}

/**
 * Keeps the present and future layers of these images from being collected until the pin is released. It pins
 * only the topmost layer that is present, which keeps those below it.
 */
export async function pinLayers(
  layers: Pick<LayerStore, 'findAll' | 'pin'>,
  images: readonly PlannedImage[],
  signal: AbortSignal | undefined,
): Promise<AsyncDisposable> {
  const pins = new Set<ChainID>();
  for (const { config } of images) {
    const chain = chainIds(config.diffIds);
    const known = await layers.findAll(chain);
    const ends = [chain.at(-1), known.findLast((layer) => layer !== undefined)?.chainId];
    for (const end of ends) if (end !== undefined) pins.add(end);
  }
  return layers.pin(pins, { signal });
}

/**
 * Stages the layers that the store lacks, all in parallel, and reads no other layers. The same layer on two
 * chains is two layers of the store. An equal chain of two images is one.
 */
export async function stageLayers(
  layers: Pick<LayerStore, 'findAll'>,
  images: readonly PlannedImage[],
  pool: Pick<LayerPool, 'take' | 'isBegun' | 'form'>,
  onProgress: OnProgress | undefined,
): Promise<StagedImages> {
  const chains = images.map(({ config }) => chainIds(config.diffIds));
  const needed = new Map<ChainID, PlannedLayer>();
  for (const [index, chain] of chains.entries())
    for (const [depth, chainId] of chain.entries())
      needed.set(chainId, needed.get(chainId) ?? (images[index]?.layers[depth] as PlannedLayer));
  const present = await layers.findAll([...needed.keys()]);
  // An image in Docker's form cannot stand on packed layers: they are extracted from this source, too.
  const known = present.map((layer) => (pool.form === 'classic' && layer?.packed ? undefined : layer));
  const ready = new Map<ChainID, StagedLayer | Layer>();
  const fresh: StagedLayer[] = [];
  const tally = new Tally<ChainID>(onProgress);
  for (const [index, [chainId, { member }]] of [...needed].entries())
    if (!known[index] && !pool.isBegun(member)) tally.expect(chainId, member.content.size);
  await Promise.all(
    [...needed].map(async ([chainId, { member, diffId, blob }], index) => {
      const layer = known[index];
      const blobOf = blob && { blob: blob.digest };
      const event = { diffId, ...blobOf, member: member.name, current: 0, total: member.content.size };
      if (layer) {
        onProgress?.({ type: 'layer-exists', ...event });
        ready.set(chainId, layer);
        return;
      }
      if (member.content.openOnce === true) onProgress?.({ type: 'layer-waiting', ...event });
      const staged = await pool.take(member, { diffId, blob }, (current) => tally.at(chainId, current));
      tally.done(chainId);
      ready.set(chainId, staged);
      fresh.push(staged);
    }),
  );
  return {
    stacks: chains.map((chain) => chain.map((chainId) => ready.get(chainId) as StagedLayer | Layer)),
    fresh,
  };
}
