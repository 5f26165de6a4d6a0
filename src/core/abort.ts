/** The caller's AbortSignal as layerstack's own error. */
import { LayerstackError } from './errors.ts';

/** The error that work stopped by `signal` ends with; its `cause` is the signal's reason. */
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
