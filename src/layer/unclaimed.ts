/** The directories of overlay2 that no layer, container, writer or BuildKit snapshot explains. */
import type { Layout } from '../system/layout.ts';
import { listEntries } from '../system/removal.ts';
import { allMarkers } from '../system/session.ts';
import { hasDirectory } from '../system/store-files.ts';
import { unlessPlanted } from '../system/check-entries.ts';
import { usedCacheIds } from './cache-ids.ts';
import { readBuildkit } from './uses.ts';

/**
 * Returns the names of these directories. A writer marks a directory before it makes it, and removes the
 * marker when an entry names it. So the directories are listed first, then the markers, then the entries.
 * @param ownersOf - returns the directories that belong to containers and snapshots
 */
export async function unclaimedDirectories(
  layout: Layout,
  ownersOf: () => ReadonlySet<string> | Promise<ReadonlySet<string>>,
): Promise<string[]> {
  const directories = await listEntries(layout, layout.overlay2);
  const marked = await allMarkers(layout);
  const used = await usedCacheIds(layout);
  const buildkit = await readBuildkit(layout);
  const owned = await ownersOf();
  const unclaimed: string[] = [];
  for (const id of directories) {
    if (id === 'l' || id.endsWith('-removing') || used.has(id) || owned.has(id)) continue;
    if (marked.has(`overlay2.${id}`) || marked.has(`snapshot.${id}`)) continue;
    if (buildkit?.includes(id) === true) continue;
    if (await unlessPlanted(Promise.resolve().then(() => hasDirectory(layout.at(layout.overlay(id))))))
      unclaimed.push(id);
  }
  return unclaimed;
}
