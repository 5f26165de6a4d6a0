/** Adds the source and the layer's name to errors of a layer. */
import { LayerstackError, type ErrorCode } from '../../core/errors.ts';

export interface LayerOrigin {
  /** The archive, or the reference of the image in its registry. */
  readonly sourceName: string;
  /** The advice for damaged bytes. */
  readonly hint: string;
  /** Uncompressed bytes of all layers together, holes of sparse files included. */
  readonly maxBytes: number;
}

/** Errors about the whole load or pull, not about the layer at which they occurred. */
const SHARED: readonly ErrorCode[] = [
  'ERR_ABORTED',
  'ERR_NO_SPACE',
  'ERR_ARCHIVE_INVALID',
  'ERR_ARCHIVE_TRUNCATED',
];

/** Errors for bytes that have changed since they were written. */
const DAMAGE: readonly ErrorCode[] = ['ERR_DIGEST_MISMATCH', 'ERR_LAYER_TRUNCATED'];

/** Returns the error of a layer. A registry's own errors already name everything. */
export function inLayer(error: LayerstackError, origin: LayerOrigin, layer: string): LayerstackError {
  if (SHARED.includes(error.code) || error.code.startsWith('ERR_REGISTRY_')) return error;
  const { sourceName, hint } = origin;
  const message = error.layer === undefined ? `layer '${layer}': ${error.message}` : error.message;
  // An error that names a repository already gives the advice.
  const ending = DAMAGE.includes(error.code) && error.repository === undefined ? `; ${hint}` : '';
  return LayerstackError.within(error, `${sourceName}: ${message}${ending}`, {
    path: error.path ?? sourceName,
    layer,
  });
}

export function layersTooLarge(
  { sourceName, maxBytes }: LayerOrigin,
  layer: string,
  cause?: LayerstackError,
): LayerstackError {
  return new LayerstackError(
    'ERR_LIMIT_EXCEEDED',
    `${sourceName}: its layers have more than ${String(maxBytes)} bytes uncompressed, holes of sparse files included; ` +
      `if you trust it, allow more with maxBytes (--max-bytes)`,
    { path: sourceName, limit: maxBytes, layer, member: cause?.member, cause },
  );
}

export function notALayer({ sourceName, hint }: LayerOrigin, layer: string): LayerstackError {
  return new LayerstackError(
    'ERR_LAYER_INVALID',
    `${sourceName}: layer '${layer}' is not a tar, plain or compressed; ${hint}`,
    { path: sourceName, layer },
  );
}
