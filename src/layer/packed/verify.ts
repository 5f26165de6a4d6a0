/** Finds out whether the files of a packed layer are still those that were written. */
import { constants } from 'node:fs';
import { throwIfAborted } from '../../core/abort.ts';
import { isSystemError, LayerstackError } from '../../core/errors.ts';
import type { Layout } from '../../system/layout.ts';
import { openStoreFile, readText, statEntry } from '../../system/store-files.ts';
import { assembleLayer } from '../assemble.ts';
import { tarSourceOf } from '../tar-source.ts';
import type { PackedLayer } from './entry.ts';
import { versionsOf } from './versions.ts';

/**
 * Returns whether the index and the tar are the files that were written.
 * @throws system error ENOENT where the layer has vanished meanwhile.
 */
export async function hasOwnFiles(layout: Layout, { chainId }: PackedLayer): Promise<boolean> {
  const path = (name: 'layer.tar' | 'index.erofs' | 'versions'): string =>
    layout.at(layout.packedLayer(chainId, name));
  if (statEntry(path('index.erofs')) === undefined) return false;
  await using tar = await openStoreFile(path('layer.tar'), constants.O_RDONLY);
  await using index = await openStoreFile(path('index.erofs'), constants.O_RDONLY);
  return (await versionsOf(tar, index)) === readText(path('versions'));
}

/**
 * Reads the tar, and returns the error that names its damage; undefined for a sound one.
 * @throws {@link LayerstackError} ERR_ABORTED; system error ENOENT where the layer has vanished meanwhile.
 */
export async function damageOf(
  layout: Layout,
  layer: PackedLayer,
  signal: AbortSignal | undefined,
): Promise<LayerstackError | undefined> {
  try {
    for await (const chunk of assembleLayer(tarSourceOf(layout, layer))) {
      throwIfAborted(signal);
      void chunk;
    }
    return undefined;
  } catch (error) {
    if (LayerstackError.is(error) && error.code !== 'ERR_ABORTED') return error;
    throw error;
  }
}

/**
 * Returns whether the tar does not have the digest that its DiffID names. Without `deep` the tar is read only
 * if the tar or its index has changed since it was written. A layer that vanishes meanwhile is not damaged.
 */
export async function isPackedDamaged(
  layout: Layout,
  layer: PackedLayer,
  { deep, signal }: { readonly deep: boolean; readonly signal?: AbortSignal | undefined },
): Promise<boolean> {
  try {
    if (!deep && (await hasOwnFiles(layout, layer))) return false;
    return (await damageOf(layout, layer, signal)) !== undefined;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    throw error;
  }
}
