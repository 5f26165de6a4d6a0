/**
 * Reading layerdb: `sha256/<chain>/{cache-id,diff,size,parent}`, as moby/moby: daemon/internal/layer/filestore.go does
 * (all but `size` are trimmed). An entry counts only when it is complete: all of these readable, and the content
 * directory there. Readers take no lock: an entry that vanishes meanwhile is absent.
 */
import { Buffer } from 'node:buffer';
import { closeSync, openSync, readSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { chainIds, isDigest, type ChainID, type Digest, type DiffID } from '../core/digest.ts';
import { isSystemError } from '../core/errors.ts';
import type { Layout } from '../system/layout.ts';
import { isEntryName } from '../system/removal.ts';

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

/** Parallel reads: enough to keep libuv's threads busy, and far from any limit of open files. */
const READS = 64;

/** Room for more digits than a size has, so that a longer text does not pass for one. */
const sizeBuffer = Buffer.alloc(32);

/** The layerdb of one store. What was read stays in memory, and is checked with two stats when asked for again. */
export class LayerDb {
  readonly #layout: Layout;
  readonly #known = new Map<ChainID, { readonly layer: Layer; readonly stamp: string }>();

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** The layer; undefined when it is absent or incomplete. */
  async find(chainId: ChainID): Promise<Layer | undefined> {
    const stamp = await this.#stamp(chainId);
    if (stamp === undefined) return undefined;
    const known = this.#known.get(chainId);
    const layer = known?.stamp === stamp ? known.layer : await this.#read(chainId);
    if (layer === undefined || !(await this.#hasContent(layer.cacheId))) {
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
      for (let i = next++; i < chainIds.length; i = next++)
        found[i] = await this.find(chainIds[i] as ChainID);
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

  /**
   * The `size` of the layer; undefined where there is none. Synchronous, and into one buffer: a listing asks for ten
   * thousand, at 5 µs each, which would be 25 µs each with `readFile`.
   */
  size(chainId: ChainID): number | undefined {
    let fd: number;
    try {
      fd = openSync(this.#layout.at(this.#layout.layer(chainId, 'size')), 'r');
    } catch (error) {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw error;
    }
    try {
      return parseSize(sizeBuffer.toString('latin1', 0, readSync(fd, sizeBuffer, 0, sizeBuffer.length, 0)));
    } catch (error) {
      if (isSystemError(error, 'EISDIR')) return undefined;
      throw error;
    } finally {
      closeSync(fd);
    }
  }

  async #read(chainId: ChainID): Promise<Layer | undefined> {
    const file = (name: 'diff' | 'size' | 'cache-id' | 'parent'): Promise<string | undefined> =>
      readText(this.#layout.at(this.#layout.layer(chainId, name)));
    const [diffText, sizeText, cacheText, parentText] = await Promise.all([
      file('diff'),
      file('size'),
      file('cache-id'),
      file('parent'),
    ]);
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

  /** Changes when the entry is replaced by another: entries are written once, then renamed into place. */
  async #stamp(chainId: ChainID): Promise<string | undefined> {
    try {
      const { ino, ctimeNs } = await stat(this.#layout.at(this.#layout.layer(chainId)), { bigint: true });
      return `${ino} ${ctimeNs}`;
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  async #hasContent(cacheId: string): Promise<boolean> {
    try {
      return (await stat(this.#layout.at(this.#layout.overlay(cacheId, 'diff')))).isDirectory();
    } catch (error) {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return false;
      throw error;
    }
  }
}

/** The ChainID of a layer on its parent. */
export function chainIdOn(parent: ChainID | undefined, diffId: DiffID): ChainID {
  // A chain of two whose lower "DiffID" is the parent's ChainID: that is how ChainIDs are defined.
  return (parent === undefined
    ? diffId
    : chainIds([parent as Digest as DiffID, diffId])[1]) as Digest as ChainID;
}

/** dockerd does not trim `size`: a trailing newline makes a layer unloadable. */
function parseSize(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,19}$/.test(text) ? Number(text) : undefined;
}

function digest<T extends Digest>(text: string | undefined): T | undefined {
  return text !== undefined && isDigest(text) ? (text as T) : undefined;
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR', 'EISDIR')) return undefined;
    throw error;
  }
}
