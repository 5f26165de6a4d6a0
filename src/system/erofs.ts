/** Mounts indexes: EROFS images whose files point into tars. */
import { isSystemError } from '../core/errors.ts';
import { call, native, type ErofsMount } from './native.ts';

/**
 * Mounts an index at an existing directory, read-only; by loop devices where the kernel cannot mount files of
 * this file system (tmpfs) themselves.
 * @throws system errors.
 */
export async function mountErofs(mount: ErofsMount): Promise<void> {
  try {
    await call(native.mountErofs(mount));
  } catch (error) {
    if (mount.method !== 'file' || !isSystemError(error, 'ENOTBLK', 'EINVAL', 'EOPNOTSUPP')) throw error;
    await call(native.mountErofs({ ...mount, method: 'loop' }));
  }
}
