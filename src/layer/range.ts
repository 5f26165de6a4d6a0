/** Reads a range of an open file in chunks. */
import { Buffer } from 'node:buffer';
import { read } from 'node:fs';
import { promisify } from 'node:util';
import { LayerstackError } from '../core/errors.ts';

/** A range of an open file. The caller keeps the fd, and closes it. */
export interface FileRange {
  readonly fd: number;
  readonly offset: number;
  readonly size: number;
}

const CHUNK_BYTES = 1 << 20;
const readAt = promisify(read);

/**
 * Yields the bytes of the range. It neither closes the fd nor uses its position.
 * @throws {@link LayerstackError} ERR_ARCHIVE_TRUNCATED when the file ends before the range does.
 */
export async function* readRange(range: FileRange): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < range.size;) {
    const length = Math.min(CHUNK_BYTES, range.size - at);
    const { bytesRead, buffer } = await readAt(
      range.fd,
      Buffer.allocUnsafeSlow(length),
      0,
      length,
      range.offset + at,
    );
    if (bytesRead === 0) {
      throw new LayerstackError('ERR_ARCHIVE_TRUNCATED', 'the file ends inside a layer', {
        expected: range.size,
        found: at,
      });
    }
    yield buffer.subarray(0, bytesRead);
    at += bytesRead;
  }
}
