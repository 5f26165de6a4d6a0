/**
 * Squashes a run of snapshots: one new snapshot has the changes of all of them, with hard links of their
 * files. Idle containers directly above the old snapshots are put on the new one. All other containers and
 * snapshots stay as they are. Old snapshots that nothing needs any more are removed.
 */
import { LayerstackError } from '../core/errors.ts';
import { readContainer, rwLayerOf, type Container } from '../container/record.ts';
import type { ContainerStore } from '../container/store.ts';
import { childSteps, lowerOf, overlayOf, replaceLowerSteps, shortNameOf } from '../rwlayer/sealed.ts';
import { call, native } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { childrenOf } from './children.ts';
import type { Deletions } from './deletions.ts';
import { removed, sealedOf } from './fork.ts';
import { mergedRecord, mergeSealed } from './merge.ts';
import { nameKeys } from './names.ts';
import { readRecord, type SnapshotRecord } from './record.ts';
import { removeSnapshot, titleOf } from './remove.ts';
import type { Snapshot } from './snapshot.ts';

export interface SquashOptions {
  /** The name of the new snapshot. Default: none. */
  readonly name?: string | undefined;
  /** Labels of the new snapshot in addition to those of the topmost one. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface SquashParts {
  readonly root: Root;
  readonly containers: ContainerStore;
  readonly deletions: Deletions;
  readonly idle: (container: Container) => Promise<Container>;
  readonly requireFree: (name: string | undefined) => Promise<void>;
}

/** The result of a squash. */
export interface Squashed {
  readonly snapshot: Snapshot;
  /** The old snapshots that were removed, the topmost first. */
  readonly removed: readonly Snapshot[];
}

/** A run of snapshots, of which `from` is the lowest. */
interface Run {
  readonly to: SnapshotRecord;
  readonly from: Snapshot;
  /** The short names of their uppers, topmost first. */
  readonly uppers: readonly string[];
  /** The ids of the snapshots of these uppers. */
  readonly ids: readonly string[];
}

/**
 * Makes one snapshot of `from`, `to`, and those between. It is on disk on return. A kill leaves the old
 * snapshots, or the new one beside them.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where `from` is not below `to`, or for a bad name,
 *   ERR_SNAPSHOT_NOT_FOUND, ERR_SNAPSHOT_NAME_IN_USE, ERR_UPPER_UNSUPPORTED, ERR_STORE_CORRUPT,
 *   ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
 */
export async function squash(
  parts: SquashParts,
  from: Snapshot,
  to: Snapshot,
  options: SquashOptions,
): Promise<Squashed> {
  const { root } = parts;
  root.session();
  const run = await merge(parts, from, to, options);
  await moveContainers(parts, run);
  const gone: Snapshot[] = [];
  for (const id of run.ids) {
    const old = await readRecord(root.layout, id).catch(() => undefined);
    if (!old || !(await isRemoved(parts, old.snapshot))) break;
    gone.push(old.snapshot);
  }
  return { snapshot: run.made, removed: gone };
}

/** Makes the new snapshot. The old ones stay meanwhile: `to` is locked, and needs the others. */
async function merge(
  { root, containers, requireFree }: SquashParts,
  from: Snapshot,
  to: Snapshot,
  { name, labels, signal }: SquashOptions,
): Promise<Run & { readonly made: Snapshot }> {
  await using base = await containers.rwLayers.base(to.layer, signal);
  await using _name = await root.locks.acquireAll('containers', nameKeys(name), { signal });
  await requireFree(name);
  await using _lock = await root.locks.acquire('containers', to.id, { shared: true, signal });
  const top = await readRecord(root.layout, to.id);
  if (top === undefined) throw removed(to);
  if (!(await readRecord(root.layout, from.id))) throw removed(from);
  const sealed = sealedOf(root, to, base.lowers.length);
  const at = sealed.findIndex((each) => overlayOf(root.layout, each) === from.id);
  if (at < 0)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${titleOf(from)} is not below ${titleOf(to)}: give the lowest snapshot first, then one above it`,
      { id: from.id },
    );
  const record = mergedRecord(top, {
    name,
    labels: { ...to.labels, ...labels },
    parent: from.parent,
    depth: sealed.length - at,
  });
  const uppers = sealed.slice(0, at + 1);
  const ids = uppers.map((upper) => overlayOf(root.layout, upper));
  await mergeSealed(root, { record, uppers, below: sealed.slice(at + 1), base });
  return { to: top, from, uppers, ids, made: record.snapshot };
}

/** Puts the idle containers that are directly above the old snapshots on the new one, in their `lower`. */
async function moveContainers(
  { root, idle }: SquashParts,
  { to, uppers, made }: Run & { readonly made: Snapshot },
): Promise<void> {
  const { layout, locks } = root;
  const name = shortNameOf(layout, made.id);
  if (name === undefined) return;
  for (const { key } of await childrenOf(layout, to.snapshot.id)) {
    if (readContainer(layout, key) === undefined) continue;
    await root.aftermath.run(`a container stays on the old snapshots`, async () => {
      await using _locks = await locks.acquireAll('containers', [key, made.id]);
      const container = readContainer(layout, key);
      if (!container || !(await isIdle(idle, container))) return;
      // Another process may have removed it.
      if ((await readRecord(layout, made.id)) === undefined) return;
      const { mountId } = rwLayerOf(container);
      const lowers = lowerOf(layout, mountId);
      if (!uppers.every((upper, index) => lowers[index] === upper)) return;
      const steps = [
        ...childSteps(layout, made.id, mountId),
        ...replaceLowerSteps(layout, mountId, [name, ...lowers.slice(uppers.length)]),
      ];
      await call(native.batch(layout.root, steps));
    });
  }
}

async function isIdle(idle: SquashParts['idle'], container: Container): Promise<boolean> {
  try {
    await idle(container);
    return true;
  } catch (error) {
    if (LayerstackError.is(error)) return false;
    throw error;
  }
}

/** Removes a snapshot unless something needs it. */
async function isRemoved({ root, deletions }: SquashParts, snapshot: Snapshot): Promise<boolean> {
  try {
    return await removeSnapshot(root, deletions, snapshot, undefined);
  } catch (error) {
    if (LayerstackError.is(error, 'ERR_SNAPSHOT_IN_USE', 'ERR_STORE_CORRUPT')) return false;
    throw error;
  }
}
