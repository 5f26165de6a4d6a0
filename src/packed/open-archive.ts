/** Opening an archive in place without a store. */
import { defaultLogger } from '../system/log.ts';
import { openBelow, type OpenArchive } from './archives.ts';
import type { OpenArchiveOptions } from './open.ts';
import { sweepPlaces } from './place.ts';

/** On disk: the upper takes what is written. */
const DEFAULT_DIRECTORY = '/var/tmp';

export interface StorelessOptions extends OpenArchiveOptions {
  /**
   * Where its private directory is made, with what is written in the root file system. Only root, or
   * everybody but nobody else's files (as in `/var/tmp`), may write there. Default `/var/tmp`.
   */
  readonly directory?: string | undefined;
}

/** Opens an archive below a directory of the caller's; see app/archives.ts. */
export async function openArchive(path: string, options: StorelessOptions = {}): Promise<OpenArchive> {
  const { directory = DEFAULT_DIRECTORY, ...others } = options;
  await sweepPlaces(directory, defaultLogger);
  return openBelow(directory, path, others);
}
