/**
 * Writes the index of an image: one EROFS image that shows what an overlay of the layers would show, with the
 * contents in their tars.
 */
import { fstat } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { hexOf } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { abortable } from '../layer/feed.ts';
import { call, native, type LayerWarning } from '../system/native.ts';
import { spaceError } from '../system/space.ts';
import { DEFAULT_LIMITS } from '../transfer/ingest/layer-pool.ts';
import { layerError, requireBlob, requireDiffId, type OpenedLayer } from './layers.ts';
import type { Place } from './place.ts';

const statFd = promisify(fstat);

export interface IndexOptions {
  /** The name of the archive in messages. */
  readonly sourceName: string;
  /** Reads all bytes, and compares the layers with their DiffIDs. */
  readonly verify: boolean;
  /** Bytes of each layer, including holes of sparse files. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Index {
  readonly file: FileHandle;
  /** The files into which it points, in the order of its devices. */
  readonly devices: readonly number[];
  readonly warnings: readonly LayerWarning[];
}

/**
 * Writes the index to an unnamed file.
 * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH for a layer whose DiffID differs from that in the
 *   image; ERR_LAYER_INVALID, ERR_LAYER_TRUNCATED, ERR_LAYER_ESCAPE, ERR_LIMIT_EXCEEDED as for extraction;
 *   ERR_NO_SPACE, ERR_ABORTED.
 */
export async function writeIndex(
  layers: readonly OpenedLayer[],
  place: Place,
  options: IndexOptions,
): Promise<Index> {
  const { sourceName, verify, maxBytes, signal } = options;
  const file = await place.newFile();
  try {
    const fds = [...new Set(layers.map(({ range }) => range.fd))];
    const index = new native.ErofsIndex({
      fd: file.fd,
      devices: await Promise.all(fds.map((fd) => deviceOf(fd, layers))),
      layers: layers.map(({ range }) => ({ ...range, device: fds.indexOf(range.fd) })),
      hashed: verify,
      limits: { ...DEFAULT_LIMITS, maxBytes },
    });
    const { diffIds, warnings } = await abortable(index, signal, () => call(index.result));
    if (verify)
      for (const [at, layer] of layers.entries()) requireLayer(sourceName, layer, diffIds[at] ?? '');
    return { file, devices: fds, warnings };
  } catch (error) {
    await file.close();
    throw spaceError(namedError(error, sourceName, layers), place.path, `in ${place.path}`);
  }
}

function requireLayer(sourceName: string, layer: OpenedLayer, found: string): void {
  requireDiffId(sourceName, layer, found);
  requireBlob(sourceName, layer, found);
}

async function deviceOf(
  fd: number,
  layers: readonly OpenedLayer[],
): Promise<{ readonly fd: number; readonly size: number; readonly tag: string }> {
  const [only, ...others] = layers.filter(({ range }) => range.fd === fd);
  const tag = only !== undefined && others.length === 0 ? hexOf(only.diffId) : 'archive';
  return { fd, size: (await statFd(fd)).size, tag };
}

/** Replaces the number by which native code names a layer by the layer's name. */
function namedError(error: unknown, sourceName: string, layers: readonly OpenedLayer[]): unknown {
  if (!LayerstackError.is(error)) return error;
  const layer = layers[Number(error.layer)];
  if (layer === undefined) return error;
  const unnamed = LayerstackError.within(error, error.message, { layer: undefined });
  return layerError(unnamed, sourceName, layer.name);
}
