/** The layers of a store as a tree with the images on it. It shows which images share layers. */
import type { ChainID, ImageID } from '../core/digest.ts';
import { formatReference, type Reference } from '../core/reference.ts';
import type { LayerNode } from '../layer/graph.ts';
import type { CatalogEntry } from './catalog.ts';

/** A layer with the layers above it. */
export interface LayerTree {
  /** Undefined for the empty chain, which images without layers have. */
  readonly chainId: ChainID | undefined;
  /** Bytes of its own content. */
  readonly size: number;
  /** Bytes of its own content and of all below it. */
  readonly virtualSize: number;
  /** The images whose topmost layer it is. */
  readonly images: readonly { readonly id: ImageID; readonly references: readonly string[] }[];
  readonly children: readonly LayerTree[];
}

/** Returns the base layers, each with the layers above it. */
export function layerTree(
  graph: ReadonlyMap<ChainID, LayerNode>,
  entries: readonly CatalogEntry[],
  names: ReadonlyMap<ImageID, readonly Reference[]>,
): LayerTree[] {
  const images = groupBy(entries, ({ top }) => top);
  const imagesOn = (top: ChainID | null): LayerTree['images'] =>
    (images.get(top) ?? []).map(({ id }) => ({ id, references: (names.get(id) ?? []).map(formatReference) }));
  const byParent = groupBy(graph.values(), ({ parent }) =>
    parent !== undefined && graph.has(parent) ? parent : undefined,
  );
  const build = (parent: ChainID | undefined, below: number): LayerTree[] =>
    (byParent.get(parent) ?? [])
      .sort((a, b) => (a.chainId < b.chainId ? -1 : 1))
      .map(({ chainId, size }) => ({
        chainId,
        size,
        virtualSize: below + size,
        images: imagesOn(chainId),
        children: build(chainId, below + size),
      }));
  const unlayered = imagesOn(null);
  const none = { chainId: undefined, size: 0, virtualSize: 0, images: unlayered, children: [] };
  return [...(unlayered.length > 0 ? [none] : []), ...build(undefined, 0)];
}

function groupBy<K, V>(values: Iterable<V>, key: (value: V) => K): Map<K, V[]> {
  const groups = new Map<K, V[]>();
  for (const value of values) {
    const group = groups.get(key(value));
    if (group) group.push(value);
    else groups.set(key(value), [value]);
  }
  return groups;
}
