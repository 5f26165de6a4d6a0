/**
 * Store -> repository: config, layers and manifest of one image, named by a tag. Layers go side by side, each by the
 * cheapest way (layer.ts); the manifest comes last, so a push that was broken off is not to be seen. Nothing changes in the
 * store but what is remembered: which blobs the layers are, and the manifest's digest as a name of the image.
 * Mirrors moby/moby: distribution/push_v2.go at v20.10.
 */
import { throwIfAborted } from '../../core/abort.ts';
import type { Descriptor } from '../../core/descriptor.ts';
import { digestOf, topChainId, type DiffID, type Digest, type ImageID } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import type { OnProgress } from '../../core/progress.ts';
import { canonicalName, formatReference, parseReference, type Reference } from '../../core/reference.ts';
import type { ImageConfig } from '../../image/config.ts';
import { Distribution, type SourceCredentials } from '../../image/distribution.ts';
import type { ImageStore } from '../../image/store.ts';
import { checkCompression, type LayerCompression } from '../../layer/compress.ts';
import { Slots } from '../../layer/slots.ts';
import type { Layer, LayerStore } from '../../layer/store.ts';
import type { Root } from '../../system/root.ts';
import { locateRepository } from '../registry/address.ts';
import { openRepository, type RegistryAccess, type RepositoryClient } from '../registry/client.ts';
import type { KeptImage, KeptImages } from './kept.ts';
import { pushLayer, type BlobMemory, type LayerTarget } from './layer.ts';
import { imageManifest, type ManifestDocument, type ManifestFormat } from './manifest.ts';

export interface PushOptions {
  /** Default `gzip`, which every registry and runtime takes. */
  readonly compression?: LayerCompression | undefined;
  /** gzip 1 to 9 (default 6), zstd 1 to 19 (default 3). */
  readonly compressionLevel?: number | undefined;
  /** Default `docker`, but `oci` for zstd, which docker's manifest has no name for. */
  readonly format?: ManifestFormat | undefined;
  /** Layers at once; default 5, as docker's. */
  readonly uploads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/** An image that is in a registry. */
export interface PushedImage {
  /** `NAME:TAG` in familiar form. */
  readonly reference: string;
  readonly id: ImageID;
  /** Of the manifest, which is what registries know the image by. */
  readonly digest: Digest;
  /** Bytes of the manifest. */
  readonly size: number;
}

export interface PushStores {
  readonly root: Pick<Root, 'layout' | 'locks' | 'session' | 'readOnly' | 'caps' | 'log'>;
  readonly layers: Pick<LayerStore, 'chain' | 'pin' | 'tarSize' | 'compressed'>;
  readonly images: Pick<ImageStore, 'get' | 'resolve' | 'add'>;
  readonly kept?: KeptImages | undefined;
}

const UPLOADS = 5;

/**
 * The image that `reference` (with a tag) names is in its repository, under that tag.
 * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND; ERR_INVALID_ARGUMENT, ERR_COMPRESSION_UNSUPPORTED; ERR_LAYER_NOT_FOUND,
 *   ERR_STORE_CORRUPT, naming the layer; ERR_REGISTRY_*; ERR_ABORTED.
 */
export async function push(
  stores: PushStores,
  access: RegistryAccess,
  reference: Reference,
  options: PushOptions = {},
): Promise<PushedImage> {
  const { images, layers, root } = stores;
  const { signal, onProgress = () => undefined } = options;
  const { format, compression } = resolveFormat(options, root);
  throwIfAborted(signal);

  const name = formatReference(reference);
  const id = await images.resolve(name);
  const config = await images.get(id);
  const top = topChainId(config.diffIds);
  await using pin = await layers.pin(top === undefined ? [] : [top], signal && { signal });
  void pin;
  const chain = top === undefined ? [] : (await layers.chain(top)).reverse();
  const asksForOne = options.compression ?? options.format ?? options.compressionLevel;
  const kept = asksForOne === undefined ? await stores.kept?.find(id, signal) : undefined;

  onProgress({ type: 'pushing', reference: name, repository: canonicalName(reference.repository) });
  await using client = openRepository(reference.repository, access);
  const stop = new AbortController();
  const target: LayerTarget = {
    ...{ client, layers, format, compression, onProgress, level: options.compressionLevel },
    memory: memoryOf(root),
    credentials: await credentialsFor(reference, access, signal),
    signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal,
  };
  const blobs = await pushLayers(chain, target, kept, options.uploads ?? UPLOADS, stop);
  await pushConfig(client, config, target.signal);
  const manifest = kept?.manifest ?? imageManifest(format, config, blobs);
  const digest = await pushManifest(client, reference.tag ?? 'latest', manifest, target.signal);
  await nameByDigest(stores, reference, digest, id);
  const pushed = { reference: name, id, digest, size: manifest.bytes.length };
  onProgress({ type: 'pushed', ...pushed });
  return pushed;
}

/**
 * {@link push} for every tag of a repository, one after the other; what is in several images is looked for once more each
 * time, but not sent again.
 * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND where the repository has no tag here, and as {@link push}.
 */
export async function pushAll(
  stores: PushStores & { readonly images: Pick<ImageStore, 'references'> },
  access: RegistryAccess,
  repository: string,
  options: PushOptions = {},
): Promise<PushedImage[]> {
  const names = [...(await stores.images.references()).values()].flat().map(parseReference);
  const tagged = names.filter(
    (name) => name.repository === repository && name.tag !== undefined && name.digest === undefined,
  );
  if (tagged.length === 0)
    throw new LayerstackError('ERR_IMAGE_NOT_FOUND', `no image here has a tag of ${repository}`, {
      repository,
    });
  const pushed: PushedImage[] = [];
  for (const name of tagged) pushed.push(await push(stores, access, name, options));
  return pushed;
}

function resolveFormat(
  { compression = 'gzip', compressionLevel: level, format, uploads = UPLOADS }: PushOptions,
  { caps }: PushStores['root'],
): { format: ManifestFormat; compression: LayerCompression } {
  checkCompression({ compression, level }, caps);
  if (compression === 'zstd' && format === 'docker')
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      "docker's manifest format has no zstd layers: use the format oci, or gzip",
    );
  if (!Number.isInteger(uploads) || uploads < 1)
    throw new LayerstackError('ERR_INVALID_ARGUMENT', `uploads must be at least 1, not ${String(uploads)}`);
  return { compression, format: format ?? (compression === 'zstd' ? 'oci' : 'docker') };
}

/** The blobs of all layers, bottom to top. The first failure stops the others; all are at their end on return. */
async function pushLayers(
  chain: readonly Layer[],
  target: LayerTarget,
  kept: KeptImage | undefined,
  uploads: number,
  stop: AbortController,
): Promise<Descriptor[]> {
  const { onProgress, signal } = target;
  const slots = new Slots(uploads);
  const pushes = new Map<DiffID, Promise<Descriptor>>();
  // What is twice in an image is sent once.
  const distinct = [...new Map(chain.map((layer, at) => [layer.diffId, { layer, at }])).values()];
  for (const { layer } of distinct)
    onProgress({ type: 'layer-preparing', diffId: layer.diffId, current: 0, total: layer.size });
  for (const [turn, { layer, at }] of distinct.entries()) {
    if (turn >= uploads)
      onProgress({ type: 'layer-waiting', diffId: layer.diffId, current: 0, total: layer.size });
    const descriptor = kept?.layers[at];
    const original = kept && descriptor && { image: kept, descriptor };
    const pushed = slots.run(signal, () => pushLayer(layer, target, original));
    pushed.catch((error: unknown) => stop.abort(error));
    pushes.set(layer.diffId, pushed);
  }
  const results = await Promise.allSettled(pushes.values());
  const failed = results.filter((result) => result.status === 'rejected').map(({ reason }) => reason as unknown);
  // The others end with ERR_ABORTED by the first, which is the reason.
  if (failed.length > 0) throw signal.reason === stop.signal.reason ? stop.signal.reason : failed[0];
  return Promise.all(chain.map(({ diffId }) => pushes.get(diffId) as Promise<Descriptor>));
}

async function pushConfig(
  client: RepositoryClient,
  { id, raw }: Pick<ImageConfig, 'id' | 'raw'>,
  signal: AbortSignal,
): Promise<void> {
  if ((await client.hasBlob(id, { signal })) !== undefined) return;
  const bytes = async function* (from: number): AsyncGenerator<Uint8Array, void, undefined> {
    yield await Promise.resolve(raw.subarray(from));
  };
  await client.uploadBlob(bytes, () => id, { size: raw.length, monolithic: true, signal });
}

/** Where the tag names this manifest already, nothing is sent. */
async function pushManifest(
  client: RepositoryClient,
  tag: string,
  { mediaType, bytes }: ManifestDocument,
  signal: AbortSignal,
): Promise<Digest> {
  const digest = digestOf(bytes);
  const there = await client.headManifest(tag, { signal, accept: [mediaType] });
  if (there?.digest === digest && there.mediaType === mediaType) return digest;
  return client.pushManifest(tag, mediaType, bytes, { signal });
}

/** `name@digest` names the image too, as after docker's push. What cannot be noted is no failure: the push is done. */
async function nameByDigest(
  { images, root }: PushStores,
  { repository }: Reference,
  digest: Digest,
  id: ImageID,
): Promise<void> {
  if (root.readOnly) return;
  try {
    await images.add([], [{ reference: { repository, digest }, id }]);
  } catch (error) {
    if (!LayerstackError.is(error)) throw error;
    root.log.warn(`${repository}@${digest} is pushed, but not noted in the store: ${error.message}`);
  }
}

/** A cache: what cannot be written is not remembered. */
function memoryOf(root: PushStores['root']): BlobMemory {
  const distribution = new Distribution(root);
  return {
    sources: (diffId) => distribution.sources(diffId),
    async add(entries) {
      if (!root.readOnly) await distribution.add(entries);
    },
  };
}

async function credentialsFor(
  { repository }: Reference,
  { credentials }: RegistryAccess,
  signal: AbortSignal | undefined,
): Promise<SourceCredentials> {
  const known = await credentials?.get(locateRepository(repository).registry.credentialsKey, signal);
  return {
    username: known?.username,
    password: known?.password,
    identitytoken: known?.identityToken,
    registrytoken: known?.registryToken,
  };
}
