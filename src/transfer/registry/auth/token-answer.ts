/**
 * Decodes the answer of a token server: a token and its lifetime, or the reason for a refusal. Every field is
 * limited in size. Secrets are removed before any part of the answer gets into a message.
 */
import { LayerstackError } from '../../../core/errors.ts';
import { decodeJson, mismatch, object, optional, string, type Decoder } from '../../../core/json.ts';
import { parseTime } from '../../../core/time.ts';
import type { Credentials } from './credentials.ts';
import { hideSecrets } from './secrets.ts';
import { headerOf, type RawResponse } from './raw-request.ts';

export interface TokenAnswer {
  readonly token: string;
  /** The lifetime, counted from the request. */
  readonly lifetimeMs: number;
  readonly refreshToken?: string | undefined;
}

/** The question that the answer belongs to. */
export interface Asked {
  /** `the token server URL of registry NAME`. */
  readonly server: string;
  readonly registry: string;
  readonly scopes: readonly string[];
  readonly credentials: Credentials | undefined;
}

/** Maximum bytes of an answer. */
export const MAX_ANSWER = 256 * 1024;
/** Tokens with many scopes have some kilobytes; a longer one fits into no header. */
const MAX_TOKEN = 64 * 1024;
const MAX_QUOTED = 300;
/** The lifetime of a token without a stated one: the minimum of the token specification. */
const DEFAULT_LIFETIME_S = 60;

/** Seconds; some servers write the number as a string. */
const seconds: Decoder<number> = (value, path) => {
  const number = typeof value === 'string' && /^\d{1,12}$/.test(value) ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : mismatch(path, 'is not a number');
};

const token: Decoder<string> = (value, path) => {
  const text = string(value, path);
  // The token becomes part of a header.
  return /^[\x21-\x7e]+$/.test(text) && text.length <= MAX_TOKEN ? text : mismatch(path, 'is not a token');
};

/** Go writes an absent token as an empty string. */
const optionalToken = optional<string | undefined>((value, path) =>
  value === '' ? undefined : token(value, path),
);

const answer = object({
  token: optionalToken,
  access_token: optionalToken,
  refresh_token: optionalToken,
  expires_in: optional(seconds),
  issued_at: optional(string),
});

const text: Decoder<string | undefined> = (value) => (typeof value === 'string' ? value : undefined);

/** The formats of the registry specification, of OAuth2, and of the token server of Docker Hub. */
const refusal = object({
  errors: (value) => firstError(value),
  error: text,
  error_description: text,
  details: text,
});

/**
 * Returns the token in a token server's answer.
 * @throws {@link LayerstackError} ERR_REGISTRY_DENIED for a refusal; ERR_REGISTRY_LIMIT,
 *   ERR_REGISTRY_UNAVAILABLE (both retryable); ERR_REGISTRY_INVALID for an invalid answer.
 */
export function readAnswer(asked: Asked, response: RawResponse): TokenAnswer {
  const { server, registry } = asked;
  if (response.status !== 200) throw refused(asked, response);
  const fields = decodeJson(answer, response.body, {
    what: `the answer of ${server}`,
    code: 'ERR_REGISTRY_INVALID',
    maxBytes: MAX_ANSWER,
    facts: { registry },
  });
  const token = fields.token ?? fields.access_token;
  if (token === undefined)
    throw new LayerstackError('ERR_REGISTRY_INVALID', `${server} answers without a token`, { registry });
  const given = fields.expires_in ?? 0;
  const lifetime = given > 0 ? given : DEFAULT_LIFETIME_S;
  const age = ageSeconds(fields.issued_at, headerOf(response, 'date'));
  return { token, lifetimeMs: Math.max(0, lifetime - age) * 1000, refreshToken: fields.refresh_token };
}

/**
 * Returns the age of a token on arrival, by the server's own clock, because this machine's may be wrong by
 * hours. It is above zero where a server gives the same token again.
 */
function ageSeconds(issuedAt: string | undefined, date: string | undefined): number {
  const issued = issuedAt === undefined ? undefined : parseTime(issuedAt)?.unix;
  const now = date === undefined ? NaN : Date.parse(date) / 1000;
  return issued === undefined || Number.isNaN(now) ? 0 : Math.max(0, now - issued);
}

function refused(asked: Asked, response: RawResponse): LayerstackError {
  const { server, registry, credentials, scopes } = asked;
  const { status } = response;
  const said = serverMessage(response, credentials);
  const tail = said === '' ? '' : `: ${said}`;
  const answers = `${server} answers with status ${String(status)}${tail}`;
  if (status === 429)
    return new LayerstackError('ERR_REGISTRY_LIMIT', `${answers}; wait before you try again`, {
      registry,
      status,
      retryable: true,
    });
  if (status >= 500)
    return new LayerstackError('ERR_REGISTRY_UNAVAILABLE', `${answers}; try again later`, {
      registry,
      status,
      retryable: true,
    });
  if (status !== 400 && status !== 401 && status !== 403)
    return new LayerstackError('ERR_REGISTRY_INVALID', `${answers}; it may not be a token server`, {
      registry,
      status,
    });
  const subject = scopes.length === 0 ? '' : ` for ${scopes.join(' ')}`;
  return new LayerstackError(
    'ERR_REGISTRY_DENIED',
    `${server} gives no token${subject}${tail}; ${advice(registry, credentials)} (layerstack login ${registry})`,
    { registry, status },
  );
}

function advice(registry: string, credentials: Credentials | undefined): string {
  if (!credentials) return `no login for ${registry} is stored: check the name, or log in`;
  if (credentials.identityToken !== undefined) return 'it refuses the stored identity token: log in again';
  return `it refuses user ${JSON.stringify(credentials.username ?? '')} or the password: log in again`;
}

/** Quotes a refusal, shortened and without the secrets that we sent. */
function serverMessage(response: RawResponse, credentials: Credentials | undefined): string {
  try {
    const { errors, error, error_description, details } = decodeJson(refusal, response.body, {
      what: 'the refusal',
      code: 'ERR_REGISTRY_INVALID',
      maxBytes: MAX_ANSWER,
    });
    const text = errors ?? error_description ?? details ?? error ?? '';
    // Hidden before the text is cut: the remainder of a cut secret would not be recognised.
    return hideSecrets(text, credentials).slice(0, MAX_QUOTED);
  } catch {
    return '';
  }
}

/** Returns `CODE: message` of the first of the registry specification's errors. */
function firstError(value: unknown): string | undefined {
  const first: unknown = Array.isArray(value) ? value[0] : undefined;
  if (typeof first !== 'object' || first === null) return undefined;
  const { code, message } = first as { code?: unknown; message?: unknown };
  const parts = [code, message].filter((part) => typeof part === 'string' && part !== '');
  return parts.length === 0 ? undefined : parts.join(': ');
}
