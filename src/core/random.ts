/**
 * Random bytes for names, from memory that is filled for many at once: OpenSSL takes as long for four thousand bytes as for ten.
 * Not for secrets, which should not lie in memory before and after.
 */
import { randomFillSync } from 'node:crypto';

const POOL_BYTES = 4096;

let pool = Buffer.alloc(0);

/** `count` (at most 4096) random bytes that nobody else gets; not to be written to. */
export function randomName(count: number): Buffer {
  if (pool.length < count) pool = randomFillSync(Buffer.allocUnsafeSlow(POOL_BYTES));
  const bytes = pool.subarray(0, count);
  pool = pool.subarray(count);
  return bytes;
}
