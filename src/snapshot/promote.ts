/**
 * Promotes a child: a container takes over the root file system of a fork of it, or of a snapshot above its
 * own. Its id, its name and its path stay. The first promotion wins: the container must not have changed
 * since the fork. After a kill, the container has its old files or the child's.
 */
import { LayerstackError } from '../core/errors.ts';
import { rwLayerOf, type Container } from '../container/record.ts';
import type { ContainerStore } from '../container/store.ts';
import { newOverlayId } from '../layer/overlay.ts';
import { overlayOf, sealedBelow } from '../rwlayer/sealed.ts';
import type { Layout } from '../system/layout.ts';
import { listEntries } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import type { Deletions } from './deletions.ts';
import { removed, sealedOf } from './fork.ts';
import { readRecord } from './record.ts';
import { titleOf } from './remove.ts';
import { putOnTop } from './rollback.ts';

import { isSnapshot, type Snapshot } from './snapshot.ts';
import { checkStack } from './stack.ts';

export interface PromoteParts {
  readonly root: Root;
  readonly containers: ContainerStore;
  readonly deletions: Deletions;
  /** Seals the upper of a container, under its lock. */
  readonly seal: (container: Container) => Promise<Snapshot>;
  /** Reads a container again under its lock; refuses one that is in use. */
  readonly idle: (container: Container) => Promise<Container>;
}

/** The result of a promotion. */
export interface Promoted {
  /** The snapshot below the container. */
  readonly snapshot: Snapshot;
  /** Whether it was taken for the promotion. */
  readonly taken: boolean;
}

/**
 * Gives `onto` the root file system of `child`. If `child` is a container, it is sealed first. This snapshot
 * stays.
 * @throws {@link LayerstackError} ERR_CONFLICT when `onto` was changed since the fork, ERR_INVALID_ARGUMENT
 *   for the same container or another image, ERR_CONTAINER_NOT_FOUND, ERR_SNAPSHOT_NOT_FOUND,
 *   ERR_CONTAINER_MOUNTED, ERR_LAYER_DEPTH, ERR_STORE_UNSUPPORTED, ERR_STORE_CORRUPT, ERR_NO_SPACE,
 *   ERR_ABORTED, ERR_STORE_READ_ONLY.
 */
export async function promote(
  parts: PromoteParts,
  child: Container | Snapshot,
  onto: Container,
  signal: AbortSignal | undefined,
): Promise<Promoted> {
  const { root, containers, deletions } = parts;
  root.session();
  if (child.id === onto.id) throw invalid(child.id, `container ${onto.name} cannot be promoted onto itself`);
  const image = isSnapshot(child) ? child.layer : child.parent;
  await using base = await containers.rwLayers.base(image, signal);
  await using _locks = await root.locks.acquireAll('containers', [child.id, onto.id], { signal });
  const target = rwLayerOf(await parts.idle(onto));
  if (target.parent !== image)
    throw invalid(child.id, `${titleOfChild(child)} belongs to another image than ${target.owner} does`);
  const below = isSnapshot(child) ? await lockedStack(root, child, base.lowers.length) : undefined;
  const source = isSnapshot(child) ? undefined : await parts.idle(child);
  const line = below ?? sealedBelow(root.layout, rwLayerOf(source as Container));
  await requireUnchanged(root.layout, target, isSnapshot(child) ? child.id : topOf(root.layout, line));
  checkStack(root, target, line.length + base.lowers.length + (source ? 1 : 0));
  const snapshot = source ? await parts.seal(source) : (child as Snapshot);
  const sealed = sealedOf(root, snapshot, base.lowers.length);
  const away = newOverlayId();
  const place = { away, sealed, base, replacement: undefined, force: false };
  const markers = await putOnTop(root, target, place);
  deletions.later(markers, [root.layout.overlay(away)]);
  return { snapshot, taken: source !== undefined };
}

async function lockedStack(root: Root, snapshot: Snapshot, base: number): Promise<readonly string[]> {
  if (!(await readRecord(root.layout, snapshot.id))) throw removed(snapshot);
  return sealedOf(root, snapshot, base);
}

function topOf(layout: Layout, sealed: readonly string[]): string | undefined {
  const [top] = sealed;
  return top === undefined ? undefined : overlayOf(layout, top);
}

/**
 * Requires that the child has all files of the container: the container's upper is empty, and the child
 * stands on the snapshot directly below the container.
 */
async function requireUnchanged(
  layout: Layout,
  target: ReturnType<typeof rwLayerOf>,
  child: string | undefined,
): Promise<void> {
  const conflict = (why: string): LayerstackError =>
    new LayerstackError(
      'ERR_CONFLICT',
      `${target.owner} ${why}: fork it again, or roll it back to the snapshot of the fork first`,
      { id: target.key },
    );
  if ((await listEntries(layout, layout.overlay(target.mountId, 'diff'))).length > 0)
    throw conflict('was changed since the fork');
  const top = topOf(layout, sealedBelow(layout, target));
  if (top !== undefined && !(await isBelow(layout, top, child)))
    throw conflict('is above a snapshot that the fork does not stand on');
}

/** Returns whether the snapshot `id` is `from`, or is below it. */
async function isBelow(layout: Layout, id: string, from: string | undefined): Promise<boolean> {
  const seen = new Set<string>(); // a damaged record may name itself or a snapshot above it
  for (let at = from; at !== undefined && !seen.has(at);) {
    if (at === id) return true;
    seen.add(at);
    at = (await readRecord(layout, at))?.snapshot.parent;
  }
  return false;
}

function titleOfChild(child: Container | Snapshot): string {
  return isSnapshot(child) ? titleOf(child) : `container ${child.name}`;
}

function invalid(id: string, message: string): LayerstackError {
  return new LayerstackError('ERR_INVALID_ARGUMENT', message, { id });
}
