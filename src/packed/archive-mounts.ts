/**
 * Mounts archives in place for longer than a process. The mounts are counted across processes, as mounts of
 * containers are.
 */
import { realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import type { Locks } from '../system/lock.ts';
import { requireUnchanged } from './file-version.ts';
import { findMount, listMounts, rootfsOf } from './find-mounts.ts';
import { mountedElsewhere, mountedOtherwise } from './mount-errors.ts';
import type { OpenArchiveOptions } from './open.ts';
import { mountNew, remove } from './open-below.ts';
import { Place } from './place.ts';
import { isLive, readRecord, writeRecord, type ArchiveRecord } from './record.ts';
import { resolveArchive } from './source.ts';

/** A mounted archive that belongs to no process. */
export interface ArchiveMount {
  /** The archive's canonical path. */
  readonly archive: string;
  /** The absolute path by which it was mounted. */
  readonly name: string;
  readonly imageId: string;
  /** Absolute path of the root file system. */
  readonly path: string;
  readonly readOnly: boolean;
  /** False where the digests were not verified. */
  readonly verified: boolean;
  /** The number of uses; each needs an unmount. */
  readonly count: number;
  /** Lines for the user about this call. */
  readonly notices: readonly string[];
}

export interface UnmountArchiveOptions {
  /** Ends all uses at once, and unmounts it even if files in it are in use. */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The mounts below one directory. */
export class ArchiveMounts {
  readonly #base: string;
  readonly #locks: Pick<Locks, 'acquire'>;

  constructor(base: string, locks: Pick<Locks, 'acquire'>) {
    this.#base = base;
    this.#locks = locks;
  }

  /**
   * Mounts an archive, or adds a use to the existing mount of the same archive and image.
   * @throws {@link LayerstackError} ERR_ARCHIVE_CHANGED where the archive differs from the mounted one;
   *   ERR_CONTAINER_MOUNTED where it is mounted read-only and the caller wants it writable, or unverified and
   *   the caller wants it verified; the errors of `mountImage`.
   */
  async mount(path: string, options: OpenArchiveOptions = {}): Promise<ArchiveMount> {
    const archive = await resolveArchive(path);
    await using _lock = await this.#locks.acquire('archives', archive, { signal: options.signal });
    for (const { place, record } of await listMounts(this.#base)) {
      if (!isSame(record, archive, options)) continue;
      const counted = await this.#addUse(place, path, options);
      if (counted) return counted;
    }
    const { place, mounted } = await mountNew(this.#base, archive, path, options);
    const { image, readOnly, verified, hasDigests, files, notices } = mounted;
    const record = {
      ...{
        archive,
        name: resolve(path),
        image: options.image ?? '',
        platform: options.platform ?? '',
        imageId: image.id,
        references: image.references,
      },
      ...{ readOnly, verified, hasDigests, files, count: 1 },
    };
    try {
      await writeRecord(place.path, record);
    } catch (error) {
      await place.remove({ detach: true });
      throw error;
    }
    await place.release();
    return describe(place.path, record, notices);
  }

  /**
   * Ends one use of a mounted archive. `path` is that of the archive, or of its root file system. The end of
   * the last use unmounts it and removes the changes made in it. Resolves with the number of remaining uses;
   * 0 for an archive that is not mounted.
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED while files in it are in use, unless forced;
   *   ERR_INVALID_ARGUMENT where several images of the archive are mounted; ERR_PATH_NOT_FOUND where neither
   *   an archive nor a mount has the path.
   */
  async unmount(path: string, { force = false, signal }: UnmountArchiveOptions = {}): Promise<number> {
    const mount = await findMount(this.#base, path, { byName: true });
    const place = mount && (await Place.take(mount.place, signal));
    if (place === undefined) return notMounted(path);
    try {
      const record = readRecord(place.path);
      const isHere = await place.isMounted();
      if (record !== undefined && !isHere && !force && isLive(record, false))
        throw mountedElsewhere(path, place);
      if (record !== undefined && record.count > 1 && !force && isHere) {
        await writeRecord(place.path, { ...record, count: record.count - 1 });
        await place.release();
        return record.count - 1;
      }
      await remove(place, path, force);
      return 0;
    } catch (error) {
      await place.release();
      throw error;
    }
  }

  /** Returns all mounted archives. */
  async list(): Promise<ArchiveMount[]> {
    return (await listMounts(this.#base)).map(({ place, record }) => describe(place, record, []));
  }

  /** Adds a use to the mount of a place. Returns undefined where the mount has ended. */
  async #addUse(
    path: string,
    sourceName: string,
    { readOnly = false, verify = true, signal }: OpenArchiveOptions,
  ): Promise<ArchiveMount | undefined> {
    const place = await Place.take(path, signal);
    const record = place && readRecord(path);
    if (place === undefined || record === undefined) {
      await place?.release();
      return undefined;
    }
    try {
      const isHere = await place.isMounted();
      if (!isLive(record, isHere)) {
        await place.remove({ detach: true });
        return undefined;
      }
      if (!isHere) throw mountedElsewhere(sourceName, place);
      await requireUnchanged(sourceName, record.files);
      if (record.readOnly && !readOnly) throw mountedOtherwise(sourceName, place, 'read-only');
      if (!record.verified && record.hasDigests && verify)
        throw mountedOtherwise(sourceName, place, 'without being verified');
      const counted = { ...record, count: record.count + 1 };
      await writeRecord(path, counted);
      return describe(path, counted, []);
    } finally {
      await place.release();
    }
  }
}

function isSame(record: ArchiveRecord, archive: string, { image, platform }: OpenArchiveOptions): boolean {
  return record.archive === archive && record.image === (image ?? '') && record.platform === (platform ?? '');
}

function describe(
  place: string,
  { archive, name, imageId, readOnly, verified, count }: Omit<ArchiveRecord, 'bootId' | 'namespace'>,
  notices: readonly string[],
): ArchiveMount {
  return { archive, name, imageId, path: rootfsOf(place), readOnly, verified, count, notices };
}

async function notMounted(path: string): Promise<number> {
  try {
    await realpath(path);
    return 0;
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) throw error;
    throw new LayerstackError(
      'ERR_PATH_NOT_FOUND',
      `${path} does not exist, and is not the path of a mounted archive`,
      {
        path,
        cause: error,
      },
    );
  }
}
