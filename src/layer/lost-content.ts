/** Finds the directory of a layer whose entry no longer names it. */
import { throwIfAborted } from '../core/abort.ts';
import type { Root } from '../system/root.ts';
import { isProven, type ComparableLayer } from './compare.ts';
import { unclaimedDirectories } from './unclaimed.ts';

export interface FindOptions {
  /** The directories of overlay2 that belong to containers. */
  readonly containers: ReadonlySet<string>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Returns the directory of overlay2 that has the content of the layer, among those that nothing names.
 * Comparing a directory stops at the first difference.
 */
export async function findContent(
  root: Root,
  layer: Omit<ComparableLayer, 'cacheId'>,
  { containers, signal }: FindOptions,
): Promise<string | undefined> {
  for (const cacheId of await unclaimedDirectories(root.layout, () => containers)) {
    throwIfAborted(signal);
    if (await isProven(root.layout, { ...layer, cacheId }, signal)) return cacheId;
  }
  return undefined;
}
