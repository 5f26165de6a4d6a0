/** Follows the parents of layers, in either form. */
import type { ChainID } from '../core/digest.ts';
import type { Layout } from '../system/layout.ts';
import { MAX_LAYERS } from './plan.ts';
import { readParent } from './uses.ts';

/** Returns whether `below` is the layer `top`, or one that it stands on. */
export function standsOn(layout: Layout, top: ChainID, below: ChainID): boolean {
  let at: ChainID | undefined = top;
  for (let depth = 0; at !== undefined && depth < MAX_LAYERS; depth++) {
    if (at === below) return true;
    at = readParent(layout, at);
  }
  return false;
}
