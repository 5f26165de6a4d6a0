/** Inflates compressed bytes once, into an unnamed file beside the index. */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { digestOfHex, type Digest } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { spaceError } from '../system/space.ts';
import { writeBytes } from '../system/write-bytes.ts';
import type { Place } from './place.ts';

export interface InflateOptions {
  /** The name of the archive in messages. */
  readonly sourceName: string;
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Inflated {
  readonly file: FileHandle;
  readonly size: number;
}

/**
 * Writes uncompressed bytes to a new file in the place.
 * @throws {@link LayerstackError} ERR_LIMIT_EXCEEDED beyond `maxBytes`, ERR_NO_SPACE, ERR_ABORTED; the errors
 *   of `bytes`.
 */
export async function inflate(
  bytes: AsyncIterable<Uint8Array>,
  place: Place,
  { sourceName, maxBytes, signal }: InflateOptions,
): Promise<Inflated> {
  const file = await place.newFile();
  try {
    let size = 0;
    for await (const chunk of bytes) {
      size += chunk.length;
      if (size > maxBytes) throw tooLarge(sourceName, maxBytes);
      await writeBytes(file.fd, chunk, signal);
    }
    return { file, size };
  } catch (error) {
    await file.close();
    throw spaceError(error, place.path, `in ${place.path}`);
  }
}

/** Passes the bytes on. `digest` returns the digest of the bytes that were read so far. */
export function hashed(source: AsyncIterable<Uint8Array>): {
  readonly bytes: AsyncIterable<Uint8Array>;
  digest(): Digest;
} {
  const sum = createHash('sha256');
  async function* bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of source) {
      sum.update(chunk);
      yield chunk;
    }
  }
  return { bytes: bytes(), digest: () => digestOfHex(sum.digest('hex')) };
}

export function tooLarge(sourceName: string, maxBytes: number): LayerstackError {
  return new LayerstackError(
    'ERR_LIMIT_EXCEEDED',
    `${sourceName}: has more than ${String(maxBytes)} bytes uncompressed; if you trust it, allow more with maxBytes (--max-bytes)`,
    { path: sourceName, limit: maxBytes },
  );
}
