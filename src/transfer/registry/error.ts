/**
 * What went wrong at a registry, as errors that name the registry and the object and say what to do. A registry's own words
 * (`{"errors":[{code,message,detail}]}`, see opencontainers/distribution-spec: Error Codes) are quoted, bounded; of
 * any other body the first line at most.
 */
import { LayerstackError, type ErrorCode, type ErrorFacts } from '../../core/errors.ts';

/** What a request is about; begins every message. */
export interface Subject {
  /** e.g. `manifest localhost:5000/x:1`, `blob sha256:… of alpine`. */
  readonly what: string;
  /** The registry that is asked, as its users write it; with its URL where it is a mirror. */
  readonly registry: string;
  readonly repository?: string;
  readonly reference?: string;
  readonly digest?: string;
}

/** An answer that is an error, with as much of its body as was read. */
export interface Refusal {
  readonly status: number;
  readonly contentType: string | undefined;
  readonly body: Uint8Array;
}

const MAX_QUOTED = 300;

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

/** No answer came, or its body broke off. `where` is a redacted URL. */
export function connectionError(error: unknown, where: string): LayerstackError {
  if (LayerstackError.is(error)) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new LayerstackError('ERR_REGISTRY_UNAVAILABLE', `${where}: ${why}`, {
    retryable: true,
    cause: error,
  });
}

/** The error for an answer that says no. */
export function refusalError(refusal: Refusal, subject: Subject): LayerstackError {
  const { status } = refusal;
  const said = quoteBody(refusal);
  const answer = `${subject.registry} answers ${String(status)}${said === '' ? '' : ` (${said})`}`;
  const { code, hint, retryable } = classify(status);
  return registryError(code, subject, `${answer}; ${hint}`, { status, ...(retryable && { retryable }) });
}

function classify(status: number): { code: ErrorCode; hint: string; retryable?: true } {
  if (status === 401)
    return {
      code: 'ERR_REGISTRY_DENIED',
      hint: 'log in with `layerstack login`, or check the repository’s name',
    };
  if (status === 403)
    return { code: 'ERR_REGISTRY_DENIED', hint: 'these credentials do not allow it; log in with others' };
  if (status === 404)
    return { code: 'ERR_REGISTRY_NOT_FOUND', hint: 'check the name, the tag or the digest' };
  if (status === 429)
    return { code: 'ERR_REGISTRY_LIMIT', hint: 'wait before you try again, or log in', retryable: true };
  if (status === 405 || status === 501)
    return { code: 'ERR_REGISTRY_UNSUPPORTED', hint: 'this registry does not do it' };
  if (status >= 500 || status === 408)
    return { code: 'ERR_REGISTRY_UNAVAILABLE', hint: 'try again later', retryable: true };
  if (status >= 400) return { code: 'ERR_REGISTRY_REFUSED', hint: 'it does not take this request' };
  return { code: 'ERR_REGISTRY_INVALID', hint: 'that is no answer of a registry' };
}

/** The registry's own words, in one bounded line. */
function quoteBody({ body }: Refusal): string {
  const text = Buffer.from(body).toString('utf8').trim();
  if (text === '') return '';
  return oneLine(errorsOf(text) ?? text.split('\n')[0] ?? '');
}

function errorsOf(text: string): string | undefined {
  try {
    const { errors } = JSON.parse(text) as { errors?: { code?: unknown; message?: unknown }[] };
    if (!Array.isArray(errors) || errors.length === 0) return undefined;
    return errors
      .slice(0, 3)
      .map(({ code, message }) => [code, message].filter((part) => typeof part === 'string').join(': '))
      .join('; ');
  } catch {
    return undefined;
  }
}

function oneLine(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are the point
  const clean = text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();
  return clean.length > MAX_QUOTED ? `${clean.slice(0, MAX_QUOTED)}…` : clean;
}
