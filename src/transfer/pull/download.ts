/**
 * The bytes of one blob, in order and complete: first what an earlier pull has left of it, then what the registry sends, on a
 * new connection from where the last one broke. Whoever reads them verifies them, all of them, by their digest; here only their
 * number is known to be right.
 */
import { throwIfAborted } from '../../core/abort.ts';
import type { Descriptor } from '../../core/descriptor.ts';
import { LayerstackError } from '../../core/errors.ts';
import type { Partial } from '../../system/partials.ts';
import { DEFAULT_RETRY, pause, pauseBefore } from '../registry/retry.ts';
import type { PullSource } from './source.ts';

export interface DownloadOptions {
  readonly signal: AbortSignal;
  /** Gets what the registry sends, so that another pull can go on from there. */
  readonly partial?: Partial | undefined;
  /** Before each new connection, how long it is waited for and why. `current`: bytes so far. */
  readonly onRetry?: ((current: number, delayMs: number, error: LayerstackError) => void) | undefined;
}

/** A blob being downloaded. */
export interface Download {
  readonly bytes: AsyncGenerator<Uint8Array, void, undefined>;
  /** The bytes were wrong. True: the server that sent the last of them is not asked again, and there is another. */
  distrust(): boolean;
}

/** Broken connections of one blob, each after some bytes; real ones break a few times in gigabytes. */
const MAX_BREAKS = 200;

/**
 * Downloads a blob.
 * @throws {@link LayerstackError} (while iterating) ERR_DIGEST_MISMATCH for a blob that is longer than its descriptor says;
 *   ERR_REGISTRY_UNAVAILABLE after the last attempt; ERR_ABORTED; what `openBlob` throws.
 */
export function download(source: PullSource, blob: Descriptor, options: DownloadOptions): Download {
  let distrust = (): boolean => false;
  async function* bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    const { signal, partial, onRetry } = options;
    let have = 0;
    if (partial && partial.size > blob.size) await partial.clear();
    if (partial) {
      for await (const chunk of partial.read()) {
        throwIfAborted(signal);
        have += chunk.length;
        yield chunk;
      }
    }
    let fruitless = 0;
    for (let breaks = 0; have < blob.size; breaks++) {
      const before = have;
      const opened = await source.openBlob(blob, { offset: have, signal });
      distrust = () => opened.distrust();
      try {
        for await (const chunk of from(opened.body, have - opened.start)) {
          have += chunk.length;
          if (have > blob.size) throw tooLong(source, blob);
          await partial?.append(chunk);
          yield chunk;
        }
        if (have < blob.size) throw endedEarly(source, blob, have);
      } catch (error) {
        throwIfAborted(signal);
        // All is there: how the connection ended is of no interest.
        if (have === blob.size && isRetryable(error)) return;
        fruitless = have > before ? 1 : fruitless + 1;
        const delayMs = breaks < MAX_BREAKS ? pauseBefore(error, fruitless, DEFAULT_RETRY) : undefined;
        if (delayMs === undefined) throw error;
        onRetry?.(have, delayMs, error as LayerstackError);
        await pause(delayMs, signal);
      }
    }
  }
  return { bytes: bytes(), distrust: () => distrust() };
}

/** The chunks without their first `skip` bytes: a server may ignore where it was asked to begin. */
async function* from(body: AsyncIterable<Uint8Array>, skip: number): AsyncGenerator<Uint8Array> {
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

function tooLong({ repository }: PullSource, { digest, size }: Descriptor): LayerstackError {
  return new LayerstackError(
    'ERR_DIGEST_MISMATCH',
    `blob ${digest} of ${repository}: the registry sends more than the ${String(size)} bytes that the manifest says; its ` +
      `copy is damaged: push the image again`,
    { digest, repository, layer: digest, expected: size },
  );
}

function endedEarly({ repository }: PullSource, { digest, size }: Descriptor, have: number): LayerstackError {
  return new LayerstackError(
    'ERR_REGISTRY_UNAVAILABLE',
    `blob ${digest} of ${repository}: the registry sends ${String(have)} of ${String(size)} bytes; try again, or push the ` +
      `image again if its copy is damaged`,
    { digest, repository, expected: size, found: have, retryable: true },
  );
}
