/**
 * Reads packed layers: the directories `layerstack/packed/layers/<chain>` with their files `layer.tar`,
 * `index.erofs`, `versions`, `diff`, `size`, `parent` and `link`. A packed layer is its tar, unchanged, and
 * an EROFS index whose files point into the tar. An entry is renamed to its place when all its files are on
 * disk, so only complete entries have a name.
 */
import { chainIdOf, diffIdOf, digestOfHex, isDigest, isHex64 } from '../../core/digest.ts';
import type { ChainID, DiffID } from '../../core/digest.ts';
import { isSystemError } from '../../core/errors.ts';
import type { Layout } from '../../system/layout.ts';
import { listEntries } from '../../system/removal.ts';
import { readText, readTexts, statEntry } from '../../system/store-files.ts';
import { chainIdOn } from '../chain-id.ts';

/** A complete packed layer. */
export interface PackedLayer {
  readonly packed: true;
  readonly cacheId?: undefined;
  readonly chainId: ChainID;
  readonly diffId: DiffID;
  readonly parent?: ChainID;
  /** The short name that it has in `overlay2/l` when it is extracted. Containers name it so. */
  readonly link: string;
  /** Bytes of its own content, as docker counts them. */
  readonly size: number;
}

const LINK = /^[A-Z2-7]{26}$/;

/** Returns the packed layer; undefined where it is missing or incomplete. */
export async function findPacked(layout: Layout, chainId: ChainID): Promise<PackedLayer | undefined> {
  if (!hasPacked(layout, chainId)) return undefined;
  const [diffId, size, parent, link] = (await textsOf(layout, chainId)).map((text) => text?.trim());
  if (diffId === undefined || !isDigest(diffId) || link === undefined || !isLink(link)) return undefined;
  const below = parent === undefined ? undefined : chainIdText(parent);
  const bytes = parseSize(size);
  if (bytes === undefined || chainIdOn(below, diffIdOf(diffId)) !== chainId) return undefined;
  return {
    packed: true,
    chainId,
    diffId: diffIdOf(diffId),
    ...(below === undefined ? {} : { parent: below }),
    link,
    size: bytes,
  };
}

/** Returns the content of the entry's small files. An entry with a directory in place of one has none. */
async function textsOf(layout: Layout, chainId: ChainID): Promise<(string | undefined)[]> {
  const files = ['diff', 'size', 'parent', 'link'] as const;
  try {
    return await readTexts(files.map((name) => layout.at(layout.packedLayer(chainId, name))));
  } catch (error) {
    if (isSystemError(error, 'ENOTDIR', 'EISDIR')) return [];
    throw error;
  }
}

/** Returns whether the text is a short name of a layer. */
export function isLink(text: string): boolean {
  return LINK.test(text);
}

/** Returns whether the store has the layer packed. */
export function hasPacked(layout: Layout, chainId: ChainID): boolean {
  return statEntry(layout.at(layout.packedLayer(chainId, 'layer.tar'))) !== undefined;
}

/** Returns the `size` of a packed layer; undefined without one. Synchronous, as for extracted layers. */
export function packedSize(layout: Layout, chainId: ChainID): number | undefined {
  return parseSize(readText(layout.at(layout.packedLayer(chainId, 'size')))?.trim());
}

/** Returns all packed layers, complete or not. */
export async function packedIds(layout: Layout): Promise<ChainID[]> {
  const names = await listEntries(layout, layout.packedLayers);
  return names.filter(isHex64).map((name) => chainIdOf(digestOfHex(name)));
}

function parseSize(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,19}$/.test(text) ? Number(text) : undefined;
}

function chainIdText(text: string): ChainID | undefined {
  return isDigest(text) ? chainIdOf(text) : undefined;
}
