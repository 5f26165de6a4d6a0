/**
 * Resolves a tag or a digest to the one manifest that is pulled, by platform, through an index or nested
 * indexes. Every document must have its announced digest, size and media type: one digest must not mean two
 * things to two readers (CVE-2021-41190).
 */
import {
  artifactTypeOf,
  isConfigType,
  isIndexType,
  isManifestType,
  MEDIA_TYPES,
  parseManifest,
  type Descriptor,
  type Index,
  type Manifest,
} from '../../core/descriptor.ts';
import type { Digest } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import { matchPlatform, type Platform } from '../../core/platform.ts';
import { isAttestation, noPlatform } from '../ingest/planned.ts';
import type { FetchedManifest } from '../registry/client.ts';
import type { PullSource } from './source.ts';

export interface ResolvedManifest {
  /** Digest of the document that the tag names: the index, or the manifest itself. */
  readonly digest: Digest;
  readonly manifest: Manifest;
  /** The documents from the tagged one to the manifest, as they came. */
  readonly documents: readonly Uint8Array[];
}

/** Maximum nesting of indexes; real ones have one level. */
export const MAX_NESTING = 4;

/** Without a media type, a layer's bytes decide its format. */
const LAYER_TYPES: readonly string[] = [
  '',
  MEDIA_TYPES.dockerLayer,
  MEDIA_TYPES.dockerLayerGzip,
  `${MEDIA_TYPES.dockerLayer}.zstd`,
  MEDIA_TYPES.ociLayer,
  MEDIA_TYPES.ociLayerGzip,
  MEDIA_TYPES.ociLayerZstd,
];

/** The reference to resolve. */
export interface ManifestRequest {
  /** The reference, for messages. */
  readonly sourceName: string;
  readonly tagOrDigest: string;
  readonly platform: Platform;
}

/**
 * Returns the manifest of the image. Its config and layers have types that can be stored.
 * @throws {@link LayerstackError} ERR_MANIFEST_INVALID (for example docker schema 1, artifacts,
 *   contradictions), ERR_LAYER_FOREIGN, ERR_PLATFORM_NOT_FOUND, ERR_DIGEST_MISMATCH, and the errors of the
 *   source.
 */
export async function resolveManifest(
  source: PullSource,
  { sourceName, tagOrDigest, platform }: ManifestRequest,
  signal: AbortSignal,
): Promise<ResolvedManifest> {
  const first = await source.fetchManifest(tagOrDigest, { signal });
  const documents = [first.bytes];
  let document = readDocument(sourceName, first, undefined);
  for (let nesting = 0; document.kind === 'index'; nesting++) {
    if (nesting === MAX_NESTING) throw invalid(sourceName, first.digest, 'has indexes nested too deep');
    const chosen = choose(sourceName, document, platform);
    const fetched = await source.fetchManifest(chosen.digest, { signal });
    document = readDocument(sourceName, fetched, chosen);
    documents.push(fetched.bytes);
  }
  checkImage(sourceName, first.digest, document);
  return { digest: first.digest, manifest: document, documents };
}

/** Parses a document. It must match the answer's media type and the index that led to it. */
export function readDocument(
  sourceName: string,
  { bytes, mediaType, digest }: FetchedManifest,
  expected: Descriptor | undefined,
): ReturnType<typeof parseManifest> {
  const document = parseManifest(bytes, `${sourceName}: manifest ${digest}`);
  if (expected && expected.size !== bytes.length)
    throw new LayerstackError(
      'ERR_DIGEST_MISMATCH',
      `${sourceName}: manifest ${digest} has ${String(bytes.length)} bytes, but its index says ${String(expected.size)}; ` +
        `push the image again`,
      { digest, reference: sourceName, expected: expected.size, found: bytes.length },
    );
  const own = document.mediaType ?? '';
  for (const said of [mediaType, expected?.mediaType ?? '']) {
    if (!isIndexType(said) && !isManifestType(said)) continue;
    const kind = isIndexType(said) ? 'index' : 'manifest';
    if (kind !== document.kind || !['', said].includes(own))
      throw invalid(
        sourceName,
        digest,
        `is announced as ${said}, but is ${own || document.kind} by its own words`,
      );
  }
  return document;
}

function choose(sourceName: string, { manifests }: Index, wanted: Platform): Descriptor {
  const images = manifests.filter(
    (each) =>
      !isAttestation(each) &&
      (each.mediaType === '' || isManifestType(each.mediaType) || isIndexType(each.mediaType)),
  );
  const chosen = matchPlatform(images, wanted);
  if (chosen) return chosen;
  const there = images.flatMap(({ platform }) => platform ?? []);
  throw noPlatform(sourceName, wanted, there);
}

function checkImage(sourceName: string, digest: Digest, manifest: Manifest): void {
  const { config, layers } = manifest;
  if (isConfigType(config.mediaType) === 'no')
    throw invalid(sourceName, digest, `is not an image but an artifact of type ${artifactTypeOf(manifest)}`);
  for (const { digest: layer, mediaType, urls = [] } of layers) {
    if (/\.(?:foreign|nondistributable)\./.test(mediaType))
      throw new LayerstackError(
        'ERR_LAYER_FOREIGN',
        `${sourceName}: layer ${layer} is foreign (${mediaType}): registries do not hold its bytes, which its publisher gives out` +
          `${urls[0] === undefined ? '' : ` at ${urls[0].slice(0, 200)}`}; layerstack stores images whose layers are all in ` +
          `the registry: push it with all its layers (docker: "allow-nondistributable-artifacts")`,
        { digest: layer, layer, reference: sourceName },
      );
    if (!LAYER_TYPES.includes(mediaType))
      throw invalid(
        sourceName,
        digest,
        `has a layer ${layer} of type ${mediaType}, which is not a file system`,
      );
  }
}

function invalid(sourceName: string, digest: Digest, what: string): LayerstackError {
  return new LayerstackError('ERR_MANIFEST_INVALID', `${sourceName}: manifest ${digest} ${what}`, {
    reference: sourceName,
    digest,
  });
}
