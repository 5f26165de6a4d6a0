/**
 * Giving bytes to native work that has threads of its own, and stopping it: by a signal, by an error of the source, or
 * because the work itself has failed.
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
  /** Told the length of every chunk that was taken. */
  readonly onChunk?: ((length: number) => void) | undefined;
}

/**
 * Gives all of `source` to `sink`, and resolves with its result.
 * @throws {@link LayerstackError} ERR_ABORTED; what the source throws, or the work.
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
 * Runs `work` on `sink`, aborting it when the signal fires or `work` fails, and returns only when it has come to
 * rest.
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
 * Gives every chunk to `sink`, and the end. Fails at once when `sink` does, even while the source keeps its
 * reader waiting (a pipe that nobody writes to).
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
    // Not awaited: a generator that waits for its own source would keep us waiting too.
    iterator.return?.().catch(() => undefined);
    throw error;
  }
}
