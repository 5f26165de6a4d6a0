/**
 * Inspects registries, and deletes in them: implements `manifest inspect`, `tags`, `referrers` and
 * `rm-remote`. None of them touches a store.
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
  /**
   * The reference that was asked for. For a manifest of an index: the reference with the manifest's digest.
   */
  readonly reference: string;
  readonly mediaType: string;
  readonly digest: Digest;
  /** The document, byte for byte. */
  readonly bytes: Uint8Array;
  /** The image's platform, from the index, or else from the config. Only with `images`. */
  readonly platform?: ShownPlatform | undefined;
  /** For an index, the manifests of its images. Only with `images`. */
  readonly images?: readonly RemoteManifest[] | undefined;
}

export interface InspectOptions extends RequestOptions {
  /** Also fetches the images of an index and the platform of an image. Default false. */
  readonly images?: boolean | undefined;
}

/** A document that refers to a manifest: a signature, an SBOM, an attestation. */
export interface Referrer {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly artifactType?: string | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

/** The result of a deletion in a registry. */
export interface RemovedRemote {
  /** The removed tag, with its repository. */
  readonly untagged?: string | undefined;
  /** The removed manifest; all its tags are removed with it. */
  readonly deleted?: Digest | undefined;
}

/** More images than any index of one release has. */
const MAX_IMAGES = 200;
/** Maximum bytes of all their manifests together, which are in memory. */
const MAX_IMAGE_BYTES = 32 * 1024 * 1024;

/** Fetches the manifest or index of a reference (tag `latest` by default), and verifies its digest. */
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

/** Yields the tags of a repository, in the registry's order, page by page. */
export async function* remoteTags(
  access: RegistryAccess,
  repository: string,
  options: RequestOptions = {},
): AsyncGenerator<string, void, undefined> {
  await using client = openRepository(repository, access);
  yield* client.tags({ ...options, origin: true });
}

/** Returns the manifests that name the reference's manifest as their subject. */
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
 * Deletes a manifest by its digest. For a tag, deletes only the tag where the registry supports that.
 * Otherwise it deletes the tag's manifest with all its tags, as skopeo does. Unreferenced blobs stay until
 * the registry collects its garbage.
 * @throws {@link LayerstackError} ERR_REFERENCE_INVALID where the reference has neither;
 *   ERR_REGISTRY_UNSUPPORTED where the registry does not delete; its message says how to enable deletion.
 */
export async function removeRemote(
  access: RegistryAccess,
  reference: Reference,
  options: RequestOptions = {},
): Promise<RemovedRemote> {
  const { tag, digest } = reference;
  // Other commands default to `latest`; a deletion must name its object.
  if (tag === undefined && digest === undefined)
    throw new LayerstackError(
      'ERR_REFERENCE_INVALID',
      `${reference.repository} has neither a tag nor a digest: give NAME:TAG or NAME@DIGEST`,
      { reference: reference.repository },
    );
  await using client = openRepository(reference.repository, access);
  if (digest === undefined && tag !== undefined) {
    // Look the tag up first, to distinguish a missing tag from one that cannot be deleted.
    const { digest: found } = await described(client, tag, options);
    if (await deletesTag(client, tag, options)) return { untagged: `${reference.repository}:${tag}` };
    await client.deleteManifest(found, options);
    return { untagged: `${reference.repository}:${tag}`, deleted: found };
  }
  const known = await digestOfReference(client, reference, options);
  await client.deleteManifest(known, options);
  return { deleted: known };
}

/**
 * Returns whether the registry has deleted only the tag. Many registries do not support it, and answer in
 * different ways.
 */
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
  // The registry's answer to GET has a body that says why.
  const { bytes, ...fetched } = await client.fetchManifest(target, { ...options, origin: true });
  return { ...fetched, digest: digestOf(bytes) };
}

/** Returns the tag or digest to ask for, and the name to show. A digest takes precedence over the tag. */
function naming(reference: Reference): { readonly target: string; readonly name: string } {
  const { tag = 'latest', digest } = reference;
  return { target: digest ?? tag, name: formatReference(withDefaultTag(reference)) };
}
