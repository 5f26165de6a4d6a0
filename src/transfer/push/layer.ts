/**
 * Brings one layer to a repository, by the cheapest way:
 *
 *   1. The repository has a blob that this layer was pulled or pushed as. Nothing is sent.
 *   2. Another repository of the registry has such a blob, and the registry mounts it here. Nothing is sent.
 *   3. The layer is rebuilt, compressed and uploaded in one pass. Its blob's digest is known at the end.
 *
 * The blobs of a layer are remembered as dockerd remembers them (image/distribution.ts). A push by docker is
 * always gzip, a pull may have any compression, and dockerd's record does not hold the difference. So an
 * entry without an HMAC is examined before it is used, and a push of zstd writes no entry.
 * Mirrors moby/moby: distribution/push_v2.go at v20.10.
 */
import type { Descriptor } from '../../core/descriptor.ts';
import type { Digest, DiffID } from '../../core/digest.ts';
import { LayerstackError, undefinedIf } from '../../core/errors.ts';
import type { OnProgress } from '../../core/progress.ts';
import { canonicalName, parseReference } from '../../core/reference.ts';
import { sourceHmac, type BlobSource, type SourceCredentials } from '../../image/distribution.ts';
import type { OriginalImage } from '../../image/originals.ts';
import type { CompressedLayer, LayerCompression } from '../../layer/compress.ts';
import { MAGIC_BYTES } from '../../layer/codec.ts';
import type { Layer, LayerStore } from '../../layer/store.ts';
import { native } from '../../system/native.ts';
import { locateRepository } from '../registry/address.ts';
import type { RepositoryClient } from '../registry/client.ts';
import { layerMediaType, type ManifestFormat } from './manifest.ts';

/** The destination of a layer, and how it is sent. */
export interface LayerTarget {
  readonly client: Pick<RepositoryClient, 'repository' | 'hasBlob' | 'openBlob' | 'mountBlob' | 'uploadBlob'>;
  readonly layers: Pick<LayerStore, 'tarSize' | 'compressed'>;
  readonly memory: BlobMemory;
  readonly format: ManifestFormat;
  readonly compression: LayerCompression;
  readonly level: number | undefined;
  readonly monolithic: boolean;
  readonly credentials: SourceCredentials;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

/** The known blobs of layers: {@link Distribution}, which is not written where the store is read-only. */
export interface BlobMemory {
  sources(diffId: DiffID): Promise<BlobSource[]>;
  add(entries: readonly { readonly diffId: DiffID; readonly source: BlobSource }[]): Promise<void>;
}

/** A layer's blob as it was pulled. */
export interface OriginalLayer {
  readonly image: OriginalImage;
  readonly descriptor: Descriptor;
}

type Blob = Pick<Descriptor, 'digest' | 'size'>;

/**
 * Maximum blobs to check before the layer is uploaded. Each check costs a round trip, and so does the upload
 * of a small layer.
 */
const MOST_CHECKS = 3;
const MOST_MOUNTS = 4;

/**
 * Pushes a layer: on return its blob is in the repository.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT, which names the layer, where it cannot be rebuilt;
 *   ERR_REGISTRY_*; ERR_ABORTED.
 */
export async function pushLayer(
  layer: Layer,
  target: LayerTarget,
  original?: OriginalLayer,
): Promise<Descriptor> {
  return new LayerPush(layer, target, original).run();
}

class LayerPush {
  readonly #layer: Layer;
  readonly #target: LayerTarget;
  readonly #original: OriginalLayer | undefined;
  readonly #repository: string;
  readonly #checked = new Set<Digest>();

  constructor(layer: Layer, target: LayerTarget, original: OriginalLayer | undefined) {
    this.#layer = layer;
    this.#target = target;
    this.#original = original;
    this.#repository = canonicalName(target.client.repository);
  }

  async run(): Promise<Descriptor> {
    const known = await this.#known();
    const here = known.filter(({ repository }) => repository === this.#repository);
    const there = known.filter(({ repository }) => repository !== this.#repository);
    const blob =
      (await this.#existing(here)) ??
      (await this.#mounted(there)) ??
      (await this.#existing(there)) ??
      (await this.#upload());
    await this.#remember(blob.digest, known);
    return this.#original?.descriptor ?? this.#describe(blob);
  }

  /**
   * Returns the layer's known blobs, the likeliest first. For an original image only the layer's own blob
   * counts.
   */
  async #known(): Promise<BlobSource[]> {
    const sources = (await this.#target.memory.sources(this.#layer.diffId)).reverse();
    if (this.#original === undefined) return sources;
    const { digest } = this.#original.descriptor;
    const own = sources.filter((source) => source.digest === digest);
    return [...own, { digest, repository: this.#repository, hmac: '' }];
  }

  async #existing(sources: readonly BlobSource[]): Promise<Blob | undefined> {
    for (const source of sources) {
      const { digest } = source;
      if (this.#checked.size >= MOST_CHECKS) return undefined;
      if (this.#checked.has(digest)) continue;
      this.#checked.add(digest);
      const size = await this.#size(digest);
      if (size === undefined || !(await this.#fits({ digest, size }, source))) continue;
      this.#tell('layer-exists', size);
      return { digest, size };
    }
    return undefined;
  }

  async #mounted(sources: readonly BlobSource[]): Promise<Blob | undefined> {
    for (const source of this.#mountable(sources)) {
      const { digest, repository } = source;
      if (!(await this.#mount(source))) continue;
      const size = await this.#size(digest);
      if (size === undefined || !(await this.#fits({ digest, size }, source))) continue;
      const { diffId } = this.#layer;
      const from = locateRepository(repository).path;
      this.#target.onProgress({ type: 'layer-mounted', diffId, from, current: size, total: size });
      return { digest, size };
    }
    return undefined;
  }

  #size(digest: Digest): Promise<number | undefined> {
    const { client, signal } = this.#target;
    // Credentials may allow a push but not a read. The blob then counts as missing.
    return undefinedIf(client.hasBlob(digest, { signal }), 'ERR_REGISTRY_DENIED');
  }

  /**
   * Returns blobs in other repositories of the same registry, first those that these credentials have pushed
   * to.
   */
  #mountable(sources: readonly BlobSource[]): BlobSource[] {
    const { host } = locateRepository(this.#target.client.repository).registry;
    const near = sources.flatMap((source) => {
      const repository = familiarOrUndefined(source.repository);
      const isNear = repository !== undefined && locateRepository(repository).registry.host === host;
      return isNear ? [{ ...source, repository }] : [];
    });
    const own = near.filter((source) => this.#isOwn(source));
    return [...own, ...near.filter((source) => !own.includes(source))].slice(0, MOST_MOUNTS);
  }

  #isOwn({ digest, repository, hmac }: BlobSource): boolean {
    return hmac !== '' && hmac === sourceHmac(digest, canonicalName(repository), this.#target.credentials);
  }

  /** Mounts a blob. A mount only saves an upload: if it fails for any reason, the layer is uploaded. */
  async #mount({ digest, repository }: BlobSource): Promise<boolean> {
    const { client, signal } = this.#target;
    try {
      return await client.mountBlob(digest, repository, { signal });
    } catch (error) {
      if (signal.aborted || !LayerstackError.is(error)) throw error;
      return false;
    }
  }

  /** Returns whether an existing blob has the requested compression. */
  async #fits(blob: Blob, { hmac }: BlobSource): Promise<boolean> {
    if (this.#original !== undefined) return true;
    if (hmac !== '') return this.#target.compression === 'gzip';
    const { client, signal } = this.#target;
    const { body } = await client.openBlob(blob, { signal });
    const head: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of body) {
      head.push(chunk);
      length += chunk.length;
      if (length >= MAGIC_BYTES) break;
    }
    return native.sniffCompression(Buffer.concat(head)) === this.#target.compression;
  }

  async #upload(): Promise<Blob> {
    const { client, layers, compression, level, signal, onProgress } = this.#target;
    const { diffId } = this.#layer;
    if (this.#original !== undefined) return this.#uploadOriginal(this.#original);
    const total = await layers.tarSize(this.#layer);
    onProgress({ type: 'layer-start', diffId, current: 0, total });
    const compressed = layers.compressed(this.#layer, {
      compression,
      level,
      signal,
      onProgress: (current) => onProgress({ type: 'layer-progress', diffId, current, total }),
    });
    const size = this.#target.monolithic ? await sizeOf(compressed) : undefined;
    await client.uploadBlob(
      (from) => compressed.read(from),
      () => compressed.blob.digest,
      { size, monolithic: size !== undefined, signal },
    );
    onProgress({ type: 'layer-done', diffId, current: total, total });
    return compressed.blob;
  }

  async #uploadOriginal({ image, descriptor }: OriginalLayer): Promise<Blob> {
    const { client, signal, onProgress } = this.#target;
    const { diffId } = this.#layer;
    const { digest, size: total } = descriptor;
    onProgress({ type: 'layer-start', diffId, current: 0, total });
    await client.uploadBlob(
      (from) => image.open(descriptor, from),
      () => digest,
      {
        size: total,
        monolithic: this.#target.monolithic,
        signal,
        onProgress: (current) => onProgress({ type: 'layer-progress', diffId, current, total }),
      },
    );
    onProgress({ type: 'layer-done', diffId, current: total, total });
    return descriptor;
  }

  async #remember(digest: Digest, known: readonly BlobSource[]): Promise<void> {
    const { memory, compression, credentials } = this.#target;
    const repository = this.#repository;
    const isGzip = this.#original === undefined && compression === 'gzip';
    const hmac = isGzip ? sourceHmac(digest, repository, credentials) : '';
    const isKnown = known.some(
      (each) => each.digest === digest && each.repository === repository && each.hmac === hmac,
    );
    if (isKnown && this.#original === undefined) return;
    await memory.add([{ diffId: this.#layer.diffId, source: { digest, repository, hmac } }]);
  }

  #describe({ digest, size }: Blob): Descriptor {
    const { format, compression } = this.#target;
    return { mediaType: layerMediaType(format, compression), digest, size };
  }

  #tell(type: 'layer-exists', size: number): void {
    this.#target.onProgress({ type, diffId: this.#layer.diffId, current: size, total: size });
  }
}

/** Reads the whole layer, because its size and digest are known only at the end. */
async function sizeOf(compressed: CompressedLayer): Promise<number> {
  for await (const chunk of compressed.read()) void chunk;
  return compressed.blob.size;
}

/**
 * Parses a repository that dockerd has recorded, unchecked and with its registry. Returns undefined if it is
 * invalid.
 */
function familiarOrUndefined(repository: string): string | undefined {
  try {
    return parseReference(repository).repository;
  } catch {
    return undefined;
  }
}
