/**
 * Checks layerdb and overlay2 (docs/docker-overlay2-store.md, "Failure modes a better store should detect and
 * repair"). Every entry must be complete and match its ChainID, its directory must be mountable, no change
 * may be unfinished, and every short name must lead to a directory. Objects that a live writer has marked are
 * skipped. With `deep`, every layer's tar is rebuilt from its files and compared with its DiffID.
 */
import { throwIfAborted } from '../core/abort.ts';
import {
  chainIdOf,
  diffIdOf,
  digestOfHex,
  isDigest,
  isHex64,
  type ChainID,
  type DiffID,
} from '../core/digest.ts';
import type { Problem } from '../core/store-finding.ts';
import type { LayerFile } from '../system/layout.ts';
import { untilPlanted, unlessPlanted } from '../system/check-entries.ts';
import { call, native } from '../system/native.ts';
import { isEntryName, listEntries, readEntry } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { hasDirectory, readText, statEntry } from '../system/store-files.ts';
import { checkContent, type GuardLayer } from './check-content.ts';
import { requireProven } from './compare.ts';
import { checkLinks, checkOrphans, checkUnfinished } from './check-leftovers.ts';
import { apply, checkOverlay, replace, stackOf, underLock } from './check-overlay.ts';
import { chainIdOn, LayerDb, type Layer } from './layerdb.ts';

/** The facts about a layer that follow from an image's config. */
export interface KnownLayer {
  readonly diffId: DiffID;
  readonly parent: ChainID | undefined;
}

export interface LayerCheckOptions {
  /** The facts that follow from the images' configs. A damaged entry can be repaired by them. */
  readonly known: ReadonlyMap<ChainID, KnownLayer>;
  /** The directories of overlay2 that belong to containers. */
  readonly containers: ReadonlySet<string>;
  readonly deep: boolean;
  readonly guard: GuardLayer;
  readonly signal?: AbortSignal | undefined;
}

const RELOAD = 'load or pull an image with this layer again: that replaces the entry';

export async function* checkLayers(root: Root, options: LayerCheckOptions): AsyncGenerator<Problem> {
  const { layout } = root;
  const names = await listEntries(layout, layout.layers);
  for (const name of names.filter(isHex64)) {
    throwIfAborted(options.signal);
    yield* untilPlanted(checkEntry(root, chainIdOf(digestOfHex(name)), options));
  }
  const layers = await completeLayers(root);
  yield* checkStacks(root, layers, options);
  yield* untilPlanted(checkUnfinished(root));
  yield* untilPlanted(checkLinks(root));
  yield* untilPlanted(checkOrphans(root, options));
  if (options.deep) for (const layer of layers) yield* untilPlanted(checkContent(root, layer, options));
}

/** Checks the files of one entry. Repairs write what the images' configs say. */
async function* checkEntry(
  root: Root,
  chainId: ChainID,
  { known }: LayerCheckOptions,
): AsyncGenerator<Problem> {
  const { layout } = root;
  const text = (file: LayerFile): Promise<string | undefined> =>
    readEntry(layout, layout.layer(chainId, file));
  const problem = (file: LayerFile, message: string, repair?: () => Promise<void>): Problem => ({
    code: 'layer-incomplete',
    severity: 'error',
    path: layout.layer(chainId, file),
    message: `layer ${chainId}: ${message}`,
    advice: repair ? 'repair writes it anew' : RELOAD,
    repair: repair && (() => underLock(root, chainId, repair)),
  });
  const write = (file: LayerFile, data: string) => () =>
    replace(root, layout.layer(chainId, file), data, 0o644);

  const [diff, parent, cacheId] = await Promise.all([text('diff'), text('parent'), text('cache-id')]);
  const fact = known.get(chainId);
  const isOwn = diff !== undefined && isDigest(diff) && (parent === undefined || isDigest(parent));
  if (!isOwn || chainIdOn(parent && chainIdOf(parent), diffIdOf(diff)) !== chainId) {
    if (fact === undefined) yield problem('diff', "its DiffID and parent are missing, or another layer's");
    else {
      if (diff !== fact.diffId)
        yield problem('diff', 'its DiffID is missing or wrong', write('diff', fact.diffId));
      if (parent !== fact.parent) {
        const { parent: wanted } = fact;
        yield problem(
          'parent',
          'its parent is missing or wrong',
          wanted === undefined
            ? () => apply(root, [{ op: 'unlink', path: layout.layer(chainId, 'parent'), missing: true }])
            : write('parent', wanted),
        );
      }
    }
  }
  if (cacheId === undefined || !isEntryName(cacheId)) {
    yield problem('cache-id', 'the name of its directory is missing, so its content cannot be found');
    return;
  }
  const diffId = fact?.diffId ?? (isOwn ? diffIdOf(diff) : undefined);
  const content = layout.at(layout.overlay(cacheId, 'diff'));
  if (!hasDirectory(content)) {
    yield { ...problem('cache-id', 'its content is missing'), path: layout.overlay(cacheId, 'diff') };
    return;
  }
  // Not trimmed, as in dockerd.
  const size = readText(layout.at(layout.layer(chainId, 'size')));
  if (size === undefined || !/^\d{1,19}$/.test(size))
    yield problem(
      'size',
      'its size is missing or not a number',
      diffId &&
        (async () => {
          await requireProven(root, { chainId, diffId, cacheId });
          await write('size', String(await call(native.contentSize(content))))();
        }),
    );
  if (statEntry(layout.at(layout.layer(chainId, 'tar-split.json.gz'))) === undefined)
    yield {
      ...problem('tar-split.json.gz', 'it cannot be saved or pushed, since its tar-split is missing'),
      code: 'layer-damaged',
      severity: 'warning',
    };
}

/** Returns the complete layers, parents before children. */
async function completeLayers(root: Root): Promise<Layer[]> {
  const { layout } = root;
  const db = new LayerDb(layout);
  const found = new Map<ChainID, Layer>();
  for (const name of (await listEntries(layout, layout.layers)).filter(isHex64)) {
    const layer = await unlessPlanted(db.find(chainIdOf(digestOfHex(name))));
    if (layer !== undefined) found.set(layer.chainId, layer);
  }
  const depths = new Map<ChainID, number>();
  const depth = ({ chainId, parent }: Layer): number => {
    const below = parent === undefined ? undefined : found.get(parent);
    const known = depths.get(chainId) ?? (below === undefined ? 0 : depth(below) + 1);
    depths.set(chainId, known);
    return known;
  };
  return [...found.values()].sort((a, b) => depth(a) - depth(b));
}

async function* checkStacks(
  root: Root,
  layers: readonly Layer[],
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
        advice: RELOAD,
      };
    const lowers = parent === undefined ? [] : stacks.get(parent);
    yield* untilPlanted(
      checkOverlay(root, { id: cacheId, owner, lowers, hasChildren: parents.has(chainId) }),
    );
    stacks.set(chainId, await unlessPlanted(stackOf(root, cacheId, lowers)));
  }
}
