/**
 * The root file system of an archive in its place: an overlay of the index, with an upper of its own. The
 * index is mounted at `lower` only until the overlay has it; then the overlay's own mount of it is the only
 * one, which ends with it, and with it the loop devices.
 */
import { isSystemError, LayerstackError } from '../core/errors.ts';
import type { Capabilities } from '../system/caps.ts';
import { mountOverlay, unmount } from '../system/mounts.ts';
import { call, native, type ErofsMethod } from '../system/native.ts';
import type { Place } from './place.ts';
import type { Index } from './write-index.ts';

interface TreeOptions {
  readonly caps: Pick<Capabilities, 'mountMethod' | 'overlayOptions'>;
  readonly readOnly: boolean;
}

/**
 * Mounts what an index shows at the place's `merged`.
 * @throws {@link LayerstackError} ERR_UNSUPPORTED where the kernel does not mount the archive; system
 *   errors. The place is the caller's to remove then.
 */
export async function mountIndex(
  place: Place,
  index: Index,
  options: TreeOptions & { readonly method: ErofsMethod },
): Promise<void> {
  await makeDirectories(place, ['lower']);
  await mountLower(place, index, options.method);
  await mountTree(place, ['lower'], options);
  await unmount(place.at('lower'));
}

/**
 * Mounts extracted layers at the place's `merged`: directories of the place, topmost first.
 * @throws {@link LayerstackError} ERR_LAYER_DEPTH; system errors.
 */
export async function mountExtracted(
  place: Place,
  lowers: readonly string[],
  options: TreeOptions,
): Promise<void> {
  await makeDirectories(place, ['lower']);
  await mountTree(place, lowers.length > 0 ? lowers : ['lower'], options);
}

async function mountTree(
  place: Place,
  lowers: readonly string[],
  { caps, readOnly }: TreeOptions,
): Promise<void> {
  await makeDirectories(place, ['merged', 'upper', 'work']);
  await mountOverlay({
    root: place.path,
    target: place.at('merged'),
    lowers,
    // Without an upper the root has the owner, mode and time that the image gives it.
    ...(readOnly ? { readOnly } : { upper: 'upper', work: 'work' }),
    method: caps.mountMethod,
    // The upper and the index are on two file systems: else an inode number would change when its file is
    // written to.
    options: [...caps.overlayOptions, 'xino=on'],
  });
}

/** Others than root reach none of them, but what is mounted at `merged` keeps the mode of `upper`. */
async function makeDirectories(place: Place, names: readonly string[]): Promise<void> {
  const steps = names.map((path) => ({ op: 'mkdir' as const, path, mode: 0o755 }));
  await call(native.batch(place.path, steps));
}

async function mountLower(place: Place, { file, devices }: Index, method: ErofsMethod): Promise<void> {
  const mount = { fd: file.fd, devices, target: place.at('lower') };
  try {
    await call(native.mountErofs({ ...mount, method }));
  } catch (error) {
    // The archive may be on a file system of which the kernel takes block devices only (tmpfs).
    if (method !== 'file' || !isSystemError(error, 'ENOTBLK', 'EINVAL', 'EOPNOTSUPP')) throw error;
    await mountByLoop(mount, error);
  }
}

async function mountByLoop(
  mount: { readonly fd: number; readonly devices: readonly number[]; readonly target: string },
  cause: Error,
): Promise<void> {
  try {
    await call(native.mountErofs({ ...mount, method: 'loop' }));
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new LayerstackError(
      'ERR_UNSUPPORTED',
      `the kernel does not mount this archive in place (${cause.message}; by loop devices: ${error.message}): load it into a ` +
        'store, and make a container of it',
      { cause: error },
    );
  }
}
