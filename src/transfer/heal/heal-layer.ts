/**
 * Replaces a damaged layer of the store by a verified copy: from the kept blobs, an archive, or its registry,
 * in this order. The images, layers and stopped containers on it stay.
 */
import { throwIfAborted } from '../../core/abort.ts';
import { LayerstackError } from '../../core/errors.ts';
import type { DamagedLayer, LayerStore, ReplaceOptions, StagedLayer } from '../../layer/store.ts';

/** Uses a staged copy, which is discarded afterwards if it is not published. */
export type UseCopy = (staged: StagedLayer) => Promise<void>;

/** A place that may have a copy of a layer. */
export interface LayerCopies {
  /** The name of the place in messages. */
  readonly name: string;
  /** The message for a place without the layer. Default: the place does not have it. */
  readonly absent?: string;
  /**
   * Stages a copy, verified by its DiffID, and gives it to `use`.
   * @returns false when the place does not have the layer
   */
  copy(layer: DamagedLayer, use: UseCopy): Promise<boolean>;
}

/**
 * Replaces the layer by the first copy that is found. Durable on return.
 * @throws {@link LayerstackError} ERR_LAYER_NOT_FOUND naming the places that were asked, with the first of
 *   their errors as `cause`; the errors of LayerStore.replace; ERR_ABORTED. The layer is then as it was.
 */
export async function healLayer(
  layers: Pick<LayerStore, 'replace'>,
  places: readonly LayerCopies[],
  layer: DamagedLayer,
  options: ReplaceOptions,
): Promise<void> {
  const refusals: string[] = [];
  let first: LayerstackError | undefined;
  for (const place of places) {
    throwIfAborted(options.signal);
    let found = false;
    try {
      const use = async (staged: StagedLayer): Promise<void> => {
        found = true;
        await layers.replace(layer, staged, options);
      };
      if (await place.copy(layer, use)) return;
      refusals.push(place.absent ?? `${place.name} does not have it`);
    } catch (error) {
      // A copy that was found, but may not be used, is not better elsewhere.
      if (found || !LayerstackError.is(error) || error.code === 'ERR_ABORTED') throw error;
      first ??= error;
      refusals.push(error.message);
    }
  }
  throw new LayerstackError(
    'ERR_LAYER_NOT_FOUND',
    `no copy of layer ${layer.diffId} was found: ${refusals.join('; ')}; name an archive that has it (--from), or ask its registry (--pull)`,
    { layer: layer.diffId, cause: first },
  );
}
