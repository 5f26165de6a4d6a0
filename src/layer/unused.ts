/**
 * Notes of layers that may have no reference (`layerstack/unused/<chain>`, an empty directory each): one that is about to lose
 * one, or that is published before there is an image for it. They stay until somebody has looked, so that what a killed
 * process or a failed load leaves is collected by the next writer that opens the root or collects.
 */
import type { ChainID } from '../core/digest.ts';
import type { Layout } from '../system/layout.ts';
import type { BatchStep } from '../system/native.ts';

/** Steps that note the layers. */
export function noteSteps(layout: Layout, chainIds: Iterable<ChainID>): BatchStep[] {
  const notes = [...chainIds].map((chainId) => layout.unusedLayer(chainId));
  return [layout.unused, ...notes].map((path) => ({ op: 'mkdir', path, mode: 0o700, exist: true }));
}

/** Steps that take the notes away. */
export function forgetSteps(layout: Layout, chainIds: Iterable<ChainID>): BatchStep[] {
  return [...chainIds].map((chainId) => ({ op: 'rmdir', path: layout.unusedLayer(chainId), missing: true }));
}
