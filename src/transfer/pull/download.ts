/**
 * Yields the bytes of one blob, in order and complete. The bytes that an earlier pull has left come from
 * disk, the rest from the registry. When a connection breaks, a new one continues from there. The reader must
 * verify all bytes by their digest; this file checks only their number.
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
  /** The bytes that an earlier pull has left; new bytes are recorded there for the next pull. */
  readonly partial?: Partial | undefined;
  /** Number of bytes that the caller already has: `bytes` begins behind them. Default 0. */
  readonly have?: number | undefined;
  /** Called before each new connection, with the wait and its reason. `current`: bytes so far. */
  readonly onRetry?: ((current: number, delayMs: number, error: LayerstackError) => void) | undefined;
}

/**
 * Maximum broken connections of one blob, each after some bytes; real ones break a few times in gigabytes.
 */
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
   * Yields the blob's bytes. May be called once.
   * @throws {@link LayerstackError} (while iterating) ERR_DIGEST_MISMATCH for a blob that is longer than its
   *   descriptor says; ERR_REGISTRY_UNAVAILABLE after the last attempt; ERR_ABORTED; the errors of
   *   `openBlob`.
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

  /**
   * Reports wrong bytes. Returns true if the server that sent the last of them is not asked again and another
   * one exists.
   */
  distrust(): boolean {
    return this.#distrust();
  }

  /** Ends the download: writes the bytes that are still in memory and from which the next pull may resume. */
  async flush(): Promise<void> {
    if (this.#have < this.#blob.size) await this.#recorder?.flush();
  }

  /** Discards the recorded bytes because they were wrong: the next pull must not resume from them. */
  async discard(): Promise<void> {
    await this.#recorder?.discard();
  }

  /** Yields the bytes up to `end`, from the registry. */
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
        // The blob is complete, so the error at the end of the connection does not matter.
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

  /** Passes on a body's bytes up to `end`. Records them if they are the last missing part of the blob. */
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

/** Skips the first `skip` bytes: a server may ignore the requested offset. */
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
