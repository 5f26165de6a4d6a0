/**
 * Where log lines go: a descriptor, written on libuv's threads. `process.stdout` would do it on the event loop when it is a
 * pipe, so that a log reader who hangs would hang the service. What is not written yet is bounded; beyond that lines are
 * dropped and counted.
 */
import { closeSync, openSync, write } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isatty } from 'node:tty';
import { promisify } from 'node:util';
import { isSystemError } from '../../core/errors.ts';
import { printable } from '../../core/printable.ts';

const MAX_PENDING_BYTES = 4 * 1024 * 1024;
/** A descriptor that is set not to block is asked again. */
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
   * @param target a descriptor of the caller's, or the path of a file to append to
   * @throws a system error where the file cannot be opened.
   */
  constructor(target: number | string) {
    this.#path = typeof target === 'string' ? target : undefined;
    this.#fd = typeof target === 'string' ? openSync(target, 'a', MODE) : target;
    this.#isTerminal = isatty(this.#fd);
  }

  /** Lines that were dropped because nobody took them. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Takes a line without its newline; returns at once. */
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
   * Opens the file anew, for after it was moved away (logrotate). Lines taken so far go to the old one or the new one.
   * @throws a system error, and then goes on with the old one.
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

  /** Resolves when all that was taken is written, or given up. */
  async flush(): Promise<void> {
    await this.#writing;
  }

  async #drain(): Promise<void> {
    // Lines of one turn of the event loop make one write.
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
          // A full disk, or nobody reads any more: the service is worth more than its log.
          this.#dropped++;
          return;
        }
        await sleep(RETRY_MS);
      }
    }
  }
}
