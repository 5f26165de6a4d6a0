/**
 * Copies the upper of a container into a snapshot, while the container may be written to. Its stack does not
 * change. The record is written when the copy is whole. So a kill leaves the whole snapshot or nothing.
 */
import { LayerstackError } from '../core/errors.ts';
import type { ContainerDocuments } from '../container/fork.ts';
import { newLinkId } from '../layer/overlay.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import { call, native } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { spaceError } from '../system/space.ts';
import { freezeUsers, thaw } from './freezer.ts';
import { belowSnapshot, partSteps, publishStep, stageSteps } from './parts.ts';
import type { SnapshotRecord } from './record.ts';
import { resumeSnapshot } from './resume.ts';
import type { Snapshot, SnapshotConsistency } from './snapshot.ts';
import type { SealedStack } from './stack.ts';
import type { SnapshotOptions } from './options.ts';

export interface Copying {
  readonly facts: Omit<Snapshot, 'method' | 'consistency' | 'bytes'>;
  readonly documents: ContainerDocuments;
  readonly stack: SealedStack;
  /** Nothing uses the container. */
  readonly isIdle: boolean;
  /** The container is mounted at its path. */
  readonly isMounted: boolean;
  readonly options: SnapshotOptions;
}

/**
 * Copies the upper, and publishes the record. The caller holds the container's lock. After an error nothing
 * has changed.
 * @throws {@link LayerstackError} ERR_UNSUPPORTED with `freeze`, where the processes cannot be
 *   frozen; ERR_CONTAINER_BUSY where files move during each attempt; ERR_NO_SPACE; system errors.
 */
export async function copyUpper(root: Root, layer: RwLayer, copying: Copying): Promise<Snapshot> {
  const { layout, disk } = root;
  const { facts, documents, options } = copying;
  const { id } = facts;
  const session = root.session();
  const markers: Marker[] = [`snapshot.${id}`];
  try {
    await session.mark(markers, [{ op: 'mkdir', path: layout.overlay(id), mode: 0o710 }]);
    const consistency = await copyFrozen(root, layer, copying);
    const bytes = await call(native.contentSize(layout.at(layout.overlay(id, 'diff'))));
    const snapshot: Snapshot = { ...facts, method: 'copied', consistency, bytes };
    await complete(root, layer, { snapshot, documents }, copying.stack);
    // The record is on disk as soon as it is published. So the copied files must be on disk too.
    await disk.sync();
    await session.unmark(markers, [publishStep(layout, id)]);
    if (options.durable === true) await disk.sync();
    return snapshot;
  } catch (error) {
    await root.aftermath.run(
      'parts of a failed snapshot stay until the next writer removes them',
      async () => {
        await resumeSnapshot(root, id, 'undo', layer);
        await session.unmark(markers);
      },
    );
    throw spaceError(error, layout.root);
  }
}

/** Makes the parts of the snapshot beside its upper. The record comes last. */
async function complete(
  { layout }: Root,
  layer: RwLayer,
  record: SnapshotRecord,
  { sealed, lowers }: SealedStack,
): Promise<void> {
  const below = belowSnapshot(layout, layer, lowers);
  const parts = partSteps(layout, record, { link: newLinkId(), top: sealed[0], lowers: below });
  await call(native.batch(layout.root, [...parts, ...stageSteps(layout, record)]));
}

/** Copies the upper. Freezes the container's processes where that is possible, unless `freeze` is false. */
async function copyFrozen(
  root: Root,
  layer: RwLayer,
  { facts: { id }, isIdle, isMounted, options: { freeze } }: Copying,
): Promise<SnapshotConsistency> {
  const { layout } = root;
  const from = `${layer.mountId}/diff`;
  const copy = () =>
    call(
      native.batch(layout.root, [
        { op: 'copyUpper', root: layout.at(layout.overlay2), from, to: `${id}/diff` },
      ]),
    );
  if (isIdle) {
    await copy();
    return 'quiescent';
  }
  const isFrozen = freeze !== false && isMounted && (await freezeUsers(root, layer, id));
  if (freeze === true && !isFrozen)
    throw new LayerstackError(
      'ERR_UNSUPPORTED',
      `the processes of ${layer.owner} cannot be frozen: they have no cgroup (version 2) of their own; ` +
        'stop them, or copy without `freeze`',
      { id: layer.key, key: 'options.freeze' },
    );
  try {
    await copy();
  } finally {
    if (isFrozen) await thaw(root, id);
  }
  return isFrozen ? 'frozen' : 'crash';
}
