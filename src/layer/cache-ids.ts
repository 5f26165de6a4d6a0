/** The directories of overlay2 that the entries of layerdb name. */
import type { Layout } from '../system/layout.ts';
import { listEntries, readEntry } from '../system/removal.ts';

/** Returns the cache-ids of all entries but `except`. */
export async function usedCacheIds(layout: Layout, except?: string): Promise<ReadonlySet<string>> {
  const names = (await listEntries(layout, layout.layers)).filter((name) => name !== except);
  const ids = await Promise.all(names.map((name) => readEntry(layout, `${layout.layers}/${name}/cache-id`)));
  return new Set(ids.filter((id) => id !== undefined));
}
