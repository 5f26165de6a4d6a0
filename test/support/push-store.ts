/** A registry in memory to push to, and a store to push from. */
import { abortError } from '../../src/core/abort.ts';
import { digestOf, type Digest } from '../../src/core/digest.ts';
import { LayerstackError } from '../../src/core/errors.ts';
import type { ProgressEvent } from '../../src/core/progress.ts';
import { parseReference } from '../../src/core/reference.ts';
import { Distribution } from '../../src/image/distribution.ts';
import { push, type PushOptions, type PushResult, type PushTarget } from '../../src/transfer/push/push.ts';
import type { OriginalImages } from '../../src/image/originals.ts';
import { fixedCredentials, type Credentials } from '../../src/transfer/registry/auth/credentials.ts';
import type { OpenedBlob } from '../../src/transfer/registry/client.ts';
import type { UploadOptions } from '../../src/transfer/registry/upload.ts';
import { dockerArchive } from './archives.ts';
import type { TestImage } from './images.ts';
import { tar } from './tar.ts';
import { chunksOf, LoadStore } from './load-store.ts';

export interface ManifestJson {
  readonly mediaType: string;
  readonly config: { readonly digest: Digest; readonly size: number; readonly mediaType: string };
  readonly layers: readonly { readonly digest: Digest; readonly size: number; readonly mediaType: string }[];
}

/** Called before a request is answered. It may throw or wait. */
export type Meddle = (request: string, signal: AbortSignal | undefined) => Promise<void> | void;

/** One repository of a registry. Repositories of one registry share their blobs for mounts. */
export class FakeTarget {
  readonly repository: string;
  readonly blobs = new Map<Digest, Buffer>();
  readonly manifests = new Map<string, { bytes: Buffer; mediaType: string }>();
  /** Requests as `METHOD what`, in order. */
  readonly requests: string[] = [];
  /** Number of cancelled uploads. */
  cancelled = 0;
  /** The next upload of a blob breaks after this many bytes. */
  breakAfter: number | undefined;
  meddle: Meddle = () => undefined;
  readonly #registry: Map<string, FakeTarget>;

  constructor(repository: string, registry = new Map<string, FakeTarget>()) {
    this.repository = repository;
    this.#registry = registry.set(repository, this);
  }

  /** Returns another repository of the same registry. */
  beside(repository: string): FakeTarget {
    return new FakeTarget(repository, this.#registry);
  }

  manifest(tag: string): ManifestJson {
    return JSON.parse(String(this.manifests.get(tag)?.bytes)) as ManifestJson;
  }

  /** Counts the requests of a kind. */
  count(method: string): number {
    return this.requests.filter((request) => request.startsWith(`${method} `)).length;
  }

  async hasBlob(
    digest: Digest,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<number | undefined> {
    await this.#ask(`HEAD ${digest}`, signal);
    return this.blobs.get(digest)?.length;
  }

  async openBlob({ digest }: { digest: Digest }): Promise<OpenedBlob> {
    await this.#ask(`GET ${digest}`, undefined);
    const bytes = this.blobs.get(digest);
    if (!bytes) throw new LayerstackError('ERR_REGISTRY_NOT_FOUND', 'no such blob');
    return { start: 0, total: bytes.length, body: chunksOf(bytes, 5), distrust: () => false };
  }

  async mountBlob(digest: Digest, from: string): Promise<boolean> {
    await this.#ask(`MOUNT ${digest} ${from}`, undefined);
    const bytes = this.#registry.get(from)?.blobs.get(digest);
    if (bytes) this.blobs.set(digest, bytes);
    return bytes !== undefined;
  }

  async uploadBlob(
    source: (from: number) => AsyncIterable<Uint8Array>,
    digest: () => Digest,
    options: UploadOptions = {},
  ): Promise<void> {
    await this.#ask(options.monolithic ? `PUT ${digest()}` : 'PATCH blob', options.signal);
    const taken: Uint8Array[] = [];
    try {
      await this.#take(source, taken, options);
    } catch (error) {
      this.cancelled++;
      throw options.signal?.aborted ? abortError(options.signal) : error;
    }
    const bytes = Buffer.concat(taken);
    if (digestOf(bytes) !== digest()) throw new LayerstackError('ERR_REGISTRY_REFUSED', 'digest invalid');
    if (options.size !== undefined && options.size !== bytes.length)
      throw new LayerstackError('ERR_REGISTRY_REFUSED', 'size invalid');
    this.blobs.set(digest(), bytes);
  }

  /**
   * As distribution does: a client that does not accept the type of the tag's manifest gets schema 1, which
   * the client refuses.
   */
  async headManifest(
    tag: string,
    { accept }: { accept?: readonly string[] | undefined } = {},
  ): Promise<{ mediaType: string; digest: Digest; size: number } | undefined> {
    await this.#ask(`HEAD ${tag}`, undefined);
    const found = this.manifests.get(tag);
    const isSchema1 = found !== undefined && accept?.includes(found.mediaType) === false;
    if (isSchema1 || found?.mediaType.includes('.v1+prettyjws'))
      throw new LayerstackError('ERR_MANIFEST_INVALID', 'schema 1 is not supported');
    return found && { mediaType: found.mediaType, digest: digestOf(found.bytes), size: found.bytes.length };
  }

  async pushManifest(tag: string, mediaType: string, bytes: Uint8Array): Promise<Digest> {
    await this.#ask(`PUT ${tag}`, undefined);
    const { config, layers } = JSON.parse(String(Buffer.from(bytes))) as ManifestJson;
    for (const { digest, size } of [config, ...layers])
      if (this.blobs.get(digest)?.length !== size)
        throw new LayerstackError('ERR_REGISTRY_REFUSED', `blob unknown: ${digest}`);
    this.manifests.set(tag, { bytes: Buffer.from(bytes), mediaType });
    return digestOf(bytes);
  }

  async #take(
    source: (from: number) => AsyncIterable<Uint8Array>,
    taken: Uint8Array[],
    { signal, onProgress }: UploadOptions,
  ): Promise<void> {
    let size = 0;
    for (;;) {
      let broken = false;
      for await (const chunk of source(size)) {
        signal?.throwIfAborted();
        await this.meddle('BYTES', signal);
        const room = this.breakAfter === undefined ? chunk.length : Math.max(0, this.breakAfter - size);
        const part = chunk.subarray(0, room);
        taken.push(Buffer.from(part));
        size += part.length;
        onProgress?.(size);
        broken = part.length < chunk.length;
        if (broken) break;
      }
      if (!broken) return;
      this.breakAfter = undefined;
    }
  }

  async #ask(request: string, signal: AbortSignal | undefined): Promise<void> {
    this.requests.push(request);
    await this.meddle(request, signal);
  }
}

/** A store to push from. */
export class PushStore implements AsyncDisposable {
  readonly store: LoadStore;
  readonly distribution: Distribution;
  originals: Pick<OriginalImages, 'find'> | undefined;
  /** Events of the last push. */
  events: ProgressEvent[] = [];

  private constructor(store: LoadStore) {
    this.store = store;
    this.distribution = new Distribution(store.root);
  }

  /** Opens a store that holds these images. */
  static async open(...images: readonly TestImage[]): Promise<PushStore> {
    const store = await LoadStore.open();
    await store.load(chunksOf(tar(dockerArchive(images)), 65_536));
    return new PushStore(store);
  }

  push(
    target: PushTarget['client'],
    tag: string,
    { credentials, ...options }: PushOptions & { credentials?: Credentials } = {},
  ): Promise<PushResult> {
    this.events = [];
    const { root, layers, images } = this.store;
    const { distribution, originals } = this;
    const reference = parseReference(tag === '' ? target.repository : `${target.repository}:${tag}`);
    const who = credentials && fixedCredentials(target.repository.split('/')[0] ?? '', credentials);
    const at: PushTarget = { client: target, credentials: who };
    return push({ root, layers, images, distribution, originals }, at, reference, {
      onProgress: (event) => this.events.push(event),
      ...options,
    });
  }

  types(): string[] {
    return this.events
      .map(({ type }) => type)
      .filter((type) => type !== 'layer-progress' && type !== 'progress');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store.close();
  }
}
