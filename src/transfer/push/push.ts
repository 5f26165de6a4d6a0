/**
 * Store -> repository: config, layers and manifest of one image, named by a tag. Layers are sent in parallel,
 * each by the cheapest way (push/layer.ts). The manifest comes last, so an interrupted push stays invisible.
 * A push changes two things in the store: it remembers which blobs the layers are, and adds the manifest's
 * digest as a name of the image.
 * Mirrors moby/moby: distribution/push_v2.go at v20.10.
 */
import { throwIfAborted } from '../../core/abort.ts';
import { digestOf, topChainId, type Digest, type ImageID } from '../../core/digest.ts';
import { LayerstackError, undefinedIf } from '../../core/errors.ts';
import type { OnProgress } from '../../core/progress.ts';
import { withSum } from '../../core/tally.ts';
import {
  canonicalName,
  formatReference,
  parseReference,
  withDefaultTag,
  type Reference,
} from '../../core/reference.ts';
import type { ImageConfig } from '../../image/config.ts';
import type { Distribution, SourceCredentials } from '../../image/distribution.ts';
import type { OriginalImages } from '../../image/originals.ts';
import type { ImageStore } from '../../image/store.ts';
import { checkCompression, type LayerCompression } from '../../layer/compress.ts';
import type { LayerStore } from '../../layer/store.ts';
import type { Root } from '../../system/root.ts';
import { locateRepository } from '../registry/address.ts';
import type { CredentialSource } from '../registry/auth/credentials.ts';
import type { RepositoryClient } from '../registry/client.ts';
import type { BlobMemory } from './layer.ts';
import { pushLayers } from './layers.ts';
import { imageManifest, type ManifestDocument, type ManifestFormat } from './manifest.ts';

export interface PushOptions {
  /** Default `gzip`, which every registry and runtime supports. */
  readonly compression?: LayerCompression | undefined;
  /** gzip 1 to 9 (default 4), zstd 1 to 19 (default 3). */
  readonly compressionLevel?: number | undefined;
  /** Default `docker`; `oci` for zstd, for which docker's manifest has no media type. */
  readonly format?: ManifestFormat | undefined;
  /** Push every tag of the repository in the store; the reference is then a name alone. Default false. */
  readonly allTags?: boolean | undefined;
  /** Maximum layers sent at once; default 5, as in docker. */
  readonly maxConcurrentUploads?: number | undefined;
  /**
   * Send each blob in one request with its size, for registries that accept no streams. Layers are then
   * compressed twice.
   */
  readonly monolithic?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/** An image that is in a registry. */
export interface PushedImage {
  /** `NAME:TAG` in familiar form. */
  readonly reference: string;
  readonly id: ImageID;
  /** Digest of the manifest, by which registries identify the image. */
  readonly digest: Digest;
  /** Bytes of the manifest. */
  readonly size: number;
}

export interface PushResult {
  /** One image; with `allTags` one for each tag. */
  readonly images: readonly PushedImage[];
}

export interface PushStores {
  readonly root: Pick<Root, 'readOnly' | 'caps' | 'log'>;
  readonly layers: Pick<LayerStore, 'chain' | 'pin' | 'tarSize' | 'compressed'>;
  readonly images: Pick<ImageStore, 'get' | 'resolve' | 'add' | 'references'>;
  readonly distribution: Pick<Distribution, 'sources' | 'add'>;
  /** The images that are sent as they were pulled. Without it every layer is compressed anew. */
  readonly originals?: Pick<OriginalImages, 'find'> | undefined;
}

/** A repository, and the credentials for its registry. */
export interface PushTarget {
  readonly client: Pick<
    RepositoryClient,
    'repository' | 'hasBlob' | 'openBlob' | 'mountBlob' | 'uploadBlob' | 'headManifest' | 'pushManifest'
  >;
  readonly credentials: CredentialSource | undefined;
}

const UPLOADS = 5;

/**
 * Pushes the image that `reference` names (by the tag `latest` where it has none) to its repository, under
 * that tag. With `allTags` the images are pushed in turn.
 * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND; ERR_REFERENCE_INVALID for a digest, and with `allTags`
 *   for a tag; ERR_INVALID_ARGUMENT, ERR_COMPRESSION_UNSUPPORTED; ERR_LAYER_NOT_FOUND, ERR_STORE_CORRUPT,
 *   naming the layer; ERR_REGISTRY_*; ERR_ABORTED.
 */
export async function push(
  stores: PushStores,
  target: PushTarget,
  reference: Reference,
  options: PushOptions = {},
): Promise<PushResult> {
  const form = resolveForm(options, stores.root);
  throwIfAborted(options.signal);
  const names = options.allTags === true ? await tagsOf(stores, reference) : [taggedName(reference)];
  const credentials = await credentialsFor(target, options.signal);
  const images: PushedImage[] = [];
  for (const name of names)
    images.push(await pushImage(stores, { ...target, ...form, credentials }, name, options));
  return { images };
}

function taggedName(reference: Reference): Reference {
  if (reference.digest === undefined) return withDefaultTag(reference);
  throw new LayerstackError(
    'ERR_REFERENCE_INVALID',
    `an image is pushed by its tag, not by a digest: ${formatReference(reference)}`,
    { reference: formatReference(reference) },
  );
}

async function tagsOf({ images }: PushStores, reference: Reference): Promise<Reference[]> {
  const { repository, tag, digest } = reference;
  if (tag !== undefined || digest !== undefined)
    throw new LayerstackError(
      'ERR_REFERENCE_INVALID',
      `all tags of a repository are pushed by its name alone, not ${formatReference(reference)}`,
      { reference: formatReference(reference) },
    );
  const names = [...(await images.references()).values()].flat().map(parseReference);
  const own = names.filter((name) => name.repository === repository && name.tag !== undefined);
  if (own.length > 0) return own;
  throw new LayerstackError('ERR_IMAGE_NOT_FOUND', `no image of the store has a tag of ${repository}`, {
    repository,
  });
}

/** The format of the manifest and the compression of the blobs. */
interface Form {
  readonly format: ManifestFormat;
  readonly compression: LayerCompression;
}

async function pushImage(
  stores: PushStores,
  {
    client,
    format,
    compression,
    credentials,
  }: Form & { client: PushTarget['client']; credentials: SourceCredentials },
  reference: Reference,
  options: PushOptions,
): Promise<PushedImage> {
  const { images, layers } = stores;
  const { signal, onProgress = () => undefined } = options;
  const name = formatReference(reference);
  const id = await images.resolve(name);
  const config = await images.get(id);
  const top = topChainId(config.diffIds);
  await using _pin = await layers.pin(top === undefined ? [] : [top], { signal });
  const chain = top === undefined ? [] : (await layers.chain(top)).reverse();
  const asksForOne = options.compression ?? options.format ?? options.compressionLevel;
  const original = asksForOne === undefined ? await stores.originals?.find(id) : undefined;

  onProgress({ type: 'pushing', reference: name, repository: canonicalName(reference.repository) });
  const target = {
    client,
    layers,
    format,
    compression,
    credentials,
    onProgress: withSum(onProgress),
    level: options.compressionLevel,
    monolithic: options.monolithic === true,
    memory: memoryOf(stores),
  };
  const uploads = options.maxConcurrentUploads ?? UPLOADS;
  const blobs = await pushLayers(chain, target, { original, uploads, signal });
  await pushConfig(client, config, signal);
  const manifest = original?.manifest ?? imageManifest(format, config, blobs);
  const digest = await pushManifest(client, reference.tag ?? 'latest', manifest, signal);
  await nameByDigest(stores, reference, digest, id);
  const pushed = { reference: name, id, digest, size: manifest.bytes.length };
  onProgress({ type: 'pushed', ...pushed });
  return pushed;
}

function resolveForm(
  {
    compression = 'gzip',
    compressionLevel: level,
    format,
    maxConcurrentUploads: uploads = UPLOADS,
  }: PushOptions,
  { caps }: PushStores['root'],
): Form {
  checkCompression({ compression, level }, caps);
  if (compression === 'zstd' && format === 'docker')
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      "docker's manifest format has no zstd layers: use the format oci, or gzip",
    );
  if (!Number.isInteger(uploads) || uploads < 1)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `maxConcurrentUploads must be at least 1, not ${String(uploads)}`,
    );
  return { compression, format: format ?? (compression === 'zstd' ? 'oci' : 'docker') };
}

async function pushConfig(
  client: PushTarget['client'],
  { id, raw }: Pick<ImageConfig, 'id' | 'raw'>,
  signal: AbortSignal | undefined,
): Promise<void> {
  if ((await undefinedIf(client.hasBlob(id, { signal }), 'ERR_REGISTRY_DENIED')) !== undefined) return;
  const bytes = async function* (from: number): AsyncGenerator<Uint8Array, void, undefined> {
    yield await Promise.resolve(raw.subarray(from));
  };
  await client.uploadBlob(bytes, () => id, { size: raw.length, monolithic: true, signal });
}

/**
 * Pushes the manifest, unless the tag already names it. The tag may name anything else, which is replaced: an
 * index, a manifest of the other format (which distribution would convert to schema 1 for a client that
 * accepts only one), or an unreadable document.
 */
async function pushManifest(
  client: PushTarget['client'],
  tag: string,
  { mediaType, bytes }: ManifestDocument,
  signal: AbortSignal | undefined,
): Promise<Digest> {
  const digest = digestOf(bytes);
  const there = await undefinedIf(
    client.headManifest(tag, { signal, origin: true }),
    'ERR_REGISTRY_DENIED',
    'ERR_MANIFEST_INVALID',
  );
  if (there?.digest === digest && there.mediaType === mediaType) return digest;
  return client.pushManifest(tag, mediaType, bytes, { signal });
}

/**
 * Adds the name `name@digest` to the image, as docker's push does. A failure is only logged, because the push
 * is done.
 */
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
    root.log.warn(
      `${repository}@${digest} is pushed, but the store could not record its digest: ${error.message}`,
    );
  }
}

/** Returns the memory of blobs. It is a cache: a read-only store does not write it. */
function memoryOf({ root, distribution }: PushStores): BlobMemory {
  return {
    sources: (diffId) => distribution.sources(diffId),
    async add(entries) {
      if (!root.readOnly) await distribution.add(entries);
    },
  };
}

async function credentialsFor(
  { client, credentials }: PushTarget,
  signal: AbortSignal | undefined,
): Promise<SourceCredentials> {
  const known = await credentials?.get(locateRepository(client.repository).registry.credentialsKey, signal);
  return {
    username: known?.username,
    password: known?.password,
    identitytoken: known?.identityToken,
    registrytoken: known?.registryToken,
  };
}
