/**
 * Selects the images that `save` writes. Each argument is an id (the image without names), a reference (the
 * image with this name) or a repository (all its images with all their names). Images and names appear once,
 * in the order of the arguments.
 * Mirrors `moby/moby: image/tarexport/save.go` (parseNames).
 */

import { isDigest, isHex64, topChainId, type ImageID } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import { formatReference, parseReference, type Reference } from '../../core/reference.ts';
import { type ImageConfig } from '../../image/config.ts';
import type { ImageStore } from '../../image/store.ts';
import type { Layer, LayerStore } from '../../layer/store.ts';

export interface SelectStores {
  readonly layers: Pick<LayerStore, 'chain'>;
  readonly images: Pick<ImageStore, 'get' | 'resolve' | 'readableReferences' | 'parent'>;
}

/** An image that is to be saved. */
export interface SelectedImage {
  readonly config: ImageConfig;
  /** Names with a tag, in familiar form. */
  readonly references: readonly Reference[];
  /** Layers, bottom to top. */
  readonly layers: readonly Layer[];
  /** The image that it was built from, where that is selected too. */
  readonly parent: ImageID | undefined;
}

/**
 * Resolves names to images.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT without names; ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS,
 *   ERR_REFERENCE_INVALID, ERR_LAYER_NOT_FOUND, ERR_STORE_CORRUPT.
 */
export async function selectImages(
  { images, layers }: SelectStores,
  names: readonly string[],
): Promise<SelectedImage[]> {
  if (names.length === 0)
    throw new LayerstackError('ERR_INVALID_ARGUMENT', 'no images to save: give at least one name or id');
  const selected = new Map<ImageID, Map<string, Reference>>();
  const known = await images.readableReferences();
  for (const name of names) {
    for (const [id, references] of await find(images, known, name)) {
      const all = selected.get(id) ?? new Map<string, Reference>();
      for (const reference of references) all.set(formatReference(reference), reference);
      selected.set(id, all);
    }
  }
  return Promise.all(
    [...selected].map(async ([id, references]) => {
      const config = await images.get(id);
      const parent = await images.parent(id);
      return {
        config,
        references: [...references.values()],
        layers: await chain(layers, config),
        parent: parent !== undefined && parent !== id && selected.has(parent) ? parent : undefined,
      };
    }),
  );
}

async function find(
  images: SelectStores['images'],
  known: ReadonlyMap<ImageID, readonly string[]>,
  name: string,
): Promise<[ImageID, Reference[]][]> {
  const reference = asReference(name);
  if (reference?.tag === undefined && reference?.digest === undefined) {
    const found = reference ? repository(known, reference.repository) : [];
    if (found.length > 0) return found;
  }
  const id = await images.resolve(name);
  // A text that is both an id and the name of an image is an id. A digest names no tag.
  const named = reference?.tag !== undefined && reference.digest === undefined;
  return [[id, named ? [reference] : []]];
}

function repository(known: ReadonlyMap<ImageID, readonly string[]>, name: string): [ImageID, Reference[]][] {
  return [...known]
    .map(([id, texts]): [ImageID, Reference[]] => [
      id,
      texts
        .map(asReference)
        .filter(
          (reference) => reference !== undefined && reference.repository === name && hasTag(reference),
        ) as Reference[],
    ])
    .filter(([, references]) => references.length > 0);
}

function hasTag({ tag, digest }: Reference): boolean {
  return tag !== undefined && digest === undefined;
}

/** Returns undefined for an id, and for a key of the store that is not a reference. */
function asReference(text: string): Reference | undefined {
  if (isDigest(text) || isHex64(text)) return undefined;
  try {
    return parseReference(text);
  } catch {
    return undefined;
  }
}

async function chain(layers: SelectStores['layers'], { diffIds }: ImageConfig): Promise<Layer[]> {
  const top = topChainId(diffIds);
  return top === undefined ? [] : (await layers.chain(top)).reverse();
}
