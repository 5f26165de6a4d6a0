/** Turns the caller's AbortSignal into layerstack's own error. */
import { setTimeout as sleep } from 'node:timers/promises';
import { LayerstackError } from './errors.ts';

/** Returns the error for work that `signal` has stopped. Its `cause` is the signal's reason. */
export function abortError(signal: AbortSignal): LayerstackError {
  return new LayerstackError('ERR_ABORTED', 'aborted by the caller', { cause: signal.reason });
}

/**
 * Returns unless the signal has fired.
 * @throws {@link LayerstackError} ERR_ABORTED with the signal's reason as `cause`.
 */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError(signal);
}

/**
 * Resolves after this many milliseconds.
 * @throws {@link LayerstackError} ERR_ABORTED as soon as the signal fires.
 */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    throw signal?.aborted ? abortError(signal) : error;
  }
}

/**
 * Resolves as `work` does, or rejects as soon as the signal fires. The work itself continues.
 * @throws {@link LayerstackError} ERR_ABORTED; what `work` rejects with.
 */
export async function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  let stop: (() => void) | undefined;
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(abortError(signal));
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work, stopped]);
  } finally {
    if (stop) signal.removeEventListener('abort', stop);
  }
}
