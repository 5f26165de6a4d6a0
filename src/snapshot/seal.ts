/**
 * Seals the upper of a container that is not mounted. The caller holds the container's lock. snapshot.ts
 * explains the steps; the container shows the same after each of them.
 */
import { LayerstackError } from '../core/errors.ts';
import { newLinkId } from '../layer/overlay.ts';
import { entrySteps } from '../rwlayer/entry.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import {
  childSteps,
  lowerOf,
  overlayOf,
  refuseFlat,
  replaceLowerSteps,
  sealedBelow,
  shortNameOf,
} from '../rwlayer/sealed.ts';
import type { BatchStep } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { spaceError } from '../system/space.ts';
import { recordText, type SnapshotRecord } from './record.ts';
import { asideOf, settle } from './settle.ts';

/**
 * The most lowers of a root file system. dockerd takes no more, and their short names fit into the one page
 * of options that mount(2) takes.
 */
const MAX_LOWERS = 128;

/** The stack of a container whose upper is about to be sealed. */
export interface SealedStack {
  /** The sealed uppers below the container, topmost first. */
  readonly sealed: readonly string[];
  /** Everything below the container, topmost first. */
  readonly lowers: readonly string[];
  /** The snapshot directly below. */
  readonly parent: string | undefined;
}

/** What a seal is made from. */
export interface Sealing {
  readonly record: SnapshotRecord;
  readonly stack: SealedStack;
  readonly durable: boolean;
}

/**
 * Requires that a container can be put on top of one more sealed upper.
 * @param below - the number of lowers that it would have without this upper
 * @throws {@link LayerstackError} ERR_STORE_UNSUPPORTED where the kernel cannot mount a snapshot,
 *   ERR_UNSUPPORTED for a container without an init layer, ERR_LAYER_DEPTH when the stack is full.
 */
export function checkStack({ caps }: Root, layer: RwLayer, below: number): void {
  if (caps.mountMethod === 'flat') throw refuseFlat(layer);
  if (layer.initId === undefined)
    throw new LayerstackError(
      'ERR_UNSUPPORTED',
      `${layer.owner} has no init layer, so it cannot be sealed: commit it, and make a container of the image`,
      { id: layer.key },
    );
  if (below >= MAX_LOWERS)
    throw new LayerstackError(
      'ERR_LAYER_DEPTH',
      `${layer.owner} has ${below} layers below it, and ${MAX_LOWERS} can be mounted: ` +
        'commit it, and make a container of the image',
      { id: layer.key, limit: MAX_LOWERS },
    );
}

/**
 * Reads the stack of a container that is about to be sealed.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT for a damaged stack; the errors of {@link checkStack}.
 */
export function stackToSeal(root: Root, layer: RwLayer): SealedStack {
  const { layout } = root;
  const lowers = lowerOf(layout, layer.mountId);
  checkStack(root, layer, lowers.length);
  const sealed = sealedBelow(layout, layer);
  const [top] = sealed;
  return { sealed, lowers, parent: top === undefined ? undefined : overlayOf(layout, top) };
}

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
  const publish: BatchStep = { op: 'rename', from: layout.stagedSnapshot(id), to: layout.snapshot(id) };
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
      'what is left of a snapshot that failed stays until the next writer',
      async () => {
        await settle(root, id, 'undo', layer);
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
  { mountId, initId }: RwLayer,
  record: SnapshotRecord,
  { sealed, lowers }: SealedStack,
): BatchStep[] {
  const [top] = sealed;
  const { id, layer: parent } = record.snapshot;
  const link = newLinkId();
  const init = initId === undefined ? undefined : shortNameOf(layout, initId);
  const below = lowers.filter((name) => name !== init);
  const write = (path: string, data: string, mode: number): BatchStep => ({
    ...{ op: 'write', path, data, mode },
    sync: true,
  });
  return [
    { op: 'mkdir', path: layout.snapshots, mode: 0o700, exist: true },
    write(layout.stagedSnapshot(id), recordText(record), 0o600),
    { op: 'mkdir', path: layout.overlay(id), mode: 0o710 },
    { op: 'emptyCopy', root: layout.at(layout.overlay2), from: `${mountId}/diff`, to: `${id}/diff` },
    write(layout.overlay(id, 'link'), link, 0o644),
    { op: 'symlink', path: layout.link(link), target: `../${id}/diff` },
    ...(top === undefined ? [] : childSteps(layout, overlayOf(layout, top), id)),
    ...childSteps(layout, id, mountId),
    ...(below.length === 0 ? [] : [write(layout.overlay(id, 'lower'), below.join(':'), 0o644)]),
    { op: 'write', path: layout.overlay(id, 'committed'), data: '', mode: 0o600 },
    ...entrySteps(layout, { key: id, mountId: id, initId: undefined, parent }, true),
    ...replaceLowerSteps(layout, mountId, [`l/${link}`, ...lowers]),
  ];
}

/** Returns the step after which the snapshot has the upper, and the container the empty directory. */
function exchangeStep({ layout }: Root, { mountId }: RwLayer, id: string): BatchStep {
  return {
    op: 'exchange',
    from: layout.overlay(id, 'diff'),
    to: layout.overlay(mountId, 'diff'),
    via: asideOf(layout, id),
  };
}
