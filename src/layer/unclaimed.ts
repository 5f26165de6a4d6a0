/** The directories of overlay2 that no layer, container, writer or BuildKit snapshot explains. */
import type { Layout } from '../system/layout.ts';
import { listEntries } from '../system/removal.ts';
import { allMarkers } from '../system/session.ts';
import { hasDirectory } from '../system/store-files.ts';
import { unlessPlanted } from '../system/check-entries.ts';
import { usedCacheIds } from './cache-ids.ts';
import { readBuildkit } from './uses.ts';

/**
 * Returns the names of these directories.
 * @param containers - the directories that belong to containers
 */
export async function unclaimedDirectories(
  layout: Layout,
  containers: ReadonlySet<string>,
): Promise<string[]> {
  const used = await usedCacheIds(layout);
  const buildkit = await readBuildkit(layout);
  const marked = await allMarkers(layout);
  const unclaimed: string[] = [];
  for (const id of await listEntries(layout, layout.overlay2)) {
    if (id === 'l' || id.endsWith('-removing') || used.has(id) || containers.has(id)) continue;
    if (marked.has(`overlay2.${id}`) || buildkit?.includes(id) === true) continue;
    if (await unlessPlanted(Promise.resolve().then(() => hasDirectory(layout.at(layout.overlay(id))))))
      unclaimed.push(id);
  }
  return unclaimed;
}
