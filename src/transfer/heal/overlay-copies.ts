/**
 * Copies of layers in directories of overlay2 that have lost their entry in layerdb. The tar-split is lost
 * with the entry. So a directory is proven by the tar that layerstack would write of it. This tar is the
 * right one for layers that were committed or imported here. Other layers need another copy.
 */
import { LayerstackError } from '../../core/errors.ts';
import { OWN_LAYER_LIMITS, type DamagedLayer, type LayerStore } from '../../layer/store.ts';
import { unclaimedDirectories } from '../../layer/unclaimed.ts';
import { rwLayerOverlays } from '../../rwlayer/check.ts';
import type { Root } from '../../system/root.ts';
import type { LayerCopies, UseCopy } from './heal-layer.ts';

export interface OverlayStores {
  readonly root: Root;
  readonly layers: Pick<LayerStore, 'stageAlone' | 'discard'>;
}

export class OverlayCopies implements LayerCopies {
  readonly name = 'overlay2, in its directories without an entry,';
  readonly #stores: OverlayStores;
  readonly #signal: AbortSignal | undefined;

  constructor(stores: OverlayStores, signal: AbortSignal | undefined) {
    this.#stores = stores;
    this.#signal = signal;
  }

  async copy({ diffId, cacheId }: DamagedLayer, use: UseCopy): Promise<boolean> {
    // A layer that still has its directory is compared with its own tar-split.
    if (cacheId !== undefined) return false;
    const { root } = this.#stores;
    for (const id of await unclaimedDirectories(root.layout, () => rwLayerOverlays(root)))
      if (await this.#copyOf(id, diffId, use)) return true;
    return false;
  }

  async #copyOf(id: string, diffId: string, use: UseCopy): Promise<boolean> {
    const { root, layers } = this.#stores;
    const directory = root.layout.at(root.layout.overlay(id, 'diff'));
    const options = { limits: OWN_LAYER_LIMITS, name: `of ${directory}`, signal: this.#signal };
    const staged = await layers.stageAlone({ directory, kind: 'upper' }, options).catch((error: unknown) => {
      // A directory that no tar can describe is not the layer.
      if (LayerstackError.is(error) && error.kind === 'aborted') throw error;
      if (LayerstackError.is(error) || (error as { code?: unknown }).code === 'ENOENT') return undefined;
      throw error;
    });
    if (staged === undefined) return false;
    try {
      if (staged.diffId !== diffId) return false;
      await use(staged);
      return true;
    } finally {
      await layers.discard(staged);
    }
  }
}
