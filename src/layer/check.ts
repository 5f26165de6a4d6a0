/**
 * Checks layerdb and overlay2 (docs/docker-overlay2-store.md, "Failure modes a better store should detect and
 * repair"). Every entry must be complete and match its ChainID, its directory must be mountable, no change
 * may be unfinished, and every short name must lead to a directory. Objects that a live writer has marked are
 * skipped. With `deep`, every layer's tar is rebuilt from its files and compared with its DiffID.
 */
import { throwIfAborted } from '../core/abort.ts';
import { chainIdOf, digestOfHex, hexOf, isHex64, type ChainID } from '../core/digest.ts';
import type { Problem } from '../core/store-finding.ts';
import { untilPlanted, unlessPlanted } from '../system/check-entries.ts';
import { listEntries } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { statEntry } from '../system/store-files.ts';
import { checkContent, REPLACE } from './check-content.ts';
import { findDisputes } from './check-disputes.ts';
import { checkEntry, type EntryCheckOptions } from './check-entry.ts';
import { checkLinks, checkOrphans, checkUnfinished } from './check-leftovers.ts';
import { checkOverlay, stackOf } from './check-overlay.ts';
import { LayerDb, type ClassicLayer } from './layerdb.ts';
import { hasPacked } from './packed/entry.ts';

export interface LayerCheckOptions extends EntryCheckOptions {
  readonly deep: boolean;
}

export async function* checkLayers(root: Root, options: LayerCheckOptions): AsyncGenerator<Problem> {
  const { layout } = root;
  const names = await listEntries(layout, layout.layers);
  for (const name of names.filter(isHex64)) {
    throwIfAborted(options.signal);
    yield* untilPlanted(checkEntry(root, chainIdOf(digestOfHex(name)), options));
  }
  yield* checkLost(root, names, options);
  const disputes = await findDisputes(root, await completeLayers(root), options);
  for (const { problem } of disputes) yield problem;
  const layers = (await completeLayers(root)).filter(({ chainId, cacheId }) =>
    disputes.every(({ layer }) => layer.chainId !== chainId || layer.cacheId !== cacheId),
  );
  yield* checkStacks(root, layers, options);
  yield* untilPlanted(checkUnfinished(root));
  yield* untilPlanted(checkLinks(root));
  yield* untilPlanted(checkOrphans(root, options));
  if (options.deep) for (const layer of layers) yield* untilPlanted(checkContent(root, layer, options));
}

/** Finds layers of images that have lost their whole entry. A copy of the layer gets a new one. */
async function* checkLost(
  root: Root,
  names: readonly string[],
  { known, layers, signal }: LayerCheckOptions,
): AsyncGenerator<Problem> {
  const { layout } = root;
  const found = new Set(names);
  for (const [chainId, { diffId, parent }] of known) {
    throwIfAborted(signal);
    // checkPacked reports packed layers.
    if (found.has(hexOf(chainId)) || hasPacked(layout, chainId)) continue;
    if (parent !== undefined && hasPacked(layout, parent)) continue;
    if (statEntry(layout.at(layout.layer(chainId))) !== undefined) continue;
    const { fetch } = layers;
    yield {
      code: 'layer-incomplete',
      severity: 'error',
      path: layout.layer(chainId),
      message: `layer ${chainId}: an image has it, but its entry is missing`,
      advice: REPLACE,
      repair: fetch && (() => fetch({ chainId, diffId, ...(parent && { parent }) })),
    };
  }
}

/** Returns the complete layers, parents before children. */
export async function completeLayers(root: Root): Promise<ClassicLayer[]> {
  const { layout } = root;
  const db = new LayerDb(layout);
  const found = new Map<ChainID, ClassicLayer>();
  for (const name of (await listEntries(layout, layout.layers)).filter(isHex64)) {
    const layer = await unlessPlanted(db.find(chainIdOf(digestOfHex(name))));
    if (layer !== undefined) found.set(layer.chainId, layer);
  }
  const depths = new Map<ChainID, number>();
  const depth = ({ chainId, parent }: ClassicLayer): number => {
    const below = parent === undefined ? undefined : found.get(parent);
    const known = depths.get(chainId) ?? (below === undefined ? 0 : depth(below) + 1);
    depths.set(chainId, known);
    return known;
  };
  return [...found.values()].sort((a, b) => depth(a) - depth(b));
}

async function* checkStacks(
  root: Root,
  layers: readonly ClassicLayer[],
  { signal }: LayerCheckOptions,
): AsyncGenerator<Problem> {
  const stacks = new Map<ChainID, readonly string[] | undefined>();
  const parents = new Set(layers.map(({ parent }) => parent));
  const present = new Set(layers.map(({ chainId }) => chainId));
  for (const { chainId, parent, cacheId } of layers) {
    throwIfAborted(signal);
    const owner = `layer ${chainId}`;
    if (parent !== undefined && !present.has(parent))
      yield {
        code: 'layer-incomplete',
        severity: 'error',
        path: root.layout.layer(chainId, 'parent'),
        message: `${owner} has the parent ${parent}, which is missing from the store or incomplete`,
        advice: 'load or pull an image with it again',
      };
    const lowers = parent === undefined ? [] : stacks.get(parent);
    yield* untilPlanted(
      checkOverlay(root, { id: cacheId, owner, lowers, hasChildren: parents.has(chainId) }),
    );
    stacks.set(chainId, await unlessPlanted(stackOf(root, cacheId, lowers)));
  }
}
