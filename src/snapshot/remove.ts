/** Removes snapshots. The record goes first: without it the snapshot does not exist. */
import { LayerstackError, undefinedIf } from '../core/errors.ts';
import { removalOf } from '../rwlayer/remove.ts';
import type { BatchStep } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { statEntry } from '../system/store-files.ts';
import type { Deletions } from './deletions.ts';
import { childrenOf, isNeeded, requireShortName } from './children.ts';
import { flatsOf } from './merged-uppers.ts';
import { readRecord } from './record.ts';
import type { Snapshot } from './snapshot.ts';

/**
 * Removes a snapshot. On return it no longer exists for any process, even after a crash. Its files are
 * deleted in the background. Does nothing for a removed snapshot.
 * @returns whether the snapshot existed
 * @throws {@link LayerstackError} ERR_SNAPSHOT_IN_USE when a child needs it, ERR_STORE_CORRUPT when damage
 *   hides whether one does.
 */
export async function removeSnapshot(
  root: Root,
  deletions: Deletions,
  snapshot: Snapshot,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const flats = await removeAlone(root, deletions, snapshot, signal);
  if (flats === undefined) return false;
  await removeFlats(root, deletions, flats);
  return true;
}

/** Removes the merged uppers that nothing needs. */
export async function removeFlats(root: Root, deletions: Deletions, ids: readonly string[]): Promise<void> {
  for (const id of ids)
    await root.aftermath.run('a merged upper that nothing needs stays', async () => {
      const record = await readRecord(root.layout, id);
      if (record === undefined) return;
      try {
        await removeSnapshot(root, deletions, record.snapshot, undefined);
      } catch (error) {
        if (!LayerstackError.is(error, 'ERR_SNAPSHOT_IN_USE')) throw error;
      }
    });
}

/**
 * Removes one snapshot.
 * @returns the merged uppers that it may have been the last one to need; undefined where it did not exist
 */
async function removeAlone(
  root: Root,
  deletions: Deletions,
  snapshot: Snapshot,
  signal: AbortSignal | undefined,
): Promise<readonly string[] | undefined> {
  const { layout } = root;
  const session = root.session();
  const { id } = snapshot;
  await using _lock = await root.locks.acquire('containers', id, { signal });
  if (statEntry(layout.at(layout.snapshot(id))) === undefined) return undefined;
  requireShortName(layout, id, titleOf(snapshot));
  const record = await undefinedIf(readRecord(layout, id), 'ERR_STORE_CORRUPT');
  // RW layers on a merged upper were put above the snapshots that it merges, so its own notes are incomplete.
  if (record?.flattens !== undefined || (await isNeeded(layout, id))) {
    const [child, ...others] = await childrenOf(layout, id);
    if (child !== undefined || record?.flattens === undefined)
      throw inUse(snapshot, child?.key, others.length);
  }
  const flats = await flatsOf(layout, snapshot);
  const removal = removalOf(layout, {
    key: id,
    owner: titleOf(snapshot),
    mountId: id,
    initId: undefined,
    parent: undefined,
  });
  const markers: Marker[] = [`snapshot.${id}`];
  const unlink = (path: string): BatchStep => ({ op: 'unlink', path, missing: true });
  const isAway = await session.mark(markers, [unlink(layout.snapshot(id))], {
    steps: [...removal.steps, unlink(layout.snapshotSize(id)), unlink(layout.flatSnapshot(id))],
    otherwise: `the files of ${titleOf(snapshot)} stay until the next writer removes them`,
  });
  if (isAway) deletions.later(markers, [...removal.trees, layout.childrenOf(id)]);
  return flats;
}

/** The name of a snapshot in messages. */
export function titleOf({ id, name }: Snapshot): string {
  return `snapshot ${name ?? id.slice(0, 12)}`;
}

function inUse(snapshot: Snapshot, child: string | undefined, others: number): LayerstackError {
  const first = child?.slice(0, 12) ?? 'a container that is being made';
  const why =
    others === 0
      ? `${first} is on top of it; remove that first`
      : `${others + 1} containers or snapshots are on top of it (${first}, ...); remove them first`;
  return new LayerstackError('ERR_SNAPSHOT_IN_USE', `${titleOf(snapshot)} cannot be removed: ${why}`, {
    id: snapshot.id,
  });
}
