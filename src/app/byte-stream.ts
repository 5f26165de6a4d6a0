/** Bytes as Node streams that begin their work when somebody reads, and that end before the store does. */
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { LayerstackError } from '../core/errors.ts';

/** Bytes that may wait for the reader: one piece, since several would be copied into one. */
const BUFFER = 256 << 10;

/** The streams that a store has given out. */
export class ByteStreams {
  readonly #open = new Set<Readable>();

  /** The bytes that `open` gives, which is called at the first read. Errors of both come through the stream. */
  from(open: () => Promise<AsyncIterable<Uint8Array>>): Readable {
    async function* bytes(): AsyncGenerator<Uint8Array, void, undefined> {
      yield* await open();
    }
    return this.track(Readable.from(bytes(), { objectMode: false, highWaterMark: BUFFER }));
  }

  /** Has {@link close} wait for `stream`, too. */
  track(stream: Readable): Readable {
    this.#open.add(stream);
    stream.once('close', () => this.#open.delete(stream));
    return stream;
  }

  /**
   * Ends what is still being read (ERR_STORE_CLOSED), and returns when nothing of the store is in use by any stream: one
   * whose reader has gone away gives back its mount only then.
   */
  async close(): Promise<void> {
    await Promise.all(
      [...this.#open].map(async (stream) => {
        // Hears the error, too: one that nobody hears would end the process.
        const closed = once(stream, 'close');
        stream.destroy(new LayerstackError('ERR_STORE_CLOSED', 'the store was closed'));
        await closed.catch(() => undefined);
        if (!stream.closed) await once(stream, 'close');
      }),
    );
  }
}
