/**
 * Pins a mounted root file system for one operation. An open descriptor protects it from other processes: an
 * `unmount` by one of them fails, since the mount is in use. Otherwise the operation would read or, worse,
 * write the empty directory below the mount point. The path leads through the descriptor, so the operation
 * ends on the same mount even after a forced unmount.
 */
import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { unlessMissing } from '../core/errors.ts';

export interface PinnedMount {
  /** The path of the root file system, valid in this process. */
  readonly path: string;
  release(): Promise<void>;
}

/** Pins the mount at `path`; undefined when nothing is mounted there. */
export async function pinMount(path: string): Promise<PinnedMount | undefined> {
  const root = await unlessMissing(
    open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW),
  );
  if (!root) return undefined;
  const [own, above] = await Promise.all([root.stat(), unlessMissing(stat(dirname(path)))]);
  if (own.dev === above?.dev) {
    await root.close();
    return undefined;
  }
  // The dot makes the path a directory and not a link.
  return { path: `/proc/self/fd/${root.fd}/.`, release: () => root.close() };
}
