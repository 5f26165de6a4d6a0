/**
 * One server that speaks the registry API below `/v2/` (the OCI distribution spec): the registry itself or a
 * mirror. Every request goes through {@link Endpoint.send}, which chooses https or http, authorizes, follows
 * redirects, and retries.
 * Mirrors moby/moby: registry/{auth,endpoint_v1,service_v2}.go, distribution/errors.go for the errors that
 * are retried.
 */
import { isUint8Array } from 'node:util/types';
import { pause } from '../../core/abort.ts';
import { LayerstackError } from '../../core/errors.ts';
import type { Logger } from '../../system/log.ts';
import { Authorizer, type RawRequest, type Scope } from './auth/authorizer.ts';
import type { CredentialSource } from './auth/credentials.ts';
import { isRefusedConnection, speaksNoTls } from './connection-error.ts';
import { refusalError, registryError, wordsOf, type Subject } from './error.ts';
import { redactUrl } from './redact.ts';
import { parseRetryAfter, pauseBefore, type RetryPolicy } from './retry.ts';
import { discard, header, type HttpRequest, type HttpResponse, type Transport } from './transport.ts';

export interface ApiRequest extends HttpRequest {
  /** The scopes that the request needs. */
  readonly scopes: readonly Scope[];
  /** Statuses that count as a response; every other status is thrown as an error. Undefined: all count. */
  readonly accept: readonly number[] | undefined;
}

export interface EndpointOptions {
  /** The name that users write: `docker.io`; for a mirror its URL. */
  readonly label: string;
  /** The key for looking up credentials. */
  readonly host: string;
  /** URLs of the server, ending in `/v2/`. The first one that answers is used. */
  readonly bases: readonly [URL, ...URL[]];
  readonly transport: Transport;
  readonly credentials: CredentialSource | undefined;
  readonly retry: RetryPolicy;
  readonly log: Logger;
  /** Ask token servers for refresh tokens, as a login does. Default false. */
  readonly offline?: boolean | undefined;
}

const MAX_ERROR_BYTES = 64 * 1024;
export const MAX_REDIRECTS = 10;
export const REDIRECTS = [301, 302, 303, 307, 308];

export class Endpoint implements AsyncDisposable {
  readonly label: string;
  readonly #options: EndpointOptions;
  readonly #transport: Transport;
  readonly #authorizer: Authorizer;
  #base: URL | undefined;
  #answered = false;

  constructor(options: EndpointOptions) {
    this.#options = options;
    this.label = options.label;
    this.#transport = options.transport;
    if (options.bases.length === 1) this.#base = options.bases[0];
    this.#authorizer = new Authorizer({
      registry: options.host,
      credentials: options.credentials,
      request: this.#plain.bind(this),
      insecure: (host) => this.#transport.egress.isInsecure(host),
      offline: options.offline,
    });
  }

  /** @see Authorizer.refreshToken */
  get refreshToken(): string | undefined {
    return this.#authorizer.refreshToken;
  }

  /**
   * Sends a request until it is answered or has failed for good.
   * @param target relative to `/v2/`, or a URL from a Location header of this server
   * @throws {@link LayerstackError} ERR_REGISTRY_UNAVAILABLE, ERR_REGISTRY_LIMIT, ERR_REGISTRY_DENIED,
   *   ERR_REGISTRY_NOT_FOUND, ERR_REGISTRY_REFUSED, ERR_REGISTRY_UNSUPPORTED, ERR_REGISTRY_INVALID,
   *   ERR_REGISTRY_SETTINGS, ERR_CREDENTIALS_INVALID, ERR_ABORTED.
   */
  send(target: string | URL, request: ApiRequest): Promise<HttpResponse> {
    return this.#trying(request, () => this.#once(target, request));
  }

  /**
   * Sends a request as {@link send} does, and reads the whole body. It repeats the request if the body breaks
   * off. `bytes` is undefined where the body has more than `maxBytes`.
   */
  ask(
    target: string | URL,
    request: ApiRequest,
    maxBytes: number,
  ): Promise<{ readonly response: HttpResponse; readonly bytes: Buffer | undefined }> {
    return this.#trying(request, async () => {
      const response = await this.#once(target, request);
      return { response, bytes: await this.#transport.readAll(response, request, maxBytes) };
    });
  }

  /** Yields the bytes of a body. @see Transport.read */
  read(
    response: HttpResponse,
    request: Pick<HttpRequest, 'signal' | 'subject'>,
  ): AsyncGenerator<Buffer, void> {
    return this.#transport.read(response, request);
  }

  /** Stops all requests. */
  close(): Promise<void> {
    return this.#transport.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Returns the URL of a Location header.
   * @throws {@link LayerstackError} ERR_REGISTRY_INVALID where it is not a usable URL.
   */
  location(response: HttpResponse, subject: Subject): URL {
    const text = header(response, 'location');
    const url =
      text !== undefined && URL.canParse(text, response.url.href) ? new URL(text, response.url) : undefined;
    if (!url || !['http:', 'https:'].includes(url.protocol) || url.username !== '' || url.password !== '')
      throw registryError(
        'ERR_REGISTRY_INVALID',
        subject,
        `${this.label} answers ${String(response.status)} without a valid Location`,
      );
    // Behind a proxy that ends TLS, a registry may believe that it speaks plain HTTP.
    if (url.protocol === 'http:' && response.url.protocol === 'https:' && url.host === response.url.host)
      url.protocol = 'https:';
    return url;
  }

  /** Repeats the work until it succeeds, fails for good, or has used all attempts. */
  async #trying<T>({ body, signal }: ApiRequest, work: () => Promise<T>): Promise<T> {
    const { retry, log } = this.#options;
    // A stream can be read only once. Its owner knows how to resume (see upload.ts).
    const policy = isStream(body) ? { ...retry, attempts: 1 } : retry;
    for (let attempt = 1; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        // A server that has answered before may be restarting.
        const restarting = this.#answered && isRefusedConnection(error);
        const wait = pauseBefore(error, attempt, policy, restarting || undefined);
        if (wait === undefined) throw error;
        log.debug('a request to a registry is sent again', {
          error: (error as Error).message,
          attempt: attempt + 1,
          waitMs: Math.round(wait),
        });
        await pause(wait, signal);
      }
    }
  }

  async #once(target: string | URL, request: ApiRequest): Promise<HttpResponse> {
    const { scopes, signal, subject } = request;
    const authorizer = this.#authorizer;
    const url = typeof target === 'string' ? new URL(target, await this.#resolved(request)) : target;
    const sent = await naming(subject, authorizer.header(scopes, signal));
    let response = await this.#follow(url, request, sent);
    this.#answered = true;
    if (response.status === 401 && this.#isOwn(response.url)) {
      discard(response.body);
      const asked = response.headers['www-authenticate'];
      const again = await naming(subject, authorizer.challenged(asked, scopes, signal, sent));
      if (again && isStream(request.body)) throw this.#expired(request);
      if (again) {
        const learnt = await naming(subject, authorizer.header(scopes, signal));
        response = await this.#follow(url, request, learnt);
      }
    }
    if (request.accept?.includes(response.status) !== false) return response;
    throw await this.#refusal(response, request);
  }

  /** Sends a request and follows redirects. Never sends the authorization to another origin. */
  async #follow(start: URL, request: ApiRequest, authorization: string | undefined): Promise<HttpResponse> {
    const { subject, method } = request;
    let url = start;
    let trusted = this.#isOwn(url);
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const headers = {
        ...request.headers,
        ...(trusted && authorization !== undefined && { authorization }),
      };
      const response = await this.#transport.exchange(url, { ...request, headers });
      const { status } = response;
      if (!REDIRECTS.includes(status) || header(response, 'location') === undefined) return response;
      const keeps =
        method === 'GET' ||
        method === 'HEAD' ||
        ((status === 307 || status === 308) && !isStream(request.body));
      if (!keeps) return response;
      discard(response.body);
      const next = this.location(response, subject);
      // Once a redirect has left the origin, the authorization stays off: another server chose the rest of
      // the way.
      trusted &&= this.#isOwn(next);
      url = next;
    }
    throw registryError(
      'ERR_REGISTRY_INVALID',
      subject,
      `${this.label} redirects more than ${String(MAX_REDIRECTS)} times, at last to ${redactUrl(url)}; ` +
        'the registry or a proxy in front of it is misconfigured',
    );
  }

  async #refusal(response: HttpResponse, request: ApiRequest): Promise<LayerstackError> {
    const { status, url } = response;
    const { subject, scopes } = request;
    const body = (await this.#transport.readAll(response, request, MAX_ERROR_BYTES)) ?? Buffer.alloc(0);
    const refusal = { status, body, retryAfterMs: parseRetryAfter(header(response, 'retry-after')) };
    const hide = (text: string): string => this.#authorizer.hide(text);
    if (status !== 401 && status !== 403) return refusalError(refusal, subject, hide);
    if (this.#isOwn(url)) return named(subject, this.#authorizer.denied(scopes, wordsOf(body, hide)));
    // The signed URL has expired; the registry gives a new one.
    const why = `its storage ${redactUrl(url)} answers ${String(status)}; try again`;
    return registryError('ERR_REGISTRY_UNAVAILABLE', subject, why, { status, retryable: true });
  }

  /** Returns the error for a token that expired while a body was sent. The next token is already fetched. */
  #expired({ subject }: ApiRequest): LayerstackError {
    return registryError(
      'ERR_REGISTRY_UNAVAILABLE',
      subject,
      `${this.label} asked for a new token meanwhile`,
      {
        status: 401,
        retryable: true,
        retryAfterMs: 0,
      },
    );
  }

  #isOwn(url: URL): boolean {
    return url.origin === (this.#base ?? this.#options.bases[0]).origin;
  }

  /**
   * Returns the base to use. Where both schemes are possible, it is https unless the server speaks only http,
   * which is found out as docker does.
   */
  async #resolved(request: ApiRequest): Promise<URL> {
    if (this.#base) return this.#base;
    const failures: unknown[] = [];
    for (const base of this.#options.bases) {
      try {
        const { signal, subject } = request;
        const response = await this.#transport.exchange(base, { method: 'GET', signal, subject });
        discard(response.body);
        // Go's TLS servers answer 400 to plain HTTP.
        if (base.protocol === 'http:' && response.status === 400) continue;
        return (this.#base = base);
      } catch (error) {
        if (request.signal?.aborted) throw error;
        failures.push(error);
      }
    }
    throw failures.find((failure) => !speaksNoTls(failure)) ?? failures[0];
  }

  /** A plain exchange with a token server. */
  readonly #plain: RawRequest = async (url, { method, headers, body, signal, maxBytes }) => {
    const subject = { what: `login at ${this.label}`, registry: this.label };
    const request = {
      method,
      headers,
      signal,
      subject,
      body: body === undefined ? undefined : Buffer.from(body),
    };
    const response = await this.#transport.exchange(url, request);
    const bytes = await this.#transport.readAll(response, request, maxBytes);
    if (bytes !== undefined) return { status: response.status, headers: response.headers, body: bytes };
    throw registryError(
      'ERR_LIMIT_EXCEEDED',
      subject,
      `${redactUrl(url)} sends more than ${String(maxBytes)} bytes`,
      {
        limit: maxBytes,
      },
    );
  };
}

function isStream(body: ApiRequest['body']): boolean {
  return body !== undefined && !isUint8Array(body);
}

/** Waits for the authorizer. Its errors name the registry; this adds the object of the request. */
async function naming<T>(subject: Subject, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw LayerstackError.is(error) ? named(subject, error) : error;
  }
}

function named(subject: Subject, error: LayerstackError): LayerstackError {
  if (error.code === 'ERR_ABORTED' || error.message.startsWith(subject.what)) return error;
  const { code, message, status, retryable, retryAfterMs, limit, cause } = error;
  return registryError(code, subject, message, { status, retryable, retryAfterMs, limit, cause });
}
