/**
 * The private directory of one archive that is open in place: `<base>/layerstack-archive-<random>/`, mode
 * 0700. A process that works in it holds its flock. Contents:
 *
 *   lower/         the mount point of the index
 *   layer-<n>/     instead of an index, the extracted layers, where the kernel cannot mount one
 *   image.json     the config of the image
 *   volumes/       the anonymous volumes of a bundle (container/volumes.ts)
 *   bundle/        the bundle of a run, with the files of the runtime (container/run/)
 *   upper/, work/  the writable part of the overlay
 *   merged/        the mounted root file system
 *   record.json    the facts of a mount that outlives its process (record.ts)
 *
 * The index and inflated layers are unnamed files that only the mount keeps alive. A place without a lock, a
 * mount and a record is therefore the leftover of a dead process, and {@link sweepPlaces} removes it.
 */
import { constants } from 'node:fs';
import { open, realpath, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pause, throwIfAborted } from '../core/abort.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { randomName } from '../core/random.ts';
import type { Logger } from '../system/log.ts';
import { mountState, unmount } from '../system/mounts.ts';
import { call, native } from '../system/native.ts';
import { spaceError } from '../system/space.ts';
import { hasDirectory, listDirectory, openStoreFile, statEntry } from '../system/store-files.ts';
import { hasRecord, isLive, readRecord } from './record.ts';

const PREFIX = 'layerstack-archive-';
const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const NEW_FILE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
const LOCK_PAUSE_MS = 5;
/**
 * A sweep of another process may remove a new place before it is locked. After this many attempts, making the
 * place fails.
 */
const TRIES = 100;

export class Place {
  /** Absolute and canonical. */
  readonly path: string;
  readonly #lock: FileHandle;

  private constructor(path: string, lock: FileHandle) {
    this.path = path;
    this.#lock = lock;
  }

  /**
   * Makes a new place below `base`, an existing directory.
   * @throws {@link LayerstackError} ERR_NO_SPACE; ERR_UNSUPPORTED where new directories belong to another
   *   user, as on NFS with root_squash; system errors.
   */
  static async make(base: string): Promise<Place> {
    const parent = await realpath(base);
    for (let tries = 0; tries < TRIES; tries++) {
      const name = PREFIX + randomName(8).toString('hex');
      try {
        await call(native.batch(parent, [{ op: 'mkdir', path: name, mode: 0o700 }]));
      } catch (error) {
        if (isSystemError(error, 'ENOENT') && hasDirectory(parent)) continue; // a sweep was faster
        throw spaceError(error, parent, `in ${parent}`);
      }
      const path = join(parent, name);
      const lock = await tryLock(path);
      // Otherwise a sweep was faster.
      if (lock !== undefined) return new Place(path, lock);
    }
    throw new LayerstackError(
      'ERR_UNSUPPORTED',
      `${parent}: its file system does not let this user own and lock new directories: choose another directory`,
      { path: parent },
    );
  }

  /** Takes an existing place; undefined where it is missing. Waits for a process that works in it. */
  static async take(path: string, signal?: AbortSignal): Promise<Place | undefined> {
    for (;;) {
      throwIfAborted(signal);
      const lock = await tryLock(path);
      if (lock !== undefined) return new Place(path, lock);
      if (!hasDirectory(path)) return undefined;
      await pause(LOCK_PAUSE_MS, signal);
    }
  }

  /** Takes a place without waiting; undefined also where a process works in it. */
  static async tryTake(path: string): Promise<Place | undefined> {
    const lock = await tryLock(path);
    return lock && new Place(path, lock);
  }

  at(name: 'lower' | 'upper' | 'work' | 'merged'): string {
    return join(this.path, name);
  }

  /** Returns a path for a new file. */
  newName(): string {
    return join(this.path, `data-${randomName(8).toString('hex')}`);
  }

  /** Makes an empty file without a name, which disappears when it is closed. */
  newFile(): Promise<FileHandle> {
    return this.openUnnamed(this.newName(), NEW_FILE);
  }

  /** Opens a file of the place and removes its name. */
  async openUnnamed(path: string, flags: number): Promise<FileHandle> {
    const file = await openStoreFile(path, flags);
    try {
      await call(native.batch(this.path, [{ op: 'unlink', path: basename(path) }]));
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The lock. A program that inherits it holds the place. */
  get lockFd(): number {
    return this.#lock.fd;
  }

  /** Releases the lock. */
  release(): Promise<void> {
    return this.#lock.close();
  }

  /**
   * Unmounts everything in the place, then removes the directory. `detach`: even while files are open in it.
   * @throws system error EBUSY where files are open.
   */
  async remove({ detach }: { readonly detach: boolean }): Promise<void> {
    // A place with a busy overlay stays unchanged.
    await unmount(this.at('merged'), { detach });
    await unmount(this.at('lower'), { detach: true });
    await call(native.removeTree(dirname(this.path), basename(this.path)));
    await this.release();
  }

  /** Whether the root file system is mounted. */
  async isMounted(): Promise<boolean> {
    return (await mountState(this.at('merged'))) !== 'none';
  }
}

/** Returns the places below `base`; none where `base` is missing. */
export async function listPlaces(base: string): Promise<string[]> {
  let parent: string;
  try {
    parent = await realpath(base);
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
  const names = (await listDirectory(parent)) ?? [];
  return names.filter((name) => name.startsWith(PREFIX)).map((name) => join(parent, name));
}

/**
 * Removes the leftovers of dead processes below `base`, and the records of earlier boots. Failures are
 * logged.
 */
export async function sweepPlaces(base: string, log: Pick<Logger, 'warn'>): Promise<void> {
  for (const path of await listPlaces(base)) {
    let place: Place | undefined;
    try {
      place = await Place.tryTake(path);
      if (place === undefined) continue;
      if (await isInUse(place)) await place.release();
      else await place.remove({ detach: true });
    } catch (error) {
      log.warn('cannot remove the leftovers of an archive in place', { path, error: String(error) });
      await place?.release();
    }
  }
}

/** A mounted place whose record cannot be read may belong to another version of layerstack. */
async function isInUse(place: Place): Promise<boolean> {
  const record = readRecord(place.path);
  const isMounted = await place.isMounted();
  return record === undefined ? isMounted && hasRecord(place.path) : isLive(record, isMounted);
}

/**
 * Locks a place. Returns undefined where it is missing, or a process works in it. Returns undefined also
 * where another user has made it, or has mounted something there: every user may write to `/var/tmp`.
 */
async function tryLock(path: string): Promise<FileHandle | undefined> {
  let lock: FileHandle;
  try {
    lock = await open(path, DIRECTORY);
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return undefined;
    throw error;
  }
  let held = false;
  try {
    const { uid, ino, dev, mode } = await lock.stat();
    const isOwn =
      uid === process.geteuid?.() && (mode & 0o077) === 0 && statEntry(dirname(path))?.dev === dev;
    if (!isOwn || !native.tryFlock(lock.fd, true)) return undefined;
    const named = statEntry(path);
    held = named?.ino === ino && named.dev === dev;
    return held ? lock : undefined;
  } finally {
    if (!held) await lock.close();
  }
}
