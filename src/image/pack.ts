/**
 * Packs images: the reverse of settling. The tar of each layer is rebuilt, verified, and written with its
 * index. The order is safe for a kill at any step: packed copies of the layers, then the documents of the
 * images in one change, then the removal of the extracted layers. Where both forms of a layer are left, the
 * next writer drops the one that is not needed (layer/second-forms.ts). Containers keep working, since a
 * mount finds the layers in the form that they have.
 */
import { chainIds, hexOf, topChainId, type ChainID, type ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { lineageOf } from '../layer/lineage.ts';
import { OWN_LAYER_LIMITS, type Layer, type LayerStore, type StagedLayer } from '../layer/store.ts';
import { probeErofs } from '../system/caps.ts';
import type { Root } from '../system/root.ts';
import type { ImageConfig } from './config.ts';
import { perLayer, stageAll } from './settle.ts';
import type { ImageStore } from './store.ts';

export interface PackOptions {
  readonly signal?: AbortSignal | undefined;
}

interface Stores {
  readonly root: Root;
  readonly layers: LayerStore;
  readonly images: ImageStore;
}

/**
 * Packs images. They are durable on return. Layers that other images have in Docker's form stay extracted.
 * After an error each image has the form that it had.
 * @returns the images that this call has changed
 * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, also where one is removed meanwhile; ERR_IMAGE_IN_USE
 *   where another image needs all its layers in Docker's form; ERR_UNSUPPORTED where the kernel cannot mount
 *   packed layers; ERR_STORE_CORRUPT for a changed layer; ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
 */
export async function packImages(
  stores: Stores,
  ids: readonly ImageID[],
  { signal }: PackOptions = {},
): Promise<ImageID[]> {
  const { layers, images, root } = stores;
  if ((await probeErofs(root.layout.root)) === 'none') throw unsupported();
  const configs = await Promise.all([...new Set(ids)].map((id) => images.get(id)));
  const chains = configs.flatMap(({ diffIds }) => chainIds(diffIds));
  const packed = await (async () => {
    await using _pin = await layers.pin(chains, { signal });
    return await packPinned(stores, configs, signal);
  })();
  if (packed.length > 0) await images.dropSecondForms(chains);
  return packed;
}

/** Makes the packed copies, and moves the documents. */
async function packPinned(
  stores: Stores,
  configs: readonly ImageConfig[],
  signal: AbortSignal | undefined,
): Promise<ImageID[]> {
  const { layers, images } = stores;
  const stacks = await Promise.all(configs.map(({ diffIds }) => layers.stack(diffIds)));
  const tops = await images.classicTops(configs.map(({ id }) => id));
  const movable = new Set(await layers.packable([...new Set(stacks.flat().map(chainOf))], tops));
  const isMoved = (_: ImageConfig, index: number): boolean =>
    stacks[index]?.some(({ chainId }) => movable.has(chainId)) === true;
  for (const [index, config] of configs.entries())
    if (images.formOf(config.id) === 'classic' && stacks[index]?.length !== 0 && !isMoved(config, index))
      throw await neededBy(stores, config, configs);
  const moved = configs.filter(isMoved);
  if (moved.length === 0) return [];
  const isStaged = ({ chainId }: Layer): boolean => movable.has(chainId) && !layers.hasPacked(chainId);
  const missing = new Map(
    stacks
      .flat()
      .filter(isStaged)
      .map((layer) => [layer.chainId, layer]),
  );
  const own = perLayer(signal);
  const stage = (layer: Layer): Promise<StagedLayer> =>
    layers.restage(layer, { limits: OWN_LAYER_LIMITS, signal: own, form: 'packed' });
  const made = await stageAll(layers, [...missing.values()], stage);
  const copies = new Map([...missing.keys()].map((chainId, index) => [chainId, made[index]]));
  try {
    const plans = stacks.map((stack) => stack.map((layer) => copies.get(layer.chainId) ?? layer));
    await using _copies = await layers.publishCopies(plans, { signal });
    const change = { signal, existing: true, form: 'packed' } as const;
    await images.add(
      moved.map((config) => ({ config })),
      [],
      change,
    );
    return moved.map(({ id }) => id);
  } finally {
    for (const layer of made) if ('writeSet' in layer) await layers.discard(layer);
  }
}

function chainOf({ chainId }: Layer): ChainID {
  return chainId;
}

/** Returns the error that names the images for which the layers of this one stay extracted. */
async function neededBy(
  { root, images }: Stores,
  { id, diffIds }: ImageConfig,
  configs: readonly ImageConfig[],
): Promise<LayerstackError> {
  const top = topChainId(diffIds);
  const packing = new Set(configs.map((config) => config.id));
  const names = await images.references();
  const nameOf = (image: ImageID): string => names.get(image)?.[0] ?? hexOf(image).slice(0, 12);
  const others: string[] = [];
  for (const { Id, Form } of await images.list({ all: true })) {
    const other = Id as ImageID;
    if (Form === 'packed' || packing.has(other)) continue;
    const above = topChainId((await images.get(other)).diffIds);
    if (above !== undefined && top !== undefined && lineageOf(root.layout, above).includes(top))
      others.push(nameOf(other));
  }
  const who =
    others.length === 0 ? 'BuildKit, or a layer without an image, has' : `${others.join(', ')} also has`;
  const help = others.length === 0 ? 'remove it (layerstack prune)' : 'name the images in one command';
  return new LayerstackError(
    'ERR_IMAGE_IN_USE',
    `image ${nameOf(id)} stays in Docker's form, because ${who} its layers: ${help}`,
    { id },
  );
}

function unsupported(): LayerstackError {
  return new LayerstackError(
    'ERR_UNSUPPORTED',
    'this kernel cannot mount packed layers (it lacks EROFS with 512-byte blocks, Linux 6.4): the image stays in ' +
      "Docker's form",
  );
}
