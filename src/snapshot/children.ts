/** Finds what is on top of a snapshot: the RW layers that have its upper among their lowers. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { readEntry } from '../rwlayer/entry.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import { lowerOf, shortNameOf } from '../rwlayer/sealed.ts';
import type { Layout } from '../system/layout.ts';
import { listEntries } from '../system/removal.ts';

/** Reading yields to other work on the event loop after this many RW layers (about 3 ms). */
const SLICE = 64;

/** Returns the RW layers that need the snapshot. Their keys are ids of containers and snapshots. */
export async function childrenOf(layout: Layout, id: string): Promise<Pick<RwLayer, 'key' | 'mountId'>[]> {
  const name = shortNameOf(layout, id);
  if (name === undefined) return [];
  const children: Pick<RwLayer, 'key' | 'mountId'>[] = [];
  for (const [index, key] of (await listEntries(layout, layout.mounts)).entries()) {
    if (index % SLICE === SLICE - 1) await nextTurn();
    const mountId = readEntry(layout, key)?.mountId;
    if (mountId !== undefined && lowerOf(layout, mountId).includes(name)) children.push({ key, mountId });
  }
  return children;
}
