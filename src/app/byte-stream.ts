/** Bytes as a Node stream that begins its work when somebody reads. */
import { Readable } from 'node:stream';

/** Bytes that may wait for the reader: one piece, since several would be copied into one. */
const BUFFER = 256 << 10;

/** The bytes that `open` gives, which is called at the first read. Errors of both come through the stream. */
export function byteStream(open: () => Promise<AsyncIterable<Uint8Array>>): Readable {
  async function* bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    yield* await open();
  }
  return Readable.from(bytes(), { objectMode: false, highWaterMark: BUFFER });
}
