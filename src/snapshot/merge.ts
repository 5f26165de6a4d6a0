/**
 * Makes a snapshot of several sealed uppers: one upper that shows the same files, as hard links to theirs.
 * The record is written last. After a kill before that, the next writer removes the parts (resume.ts).
 */
import { newLinkId, newOverlayId } from '../layer/overlay.ts';
import { entrySteps } from '../rwlayer/entry.ts';
import type { Base } from '../rwlayer/rwlayer.ts';
import { childSteps, overlayOf } from '../rwlayer/sealed.ts';
import { call, native, type BatchStep } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { spaceError } from '../system/space.ts';
import { isNeeded } from './children.ts';
import { recordText, type SnapshotRecord } from './record.ts';
import { removeParts } from './resume.ts';

/** The uppers that are merged, and their place. */
export interface Merge {
  /** The record of the new snapshot. */
  readonly record: SnapshotRecord;
  /** The short names of the uppers, topmost first. */
  readonly uppers: readonly string[];
  /** The short names of the sealed uppers below them, topmost first. */
  readonly below: readonly string[];
  /** The layers of the image. */
  readonly base: Base;
}

/**
 * Makes the snapshot, which is on disk on return. The caller keeps the uppers from removal.
 * @throws {@link LayerstackError} ERR_UPPER_UNSUPPORTED, ERR_NO_SPACE; system errors. An error leaves
 *   nothing behind.
 */
export async function mergeSealed(root: Root, { record, uppers, below, base }: Merge): Promise<void> {
  const { layout, disk } = root;
  const session = root.session();
  const { id, layer: parent } = record.snapshot;
  const markers: Marker[] = [`snapshot.${id}`];
  const link = newLinkId();
  const init = `${layout.overlay(id)}/init`;
  const [next] = below;
  const lowers = [...below, ...base.lowers];
  const image = base.directories ?? base.lowers;
  const write = (path: string, data: string, mode: number): BatchStep => ({
    ...{ op: 'write', path, data, mode },
    sync: true,
  });
  const steps: BatchStep[] = [
    { op: 'mkdir', path: layout.overlay(id), mode: 0o710 },
    // Containers have an init layer at this place. An upper may have deleted files of it.
    { op: 'mkdir', path: init, mode: 0o700 },
    {
      ...{ op: 'populateInit', root: layout.root, upper: init },
      lowers: image.map((each) => layout.lower(each)),
    },
    {
      ...{ op: 'mergeUppers', root: layout.at(layout.overlay2), uppers, to: `${id}/diff` },
      lowers: [...below, `${id}/init`, ...image],
    },
    { op: 'removeTree', path: init },
    write(layout.overlay(id, 'link'), link, 0o644),
    { op: 'symlink', path: layout.link(link), target: `../${id}/diff` },
    ...childSteps(layout, id),
    ...(next === undefined ? [] : childSteps(layout, overlayOf(layout, next), id)),
    ...(lowers.length === 0 ? [] : [write(layout.overlay(id, 'lower'), lowers.join(':'), 0o644)]),
    { op: 'write', path: layout.overlay(id, 'committed'), data: '', mode: 0o600 },
    ...entrySteps(layout, { key: id, mountId: id, initId: undefined, parent }, true),
  ];
  try {
    await session.mark(markers, steps);
    await disk.sync();
    const data = recordText(record);
    await session.replace([{ op: 'replace', path: layout.snapshot(id), data, mode: 0o600 }]);
  } catch (error) {
    await root.aftermath.run(
      'parts of a failed merge of snapshots stay until the next writer removes them',
      async () => {
        if (await isNeeded(layout, id)) return;
        await call(native.batch(layout.root, [{ op: 'unlink', path: layout.snapshot(id), missing: true }]));
        await removeParts(root, id);
        await session.unmark(markers);
      },
    );
    throw spaceError(error, layout.root);
  }
  await session.unmark(markers);
}

/** Returns the record of a merge: that of its topmost snapshot, with a new id. */
export function mergedRecord(
  { snapshot, documents }: SnapshotRecord,
  facts: Pick<SnapshotRecord['snapshot'], 'name' | 'labels' | 'parent' | 'depth'>,
): SnapshotRecord {
  const id = newOverlayId();
  return {
    snapshot: { ...snapshot, ...facts, id, created: new Date().toISOString(), expires: undefined },
    documents,
  };
}
