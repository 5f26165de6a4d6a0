/**
 * Packs a directory as a layer tar: the upper of a container (whiteouts and opaque directories become their
 * tar form), or a whole root file system. The same tree always gives the same bytes. Nothing is mounted.
 */
import type { OnProgress } from '../core/progress.ts';
import { call, native } from '../system/native.ts';
import { readAhead } from './read-ahead.ts';

export interface DiffOptions {
  /**
   * The latest time in the tar, in seconds since 1970: SOURCE_DATE_EPOCH of reproducible-builds.org. Later
   * times are set to it.
   */
  readonly sourceDateEpoch?: number | undefined;
  /**
   * Receives a warning for each file that a tar cannot hold (sockets), or that has another meaning in a tar.
   */
  readonly onProgress?: OnProgress | undefined;
}

/**
 * Yields the tar of an absolute `directory`, without its root entry, in pieces of up to 256 KiB.
 * @throws {@link LayerstackError} (while iterating) ERR_UPPER_CHANGED when a file shrank while it was read,
 *   ERR_UPPER_UNSUPPORTED when overlayfs keeps content elsewhere (redirect_dir, metacopy), ERR_LIMIT_EXCEEDED
 *   for a file with more holes than a tar can describe; system errors.
 */
export function layerTar(directory: string, options: DiffOptions = {}): AsyncGenerator<Uint8Array> {
  return readAhead(readAll(directory, options));
}

async function* readAll(
  directory: string,
  { sourceDateEpoch, onProgress }: DiffOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const tar = new native.LayerTar(directory, sourceDateEpoch);
  try {
    for (;;) {
      const { chunk, warnings } = await call(tar.read());
      for (const warning of warnings) onProgress?.({ type: 'warning', ...warning });
      if (chunk === null) return;
      yield chunk;
    }
  } finally {
    await call(tar.close());
  }
}
