/**
 * Keeps the bytes of unfinished downloads for the next pull. `<root>/layerstack/partial/<hex of the blob's
 * digest>` holds 16 decimal digits, the offset in the blob, and then the bytes from there. Nothing is synced,
 * and the bytes are not trusted: they go through the same hash as all others, and a wrong partial is emptied.
 *
 * The process that holds the flock of the file owns the partial, so ownership ends with the process. Without
 * an owner a partial expires {@link PARTIAL_TTL_MS} after its last byte, or when all partials together take
 * more than {@link MAX_PARTIAL_BYTES}, the oldest first. Opening the store for writing, and every pull,
 * removes expired ones.
 */
import { constants } from 'node:fs';
import { rm, type FileHandle } from 'node:fs/promises';
import { hexOf, type Digest } from '../core/digest.ts';
import { isSystemError, unlessMissing } from '../core/errors.ts';
import type { Layout } from './layout.ts';
import type { Logger } from './log.ts';
import { call, native } from './native.ts';
import { listDirectory, openStoreFile, statEntry } from './store-files.ts';

/** One day. */
export const PARTIAL_TTL_MS = 24 * 60 * 60 * 1000;
/** Enough for a few of the largest layers. */
export const MAX_PARTIAL_BYTES = 16 * 1024 ** 3;

/** How many bytes one read or write takes. */
const CHUNK_BYTES = 512 * 1024;

const HEADER_BYTES = 16;

/** One partial, owned by this process until it is closed. */
export class Partial {
  readonly #path: string;
  readonly #file: FileHandle;
  #start: number;
  #size: number;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #gone = false;

  private constructor(path: string, file: FileHandle, start: number, size: number) {
    this.#path = path;
    this.#file = file;
    this.#start = start;
    this.#size = size;
  }

  /** Opens the partial of a blob, or begins one; undefined where another process or call owns it. */
  static async open(layout: Layout, blob: Digest): Promise<Partial | undefined> {
    const path = layout.at(layout.partial(hexOf(blob)));
    const directory = { op: 'mkdir', path: layout.partials, mode: 0o700, exist: true } as const;
    await call(native.batch(layout.root, [directory]));
    for (;;) {
      const file = await openStoreFile(path, constants.O_RDWR | constants.O_CREAT);
      try {
        if (!native.tryFlock(file.fd, true)) {
          await file.close();
          return undefined;
        }
        const [held, named] = [await file.stat(), statEntry(path)];
        // If the name leads to another file, this one was removed between the open and the lock.
        if (named?.ino === held.ino && named.dev === held.dev) {
          const start = await readStart(file);
          const size = start === undefined ? 0 : held.size - HEADER_BYTES;
          return new Partial(path, file, start ?? 0, size);
        }
      } catch (error) {
        await file.close();
        throw error;
      }
      await file.close();
    }
  }

  /** The offset in the blob of the partial's first byte. */
  get start(): number {
    return this.#start;
  }

  /** The number of bytes, including those being written. */
  get size(): number {
    return this.#size;
  }

  /** Reads the bytes. */
  async *read(): AsyncGenerator<Uint8Array, void, undefined> {
    const end = this.#size;
    for (let at = 0; at < end;) {
      const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - at));
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, HEADER_BYTES + at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }

  /** Empties it, to begin at this offset in the blob. */
  async begin(start: number): Promise<void> {
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#start = start;
    this.#size = 0;
    if (this.#gone) return;
    await this.#file.truncate(0);
    await this.#write([Buffer.from(String(start).padStart(HEADER_BYTES, '0'))], 0);
  }

  /** Appends the blob's next bytes, which must not change any more. It writes them in large pieces. */
  async append(chunk: Uint8Array): Promise<void> {
    if (this.#gone) return;
    this.#pending.push(chunk);
    this.#pendingBytes += chunk.length;
    this.#size += chunk.length;
    if (this.#pendingBytes >= CHUNK_BYTES) await this.#flush();
  }

  /** Removes it, because the blob is in the store. Later bytes are dropped. */
  async remove(): Promise<void> {
    if (this.#gone) return;
    this.#gone = true;
    this.#pending = [];
    await rm(this.#path, { force: true });
  }

  /** Leaves it for the next pull of the blob, or removes it if it is empty. */
  async close(): Promise<void> {
    try {
      if (!this.#gone && this.#size === 0) await this.remove();
      else if (!this.#gone) await this.#flush();
    } finally {
      this.#gone = true;
      await this.#file.close();
    }
  }

  async #flush(): Promise<void> {
    const at = HEADER_BYTES + this.#size - this.#pendingBytes;
    this.#pendingBytes = 0;
    await this.#write(this.#pending.splice(0), at);
  }

  /** A full disk must not end a pull that can succeed without the partial, so the partial is dropped. */
  async #write(chunks: Uint8Array[], at: number): Promise<void> {
    const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    try {
      const { bytesWritten } = await this.#file.writev(chunks, at);
      if (bytesWritten === length) return;
    } catch (error) {
      if (!isSystemError(error, 'ENOSPC', 'EDQUOT', 'EFBIG')) throw error;
    }
    await this.remove();
    await this.#file.truncate(0);
  }
}

/** Returns the offset in the header; undefined where a crash has left a file without one. */
async function readStart(file: FileHandle): Promise<number | undefined> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(HEADER_BYTES), 0, HEADER_BYTES, 0);
  const text = buffer.toString('latin1', 0, bytesRead);
  return /^\d{16}$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : undefined;
}

/** Removes expired partials without an owner. Failures are logged. */
export async function sweepPartials(
  layout: Layout,
  log: Pick<Logger, 'warn' | 'info'>,
  { ttlMs = PARTIAL_TTL_MS, maxBytes = MAX_PARTIAL_BYTES } = {},
): Promise<void> {
  const names = (await listDirectory(layout.at(layout.partials))) ?? [];
  const found = names.map((name) => ({ name, stats: statEntry(layout.at(layout.partial(name))) }));
  const newestFirst = found
    .flatMap(({ name, stats }) => (stats ? [{ name, size: stats.size, mtimeMs: stats.mtimeMs }] : []))
    .sort((a, b) => b.mtimeMs - a.mtimeMs);
  let bytes = 0;
  for (const { name, size, mtimeMs } of newestFirst) {
    bytes += size;
    if (Date.now() - mtimeMs <= ttlMs && bytes <= maxBytes) continue;
    try {
      if (await removeUnowned(layout.at(layout.partial(name)))) bytes -= size;
    } catch (error) {
      log.warn('a partial download that has expired cannot be removed', { name, error });
    }
  }
}

async function removeUnowned(path: string): Promise<boolean> {
  const file = await unlessMissing(openStoreFile(path, constants.O_RDONLY));
  if (file === undefined) return true;
  try {
    if (!native.tryFlock(file.fd, true)) return false;
    await rm(path, { force: true });
    return true;
  } finally {
    await file.close();
  }
}
