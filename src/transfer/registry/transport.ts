/**
 * One HTTP exchange with a registry or what it refers to: a pool of connections per origin, time limits on connecting,
 * on the answer's head and on silence within bodies, TLS by the host's certificates, proxies by the environment.
 * Follows nothing and retries nothing. undici is loaded with the first exchange.
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
  /** From the end of the request to the answer's head. */
  readonly headersMs: number;
  /** Without a byte of a body. */
  readonly stallMs: number;
}

export const DEFAULT_TIMEOUTS: Timeouts = { connectMs: 15_000, headersMs: 60_000, stallMs: 60_000 };

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly headers?: Readonly<Record<string, string>>;
  /** Bytes that are there, or a source that is read once. */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array> | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Instead of {@link Timeouts.headersMs}, where the server has long work to do. */
  readonly headersMs?: number;
  /** What it is about, for errors. */
  readonly subject: Subject;
}

export interface HttpResponse {
  readonly url: URL;
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Has to be read or discarded; else its connection stays in use. Errors are the transport's own. */
  readonly body: Readable;
}

export interface TransportOptions {
  readonly settings: RegistrySettings;
  /** Where requests may go; it is asked before each, and by each connection. */
  readonly egress: EgressPolicy;
  readonly timeouts?: Partial<Timeouts> | undefined;
  /** Where the proxies' variables are. */
  readonly env: Environment;
}

/** Connections to one origin at once; a pull reads fewer blobs than this at once. */
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
   * Sends a request; resolves with the answer's head, whatever its status.
   * @throws {@link LayerstackError} ERR_REGISTRY_UNAVAILABLE where no answer came, `retryable` where another one may;
   *   ERR_REGISTRY_INVALID for what is no HTTP, and where the request may not go; ERR_REGISTRY_SETTINGS, ERR_ABORTED.
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
        ...(signal && { signal }),
        headersTimeout: Math.max(request.headersMs ?? 0, headersMs),
        bodyTimeout: stallMs,
      });
      this.#known.add(url.origin);
      return { url, status: answer.statusCode, headers: answer.headers, body: answer.body };
    } catch (error) {
      throw this.failure(error, url, request);
    }
  }

  /** The error of an exchange that failed, in its head or its body, with `error`. */
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

  /** A body's bytes as they come. @throws {@link LayerstackError} as {@link exchange}. */
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

  /** The whole body; undefined where it has more than `maxBytes`. @throws {@link LayerstackError} as {@link exchange}. */
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

  /** Breaks off what is under way. A second call does nothing. */
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
    // What a proxy connects to is its operator's affair: here only names can be judged.
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

  /** Whom to trust at a host, and as whom to show up. */
  async #tls(host: string) {
    const { settings } = this.#options;
    const own = settingsOf(settings, host);
    const files = await certificatesFor(host, settings.certsDirectory);
    const cas = [...files.ca, ...(own?.ca === undefined ? [] : [await pem(own.ca)])];
    const cert = own?.certificate === undefined ? files.cert : [await pem(own.certificate)];
    const key = own?.key === undefined ? files.key : [await pem(own.key)];
    const insecure = this.egress.isInsecure(host);
    // Made once: reading the machine's CAs takes longer than a handshake.
    const secureContext = createSecureContext({
      ...(cert.length > 0 && { cert: [...cert], key: [...key] }),
      ...(!insecure && { ca: [...(await machineCas()), ...cas] }),
    });
    return { secureContext, rejectUnauthorized: !insecure };
  }
}

/** The first value of a header, by its lower-case name. */
export function header(response: Pick<HttpResponse, 'headers'>, name: string): string | undefined {
  const value = response.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** Gives up a body; its connection is closed unless the body was at its end. */
export function discard(body: Readable): void {
  body.on('error', () => undefined);
  body.destroy();
}
