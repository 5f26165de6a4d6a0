/**
 * Writes bytes to an open file on native threads. A full pipe does not block the event loop, and blocks a
 * thread only for a short time.
 */
import { throwIfAborted } from '../core/abort.ts';
import { call, native } from './native.ts';

/**
 * Writes all of `bytes` to `fd`, however slow the reader of a pipe is. Nothing is synced.
 * @throws {@link LayerstackError} ERR_ABORTED; system errors of write(2).
 */
export async function writeBytes(
  fd: number,
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    throwIfAborted(signal);
    at += await call(native.writeFd(fd, bytes.subarray(at)));
  }
}
