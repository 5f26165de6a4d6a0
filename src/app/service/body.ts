/**
 * A request's body: read once, with backpressure down to the socket, and given up when its sender stalls. Nothing of it is
 * read before somebody asks for it; a client that waits for `100 Continue` gets it then. Reading stops without closing the
 * connection, so that a body nobody wants to its end can still be answered.
 */
import type { IncomingMessage } from 'node:http';
import { HttpError } from './status.ts';

/** A sender that is slow sends something in this time; one that sends nothing holds up others (layer slots). */
export const DEFAULT_STALL_MS = 60_000;

/** Room for a usual document; it grows with a longer one. */
const FIRST_BYTES = 4096;

export interface RequestBodyOptions {
  /** Longest wait for the next bytes while somebody wants them. */
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

  /** Whether the request says that it has a body. */
  get announced(): boolean {
    const { headers } = this.#message;
    return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
  }

  /** @throws {@link HttpError} 408 when the sender stalls; Node's error when it goes away */
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
   * The whole body.
   * @throws {@link HttpError} 413 when it has more than `maxBytes`
   */
  async bytes(maxBytes: number): Promise<Uint8Array> {
    // Not a list of chunks: each costs hundreds of bytes, also one that has a single one.
    let whole = Buffer.alloc(FIRST_BYTES);
    let length = 0;
    for await (const chunk of this) {
      const end = length + chunk.length;
      if (end > maxBytes)
        throw new HttpError(
          413,
          `the request body has more than the ${maxBytes} bytes that are allowed here`,
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
        reject(new HttpError(408, `no byte of the request body came for ${stallMs / 1000} seconds`));
      }, stallMs);
    });
    try {
      return await Promise.race([next, stalled]);
    } finally {
      clearTimeout(timer);
      // Of the two the loser is nobody's.
      next.catch(() => undefined);
    }
  }
}
