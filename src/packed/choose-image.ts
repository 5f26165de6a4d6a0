/** Chooses the image of an archive. */
import { LayerstackError } from '../core/errors.ts';
import { formatReference, parseReference, withDefaultTag } from '../core/reference.ts';
import type { PlannedImage } from '../transfer/ingest/planned.ts';

/** An id, or a prefix of one. */
const ID = /^(?:sha256:)?([0-9a-f]{4,64})$/;

/**
 * Returns the image with a name or id. Without `wanted` it returns the only image.
 * @param sourceName the name of the archive in messages
 * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_REFERENCE_INVALID;
 *   ERR_INVALID_ARGUMENT where there are several images and none is named.
 */
export function chooseImage(
  sourceName: string,
  planned: readonly PlannedImage[],
  wanted: string | undefined,
): PlannedImage {
  const images = planned.filter(({ intermediate }) => intermediate !== true);
  const found = wanted === undefined ? images : named(images, wanted);
  const [image, ...others] = found;
  if (image !== undefined && others.length === 0) return image;
  const there = images.map(nameOf).join(', ');
  const facts = { path: sourceName, reference: wanted };
  if (image === undefined)
    throw new LayerstackError(
      'ERR_IMAGE_NOT_FOUND',
      `${sourceName}: has no image ${JSON.stringify(wanted ?? '')}; it has ${there}`,
      facts,
    );
  if (wanted !== undefined)
    throw new LayerstackError(
      'ERR_ID_AMBIGUOUS',
      `${sourceName}: ${wanted} begins the ids of ${String(found.length)} images: give more digits`,
      facts,
    );
  throw new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    `${sourceName}: has ${String(images.length)} images: choose one with image (--image): ${there}`,
    facts,
  );
}

function named(images: readonly PlannedImage[], wanted: string): PlannedImage[] {
  const prefix = ID.exec(wanted)?.[1];
  const reference = reading(wanted, prefix !== undefined);
  const byName = images.filter(({ references }) =>
    references.some((each) => formatReference(each) === reference),
  );
  if (byName.length > 0 || prefix === undefined) return byName;
  return images.filter(({ config }) => config.id.startsWith(`sha256:${prefix}`));
}

/** Returns whether a name or id, as a caller gives it, means the image. @throws ERR_REFERENCE_INVALID. */
export function isImage(
  { id, references }: { readonly id: string; readonly references: readonly string[] },
  wanted: string,
): boolean {
  const prefix = ID.exec(wanted)?.[1];
  const reference = reading(wanted, prefix !== undefined);
  return (
    references.some((each) => each === reference) ||
    (prefix !== undefined && id.startsWith(`sha256:${prefix}`))
  );
}

/** Returns the name in the form that archives use. A text that may be an id need not be a valid name. */
function reading(wanted: string, isId: boolean): string | undefined {
  try {
    return formatReference(withDefaultTag(parseReference(wanted)));
  } catch (error) {
    if (isId && LayerstackError.is(error)) return undefined;
    throw error;
  }
}

function nameOf({ config, references }: PlannedImage): string {
  const [first] = references;
  return first === undefined ? config.id : formatReference(first);
}
