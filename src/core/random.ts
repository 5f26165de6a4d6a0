/**
 * Random bytes for names, from a buffer that is filled for many names at once, because OpenSSL takes as long
 * for four thousand bytes as for ten. The buffer keeps the bytes after use, so they are not for secrets.
 */
import { randomFillSync } from 'node:crypto';

const POOL_BYTES = 4096;

let pool = Buffer.alloc(0);

/**
 * Returns `count` (at most 4096) random bytes that no other caller gets. The caller must not write to them.
 */
export function randomName(count: number): Buffer {
  if (pool.length < count) pool = randomFillSync(Buffer.allocUnsafeSlow(POOL_BYTES));
  const bytes = pool.subarray(0, count);
  pool = pool.subarray(count);
  return bytes;
}
