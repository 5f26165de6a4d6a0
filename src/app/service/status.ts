/**
 * The only place that maps errors to HTTP statuses: by kind, and by code where dockerd's handlers use another
 * status. Mirrors `moby/moby: api/server/httpstatus/status.go`.
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
  // The client has usually disconnected. It sees this only if the service aborts the work because it stops.
  aborted: 503,
  internal: 500,
};

const BY_CODE: Partial<Record<ErrorCode, number>> = {
  ERR_LIMIT_EXCEEDED: 413,
  // The cause is the machine, and it lasts: a retry does not help.
  ERR_STORE_UNSUPPORTED: 500,
  ERR_UPPER_UNSUPPORTED: 500,
  ERR_ADDON: 500,
  ERR_NO_SPACE: 507,
  // The cause is an answer of a registry or a setting of the operator, not the request.
  ERR_REGISTRY_DENIED: 401,
  ERR_REGISTRY_LIMIT: 429,
  ERR_REGISTRY_INVALID: 502,
  ERR_REGISTRY_REFUSED: 502,
  ERR_REGISTRY_UNSUPPORTED: 502,
  ERR_REGISTRY_SETTINGS: 500,
  ERR_CREDENTIALS_INVALID: 500,
};

/** A request that is invalid as HTTP, or that asks for something this service does not do. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly status: number;

  constructor(status: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

/** A redirect to another path of this service, without a body, as Go's router answers. */
export class Redirect extends HttpError {
  /** Path and query. */
  readonly location: string;

  constructor(location: string) {
    super(301, `moved to ${location}`);
    this.location = location;
  }
}

/** Returns the HTTP status for an error. */
export function statusOf(thrown: unknown): number {
  const error = firstError(thrown);
  if (error instanceof HttpError) return error.status;
  if (LayerstackError.is(error)) return BY_CODE[error.code] ?? BY_KIND[error.kind];
  if (isSystemError(error, 'ENOSPC', 'EDQUOT')) return 507;
  return 500;
}

/** Returns the message of an answer for an error. */
export function messageOf(thrown: unknown): string {
  const error = firstError(thrown);
  return isError(error) ? error.message : String(error);
}
