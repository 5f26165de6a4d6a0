/** The directories of overlay2 that the entries of layerdb name. */
import type { Layout } from '../system/layout.ts';
import { listEntries, readEntry } from '../system/removal.ts';

/** Returns the cache-ids of all entries but those that `except` names. */
export async function usedCacheIds(
  layout: Layout,
  except: (name: string) => boolean = () => false,
): Promise<ReadonlySet<string>> {
  const names = (await listEntries(layout, layout.layers)).filter((name) => !except(name));
  return readIds(
    layout,
    names.map((name) => `${layout.layers}/${name}/cache-id`),
  );
}

/**
 * Returns the cache-ids of all entries but those that `except` names, and the directories of containers, init
 * layers and snapshots. A damaged entry may name one of these, which must stay when the entry is removed.
 */
export async function usedDirectories(
  layout: Layout,
  except: (name: string) => boolean,
): Promise<ReadonlySet<string>> {
  const files = (await listEntries(layout, layout.mounts)).flatMap((key) => [
    layout.mount(key, 'mount-id'),
    layout.mount(key, 'init-id'),
  ]);
  return new Set([...(await usedCacheIds(layout, except)), ...(await readIds(layout, files))]);
}

async function readIds(layout: Layout, files: readonly string[]): Promise<ReadonlySet<string>> {
  const ids = await Promise.all(files.map((file) => readEntry(layout, file)));
  return new Set(ids.filter((id) => id !== undefined));
}
