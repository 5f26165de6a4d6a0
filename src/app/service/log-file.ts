/**
 * The output of log lines: a descriptor, written on libuv's threads. `process.stdout` would write to a pipe
 * on the event loop, so that a log reader that hangs would hang the service. The text that waits to be
 * written is bounded. Beyond the bound, lines are dropped and counted.
 */
import { closeSync, openSync, write } from 'node:fs';
import { isatty } from 'node:tty';
import { promisify } from 'node:util';
import { pause } from '../../core/abort.ts';
import { isSystemError } from '../../core/errors.ts';
import { printable } from '../../core/printable.ts';

const MAX_PENDING_BYTES = 4 * 1024 * 1024;
/** Delay before the next write to a descriptor that is in non-blocking mode and full. */
const RETRY_MS = 20;
const MODE = 0o640;

const writeAsync = promisify(write);

export class LogFile {
  readonly #path: string | undefined;
  #fd: number;
  #isTerminal: boolean;
  #pending: string[] = [];
  #pendingBytes = 0;
  #dropped = 0;
  #writing: Promise<void> | undefined;

  /**
   * @param target a descriptor that the caller owns, or the path of a file to append to
   * @throws a system error if the file cannot be opened.
   */
  constructor(target: number | string) {
    this.#path = typeof target === 'string' ? target : undefined;
    this.#fd = typeof target === 'string' ? openSync(target, 'a', MODE) : target;
    this.#isTerminal = isatty(this.#fd);
  }

  /** Lines that were dropped because they could not be written. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Queues a line without its newline. Returns at once. */
  write(line: string): void {
    const bytes = Buffer.byteLength(line) + 1;
    if (this.#pendingBytes + bytes > MAX_PENDING_BYTES) {
      this.#dropped++;
      return;
    }
    this.#pending.push(`${this.#isTerminal ? printable(line) : line}\n`);
    this.#pendingBytes += bytes;
    this.#writing ??= this.#drain();
  }

  /**
   * Opens the file again after logrotate has moved it away. Earlier lines go to the old file or to the new
   * one.
   * @throws a system error; the old file then stays in use.
   */
  async reopen(): Promise<void> {
    if (this.#path === undefined) return;
    const fd = openSync(this.#path, 'a', MODE);
    const old = this.#fd;
    this.#fd = fd;
    this.#isTerminal = isatty(fd);
    await this.flush();
    closeSync(old);
  }

  /** Resolves when all queued lines are written or dropped. */
  async flush(): Promise<void> {
    await this.#writing;
  }

  async #drain(): Promise<void> {
    // Waits, so that all lines of one turn of the event loop make one write.
    await Promise.resolve();
    while (this.#pending.length > 0) {
      const chunk = Buffer.from(this.#pending.join(''));
      this.#pending = [];
      await this.#writeWhole(chunk);
      this.#pendingBytes -= chunk.length;
    }
    this.#writing = undefined;
  }

  async #writeWhole(chunk: Buffer): Promise<void> {
    for (let done = 0; done < chunk.length;) {
      try {
        done += (await writeAsync(this.#fd, chunk, done, chunk.length - done, null)).bytesWritten;
      } catch (error) {
        if (!isSystemError(error, 'EAGAIN', 'EINTR')) {
          // The disk is full, or the reader has closed the pipe. The service continues without this text,
          // because it matters more than its log.
          this.#dropped++;
          return;
        }
        await pause(RETRY_MS);
      }
    }
  }
}
