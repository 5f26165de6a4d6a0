/**
 * A proxy in front of a registry that behaves like bad networks, middleboxes and broken registries: it resets
 * connections, slows, stalls, corrupts, sends false headers, and answers with errors. The test, or a seed,
 * chooses the fault of each request.
 */
import {
  createServer,
  request as send,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from './random.ts';

/** The fault of one request. `at` is a share of the body, from 0 to 1. */
export type Fault =
  /** The connection is reset before any byte of the answer. */
  | { readonly kind: 'reset' }
  /** The connection is reset within the body of the answer. */
  | { readonly kind: 'cut'; readonly at: number }
  /** The connection is reset within the body of the request; the registry gets a part of it. */
  | { readonly kind: 'cut-request'; readonly afterBytes: number }
  /** The registry performs the request, but the answer is lost. */
  | { readonly kind: 'lose-answer' }
  /** The answer stalls at this place, and the connection stays open. */
  | { readonly kind: 'stall'; readonly at: number }
  /** The body arrives in a few pieces, with a pause before each. */
  | { readonly kind: 'slow'; readonly pieces: number; readonly pauseMs: number }
  /** One byte of the body is changed. */
  | { readonly kind: 'corrupt'; readonly at: number }
  /** The body is shorter (negative) or longer than it should be, with a matching Content-Length. */
  | { readonly kind: 'resize'; readonly bytes: number }
  /** Content-Length announces this many bytes more than arrive. */
  | { readonly kind: 'overpromise'; readonly bytes: number }
  /** Headers of the answer are replaced; undefined removes one. */
  | { readonly kind: 'headers'; readonly headers: Readonly<Record<string, string | undefined>> }
  /** The proxy answers; the registry does not get the request. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** The answer is the whole blob, regardless of the Range header. */
  | { readonly kind: 'ignore-range' };

/** The faults that need the registry's answer. */
type AnswerFault = Exclude<Fault, { readonly kind: 'reset' | 'cut-request' | 'lose-answer' | 'answer' }>;

/** Chooses the fault of a request; undefined: none. */
export type ChooseFault = (request: IncomingMessage, random: Random) => Fault | undefined;

export interface Passed {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly fault: Fault | undefined;
}

/** Largest body that is read into memory to apply a fault to it. */
const MAX_HELD = 64 * 1024 * 1024;

export class FaultProxy implements AsyncDisposable {
  readonly port: number;
  /** `localhost:PORT`. */
  readonly host: string;
  readonly url: string;
  /** All requests so far. */
  readonly passed: Passed[] = [];
  /** A test may replace it at any time. */
  choose: ChooseFault;
  readonly #server: Server;
  readonly #target: URL;
  readonly #random: Random;

  private constructor(server: Server, target: URL, choose: ChooseFault, seed: number) {
    this.#server = server;
    this.#target = target;
    this.#random = new Random(seed);
    this.choose = choose;
    this.port = (server.address() as AddressInfo).port;
    this.host = `localhost:${String(this.port)}`;
    this.url = `http://${this.host}`;
  }

  /** Starts a proxy in front of a plain HTTP server. */
  static async start(target: string, choose: ChooseFault = () => undefined, seed = 1): Promise<FaultProxy> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const proxy = new FaultProxy(server, new URL(target), choose, seed);
    server.on('request', (request, response) => {
      proxy.#pass(request, response).catch(() => request.socket.destroy());
    });
    server.on('clientError', (_error, socket) => socket.destroy());
    return proxy;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const fault = this.choose(request, this.#random);
    const { method = 'GET', url = '/', headers } = request;
    this.passed.push({ method, url, headers, fault });
    if (fault?.kind === 'reset') {
      request.socket.resetAndDestroy();
      return;
    }
    if (fault?.kind === 'answer') {
      request.resume();
      response.writeHead(fault.status, fault.headers ?? {}).end(fault.body ?? '');
      return;
    }
    const answer = await this.#forward(request, fault);
    if (fault?.kind === 'lose-answer') {
      answer.resume();
      await new Promise((resolve) => answer.on('close', resolve));
      request.socket.resetAndDestroy();
      return;
    }
    await harm(answer, response, fault?.kind === 'cut-request' ? undefined : fault, request);
  }

  #forward(request: IncomingMessage, fault: Fault | undefined): Promise<IncomingMessage> {
    const headers: OutgoingHttpHeaders = { ...request.headers };
    if (fault?.kind === 'ignore-range') delete headers['range'];
    return new Promise((resolve, reject) => {
      const upstream = send(new URL(request.url ?? '/', this.#target), {
        method: request.method ?? 'GET',
        headers,
        agent: false,
      });
      upstream.on('response', resolve);
      upstream.on('error', reject);
      request.on('close', () => {
        if (!request.complete) upstream.destroy();
      });
      if (fault?.kind === 'cut-request') cutRequest(request, upstream, fault.afterBytes);
      else request.pipe(upstream);
    });
  }
}

/** Forwards the first bytes of a request's body, waits until they are written, and resets both sides. */
function cutRequest(request: IncomingMessage, upstream: ReturnType<typeof send>, afterBytes: number): void {
  let left = afterBytes;
  let cut = false;
  request.on('data', (chunk: Buffer) => {
    if (cut) return;
    const part = chunk.subarray(0, left);
    left -= part.length;
    if (left > 0) {
      upstream.write(part);
      return;
    }
    cut = true;
    upstream.write(part, () => {
      // The registry stores the part that it has when the client disconnects, so the part must have arrived.
      setTimeout(() => {
        upstream.destroy();
        request.socket.resetAndDestroy();
      }, 50);
    });
  });
  request.on('end', () => {
    if (!cut) upstream.end();
  });
}

async function harm(
  answer: IncomingMessage,
  response: ServerResponse,
  fault: AnswerFault | undefined,
  request: IncomingMessage,
): Promise<void> {
  const status = answer.statusCode ?? 502;
  const sent = { ...answer.headers, ...(fault?.kind === 'headers' && lowerCase(fault.headers)) };
  const headers: OutgoingHttpHeaders = Object.fromEntries(
    Object.entries(sent).filter(([, value]) => value !== undefined),
  );
  const passes = fault === undefined || fault.kind === 'headers' || fault.kind === 'ignore-range';
  if (passes || request.method === 'HEAD') {
    response.writeHead(status, headers);
    answer.pipe(response);
    answer.on('error', () => request.socket.destroy());
    return;
  }
  const body = await whole(answer);
  const at = 'at' in fault ? Math.min(body.length, Math.floor(fault.at * (body.length + 1))) : 0;
  const length = (bytes: number) => ({ ...headers, 'content-length': String(bytes) });
  switch (fault.kind) {
    case 'cut':
    case 'stall':
      response.writeHead(status, length(body.length));
      response.flushHeaders();
      await written(response, body.subarray(0, Math.min(at, Math.max(body.length - 1, 0))));
      if (fault.kind === 'cut') request.socket.destroy();
      return;
    case 'slow': {
      response.writeHead(status, length(body.length));
      const step = Math.max(1, Math.ceil(body.length / fault.pieces));
      for (let from = 0; from < body.length; from += step) {
        await sleep(fault.pauseMs);
        await written(response, body.subarray(from, from + step));
      }
      response.end();
      return;
    }
    case 'corrupt': {
      const place = Math.min(at, body.length - 1);
      if (place >= 0) body[place] = (body[place] ?? 0) ^ 0x20;
      response.writeHead(status, length(body.length)).end(body);
      return;
    }
    case 'resize': {
      const other =
        fault.bytes < 0
          ? body.subarray(0, Math.max(0, body.length + fault.bytes))
          : Buffer.concat([body, Buffer.alloc(fault.bytes, 'x')]);
      response.writeHead(status, length(other.length)).end(other);
      return;
    }
    case 'overpromise':
      response.writeHead(status, length(body.length + fault.bytes));
      await written(response, body);
      request.socket.destroy();
      return;
  }
}

function lowerCase<T>(headers: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

async function whole(answer: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    if ((size += chunk.length) > MAX_HELD) throw new Error('the body is too large for a fault');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Resolves when the kernel has the bytes, or the client has disconnected. */
function written(response: ServerResponse, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    response.once('close', resolve);
    response.write(bytes, () => resolve());
  });
}

/** Network faults that a client has to survive, for one request in `1 / share`. */
export function networkFaults(share: number): ChooseFault {
  return (request, random) => {
    if (random.next() >= share) return undefined;
    if (request.method === 'PATCH' || request.method === 'PUT')
      return random.pick<Fault>([
        { kind: 'reset' },
        { kind: 'cut-request', afterBytes: random.below(1 << 20) },
        { kind: 'answer', status: 503, headers: { 'retry-after': '0' } },
      ]);
    return random.pick<Fault>([
      { kind: 'reset' },
      { kind: 'cut', at: random.next() },
      { kind: 'slow', pieces: 1 + random.below(5), pauseMs: random.below(20) },
      { kind: 'ignore-range' },
      { kind: 'answer', status: random.pick([429, 500, 502, 503, 504]), headers: { 'retry-after': '0' } },
      { kind: 'answer', status: 503, headers: { 'retry-after': new Date(0).toUTCString() } },
    ]);
  };
}

/** Faults of a lying or damaged registry that a client has to detect, for one request in `1 / share`. */
export function lyingFaults(share: number): ChooseFault {
  return (_request, random) => {
    if (random.next() >= share) return undefined;
    const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;
    return random.pick<Fault>([
      { kind: 'corrupt', at: random.next() },
      { kind: 'resize', bytes: 1 + random.below(1000) },
      { kind: 'resize', bytes: -1 - random.below(1000) },
      { kind: 'overpromise', bytes: 1 + random.below(1000) },
      { kind: 'headers', headers: { 'docker-content-digest': digest } },
      { kind: 'headers', headers: { 'content-range': `bytes ${String(random.below(9))}-9/10` } },
      { kind: 'headers', headers: { 'content-type': 'text/html' } },
      { kind: 'answer', status: 200, headers: { 'content-type': 'text/html' }, body: '<html>Log in</html>' },
    ]);
  };
}
