/** A web server on loopback that records its requests. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
}

/** `count`: the number of requests with this method and path, from 1. */
export type Answer = (
  asked: Asked & { readonly count: number; readonly request: IncomingMessage },
  response: ServerResponse,
) => unknown;

export class HttpServer implements AsyncDisposable {
  readonly asked: Asked[] = [];
  /** `localhost:PORT`. */
  readonly host: string;
  readonly url: string;
  answer: Answer;
  readonly #server: Server;

  private constructor(server: Server, answer: Answer) {
    this.#server = server;
    this.answer = answer;
    this.host = `localhost:${String((server.address() as AddressInfo).port)}`;
    this.url = `http://${this.host}`;
  }

  /** Starts a server. An answer that throws closes the connection. */
  static async start(answer: Answer = (_, response) => response.end()): Promise<HttpServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const started = new HttpServer(server, answer);
    // Clients try a TLS handshake first on loopback.
    server.on('clientError', (_error, socket) => socket.destroy());
    server.on('request', (request, response) => {
      const { method = '', url: path = '', headers } = request;
      started.asked.push({ method, path, headers });
      const count = started.asked.filter((each) => each.method === method && each.path === path).length;
      Promise.resolve()
        .then(() => started.answer({ method, path, headers, count, request }, response))
        .catch(() => request.socket.destroy());
    });
    return started;
  }

  /** `METHOD path` of the requests, without those that only test for a registry. */
  get log(): string[] {
    return this.asked.filter(({ path }) => path !== '/v2/').map(({ method, path }) => `${method} ${path}`);
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
