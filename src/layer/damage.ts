/** Finds damaged layers among those that an operation uses, several at a time, and each layer once. */
import { availableParallelism } from 'node:os';
import type { ChainID } from '../core/digest.ts';
import type { DamageOptions, Layer, LayerStore } from './store.ts';

/** Each comparison reads on a thread of its own. More threads than processors do not make it faster. */
const AT_ONCE = Math.max(2, availableParallelism());

export class DamageCheck {
  readonly #layers: Pick<LayerStore, 'isDamaged'>;
  readonly #options: DamageOptions;
  /** The results, by the layer and its directory: a layer that is replaced meanwhile is compared again. */
  readonly #known = new Map<string, Promise<boolean>>();

  constructor(layers: Pick<LayerStore, 'isDamaged'>, options: DamageOptions) {
    this.#layers = layers;
    this.#options = options;
  }

  /**
   * Returns the damaged ones among these layers.
   * @throws the errors of `LayerStore.isDamaged`
   */
  async among(layers: readonly (Layer | undefined)[]): Promise<ReadonlySet<ChainID>> {
    const damaged = new Set<ChainID>();
    const left = layers.filter((layer) => layer !== undefined);
    const work = async (): Promise<void> => {
      for (let layer = left.shift(); layer !== undefined; layer = left.shift())
        if (await this.#isDamaged(layer)) damaged.add(layer.chainId);
    };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, left.length) }, work));
    return damaged;
  }

  #isDamaged(layer: Layer): Promise<boolean> {
    const key = `${layer.chainId} ${layer.packed ? 'packed' : layer.cacheId}`;
    const known = this.#known.get(key) ?? this.#layers.isDamaged(layer, this.#options);
    this.#known.set(key, known);
    return known;
  }
}
