/**
 * Bytes that can be looked at before they are read, and whose reader may give up without closing their source: what
 * is left can still be read past, as a member of a streamed archive must be.
 */
export class PeekStream implements AsyncIterable<Uint8Array> {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #explain: (error: unknown) => unknown;
  #looked: Uint8Array[] = [];
  #end!: () => void;

  /** Resolves when the last byte was read. */
  readonly ended = new Promise<void>((resolve) => {
    this.#end = resolve;
  });

  /** @param explain what to throw for an error of the source */
  constructor(source: AsyncIterable<Uint8Array>, explain: (error: unknown) => unknown = (error) => error) {
    // Not for-await: it would close the source when its reader gives up.
    this.#source = source[Symbol.asyncIterator]();
    this.#explain = explain;
  }

  /** The first `length` bytes, fewer if there are no more. They will be read again. */
  async peek(length: number): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    for (let have = 0; have < length;) {
      const chunk = await this.#next();
      if (!chunk) break;
      chunks.push(chunk);
      have += chunk.length;
    }
    this.#looked = chunks;
    return Buffer.concat(chunks).subarray(0, length);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (let chunk = await this.#next(); chunk; chunk = await this.#next()) yield chunk;
    this.#end();
  }

  /** Reads what is left, each chunk to `visit`. */
  async drain(visit?: (chunk: Uint8Array) => void): Promise<void> {
    for await (const chunk of this) visit?.(chunk);
  }

  /** Tells the source that no more is wanted, without waiting: it may be waiting itself, for bytes that never come. */
  close(): void {
    void this.#source.return?.().catch(() => undefined);
  }

  async #next(): Promise<Uint8Array | undefined> {
    const looked = this.#looked.shift();
    if (looked) return looked;
    try {
      const { value, done } = await this.#source.next();
      return done === true ? undefined : value;
    } catch (error) {
      throw this.#explain(error);
    }
  }
}
