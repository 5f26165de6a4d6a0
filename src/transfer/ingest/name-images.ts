/** The last step of a load: configs, parent links and names. */
import type { ImageID } from '../../core/digest.ts';
import { formatReference } from '../../core/reference.ts';
import type { ImageStore } from '../../image/store.ts';
import { parentsFirst, type PlannedImage } from './planned.ts';

export interface LoadedImage {
  readonly id: ImageID;
  /** Familiar names that point to the image now, in the archive's order. */
  readonly references: readonly string[];
  /** False where the store already had the image. */
  readonly created: boolean;
}

export interface NamedImages {
  readonly images: readonly LoadedImage[];
  readonly notices: readonly string[];
}

/**
 * Writes the configs, parents before children, then points all names to them in one rewrite. If the archive
 * gives one name to two images, the later image gets it.
 */
export async function nameImages(
  store: Pick<ImageStore, 'add'>,
  images: readonly PlannedImage[],
): Promise<NamedImages> {
  const ordered = parentsFirst(images);
  const changes = images.flatMap(({ config: { id }, references }) =>
    references.map((reference) => ({ reference, id })),
  );
  const added = await store.add(ordered, changes);
  const created = new Map(ordered.map(({ config: { id } }, index) => [id, added.created[index]]));
  const owner = new Map<string, ImageID>();
  const notices: string[] = [];
  for (const [index, { reference, id }] of changes.entries()) {
    const name = formatReference(reference);
    const previous = added.tagged[index]?.previous;
    if (previous !== undefined)
      notices.push(
        `The image ${name} already exists, renaming the old one with ID ${previous} to empty string`,
      );
    owner.set(name, id);
  }
  return {
    images: images
      .filter(({ intermediate }) => intermediate !== true)
      .map(({ config: { id }, references }) => ({
        id,
        references: references.map(formatReference).filter((name) => owner.get(name) === id),
        created: created.get(id) ?? false,
      })),
    notices,
  };
}
