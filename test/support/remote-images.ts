/** Puts small images into a registry, with the client under test or with another one. */
import { MEDIA_TYPES } from '../../src/core/descriptor.ts';
import { digestOf, type Digest } from '../../src/core/digest.ts';
import type { RepositoryClient } from '../../src/transfer/registry/client.ts';

export interface PutBlob {
  readonly digest: Digest;
  readonly size: number;
}

/** Uploads these bytes. */
export async function putBlob(client: RepositoryClient, bytes: Uint8Array): Promise<PutBlob> {
  const digest = digestOf(bytes);
  await client.uploadBlob(
    async function* (from) {
      yield bytes.subarray(from);
    },
    () => digest,
    { size: bytes.length },
  );
  return { digest, size: bytes.length };
}

export interface PutImage {
  readonly digest: Digest;
  readonly bytes: Buffer;
  readonly config: PutBlob;
  readonly layer: PutBlob;
}

/** Uploads an image of one layer. The layer is not a tar, because no test extracts it. */
export async function putImage(
  client: RepositoryClient,
  tag: string,
  { oci = false, architecture = 'amd64', layer = Buffer.from('a layer') } = {},
): Promise<PutImage> {
  const blob = await putBlob(client, layer);
  const rootfs = { type: 'layers', diff_ids: [blob.digest] };
  const config = await putBlob(
    client,
    Buffer.from(JSON.stringify({ architecture, os: 'linux', config: {}, rootfs })),
  );
  const mediaType = oci ? MEDIA_TYPES.ociManifest : MEDIA_TYPES.dockerManifest;
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: { mediaType: oci ? MEDIA_TYPES.ociConfig : MEDIA_TYPES.dockerConfig, ...config },
      layers: [{ mediaType: oci ? MEDIA_TYPES.ociLayerGzip : MEDIA_TYPES.dockerLayerGzip, ...blob }],
    }),
  );
  return { digest: await client.pushManifest(tag, mediaType, bytes), bytes, config, layer: blob };
}

/** Uploads images for amd64 and arm64, and the index of both. */
export async function putIndex(client: RepositoryClient, tag: string, { oci = false } = {}): Promise<Buffer> {
  const mediaType = oci ? MEDIA_TYPES.ociIndex : MEDIA_TYPES.dockerIndex;
  const manifests = [];
  for (const architecture of ['amd64', 'arm64']) {
    const { digest, bytes } = await putImage(client, `${tag}-${architecture}`, { oci, architecture });
    manifests.push({
      mediaType: oci ? MEDIA_TYPES.ociManifest : MEDIA_TYPES.dockerManifest,
      size: bytes.length,
      digest,
      platform: { architecture, os: 'linux', ...(architecture === 'arm64' && { variant: 'v8' }) },
    });
  }
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests }));
  await client.pushManifest(tag, mediaType, bytes);
  return bytes;
}
