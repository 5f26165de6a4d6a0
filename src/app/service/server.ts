/**
 * HTTP in front of the routes: limits, docker's headers, exactly one answer for each request, and a signal
 * that stops the work of a request when its client disconnects. This class does not listen; the owner of the
 * socket does (`createHttpServer().listen(…)`).
 *
 * The memory of a connection is bounded by Node's buffers (16 KiB each way), one chunk of a body and one of
 * an answer.
 */
import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { LayerstackError } from '../../core/errors.ts';
import { packageVersion } from '../../system/package-version.ts';
import { DEFAULT_STALL_MS, RequestBody } from './body.ts';
import type { Route, ServiceContext } from './context.ts';
import { ApiRequest } from './request.ts';
import { Pipelines } from './pipelines.ts';
import { sendError } from './respond.ts';
import { Router, type Match } from './router.ts';
import { HttpError, messageOf, statusOf } from './status.ts';
import { plainAnswer, upgradableMessages, type Upgraded } from './upgrade.ts';
import { API_VERSION } from './version.ts';

/** Limit of the URL, enough for a `docker save` of a thousand names. Longer ones are answered 414. */
const MAX_URL = 64 * 1024;
/**
 * Request line and headers together; longer ones are answered 431. Credentials in X-Registry-Auth have some
 * kilobytes.
 */
const MAX_HEADER = 128 * 1024;
const MAX_HEADERS = 256;
/** As in dockerd: from the connection, or the previous request, until the headers are complete. */
const HEADERS_TIMEOUT_MS = 5 * 60_000;
/**
 * docker's client keeps an idle connection for 30 s. This is longer, so that it never uses one that the
 * service is closing.
 */
const KEEP_ALIVE_MS = 120_000;
/** How long the rest of an unread body is discarded, so that its sender sees the answer. */
const LINGER_MS = 5_000;

const HEADERS: Readonly<Record<string, string>> = {
  'Api-Version': API_VERSION,
  'Docker-Experimental': 'false',
  Ostype: 'linux',
  Server: `layerstack/${packageVersion()} (linux)`,
};

/** The result of a request. */
export interface RequestEnd {
  readonly method: string;
  readonly path: string;
  /** The route's pattern; undefined if no route matched. */
  readonly pattern: string | undefined;
  readonly id: string;
  /** The status that was sent, or that a client that disconnected would have got. */
  readonly status: number;
  readonly durationMs: number;
  /** The client disconnected before it had the complete answer. */
  readonly aborted: boolean;
  readonly error: unknown;
  readonly socket: Socket;
}

/** The end of a request. */
interface Outcome {
  readonly id: string;
  /** In milliseconds, as `performance.now()` gives it. */
  readonly started: number;
  /** Whether the client went away. */
  readonly aborted: boolean;
  /** Undefined where the request succeeded. */
  readonly error: unknown;
  readonly status: number;
}

/** How Node delivered a request, if not as a plain one. */
export interface Asked {
  /** The client sends the body only after `100 Continue`. */
  readonly expects?: boolean;
  /** The client's connection, if it asks for another protocol. */
  readonly upgraded?: Upgraded;
}

export interface ApiServerOptions {
  /** Longest wait for the next bytes of a body. */
  readonly stallMs?: number | undefined;
  /** Throws an error to answer a request with it before any route sees the request. */
  readonly admit?: ((incoming: IncomingMessage) => void) | undefined;
  /** Called for each request when it has ended; must not throw. */
  readonly onEnd?: ((end: RequestEnd) => void) | undefined;
}

export class ApiServer {
  readonly #service: ServiceContext;
  readonly #router: Router;
  readonly #options: ApiServerOptions;
  readonly #running = new Map<AbortController, Promise<void>>();
  readonly #endless = new Set<AbortController>();
  readonly #pipelines = new Pipelines();
  #refusal: string | undefined;

  constructor(service: ServiceContext, routes: readonly Route[], options: ApiServerOptions = {}) {
    this.#service = service;
    this.#router = new Router(routes);
    this.#options = options;
  }

  /** How many requests are being answered. */
  get active(): number {
    return this.#running.size;
  }

  /** Creates an HTTP server with this service's limits, which does not listen yet. */
  createHttpServer(): Server {
    const server = createServer({
      IncomingMessage: upgradableMessages(
        ({ method = '', url = '' }) => this.#router.find(method, url)?.route.upgrades === true,
      ),
      maxHeaderSize: MAX_HEADER,
      headersTimeout: HEADERS_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      // Not limited, because a load may take hours. The reader of the body has its own time limit (stallMs).
      requestTimeout: 0,
      // requireOneHost checks this, with more precise answers.
      requireHostHeader: false,
    });
    server.maxHeadersCount = MAX_HEADERS;
    server.on('request', (incoming, response) => void this.handle(incoming, response));
    server.on(
      'checkContinue',
      (incoming, response) => void this.handle(incoming, response, { expects: true }),
    );
    server.on('upgrade', (incoming, socket: Socket, head: Buffer) => {
      // docker's clients never send an upgrade behind an unanswered request.
      if (this.#pipelines.isBusy(socket)) socket.destroy();
      else void this.handle(incoming, plainAnswer(incoming), { upgraded: { socket, head } });
    });
    server.on('checkExpectation', (_, response: ServerResponse) => {
      sendError({ response }, new HttpError(417, 'this service understands Expect: 100-continue only'));
    });
    server.on('clientError', (error, socket: Socket) => {
      if (this.#pipelines.isAnswering(socket)) socket.destroy();
      else refuseMalformed(error, socket);
    });
    return server;
  }

  /**
   * Answers every further request with 503 and `reason`, and closes its connection. Ends requests without an
   * end of their own (`docker events`). The other running requests continue.
   */
  refuse(reason: string): void {
    this.#refusal = reason;
    for (const controller of this.#endless) controller.abort(new Error(reason));
  }

  /** Aborts the work of all requests, e.g. because the service stops. Resolves when they have ended. */
  async abort(reason: unknown): Promise<void> {
    for (const controller of this.#running.keys()) controller.abort(reason);
    await this.drained();
  }

  /** Resolves when no request is being answered. */
  async drained(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running.values());
  }

  /**
   * Answers one request. Never rejects.
   */
  async handle(incoming: IncomingMessage, response: ServerResponse, asked: Asked = {}): Promise<void> {
    if (!(await this.#pipelines.turn(incoming.socket, response))) return;
    const controller = new AbortController();
    // Every layer of an image adds a listener.
    setMaxListeners(0, controller.signal);
    const work = this.#answer(incoming, response, controller, asked);
    this.#running.set(controller, work);
    try {
      await work;
    } finally {
      this.#running.delete(controller);
    }
  }

  async #answer(
    incoming: IncomingMessage,
    response: ServerResponse,
    controller: AbortController,
    { expects = false, upgraded }: Asked,
  ): Promise<void> {
    const started = performance.now();
    const id = randomBytes(6).toString('hex');
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    response.setHeader('X-Request-Id', id);
    upgraded?.socket.once('close', () => controller.abort(new Error('the client closed the connection')));
    response.on('close', () => {
      if (!response.writableFinished) controller.abort(new Error('the client closed the connection'));
    });
    // 'close', readers and writers report a broken connection. Without a listener, 'error' would end the
    // process.
    incoming.on('error', () => undefined);
    response.on('error', () => undefined);

    let match: Match | undefined;
    let request: ApiRequest | undefined;
    let failure: unknown;
    const body = new RequestBody(incoming, {
      stallMs: this.#options.stallMs ?? DEFAULT_STALL_MS,
      proceed: () => {
        if (expects) response.writeContinue();
        expects = false;
      },
    });
    try {
      const url = incoming.url ?? '/';
      requireOneHost(incoming, response);
      if (url.length > MAX_URL) throw new HttpError(414, `the URL has more than ${MAX_URL} bytes`);
      if (this.#refusal !== undefined) {
        response.shouldKeepAlive = false;
        throw new LayerstackError('ERR_SERVICE_BUSY', this.#refusal);
      }
      this.#options.admit?.(incoming);
      match = this.#router.match(incoming.method ?? 'GET', url);
      if (match.route.endless === true) this.#endless.add(controller);
      request = new ApiRequest(
        { id, incoming, response, body, signal: controller.signal, upgraded },
        match.target,
      );
      await match.route.handle(request, this.#service);
      if (request.tookOver) upgraded?.socket.end();
      else if (!response.writableEnded && !controller.signal.aborted)
        throw new Error(`the route ${match.route.pattern} has not answered`);
    } catch (error) {
      failure = error;
      // A client that got no `100 Continue` may send the body or not, so the bytes that follow are ambiguous.
      if (expects) response.shouldKeepAlive = false;
      if (request?.tookOver === true) incoming.socket.destroy();
      else sendError({ response }, error);
    } finally {
      this.#endless.delete(controller);
    }
    linger(incoming, response);
    const { aborted } = controller.signal;
    this.#report(incoming, match, { id, started, aborted, error: failure, status: response.statusCode });
  }

  #report(
    incoming: IncomingMessage,
    match: Match | undefined,
    { id, started, aborted, error, status }: Outcome,
  ): void {
    const path = match?.target.path ?? incoming.url ?? '';
    // 501 and 503 are normal answers, so they are not logged as failures.
    if (error !== undefined && !aborted && statusOf(error) >= 500 && ![501, 503].includes(statusOf(error)))
      this.#service.log.error('a request failed', { id, path, error: messageOf(error) });
    this.#options.onEnd?.({
      method: incoming.method ?? '',
      path,
      pattern: match?.route.pattern,
      id,
      status,
      durationMs: performance.now() - started,
      aborted,
      error,
      socket: incoming.socket,
    });
  }
}

/** Characters that Go's server accepts (golang.org/x/net: http/httpguts/httplex.go, ValidHostHeader). */
const HOST = /^[\w!$%&'()*+,.:;=~[\]-]*$/;

/**
 * Refuses a request without exactly one valid Host header, as dockerd's HTTP server does. With two, a proxy
 * may have checked the other one.
 * @throws {@link HttpError} 400
 */
function requireOneHost(
  { rawHeaders, headers, httpVersion }: IncomingMessage,
  response: ServerResponse,
): void {
  const hosts = rawHeaders.filter((text, index) => index % 2 === 0 && text.toLowerCase() === 'host').length;
  const is = (kind: string): never => {
    response.shouldKeepAlive = false;
    throw new HttpError(400, `${kind} Host header`);
  };
  if (hosts > 1) is('more than one');
  if (hosts === 0 && httpVersion === '1.1') is('missing required');
  if (!HOST.test(headers.host ?? '')) is('malformed');
}

/**
 * Lets the sender of an unread body see the answer. It would not see it if the connection closed while it
 * sends. Node discards the rest of the body once the answer is sent; this limits the time.
 */
function linger(incoming: IncomingMessage, response: ServerResponse): void {
  if (incoming.complete || response.destroyed) return;
  incoming.resume();
  const timer = setTimeout(() => incoming.socket.destroy(), LINGER_MS).unref();
  incoming.once('close', () => clearTimeout(timer));
}

/** Answers a connection whose bytes are not a valid HTTP request. */
function refuseMalformed(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, reason, message] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? [431, 'Request Header Fields Too Large', `the request has more than ${MAX_HEADER} bytes of headers`]
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [408, 'Request Timeout', 'the headers of the request did not arrive in time']
        : [400, 'Bad Request', 'this is not an HTTP request'];
  const body = `${JSON.stringify({ message })}\n`;
  socket.end(
    `HTTP/1.1 ${status} ${reason}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n` +
      `Connection: close\r\n\r\n${body}`,
  );
}
