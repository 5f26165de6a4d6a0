/** Mounts indexes: EROFS images whose files point into tars. */
import { isSystemError } from '../core/errors.ts';
import { call, native, type ErofsFiles, type ErofsMethod, type ErofsMount } from './native.ts';

/**
 * Mounts an index at an existing directory, read-only; by loop devices where the kernel cannot mount files of
 * this file system (tmpfs) themselves.
 * @throws system errors.
 */
export function mountErofs(mount: ErofsMount): Promise<void> {
  return withLoops(mount.method, (method) => call(native.mountErofs({ ...mount, method })));
}

/**
 * Does {@link mountErofs} without a path, and returns an fd: `/proc/self/fd/N/.` is the root directory. The
 * mount ends when the caller closes the fd.
 * @throws system errors.
 */
export function openErofs(files: ErofsFiles): Promise<number> {
  return withLoops(files.method, (method) => call(native.openErofs({ ...files, method })));
}

async function withLoops<T>(method: ErofsMethod, mount: (method: ErofsMethod) => Promise<T>): Promise<T> {
  try {
    return await mount(method);
  } catch (error) {
    if (method !== 'file' || !isSystemError(error, 'ENOTBLK', 'EINVAL', 'EOPNOTSUPP')) throw error;
    return mount('loop');
  }
}
