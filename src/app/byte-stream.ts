/**
 * Gives out bytes as Node streams. A stream begins its work at the first read, and ends before the store
 * closes.
 */
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { LayerstackError } from '../core/errors.ts';

/** How many bytes may wait for the reader: one piece, because Node would copy several into one. */
const BUFFER = 256 << 10;

/** The streams that a store has given out. */
export class ByteStreams {
  readonly #open = new Set<Readable>();

  /**
   * Returns a stream of the bytes that `open` yields. Calls `open` at the first read. Errors of both come
   * through the stream.
   */
  from(open: () => Promise<AsyncIterable<Uint8Array>>): Readable {
    async function* bytes(): AsyncGenerator<Uint8Array, void, undefined> {
      yield* await open();
    }
    return this.track(Readable.from(bytes(), { objectMode: false, highWaterMark: BUFFER }));
  }

  /** Makes {@link close} wait for `stream`, too. */
  track(stream: Readable): Readable {
    this.#open.add(stream);
    stream.once('close', () => this.#open.delete(stream));
    return stream;
  }

  /**
   * Destroys the streams that are still being read (ERR_STORE_CLOSED). Returns when no stream uses the store
   * any more: a stream whose reader has gone away releases its mount only then.
   */
  async close(): Promise<void> {
    await Promise.all(
      [...this.#open].map(async (stream) => {
        // This also handles the error: an error without a handler would end the process.
        const closed = once(stream, 'close');
        stream.destroy(new LayerstackError('ERR_STORE_CLOSED', 'the store was closed'));
        await closed.catch(() => undefined);
        if (!stream.closed) await once(stream, 'close');
      }),
    );
  }
}
