/**
 * The bytes of one member of a streamed archive. They can be looked at before they are read, and a reader may give
 * up without harm to the archive: the rest can still be read past.
 */
export class MemberStream implements AsyncIterable<Uint8Array> {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #explain: (error: unknown) => unknown;
  #looked: Uint8Array[] = [];
  #end!: () => void;

  /** Resolves when the last byte was read. */
  readonly ended = new Promise<void>((resolve) => {
    this.#end = resolve;
  });

  /** @param explain makes the archive's error from the parser's */
  constructor(source: AsyncIterable<Uint8Array>, explain: (error: unknown) => unknown) {
    // Not for-await: it would close the source, and with it the archive, when its reader gives up.
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
