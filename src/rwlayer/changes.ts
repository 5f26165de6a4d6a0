/**
 * Lists the changes in an RW layer against the image and the init layer, as `docker diff` does. Only the RW
 * layer's own directory is walked, whether it is mounted or not.
 */
import { Buffer } from 'node:buffer';
import { Overlay } from '../layer/overlay.ts';
import { call, native } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { RwLayer } from './rwlayer.ts';
import { uppersOf } from './sealed.ts';

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
export async function listChanges(root: Pick<Root, 'layout'>, layer: RwLayer): Promise<Change[]> {
  const { layout } = root;
  const { ids, requireSame } = uppersOf(layout, layer);
  const [upper = '', ...sealed] = ids.map((id) => `${id}/diff`);
  const lowers = (await new Overlay(layout).lowersOf(layer.mountId)).slice(ids.length);
  const list = await call(native.listChanges(layout.at(layout.overlay2), upper, lowers, sealed));
  requireSame();
  return parseChanges(list);
}

/** Parses the entries of a native list. */
export function parseChanges(list: Uint8Array): Change[] {
  const entries = Buffer.from(list.buffer, list.byteOffset, list.byteLength).toString().split('\0');
  entries.pop();
  return entries.map((entry) => ({ kind: entry.charAt(0) as Change['kind'], path: entry.slice(1) }));
}
