/**
 * Turns failures at a registry into errors that name the registry and the object and say what to do. A
 * registry's own words (`{"errors":[{code,message,detail}]}`, see opencontainers/distribution-spec: Error
 * Codes) are quoted, with a length limit. Of any other body, at most the first line is quoted. Secrets of the
 * request that a body repeats are hidden before the text is cut.
 */
import { LayerstackError, type ErrorCode, type ErrorFacts } from '../../core/errors.ts';
import { hideSecrets } from './auth/secrets.ts';

/** The object of a request; every message begins with it. */
export interface Subject {
  /** For example `manifest localhost:5000/x:1`, `blob sha256:… of alpine`. */
  readonly what: string;
  /** The registry that is asked, as its users write it; for a mirror its URL. */
  readonly registry: string;
  readonly repository?: string;
  readonly reference?: string;
  readonly digest?: string;
}

/** An error response, with the part of its body that was read. */
export interface Refusal {
  readonly status: number;
  readonly body: Uint8Array;
  readonly retryAfterMs: number | undefined;
}

interface RegistryMessage {
  readonly code: string;
  readonly message: string;
}

/** Removes the secrets from a text. */
export type Hide = (text: string) => string;

/** Maximum bytes of a body that are read for an error. */
const MAX_BYTES = 64 * 1024;
const MAX_QUOTED = 300;
const MAX_MESSAGES = 3;

/** Returns an error about `subject`, whose message names it and the registry. */
export function registryError(
  code: ErrorCode,
  subject: Subject,
  problem: string,
  facts: ErrorFacts & { cause?: unknown } = {},
): LayerstackError {
  const { what, registry, repository, reference, digest } = subject;
  return new LayerstackError(code, `${what}: ${problem}`, {
    registry,
    repository,
    reference,
    digest,
    ...facts,
  });
}

/** Returns the error for an error response. */
export function refusalError(refusal: Refusal, subject: Subject, hide: Hide = hideSecrets): LayerstackError {
  const { status, retryAfterMs } = refusal;
  const said = wordsOf(refusal.body, hide);
  const { code, hint, retryable } = classify(status, messagesOf(refusal.body)[0]?.code);
  const wait = retryAfterMs === undefined ? '' : ` in ${String(Math.ceil(retryAfterMs / 1000))} s`;
  return registryError(
    code,
    subject,
    `${subject.registry} answers ${String(status)}${said === '' ? '' : ` (${said})`}; ${hint}${retryable ? wait : ''}`,
    { status, ...(retryable && { retryable, retryAfterMs }) },
  );
}

/**
 * The meaning of registries' own codes for the user. Their statuses differ between registries and say less.
 */
const SAID: ReadonlyMap<string, string> = new Map([
  ['NAME_INVALID', 'it does not accept this name; use another'],
  ['MANIFEST_INVALID', 'it does not accept this manifest'],
  ['MANIFEST_UNVERIFIED', 'it does not accept this manifest'],
  ['TAG_INVALID', 'it does not accept this tag; use another'],
  ['MANIFEST_BLOB_UNKNOWN', 'a blob of the manifest is missing; push the image again'],
  ['DIGEST_INVALID', 'the digest does not fit the bytes that arrived; try again'],
  ['SIZE_INVALID', 'the digest does not fit the bytes that arrived; try again'],
]);

function classify(
  status: number,
  said: string | undefined,
): { code: ErrorCode; hint: string; retryable?: true } {
  const refused = SAID.get(said ?? '');
  if (refused !== undefined) return { code: 'ERR_REGISTRY_REFUSED', hint: refused };
  if (status === 401)
    return { code: 'ERR_REGISTRY_DENIED', hint: 'log in with `layerstack login`, or check the name' };
  if (status === 403)
    return {
      code: 'ERR_REGISTRY_DENIED',
      hint: 'this login does not have the right; log in as another user',
    };
  if (status === 404 || status === 410)
    return { code: 'ERR_REGISTRY_NOT_FOUND', hint: 'check the name and the tag or digest' };
  if (status === 429)
    return { code: 'ERR_REGISTRY_LIMIT', hint: 'log in for a higher limit, or try again', retryable: true };
  if (status === 405 || status === 501)
    return { code: 'ERR_REGISTRY_UNSUPPORTED', hint: 'this registry does not support the request' };
  if (status === 408 || status >= 500)
    return { code: 'ERR_REGISTRY_UNAVAILABLE', hint: 'try again', retryable: true };
  if (status >= 400) return { code: 'ERR_REGISTRY_REFUSED', hint: 'it does not accept this request' };
  return { code: 'ERR_REGISTRY_INVALID', hint: 'a registry does not answer like this; is it one?' };
}

/** Returns a registry's own errors from a body; none where the body is something else. */
function messagesOf(body: Uint8Array): RegistryMessage[] {
  let document: unknown;
  try {
    document = JSON.parse(Buffer.from(body).toString());
  } catch {
    return [];
  }
  const errors = (document as { errors?: unknown } | null)?.errors;
  if (!Array.isArray(errors)) return [];
  return (errors as unknown[]).slice(0, MAX_MESSAGES).map((each) => {
    const { code, message } = (each ?? {}) as { code?: unknown; message?: unknown };
    return {
      code: typeof code === 'string' ? code : '',
      message: typeof message === 'string' ? message : '',
    };
  });
}

/**
 * Quotes a body in one line of limited length: the registry's own errors, or the beginning of any other text.
 */
export function wordsOf(body: Uint8Array, hide: Hide = hideSecrets): string {
  const said = messagesOf(body)
    .map(({ code, message }) => [code, message].filter((part) => part !== '').join(': '))
    .filter((text) => text !== '');
  if (said.length > 0) return oneLine(hide(said.join('; ')));
  const text = Buffer.from(body.subarray(0, MAX_BYTES)).toString();
  return oneLine(hide(text.trimStart().split('\n')[0] ?? ''));
}

function oneLine(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are the point
  const clean = text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();
  return clean.length > MAX_QUOTED ? `${clean.slice(0, MAX_QUOTED)}…` : clean;
}
