/**
 * The bytes of one blob, in order and complete: what an earlier pull has left of it from disk, the rest from the registry, on a
 * new connection from where the last one broke. Whoever reads them verifies them, all of them, by their digest; here only their
 * number is known to be right.
 */
import { pause, throwIfAborted } from '../../core/abort.ts';
import type { Descriptor } from '../../core/descriptor.ts';
import { LayerstackError } from '../../core/errors.ts';
import type { Partial } from '../../system/partials.ts';
import { pauseBefore } from '../registry/retry.ts';
import { PartialRecorder } from './partial-recorder.ts';
import type { PullSource } from './source.ts';

export interface DownloadOptions {
  readonly signal: AbortSignal;
  /** What an earlier pull has left, and where bytes are kept for the next one. */
  readonly partial?: Partial | undefined;
  /** The caller has so many bytes already: `bytes` begins behind them. Default 0. */
  readonly have?: number | undefined;
  /** Before each new connection, how long it is waited for and why. `current`: bytes so far. */
  readonly onRetry?: ((current: number, delayMs: number, error: LayerstackError) => void) | undefined;
}

/** Broken connections of one blob, each after some bytes; real ones break a few times in gigabytes. */
const MAX_BREAKS = 200;

/** A blob being downloaded. */
export class Download {
  readonly #source: PullSource;
  readonly #blob: Descriptor;
  readonly #options: DownloadOptions;
  readonly #recorder: PartialRecorder | undefined;
  #have: number;
  #breaks = 0;
  #waitedMs = 0;
  #distrust = (): boolean => false;

  constructor(source: PullSource, blob: Descriptor, options: DownloadOptions) {
    this.#source = source;
    this.#blob = blob;
    this.#options = options;
    this.#have = options.have ?? 0;
    this.#recorder = options.partial && new PartialRecorder(options.partial);
  }

  /**
   * Its bytes; to be asked for once.
   * @throws {@link LayerstackError} (while iterating) ERR_DIGEST_MISMATCH for a blob that is longer than its descriptor says;
   *   ERR_REGISTRY_UNAVAILABLE after the last attempt; ERR_ABORTED; what `openBlob` throws.
   */
  async *bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    const { partial, signal } = this.#options;
    const { size } = this.#blob;
    if (partial && partial.size > 0) {
      if (partial.start + partial.size > size) await partial.begin(0);
      yield* this.#fetch(partial.start);
      for await (const chunk of partial.read()) {
        throwIfAborted(signal);
        this.#have += chunk.length;
        yield chunk;
      }
    }
    yield* this.#fetch(size);
  }

  /** The bytes were wrong. True: the server that sent the last of them is not asked again, and there is another. */
  distrust(): boolean {
    return this.#distrust();
  }

  /** No more bytes are asked for: writes those that the next pull may resume from and that are still in memory. */
  async flush(): Promise<void> {
    if (this.#have < this.#blob.size) await this.#recorder?.flush();
  }

  /** The bytes were wrong: the next pull must not resume from them. */
  async discard(): Promise<void> {
    await this.#recorder?.discard();
  }

  /** The bytes up to `end`, from the registry. */
  async *#fetch(end: number): AsyncGenerator<Uint8Array, void, undefined> {
    const { signal, onRetry } = this.#options;
    for (let fruitless = 0; this.#have < end;) {
      const before = this.#have;
      const opened = await this.#source.openBlob(this.#blob, { offset: before, signal });
      this.#distrust = () => opened.distrust();
      try {
        yield* this.#pass(skipping(opened.body, before - opened.start), end);
      } catch (error) {
        throwIfAborted(signal);
        // All is there: how the connection ended is of no interest.
        if (this.#have === end && isRetryable(error)) return;
        fruitless = this.#have > before ? 1 : fruitless + 1;
        const delayMs =
          this.#breaks++ < MAX_BREAKS ? pauseBefore(error, fruitless, this.#source.retry) : undefined;
        if (delayMs === undefined) throw error;
        onRetry?.(this.#have, delayMs, error as LayerstackError);
        await pause(delayMs, signal);
      }
    }
  }

  /** Passes on a body's bytes up to `end`, and keeps them where they are the last that are missing. */
  async *#pass(body: AsyncIterable<Uint8Array>, end: number): AsyncGenerator<Uint8Array, void, undefined> {
    const { size } = this.#blob;
    let asked = performance.now();
    for await (const chunk of body) {
      this.#waitedMs += performance.now() - asked;
      const at = this.#have;
      if (at + chunk.length > size) throw this.#tooLong();
      const wanted = chunk.subarray(0, end - at);
      this.#have += wanted.length;
      if (end === size) await this.#recorder?.add(wanted, at, this.#waitedMs);
      yield wanted;
      asked = performance.now();
      // The rest is on disk.
      if (end < size && this.#have === end) return;
    }
    if (this.#have < end) throw this.#endedEarly();
  }

  #tooLong(): LayerstackError {
    const { digest, size } = this.#blob;
    const { repository } = this.#source;
    return new LayerstackError(
      'ERR_DIGEST_MISMATCH',
      `blob ${digest} of ${repository}: the registry sends more than the ${String(size)} bytes that the manifest says; its ` +
        `copy is damaged: push the image again`,
      { digest, repository, layer: digest, expected: size },
    );
  }

  #endedEarly(): LayerstackError {
    const { digest, size } = this.#blob;
    const { repository } = this.#source;
    return new LayerstackError(
      'ERR_REGISTRY_UNAVAILABLE',
      `blob ${digest} of ${repository}: the registry sends ${String(this.#have)} of ${String(size)} bytes; try again, or ` +
        `push the image again if its copy is damaged`,
      { digest, repository, expected: size, found: this.#have, retryable: true },
    );
  }
}

/** The chunks without their first `skip` bytes: a server may ignore where it was asked to begin. */
async function* skipping(body: AsyncIterable<Uint8Array>, skip: number): AsyncGenerator<Uint8Array> {
  let left = skip;
  for await (const chunk of body) {
    const rest = left > 0 ? chunk.subarray(left) : chunk;
    left -= chunk.length - rest.length;
    if (rest.length > 0) yield rest;
  }
}

function isRetryable(error: unknown): boolean {
  return LayerstackError.is(error) && error.retryable === true;
}
