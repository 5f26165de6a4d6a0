/**
 * Adds an image whose top layer comes from a commit or an import. It publishes the layer on top of layers of
 * the store, and then writes and names the image.
 */
import { topChainId, type ImageID } from '../core/digest.ts';
import type { OnProgress } from '../core/progress.ts';
import type { Reference } from '../core/reference.ts';
import type { Layer, LayerStore, StagedLayer } from '../layer/store.ts';
import { timed } from '../system/phases.ts';
import type { ImageConfig } from './config.ts';
import type { ImageStore } from './store.ts';

export interface OwnImage {
  readonly config: ImageConfig;
  /** Bottom first. */
  readonly layers: readonly (Layer | StagedLayer)[];
  /** The image on which it was made. */
  readonly parent: ImageID | undefined;
  readonly reference: Reference | undefined;
}

export interface AddOwnOptions {
  readonly operation: 'commit' | 'import';
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/**
 * Adds the image to the store, durably, contents included, and names it. After an error its layer is still
 * staged.
 * @throws {@link LayerstackError} what publishing and `ImageStore.create` throw.
 */
export async function addOwnImage(
  stores: { readonly layers: LayerStore; readonly images: ImageStore },
  { config, layers, parent, reference }: OwnImage,
  { operation, signal, onProgress }: AddOwnOptions,
): Promise<ImageID> {
  const top = topChainId(config.diffIds);
  await using _pin = await stores.layers.pin(top === undefined ? [] : [top], { signal });
  const { notices } = await timed(operation, 'publish', () => stores.layers.publish([layers], { signal }));
  for (const message of notices) onProgress?.({ type: 'notice', message });
  const names = reference && { references: [reference] };
  return (await stores.images.create(config, { ...names, parent })).id;
}
