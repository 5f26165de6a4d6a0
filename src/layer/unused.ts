/**
 * Notes the layers that may have no reference, each by an empty directory `layerstack/unused/<chain>`. Such a
 * layer is about to lose a reference, or is published before its image exists. A note stays until a
 * collection has examined the layer. So the next writer that opens the root or collects also removes the
 * layers of a killed process or failed load.
 */
import type { ChainID } from '../core/digest.ts';
import type { Layout } from '../system/layout.ts';
import type { BatchStep } from '../system/native.ts';

/** Returns the steps that note the layers. */
export function noteSteps(layout: Layout, chainIds: Iterable<ChainID>): BatchStep[] {
  const notes = [...chainIds].map((chainId) => layout.unusedLayer(chainId));
  return [layout.unused, ...notes].map((path) => ({ op: 'mkdir', path, mode: 0o700, exist: true }));
}

/** Returns the steps that remove the notes. */
export function forgetSteps(layout: Layout, chainIds: Iterable<ChainID>): BatchStep[] {
  return [...chainIds].map((chainId) => ({ op: 'rmdir', path: layout.unusedLayer(chainId), missing: true }));
}
