/** Finds the children of a snapshot: the RW layers that have its upper among their lowers. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { isHex64 } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { readEntry } from '../rwlayer/entry.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import { lowerOf, shortNameOf, targetOf } from '../rwlayer/sealed.ts';
import type { Layout } from '../system/layout.ts';
import { listEntries } from '../system/removal.ts';
import { hasDirectory, statEntry } from '../system/store-files.ts';

/** Reading yields to other work on the event loop after this many RW layers (about 3 ms). */
const SLICE = 64;

/**
 * Returns the RW layers that need the snapshot. Their keys are ids of containers and snapshots. During the
 * read, a seal may move the dependency from a container to a new snapshot. So the entries are listed again
 * until none is new.
 */
export async function childrenOf(layout: Layout, id: string): Promise<Pick<RwLayer, 'key' | 'mountId'>[]> {
  const children: Pick<RwLayer, 'key' | 'mountId'>[] = [];
  const leadsTo = resolver(layout, id);
  const seen = new Set<string>();
  for (;;) {
    const fresh = (await listEntries(layout, layout.mounts)).filter((key) => !seen.has(key));
    if (fresh.length === 0) return children;
    for (const key of fresh) {
      if (seen.size % SLICE === SLICE - 1) await nextTurn();
      seen.add(key);
      const mountId = readEntry(layout, key)?.mountId;
      if (mountId !== undefined && lowerOf(layout, mountId).some(leadsTo)) children.push({ key, mountId });
    }
  }
}

/**
 * Returns whether anything needs the snapshot. Its children are noted (rwlayer/sealed.ts), so only these are
 * read, until no note is new. Without notes, all RW layers are read.
 */
export async function isNeeded(layout: Layout, id: string): Promise<boolean> {
  if (statEntry(layout.at(layout.childrenOf(id))) === undefined)
    return (await childrenOf(layout, id)).length > 0;
  const leadsTo = resolver(layout, id);
  const seen = new Set<string>();
  for (;;) {
    const fresh = (await listEntries(layout, layout.childrenOf(id))).filter(
      (mountId) => isHex64(mountId) && !seen.has(mountId),
    );
    if (fresh.length === 0) return false;
    for (const mountId of fresh) {
      if (seen.size % SLICE === SLICE - 1) await nextTurn();
      seen.add(mountId);
      if (lowerOf(layout, mountId).some(leadsTo)) return true;
    }
  }
}

/** Returns whether a lower leads to the snapshot, by its name or by its target. Reads each target once. */
function resolver(layout: Layout, id: string): (lower: string) => boolean {
  const known = new Map<string, boolean>();
  const name = shortNameOf(layout, id);
  if (name !== undefined) known.set(name, true);
  return (lower) => {
    const leads = known.get(lower) ?? targetOf(layout, lower) === id;
    known.set(lower, leads);
    return leads;
  };
}

/**
 * Requires that the short name of a snapshot is valid, since {@link childrenOf} finds children by it. A
 * snapshot whose files are missing does not need one.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT.
 */
export function requireShortName(layout: Layout, id: string, title: string): void {
  const name = shortNameOf(layout, id);
  if (name !== undefined && targetOf(layout, name) === id) return;
  if (!hasDirectory(layout.at(layout.overlay(id)))) return;
  const path = layout.at(layout.overlay(id, 'link'));
  throw new LayerstackError(
    'ERR_STORE_CORRUPT',
    `${title} cannot be removed: its short name in ${path} is damaged, so its children cannot be found; ` +
      'run `layerstack fsck --repair` first',
    { id, path },
  );
}
