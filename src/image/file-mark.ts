/**
 * Marks by which a reader recognises a file that is unchanged since it was read. git compares the files of its
 * index in the same way.
 */
import type { StoreEntry } from '../system/native.ts';

/**
 * A file that changes twice within one tick of the kernel's clock (up to 10 ms) shows one change time. So the
 * mark of a file that changed less than this before it was read does not show the next change.
 */
const MIN_AGE_MS = 1000;

/** Returns whether a later change of the file would change its mark. */
export function isOldEnough(changedMs: number): boolean {
  return changedMs < Date.now() - MIN_AGE_MS;
}

/** Returns a text that changes when the file is changed or replaced. */
export function markOf({ ino, ctimeMs, size }: Pick<StoreEntry, 'ino' | 'ctimeMs' | 'size'>): string {
  return `${ino}.${ctimeMs}.${size}`;
}
