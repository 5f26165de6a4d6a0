/** The parts of a snapshot on disk, and the steps that make them. */
import { entrySteps } from '../rwlayer/entry.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import { childSteps, overlayOf, shortNameOf } from '../rwlayer/sealed.ts';
import type { Layout } from '../system/layout.ts';
import type { BatchStep } from '../system/native.ts';
import { recordText, type SnapshotRecord } from './record.ts';

/** Returns the steps that write the record under its temporary name. */
export function stageSteps(layout: Layout, record: SnapshotRecord): BatchStep[] {
  return [
    { op: 'mkdir', path: layout.snapshots, mode: 0o700, exist: true },
    syncedFile(layout.stagedSnapshot(record.snapshot.id), recordText(record), 0o600),
  ];
}

/** The place of a snapshot in its stack. */
export interface SnapshotPlace {
  /** Its short name. */
  readonly link: string;
  /** The sealed upper directly below. */
  readonly top: string | undefined;
  readonly lowers: readonly string[];
}

/** Returns the steps that make the parts of a snapshot beside its upper, in an existing directory. */
export function partSteps(
  layout: Layout,
  { snapshot: { id, layer: parent } }: SnapshotRecord,
  { link, top, lowers }: SnapshotPlace,
): BatchStep[] {
  return [
    syncedFile(layout.overlay(id, 'link'), link, 0o644),
    { op: 'symlink', path: layout.link(link), target: `../${id}/diff` },
    ...(top === undefined ? [] : childSteps(layout, overlayOf(layout, top), id)),
    ...(lowers.length === 0 ? [] : [syncedFile(layout.overlay(id, 'lower'), lowers.join(':'), 0o644)]),
    { op: 'write', path: layout.overlay(id, 'committed'), data: '', mode: 0o600 },
    ...entrySteps(layout, { key: id, mountId: id, initId: undefined, parent }, true),
  ];
}

/** Returns the lowers of a snapshot of a container. The init layer is the container's own. */
export function belowSnapshot(layout: Layout, { initId }: RwLayer, lowers: readonly string[]): string[] {
  const init = initId === undefined ? undefined : shortNameOf(layout, initId);
  return lowers.filter((name) => name !== init);
}

/** Returns the step that writes a file, and brings it to disk. */
export function syncedFile(path: string, data: string, mode: number): BatchStep {
  return { op: 'write', path, data, mode, sync: true };
}

/** Returns the step that publishes a record. */
export function publishStep(layout: Layout, id: string): BatchStep {
  return { op: 'rename', from: layout.stagedSnapshot(id), to: layout.snapshot(id) };
}
