/**
 * Reads of the store's one-line files. Synchronous on purpose: such a read blocks for some 10 µs, while four trips to
 * libuv's threads take over 100 µs, of which making a container has no more than a few to spend. Whoever reads many
 * gives the event loop its turn in between.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { isSystemError } from '../core/errors.ts';

/** The text of a file; undefined where there is none, or something else in its place. */
export function readText(path: string): string | undefined {
  return unlessMissing(() => readFileSync(path, 'utf8'));
}

/** Where a symlink points; undefined where there is none. */
export function readLink(path: string): string | undefined {
  return unlessMissing(() => readlinkSync(path));
}

function unlessMissing(read: () => string): string | undefined {
  try {
    return read();
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR', 'EISDIR', 'EINVAL')) return undefined;
    throw error;
  }
}
