/**
 * The service in this process, with its own store and unix socket, and HTTP to it: requests through
 * node:http, and raw bytes for input that no client would send.
 */
import { request, type IncomingHttpHeaders, type IncomingMessage, type Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { Layerstack } from '../../src/app/layerstack.ts';
import type { Route, ServiceContext } from '../../src/app/service/context.ts';
import { EventBus } from '../../src/app/service/events.ts';
import { ROUTES } from '../../src/app/service/routes/index.ts';
import { ApiServer, type ApiServerOptions, type RequestEnd } from '../../src/app/service/server.ts';
import { defaultLogger } from '../../src/system/log.ts';
import { dropScratch, makeScratch } from './scratch.ts';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
  readonly text: string;
  /** The body as JSON. */
  json<T = unknown>(): T;
  /** The body as JSON lines. */
  lines(): Record<string, unknown>[];
}

export interface RequestInit {
  readonly headers?: Record<string, string>;
  readonly body?: Uint8Array | string | AsyncIterable<Uint8Array>;
  /** A body that is sent as JSON. */
  readonly json?: unknown;
}

export interface TestServiceOptions extends ApiServerOptions {
  readonly routes?: readonly Route[];
}

export class TestService implements AsyncDisposable {
  readonly scratch: string;
  readonly store: Layerstack;
  readonly socket: string;
  readonly api: ApiServer;
  readonly http: Server;
  readonly events: EventBus;
  /** The requests that have ended. */
  readonly ended: RequestEnd[];

  private constructor(scratch: string, store: Layerstack, options: TestServiceOptions) {
    this.scratch = scratch;
    this.store = store;
    this.socket = join(scratch, 'sock');
    this.ended = [];
    this.events = new EventBus();
    this.events.follow(store);
    const context: ServiceContext = { store, log: defaultLogger, events: this.events, durableCreate: true };
    this.api = new ApiServer(context, options.routes ?? ROUTES, {
      ...options,
      onEnd: (end) => this.ended.push(end),
    });
    this.http = this.api.createHttpServer();
  }

  static async start(options: TestServiceOptions = {}): Promise<TestService> {
    const scratch = makeScratch('api');
    const store = await Layerstack.open({ root: join(scratch, 'root') });
    const service = new TestService(scratch, store, options);
    service.http.listen(service.socket);
    await once(service.http, 'listening');
    return service;
  }

  /** The argument of `docker -H`. */
  get host(): string {
    return `unix://${this.socket}`;
  }

  /** Sends one request, and returns the whole answer. */
  async send(method: string, path: string, init: RequestInit = {}): Promise<Answer> {
    const answer = await this.open(method, path, init);
    const bytes = await buffer(answer);
    const text = bytes.toString();
    return {
      status: answer.statusCode ?? 0,
      headers: answer.headers,
      bytes,
      text,
      json: <T>() => JSON.parse(text) as T,
      lines: () =>
        text
          .split('\r\n')
          .filter((line) => line !== '')
          .map((line) => JSON.parse(line) as Record<string, unknown>),
    };
  }

  get(path: string): Promise<Answer> {
    return this.send('GET', path);
  }

  post(path: string, init: RequestInit = {}): Promise<Answer> {
    return this.send('POST', path, init);
  }

  /** Sends one request, and returns the answer unread. */
  async open(method: string, path: string, init: RequestInit = {}): Promise<IncomingMessage> {
    const content = init.json === undefined ? init.body : JSON.stringify(init.json);
    const headers = {
      ...(init.json !== undefined && { 'Content-Type': 'application/json' }),
      ...init.headers,
    };
    const sent = request({ socketPath: this.socket, method, path, headers, agent: false });
    const answered = once(sent, 'response') as Promise<[IncomingMessage]>;
    answered.catch(() => undefined);
    // After the answer the service may close the connection before the rest of the body is sent.
    sent.on('error', () => undefined);
    if (content === undefined || typeof content === 'string' || content instanceof Uint8Array)
      sent.end(content);
    // The answer may arrive before the body is sent; then the rest of it need not arrive.
    else pipeline(content, sent).catch(() => undefined);
    return (await answered)[0];
  }

  /** Opens a connection and sends nothing. */
  async connect(): Promise<Socket> {
    const socket = connect(this.socket);
    await once(socket, 'connect');
    return socket;
  }

  /** Sends these bytes, and returns the answer up to `until`, or until the service closes the connection. */
  async raw(bytes: string | Uint8Array, until?: string): Promise<string> {
    const socket = await this.connect();
    socket.on('error', () => undefined);
    let got = '';
    const done = new Promise<void>((resolve) => {
      socket.on('close', () => resolve());
      socket.on('data', (chunk: Buffer) => {
        got += chunk.toString('latin1');
        if (until !== undefined && got.includes(until)) resolve();
      });
    });
    socket.write(bytes);
    await done;
    socket.destroy();
    return got;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      const closed = once(this.http, 'close');
      this.http.close();
      await this.api.abort(new Error('the test is over'));
      this.http.closeAllConnections();
      await closed;
      await this.store.close();
    } finally {
      await dropScratch(this.scratch);
    }
  }
}
