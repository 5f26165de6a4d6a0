/**
 * Finds merged uppers (flatten.ts). `layerstack/snapshots/<id>.flat` has the id of the merged upper of a
 * snapshot and all below it.
 */
import { isHex64 } from '../core/digest.ts';
import { undefinedIf } from '../core/errors.ts';
import { lowerOf, targetOf } from '../rwlayer/sealed.ts';
import type { Layout } from '../system/layout.ts';
import { readText, statEntry } from '../system/store-files.ts';
import { readRecord } from './record.ts';
import type { Snapshot } from './snapshot.ts';

/** Returns the id of the merged upper of a snapshot and all below it, if it exists. */
export function flatOf(layout: Layout, id: string): string | undefined {
  const flat = readText(layout.at(layout.flatSnapshot(id)))?.trim() ?? '';
  if (!isHex64(flat)) return undefined;
  return statEntry(layout.at(layout.snapshot(flat))) === undefined ? undefined : flat;
}

/** Returns the ids of the merged uppers that a snapshot may be the last one to need. */
export async function flatsOf(layout: Layout, { id, depth }: Snapshot): Promise<string[]> {
  const own = flatOf(layout, id);
  const [lower] = lowerOf(layout, id);
  const below = depth > 1 && lower !== undefined ? targetOf(layout, lower) : undefined;
  const next =
    below === undefined ? undefined : await undefinedIf(readRecord(layout, below), 'ERR_STORE_CORRUPT');
  return [own, next?.flattens === undefined ? undefined : below].filter((each) => each !== undefined);
}
