/**
 * Reads layerdb, `sha256/<chain>/{cache-id,diff,size,parent}`, as moby/moby:
 * daemon/internal/layer/filestore.go does (it trims all but `size`). Only complete entries count: all these
 * files are readable, and the content directory exists. Readers take no lock: an entry that vanishes while it
 * is read counts as absent.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { isDigest, type ChainID, type DiffID, type Digest } from '../core/digest.ts';
import { chainIdOn } from './chain-id.ts';
import { isSystemError } from '../core/errors.ts';
import type { Layout } from '../system/layout.ts';
import { isEntryName } from '../system/removal.ts';
import type { PackedLayer } from './packed/entry.ts';
import { hasDirectory, readText, readTexts, statEntry } from '../system/store-files.ts';

/** A complete layer of the store. */
export type Layer = ClassicLayer | PackedLayer;

/** A complete layer of layerdb. */
export interface ClassicLayer {
  readonly packed?: undefined;
  readonly chainId: ChainID;
  readonly diffId: DiffID;
  readonly parent?: ChainID;
  /** Name of its directory in `overlay2`. */
  readonly cacheId: string;
  /** Bytes of its own content, as docker counts them. */
  readonly size: number;
}

/** Parallel reads. They keep all threads busy, and stay far below any limit of open files. */
const READS = 64;
/** Reading yields to other work on the event loop after this many layers (half a millisecond). */
const SLICE = 128;

/**
 * The layerdb of one store. Layers stay in memory after the first read; later reads check them with two
 * stats.
 */
export class LayerDb {
  readonly #layout: Layout;
  readonly #known = new Map<ChainID, { readonly layer: ClassicLayer; readonly stamp: string }>();

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** Returns the layer; undefined when it is absent or incomplete. */
  async find(chainId: ChainID): Promise<ClassicLayer | undefined> {
    const stamp = this.#stamp(chainId);
    if (stamp === undefined) return undefined;
    const known = this.#known.get(chainId);
    const layer = known?.stamp === stamp ? known.layer : await this.#read(chainId);
    if (layer === undefined || !hasDirectory(this.#layout.at(this.#layout.overlay(layer.cacheId, 'diff')))) {
      this.#known.delete(chainId);
      return undefined;
    }
    this.#known.set(chainId, { layer, stamp });
    return layer;
  }

  /** Does {@link find} for each, in order. */
  async findAll(chainIds: readonly ChainID[]): Promise<(ClassicLayer | undefined)[]> {
    const found = new Array<ClassicLayer | undefined>(chainIds.length).fill(undefined);
    let next = 0;
    const reader = async (): Promise<void> => {
      for (let i = next++; i < chainIds.length; i = next++) {
        found[i] = await this.find(chainIds[i] as ChainID);
        if (i % SLICE === 0) await nextTurn();
      }
    };
    await Promise.all(Array.from({ length: Math.min(READS, chainIds.length) }, reader));
    return found;
  }

  /**
   * Returns the layer and those below it, top first, as far as earlier calls found them. This is safe, since
   * a ChainID fixes the layers below it.
   */
  lineage(chainId: ChainID): ChainID[] {
    const ids: ChainID[] = [];
    for (
      let next: ChainID | undefined = chainId;
      next !== undefined;
      next = this.#known.get(next)?.layer.parent
    )
      ids.push(next);
    return ids;
  }

  /**
   * Returns the `size` of the layer; undefined when it has none. Synchronous, since a listing asks ten
   * thousand times.
   */
  size(chainId: ChainID): number | undefined {
    return parseSize(readText(this.#layout.at(this.#layout.layer(chainId, 'size'))));
  }

  async #read(chainId: ChainID): Promise<ClassicLayer | undefined> {
    const [diffText, sizeText, cacheText, parentText] = await this.#texts(chainId);
    const diffId = digest<DiffID>(diffText?.trim());
    const size = parseSize(sizeText);
    const cacheId = cacheText?.trim();
    const parent = digest<ChainID>(parentText?.trim());
    if (diffId === undefined || size === undefined || cacheId === undefined || !isEntryName(cacheId))
      return undefined;
    if (parentText !== undefined && parent === undefined) return undefined;
    if (chainIdOn(parent, diffId) !== chainId) return undefined;
    return { chainId, diffId, ...(parent === undefined ? {} : { parent }), cacheId, size };
  }

  /**
   * Returns the content of the entry's files. An entry with a file in place of a directory, or the reverse,
   * has none.
   */
  async #texts(chainId: ChainID): Promise<(string | undefined)[]> {
    const files = ['diff', 'size', 'cache-id', 'parent'] as const;
    try {
      return await readTexts(files.map((name) => this.#layout.at(this.#layout.layer(chainId, name))));
    } catch (error) {
      if (isSystemError(error, 'ENOTDIR', 'EISDIR')) return [];
      throw error;
    }
  }

  /**
   * Returns a stamp that changes when another entry replaces this one: entries are written once, then
   * renamed.
   */
  #stamp(chainId: ChainID): string | undefined {
    const entry = statEntry(this.#layout.at(this.#layout.layer(chainId)));
    return entry && `${entry.ino} ${entry.ctimeMs}`;
  }
}

/** Returns whether layerdb has an entry of the layer, complete or not. Only such layers can be below it. */
export function isClassic({ layout }: { readonly layout: Layout }, chainId: ChainID): boolean {
  return statEntry(layout.at(layout.layer(chainId))) !== undefined;
}

/** dockerd does not trim `size`: a trailing newline makes a layer unloadable. */
function parseSize(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,19}$/.test(text) ? Number(text) : undefined;
}

function digest<T extends Digest>(text: string | undefined): T | undefined {
  return text !== undefined && isDigest(text) ? (text as T) : undefined;
}
