/**
 * When a request is sent again: after broken connections, 408, 429 and 5xx, with pauses that double and differ from client to
 * client, or as long as the registry asks for (Retry-After, RFC 9110 section 10.2.3), within bounds.
 */
import { isError, LayerstackError } from '../../core/errors.ts';

export interface RetryPolicy {
  /** How often a request is sent at most. */
  readonly attempts: number;
  /** The first pause; each further one is twice as long, up to 30 times the first. */
  readonly pauseMs: number;
  /** A registry that asks for a longer pause has refused. */
  readonly maxRetryAfterMs: number;
}

/** Nine seconds of pauses: a registry's restart, not an outage. */
export const DEFAULT_RETRY: RetryPolicy = { attempts: 6, pauseMs: 300, maxRetryAfterMs: 60_000 };

/** A server that kept silent until a time limit will hardly do better a third time. */
const ATTEMPTS_AFTER_TIMEOUT = 2;
const LONGEST = 30;

/**
 * How long to wait before the request that failed with `error` is sent again; undefined: it is not.
 * @param attempt how often it has been sent, from 1
 * @param retryable instead of what the error says
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

/** Milliseconds that a Retry-After header asks for: seconds or a date. Undefined where it says neither. */
export function parseRetryAfter(text: string | undefined, now: number = Date.now()): number | undefined {
  if (text === undefined) return undefined;
  if (/^\s*\d{1,9}\s*$/.test(text)) return Number(text) * 1000;
  // A date has a name of a day or month; Date.parse takes much that is none.
  const date = /[A-Za-z]{3}/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
