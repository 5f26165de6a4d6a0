/**
 * Checks layerdb and overlay2 (docs/docker-overlay2-store.md, "Failure modes a better store should detect and
 * repair"). Every entry is complete and matches its ChainID, its directory can be mounted, no change is half
 * done, and every short name leads to a directory. Objects that a live writer has marked are skipped. With
 * `deep`, every layer's tar is rebuilt from its files and compared with its DiffID.
 */
import { throwIfAborted } from '../core/abort.ts';
import {
  chainIdOf,
  diffIdOf,
  digestOfHex,
  hexOf,
  isDigest,
  isHex64,
  type ChainID,
  type DiffID,
} from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import type { Problem } from '../core/store-finding.ts';
import type { LayerFile } from '../system/layout.ts';
import { call, native } from '../system/native.ts';
import { isEntryName, listEntries, readEntry, removeLayerEntries } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { allMarkers } from '../system/session.ts';
import { hasDirectory, readLink, readStoreFile, readText, statEntry } from '../system/store-files.ts';
import { assembleLayer } from './assemble.ts';
import { apply, checkOverlay, replace, stackOf } from './check-overlay.ts';
import { chainIdOn } from './chain-id.ts';
import { LayerDb, type ClassicLayer } from './layerdb.ts';
import { MAX_SNAPSHOTS_BYTES } from './uses.ts';

/** The facts that an image's config has about a layer. */
export interface KnownLayer {
  readonly diffId: DiffID;
  readonly parent: ChainID | undefined;
}

export interface LayerCheckOptions {
  /** The facts from the images' configs, from which a damaged entry can be written anew. */
  readonly known: ReadonlyMap<ChainID, KnownLayer>;
  /** The directories of overlay2 that belong to containers. */
  readonly containers: ReadonlySet<string>;
  readonly deep: boolean;
  readonly signal?: AbortSignal | undefined;
}

const RELOAD = 'load or pull an image with it again: the entry is replaced then';

export async function* checkLayers(root: Root, options: LayerCheckOptions): AsyncGenerator<Problem> {
  const { layout } = root;
  const names = await listEntries(layout, layout.layers);
  for (const name of names.filter(isHex64)) {
    throwIfAborted(options.signal);
    yield* checkEntry(root, chainIdOf(digestOfHex(name)), options);
  }
  const layers = await completeLayers(root);
  yield* checkStacks(root, layers, options);
  yield* checkUnfinished(root);
  yield* checkLinks(root);
  yield* checkOrphans(root, options);
  if (options.deep) for (const layer of layers) yield* checkContent(root, layer, options.signal);
}

/** Checks the files of one entry. The facts of the images repair them. */
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
    if (fact === undefined) yield problem('diff', 'its DiffID and parent are missing, or another layer’s');
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
  const content = layout.at(layout.overlay(cacheId, 'diff'));
  if (!hasDirectory(content)) {
    yield { ...problem('cache-id', 'its content is missing'), path: layout.overlay(cacheId, 'diff') };
    return;
  }
  // Not trimmed, as in dockerd.
  const size = readText(layout.at(layout.layer(chainId, 'size')));
  if (size === undefined || !/^\d{1,19}$/.test(size))
    yield problem('size', 'its size is missing or no number', async () =>
      write('size', String(await call(native.contentSize(content))))(),
    );
  if (statEntry(layout.at(layout.layer(chainId, 'tar-split.json.gz'))) === undefined)
    yield {
      ...problem('tar-split.json.gz', 'it cannot be saved or pushed, since its tar-split is missing'),
      code: 'layer-damaged',
      severity: 'warning',
    };
}

/** Returns the complete layers, parents before children. */
async function completeLayers(root: Root): Promise<ClassicLayer[]> {
  const { layout } = root;
  const ids = (await listEntries(layout, layout.layers))
    .filter(isHex64)
    .map((name) => chainIdOf(digestOfHex(name)));
  const found = new Map(
    (await new LayerDb(layout).findAll(ids)).flatMap((layer) => (layer ? [[layer.chainId, layer]] : [])),
  );
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
        message: `${owner} stands on ${parent}, which is not in the store or not complete`,
        advice: RELOAD,
      };
    const lowers = parent === undefined ? [] : stacks.get(parent);
    yield* checkOverlay(root, { id: cacheId, owner, lowers, hasChildren: parents.has(chainId) });
    stacks.set(chainId, await stackOf(root, cacheId, lowers));
  }
}

/**
 * Finds objects that a dead process left half made or half removed. A killed dockerd leaves such objects,
 * since it completes removals only when it stops gracefully.
 */
async function* checkUnfinished(root: Root): AsyncGenerator<Problem> {
  const { layout } = root;
  const found = [
    ...(await listEntries(layout, layout.writeSets)).map((name) => ({
      path: layout.writeSet(name),
      marker: name.replace(/^write-set-/, 'write-set.'),
      what: 'a layer that was never completed',
      remove: () => call(native.removeTree(layout.root, layout.writeSet(name))).then(() => undefined),
    })),
    ...(await listEntries(layout, layout.layers))
      .filter((name) => name.endsWith('-removing'))
      .map((name) => ({
        path: `${layout.layers}/${name}`,
        marker: `removing.${name}`,
        what: 'a layer that was being removed',
        remove: async () => removeLayerEntries(layout, [name], await usedCacheIds(root, name)),
      })),
    ...(await listEntries(layout, layout.overlay2))
      .filter((name) => name.endsWith('-removing'))
      .map((name) => ({
        path: layout.overlay(name),
        marker: `overlay2.${name}`,
        what: 'a directory that was being removed',
        remove: () => call(native.removeTree(layout.root, layout.overlay(name))).then(() => undefined),
      })),
  ];
  const marked = await allMarkers(layout);
  for (const { path, marker, what, remove } of found) {
    if (marked.has(marker) || statEntry(layout.at(path)) === undefined) continue;
    yield {
      code: 'unfinished',
      severity: 'warning',
      path,
      message: `${what}, by a process that died`,
      advice: 'repair removes it',
      repair: async () => {
        root.session();
        await remove();
      },
    };
  }
}

async function usedCacheIds(root: Root, except: string): Promise<(cacheId: string) => boolean> {
  const { layout } = root;
  const names = (await listEntries(layout, layout.layers)).filter((name) => name !== except);
  const used = new Set(
    await Promise.all(names.map((name) => readEntry(layout, `${layout.layers}/${name}/cache-id`))),
  );
  return (cacheId) => used.has(cacheId);
}

async function* checkLinks(root: Root): AsyncGenerator<Problem> {
  const { layout } = root;
  for (const name of await listEntries(layout, layout.links)) {
    const path = layout.link(name);
    const target = readLink(layout.at(path));
    const id = /^\.\.\/([^/]+)\/diff$/.exec(target ?? '')?.[1];
    if (id !== undefined && hasDirectory(layout.at(layout.overlay(id, 'diff')))) continue;
    if (id !== undefined && (await allMarkers(layout)).has(`overlay2.${id}`)) continue;
    if (target === undefined && statEntry(layout.at(path)) === undefined) continue;
    yield {
      code: 'link-dangling',
      severity: 'warning',
      path,
      message:
        target === undefined
          ? 'no short name, but something else'
          : `a short name of ${target}, which is not there`,
      advice: target === undefined ? 'look what it is, and move it away' : 'repair removes it',
      repair: target === undefined ? undefined : () => apply(root, [{ op: 'unlink', path, missing: true }]),
    };
  }
}

/**
 * Finds directories without an owner. They are only reported: BuildKit's snapshots look the same, and its
 * database may name them in a form that layerstack cannot read.
 */
async function* checkOrphans(root: Root, { containers }: LayerCheckOptions): AsyncGenerator<Problem> {
  const { layout } = root;
  const isUsed = await usedCacheIds(root, '');
  const buildkit = await readStoreFile(layout.at(layout.buildkitSnapshots), MAX_SNAPSHOTS_BYTES);
  const marked = await allMarkers(layout);
  for (const id of await listEntries(layout, layout.overlay2)) {
    if (id === 'l' || id.endsWith('-removing') || isUsed(id) || containers.has(id)) continue;
    if (marked.has(`overlay2.${id}`) || buildkit?.includes(id) === true) continue;
    if (statEntry(layout.at(layout.overlay(id))) === undefined) continue;
    yield {
      code: 'overlay-orphan',
      severity: 'note',
      path: layout.overlay(id),
      message: 'no layer, container or BuildKit snapshot has this directory',
      advice: 'if nobody knows it, it can be deleted',
    };
  }
}

async function* checkContent(
  root: Root,
  { chainId, diffId, cacheId, size }: ClassicLayer,
  signal: AbortSignal | undefined,
): AsyncGenerator<Problem> {
  const { layout } = root;
  const diff = layout.at(layout.overlay(cacheId, 'diff'));
  const tarSplit = layout.at(layout.layer(chainId, 'tar-split.json.gz'));
  if (statEntry(tarSplit) === undefined) return;
  try {
    for await (const chunk of assembleLayer({ diff, tarSplit, diffId })) {
      throwIfAborted(signal);
      void chunk;
    }
  } catch (error) {
    if (!LayerstackError.is(error) || error.code === 'ERR_ABORTED') throw error;
    yield {
      code: 'layer-damaged',
      severity: 'error',
      path:
        error.member === undefined
          ? layout.overlay(cacheId, 'diff')
          : `${layout.overlay(cacheId, 'diff')}/${error.member}`,
      message: error.message,
      advice: `its files were changed or damaged: remove the images that have layer ${hexOf(chainId).slice(0, 12)}, and load them again`,
    };
  }
  const found = await call(native.contentSize(diff));
  if (found !== size)
    yield {
      code: 'layer-size',
      severity: 'warning',
      path: layout.layer(chainId, 'size'),
      message: `layer ${chainId} has ${found} bytes, and says ${size}`,
      advice: 'repair writes what it has',
      repair: () =>
        underLock(root, chainId, () => replace(root, layout.layer(chainId, 'size'), String(found), 0o644)),
    };
}

async function underLock(root: Root, chainId: ChainID, work: () => Promise<void>): Promise<void> {
  root.session();
  await using _lock = await root.locks.acquire('layers', chainId);
  await work();
}
