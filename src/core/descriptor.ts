/**
 * Decodes manifests and indexes of images, both docker's schema 2 and OCI's. Mirrors
 * `opencontainers/image-spec: descriptor.md, manifest.md, image-index.md`. This file checks digests, sizes
 * and counts. The reader of the content checks that it matches its descriptor.
 */
import { isDigest, type Digest } from './digest.ts';
import { LayerstackError } from './errors.ts';
import * as json from './json.ts';
import { normalizePlatform, type Platform } from './platform.ts';

export const MEDIA_TYPES = {
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
  ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  ociLayerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
} as const;

/** Annotation of a descriptor in an OCI layout's index: tag or whole reference. */
export const ANNOTATION_REF_NAME = 'org.opencontainers.image.ref.name';
/** containerd's annotation with the canonical reference. */
export const ANNOTATION_IMAGE_NAME = 'io.containerd.image.name';

/** Pointer to a blob. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** Where a foreign layer's bytes are, outside the registry. */
  readonly urls?: readonly string[] | undefined;
  /** The type of an artifact's content, e.g. a signature. Images do not have it. */
  readonly artifactType?: string | undefined;
  readonly platform?: Platform | undefined;
  readonly annotations?: ReadonlyMap<string, string> | undefined;
}

/** One image: its config and its layers, bottom to top. */
export interface Manifest {
  readonly mediaType?: string | undefined;
  /** Images do not have it. See {@link artifactTypeOf}. */
  readonly artifactType?: string | undefined;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly annotations?: ReadonlyMap<string, string> | undefined;
}

/** Manifests (or further indexes), usually one per platform. */
export interface Index {
  readonly mediaType?: string | undefined;
  readonly manifests: readonly Descriptor[];
  readonly annotations?: ReadonlyMap<string, string> | undefined;
}

/**
 * Returns the type of an artifact. Since OCI 1.1 a member of its own holds it. Before, the media type of the
 * config did.
 */
export function artifactTypeOf({ artifactType, config }: Manifest): string {
  return artifactType || config.mediaType;
}

/** No registry accepts a document of this size. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
const MAX_LAYERS = 10_000;
const MAX_MANIFESTS = 10_000;
const MAX_URLS = 100;

/** The media types of a server that does not know the type of a document. */
const GUESSED_TYPES: readonly string[] = [
  'application/octet-stream',
  'application/json',
  'text/html',
  'text/plain',
];

const digest: json.Decoder<Digest> = (value, path) => {
  const text = json.string(value, path);
  return isDigest(text)
    ? text
    : json.mismatch(path, 'is not a digest ("sha256:" and 64 lower-case hex digits)');
};

const size: json.Decoder<number> = (value, path) => {
  const bytes = json.integer(value, path);
  return bytes >= 0 ? bytes : json.mismatch(path, 'is negative');
};

const platform: json.Decoder<Platform> = (value, path) => {
  const raw = json.object({
    os: json.withDefault(json.string, ''),
    architecture: json.withDefault(json.string, ''),
    variant: json.optional(json.string),
  })(value, path);
  const { os, architecture, variant } = raw;
  return normalizePlatform(variant ? { os, architecture, variant } : { os, architecture });
};

const annotations = json.optional(json.map(json.string));

const descriptor: json.Decoder<Descriptor> = json.object({
  mediaType: json.withDefault(json.string, ''),
  digest,
  size,
  urls: json.optional(json.array(json.string, MAX_URLS)),
  artifactType: json.optional(json.string),
  platform: json.optional(platform),
  annotations,
});

const manifest = json.object({
  mediaType: json.optional(json.string),
  artifactType: json.optional(json.string),
  config: descriptor,
  layers: json.withDefault(json.array(descriptor, MAX_LAYERS), []),
  annotations,
});

const index = json.object({
  mediaType: json.optional(json.string),
  manifests: json.withDefault(json.array(descriptor, MAX_MANIFESTS), []),
  annotations,
});

/** The members by which a manifest and an index differ. The rest of the document is not checked yet. */
const shape = json.object({
  mediaType: json.optional(json.string),
  schemaVersion: json.optional(json.integer),
  config: json.optional(json.unknown),
  layers: json.optional(json.unknown),
  manifests: json.optional(json.unknown),
});

/**
 * Reads a document that is a manifest or an index; `what` names it in errors.
 * @throws {@link LayerstackError} ERR_MANIFEST_INVALID when it is neither, both at once, or malformed.
 */
export function parseManifest(
  bytes: Uint8Array,
  what: string,
): ({ readonly kind: 'manifest' } & Manifest) | ({ readonly kind: 'index' } & Index) {
  const source = { what, code: 'ERR_MANIFEST_INVALID', maxBytes: MAX_MANIFEST_BYTES } as const;
  const value = json.parseJson(bytes, source);
  const seen = json.decode(shape, value, source);
  const refuse = (why: string): never => {
    throw new LayerstackError('ERR_MANIFEST_INVALID', `${what}: ${why}`);
  };

  if (seen.schemaVersion === 1)
    refuse('docker schema 1 manifests are not supported; push the image again with a newer docker');
  const hasIndex = seen.manifests !== undefined;
  const hasManifest = seen.config !== undefined || seen.layers !== undefined;
  // One digest must not mean two things to two readers (CVE-2021-41190).
  if (hasIndex && hasManifest) refuse('it is both a manifest and an index');
  if (hasIndex && isManifestType(seen.mediaType)) refuse(`it says to be ${seen.mediaType} but is an index`);
  if (hasManifest && isIndexType(seen.mediaType)) refuse(`it says to be ${seen.mediaType} but is a manifest`);

  if (hasIndex || isIndexType(seen.mediaType)) return { kind: 'index', ...json.decode(index, value, source) };
  return { kind: 'manifest', ...json.decode(manifest, value, source) };
}

/** Whether the media type is a manifest's, docker or OCI. */
export function isManifestType(mediaType: string | undefined): boolean {
  return mediaType === MEDIA_TYPES.dockerManifest || mediaType === MEDIA_TYPES.ociManifest;
}

/**
 * Returns whether a config of this media type is an image's. `maybe`: the document decides. Docker 1.10 and
 * 1.11 left the type to the registry, and registries guessed binary, text or HTML for configs. docker has
 * accepted these types for images ever since.
 */
export function isConfigType(mediaType: string): 'yes' | 'maybe' | 'no' {
  const type = mediaType.split(';')[0]?.trim().toLowerCase() ?? '';
  if (type === '' || type === MEDIA_TYPES.dockerConfig || type === MEDIA_TYPES.ociConfig) return 'yes';
  return GUESSED_TYPES.includes(type) ? 'maybe' : 'no';
}

/** Whether the media type is an index's, docker or OCI. */
export function isIndexType(mediaType: string | undefined): boolean {
  return mediaType === MEDIA_TYPES.dockerIndex || mediaType === MEDIA_TYPES.ociIndex;
}
