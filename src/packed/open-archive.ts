/** Opening an archive in place without a store. */
import { defaultLogger } from '../system/log.ts';
import { openBelow, type OpenArchive } from './archives.ts';
import type { OpenArchiveOptions } from './open.ts';
import { sweepPlaces } from './place.ts';

/** On disk: the upper takes what is written. */
const DEFAULT_DIRECTORY = '/var/tmp';

export interface StorelessOptions extends OpenArchiveOptions {
  /**
   * Where its private directory is made, with what is written in the root file system. Only root, or everybody but nobody else's files
   * (as in `/var/tmp`), may write there. Default `/var/tmp`.
   */
  readonly directory?: string | undefined;
}

/**
 * Mounts the image of an archive as a writable root file system, without a store and without unpacking it: the kernel reads the files
 * from the archive, which must not change meanwhile. Closing it, or the end of an `await using` block, leaves nothing. Needs root.
 * @param path a docker-archive, an OCI archive or an OCI layout folder; what is compressed in it is inflated once
 * @throws {@link LayerstackError} ERR_ARCHIVE_CHANGED where the archive changes meanwhile; ERR_IMAGE_NOT_FOUND, ERR_PLATFORM_NOT_FOUND,
 *   ERR_INVALID_ARGUMENT; ERR_ARCHIVE_INVALID, ERR_MANIFEST_INVALID, ERR_CONFIG_INVALID, ERR_LAYER_INVALID and their like;
 *   ERR_DIGEST_MISMATCH, ERR_LIMIT_EXCEEDED, ERR_NO_SPACE, ERR_UNSUPPORTED, ERR_NOT_ROOT, ERR_STORE_UNSAFE, ERR_ABORTED.
 * @example
 * ```ts
 * await using root = await openArchive('app.tar');
 * console.log(await readFile(`${root.path}/etc/os-release`, 'utf8'));
 * ```
 */
export async function openArchive(path: string, options: StorelessOptions = {}): Promise<OpenArchive> {
  const { directory = DEFAULT_DIRECTORY, ...others } = options;
  await sweepPlaces(directory, defaultLogger);
  return openBelow(directory, path, others);
}
