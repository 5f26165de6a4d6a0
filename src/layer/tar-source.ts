/** Says where the store has the tar of a layer, published or staged, in either form. */
import type { Layout } from '../system/layout.ts';
import type { AssembleSource } from './assemble.ts';
import type { Layer } from './layerdb.ts';
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
