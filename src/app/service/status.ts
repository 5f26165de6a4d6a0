/**
 * The one place that knows which HTTP status an error is: by its kind, and by its code where dockerd's handlers say
 * something else. Mirrors `moby/moby: api/server/httpstatus/status.go`.
 */
import {
  firstError,
  isError,
  isSystemError,
  LayerstackError,
  type ErrorCode,
  type ErrorKind,
} from '../../core/errors.ts';

const BY_KIND: Readonly<Record<ErrorKind, number>> = {
  'not-found': 404,
  conflict: 409,
  invalid: 400,
  denied: 403,
  unavailable: 503,
  'data-loss': 500,
  // Nobody hears it, unless the service itself stopped the work because it ends.
  aborted: 503,
  internal: 500,
};

const BY_CODE: Partial<Record<ErrorCode, number>> = {
  ERR_LIMIT_EXCEEDED: 413,
  // Of the machine, not of the moment: trying again does not help.
  ERR_STORE_UNSUPPORTED: 500,
  ERR_UPPER_UNSUPPORTED: 500,
  ERR_ADDON: 500,
  ERR_NO_SPACE: 507,
  // What a registry answers, or an operator has set, is no fault of the request.
  ERR_REGISTRY_DENIED: 401,
  ERR_REGISTRY_LIMIT: 429,
  ERR_REGISTRY_INVALID: 502,
  ERR_REGISTRY_REFUSED: 502,
  ERR_REGISTRY_UNSUPPORTED: 502,
  ERR_REGISTRY_SETTINGS: 500,
  ERR_CREDENTIALS_INVALID: 500,
};

/** A request is wrong as HTTP, or asks for what this service does not do. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly status: number;

  constructor(status: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

/** What is asked for is elsewhere here: an answer without a body, as Go's router gives it. */
export class Redirect extends HttpError {
  /** Path and query. */
  readonly location: string;

  constructor(location: string) {
    super(301, `moved to ${location}`);
    this.location = location;
  }
}

/** The status of an answer that says `error`. */
export function statusOf(thrown: unknown): number {
  const error = firstError(thrown);
  if (error instanceof HttpError) return error.status;
  if (LayerstackError.is(error)) return BY_CODE[error.code] ?? BY_KIND[error.kind];
  if (isSystemError(error, 'ENOSPC', 'EDQUOT')) return 507;
  return 500;
}

/** What an answer says about `error`. */
export function messageOf(thrown: unknown): string {
  const error = firstError(thrown);
  return isError(error) ? error.message : String(error);
}
