/**
 * Settles packed images: extracts their layers from the tars into Docker's form, verified, as a load of the
 * same layers does. Then dockerd sees the images. Containers keep working, since a mount finds the layers in
 * the form that they have. Publishing the layers removes the tars.
 */
import { setMaxListeners } from 'node:events';
import { chainIds, type ImageID } from '../core/digest.ts';
import { OWN_LAYER_LIMITS, type Layer, type LayerStore, type StagedLayer } from '../layer/store.ts';
import type { ImageConfig } from './config.ts';
import type { ImageStore } from './store.ts';

export interface SettleOptions {
  readonly signal?: AbortSignal | undefined;
}

interface Stores {
  readonly layers: LayerStore;
  readonly images: ImageStore;
}

/**
 * Settles one image. It is durable on return. An image in Docker's form stays as it is. After an error the
 * image is still packed, except for layers that were published.
 * @returns whether the image was packed
 * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, also where it is removed meanwhile; ERR_STORE_CORRUPT
 *   for a tar that was changed; ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
 */
export async function settleImage(
  { layers, images }: Stores,
  id: ImageID,
  { signal }: SettleOptions = {},
): Promise<boolean> {
  const config = await images.get(id);
  if (images.formOf(id) !== 'packed') return false;
  const chains = chainIds(config.diffIds);
  const settled = await (async () => {
    await using _pin = await layers.pin(chains, { signal });
    return await settlePinned({ layers, images }, config, signal);
  })();
  // A pack may have left layers in both forms.
  await images.dropSecondForms(chains);
  return settled;
}

async function settlePinned(
  { layers, images }: Stores,
  config: ImageConfig,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const stack = await layers.stack(config.diffIds);
  const own = perLayer(signal);
  const stage = (layer: Layer): Promise<StagedLayer> | Layer =>
    layer.packed ? layers.restage(layer, { limits: OWN_LAYER_LIMITS, signal: own }) : layer;
  const staged = await stageAll(layers, stack, stage);
  try {
    await layers.publish([staged], { signal });
    await images.add([{ config }], [], { signal, existing: true });
    return true;
  } finally {
    for (const layer of staged) if ('writeSet' in layer) await layers.discard(layer);
  }
}

/** Returns a signal that each layer may listen to. Node warns where one has many listeners. */
export function perLayer(signal: AbortSignal | undefined): AbortSignal | undefined {
  if (signal === undefined) return undefined;
  const own = AbortSignal.any([signal]);
  setMaxListeners(0, own);
  return own;
}

/** Stages layers in parallel. After an error, none is left. */
export async function stageAll(
  layers: LayerStore,
  stack: readonly Layer[],
  stage: (layer: Layer) => Promise<StagedLayer> | Layer,
): Promise<(Layer | StagedLayer)[]> {
  const results = await Promise.allSettled(stack.map(async (layer) => stage(layer)));
  const failed = results.find((result) => result.status === 'rejected');
  const done = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  if (failed === undefined) return done;
  for (const layer of done) if ('writeSet' in layer) await layers.discard(layer);
  throw failed.reason;
}
