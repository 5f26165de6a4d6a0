/** Opens an archive in place, without a store. */
import { defaultLogger } from '../system/log.ts';
import { openBelow, requireSafe, type HeldArchive } from './open-below.ts';
import type { OpenArchiveOptions } from './open.ts';
import { sweepPlaces } from './place.ts';

/** A directory on disk rather than in memory, because the upper holds the changes. */
const DEFAULT_DIRECTORY = '/var/tmp';

export interface StorelessOptions extends OpenArchiveOptions {
  /**
   * Where the archive's private directory is made, which holds the changes. Only root may write there, or it
   * has the sticky bit, as `/var/tmp` has. Default `/var/tmp`.
   */
  readonly directory?: string | undefined;
}

/** Opens an archive below a directory of the caller's; see app/archives.ts. */
export async function openArchive(path: string, options: StorelessOptions = {}): Promise<HeldArchive> {
  const { directory = DEFAULT_DIRECTORY, ...others } = options;
  await requireSafe(directory);
  await sweepPlaces(directory, defaultLogger);
  return openBelow(directory, path, others);
}
