/**
 * The documents of an image archive in the layout of docker >= 25: an OCI layout (`index.json`, manifests)
 * that all OCI tools read, and for the same blobs `manifest.json` and `repositories`, which every docker
 * since 1.10 reads. Fields and their order follow Go's structs.
 * Mirrors `moby/moby: image/tarexport/save.go` at v26, with two differences: it leaves out the v1 configs,
 * which no document names, and it lists every untagged image in the index.
 */
import { ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, MEDIA_TYPES } from '../../core/descriptor.ts';
import { digestOf, hexOf, type Digest } from '../../core/digest.ts';
import { goJson, sortedKeys } from '../../core/go-json.ts';
import { canonicalName, formatReference, type Reference } from '../../core/reference.ts';
import type { SelectedImage } from './save-select.ts';

export const OCI_LAYOUT_DOCUMENT = '{"imageLayoutVersion": "1.0.0"}';

/** Bytes of each layer's tar by DiffID. */
export type LayerSizes = ReadonlyMap<Digest, number>;

export function blobPath(digest: Digest): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

/** A manifest in an archive: as it was pulled, or made by {@link ociManifest}. */
export interface SavedManifest {
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/** Returns the OCI manifest of an image. */
export function ociManifest(image: SelectedImage, sizes: LayerSizes): SavedManifest {
  const { config, layers } = image;
  const text = goJson({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociManifest,
    config: { mediaType: MEDIA_TYPES.ociConfig, digest: config.id, size: config.raw.length },
    layers: layers.map(({ diffId }) => layerDescriptor(diffId, sizes)),
  });
  return { mediaType: MEDIA_TYPES.ociManifest, bytes: Buffer.from(text) };
}

/** Returns `index.json`; `manifests` are in the order of `images`. */
export function ociIndex(images: readonly SelectedImage[], manifests: readonly SavedManifest[]): string {
  const descriptors = images.flatMap(({ references }, at) => {
    const manifest = manifests[at];
    if (!manifest) return [];
    const { mediaType, bytes } = manifest;
    const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
    const named = references.map((reference) => ({ ...descriptor, annotations: annotations(reference) }));
    return named.length > 0 ? named : [descriptor];
  });
  return goJson({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: descriptors });
}

function annotations(reference: Reference): Record<string, string> {
  const tag = reference.tag ?? '';
  return {
    [ANNOTATION_IMAGE_NAME]: `${canonicalName(reference.repository)}:${tag}`,
    [ANNOTATION_REF_NAME]: tag,
  };
}

/** Returns `manifest.json`, with a final newline. */
export function dockerManifest(images: readonly SelectedImage[], sizes: LayerSizes): string {
  const items = images.map(({ config, references, layers, parent }) => ({
    Config: blobPath(config.id),
    RepoTags: references.length === 0 ? null : references.map(formatReference),
    Layers: layers.map(({ diffId }) => blobPath(diffId)),
    Parent: parent,
    LayerSources:
      layers.length === 0
        ? undefined
        : sortedKeys(layers.map(({ diffId }) => [diffId, layerSource(diffId, sizes)] as const)),
  }));
  return `${goJson(items)}\n`;
}

/** Returns `repositories`, with a final newline; undefined where no image has a name. */
export function repositoriesDocument(images: readonly SelectedImage[]): string | undefined {
  const repositories = new Map<string, Map<string, string>>();
  for (const { references, layers } of images) {
    const top = layers.at(-1);
    if (top === undefined) continue;
    for (const { repository, tag = '' } of references) {
      const tags = repositories.get(repository) ?? new Map<string, string>();
      repositories.set(repository, tags.set(tag, hexOf(top.diffId)));
    }
  }
  if (repositories.size === 0) return undefined;
  return `${goJson(sortedKeys([...repositories].map(([name, tags]) => [name, sortedKeys(tags)] as const)))}\n`;
}

function layerDescriptor(digest: Digest, sizes: LayerSizes) {
  return { mediaType: MEDIA_TYPES.ociLayer, digest, size: sizes.get(digest) ?? 0 };
}

/** Returns a layer's descriptor with its fields in the order of docker's own struct. */
function layerSource(digest: Digest, sizes: LayerSizes) {
  return { mediaType: MEDIA_TYPES.ociLayer, size: sizes.get(digest) ?? 0, digest };
}
