/**
 * Makes one HTTP exchange with a registry or a server that it refers to. It pools connections per origin,
 * limits the time of connecting, of the wait for a response's head and of silence within bodies, uses TLS
 * with the host's certificates, and takes proxies from the environment. It follows no redirects and retries
 * nothing. undici is loaded at the first exchange.
 */
import type { Readable } from 'node:stream';
import { createSecureContext } from 'node:tls';
import type { Dispatcher } from 'undici';
import { abortError, throwIfAborted } from '../../core/abort.ts';
import { certificatesFor, machineCas, pem } from './certificates.ts';
import { connectionError } from './connection-error.ts';
import { AddressOutOfReach, type EgressPolicy } from './egress.ts';
import type { Subject } from './error.ts';
import { proxyFor, type Environment } from './proxy.ts';
import { settingsOf, type RegistrySettings } from './settings.ts';

/** Time limits, in milliseconds. */
export interface Timeouts {
  readonly connectMs: number;
  /** From the end of the request to the response's head. */
  readonly headersMs: number;
  /** Without a byte of a body. */
  readonly stallMs: number;
}

export const DEFAULT_TIMEOUTS: Timeouts = { connectMs: 15_000, headersMs: 60_000, stallMs: 60_000 };

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly headers?: Readonly<Record<string, string>>;
  /** Bytes in memory, or a source that is read once. */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array> | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Replaces {@link Timeouts.headersMs}, where the server has long work to do. */
  readonly headersMs?: number;
  /** The object of the request, for errors. */
  readonly subject: Subject;
}

export interface HttpResponse {
  readonly url: URL;
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Must be read or discarded; otherwise its connection stays in use. Its errors are the transport's own. */
  readonly body: Readable;
}

export interface TransportOptions {
  readonly settings: RegistrySettings;
  /** Decides where requests may go. It is asked before each request and by each connection. */
  readonly egress: EgressPolicy;
  readonly timeouts?: Partial<Timeouts> | undefined;
  /** The environment with the proxies' variables. */
  readonly env: Environment;
}

/** Maximum connections to one origin; a pull reads fewer blobs at once. */
const CONNECTIONS = 16;

export class Transport implements AsyncDisposable {
  readonly egress: EgressPolicy;
  readonly #options: TransportOptions;
  readonly #pools = new Map<string, Promise<Dispatcher>>();
  /** Origins that have answered. */
  readonly #known = new Set<string>();

  constructor(options: TransportOptions) {
    this.#options = options;
    this.egress = options.egress;
  }

  /**
   * Sends a request. Resolves with the response's head, whatever its status.
   * @throws {@link LayerstackError} ERR_REGISTRY_UNAVAILABLE where no response came, `retryable` where a new
   *   attempt may get one; ERR_REGISTRY_INVALID for a response that is not HTTP, and where the request may
   *   not go; ERR_REGISTRY_SETTINGS, ERR_ABORTED.
   */
  async exchange(url: URL, request: HttpRequest): Promise<HttpResponse> {
    const { method, headers = {}, body, signal } = request;
    throwIfAborted(signal);
    this.egress.check(url, request);
    const pool = await this.#pool(url);
    const { headersMs, stallMs } = this.#timeouts(url);
    try {
      const answer = await pool.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method,
        headers: { 'user-agent': 'layerstack', 'accept-encoding': 'identity', ...headers },
        body: (body ?? null) as NonNullable<Dispatcher.RequestOptions['body']> | null,
        signal: signal ?? null,
        headersTimeout: Math.max(request.headersMs ?? 0, headersMs),
        bodyTimeout: stallMs,
      });
      this.#known.add(url.origin);
      return { url, status: answer.statusCode, headers: answer.headers, body: answer.body };
    } catch (error) {
      throw this.failure(error, url, request);
    }
  }

  /** Returns the error of an exchange that failed, in its head or its body, with `error`. */
  failure(error: unknown, url: URL, { signal, subject }: Pick<HttpRequest, 'signal' | 'subject'>): Error {
    if (signal?.aborted) return abortError(signal);
    const { settings, env } = this.#options;
    if (error instanceof AddressOutOfReach) return this.egress.outOfReach(url, error.network, subject);
    return connectionError(error, subject, url, {
      certsDirectory: settings.certsDirectory,
      settingsPath: settings.path,
      proxy: proxyFor(url, env),
      known: this.#known.has(url.origin),
    });
  }

  /** Yields a body's bytes as they come. @throws {@link LayerstackError} as {@link exchange}. */
  async *read(
    { url, body }: HttpResponse,
    request: Pick<HttpRequest, 'signal' | 'subject'>,
  ): AsyncGenerator<Buffer, void, undefined> {
    try {
      yield* body as AsyncIterable<Buffer>;
    } catch (error) {
      throw this.failure(error, url, request);
    } finally {
      discard(body);
    }
  }

  /**
   * Reads the whole body; undefined where it has more than `maxBytes`.
   * @throws {@link LayerstackError} as {@link exchange}.
   */
  async readAll(
    response: HttpResponse,
    request: Pick<HttpRequest, 'signal' | 'subject'>,
    maxBytes: number,
  ): Promise<Buffer | undefined> {
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of this.read(response, request)) {
      size += chunk.length;
      if (size > maxBytes) return undefined;
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }

  /** Stops all exchanges. A second call does nothing. */
  async close(): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.allSettled(pools.map(async (pool) => (await pool).destroy()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #timeouts({ host }: URL): Timeouts {
    const { settings, timeouts } = this.#options;
    const ms = settingsOf(settings, host)?.timeoutMs;
    return { ...DEFAULT_TIMEOUTS, ...(ms !== undefined && { headersMs: ms, stallMs: ms }), ...timeouts };
  }

  async #pool(url: URL): Promise<Dispatcher> {
    let pool = this.#pools.get(url.origin);
    if (!pool) {
      pool = this.#open(url);
      this.#pools.set(url.origin, pool);
    }
    try {
      return await pool;
    } catch (error) {
      this.#pools.delete(url.origin);
      throw error;
    }
  }

  async #open(url: URL): Promise<Dispatcher> {
    const { Pool, ProxyAgent, buildConnector } = await import('undici');
    const { egress } = this;
    const proxy = proxyFor(url, this.#options.env);
    const connect = {
      timeout: this.#timeouts(url).connectMs,
      ...(url.protocol === 'https:' && (await this.#tls(url.host))),
    };
    if (!proxy) {
      const connector = buildConnector({ ...connect, lookup: egress.lookup(url) });
      const watched: typeof connector = (options, callback) =>
        connector(options, (...result) => {
          egress.connected(url, result[1]?.remoteAddress);
          callback(...result);
        });
      return new Pool(url.origin, { connections: CONNECTIONS, connect: watched });
    }
    // The proxy's operator decides where the proxy connects; here only names can be checked.
    const auth = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
    return new ProxyAgent({
      uri: proxy.origin,
      ...(auth !== ':' && { token: `Basic ${Buffer.from(auth).toString('base64')}` }),
      requestTls: connect,
      proxyTls: { timeout: connect.timeout, ca: [...(await machineCas())] },
      proxyTunnel: false,
      connections: CONNECTIONS,
    });
  }

  /** Returns the TLS options for a host: the CAs to trust and the client certificate to present. */
  async #tls(host: string) {
    const { settings } = this.#options;
    const own = settingsOf(settings, host);
    const files = await certificatesFor(host, settings.certsDirectory);
    const cas = [...files.ca, ...(own?.ca === undefined ? [] : [await pem(own.ca)])];
    const cert = own?.certificate === undefined ? files.cert : [await pem(own.certificate)];
    const key = own?.key === undefined ? files.key : [await pem(own.key)];
    const insecure = this.egress.isInsecure(host);
    // Made once, because reading the machine's CAs takes longer than a handshake.
    const secureContext = createSecureContext({
      ...(cert.length > 0 && { cert: [...cert], key: [...key] }),
      ...(!insecure && { ca: [...(await machineCas()), ...cas] }),
    });
    return { secureContext, rejectUnauthorized: !insecure };
  }
}

/** Returns the first value of a header, by its lower-case name. */
export function header(response: Pick<HttpResponse, 'headers'>, name: string): string | undefined {
  const value = response.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** Discards a body. Its connection is closed unless the body has ended. */
export function discard(body: Readable): void {
  body.on('error', () => undefined);
  body.destroy();
}
