/** Finds the processes that use a mounted root file system, and refuses the operations that they prevent. */
import { LayerstackError } from '../core/errors.ts';
import { mountUses } from '../system/mounts.ts';
import type { MountUser, MountUses } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { allMarkers } from '../system/session.ts';
import { readMountCount } from './mount-count.ts';
import type { RwLayer } from './rwlayer.ts';

/** A message names at most this many processes. */
const NAMED = 3;

/**
 * Requires that only the mount at the path of the RW layer can write to its upper. Other mounts of the
 * overlay also could: those in the namespace of a runtime, and bind mounts. One kind does not count: a mount
 * at the same path in another namespace that no process uses. It ends when the mount point is removed. Mounts
 * below the mount are refused too, since they would be lost.
 * @throws {@link LayerstackError} ERR_CONTAINER_BUSY, with the processes.
 */
export async function requireSoleMount(root: Root, layer: RwLayer): Promise<void> {
  await requireNoOperation(root, layer);
  const { others, below, users } = await mountUses(pathOf(root, layer), { everyone: false });
  requireNothingBelow(root, layer, below);
  const bound = others.find(({ own }) => own);
  if (bound) throw busy(root, layer, `is also mounted at ${bound.path}: unmount that first`);
  const inside = others.filter(({ copy }) => !copy);
  const found = users.length > 0 ? users.map(useOf) : inside.map(({ pid, command }) => `${pid} (${command})`);
  if (found.length > 0)
    throw busy(root, layer, `is used in another mount namespace by process ${namesOf(found)}: ${WAY_OUT}`);
}

/**
 * Requires that no process works in a mounted root file system.
 * @throws {@link LayerstackError} ERR_CONTAINER_BUSY, with the processes.
 */
export async function requireNobody(root: Root, layer: RwLayer): Promise<void> {
  await requireNoOperation(root, layer);
  const { others, below, users } = await mountUses(pathOf(root, layer), { everyone: true });
  requireNothingBelow(root, layer, below);
  const found = users.map(useOf);
  const mounts = others.filter(({ own, copy }) => own || !copy).map(({ path, pid }) => `${pid} at ${path}`);
  if (found.length + mounts.length > 0)
    throw busy(
      root,
      layer,
      found.length > 0
        ? `is used by process ${namesOf(found)}: stop it, or use \`force\``
        : `is also mounted for process ${namesOf(mounts)}: unmount that, or use \`force\``,
    );
}

/** Returns the error for a mount through which files are open for writing. */
export async function writersError(root: Root, layer: RwLayer, cause: unknown): Promise<LayerstackError> {
  const { users } = await mountUses(pathOf(root, layer), { everyone: true });
  const writers = users.filter(({ how }) => how === 'writes').map(useOf);
  const who = writers.length > 0 ? `process ${namesOf(writers)}` : 'a process that maps a file of it';
  return busy(root, layer, `is being written to by ${who}: ${WAY_OUT}`, cause);
}

/** Returns the processes that use a mounted root file system, and all its mounts. */
export function usesOf(root: Root, layer: RwLayer): Promise<MountUses> {
  return mountUses(pathOf(root, layer), { everyone: true });
}

const WAY_OUT = 'stop it, or take a copy (mode `copy`)';

function requireNothingBelow(root: Root, layer: RwLayer, below: readonly string[]): void {
  if (below[0] !== undefined)
    throw busy(root, layer, `has something mounted below it, at ${below[0]}: unmount that first`);
}

/** Requires that no copy or export is at work: each keeps the mount that it began with. */
async function requireNoOperation(root: Root, layer: RwLayer): Promise<void> {
  const held = readMountCount(root.layout, layer.mountId)?.held ?? [];
  if (held.length === 0) return;
  const markers = await allMarkers(root.layout);
  if (held.some((token) => markers.has(`held.${layer.key}.${token}`)))
    throw busy(root, layer, 'is used by a copy or an export of layerstack: try again when it is done');
}

function useOf({ pid, command, how }: MountUser): string {
  const what = { root: 'runs in it', directory: 'works in it', reads: 'has a file open', writes: 'writes' };
  return `${pid} (${command}), which ${what[how]}`;
}

function namesOf(found: readonly string[]): string {
  const named = found.slice(0, NAMED).join('; ');
  return found.length > NAMED ? `${named}; and ${found.length - NAMED} more` : named;
}

function busy(root: Root, layer: RwLayer, why: string, cause?: unknown): LayerstackError {
  return new LayerstackError('ERR_CONTAINER_BUSY', `the root file system of ${layer.owner} ${why}`, {
    ...{ id: layer.key, path: pathOf(root, layer), retryable: true, cause },
  });
}

function pathOf({ layout }: Root, { mountId }: RwLayer): string {
  return layout.at(layout.overlay(mountId, 'merged'));
}
