/**
 * Resumes a snapshot that was being made or removed when its writer died or failed: publishes it, or removes
 * its parts. Either way, the container's files are kept. It can be repeated.
 *
 * The snapshot's directory shows whether the upper was sealed: before the seal it is empty. It is also empty
 * where a container without changes was sealed. Then both outcomes show the same files.
 */
import { LayerstackError, undefinedIf } from '../core/errors.ts';
import { readContainer, rwLayerOf } from '../container/record.ts';
import { dropEntrySteps } from '../rwlayer/entry.ts';
import { MountPoint } from '../rwlayer/mount-point.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import { lowerOf, replaceLowerSteps, shortNameOf } from '../rwlayer/sealed.ts';
import { call, native, type BatchStep } from '../system/native.ts';
import type { Layout } from '../system/layout.ts';
import { forEachDeadMarker } from '../system/reconcile.ts';
import { listEntries, removeOverlay } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { hasDirectory, statEntry } from '../system/store-files.ts';
import { childrenOf } from './children.ts';
import { thaw } from './freezer.ts';
import { readStagedRecord } from './record.ts';
import { isMountedSeal, resumeMountedSeal } from './seal-mounted.ts';

/** Completes or undoes the snapshots of dead writers. */
export async function resumeSnapshots(root: Root): Promise<void> {
  await forEachDeadMarker(root.layout, root.log, 'snapshot', async (id) => {
    const staged = await undefinedIf(readStagedRecord(root.layout, id), 'ERR_STORE_CORRUPT');
    const owner = staged?.snapshot.containerId ?? id;
    await using _lock = await root.locks.acquire('containers', owner);
    await resumeSnapshot(root, id, 'publish');
  });
}

/**
 * Completes or undoes one snapshot. The caller holds the lock of its container.
 * @param sealed - decides for a sealed upper whose record is not published: `publish` completes the
 *   snapshot, and `undo` puts the upper back
 * @param source - the RW layer of the container, if the caller knows it; otherwise the record names it
 */
export async function resumeSnapshot(
  root: Root,
  id: string,
  sealed: 'publish' | 'undo',
  source?: RwLayer,
): Promise<void> {
  const { layout } = root;
  await thaw(root, id);
  if (isMountedSeal(layout, id)) {
    const layer = source ?? (await sourceOf(layout, id));
    await resumeMountedSeal(root, id, layer === 'unknown' ? undefined : layer);
    return;
  }
  if (exists(root, layout.snapshot(id))) {
    if (sealed === 'publish') return;
    const back = { op: 'rename', from: layout.snapshot(id), to: layout.stagedSnapshot(id) } as const;
    await call(native.batch(layout.root, [back]));
  }
  if (!exists(root, layout.stagedSnapshot(id))) {
    await removeParts(root, id);
    return;
  }
  const layer = source ?? (await sourceOf(layout, id));
  if (layer === 'unknown') {
    await removeParts(root, id);
    return;
  }
  await completeExchange(root, id, layer);
  const holdsUpper = (await listEntries(layout, layout.overlay(id, 'diff'))).length > 0;
  const others = (await childrenOf(layout, id)).filter(({ key }) => key !== layer?.key);
  if (others.length > 0 || (holdsUpper && (sealed === 'publish' || !layer))) {
    await call(
      native.batch(layout.root, [{ op: 'rename', from: layout.stagedSnapshot(id), to: layout.snapshot(id) }]),
    );
    return;
  }
  if (layer) await takeOut(root, layer, id, holdsUpper);
  await removeParts(root, id);
}

/**
 * Returns the RW layer of the container that was sealed; undefined when the container was removed. Returns
 * `unknown` where the writer died while it wrote the record. The record is the first step, so then nothing
 * was sealed.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT for a record that was damaged later.
 */
async function sourceOf(layout: Layout, id: string): Promise<RwLayer | 'unknown' | undefined> {
  try {
    const staged = await readStagedRecord(layout, id);
    const container = staged && readContainer(layout, staged.snapshot.containerId);
    return container && rwLayerOf(container);
  } catch (error) {
    const isFirstStep = statEntry(layout.at(layout.overlay(id))) === undefined;
    if (!LayerstackError.is(error, 'ERR_STORE_CORRUPT') || !isFirstStep) throw error;
    return 'unknown';
  }
}

/** Completes the three renames that replace an exchange on file systems that cannot exchange two names. */
async function completeExchange({ layout }: Root, id: string, layer: RwLayer | undefined): Promise<void> {
  const temporary = temporaryUpperOf(layout, id);
  if (statEntry(layout.at(temporary)) === undefined) return;
  const own = layout.overlay(id, 'diff');
  const steps: BatchStep[] = [];
  if (layer && !hasDirectory(layout.at(layout.overlay(layer.mountId, 'diff'))))
    steps.push({ op: 'rename', from: own, to: layout.overlay(layer.mountId, 'diff') });
  await call(native.batch(layout.root, [...steps, { op: 'rename', from: temporary, to: own }]));
}

/** Takes the snapshot out of the container's stack, and puts the upper back where it was sealed. */
async function takeOut(root: Root, layer: RwLayer, id: string, holdsUpper: boolean): Promise<void> {
  const { layout } = root;
  const name = shortNameOf(layout, id);
  const lowers = lowerOf(layout, layer.mountId);
  if (name === undefined || !lowers.includes(name)) return;
  if (await new MountPoint(root, layer).isMounted())
    throw new LayerstackError('ERR_CONTAINER_MOUNTED', `${layer.owner} is mounted`, { id: layer.key });
  const back: BatchStep[] = holdsUpper
    ? [
        {
          op: 'exchange',
          from: layout.overlay(id, 'diff'),
          to: layout.overlay(layer.mountId, 'diff'),
          via: temporaryUpperOf(layout, id),
        },
      ]
    : [];
  const rest = lowers.filter((lower) => lower !== name);
  await call(native.batch(layout.root, [...back, ...replaceLowerSteps(layout, layer.mountId, rest)]));
}

/** Removes all parts of a snapshot without a record, unless something is on top of it. */
export async function removeParts(root: Root, id: string): Promise<void> {
  const { layout, log } = root;
  if ((await childrenOf(layout, id)).length > 0) {
    log.warn('a snapshot without a record stays, since something is on top of it', { id });
    return;
  }
  await removeOverlay(layout, `${id}-removing`);
  await removeOverlay(layout, id);
  await call(
    native.batch(layout.root, [
      { op: 'removeTree', path: layout.childrenOf(id) },
      ...dropEntrySteps(layout, id),
      ...[layout.snapshotSize(id), layout.flatSnapshot(id), layout.stagedSnapshot(id)].map(
        (path) => ({ op: 'unlink', path, missing: true }) as const,
      ),
    ]),
  );
}

/** Returns the temporary path of the upper on file systems that cannot exchange two names. */
export function temporaryUpperOf(layout: Layout, id: string): string {
  return `${layout.overlay(id)}/aside`;
}

function exists({ layout }: Root, path: string): boolean {
  return statEntry(layout.at(path)) !== undefined;
}
