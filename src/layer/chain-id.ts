import { chainIds, diffIdOf, type ChainID, type DiffID } from '../core/digest.ts';

/** Returns the ChainID of a layer on its parent. */
export function chainIdOn(parent: ChainID | undefined, diffId: DiffID): ChainID {
  // By definition, this is the ChainID of two layers, the lower of which has the parent's ChainID as its
  // DiffID.
  return chainIds(parent === undefined ? [diffId] : [diffIdOf(parent), diffId]).at(-1) as ChainID;
}
