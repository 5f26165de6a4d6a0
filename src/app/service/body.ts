/**
 * A request's body. It is read once, with backpressure down to the socket, and abandoned when the sender
 * stalls. Nothing is read before a route asks for it; a client that waits for `100 Continue` gets it then. A
 * reader may stop early without closing the connection, so that the request can still be answered.
 */
import type { IncomingMessage } from 'node:http';
import { HttpError } from './status.ts';

/**
 * A slow sender still sends something in this time. One that sends nothing blocks others, because it holds
 * layer slots.
 */
export const DEFAULT_STALL_MS = 60_000;

/** Enough for a usual document. The buffer grows for a longer one. */
const FIRST_BYTES = 4096;

export interface RequestBodyOptions {
  /** Longest wait for the next bytes while a route reads. */
  readonly stallMs: number;
  /** Called before the first bytes are read. */
  readonly proceed: () => void;
}

export class RequestBody implements AsyncIterable<Uint8Array> {
  readonly #message: IncomingMessage;
  readonly #options: RequestBodyOptions;

  constructor(message: IncomingMessage, options: RequestBodyOptions) {
    this.#message = message;
    this.#options = options;
  }

  /** Whether the headers announce a body. */
  get announced(): boolean {
    const { headers } = this.#message;
    return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
  }

  /**
   * @throws {@link HttpError} 408 when the sender stalls; Node's error when the sender disconnects
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    this.#options.proceed();
    const iterator = this.#message.iterator({ destroyOnReturn: false });
    try {
      for (;;) {
        const { done, value } = await this.#unlessStalled(iterator.next());
        if (done === true) return;
        yield value as Uint8Array;
      }
    } finally {
      // Not awaited: it may wait for bytes that never come.
      iterator.return?.().catch(() => undefined);
    }
  }

  /**
   * Returns the whole body.
   * @throws {@link HttpError} 413 when it has more than `maxBytes`
   */
  async bytes(maxBytes: number): Promise<Uint8Array> {
    // One growing buffer, not a list of chunks: each chunk costs hundreds of bytes, even if it holds a single
    // byte.
    let whole = Buffer.alloc(FIRST_BYTES);
    let length = 0;
    for await (const chunk of this) {
      const end = length + chunk.length;
      if (end > maxBytes)
        throw new HttpError(
          413,
          `the request body is larger than the ${maxBytes} bytes that are allowed here`,
        );
      if (end > whole.length)
        whole = Buffer.concat([whole.subarray(0, length)], Math.max(end, 2 * whole.length));
      whole.set(chunk, length);
      length = end;
    }
    return whole.subarray(0, length);
  }

  async #unlessStalled<T>(next: Promise<T>): Promise<T> {
    const { stallMs } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    const stalled = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new HttpError(408, `no bytes of the request body arrived for ${stallMs / 1000} seconds`));
      }, stallMs);
    });
    try {
      return await Promise.race([next, stalled]);
    } finally {
      clearTimeout(timer);
      // If the timer wins the race, a later rejection of `next` would be unhandled.
      next.catch(() => undefined);
    }
  }
}
