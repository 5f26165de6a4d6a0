/** Repositories in memory for pulls, whose answers a test may change, and a store to pull into. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { MEDIA_TYPES } from '../../src/core/descriptor.ts';
import { digestOf, isDigest, type Digest } from '../../src/core/digest.ts';
import { LayerstackError } from '../../src/core/errors.ts';
import type { ProgressEvent } from '../../src/core/progress.ts';
import { parseReference } from '../../src/core/reference.ts';
import { Distribution } from '../../src/image/distribution.ts';
import { pull, type PullOptions, type PullResult } from '../../src/transfer/pull/pull.ts';
import type { PullSource, TagSource } from '../../src/transfer/pull/source.ts';
import { defaultLogger } from '../../src/system/log.ts';
import {
  openRepository,
  type FetchedManifest,
  type OpenedBlob,
  type RepositoryClient,
} from '../../src/transfer/registry/client.ts';
import { defaultSettings } from '../../src/transfer/registry/settings.ts';
import type { TestImage } from './images.ts';
import { LoadStore } from './load-store.ts';

export interface DescriptorJson {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly urls?: readonly string[];
  readonly platform?: object;
}

/** Returns a registry's answer for a blob. The test chooses the bytes and the offset. */
export type Serve = (offset: number, bytes: Buffer, asked: number) => Partial<OpenedBlob> | undefined;

export function gone(what: string): LayerstackError {
  return new LayerstackError('ERR_REGISTRY_NOT_FOUND', `${what}: not found`);
}

export function broken(): LayerstackError {
  return new LayerstackError('ERR_REGISTRY_UNAVAILABLE', 'the connection broke', { retryable: true });
}

/** One repository. */
export class FakeRepository implements PullSource, TagSource {
  readonly repository: string;
  readonly retry = { attempts: 6, pauseMs: 1, maxRetryAfterMs: 1000 };
  readonly blobs = new Map<Digest, Buffer>();
  readonly manifests = new Map<string, { bytes: Buffer; mediaType: string }>();
  /** Requests for each blob, with their offsets. */
  readonly asked = new Map<Digest, number[]>();
  serve: Serve = () => undefined;

  constructor(repository = 'localhost:5000/t/x') {
    this.repository = repository;
  }

  blob(bytes: Buffer, mediaType: string): DescriptorJson {
    const digest = digestOf(bytes);
    this.blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  }

  /** Adds a document under its digest and the tags. */
  manifest(document: object, mediaType: string, ...tags: string[]): DescriptorJson {
    const bytes = Buffer.from(JSON.stringify(document));
    const digest = digestOf(bytes);
    for (const name of [digest, ...tags]) this.manifests.set(name, { bytes, mediaType });
    return { mediaType, digest, size: bytes.length };
  }

  /** Adds an image. */
  push(
    image: TestImage,
    tags: readonly string[],
    {
      layerType = MEDIA_TYPES.dockerLayerGzip as string,
      compress = gzipSync as (bytes: Buffer) => Buffer,
      change = (document: Record<string, unknown>): object => document,
    } = {},
  ): DescriptorJson {
    const config = this.blob(image.config, MEDIA_TYPES.dockerConfig);
    const layers = image.layers.map(({ tar }) => this.blob(compress(tar), layerType));
    const document = { schemaVersion: 2, mediaType: MEDIA_TYPES.dockerManifest, config, layers };
    return this.manifest(change(document), MEDIA_TYPES.dockerManifest, ...tags);
  }

  fetchManifest(tagOrDigest: string): Promise<FetchedManifest> {
    const found = this.manifests.get(tagOrDigest);
    if (!found) return Promise.reject(gone(tagOrDigest));
    const digest = digestOf(found.bytes);
    if (isDigest(tagOrDigest) && tagOrDigest !== digest)
      return Promise.reject(new LayerstackError('ERR_DIGEST_MISMATCH', 'another document'));
    return Promise.resolve({ ...found, digest });
  }

  openBlob(
    { digest }: { digest: Digest },
    { offset = 0 }: { offset?: number | undefined } = {},
  ): Promise<OpenedBlob> {
    const bytes = this.blobs.get(digest);
    if (!bytes) return Promise.reject(gone(digest));
    const asked = this.asked.get(digest) ?? [];
    this.asked.set(digest, [...asked, offset]);
    const body = pieces(bytes.subarray(offset));
    const own = this.serve(offset, bytes, asked.length);
    return Promise.resolve({ start: offset, total: bytes.length, body, distrust: () => false, ...own });
  }

  async *tags(): AsyncIterable<string> {
    for (const name of this.manifests.keys()) if (!isDigest(name)) yield await Promise.resolve(name);
  }
}

/** Yields bytes in chunks of a network's size, then throws `failure` if it is given. */
export async function* pieces(
  bytes: Buffer,
  failure?: Error,
  length = 16 * 1024,
): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length)
    yield await Promise.resolve(bytes.subarray(at, at + length));
  if (failure) throw failure;
}

/** A registry with this one repository, over HTTP on a loopback port. */
export class RepositoryServer implements AsyncDisposable {
  readonly url: string;
  readonly host: string;
  /** Requested blobs, in order. */
  readonly blobs: Digest[] = [];
  readonly #server: Server;

  private constructor(server: Server, repository: FakeRepository, path: string) {
    this.#server = server;
    this.host = `localhost:${String((server.address() as AddressInfo).port)}`;
    this.url = `http://${this.host}`;
    server.on('request', (request, response) => {
      const [, kind, name = ''] =
        new RegExp(`^/v2/${path}/(manifests|blobs)/(.+)$`).exec(request.url ?? '') ?? [];
      const found =
        kind === 'manifests'
          ? repository.manifests.get(name)
          : { bytes: repository.blobs.get(name as Digest), mediaType: 'application/octet-stream' };
      if (kind === 'blobs') this.blobs.push(name as Digest);
      const whole = request.url === '/v2/' ? Buffer.alloc(0) : found?.bytes;
      if (!whole) {
        response.writeHead(404).end('{"errors":[{"code":"UNKNOWN","message":"not there"}]}');
        return;
      }
      const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
      const range = `bytes ${String(from)}-${String(whole.length - 1)}/${String(whole.length)}`;
      response.writeHead(from > 0 ? 206 : 200, {
        'content-type': found?.mediaType ?? 'application/json',
        'content-length': whole.length - from,
        ...(from > 0 && { 'content-range': range }),
      });
      response.end(whole.subarray(from));
    });
  }

  static async start(repository: FakeRepository, path = 't/x'): Promise<RepositoryServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new RepositoryServer(server, repository, path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }
}

/** Returns a client of a repository at this host, with short pauses. */
export function clientOf(host: string, path = 't/x', stallMs = 2000): RepositoryClient {
  return openRepository(`${host}/${path}`, {
    settings: defaultSettings('registries.json', {}),
    credentials: undefined,
    log: defaultLogger,
    timeouts: { headersMs: 5000, stallMs },
    retry: { pauseMs: 1 },
    env: {},
  });
}

/** A store to pull into. */
export class PullStore {
  readonly store: LoadStore;
  /** Events of the last pull. */
  events: ProgressEvent[] = [];

  private constructor(store: LoadStore) {
    this.store = store;
  }

  static async open(path?: string): Promise<PullStore> {
    return new PullStore(await LoadStore.open(path));
  }

  pull(source: PullSource & TagSource, tagOrDigest: string, options: PullOptions = {}): Promise<PullResult> {
    this.events = [];
    const { root, layers, images } = this.store;
    const mark = isDigest(tagOrDigest) ? '@' : ':';
    const reference = parseReference(`${source.repository}${tagOrDigest === '' ? '' : mark}${tagOrDigest}`);
    const stores = { root, layers, images, distribution: new Distribution(root) };
    return pull(stores, source, reference, { onProgress: (event) => this.events.push(event), ...options });
  }

  types(): string[] {
    return this.events.map(({ type }) => type);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store.close();
  }
}
