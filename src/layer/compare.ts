/**
 * Compares the directory of a layer with its tar: contents, metadata, links, whiteouts, missing and
 * additional entries. A layer without differences is proven: a mount shows exactly the content that its
 * DiffID names.
 */
import { basename } from 'node:path';
import { throwIfAborted } from '../core/abort.ts';
import { LayerstackError, unlessMissing } from '../core/errors.ts';
import { isHex64 } from '../core/digest.ts';
import type { Layout } from '../system/layout.ts';
import { call, native, type ComparedLayer } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { statEntry } from '../system/store-files.ts';
import { nameLayer } from './assemble.ts';
import type { ClassicLayer } from './layerdb.ts';

export interface CompareOptions {
  /** Sets the metadata that differs, where the tar has the DiffID. Default false. */
  readonly setMetadata?: boolean;
  /**
   * Reads the contents of files. Without it contents differ only by their size, and neither metadata nor
   * whiteouts are compared. Default true.
   */
  readonly contents?: boolean;
  /** Stops at the first difference that is not of metadata. Default false. */
  readonly stopEarly?: boolean;
  /** The most bytes that are read in a second; 0 for no bound. Default 0. */
  readonly rate?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type ComparableLayer = Pick<ClassicLayer, 'chainId' | 'diffId' | 'cacheId'>;

/**
 * Compares a layer with its tar. Nothing is synced.
 * @returns undefined when its tar-split is missing
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT for a damaged tar-split, ERR_LAYER_* for headers that no
 *   layer can have; ERR_ABORTED; system errors.
 */
export async function compareLayer(
  layout: Layout,
  { chainId, diffId, cacheId }: ComparableLayer,
  { setMetadata = false, contents = true, stopEarly = false, rate = 0, signal }: CompareOptions = {},
): Promise<ComparedLayer | undefined> {
  throwIfAborted(signal);
  const tarSplit = layout.at(layout.layer(chainId, 'tar-split.json.gz'));
  const diff = layout.at(layout.overlay(cacheId, 'diff'));
  const comparison = new native.LayerComparison({
    ...{ diff, tarSplit, diffId, contents, stopEarly },
    ...firstOwner(layout),
    // The other directories are named by BuildKit, which makes layers of uppers.
    ofUpper: !isHex64(cacheId),
    setMetadata,
    rate,
  });
  const abort = (): void => comparison.abort();
  signal?.addEventListener('abort', abort);
  try {
    return await unlessMissing(call(comparison.result));
  } catch (error) {
    throwIfAborted(signal);
    throw nameLayer(error, { diff, tarSplit, diffId });
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/**
 * Returns the host's ids of a container's root user. dockerd with `userns-remap` has a root directory
 * `UID.GID` for each range of ids, and gives it and `overlay2` to this group.
 */
function firstOwner(layout: Layout): { readonly firstUid: number; readonly firstGid: number } {
  const [, uid = '0', gid = '0'] = /^(\d{1,9})\.(\d{1,9})$/.exec(basename(layout.root)) ?? [];
  const owned = statEntry(layout.at(layout.overlay2))?.gid === Number(gid);
  return owned ? { firstUid: Number(uid), firstGid: Number(gid) } : { firstUid: 0, firstGid: 0 };
}

/**
 * Returns whether the contents and entries are those of the DiffID. Metadata may still differ. A layer that
 * cannot be compared is not proven.
 * @throws {@link LayerstackError} ERR_ABORTED; system errors.
 */
export async function isProven(
  layout: Layout,
  layer: ComparableLayer,
  signal?: AbortSignal,
): Promise<boolean> {
  try {
    const compared = await compareLayer(layout, layer, { stopEarly: true, signal });
    return compared?.proven === true && compared.count === compared.metadata;
  } catch (error) {
    if (!LayerstackError.is(error) || error.code === 'ERR_ABORTED') throw error;
    return false;
  }
}

/**
 * Requires that a layer has the right contents, before a value that follows from them is written.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT for any other layer.
 */
export async function requireProven({ layout }: Root, layer: ComparableLayer): Promise<void> {
  if (await isProven(layout, layer)) return;
  throw new LayerstackError(
    'ERR_STORE_CORRUPT',
    `layer ${layer.diffId} is damaged, so nothing can be derived from its content: \`fsck --deep\` names the damage`,
    { layer: layer.diffId },
  );
}
