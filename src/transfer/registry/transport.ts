/**
 * One HTTP exchange with a registry or what it redirects to: a pool of connections per origin, time limits on connecting,
 * on the answer's head and on silence within bodies, TLS by the host's certificates, proxies by the environment.
 * Follows nothing and retries nothing. undici is loaded with the first exchange.
 */
import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { abortError, throwIfAborted } from '../../core/abort.ts';
import { redactUrl } from './redact.ts';
import { connectionError } from './error.ts';

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
}

export interface HttpResponse {
  readonly url: URL;
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Has to be read or destroyed; else its connection stays in use. */
  readonly body: Readable;
}

/** Connections to one origin at once; a pull reads fewer blobs than this at once. */
const CONNECTIONS = 16;

export class Transport implements AsyncDisposable {
  readonly #timeouts: Timeouts;
  readonly #pools = new Map<string, Promise<Dispatcher>>();

  constructor(options: { readonly timeouts?: Partial<Timeouts> | undefined } = {}) {
    this.#timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
  }

  /**
   * Sends a request; resolves with the answer's head, whatever its status.
   * @throws {@link LayerstackError} ERR_REGISTRY_UNAVAILABLE (retryable) where no answer came, ERR_ABORTED.
   */
  async exchange(url: URL, request: HttpRequest): Promise<HttpResponse> {
    const { method, headers = {}, body, signal, headersMs = this.#timeouts.headersMs } = request;
    throwIfAborted(signal);
    const pool = await this.#pool(url);
    try {
      const answer = await pool.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method,
        headers: { 'user-agent': 'layerstack', 'accept-encoding': 'identity', ...headers },
        body: (body ?? null) as NonNullable<Dispatcher.RequestOptions['body']> | null,
        ...(signal && { signal }),
        headersTimeout: headersMs,
        bodyTimeout: this.#timeouts.stallMs,
      });
      return { url, status: answer.statusCode, headers: answer.headers, body: answer.body };
    } catch (error) {
      if (signal?.aborted) throw abortError(signal);
      throw connectionError(error, redactUrl(url));
    }
  }

  /** Breaks off what is under way. */
  async close(): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map(async (pool) => (await pool).destroy()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #pool(url: URL): Promise<Dispatcher> {
    let pool = this.#pools.get(url.origin);
    if (!pool) {
      pool = this.#open(url);
      this.#pools.set(url.origin, pool);
    }
    return pool;
  }

  async #open(url: URL): Promise<Dispatcher> {
    const { Pool } = await import('undici');
    return new Pool(url.origin, {
      connections: CONNECTIONS,
      connect: { timeout: this.#timeouts.connectMs },
    });
  }
}

/** The first value of a header, by its lower-case name. */
export function header(response: Pick<HttpResponse, 'headers'>, name: string): string | undefined {
  const value = response.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/**
 * The whole body, where it has at most `maxBytes`; undefined where it is longer. The body is read to its end or destroyed.
 * @throws {@link LayerstackError} ERR_REGISTRY_UNAVAILABLE (retryable) where it breaks off, ERR_ABORTED.
 */
export async function readBody(
  { url, body }: Pick<HttpResponse, 'url' | 'body'>,
  maxBytes: number,
  signal: AbortSignal | undefined,
): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > maxBytes) return undefined;
      chunks.push(chunk);
    }
  } catch (error) {
    if (signal?.aborted) throw abortError(signal);
    throw connectionError(error, redactUrl(url));
  } finally {
    discard(body);
  }
  return Buffer.concat(chunks);
}

/** Gives up a body; its connection is closed unless the body was at its end. */
export function discard(body: Readable): void {
  body.on('error', () => undefined);
  body.destroy();
}
