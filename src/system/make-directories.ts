/** Directories of the host, outside the store, with those above them. */
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isSystemError } from '../core/errors.ts';

/**
 * Works as `mkdir -p`. Node's own `mkdir` with `recursive` never ends where mkdir(2) fails with ENOENT for
 * another reason than a missing parent, as in `/proc/x/y`.
 * @throws system errors; EEXIST where there is something else at the path.
 */
export async function makeDirectories(path: string, mode = 0o777): Promise<void> {
  const parent = dirname(path);
  try {
    await makeOne(path, mode);
  } catch (error) {
    if (parent === path || !isSystemError(error, 'ENOENT')) throw error;
    await makeDirectories(parent, mode);
    await makeOne(path, mode);
  }
}

async function makeOne(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    const isThere = isSystemError(error, 'EEXIST') && (await stat(path)).isDirectory();
    if (!isThere) throw error;
  }
}
