/** All layers of a store at once, by their metadata: what disk usage and the tree of layers are made of. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ChainID } from '../core/digest.ts';
import type { Layout } from '../system/layout.ts';
import type { LayerDb } from './layerdb.ts';
import { LayerUses } from './uses.ts';

/** A layer among the others. */
export interface LayerNode {
  readonly chainId: ChainID;
  readonly parent: ChainID | undefined;
  /** Bytes of its own content. */
  readonly size: number;
}

/** Reading gives way to other work on the event loop after this many files (a millisecond). */
const SLICE = 128;

/** Every layer with a readable size. Costs two small reads a layer. */
export async function readGraph(layout: Layout, db: LayerDb): Promise<Map<ChainID, LayerNode>> {
  const parents = new Map<ChainID, ChainID | undefined>();
  const { layers } = await LayerUses.count(layout, [], parents);
  const graph = new Map<ChainID, LayerNode>();
  for (const [index, chainId] of layers.entries()) {
    if (index % SLICE === SLICE - 1) await nextTurn();
    const size = db.size(chainId);
    if (size !== undefined) graph.set(chainId, { chainId, parent: parents.get(chainId), size });
  }
  return graph;
}

/** The layer and those below it, topmost first, as far as they are there. */
export function chainIn(graph: ReadonlyMap<ChainID, LayerNode>, top: ChainID): LayerNode[] {
  const chain: LayerNode[] = [];
  for (let next = graph.get(top); next !== undefined; next = next.parent && graph.get(next.parent))
    chain.push(next);
  return chain;
}
