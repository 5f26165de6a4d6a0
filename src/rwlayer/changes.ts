/**
 * Lists the changes in an RW layer against the image and the init layer, as `docker diff` does. Only the RW
 * layer's own directory is walked, whether it is mounted or not.
 */
import { Buffer } from 'node:buffer';
import type { LayerStore } from '../layer/store.ts';
import { call, native } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { hasShortNames, openDirectories } from './lowers.ts';
import type { RwLayer } from './rwlayer.ts';
import { uppersOf } from './sealed.ts';

export interface Change {
  /** Added, changed or deleted. */
  readonly kind: 'A' | 'C' | 'D';
  /** Absolute, in the root file system. */
  readonly path: string;
}

/** Another process may pack the image during the read. Then the read is tried again, at most this often. */
const TRIES = 5;

/**
 * Returns the changes, sorted by path with a directory before its content.
 * @throws {@link LayerstackError} ERR_UPPER_UNSUPPORTED, naming the `member`, when overlayfs keeps content
 *   elsewhere (redirect_dir, metacopy); ERR_STORE_CORRUPT for an RW layer without its directories.
 */
export async function listChanges(root: Root, layers: LayerStore, layer: RwLayer): Promise<Change[]> {
  const { parent } = layer;
  // The pin keeps a pack from removing extracted layers during the read. A root that is open read-only cannot
  // pin.
  await using _pin = await layers.pin(parent === undefined ? [] : [parent]);
  for (let tries = 1; ; ++tries) {
    await using lowers = await openDirectories(root, layers, layer);
    const isWhole = (): boolean => tries === TRIES || hasShortNames(root.layout, lowers.list);
    try {
      const changes = await changesAbove(root, layer, lowers.list);
      if (isWhole()) return changes;
    } catch (error) {
      if (isWhole()) throw error;
    }
  }
}

async function changesAbove(root: Root, layer: RwLayer, lowers: readonly string[]): Promise<Change[]> {
  const { layout } = root;
  const { ids, requireSame } = uppersOf(layout, layer);
  // The sealed uppers are the topmost lowers.
  const below = lowers.slice(ids.length - 1).map((lower) => layout.lower(lower));
  const uppers = ids.map((id) => layout.overlay(id, 'diff'));
  const changes = await changesBetween(layout.root, uppers, below);
  requireSame();
  return changes;
}

/**
 * Returns the changes that uppers make to their lowers, sorted as in {@link listChanges}.
 * @param base - the absolute directory of the other paths
 * @param uppers - topmost first: the upper of a mount, then sealed ones
 * @param lowers - topmost first
 * @throws {@link LayerstackError} ERR_UPPER_UNSUPPORTED; system errors.
 */
export async function changesBetween(
  base: string,
  [upper = '', ...sealed]: readonly string[],
  lowers: readonly string[],
): Promise<Change[]> {
  return parseChanges(await call(native.listChanges(base, upper, lowers, sealed)));
}

/** Two stacks of uppers on the same lowers. */
export interface TwoStacks {
  /** Topmost first, relative to the root of the store, as all of them. */
  readonly before: readonly string[];
  readonly after: readonly string[];
  readonly lowers: readonly string[];
}

/**
 * Returns the changes that lead from one stack of uppers to another, sorted as in {@link listChanges}.
 * Walks the uppers, and what of the lowers shows in one stack only.
 * @throws {@link LayerstackError} ERR_UPPER_UNSUPPORTED, ERR_STORE_CORRUPT for a missing directory.
 */
export async function compareStacks(base: string, { before, after, lowers }: TwoStacks): Promise<Change[]> {
  return parseChanges(await call(native.compareStacks(base, before, after, lowers)));
}

/** Parses the entries of a native list. */
export function parseChanges(list: Uint8Array): Change[] {
  const entries = Buffer.from(list.buffer, list.byteOffset, list.byteLength).toString().split('\0');
  entries.pop();
  return entries.map((entry) => ({ kind: entry.charAt(0) as Change['kind'], path: entry.slice(1) }));
}
