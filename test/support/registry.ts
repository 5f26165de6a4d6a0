/**
 * Debian's docker-registry (distribution 2.8) on a free loopback port, with a storage folder of its own.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { request as requestTls } from 'node:https';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { must } from './process.ts';
import { dropScratch, makeScratch } from './scratch.ts';

const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 10_000;

export interface RegistryOptions {
  /** Users by name, with their passwords: `htpasswd` basic authentication. */
  readonly users?: Readonly<Record<string, string>>;
  /** Realm of a token server, and the certificates that sign its tokens. */
  readonly token?: {
    readonly realm: string;
    readonly service: string;
    readonly issuer: string;
    readonly rootCertBundle: string;
  };
  /**
   * Files of the server's certificate and key. With `clientCas`, clients must present a certificate of one of
   * these authorities.
   */
  readonly tls?: {
    readonly certificate: string;
    readonly key: string;
    readonly clientCas?: readonly string[];
  };
  /** `REGISTRY_STORAGE_DELETE_ENABLED`. Default false, like the registry's own default. */
  readonly delete?: boolean;
  /** Serves the content of this registry and refuses pushes: `proxy.remoteurl`. */
  readonly mirrorOf?: string;
}

export class Registry implements AsyncDisposable {
  /** `localhost:PORT`, for use in references. */
  readonly host: string;
  readonly port: number;
  readonly url: string;
  /** The folder with blobs and manifests: `docker/registry/v2/{blobs,repositories}`. */
  readonly storage: string;
  readonly #work: string;
  readonly #child: ChildProcess;

  private constructor(work: string, port: number, tls: boolean, child: ChildProcess) {
    this.#work = work;
    this.port = port;
    this.host = `localhost:${String(port)}`;
    this.url = `${tls ? 'https' : 'http'}://${this.host}`;
    this.storage = join(work, 'storage');
    this.#child = child;
  }

  /** Starts a registry and waits until it answers. @throws Error with its log if it does not answer. */
  static async start(options: RegistryOptions = {}): Promise<Registry> {
    const work = makeScratch('registry');
    const port = await freePort();
    writeFileSync(join(work, 'config.yml'), await configOf(options, work, port));
    const log = openSync(join(work, 'log'), 'a');
    const child = spawn('docker-registry', ['serve', join(work, 'config.yml')], {
      stdio: ['ignore', log, log],
      env: { PATH: process.env['PATH'], HOME: work, OTEL_TRACES_EXPORTER: 'none' },
    });
    child.on('error', () => undefined);
    closeSync(log);
    const registry = new Registry(work, port, options.tls !== undefined, child);
    const deadline = Date.now() + START_TIMEOUT_MS;
    while (!(await registry.#answers())) {
      if (registry.#ended() || !child.pid || Date.now() > deadline) {
        const text = registry.log();
        await registry.stop();
        throw new Error(`docker-registry did not start:\n${text}`);
      }
      await sleep(50);
    }
    return registry;
  }

  /** Returns the registry's log so far: a line for each request. */
  log(): string {
    return readFileSync(join(this.#work, 'log'), 'utf8');
  }

  /** Ends the process and removes its storage. A second call does nothing. */
  async stop(): Promise<void> {
    if (!this.#ended() && this.#child.pid) {
      const ended = new Promise((resolve) => this.#child.once('exit', resolve));
      this.#child.kill('SIGTERM');
      const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await ended;
      clearTimeout(timer);
    }
    await dropScratch(this.#work);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Whether the registry listens. With client certificates, a refused handshake counts as an answer too. */
  #answers(): Promise<boolean> {
    return new Promise((resolve) => {
      const options = { rejectUnauthorized: false, agent: false } as const;
      const call = (this.url.startsWith('https') ? requestTls : request)(`${this.url}/v2/`, options);
      call.on('response', (response) => {
        response.resume();
        resolve(true);
      });
      call.on('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
      call.end();
    });
  }
}

/** Returns a loopback port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Returns the registry's configuration. JSON is valid YAML. */
async function configOf(options: RegistryOptions, work: string, port: number): Promise<string> {
  const { users, token, tls, mirrorOf } = options;
  const auth: Record<string, object> = {};
  if (users) {
    auth['htpasswd'] = { realm: 'layerstack test', path: join(work, 'htpasswd') };
    const lines = await Promise.all(
      Object.entries(users).map(([name, password]) => must('htpasswd', ['-Bbn', '-C', '4', name, password])),
    );
    writeFileSync(join(work, 'htpasswd'), lines.map((line) => line.trim()).join('\n') + '\n');
  }
  if (token)
    auth['token'] = {
      realm: token.realm,
      service: token.service,
      issuer: token.issuer,
      rootcertbundle: token.rootCertBundle,
    };
  const config = {
    version: 0.1,
    log: { level: 'info', accesslog: { disabled: false } },
    storage: {
      filesystem: { rootdirectory: join(work, 'storage') },
      delete: { enabled: options.delete === true },
      maintenance: { uploadpurging: { enabled: false } },
    },
    http: {
      addr: `127.0.0.1:${String(port)}`,
      secret: 'layerstack',
      ...(tls && {
        tls: {
          certificate: tls.certificate,
          key: tls.key,
          ...(tls.clientCas && { clientcas: tls.clientCas }),
        },
      }),
    },
    ...(Object.keys(auth).length > 0 && { auth }),
    ...(mirrorOf !== undefined && { proxy: { remoteurl: mirrorOf } }),
  };
  return `${JSON.stringify(config, null, 1)}\n`;
}
