/**
 * Checks the files of one entry of layerdb. Its DiffID and parent follow from the images' configs, the name
 * of its directory from the directory's content, and its size from proven content.
 */
import { chainIdOf, diffIdOf, isDigest, type ChainID, type DiffID } from '../core/digest.ts';
import type { Problem } from '../core/store-finding.ts';
import { LayerstackError } from '../core/errors.ts';
import type { LayerFile } from '../system/layout.ts';
import { call, native } from '../system/native.ts';
import { isEntryName, readEntry } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { hasDirectory, readText, statEntry } from '../system/store-files.ts';
import { REPLACE, type ContentCheckOptions } from './check-content.ts';
import { apply, REPAIR, replace, underLock } from './check-overlay.ts';
import { requireProven } from './compare.ts';
import { chainIdOn } from './chain-id.ts';
import type { ClassicLayer } from './layerdb.ts';
import { findContent } from './lost-content.ts';

/** The facts about a layer that follow from an image's config. */
export interface KnownLayer {
  readonly diffId: DiffID;
  readonly parent: ChainID | undefined;
}

export interface EntryCheckOptions extends ContentCheckOptions {
  /** The facts that follow from the images' configs. A damaged entry can be repaired by them. */
  readonly known: ReadonlyMap<ChainID, KnownLayer>;
  /** The directories of overlay2 that belong to containers. */
  readonly containers: ReadonlySet<string>;
}

export async function* checkEntry(
  root: Root,
  chainId: ChainID,
  options: EntryCheckOptions,
): AsyncGenerator<Problem> {
  const { layout } = root;
  const text = (file: LayerFile): Promise<string | undefined> =>
    readEntry(layout, layout.layer(chainId, file));
  const [diff, parent, cacheId] = await Promise.all([text('diff'), text('parent'), text('cache-id')]);
  const fact = options.known.get(chainId);
  const own = ownFacts(chainId, diff, parent);
  if (own === undefined) yield* checkIds(root, chainId, { diff, parent }, fact);
  const identity = fact ?? own;
  if (cacheId === undefined || !isEntryName(cacheId)) {
    const message = 'the name of its directory is missing';
    yield await lostContent(root, { chainId, ...identity }, message, options);
    return;
  }
  if (!hasDirectory(layout.at(layout.overlay(cacheId, 'diff')))) {
    const problem = await lostContent(root, { chainId, ...identity }, 'its content is missing', options);
    yield { ...problem, path: layout.overlay(cacheId, 'diff') };
    return;
  }
  yield* checkValues(root, { chainId, cacheId, ...identity }, options.layers);
}

/** Returns the entry's own facts; undefined if they do not match its ChainID. */
function ownFacts(
  chainId: ChainID,
  diff: string | undefined,
  parent: string | undefined,
): KnownLayer | undefined {
  if (diff === undefined || !isDigest(diff) || (parent !== undefined && !isDigest(parent))) return undefined;
  const facts = { diffId: diffIdOf(diff), parent: parent === undefined ? undefined : chainIdOf(parent) };
  return chainIdOn(facts.parent, facts.diffId) === chainId ? facts : undefined;
}

function problemOf(root: Root, chainId: ChainID, file: LayerFile, message: string): Omit<Problem, 'repair'> {
  return {
    code: 'layer-incomplete',
    severity: 'error',
    path: root.layout.layer(chainId, file),
    message: `layer ${chainId}: ${message}`,
    advice: 'repair writes it again',
  };
}

function writing(root: Root, chainId: ChainID, file: LayerFile, data: string): () => Promise<void> {
  return () => underLock(root, chainId, () => replace(root, root.layout.layer(chainId, file), data, 0o644));
}

function* checkIds(
  root: Root,
  chainId: ChainID,
  { diff, parent }: { readonly diff: string | undefined; readonly parent: string | undefined },
  fact: KnownLayer | undefined,
): Generator<Problem> {
  const problem = (file: LayerFile, message: string) => problemOf(root, chainId, file, message);
  if (fact === undefined) {
    const message = "its DiffID and parent are missing, or another layer's";
    yield { ...problem('diff', message), advice: 'load or pull an image with it again' };
    return;
  }
  if (diff !== fact.diffId)
    yield {
      ...problem('diff', 'its DiffID is missing or wrong'),
      repair: writing(root, chainId, 'diff', fact.diffId),
    };
  if (parent === fact.parent) return;
  const path = root.layout.layer(chainId, 'parent');
  yield {
    ...problem('parent', 'its parent is missing or wrong'),
    repair:
      fact.parent === undefined
        ? () => underLock(root, chainId, () => apply(root, [{ op: 'unlink', path, missing: true }]))
        : writing(root, chainId, 'parent', fact.parent),
  };
}

/** A layer whose directory is unknown. Another directory may have its content. */
async function lostContent(
  root: Root,
  layer: { readonly chainId: ChainID } & Partial<KnownLayer>,
  message: string,
  { containers, layers, signal }: EntryCheckOptions,
): Promise<Problem> {
  const { chainId, diffId, parent } = layer;
  const problem = problemOf(root, chainId, 'cache-id', message);
  if (diffId === undefined) return { ...problem, advice: REPLACE };
  const found = await findContent(root, { chainId, diffId }, { containers, signal });
  if (found !== undefined)
    return {
      ...problem,
      advice: `repair writes the name of ${root.layout.overlay(found)}, which has its content`,
      repair: () => underLock(root, chainId, () => claim(root, chainId, found), [REPAIR]),
    };
  const { fetch } = layers;
  const repair = fetch && ((): Promise<void> => fetch({ chainId, diffId, ...(parent && { parent }) }));
  return { ...problem, advice: REPLACE, repair };
}

/** Gives the layer a directory. Fails if that was removed meanwhile. The caller holds {@link REPAIR}. */
async function claim(root: Root, chainId: ChainID, cacheId: string): Promise<void> {
  const { layout } = root;
  const diff = layout.at(layout.overlay(cacheId, 'diff'));
  if (!hasDirectory(diff))
    throw new LayerstackError('ERR_STORE_CORRUPT', `${diff} was removed meanwhile: repair again`, {
      path: diff,
    });
  await replace(root, layout.layer(chainId, 'cache-id'), cacheId, 0o644);
}

/** Checks the values that follow from the content. */
function* checkValues(
  root: Root,
  layer: Pick<ClassicLayer, 'chainId' | 'cacheId'> & Partial<KnownLayer>,
  { fetch }: EntryCheckOptions['layers'],
): Generator<Problem> {
  const { chainId, cacheId, diffId, parent } = layer;
  const { layout } = root;
  const content = layout.at(layout.overlay(cacheId, 'diff'));
  // Not trimmed, as in dockerd.
  const size = readText(layout.at(layout.layer(chainId, 'size')));
  if (size === undefined || !/^\d{1,19}$/.test(size))
    yield {
      ...problemOf(root, chainId, 'size', 'its size is missing or not a number'),
      repair:
        diffId &&
        (async () => {
          await requireProven(root, { chainId, diffId, cacheId });
          await writing(root, chainId, 'size', String(await call(native.contentSize(content))))();
        }),
    };
  if (statEntry(layout.at(layout.layer(chainId, 'tar-split.json.gz'))) === undefined)
    yield {
      ...problemOf(
        root,
        chainId,
        'tar-split.json.gz',
        'it cannot be saved or pushed, since its tar-split is missing',
      ),
      code: 'layer-damaged',
      severity: 'warning',
      advice: REPLACE,
      repair: fetch && diffId && (() => fetch({ chainId, diffId, cacheId, ...(parent && { parent }) })),
    };
}
