/**
 * Decides when a request is sent again: after broken connections, 408, 429 and 5xx. The pauses double and
 * differ from client to client, or last as long as the registry asks for (Retry-After, RFC 9110 section
 * 10.2.3), within limits.
 */
import { isError, LayerstackError } from '../../core/errors.ts';

export interface RetryPolicy {
  /** Maximum number of times that a request is sent. */
  readonly attempts: number;
  /** The first pause; each further one is twice as long, up to 30 times the first. */
  readonly pauseMs: number;
  /** A registry that asks for a longer pause counts as refusing. */
  readonly maxRetryAfterMs: number;
}

/** Nine seconds of pauses outlast a registry's restart, not an outage. */
export const DEFAULT_RETRY: RetryPolicy = { attempts: 6, pauseMs: 300, maxRetryAfterMs: 60_000 };

/** A server that timed out twice is unlikely to answer a third time. */
const ATTEMPTS_AFTER_TIMEOUT = 2;
const LONGEST = 30;

/**
 * Returns how long to wait before the request that failed with `error` is sent again; undefined: it is not
 * sent again.
 * @param attempt how often it has been sent, from 1
 * @param retryable overrides the error's own value
 */
export function pauseBefore(
  error: unknown,
  attempt: number,
  policy: RetryPolicy,
  retryable: boolean = LayerstackError.is(error) && error.retryable === true,
): number | undefined {
  if (!LayerstackError.is(error) || !retryable || attempt >= policy.attempts) return undefined;
  if (isTimeout(error) && attempt >= ATTEMPTS_AFTER_TIMEOUT) return undefined;
  const { retryAfterMs } = error;
  if (retryAfterMs !== undefined) return retryAfterMs <= policy.maxRetryAfterMs ? retryAfterMs : undefined;
  const full = policy.pauseMs * Math.min(2 ** (attempt - 1), LONGEST);
  return full * (0.5 + Math.random() / 2);
}

function isTimeout({ cause }: LayerstackError): boolean {
  return isError(cause) && cause.name.endsWith('TimeoutError');
}

/** Parses a Retry-After header (seconds or a date) to milliseconds. Returns undefined for any other text. */
export function parseRetryAfter(text: string | undefined, now: number = Date.now()): number | undefined {
  if (text === undefined) return undefined;
  if (/^\s*\d{1,9}\s*$/.test(text)) return Number(text) * 1000;
  // A date contains the name of a day or month. Date.parse accepts much that is not a date.
  const date = /[A-Za-z]{3}/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
