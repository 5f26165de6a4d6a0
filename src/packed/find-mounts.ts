/** Finds mounted archives by what callers name them: the archive's path, or that of its root file system. */
import { realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { isImage } from './choose-image.ts';
import type { OpenArchiveOptions } from './open.ts';
import { listPlaces } from './place.ts';
import { readRecord, type ArchiveRecord } from './record.ts';

/** A mounted archive that belongs to no process. */
export interface FoundMount {
  /** Absolute path of its place. */
  readonly place: string;
  readonly record: ArchiveRecord;
}

/** Selects an image of an archive of which several images are mounted. */
export interface MountedChoice extends Pick<OpenArchiveOptions, 'image' | 'platform'> {
  /**
   * Prefers mounts that were made by this path. The path may be a link that now leads to another archive.
   * Default false.
   */
  readonly byName?: boolean | undefined;
}

/** Returns all mounted archives below `base`. */
export async function listMounts(base: string): Promise<FoundMount[]> {
  const mounts: FoundMount[] = [];
  for (const place of await listPlaces(base)) {
    const record = readRecord(place);
    if (record !== undefined) mounts.push({ place, record });
  }
  return mounts;
}

/**
 * Returns the mounted archive that a path means; undefined where it is not mounted.
 * @param choice - what the caller said about the image; by default any image
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where several images of the archive are mounted.
 */
export async function findMount(
  base: string,
  path: string,
  choice: MountedChoice = {},
): Promise<FoundMount | undefined> {
  const mounts = (await named(await listMounts(base), path, choice)).filter(({ record }) =>
    fits(record, choice),
  );
  const [mount, ...others] = mounts;
  if (others.length === 0) return mount;
  const roots = mounts.map(({ place }) => rootfsOf(place)).join(', ');
  throw new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    `${path}: several of its images are mounted: give the path of a root file system: ${roots}`,
    { path },
  );
}

/** Returns the path of the root file system in a place. */
export function rootfsOf(place: string): string {
  return join(place, 'merged');
}

async function named(
  mounts: readonly FoundMount[],
  path: string,
  { byName = false }: MountedChoice,
): Promise<FoundMount[]> {
  const asNamed = byName ? mounts.filter(({ record }) => record.name === resolve(path)) : [];
  if (asNamed.length > 0) return asNamed;
  const wanted = await canonical(path);
  return mounts.filter(({ place, record }) => record.archive === wanted || rootfsOf(place) === wanted);
}

function fits(record: ArchiveRecord, { image, platform }: MountedChoice): boolean {
  return (
    (image === undefined || isImage({ id: record.imageId, references: record.references }, image)) &&
    (platform === undefined || record.platform === platform)
  );
}

/** Returns the canonical path. If the file was removed, only its directory is resolved. */
async function canonical(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) throw error;
  }
  const absolute = resolve(path);
  try {
    return join(await realpath(dirname(absolute)), basename(absolute));
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) throw error;
    return absolute;
  }
}
