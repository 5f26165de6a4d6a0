/**
 * Packs layer tars as images: as one docker-archive for dockerd and layerstack, or as one OCI layout folder
 * for umoci and skopeo.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tar } from '../../support/tar.ts';

export const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');

export interface ImageSource {
  /** Uncompressed layer tars, bottom to top. */
  readonly layers: readonly Uint8Array[];
  /** Converts a layer for the archive, e.g. compresses it; default: unchanged. */
  readonly store?: (layer: Uint8Array) => Uint8Array;
  readonly tags?: readonly string[];
}

/** Returns the config of an image that has only layers. */
export function configOf(layers: readonly Uint8Array[]): Record<string, unknown> {
  return {
    architecture: 'amd64',
    config: { Cmd: ['/bin/sh'] },
    created: '2020-01-02T03:04:05.678901234Z',
    history: layers.map((_, index) => ({
      created: '2020-01-02T03:04:05.678901234Z',
      created_by: `layer ${String(index)}`,
    })),
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => `sha256:${sha256(layer)}`) },
  };
}

/** A docker-archive of one image in parts, so that a test can damage a part before it packs them. */
export interface ArchiveParts {
  /** Members of the archive before the manifest, in order. */
  config: { name: string; content: string | Uint8Array };
  layers: { name: string; content: Uint8Array }[];
  manifest: { Config: string; RepoTags: string[] | null; Layers: string[] };
}

export function archiveParts(source: ImageSource): ArchiveParts {
  const config = JSON.stringify(configOf(source.layers));
  const configName = `${sha256(config)}.json`;
  const layers = source.layers.map((layer, index) => ({
    name: `${String(index)}-${sha256(layer).slice(0, 12)}/layer.tar`,
    content: source.store?.(layer) ?? layer,
  }));
  return {
    config: { name: configName, content: config },
    layers,
    manifest: {
      Config: configName,
      RepoTags: source.tags ? [...source.tags] : null,
      Layers: layers.map(({ name }) => name),
    },
  };
}

/** Packs a docker-archive. */
export function packArchive({ config, layers, manifest }: ArchiveParts): Buffer {
  return tar([config, ...layers, { name: 'manifest.json', content: JSON.stringify([manifest]) }]);
}

/** Packs a docker-archive of one image. */
export function archiveOfTars(source: ImageSource): Buffer {
  return packArchive(archiveParts(source));
}

/** Writes an OCI layout folder with one image under `tag`. */
export function writeOciLayout(directory: string, layers: readonly Uint8Array[], tag: string): void {
  const blobs = join(directory, 'blobs/sha256');
  mkdirSync(blobs, { recursive: true });
  const put = (mediaType: string, bytes: Uint8Array | string) => {
    writeFileSync(join(blobs, sha256(bytes)), bytes);
    return { mediaType, digest: `sha256:${sha256(bytes)}`, size: Buffer.byteLength(bytes) };
  };
  const config = put('application/vnd.oci.image.config.v1+json', JSON.stringify(configOf(layers)));
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config,
    layers: layers.map((layer) => put('application/vnd.oci.image.layer.v1.tar', layer)),
  };
  const index = {
    schemaVersion: 2,
    manifests: [
      {
        ...put('application/vnd.oci.image.manifest.v1+json', JSON.stringify(manifest)),
        annotations: { 'org.opencontainers.image.ref.name': tag },
      },
    ],
  };
  writeFileSync(join(directory, 'index.json'), JSON.stringify(index));
  writeFileSync(join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
}
