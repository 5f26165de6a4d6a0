/**
 * Counts the references to layers: from images (their top layer), layerdb's mounts (their parent), other
 * layers (their parent), and BuildKit. The disk holds no reference counts, so they are counted anew, as
 * dockerd does when it starts.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { chainIdOf, digestOfHex, isDigest, isHex64, type ChainID } from '../core/digest.ts';
import type { Layout } from '../system/layout.ts';
import { listEntries } from '../system/removal.ts';
import { packedIds } from './packed/entry.ts';
import { readStoreFile, readText } from '../system/store-files.ts';

/** Reading yields to other work on the event loop after this many files (a millisecond). */
const SLICE = 128;
/** Far above the size of BuildKit's database, which is some megabytes. */
const MAX_SNAPSHOTS_BYTES = 1024 * 1024 * 1024;

/** The references to layers, as they are on disk now. */
export class LayerUses {
  /** The number of children of each layer. */
  readonly children: Map<ChainID, number>;
  /** Every layer of layerdb and every packed one, complete or not. */
  readonly layers: readonly ChainID[];
  readonly #roots: ReadonlySet<ChainID>;
  readonly #buildkit: Buffer | undefined;

  private constructor(facts: {
    readonly children: Map<ChainID, number>;
    readonly layers: readonly ChainID[];
    readonly roots: ReadonlySet<ChainID>;
    readonly buildkit: Buffer | undefined;
  }) {
    this.children = facts.children;
    this.layers = facts.layers;
    this.#roots = facts.roots;
    this.#buildkit = facts.buildkit;
  }

  /**
   * Counts the references.
   * @param imageTops - the top layer of every image
   * @param parents - caches the parents for the next count; a ChainID fixes its parent
   */
  static async count(
    layout: Layout,
    imageTops: Iterable<ChainID>,
    parents: Map<ChainID, ChainID | undefined>,
  ): Promise<LayerUses> {
    // A layer that is extracted meanwhile would be in neither list if the classic one were read first.
    const packed = await packedIds(layout);
    const classic = await classicIds(layout);
    const layers = [...new Set([...classic, ...packed])];
    const children = new Map<ChainID, number>();
    let read = 0;
    for (const layer of layers) {
      if (!parents.has(layer)) {
        parents.set(layer, readParent(layout, layer));
        if (++read % SLICE === 0) await nextTurn();
      }
      const parent = parents.get(layer);
      if (parent !== undefined) children.set(parent, (children.get(parent) ?? 0) + 1);
    }
    const roots = new Set(imageTops);
    for (const mount of await listEntries(layout, layout.mounts)) {
      const parent = readChainId(layout.at(layout.mount(mount, 'parent')));
      if (parent !== undefined) roots.add(parent);
      if (++read % SLICE === 0) await nextTurn();
    }
    const buildkit = await readBuildkit(layout);
    return new LayerUses({ children, layers, roots, buildkit });
  }

  /**
   * Returns whether anything other than a layer refers to the layer. `cacheId` is called only if BuildKit has
   * a database.
   *
   * A layer counts as BuildKit's if its database mentions the layer anywhere, even in a free page. A layer
   * that is kept for nothing costs space; a missing one breaks BuildKit's cache.
   */
  async isRoot(chainId: ChainID, cacheId: () => Promise<string | undefined>): Promise<boolean> {
    if (this.#roots.has(chainId)) return true;
    if (this.#buildkit === undefined) return false;
    return this.#buildkit.includes(chainId) || this.#buildkit.includes((await cacheId()) || chainId);
  }
}

/** Returns every layer of layerdb, complete or not. */
export async function classicIds(layout: Layout): Promise<ChainID[]> {
  const names = await listEntries(layout, layout.layers);
  return names.filter(isHex64).map((name) => chainIdOf(digestOfHex(name)));
}

/** Returns BuildKit's database of snapshots; undefined where it is missing. */
export function readBuildkit(layout: Layout): Promise<Buffer | undefined> {
  return readStoreFile(layout.at(layout.buildkitSnapshots), MAX_SNAPSHOTS_BYTES);
}

/** Returns the parent of a layer in either form. */
export function readParent(layout: Layout, chainId: ChainID): ChainID | undefined {
  const classic = (): ChainID | undefined => readChainId(layout.at(layout.layer(chainId, 'parent')));
  // A packed layer that is gone by now may have been extracted after the first look.
  return classic() ?? readChainId(layout.at(layout.packedLayer(chainId, 'parent'))) ?? classic();
}

/**
 * Returns the id in a small file; undefined without one. Synchronous, since there may be ten thousand of
 * them.
 */
export function readChainId(path: string): ChainID | undefined {
  const text = readText(path)?.trim();
  return text !== undefined && isDigest(text) ? chainIdOf(text) : undefined;
}
