/**
 * `layerstack serve` as systemd or a shell starts it: the built command in its own process, with its own root
 * and socket, and plain requests to it.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CLI, LayerstackCli } from './layerstack-cli.ts';

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
  readonly text: string;
}

export interface ServeOptions {
  /** Arguments of `serve`. Without a `--host` the socket is in `directory`. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Runs it under another program; these words come before the command. */
  readonly under?: readonly string[];
  /** Descriptors from 3 on. */
  readonly descriptors?: readonly number[];
  /** Passes no `--host` at all. */
  readonly hostless?: boolean;
  /** Default: the command that is built here. */
  readonly command?: string;
  /** Default `debug`; null passes none. */
  readonly logLevel?: string | null;
  /** Does not wait until it answers. */
  readonly unready?: boolean;
}

const READY_MS = 30_000;

export class ServiceProcess implements AsyncDisposable {
  readonly root: string;
  readonly socket: string;
  readonly child: ChildProcess;
  #out = '';
  #err = '';
  readonly #exited: Promise<{ readonly status: number | null; readonly signal: NodeJS.Signals | null }>;

  private constructor(
    directory: string,
    {
      args = [],
      env = {},
      under = [],
      descriptors = [],
      hostless,
      command = CLI,
      logLevel = 'debug',
    }: ServeOptions,
  ) {
    this.root = join(directory, 'root');
    this.socket = join(directory, 'sock');
    const level = logLevel === null ? [] : ['--log-level', logLevel];
    const hosts = hostless === true || args.includes('--host') ? [] : ['--host', `unix://${this.socket}`];
    const [program = process.execPath, ...rest] = [
      ...under,
      process.execPath,
      command,
      ...new LayerstackCli(this.root).argv('serve', ...hosts, ...level, ...args).slice(1),
    ];
    this.child = spawn(program, rest, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe', ...descriptors],
    });
    this.child.stdout?.on('data', (chunk: Buffer) => (this.#out += chunk.toString()));
    this.child.stderr?.on('data', (chunk: Buffer) => (this.#err += chunk.toString()));
    this.#exited = once(this.child, 'close').then(([status, signal]) => ({
      status: status as number | null,
      signal: signal as NodeJS.Signals | null,
    }));
  }

  /** Starts it. Resolves when it answers. */
  static async start(directory: string, options: ServeOptions = {}): Promise<ServiceProcess> {
    const service = new ServiceProcess(directory, options);
    if (options.unready === true) return service;
    try {
      await service.logged('serving');
      return service;
    } catch (error) {
      await service[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Its output on stderr. */
  get stderr(): string {
    return this.#err;
  }

  /** Its output on stdout. */
  get output(): string {
    return this.#out;
  }

  /** Its log so far. */
  get log(): Record<string, unknown>[] {
    return this.#out
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** Waits for the first record with this message (and these facts). */
  async logged(
    message: string,
    facts: Readonly<Record<string, unknown>> = {},
  ): Promise<Record<string, unknown>> {
    for (const start = Date.now(); Date.now() - start < READY_MS; await sleep(10)) {
      const found = this.log.find(
        (record) =>
          record['message'] === message &&
          Object.entries(facts).every(([key, value]) => record[key] === value),
      );
      if (found) return found;
      if (this.child.exitCode !== null || this.child.signalCode !== null) break;
    }
    throw new Error(`the service does not log ${JSON.stringify(message)}:\n${this.#out}\n${this.#err}`);
  }

  /** Waits for its end, and returns its status. */
  exited(): Promise<{ readonly status: number | null; readonly signal: NodeJS.Signals | null }> {
    return this.#exited;
  }

  /** Sends SIGTERM, and returns the exit status. */
  stop(): Promise<{ readonly status: number | null; readonly signal: NodeJS.Signals | null }> {
    this.child.kill('SIGTERM');
    return this.#exited;
  }

  async send(
    method: string,
    path: string,
    body?: Uint8Array | AsyncIterable<Uint8Array>,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Reply> {
    // As docker's client does: if the service is to close the connection, an answer that arrives before the
    // whole body is sent may be lost.
    const answer = await this.open(method, path, body, { Connection: 'keep-alive', ...headers });
    const { socket } = answer;
    const bytes = await buffer(answer);
    socket.destroy();
    return { status: answer.statusCode ?? 0, headers: answer.headers, bytes, text: bytes.toString() };
  }

  /** Sends one request on its own connection, and returns the answer unread. */
  async open(
    method: string,
    path: string,
    body?: Uint8Array | AsyncIterable<Uint8Array>,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<IncomingMessage> {
    const sent = request({ socketPath: this.socket, method, path, headers: { ...headers }, agent: false });
    const answered = once(sent, 'response') as Promise<[IncomingMessage]>;
    answered.catch(() => undefined);
    // The answer may arrive before the body is sent.
    sent.on('error', () => undefined);
    if (body === undefined || body instanceof Uint8Array) sent.end(body);
    else pipeline(body, sent).catch(() => undefined);
    return (await answered)[0];
  }

  /** Opens a connection and sends nothing. */
  async connect(): Promise<Socket> {
    const socket = connect(this.socket);
    await once(socket, 'connect');
    socket.on('error', () => undefined);
    return socket;
  }

  /** Counts its open descriptors. */
  descriptors(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  /** Returns VmRSS or VmHWM, in bytes. */
  memory(field: 'VmRSS' | 'VmHWM'): number {
    const [, kib] =
      new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${this.pid}/status`, 'utf8')) ??
      [];
    return Number(kib) * 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL');
    await this.#exited;
  }
}
