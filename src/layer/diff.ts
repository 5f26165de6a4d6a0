/**
 * A directory as a layer tar: the upper of a container (whiteouts and opaque directories in their tar form), or a whole
 * root file system. The same tree always gives the same bytes. Nothing is mounted.
 */
import type { OnProgress } from '../core/progress.ts';
import { call, native } from '../system/native.ts';
import { readAhead } from './read-ahead.ts';

export interface DiffOptions {
  /** Seconds since 1970 that no time in the tar exceeds: SOURCE_DATE_EPOCH of reproducible-builds.org. */
  readonly sourceDateEpoch?: number | undefined;
  /** Told of what cannot be part of a tar (sockets) or means something else there. */
  readonly onProgress?: OnProgress | undefined;
}

/**
 * The tar of an absolute `directory`, root entry left out, in pieces of up to 256 KiB.
 * @throws {@link LayerstackError} (while iterating) ERR_UPPER_CHANGED where a file shrank while it was read,
 *   ERR_UPPER_UNSUPPORTED where overlayfs keeps content elsewhere (redirect_dir, metacopy), ERR_LIMIT_EXCEEDED for a file of
 *   more holes than a tar can say; system errors.
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
