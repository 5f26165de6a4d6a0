/**
 * Decompresses zstd in JavaScript (fzstd), for a Node without native zstd on a system without libzstd. It
 * runs in a worker thread, so that the event loop stays free. The worker's code is a string, since a string
 * works both from `dist` and from `src` under a TypeScript loader.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { LayerstackError } from '../core/errors.ts';
import { require } from '../system/here.ts';
import type { Decoder } from '../system/native.ts';

/** A run-length block of 4 bytes gives 128 KiB of output. So a slice of this size gives at most 64 MiB. */
const SLICE_BYTES = 2048;
/** The worker answers when it has this much output. */
const ANSWER_BYTES = 1 << 20;
/**
 * 128 MiB, the limit of the native decoder and of `zstd -d`, and the bytes that fzstd allocates in addition.
 */
const MAX_WINDOW_BYTES = 2 ** 27 + 12;

type Answer =
  | { readonly chunk: Uint8Array; readonly more: boolean }
  | { readonly error: string; readonly early: boolean };

// `s` is fzstd's state of the current frame, and `s.w` its window. fzstd sets `s` when it has parsed the
// header, before it touches the window's pages.
const WORKER = `
const { parentPort, workerData: { fzstd, slice, answer, maxWindow } } = require('node:worker_threads');
const { Decompress, ZstdErrorCode } = require(fzstd);
let input = new Uint8Array(0), output = [], length = 0, state;
const decompress = new Decompress((chunk) => { output.push(chunk); length += chunk.length; });
Object.defineProperty(decompress, 's', {
  get: () => state,
  set(value) {
    if (value?.w?.length > maxWindow) throw new Error('window size too large');
    state = value;
  },
});
parentPort.on('message', (given) => {
  try {
    if (given === null) decompress.push(new Uint8Array(0), true);
    else if (given) input = given;
    while (input.length > 0 && length < answer) {
      decompress.push(input.slice(0, slice));
      input = input.subarray(slice);
    }
    const chunk = new Uint8Array(length);
    for (let at = 0; output.length > 0; at += output.shift().length) chunk.set(output[0], at);
    length = 0;
    parentPort.postMessage({ chunk, more: input.length > 0 }, [chunk.buffer]);
  } catch (error) {
    parentPort.postMessage({ error: error.message, early: error.code === ZstdErrorCode.UnexpectedEOF });
  }
});
`;

/**
 * Has the interface of the native Decoder. It does not verify the checksums of frames. A caller that knows
 * the digest verifies that. The caller closes it.
 */
export class ZstdWorker implements Decoder {
  readonly #worker = new Worker(WORKER, {
    eval: true,
    workerData: {
      fzstd: require.resolve('fzstd'),
      slice: SLICE_BYTES,
      answer: ANSWER_BYTES,
      maxWindow: MAX_WINDOW_BYTES,
    },
  });

  /**
   * @throws {@link LayerstackError} ERR_LAYER_INVALID for a malformed stream, ERR_LAYER_TRUNCATED for a
   *   truncated one.
   */
  async decode(input: Uint8Array | null | undefined): Promise<{ chunk: Uint8Array; more: boolean }> {
    const message = once(this.#worker, 'message') as Promise<[Answer]>;
    this.#worker.postMessage(input);
    const [answer] = await message;
    if ('chunk' in answer) return answer;
    throw new LayerstackError(
      answer.early ? 'ERR_LAYER_TRUNCATED' : 'ERR_LAYER_INVALID',
      `the zstd stream ${answer.early ? 'ends early' : 'is malformed'}: ${answer.error}`,
    );
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}
