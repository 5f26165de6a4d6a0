/**
 * Lists the changes in an RW layer against the image and the init layer, as `docker diff` does. Only the RW
 * layer is walked. It is not mounted for this; a mounted one is read in place.
 */
import { Buffer } from 'node:buffer';
import type { LayerStore } from '../layer/store.ts';
import { call, native } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { openDirectories } from './lowers.ts';
import type { RwLayer } from './rwlayer.ts';

export interface Change {
  /** Added, changed or deleted. */
  readonly kind: 'A' | 'C' | 'D';
  /** Absolute, in the root file system. */
  readonly path: string;
}

/**
 * Returns the changes, sorted by path with a directory before its content.
 * @throws {@link LayerstackError} ERR_UPPER_UNSUPPORTED, naming the `member`, when overlayfs keeps content
 *   elsewhere (redirect_dir, metacopy); ERR_STORE_CORRUPT for an RW layer without its directories.
 */
export async function listChanges(root: Root, layers: LayerStore, layer: RwLayer): Promise<Change[]> {
  const { layout } = root;
  await using lowers = await openDirectories(root, layers, layer);
  const below = lowers.list.map((lower) => layout.lower(lower));
  const list = await call(native.listChanges(layout.root, layout.overlay(layer.mountId, 'diff'), below));
  return parseChanges(list);
}

/** Parses the entries of a native list. */
export function parseChanges(list: Uint8Array): Change[] {
  const entries = Buffer.from(list.buffer, list.byteOffset, list.byteLength).toString().split('\0');
  entries.pop();
  return entries.map((entry) => ({ kind: entry.charAt(0) as Change['kind'], path: entry.slice(1) }));
}
