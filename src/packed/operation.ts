/**
 * Uses a mounted archive for one operation (diff, export, cp, commit). The mount is pinned meanwhile, as that
 * of a container is: an unmount fails, unless it is forced.
 */
import { LayerstackError } from '../core/errors.ts';
import { pinMount } from '../system/pinned-mount.ts';
import { requireUnchanged, type FileVersion } from './file-version.ts';
import { NO_DIGESTS } from './diff-ids.ts';
import { findMount, type MountedChoice } from './find-mounts.ts';
import { mountedElsewhere, mountedOtherwise } from './mount-errors.ts';
import { openBelow, type HeldArchive } from './open-below.ts';
import type { MountedArchive, OpenArchiveOptions } from './open.ts';
import { Place } from './place.ts';
import { isLive, readRecord } from './record.ts';

/** Selects an image of an archive, and how it is mounted if it is not mounted yet. */
export type ArchiveChoice = MountedChoice & Pick<OpenArchiveOptions, 'verify'>;

/** The needs of an operation. */
export interface OperationNeeds {
  /** It writes into the root file system. */
  readonly write: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Opens one archive for operations. */
export interface ArchiveSource {
  /** The name of the archive in messages. */
  readonly name: string;
  /**
   * @param needs.mounted - the archive must be mounted already. Otherwise it is mounted read-only for the
   *   operation where it is not mounted.
   * @throws {@link LayerstackError} ERR_ARCHIVE_NOT_MOUNTED, ERR_ARCHIVE_CHANGED, ERR_CONTAINER_MOUNTED; the
   *   errors of mounting.
   */
  open(needs: OperationNeeds & { readonly mounted: boolean }): Promise<ArchiveOperation>;
}

/** A root file system that is mounted until this is disposed. */
export interface ArchiveOperation extends AsyncDisposable {
  /** Absolute path of its place. */
  readonly place: string;
  /** Path of the root file system, valid in this process until this is disposed. */
  readonly path: string;
  /** The archive's canonical path. */
  readonly archive: string;
  readonly readOnly: boolean;
  /** The files that must not change while it is mounted. */
  readonly files: readonly FileVersion[];
  /** Locks the place against other processes; undefined where this process holds it anyway. */
  readonly lock: () => Promise<AsyncDisposable | undefined>;
  /** Lines for the user about the mount. */
  readonly notices: readonly string[];
}

const NOT_VERIFIED = 'Nothing of the archive was verified';

type OperationFacts = Pick<MountedArchive, 'archive' | 'files' | 'readOnly' | 'verified' | 'hasDigests'> &
  Pick<ArchiveOperation, 'lock'>;

const HELD = (): Promise<undefined> => Promise.resolve(undefined);

/**
 * Uses the mount of a place. The caller holds the place's lock until this resolves.
 * @returns undefined where nothing is mounted in the place.
 * @throws {@link LayerstackError} ERR_ARCHIVE_CHANGED; ERR_CONTAINER_MOUNTED for writes where it is mounted
 *   read-only.
 */
async function usePlace(
  place: Place,
  sourceName: string,
  { archive, files, readOnly, verified, hasDigests, lock }: OperationFacts,
  { write }: OperationNeeds,
): Promise<ArchiveOperation | undefined> {
  await requireUnchanged(sourceName, files);
  if (write && readOnly) throw mountedOtherwise(sourceName, place, 'read-only');
  const pinned = await pinMount(place.at('merged'));
  return (
    pinned && {
      ...{ place: place.path, path: pinned.path, archive, readOnly, files },
      lock,
      notices: verified ? [] : [hasDigests ? NOT_VERIFIED : NO_DIGESTS],
      [Symbol.asyncDispose]: () => pinned.release(),
    }
  );
}

/**
 * Uses an archive that is mounted below `base`.
 * @returns undefined where it is not mounted.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where several images of the archive are mounted;
 *   ERR_CONTAINER_MOUNTED where it is mounted in another mount namespace; the errors of {@link usePlace}.
 */
async function useMounted(
  base: string,
  path: string,
  choice: ArchiveChoice,
  needs: OperationNeeds,
): Promise<ArchiveOperation | undefined> {
  const found = await findMount(base, path, choice);
  const place = found && (await Place.take(found.place, needs.signal));
  if (place === undefined) return undefined;
  try {
    const record = readRecord(place.path);
    const isMounted = await place.isMounted();
    if (record === undefined || !isLive(record, isMounted)) return undefined;
    if (!isMounted) throw mountedElsewhere(path, place);
    return await usePlace(place, path, { ...record, lock: () => lockPlace(place.path) }, needs);
  } finally {
    await place.release();
  }
}

async function lockPlace(path: string): Promise<AsyncDisposable | undefined> {
  const place = await Place.take(path);
  return place && { [Symbol.asyncDispose]: () => place.release() };
}

/** Mounts an archive read-only below `base` until the operation ends. */
async function useNewMount(
  base: string,
  path: string,
  choice: ArchiveChoice,
  signal: AbortSignal | undefined,
): Promise<ArchiveOperation> {
  const { place, mounted, close } = await openBelow(base, path, { ...choice, readOnly: true, signal });
  const { archive, readOnly, verified, hasDigests, files, notices } = mounted;
  return {
    ...{ place: place.path, path: mounted.path, archive, readOnly, files, lock: HELD },
    notices: verified || !hasDigests ? notices : [...notices, NOT_VERIFIED],
    [Symbol.asyncDispose]: () => close({ force: true }),
  };
}

/**
 * Opens archives below `base` by their paths.
 * @param requireWritable throws where nothing may be mounted below `base`
 */
export function archiveBelow(
  base: string,
  path: string,
  choice: ArchiveChoice,
  requireWritable: () => void,
): ArchiveSource {
  return {
    name: path,
    async open({ mounted, ...needs }) {
      const used = await useMounted(base, path, choice, needs);
      if (used) return used;
      if (mounted) throw notMounted(path);
      requireWritable();
      return useNewMount(base, path, choice, needs.signal);
    },
  };
}

/** Opens an archive that this process has open. */
export function heldArchive(path: string, { place, mounted }: HeldArchive): ArchiveSource {
  return {
    name: path,
    async open(needs) {
      const used = await usePlace(place, path, { ...mounted, lock: HELD }, needs);
      if (used) return used;
      throw notMounted(path);
    },
  };
}

function notMounted(path: string): LayerstackError {
  return new LayerstackError(
    'ERR_ARCHIVE_NOT_MOUNTED',
    `${path} is not mounted, so it has no changes: mount it first (layerstack mount ${path})`,
    { path },
  );
}
