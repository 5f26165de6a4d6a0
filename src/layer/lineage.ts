/** Follows the parents of layers, in either form. */
import type { ChainID } from '../core/digest.ts';
import type { Layout } from '../system/layout.ts';
import { MAX_LAYERS } from './plan.ts';
import { readParent } from './uses.ts';

/** Returns the layer `top` and those that it stands on, topmost first. */
export function lineageOf(layout: Layout, top: ChainID): ChainID[] {
  const lineage: ChainID[] = [];
  for (let at: ChainID | undefined = top; at !== undefined && lineage.length < MAX_LAYERS;) {
    lineage.push(at);
    at = readParent(layout, at);
  }
  return lineage;
}

/** Returns whether `below` is the layer `top`, or one that it stands on. */
export function standsOn(layout: Layout, top: ChainID, below: ChainID): boolean {
  return lineageOf(layout, top).includes(below);
}
