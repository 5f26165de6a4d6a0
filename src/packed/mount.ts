/**
 * Mounts the root file system of an archive in its place: an overlay of the index, with an upper of its own.
 *
 * The index stays mounted at `lower` as long as the overlay, because {@link lowersOf} is what the changes in
 * the upper are compared with. Mounting the index again for each comparison would need names for the index,
 * the inflated layers and the clone of the archive. They have no names, so that a dead process leaves no
 * bytes. It would also need the archive's file again, which may have another name by then. The mount that
 * stays costs one line in the mount table. It, and its loop devices, end with the overlay.
 */
import { isSystemError, LayerstackError } from '../core/errors.ts';
import type { Capabilities } from '../system/caps.ts';
import { mountOverlay } from '../system/mounts.ts';
import { call, native, type ErofsMethod } from '../system/native.ts';
import { listDirectory } from '../system/store-files.ts';
import type { Place } from './place.ts';
import type { Index } from './write-index.ts';

interface TreeOptions {
  readonly caps: Pick<Capabilities, 'mountMethod' | 'overlayOptions'>;
  readonly readOnly: boolean;
}

/**
 * Mounts an index at the place's `merged`.
 * @throws {@link LayerstackError} ERR_UNSUPPORTED where the kernel cannot mount the archive; system errors.
 *   Then the caller removes the place.
 */
export async function mountIndex(
  place: Place,
  index: Index,
  options: TreeOptions & { readonly method: ErofsMethod },
): Promise<void> {
  await makeDirectories(place, ['lower']);
  await mountLower(place, index, options.method);
  await mountTree(place, ['lower'], options);
}

/**
 * Mounts extracted layers at the place's `merged`.
 * @throws {@link LayerstackError} ERR_LAYER_DEPTH; system errors.
 */
export async function mountExtracted(place: Place, options: TreeOptions): Promise<void> {
  // It is the only lower of an image without layers.
  await makeDirectories(place, ['lower']);
  await mountTree(place, await lowersOf(place.path), options);
}

/**
 * Returns the lowers of a mounted place, topmost first and relative to it: the index, or the extracted
 * layers.
 */
export async function lowersOf(place: string): Promise<string[]> {
  const names = (await listDirectory(place)) ?? [];
  const layers = names.flatMap((name) => /^layer-(\d+)$/.exec(name)?.[1] ?? []).map(Number);
  if (layers.length === 0) return ['lower'];
  return layers.sort((a, b) => b - a).map(extractedLayer);
}

/** Returns the directory of an extracted layer, counted from the lowest, relative to the place. */
export function extractedLayer(at: number): string {
  return `layer-${String(at)}/diff`;
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
    // Without an upper the root has its owner, mode and time in the image.
    ...(readOnly ? { readOnly } : { upper: 'upper', work: 'work' }),
    method: caps.mountMethod,
    // The upper and the index are on two file systems. Without `xino` a file's inode number would change when
    // the file is written to.
    options: [...caps.overlayOptions, 'xino=on'],
  });
}

/** Only root can reach these directories. The root file system at `merged` has the mode of `upper`. */
async function makeDirectories(place: Place, names: readonly string[]): Promise<void> {
  const steps = names.map((path) => ({ op: 'mkdir' as const, path, mode: 0o755 }));
  await call(native.batch(place.path, steps));
}

async function mountLower(place: Place, { file, devices }: Index, method: ErofsMethod): Promise<void> {
  const mount = { fd: file.fd, devices, target: place.at('lower') };
  try {
    await call(native.mountErofs({ ...mount, method }));
  } catch (error) {
    // The kernel cannot mount files of some file systems (tmpfs). It can mount loop devices over them.
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
