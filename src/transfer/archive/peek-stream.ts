/**
 * A byte stream whose first bytes can be examined before they are read. Its reader may stop without closing
 * the source. The rest can still be skipped, which a member of a streamed archive requires.
 */
export class PeekStream implements AsyncIterable<Uint8Array> {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #explain: (error: unknown) => unknown;
  #looked: Uint8Array[] = [];
  #end!: () => void;

  /** Resolves when the last byte has been read. */
  readonly ended = new Promise<void>((resolve) => {
    this.#end = resolve;
  });

  /** @param explain converts an error of the source to the error that is thrown */
  constructor(source: AsyncIterable<Uint8Array>, explain: (error: unknown) => unknown = (error) => error) {
    // A for-await loop would close the source when its reader stops.
    this.#source = source[Symbol.asyncIterator]();
    this.#explain = explain;
  }

  /** Returns the first `length` bytes, or fewer if the stream is shorter. They stay to be read. */
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

  /** Reads the rest, and passes each chunk to `visit`. */
  async drain(visit?: (chunk: Uint8Array) => void): Promise<void> {
    for await (const chunk of this) visit?.(chunk);
  }

  /** Closes the source without waiting. The source may itself be waiting, for bytes that never come. */
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
