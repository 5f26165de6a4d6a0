/**
 * What was downloaded of blobs that did not arrive whole: `<root>/layerstack/partial/<hex of the blob's digest>`: 16 decimal
 * digits, which say from which byte of the blob on, and then those bytes. The next pull does not fetch them again. Nothing is
 * synced, and nothing in a partial is believed: its bytes go through the same hash as the others, and one that turns out
 * wrong is emptied.
 *
 * Its owner is who holds the flock of the file, so ownership ends with the process. Without an owner it expires
 * {@link PARTIAL_TTL_MS} after its last byte, or as soon as all of them together take more than
 * {@link MAX_PARTIAL_BYTES}, oldest first. Whoever opens the store for writing, or pulls, removes what has expired.
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
/** A few of the largest layers there are. */
export const MAX_PARTIAL_BYTES = 16 * 1024 ** 3;

/** Bytes of one read, and of what is collected for one write. */
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

  /** Opens the partial of a blob, or begins one; undefined where another process or call has it. */
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
        // Else it was removed between the two.
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

  /** The byte of the blob that is the first one here. */
  get start(): number {
    return this.#start;
  }

  /** Bytes that are there, those being written included. */
  get size(): number {
    return this.#size;
  }

  /** What is there. */
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

  /** Empties it, to begin with this byte of the blob. */
  async begin(start: number): Promise<void> {
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#start = start;
    this.#size = 0;
    if (this.#gone) return;
    await this.#file.truncate(0);
    await this.#write([Buffer.from(String(start).padStart(HEADER_BYTES, '0'))], 0);
  }

  /** Adds the blob's next bytes, which must not change any more. Written as soon as enough are together. */
  async append(chunk: Uint8Array): Promise<void> {
    if (this.#gone) return;
    this.#pending.push(chunk);
    this.#pendingBytes += chunk.length;
    this.#size += chunk.length;
    if (this.#pendingBytes >= CHUNK_BYTES) await this.#flush();
  }

  /** Removes it: the blob is in the store. What is appended later is dropped. */
  async remove(): Promise<void> {
    if (this.#gone) return;
    this.#gone = true;
    this.#pending = [];
    await rm(this.#path, { force: true });
  }

  /** Gives it to whoever pulls the blob next; an empty one goes. */
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

  /** A full disk must not end a pull that may succeed without the partial: then there is none. */
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

/** Undefined where a crash has left no header. */
async function readStart(file: FileHandle): Promise<number | undefined> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(HEADER_BYTES), 0, HEADER_BYTES, 0);
  const text = buffer.toString('latin1', 0, bytesRead);
  return /^\d{16}$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : undefined;
}

/** Removes the partials that have expired and that nobody owns. What cannot be removed is logged. */
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
