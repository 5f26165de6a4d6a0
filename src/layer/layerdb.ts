/**
 * Reading layerdb: `sha256/<chain>/{cache-id,diff,size,parent}`, as moby/moby: daemon/internal/layer/filestore.go does
 * (all but `size` are trimmed). An entry counts only when it is complete: all of these readable, and the content
 * directory there. Readers take no lock: an entry that vanishes meanwhile is absent.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { chainIds, diffIdOf, isDigest, type ChainID, type DiffID, type Digest } from '../core/digest.ts';
import { isSystemError } from '../core/errors.ts';
import type { Layout } from '../system/layout.ts';
import { isEntryName } from '../system/removal.ts';
import { hasDirectory, readText, readTexts, statEntry } from '../system/store-files.ts';

/** A complete layer of the store. */
export interface Layer {
  readonly chainId: ChainID;
  readonly diffId: DiffID;
  readonly parent?: ChainID;
  /** Name of its directory in `overlay2`. */
  readonly cacheId: string;
  /** Bytes of its own content, as docker counts them. */
  readonly size: number;
}

/** Parallel reads: enough to keep the threads busy, and far from any limit of open files. */
const READS = 64;
/** Reading gives way to other work on the event loop after this many layers (half a millisecond). */
const SLICE = 128;

/** The layerdb of one store. What was read stays in memory, and is checked with two stats when asked for again. */
export class LayerDb {
  readonly #layout: Layout;
  readonly #known = new Map<ChainID, { readonly layer: Layer; readonly stamp: string }>();

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** The layer; undefined when it is absent or incomplete. */
  async find(chainId: ChainID): Promise<Layer | undefined> {
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

  /** {@link find} for each, in order. */
  async findAll(chainIds: readonly ChainID[]): Promise<(Layer | undefined)[]> {
    const found = new Array<Layer | undefined>(chainIds.length).fill(undefined);
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

  /** The chain and those below it, top first, as far as they were found before: what a ChainID stands on is fixed. */
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

  /** The `size` of the layer; undefined where there is none. Synchronous: a listing asks for ten thousand. */
  size(chainId: ChainID): number | undefined {
    return parseSize(readText(this.#layout.at(this.#layout.layer(chainId, 'size'))));
  }

  async #read(chainId: ChainID): Promise<Layer | undefined> {
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

  /** What files an entry has; one that is half a directory is incomplete. */
  async #texts(chainId: ChainID): Promise<(string | undefined)[]> {
    const files = ['diff', 'size', 'cache-id', 'parent'] as const;
    try {
      return await readTexts(files.map((name) => this.#layout.at(this.#layout.layer(chainId, name))));
    } catch (error) {
      if (isSystemError(error, 'ENOTDIR', 'EISDIR')) return [];
      throw error;
    }
  }

  /** Changes when the entry is replaced by another: entries are written once, then renamed into place. */
  #stamp(chainId: ChainID): string | undefined {
    const entry = statEntry(this.#layout.at(this.#layout.layer(chainId)));
    return entry && `${entry.ino} ${entry.ctimeMs}`;
  }
}

/** The ChainID of a layer on its parent. */
export function chainIdOn(parent: ChainID | undefined, diffId: DiffID): ChainID {
  // A chain of two whose lower "DiffID" is the parent's ChainID: that is how ChainIDs are defined.
  return chainIds(parent === undefined ? [diffId] : [diffIdOf(parent), diffId]).at(-1) as ChainID;
}

/** dockerd does not trim `size`: a trailing newline makes a layer unloadable. */
function parseSize(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,19}$/.test(text) ? Number(text) : undefined;
}

function digest<T extends Digest>(text: string | undefined): T | undefined {
  return text !== undefined && isDigest(text) ? (text as T) : undefined;
}
