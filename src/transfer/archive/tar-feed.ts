/**
 * Pushes a stream of bytes into tar-stream's parser, with backpressure and within a limit. Its errors
 * describe the fault of the archive; the parser's own errors are plain texts about headers and data.
 */
import type { Extract } from 'tar-stream';
import { isError, LayerstackError } from '../../core/errors.ts';

export class TarFeed {
  readonly #sourceName: string;
  readonly #source: AsyncIterable<Uint8Array>;
  readonly #parser: Extract;
  readonly #maxBytes: number;
  #bytes = 0;
  #stopped = false;

  constructor(sourceName: string, source: AsyncIterable<Uint8Array>, parser: Extract, maxBytes: number) {
    this.#sourceName = sourceName;
    this.#source = source;
    this.#parser = parser;
    this.#maxBytes = maxBytes;
    // The reader of the entries gets the error. Without this listener it would end the process.
    parser.on('error', () => undefined);
  }

  /** Number of bytes that have come so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Feeds the parser until the source ends or either fails. An error reaches the reader through the parser.
   */
  async run(): Promise<void> {
    try {
      for await (const chunk of this.#source) {
        if (this.#stopped) return;
        this.#count(chunk);
        if (!this.#parser.write(chunk)) await this.#room();
      }
      this.#parser.end(null);
    } catch (error) {
      this.#parser.destroy(error as Error);
    }
  }

  /** Stops reading the source. */
  stop(): void {
    this.#stopped = true;
    this.#parser.destroy();
  }

  /** Converts an error of the parser to an error about the archive. Returns other errors unchanged. */
  explain(error: unknown): unknown {
    if (LayerstackError.is(error) || !isError(error) || 'errno' in error) return error;
    const sourceName = this.#sourceName;
    if (error.message === 'Unexpected end of data')
      return new LayerstackError(
        'ERR_ARCHIVE_TRUNCATED',
        `${sourceName}: ends in the middle of a member, after ${String(this.#bytes)} bytes; save or copy it again`,
        { path: sourceName, cause: error },
      );
    if (/header|Header/.test(error.message))
      return new LayerstackError(
        'ERR_ARCHIVE_INVALID',
        `${sourceName}: has a damaged tar header before byte ${String(this.#bytes)}; save or copy it again`,
        { path: sourceName, cause: error },
      );
    return error;
  }

  #count(chunk: Uint8Array): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#maxBytes)
      throw new LayerstackError(
        'ERR_LIMIT_EXCEEDED',
        `${this.#sourceName}: has more than ${String(this.#maxBytes)} bytes uncompressed; ` +
          `if you trust the archive, allow more with maxBytes (--max-bytes)`,
        { path: this.#sourceName, limit: this.#maxBytes },
      );
  }

  #room(): Promise<void> {
    const parser = this.#parser;
    return new Promise((resolve) => {
      const done = () => {
        parser.off('drain', done).off('close', done);
        resolve();
      };
      parser.on('drain', done).on('close', done);
    });
  }
}
