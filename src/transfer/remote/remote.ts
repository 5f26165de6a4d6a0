/**
 * Looking at registries, and deleting there: what `manifest inspect`, `tags`, `referrers` and `rm-remote` do. Nothing of it
 * touches a store.
 */
import { isIndexType, MEDIA_TYPES, parseManifest } from '../../core/descriptor.ts';
import { digestOf, type Digest } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import { formatReference, withDefaultTag, type Reference } from '../../core/reference.ts';
import {
  openRepository,
  type FetchedManifest,
  type RegistryAccess,
  type RepositoryClient,
  type RequestOptions,
} from '../registry/client.ts';
import { configPlatform, indexPlatforms, type ShownPlatform } from './platform.ts';

/** A manifest or index as its registry has it. */
export interface RemoteManifest {
  /** What it was asked for by; of an index's manifests with their digest. */
  readonly reference: string;
  readonly mediaType: string;
  readonly digest: Digest;
  /** The document, byte for byte. */
  readonly bytes: Uint8Array;
  /** What an image runs on: as the index says, else as the config does. Only with `images`. */
  readonly platform?: ShownPlatform | undefined;
  /** Of an index, the manifests of its images. Only with `images`. */
  readonly images?: readonly RemoteManifest[] | undefined;
}

export interface InspectOptions extends RequestOptions {
  /** Fetches the images of an index and the platform of an image too. Default false. */
  readonly images?: boolean | undefined;
}

/** Something that refers to a manifest: a signature, an SBOM, an attestation. */
export interface Referrer {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly artifactType?: string | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

/** What was deleted in a registry. */
export interface RemovedRemote {
  /** The tag that is gone, with its repository. */
  readonly untagged?: string | undefined;
  /** The manifest that is gone, and all its tags with it. */
  readonly deleted?: Digest | undefined;
}

/** More images than any index of one release has. */
const MAX_IMAGES = 200;
/** Of all their manifests together, which are in memory. */
const MAX_IMAGE_BYTES = 32 * 1024 * 1024;

/** The manifest or index of a reference (tag `latest` by default), its digest verified. */
export async function inspectRemote(
  access: RegistryAccess,
  reference: Reference,
  options: InspectOptions = {},
): Promise<RemoteManifest> {
  const { target, name } = naming(reference);
  await using client = openRepository(reference.repository, access);
  const fetched = await client.fetchManifest(target, options);
  const top = { ...fetched, reference: name };
  if (options.images !== true) return top;
  if (!isIndexType(fetched.mediaType))
    return { ...top, platform: await configPlatform(client, fetched, options) };
  return { ...top, images: await imagesOf(client, fetched, name, options) };
}

async function imagesOf(
  client: RepositoryClient,
  index: FetchedManifest,
  name: string,
  options: RequestOptions,
): Promise<RemoteManifest[]> {
  const document = parseManifest(index.bytes, `manifest ${name}`);
  if (document.kind !== 'index') return [];
  if (document.manifests.length > MAX_IMAGES)
    throw new LayerstackError(
      'ERR_LIMIT_EXCEEDED',
      `manifest ${name}: it lists ${String(document.manifests.length)} manifests; ${String(MAX_IMAGES)} are shown at most`,
      { reference: name, limit: MAX_IMAGES },
    );
  const platforms = indexPlatforms(index.bytes, `manifest ${name}`);
  const images: RemoteManifest[] = [];
  let bytes = 0;
  for (const [at, { digest }] of document.manifests.entries()) {
    const fetched = await client.fetchManifest(digest, options);
    if ((bytes += fetched.bytes.length) > MAX_IMAGE_BYTES)
      throw new LayerstackError(
        'ERR_LIMIT_EXCEEDED',
        `manifest ${name}: the manifests that it lists have more than ${String(MAX_IMAGE_BYTES)} bytes together`,
        { reference: name, limit: MAX_IMAGE_BYTES },
      );
    images.push({ ...fetched, reference: `${name}@${digest}`, platform: platforms[at] });
  }
  return images;
}

/** The tags of a repository, in the registry's order, as its pages come. */
export async function* remoteTags(
  access: RegistryAccess,
  repository: string,
  options: RequestOptions = {},
): AsyncGenerator<string, void, undefined> {
  await using client = openRepository(repository, access);
  yield* client.tags({ ...options, origin: true });
}

/** The manifests that name the reference's manifest as their subject. */
export async function remoteReferrers(
  access: RegistryAccess,
  reference: Reference,
  options: RequestOptions = {},
): Promise<Referrer[]> {
  await using client = openRepository(reference.repository, access);
  const { manifests } = await client.referrers(await digestOfReference(client, reference, options), options);
  return manifests.map(({ mediaType, digest, size, artifactType, annotations }) => ({
    mediaType: mediaType === '' ? MEDIA_TYPES.ociManifest : mediaType,
    digest,
    size,
    ...(artifactType !== undefined && { artifactType }),
    ...(annotations && { annotations: Object.fromEntries(annotations) }),
  }));
}

/**
 * Deletes a manifest, given by its digest; of a tag the tag alone where the registry does that, else its manifest, with all its
 * tags, as skopeo does. What nobody refers to any more goes when the registry collects its garbage.
 * @throws {@link LayerstackError} ERR_REFERENCE_INVALID where neither is given; ERR_REGISTRY_UNSUPPORTED where the registry does
 *   not delete, saying how it would.
 */
export async function removeRemote(
  access: RegistryAccess,
  reference: Reference,
  options: RequestOptions = {},
): Promise<RemovedRemote> {
  const { tag, digest } = reference;
  // Elsewhere `latest` is meant; what is deleted is to be said.
  if (tag === undefined && digest === undefined)
    throw new LayerstackError(
      'ERR_REFERENCE_INVALID',
      `${reference.repository} says neither tag nor digest: name what is to be deleted, NAME:TAG or NAME@DIGEST`,
      { reference: reference.repository },
    );
  await using client = openRepository(reference.repository, access);
  if (digest === undefined && tag !== undefined) {
    // Asked first: a tag that is not there is another thing than one that cannot be deleted.
    const { digest: found } = await described(client, tag, options);
    if (await deletesTag(client, tag, options)) return { untagged: `${reference.repository}:${tag}` };
    await client.deleteManifest(found, options);
    return { untagged: `${reference.repository}:${tag}`, deleted: found };
  }
  const known = await digestOfReference(client, reference, options);
  await client.deleteManifest(known, options);
  return { deleted: known };
}

/** Whether the registry has deleted just the tag: many do not know how, and say so in different ways. */
async function deletesTag(client: RepositoryClient, tag: string, options: RequestOptions): Promise<boolean> {
  try {
    await client.deleteManifest(tag, options);
    return true;
  } catch (error) {
    if (LayerstackError.is(error) && [400, 404, 405, 501].includes(error.status ?? 0)) return false;
    throw error;
  }
}

async function digestOfReference(
  client: RepositoryClient,
  reference: Reference,
  options: RequestOptions,
): Promise<Digest> {
  if (reference.digest !== undefined) return reference.digest;
  return (await described(client, naming(reference).target, options)).digest;
}

async function described(client: RepositoryClient, target: string, options: RequestOptions) {
  const head = await client.headManifest(target, { ...options, origin: true });
  if (head) return head;
  // The registry's own words say why not.
  const { bytes, ...fetched } = await client.fetchManifest(target, { ...options, origin: true });
  return { ...fetched, digest: digestOf(bytes) };
}

/** What a reference is asked for by, and how it is called. A digest says more than the tag beside it. */
function naming(reference: Reference): { readonly target: string; readonly name: string } {
  const { tag = 'latest', digest } = reference;
  return { target: digest ?? tag, name: formatReference(withDefaultTag(reference)) };
}
