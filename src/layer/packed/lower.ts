/**
 * The lowers of packed layers. Each layer is one, with the index of its entry. But overlayfs stacks a limited
 * number of lowers, and a container's init layer is one of them. So of a chain that is longer, the lowest
 * layers are one lower: an index over their tars together, which ends with its mount.
 */
import type { FileHandle } from 'node:fs/promises';
import { hexOf } from '../../core/digest.ts';
import { call, native } from '../../system/native.ts';
import type { Root } from '../../system/root.ts';
import { unnamedFile } from '../../system/unnamed-file.ts';
import { OWN_LAYER_LIMITS } from '../limits.ts';
import { MAX_LAYERS } from '../plan.ts';
import type { PackedLayer } from './entry.ts';
import { openIndex, type OpenIndex } from './open-index.ts';

/** The layers of one lower, topmost first. */
export type PackedLower = readonly PackedLayer[];

/** An index, and the tars that it points into, in the order of its devices. */
export interface LowerFiles extends AsyncDisposable {
  readonly index: FileHandle;
  readonly tars: readonly FileHandle[];
}

/** Leaves room for the init layer of a container. */
const MAX_LOWERS = MAX_LAYERS - 1;

/**
 * Returns the lowers of layers, both topmost first. Layers that stand on extracted ones are not merged: an
 * index of several layers has no whiteouts.
 */
export function lowersOf(layers: readonly PackedLayer[]): PackedLower[] {
  const isChain = layers.at(-1)?.parent === undefined;
  const single = layers.length > MAX_LOWERS && isChain ? MAX_LOWERS - 1 : layers.length;
  const merged = layers.slice(single);
  return [...layers.slice(0, single).map((layer) => [layer]), ...(merged.length > 0 ? [merged] : [])];
}

/**
 * Opens the files of a lower for its mount.
 * @throws {@link LayerstackError} the errors of {@link openIndex}; system errors.
 */
export async function openLower(root: Root, layers: PackedLower): Promise<LowerFiles> {
  const opened: OpenIndex[] = [];
  const closeAll = async (): Promise<void> => {
    for (const each of opened.splice(0)) await each[Symbol.asyncDispose]();
  };
  try {
    for (const layer of layers) opened.push(await openIndex(root, layer));
    const tars = opened.map(({ tar }) => tar);
    const [only, ...others] = opened;
    if (only !== undefined && others.length === 0)
      return { index: only.index, tars, [Symbol.asyncDispose]: closeAll };
    const index = await mergedIndex(root, layers, tars);
    const close = async (): Promise<void> => {
      await index.close();
      await closeAll();
    };
    return { index, tars, [Symbol.asyncDispose]: close };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

/** Writes an index over the lowest layers of a chain. Reads only headers: the tars are unchanged. */
async function mergedIndex(
  { layout }: Root,
  layers: PackedLower,
  tars: readonly FileHandle[],
): Promise<FileHandle> {
  const index = await unnamedFile(layout.root);
  try {
    const sizes = await Promise.all(tars.map(async (tar) => (await tar.stat()).size));
    const writing = new native.ErofsIndex({
      fd: index.fd,
      devices: layers.map(({ diffId }, at) => ({
        fd: tars[at]?.fd ?? -1,
        size: sizes[at] ?? 0,
        tag: hexOf(diffId),
      })),
      layers: sizes.map((size, device) => ({ device, offset: 0, size })).reverse(), // the lowest first
      hashed: false,
      limits: OWN_LAYER_LIMITS,
    });
    await call(writing.result);
    return index;
  } catch (error) {
    await index.close();
    throw error;
  }
}
