/**
 * Compares the directory of a layer with its tar: contents, metadata, links, whiteouts, missing and
 * additional entries. A layer without differences is proven: a mount shows exactly the content that its
 * DiffID names.
 */
import { throwIfAborted } from '../core/abort.ts';
import { LayerstackError, unlessMissing } from '../core/errors.ts';
import { isHex64 } from '../core/digest.ts';
import type { Layout } from '../system/layout.ts';
import { call, native, type ComparedLayer } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { nameLayer } from './assemble.ts';
import type { ClassicLayer } from './layerdb.ts';

export interface CompareOptions {
  /** Sets the metadata that differs, where the tar has the DiffID. Default false. */
  readonly mend?: boolean;
  /** Reads the contents of files; without it contents differ only by their size. Default true. */
  readonly contents?: boolean;
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
  { mend = false, contents = true, signal }: CompareOptions = {},
): Promise<ComparedLayer | undefined> {
  throwIfAborted(signal);
  const tarSplit = layout.at(layout.layer(chainId, 'tar-split.json.gz'));
  const diff = layout.at(layout.overlay(cacheId, 'diff'));
  const comparison = new native.LayerComparison({
    ...{ diff, tarSplit, diffId, contents },
    // The other directories are named by BuildKit, which makes layers of uppers.
    ofUpper: !isHex64(cacheId),
    mend,
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
    const compared = await compareLayer(layout, layer, { signal });
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
