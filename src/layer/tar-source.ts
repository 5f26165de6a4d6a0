/** Says where the store has the tar of a layer, published or staged, in either form, and reads it there. */
import { isSystemError } from '../core/errors.ts';
import type { Layout } from '../system/layout.ts';
import type { AssembleSource } from './assemble.ts';
import type { Layer, LayerDb } from './layerdb.ts';
import type { StagedLayer } from './staged-layer.ts';

export function tarSourceOf(layout: Layout, layer: Layer | StagedLayer): AssembleSource {
  const { diffId } = layer;
  const isStaged = 'writeSet' in layer;
  if (layer.packed) {
    const tar = isStaged
      ? layout.stagedPackedLayer(layer.writeSet, 'layer.tar')
      : layout.packedLayer(layer.chainId, 'layer.tar');
    return { tar: layout.at(tar), diffId };
  }
  const tarSplit = isStaged
    ? layout.writeSet(layer.writeSet, 'tar-split.json.gz')
    : layout.layer(layer.chainId, 'tar-split.json.gz');
  return {
    diff: layout.at(layout.overlay(layer.cacheId, 'diff')),
    tarSplit: layout.at(tarSplit),
    diffId,
  };
}

/** Reads the tar of one layer by a function that opens it at its first read. */
export type TarReader = <T>(
  read: (source: AssembleSource) => AsyncGenerator<T, void, undefined>,
) => AsyncGenerator<T, void, undefined>;

/**
 * Returns the reader of a layer. Another writer may extract a packed layer, and so remove its tar, before the
 * tar is open. Then the reader rebuilds the tar from the extracted layer.
 */
export function tarReaderOf(layout: Layout, db: Pick<LayerDb, 'find'>, layer: Layer): TarReader {
  return async function* (read) {
    let isOpen = false;
    try {
      for await (const piece of read(tarSourceOf(layout, layer))) {
        isOpen = true;
        yield piece;
      }
    } catch (error) {
      if (isOpen || !layer.packed || !isSystemError(error, 'ENOENT')) throw error;
      const extracted = await db.find(layer.chainId);
      if (extracted === undefined) throw error;
      yield* read(tarSourceOf(layout, extracted));
    }
  };
}
