/**
 * Finds entries of layerdb that name the directory of another layer, or of a container or snapshot. Where
 * only layers name a directory, it belongs to the layer whose content it has.
 */
import type { Problem } from '../core/store-finding.ts';
import type { Root } from '../system/root.ts';
import { REPLACE } from './check-content.ts';
import type { EntryCheckOptions } from './check-entry.ts';
import { REPAIR, replace, underLock } from './check-overlay.ts';
import { isProven } from './compare.ts';
import type { ClassicLayer } from './layerdb.ts';
import { findContent } from './lost-content.ts';

/** A layer that names a directory which is not its own. */
export interface Dispute {
  readonly layer: ClassicLayer;
  readonly problem: Problem;
}

/** @param layers - parents before children */
export async function findDisputes(
  root: Root,
  layers: readonly ClassicLayer[],
  options: EntryCheckOptions,
): Promise<Dispute[]> {
  const claims = new Map<string, ClassicLayer[]>();
  for (const layer of layers) claims.set(layer.cacheId, [...(claims.get(layer.cacheId) ?? []), layer]);
  const disputes: Dispute[] = [];
  for (const claimants of claims.values()) {
    const isTaken = claimants.some(({ cacheId }) => options.containers.has(cacheId));
    if (claimants.length === 1 && !isTaken) continue;
    let owner: ClassicLayer | undefined;
    for (const layer of claimants) {
      const isRight = await isProven(root.layout, layer, options.signal);
      if (isRight && !isTaken && owner === undefined) owner = layer;
      else disputes.push({ layer, problem: await disputed(root, layer, isRight, options) });
    }
  }
  return disputes;
}

async function disputed(
  root: Root,
  layer: ClassicLayer,
  isRight: boolean,
  options: EntryCheckOptions,
): Promise<Problem> {
  const { layout } = root;
  const { chainId, cacheId } = layer;
  const path = layout.layer(chainId, 'cache-id');
  const other = options.containers.has(cacheId) ? 'a container or snapshot' : 'another layer';
  const problem = {
    code: 'layer-incomplete',
    severity: 'error',
    path,
    message: `layer ${chainId}: it names ${layout.overlay(cacheId)}, which is the directory of ${other}`,
  } as const;
  const found = await findContent(root, layer, options);
  if (found !== undefined)
    return {
      ...problem,
      advice: `repair writes the name of ${layout.overlay(found)}, which has its content`,
      repair: () => underLock(root, chainId, () => replace(root, path, found, 0o644), [REPAIR]),
    };
  const { fetch } = options.layers;
  if (isRight)
    return {
      ...problem,
      advice: 'repair makes a copy of the directory for it',
      repair: () => options.layers.renew(layer, options),
    };
  return { ...problem, advice: REPLACE, repair: fetch && (() => fetch(layer)) };
}
