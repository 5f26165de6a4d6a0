/**
 * Records a pulled image whose layers are published: its config, documents and names, and the sources of its
 * layers.
 */
import type { DiffID, Digest } from '../../core/digest.ts';
import { canonicalName, formatReference, type Reference } from '../../core/reference.ts';
import type { ImageConfig } from '../../image/config.ts';
import type { BlobLease } from '../../image/originals.ts';
import type { StagedLayer } from '../../layer/store.ts';
import type { PlannedImage } from '../ingest/planned.ts';
import type { PullContext, PullStores } from './options.ts';
import { ownerOf } from './resolve.ts';

/** An image, with the digests and documents by which the registry names it. */
export interface ImageRecord {
  readonly config: ImageConfig;
  readonly digest: Digest;
  /** The documents that are kept with it. */
  readonly documents: readonly Uint8Array[] | undefined;
  /** The pull's own lease, where it archives blobs. */
  readonly lease: BlobLease | undefined;
}

export interface RecordedImage {
  /** True if the pulled name named another image before, or none. */
  readonly updated: boolean;
  readonly notices: readonly string[];
}

/** Stores the config and the documents, and points the names to the image, all in one change. */
export async function recordImage(
  { stores, options: { signal } }: PullContext,
  reference: Reference,
  record: ImageRecord,
): Promise<RecordedImage> {
  const { config, digest, documents } = record;
  const { repository, tag, digest: asked } = reference;
  const { id } = config;
  const byDigest = { repository, digest };
  const name = asked === undefined && tag !== undefined ? { repository, tag } : byDigest;
  const before = await ownerOf(stores, formatReference(name));
  // As in docker, the tag moves, but a name by digest stays with the image of the platform that had it first.
  const owner = await ownerOf(stores, formatReference(byDigest));
  const isFree = owner === undefined || owner === id;
  const { originals } = stores.images;
  await using own = documents && !record.lease ? await originals.lease(signal) : undefined;
  own?.commit(); // It archives no blobs, so even a failure leaves none to collect.
  await stores.images.add(
    [{ config, documents }],
    (isFree ? [name, byDigest] : [name]).map((each) => ({ reference: each, id })),
    { signal },
  );
  record.lease?.commit();
  return {
    updated: before !== id,
    notices: isFree
      ? []
      : [`${formatReference(byDigest)} stays the name of image ${owner}, of another platform`],
  };
}

export interface VerifiedLayer {
  readonly diffId: DiffID;
  readonly digest: Digest;
}

/**
 * Returns the layers that are known to be the blobs that the manifest names. If the store already had a
 * layer, its blob was not fetched. The manifest may name any blob there, and a push that trusted it would
 * publish other bytes under the image's name.
 */
export async function verifiedLayers(
  distribution: PullStores['distribution'],
  { layers }: PlannedImage,
  fresh: readonly StagedLayer[],
): Promise<VerifiedLayer[]> {
  const seen = new Set(fresh.map(({ diffId, applied }) => `${applied.blobDigest} ${diffId}`));
  const verified: VerifiedLayer[] = [];
  for (const { diffId, blob } of layers) {
    if (!blob) continue;
    const { digest } = blob;
    if (seen.has(`${digest} ${diffId}`) || (await isKnownAs(distribution, digest, diffId)))
      verified.push({ diffId, digest });
  }
  return verified;
}

/** Returns whether an earlier pull or push has verified that the blob is this layer. */
export async function isKnownAs(
  distribution: PullStores['distribution'],
  blob: Digest,
  diffId: DiffID,
): Promise<boolean> {
  return (await distribution.diffId(blob)) === diffId;
}

/** Remembers the repository as a source of these layers. */
export async function recordSources(
  distribution: PullStores['distribution'],
  reference: Reference,
  verified: readonly VerifiedLayer[],
): Promise<void> {
  const repository = canonicalName(reference.repository);
  await distribution.add(
    verified.map(({ diffId, digest }) => ({ diffId, source: { digest, repository, hmac: '' } })),
  );
}
