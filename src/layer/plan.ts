/**
 * Turns images, each a list of layers from bottom to top, into the list of layers that the store must have:
 * every chain once, parents before children.
 */
import type { ChainID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { chainIdOn } from './chain-id.ts';
import type { ClassicLayer, Layer } from './layerdb.ts';
import type { StagedClassicLayer, StagedLayer } from './staged-layer.ts';

/** The layers that one mount can have with short names, on every supported kernel. */
export const MAX_LAYERS = 500;
/** dockerd's limit. Above it, dockerd reports "max depth exceeded". */
export const MAX_DOCKER_LAYERS = 125;

export interface PlannedLayer {
  readonly chainId: ChainID;
  readonly parent: ChainID | undefined;
  readonly layer: StagedLayer | Layer;
}

export interface PlannedClassicLayer extends PlannedLayer {
  readonly layer: StagedClassicLayer | ClassicLayer;
}

/** Returns the layers in Docker's form. Every layer below one of them is in this form too. */
export function classicLayers(layers: readonly PlannedLayer[]): PlannedClassicLayer[] {
  return layers.filter((planned): planned is PlannedClassicLayer => planned.layer.packed === undefined);
}

export interface Plan {
  readonly layers: readonly PlannedLayer[];
  /** The top layer of each image, in order; undefined for an image without layers. */
  readonly tops: readonly (ChainID | undefined)[];
  /** Messages for the user. */
  readonly notices: readonly string[];
}

/**
 * Plans the layers of images.
 * @throws {@link LayerstackError} ERR_LAYER_DEPTH above {@link MAX_LAYERS}; ERR_INTERNAL when one staged copy
 *   is used for two chains, or an existing layer for the chain of another.
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

/** @throws {@link LayerstackError} ERR_LAYER_DEPTH for more than {@link MAX_LAYERS} layers. */
export function requireDepth(count: number): void {
  if (count <= MAX_LAYERS) return;
  throw new LayerstackError(
    'ERR_LAYER_DEPTH',
    `the image has ${count} layers, and at most ${MAX_LAYERS} can be mounted: squash it`,
    { limit: MAX_LAYERS, found: count },
  );
}
