/**
 * Feeds bytes to native work that runs on its own threads, and stops it: on a signal, on an error of the
 * source, or when the work itself has failed.
 */
import { abortError } from '../core/abort.ts';
import { call } from '../system/native.ts';

/** Native work that can be stopped, e.g. `LayerApply`. */
export interface Stoppable<T> {
  readonly result: Promise<T>;
  abort(): void;
}

/** Native work that takes bytes. */
export interface ByteSink<T> extends Stoppable<T> {
  write(chunk: Uint8Array): Promise<void>;
  end(): void;
}

export interface FeedOptions {
  readonly signal?: AbortSignal | undefined;
  /** Receives the length of each chunk that the work has taken. */
  readonly onChunk?: ((length: number) => void) | undefined;
}

/**
 * Writes all of `source` to `sink`, and resolves with the result of `sink`.
 * @throws {@link LayerstackError} ERR_ABORTED; the errors of the source and of the work.
 */
export function feed<T>(
  source: AsyncIterable<Uint8Array>,
  sink: ByteSink<T>,
  { signal, onChunk }: FeedOptions,
): Promise<T> {
  return abortable(sink, signal, async () => {
    await pump(source, sink, onChunk);
    return call(sink.result);
  });
}

/**
 * Runs `work` on `sink`. Aborts `sink` when the signal fires or `work` fails, and returns only when `sink`
 * has stopped.
 */
export async function abortable<T>(
  sink: Stoppable<T>,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  const abort = (): void => sink.abort();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    if (signal?.aborted) abort();
    return await work();
  } catch (error) {
    sink.abort();
    await sink.result.catch(() => undefined);
    throw signal?.aborted ? abortError(signal) : error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/**
 * Writes every chunk to `sink`, then ends it. Rejects as soon as `sink` fails, even while a read from the
 * source is pending (a pipe without a writer).
 */
async function pump<T>(
  source: AsyncIterable<Uint8Array>,
  sink: ByteSink<T>,
  onChunk: ((length: number) => void) | undefined,
): Promise<void> {
  let fail: (error: unknown) => void = () => undefined;
  call(sink.result).catch((error: unknown) => fail(error));
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
        fail = reject;
        iterator.next().then(resolve, reject);
      });
      if (next.done === true) break;
      await call(sink.write(next.value));
      onChunk?.(next.value.length);
    }
    sink.end();
  } catch (error) {
    // Not awaited: a generator that waits for its own source would block this function too.
    iterator.return?.().catch(() => undefined);
    throw error;
  }
}
