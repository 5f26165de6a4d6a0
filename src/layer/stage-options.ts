/** What both forms of staging take, and the check that both make. */
import { diffIdOf, type DiffID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import type { LayerApplied, LayerLimits } from '../system/native.ts';

export interface StageOptions {
  readonly limits: LayerLimits;
  readonly signal?: AbortSignal | undefined;
  /** Receives the bytes of the source that were taken so far. */
  readonly onProgress?: (bytes: number) => void;
  readonly expectedDiffId?: DiffID;
  /** The layer's name in messages, e.g. its archive member. Default: the expected DiffID. */
  readonly name?: string;
  /** Default: `classic`, Docker's own. */
  readonly form?: LayerForm | undefined;
}

/** The form of a layer in the store: extracted into `overlay2`, or packed as its tar with an index. */
export type LayerForm = 'classic' | 'packed';

/** The form that a caller asks for. `auto`: packed at once, and settled in the background. */
export type StoreForm = LayerForm | 'auto';

/** Returns the form in which layers are staged. */
export function stagedForm(form: StoreForm | undefined): LayerForm {
  return form === undefined || form === 'classic' ? 'classic' : 'packed';
}

/** @throws {@link LayerstackError} ERR_DIGEST_MISMATCH for another DiffID than the expected one. */
export function requireDiffId(
  { diffId }: LayerApplied,
  { expectedDiffId }: Pick<StageOptions, 'expectedDiffId'>,
): DiffID {
  if (expectedDiffId === undefined || expectedDiffId === diffId) return diffIdOf(diffId);
  throw new LayerstackError(
    'ERR_DIGEST_MISMATCH',
    `the uncompressed tar has the digest ${diffId}, but the image config says ${expectedDiffId}`,
    { digest: expectedDiffId, expected: expectedDiffId, found: diffId },
  );
}
