/**
 * Opens archives in place for this process: each in a private directory below a base. Closing the archive
 * removes it. If the process dies, the next process that opens an archive there removes it.
 */
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { makeDirectories } from '../system/make-directories.ts';
import { placeOf, unsafeDirectory } from '../system/safe-root.ts';
import { mountImage, type MountedArchive, type OpenArchiveOptions } from './open.ts';
import { Place } from './place.ts';
import { resolveArchive } from './source.ts';

/** An archive that this process has open. */
export interface HeldArchive {
  readonly place: Place;
  readonly mounted: MountedArchive;
  /**
   * Unmounts it, and removes the changes made in it. A second call does nothing.
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED while files in it are in use, unless forced.
   */
  close(options: { readonly force: boolean }): Promise<void>;
}

/**
 * The places of open archives, so that they stay reachable. Otherwise the garbage collector closes the lock
 * of an archive that its caller dropped, and the next sweep removes a root file system that is in use.
 */
const OPEN = new Set<Place>();

/**
 * Opens an archive in a private directory below `base`, and makes `base` where it is missing. If this process
 * dies, the next process that opens an archive there removes the directory.
 * @throws {@link LayerstackError} ERR_STORE_UNSAFE where other users could rename or replace the directory;
 *   the errors of `mountImage`.
 */
export async function openBelow(
  base: string,
  path: string,
  options: OpenArchiveOptions = {},
): Promise<HeldArchive> {
  const archive = await resolveArchive(path);
  const { place, mounted } = await mountNew(base, archive, path, options);
  OPEN.add(place);
  let closed: Promise<void> | undefined;
  const close = ({ force }: { readonly force: boolean }): Promise<void> => {
    const closing = (closed ??= remove(place, path, force).then(() => void OPEN.delete(place)));
    // An archive that is in use may be closed later.
    closing.catch(() => (closed = undefined));
    return closing;
  };
  return { place, mounted, close };
}

/** Mounts an archive in a new place, which the caller removes. */
export async function mountNew(
  base: string,
  archive: string,
  sourceName: string,
  options: OpenArchiveOptions,
): Promise<{ readonly place: Place; readonly mounted: MountedArchive }> {
  await requireSafe(base);
  await makeDirectories(base, 0o700);
  const place = await Place.make(base);
  try {
    return { place, mounted: await mountImage(archive, sourceName, place, options) };
  } catch (error) {
    // The first error counts. The next sweep removes what stays.
    await place.remove({ detach: true }).catch(() => place.release());
    throw error;
  }
}

/**
 * Checks the directory of places as a store's root is checked: a user who can rename a place can make root
 * read and write any file.
 * @throws {@link LayerstackError} ERR_STORE_UNSAFE
 */
export async function requireSafe(base: string): Promise<void> {
  // A directory with the sticky bit is safe, because other users cannot rename the place in it.
  const found = await unsafeDirectory({ ...(await placeOf(base)), exists: false });
  if (found === undefined) return;
  throw new LayerstackError(
    'ERR_STORE_UNSAFE',
    `cannot mount an archive below ${base}: ${found.path}: ${found.why}; choose another directory, or: ${found.hint}`,
    { path: found.path },
  );
}

/**
 * Unmounts an archive and removes its place.
 * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED while files in it are in use, unless forced.
 */
export async function remove(place: Place, sourceName: string, force: boolean): Promise<void> {
  try {
    await place.remove({ detach: force });
  } catch (error) {
    if (!isSystemError(error, 'EBUSY')) throw error;
    throw new LayerstackError(
      'ERR_CONTAINER_MOUNTED',
      `the root file system of ${sourceName} is in use: end the programs that have files open in ${place.at('merged')}, or use force (--force)`,
      { path: place.at('merged'), cause: error },
    );
  }
}
