/** Extracts the layers into the place, as into a store, where the kernel cannot mount an index. */
import { dirname, join } from 'node:path';
import { applyLayer } from '../layer/apply.ts';
import type { Capabilities } from '../system/caps.ts';
import { call, native, type LayerWarning } from '../system/native.ts';
import { spaceError } from '../system/space.ts';
import { DEFAULT_LIMITS } from '../transfer/ingest/layer-pool.ts';
import { layerError, requireBlob, requireDiffId, type OpenedLayer } from './layers.ts';
import { extractedLayer } from './mount.ts';
import type { Place } from './place.ts';

export interface ExtractOptions {
  /** The name of the archive in messages. */
  readonly sourceName: string;
  readonly caps: Pick<Capabilities, 'zstd'>;
  readonly verify: boolean;
  /** Bytes of all layers together, including holes of sparse files. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Extracts the layers to the lowers of the place.
 * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH for a layer whose DiffID differs from that in the
 *   image; ERR_LAYER_INVALID and its like, ERR_LIMIT_EXCEEDED, ERR_NO_SPACE, ERR_ABORTED.
 */
export async function extractLayers(
  layers: readonly OpenedLayer[],
  place: Place,
  options: ExtractOptions,
): Promise<LayerWarning[]> {
  const warnings: LayerWarning[] = [];
  let left = options.maxBytes;
  for (const [at, layer] of layers.entries()) {
    const diff = extractedLayer(at);
    const applied = await extract(layer, place, diff, { ...options, maxBytes: left });
    left = Math.max(0, left - applied.tarSize - applied.holeBytes);
    warnings.push(...applied.warnings);
  }
  return warnings;
}

async function extract(
  layer: OpenedLayer,
  place: Place,
  diff: string,
  { sourceName, caps, verify, maxBytes, signal }: ExtractOptions,
): Promise<Awaited<ReturnType<typeof applyLayer>>> {
  const directory = dirname(diff);
  try {
    await call(
      native.batch(place.path, [
        { op: 'mkdir', path: directory, mode: 0o700 },
        { op: 'mkdir', path: diff, mode: 0o755 },
      ]),
    );
    const target = { diff: join(place.path, diff), tarSplit: join(place.path, directory, 'tar-split') };
    const applied = await applyLayer(layer.range, target, {
      limits: { ...DEFAULT_LIMITS, maxBytes },
      caps,
      signal,
    });
    if (verify) {
      requireDiffId(sourceName, layer, applied.diffId);
      requireBlob(sourceName, layer, applied.blobDigest);
    }
    return applied;
  } catch (error) {
    throw spaceError(layerError(error, sourceName, layer.name), place.path, `in ${place.path}`);
  }
}
