/** Writes a root file system as an EROFS image with 4 KiB blocks. Native code writes it in one pass. */
import { throwIfAborted } from '../../core/abort.ts';
import { isSystemError, LayerstackError } from '../../core/errors.ts';
import type { OnProgress } from '../../core/progress.ts';
import { call, native } from '../../system/native.ts';

/** The directory `root`, or an overlay of `lowers` (topmost first, relative to `root`). */
export interface DiskTree {
  readonly root: string;
  readonly lowers: readonly string[];
  /** The time of the root directory, in seconds since 1970. Default: the directory's own. */
  readonly rootMtime?: number | undefined;
}

export interface ErofsDiskOptions {
  readonly sourceDateEpoch?: number | undefined;
  /** Whether times are brought between 1901 and 2038. Default false. */
  readonly narrowTimes?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/**
 * Writes to an empty regular file; nothing is synced. The same root file system gives the same bytes.
 * @throws {@link LayerstackError} ERR_LIMIT_EXCEEDED beyond 16 TiB; ERR_UNSUPPORTED before Linux 5.2;
 *   ERR_UPPER_CHANGED, ERR_ABORTED; system errors of write(2).
 */
export async function writeErofs(
  fd: number,
  { root, lowers, rootMtime }: DiskTree,
  { sourceDateEpoch, narrowTimes = false, signal, onProgress }: ErofsDiskOptions,
): Promise<void> {
  throwIfAborted(signal);
  const options = { root, lowers, rootMtime, fd, latestMtime: sourceDateEpoch, narrowTimes };
  const image = new native.ErofsImage(options);
  const abort = (): void => image.abort();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    for (const warning of await call(image.result)) onProgress?.({ type: 'warning', ...warning });
  } catch (error) {
    throwIfAborted(signal);
    if (isSystemError(error, 'ENOSYS'))
      throw new LayerstackError(
        'ERR_UNSUPPORTED',
        'this kernel cannot make an overlay without a mount point (fsopen, Linux 5.2): create a container of the image, and write that',
        { cause: error },
      );
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}
