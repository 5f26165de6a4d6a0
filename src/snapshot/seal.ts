/**
 * Seals the upper of a container that is not mounted. The caller holds the container's lock. snapshot.ts
 * explains the steps; the container shows the same after each of them. seal-mounted.ts does it for a mounted
 * container.
 */
import { newLinkId } from '../layer/overlay.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import { childSteps, overlayOf, replaceLowerSteps } from '../rwlayer/sealed.ts';
import type { BatchStep } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { spaceError } from '../system/space.ts';
import { belowSnapshot, partSteps, publishStep, stageSteps } from './parts.ts';
import type { SnapshotRecord } from './record.ts';
import { resumeSnapshot, temporaryUpperOf } from './resume.ts';
import type { SealedStack, Sealing } from './stack.ts';

/**
 * Seals the upper, and publishes the record. After an error the container and the store are as they were.
 * With `durable`, the snapshot and everything in it are on disk when this resolves.
 * @throws {@link LayerstackError} ERR_NO_SPACE; system errors.
 */
export async function seal(root: Root, layer: RwLayer, { record, stack, durable }: Sealing): Promise<void> {
  const { layout, disk } = root;
  const session = root.session();
  const { id } = record.snapshot;
  const markers: Marker[] = [`snapshot.${id}`];
  const publish = publishStep(layout, id);
  const steps = [...prepareSteps(root, layer, record, stack), exchangeStep(root, layer, id)];
  try {
    if (durable) {
      await session.mark(markers, steps);
      await disk.sync();
      await session.unmark(markers, [publish]);
      await disk.sync();
    } else {
      await session.during(markers, [...steps, publish]);
    }
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

/**
 * Returns the steps that make all parts of the snapshot, with an empty directory in the upper's place. Each
 * file is on disk before the upper is exchanged: after a power cut, the container must not name an upper
 * whose names are lost.
 */
function prepareSteps(
  { layout }: Root,
  layer: RwLayer,
  record: SnapshotRecord,
  { sealed, lowers }: SealedStack,
): BatchStep[] {
  const { id } = record.snapshot;
  const { mountId } = layer;
  const link = newLinkId();
  return [
    ...stageSteps(layout, record),
    { op: 'mkdir', path: layout.overlay(id), mode: 0o710 },
    { op: 'emptyCopy', root: layout.at(layout.overlay2), from: `${mountId}/diff`, to: `${id}/diff` },
    ...partSteps(layout, record, { link, top: sealed[0], lowers: belowSnapshot(layout, layer, lowers) }),
    ...childSteps(layout, id, mountId),
    // If the seal is undone, the container stays on this stack, which may be shorter than its old one.
    ...(sealed[0] === undefined ? [] : childSteps(layout, overlayOf(layout, sealed[0]), mountId)),
    ...replaceLowerSteps(layout, mountId, [`l/${link}`, ...lowers]),
  ];
}

/** Returns the step after which the snapshot has the upper, and the container the empty directory. */
function exchangeStep({ layout }: Root, { mountId }: RwLayer, id: string): BatchStep {
  return {
    op: 'exchange',
    from: layout.overlay(id, 'diff'),
    to: layout.overlay(mountId, 'diff'),
    via: temporaryUpperOf(layout, id),
  };
}
