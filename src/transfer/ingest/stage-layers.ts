/** Turns planned images into stacks of layers that can be published. */
import { chainIds, type ChainID } from '../../core/digest.ts';
import type { OnProgress } from '../../core/progress.ts';
import { Tally } from '../../core/tally.ts';
import type { DamageCheck } from '../../layer/damage.ts';
import type { Layer, LayerForm, LayerStore, StagedLayer } from '../../layer/store.ts';
import type { PlannedImage, PlannedLayer } from './planned.ts';
import type { LayerPool } from './layer-pool.ts';

export interface StagedImages {
  /** The layers of each image, bottom to top. */
  readonly stacks: readonly (readonly (StagedLayer | Layer)[])[];
  /** The layers that the store did not have, each once. */
  readonly fresh: readonly StagedLayer[];
  /** Copies of layers that the store has, but damaged; parents before children. */
  readonly copies: ReadonlyMap<Layer, StagedLayer>;
}

export interface StageSettings {
  readonly pool: LayerPool;
  /** Compares the layers that the store has. */
  readonly damage: DamageCheck;
  readonly onProgress: OnProgress | undefined;
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
 * Stages the layers that the store lacks or has damaged, all in parallel, and reads no other layers. The same
 * layer on two chains is two layers of the store. An equal chain of two images is one.
 */
export async function stageLayers(
  layers: Pick<LayerStore, 'findAll' | 'isClassic'>,
  images: readonly PlannedImage[],
  { pool, damage, onProgress }: StageSettings,
): Promise<StagedImages> {
  const chains = images.map(({ config }) => chainIds(config.diffIds));
  const needed = new Map<ChainID, PlannedLayer>();
  for (const [index, chain] of chains.entries())
    for (const [depth, chainId] of chain.entries())
      needed.set(chainId, needed.get(chainId) ?? (images[index]?.layers[depth] as PlannedLayer));
  const present = await layers.findAll([...needed.keys()]);
  const extracted = extractedChains(layers, chains, pool.form);
  // Extracted layers cannot stand on packed layers: those are extracted from this source, too.
  const known = present.map((layer) => (layer?.packed && extracted.has(layer.chainId) ? undefined : layer));
  const damaged = await damage.among(known);
  const sound = known.map((layer) => (layer && damaged.has(layer.chainId) ? undefined : layer));
  const ready = new Map<ChainID, StagedLayer | Layer>();
  const fresh: StagedLayer[] = [];
  const copied = new Map<ChainID, StagedLayer>();
  const tally = new Tally<ChainID>(onProgress);
  for (const [index, [chainId, { member }]] of [...needed].entries())
    if (!sound[index] && !pool.isBegun(member)) tally.expect(chainId, member.content.size);
  await Promise.all(
    [...needed].map(async ([chainId, { member, diffId, blob }], index) => {
      const layer = sound[index];
      const blobOf = blob && { blob: blob.digest };
      const event = { diffId, ...blobOf, member: member.name, current: 0, total: member.content.size };
      if (layer) {
        onProgress?.({ type: 'layer-exists', ...event });
        ready.set(chainId, layer);
        return;
      }
      if (member.content.openOnce === true) onProgress?.({ type: 'layer-waiting', ...event });
      const taken = await pool.take(member, { diffId, blob }, (current) => tally.at(chainId, current));
      const staged = extracted.has(chainId) ? await pool.extracted(member, taken) : taken;
      tally.done(chainId);
      ready.set(chainId, known[index] ?? staged);
      if (known[index]) copied.set(chainId, staged);
      else fresh.push(staged);
    }),
  );
  const copies = known.flatMap((layer) => {
    const copy = layer && copied.get(layer.chainId);
    return copy ? [[layer, copy] as const] : [];
  });
  return {
    stacks: chains.map((chain) => chain.map((chainId) => ready.get(chainId) as StagedLayer | Layer)),
    fresh,
    copies: new Map(copies),
  };
}

/**
 * Returns the layers that must be in Docker's form. Without the pool's wish for it, these are the layers that
 * layerdb has, even incomplete ones, and all layers below them.
 */
export function extractedChains(
  layers: Pick<LayerStore, 'isClassic'>,
  chains: readonly (readonly ChainID[])[],
  form: LayerForm,
): Set<ChainID> {
  const tops = chains.map((chain) =>
    form === 'classic' ? chain.length : chain.findLastIndex((chainId) => layers.isClassic(chainId)) + 1,
  );
  return new Set(chains.flatMap((chain, index) => chain.slice(0, tops[index])));
}
