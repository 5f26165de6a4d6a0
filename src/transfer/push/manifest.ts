/**
 * Builds the document that completes a push. Docker's format has the bytes that dockerd itself would send for
 * the same blobs (three spaces, members in the order of Go's struct), and so the same digest.
 * Mirrors distribution/distribution: manifest/schema2/manifest.go, opencontainers/image-spec: manifest.md.
 */
import { MEDIA_TYPES, type Descriptor } from '../../core/descriptor.ts';
import { goJson } from '../../core/go-json.ts';
import type { ImageConfig } from '../../image/config.ts';
import type { LayerCompression } from '../../layer/compress.ts';

/** `docker`: schema 2. `oci`: the OCI manifest, the only one with a media type for zstd. */
export type ManifestFormat = 'docker' | 'oci';

/** A document as it goes to a registry. */
export interface ManifestDocument {
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/** Returns the media type of a layer's blob in a manifest of this format. */
export function layerMediaType(format: ManifestFormat, compression: LayerCompression): string {
  if (compression === 'zstd') return MEDIA_TYPES.ociLayerZstd;
  return format === 'oci' ? MEDIA_TYPES.ociLayerGzip : MEDIA_TYPES.dockerLayerGzip;
}

/** Returns the manifest of an image; `layers` are bottom to top. */
export function imageManifest(
  format: ManifestFormat,
  config: Pick<ImageConfig, 'id' | 'raw'>,
  layers: readonly Pick<Descriptor, 'mediaType' | 'digest' | 'size'>[],
): ManifestDocument {
  const size = config.raw.length;
  if (format === 'oci') {
    const document = {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      config: { mediaType: MEDIA_TYPES.ociConfig, digest: config.id, size },
      layers: layers.map((layer) => ({
        mediaType: layer.mediaType,
        digest: layer.digest,
        size: layer.size,
      })),
    };
    return { mediaType: MEDIA_TYPES.ociManifest, bytes: Buffer.from(goJson(document)) };
  }
  const document = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.dockerManifest,
    config: { mediaType: MEDIA_TYPES.dockerConfig, size, digest: config.id },
    layers: layers.map((layer) => ({ mediaType: layer.mediaType, size: layer.size, digest: layer.digest })),
  };
  return { mediaType: MEDIA_TYPES.dockerManifest, bytes: Buffer.from(JSON.stringify(document, null, 3)) };
}
