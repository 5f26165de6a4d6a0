/** The name of an image that a commit or an import makes. */
import { LayerstackError } from '../core/errors.ts';
import { parseReference, withDefaultTag, type Reference } from '../core/reference.ts';

export interface NameOptions {
  /** The name of the new image, `NAME[:TAG]`. Default: it gets none. */
  readonly reference?: string | undefined;
}

/**
 * Returns the name with its tag; undefined where the image gets none.
 * @throws {@link LayerstackError} ERR_REFERENCE_INVALID, also for a name with a digest.
 */
export function newImageName({ reference: text }: NameOptions): Reference | undefined {
  if (text === undefined) return undefined;
  const reference = parseReference(text);
  if (reference.digest !== undefined)
    throw new LayerstackError(
      'ERR_REFERENCE_INVALID',
      `an image cannot be named by a digest: ${JSON.stringify(text)}`,
      { reference: text },
    );
  return withDefaultTag(reference);
}
