/** Reads the metadata of all layers of a store at once, for the disk usage and the tree of layers. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ChainID } from '../core/digest.ts';
import type { Layout } from '../system/layout.ts';
import { LayerUses } from './uses.ts';

/** A layer with its parent and its size. */
export interface LayerNode {
  readonly chainId: ChainID;
  readonly parent: ChainID | undefined;
  /** Bytes of its own content. */
  readonly size: number;
}

/** Reading yields to other work on the event loop after this many files (a millisecond). */
const SLICE = 128;

/** Returns every layer with a readable size. Costs two small reads for each layer. */
export async function readGraph(
  layout: Layout,
  sizeOf: (chainId: ChainID) => number | undefined,
): Promise<Map<ChainID, LayerNode>> {
  const parents = new Map<ChainID, ChainID | undefined>();
  const { layers } = await LayerUses.count(layout, [], parents);
  const graph = new Map<ChainID, LayerNode>();
  for (const [index, chainId] of layers.entries()) {
    if (index % SLICE === SLICE - 1) await nextTurn();
    const size = sizeOf(chainId);
    if (size !== undefined) graph.set(chainId, { chainId, parent: parents.get(chainId), size });
  }
  return graph;
}

/** Returns the layer and those below it, topmost first, down to the first missing one. */
export function chainIn(graph: ReadonlyMap<ChainID, LayerNode>, top: ChainID): LayerNode[] {
  const chain: LayerNode[] = [];
  for (let next = graph.get(top); next !== undefined; next = next.parent && graph.get(next.parent))
    chain.push(next);
  return chain;
}
