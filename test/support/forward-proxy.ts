/**
 * A forward proxy like those of companies: CONNECT for https, absolute URLs for http. Only the proxy can
 * resolve the hosts of the test, so each request that reaches them went through the proxy.
 */
import {
  createServer,
  request as send,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';

export interface ForwardProxyOptions {
  /** Loopback ports by `HOST:PORT`. */
  readonly hosts: Readonly<Record<string, number>>;
  /** `user:password`, if the proxy requires it. */
  readonly login?: string;
}

export class ForwardProxy implements AsyncDisposable {
  /** Lines like `CONNECT host:port` and `GET http://host/path`. */
  readonly log: string[] = [];
  readonly port: number;
  readonly #server: Server;
  readonly #options: ForwardProxyOptions;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, options: ForwardProxyOptions) {
    this.#server = server;
    this.#options = options;
    this.port = (server.address() as AddressInfo).port;
  }

  static async start(options: ForwardProxyOptions): Promise<ForwardProxy> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const proxy = new ForwardProxy(server, options);
    server.on('connect', (request: IncomingMessage, socket: Socket) => proxy.#tunnel(request, socket));
    server.on('request', (request, response) => proxy.#pass(request, response));
    return proxy;
  }

  /** The URL of the proxy, including `login`. */
  url(login?: string): string {
    return `http://${login === undefined ? '' : `${login}@`}127.0.0.1:${String(this.port)}`;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #tunnel(request: IncomingMessage, socket: Socket): void {
    this.log.push(`CONNECT ${request.url ?? ''}`);
    this.#keep(socket);
    const port = this.#options.hosts[request.url ?? ''];
    if (!this.#allowed(request)) socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
    else if (port === undefined) socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
    else {
      const upstream = connect(port, '127.0.0.1', () => socket.write('HTTP/1.1 200 OK\r\n\r\n'));
      this.#keep(upstream);
      socket.pipe(upstream).pipe(socket);
    }
  }

  #pass(request: IncomingMessage, response: ServerResponse): void {
    this.log.push(`${request.method ?? ''} ${request.url ?? ''}`);
    const url = URL.canParse(request.url ?? '') ? new URL(request.url ?? '') : undefined;
    const port = url && this.#options.hosts[url.port === '' ? `${url.host}:80` : url.host];
    if (!this.#allowed(request)) response.writeHead(407).end();
    else if (!url || port === undefined) response.writeHead(502).end('no such host');
    else {
      const { method = 'GET', headers } = request;
      const path = url.pathname + url.search;
      const upstream = send({ host: '127.0.0.1', port, method, path, headers, agent: false });
      upstream.on('response', (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
        answer.on('close', () => answer.complete || response.destroy());
      });
      upstream.on('error', () => response.destroy());
      request.pipe(upstream);
    }
  }

  #allowed({ headers }: IncomingMessage): boolean {
    const { login } = this.#options;
    const expected = login && `Basic ${Buffer.from(login).toString('base64')}`;
    return expected === undefined || headers['proxy-authorization'] === expected;
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
  }
}
