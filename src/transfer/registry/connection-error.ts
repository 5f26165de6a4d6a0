/**
 * Explains why no response came, or why it broke off, and what to do. It recognises node's and undici's
 * errors by their codes.
 */
import { isError, LayerstackError } from '../../core/errors.ts';
import { registryError, type Subject } from './error.ts';
import { redactUrl } from './redact.ts';

/** The facts that the advice in messages needs. */
export interface Advice {
  readonly certsDirectory: string;
  readonly settingsPath: string;
  /** The proxy that was used, if any; shown without its user. */
  readonly proxy: URL | undefined;
  /** Whether the server has answered before. */
  readonly known: boolean;
}

interface Reason {
  readonly why: string;
  readonly retryable: boolean;
  readonly broken?: boolean;
}

/** Returns the error for a request to `url` that got no response, or whose response broke off. */
export function connectionError(error: unknown, subject: Subject, url: URL, advice: Advice): LayerstackError {
  if (LayerstackError.is(error)) return error;
  const cause = firstOf(error);
  const { why, retryable, broken } = reason(cause, url, advice);
  return registryError(broken ? 'ERR_REGISTRY_INVALID' : 'ERR_REGISTRY_UNAVAILABLE', subject, why, {
    retryable,
    // undici's own error contains the bytes that it could not parse.
    cause: isNoHttp(cause) ? new Error(cause.message) : cause,
  });
}

/** Returns whether the error shows that the server does not speak TLS. */
export function speaksNoTls(error: unknown): boolean {
  return NO_TLS.has(causeCode(error));
}

/** Returns whether the connection was refused. */
export function isRefusedConnection(error: unknown): boolean {
  return causeCode(error) === 'ECONNREFUSED';
}

const NO_TLS = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'EPROTO']);

function isNoHttp(error: unknown): error is Error {
  return isError(error) && error.name === 'HTTPParserError';
}

function causeCode(error: unknown): string {
  return LayerstackError.is(error) ? codeOf(error.cause) : '';
}

function codeOf(error: unknown): string {
  return isError(error) && 'code' in error ? String(error.code) : '';
}

/** Returns the first of the failures to connect to each address of a host. */
function firstOf(error: unknown): unknown {
  return isError(error) && 'errors' in error && Array.isArray(error.errors) && error.errors.length > 0
    ? (error.errors[0] as unknown)
    : error;
}

function reason(error: unknown, url: URL, { certsDirectory, settingsPath, proxy, known }: Advice): Reason {
  const code = codeOf(error);
  const message = isError(error) ? error.message : String(error);
  const shown = redactUrl(url);
  const way = proxy ? `${shown} by the proxy ${redactUrl(proxy)}` : shown;
  const certs = `${certsDirectory}/${url.host}`;
  const proxyStatus = /^Proxy response \((\d+)\)/.exec(message)?.[1];
  if (proxyStatus !== undefined)
    return {
      why: `the proxy ${redactUrl(proxy ?? url)} answers ${proxyStatus} when asked for ${url.host}; check HTTPS_PROXY and NO_PROXY`,
      retryable: Number(proxyStatus) >= 500,
    };
  switch (code) {
    case 'ECONNREFUSED':
      return { why: `no server listens at ${way} (connection refused); is it running?`, retryable: false };
    case 'ENOTFOUND':
      return { why: `no such host: ${url.hostname}; check the name, or set HTTPS_PROXY`, retryable: false };
    case 'EAI_AGAIN':
      return { why: `the host ${url.hostname} cannot be looked up; is there a network?`, retryable: true };
    case 'UND_ERR_CONNECT_TIMEOUT':
      return { why: `no connection to ${way} in time; is there a network or a proxy?`, retryable: true };
    case 'UND_ERR_HEADERS_TIMEOUT':
      return { why: `${way} does not answer in time; try again later`, retryable: true };
    case 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH':
      return { why: `the request does not have the announced number of bytes`, retryable: false };
    case 'UND_ERR_BODY_TIMEOUT':
      return { why: `${way} stalls in the middle of its answer; try again later`, retryable: true };
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
      return {
        why: `the certificate of ${url.host} is not signed by a CA that this machine trusts (${message}); put its CA into ${certs}/ca.crt`,
        retryable: false,
      };
    case 'CERT_HAS_EXPIRED':
    case 'CERT_NOT_YET_VALID':
      return { why: `the certificate of ${url.host} is not valid now (${message})`, retryable: false };
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return { why: `the certificate of ${url.host} is for another host (${message})`, retryable: false };
  }
  if (NO_TLS.has(code))
    return {
      why: `${url.host} does not speak TLS; to use it without TLS, set "insecure": true for it in ${settingsPath}`,
      retryable: false,
    };
  if (/^ERR_SSL_.*(ALERT|CERT)/.test(code))
    return {
      why: `${url.host} refuses the TLS handshake (${message.split('\n')[0] ?? ''}); if it asks for a client's certificate, put it into ${certs}/client.cert and client.key`,
      retryable: false,
    };
  if (isNoHttp(error) || code === 'UND_ERR_HEADERS_OVERFLOW')
    return { why: `${shown} does not answer in HTTP (${message})`, retryable: false, broken: true };
  const strange = url.protocol === 'https:' && !known;
  return {
    why: `the connection to ${way} broke off (${message})${strange ? `; if ${url.host} asks for a client's certificate, put it into ${certs}/client.cert and client.key` : ''}`,
    retryable: true,
  };
}
