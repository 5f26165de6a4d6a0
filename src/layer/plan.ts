/**
 * From images, each a list of layers bottom to top, to the layers that must be in the store: every chain once,
 * parents before children.
 */
import type { ChainID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { chainIdOn, type Layer } from './layerdb.ts';
import type { StagedLayer } from './staging.ts';

/** What one mount of a chain can hold with short names on any kernel we mount with. */
export const MAX_LAYERS = 500;
/** dockerd's limit: "max depth exceeded" beyond. */
export const MAX_DOCKER_LAYERS = 125;

export interface PlannedLayer {
  readonly chainId: ChainID;
  readonly parent: ChainID | undefined;
  readonly layer: StagedLayer | Layer;
}

export interface Plan {
  readonly layers: readonly PlannedLayer[];
  /** The top of each image, in order; undefined for one without layers. */
  readonly tops: readonly (ChainID | undefined)[];
  /** For the user. */
  readonly notices: readonly string[];
}

/**
 * @throws {@link LayerstackError} ERR_LAYER_DEPTH beyond {@link MAX_LAYERS}; ERR_INTERNAL when one staged copy is given
 * for two chains, or an existing layer for a chain that is not its own.
 */
export function planImages(images: readonly (readonly (StagedLayer | Layer)[])[]): Plan {
  const planned = new Map<ChainID, PlannedLayer>();
  const chainOf = new Map<StagedLayer, ChainID>();
  const notices: string[] = [];
  const tops = images.map((layers) => {
    requireDepth(layers.length);
    let parent: ChainID | undefined;
    for (const layer of layers) {
      const chainId = chainIdOn(parent, layer.diffId);
      const other = 'writeSet' in layer ? (chainOf.get(layer) ?? chainId) : layer.chainId;
      if (other !== chainId)
        throw new LayerstackError(
          'ERR_INTERNAL',
          `layer ${layer.diffId} is of chain ${other}, not ${chainId}`,
        );
      if ('writeSet' in layer) chainOf.set(layer, chainId);
      if (!planned.has(chainId)) planned.set(chainId, { chainId, parent, layer });
      parent = chainId;
    }
    if (layers.length > MAX_DOCKER_LAYERS)
      notices.push(
        `the image has ${layers.length} layers: dockerd cannot use more than ${MAX_DOCKER_LAYERS} (layerstack can)`,
      );
    return parent;
  });
  return { layers: [...planned.values()], tops, notices };
}

/** @throws {@link LayerstackError} ERR_LAYER_DEPTH for an image of more than {@link MAX_LAYERS} layers. */
export function requireDepth(count: number): void {
  if (count <= MAX_LAYERS) return;
  throw new LayerstackError(
    'ERR_LAYER_DEPTH',
    `the image has ${count} layers, and at most ${MAX_LAYERS} can be mounted: squash it`,
    { limit: MAX_LAYERS, found: count },
  );
}
