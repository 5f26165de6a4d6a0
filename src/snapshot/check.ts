/**
 * Checks snapshots: each record can be read, and has its sealed upper, its entry and a stack that can be
 * mounted; and no entry remains without a record. A repair never touches the content of a snapshot.
 */
import { throwIfAborted } from '../core/abort.ts';
import { LayerstackError, undefinedIf } from '../core/errors.ts';
import type { Problem } from '../core/store-finding.ts';
import { checkOverlay } from '../layer/check-overlay.ts';
import type { LayerStore } from '../layer/store.ts';
import { readEntry } from '../rwlayer/entry.ts';
import { lowerOf, overlayOf } from '../rwlayer/sealed.ts';
import type { Layout } from '../system/layout.ts';
import type { Root } from '../system/root.ts';
import { hasDirectory, statEntry } from '../system/store-files.ts';
import { childrenOf } from './children.ts';
import { readRecord, recordIds } from './record.ts';
import { titleOf } from './remove.ts';
import type { Snapshot } from './snapshot.ts';

export async function* checkSnapshots(
  root: Root,
  layers: LayerChains,
  { signal }: { readonly signal?: AbortSignal | undefined },
): AsyncGenerator<Problem> {
  const { layout } = root;
  for (const id of await recordIds(layout)) {
    throwIfAborted(signal);
    try {
      const record = await readRecord(layout, id);
      if (record) yield* checkSnapshot(root, layers, record.snapshot);
    } catch (error) {
      if (!LayerstackError.is(error, 'ERR_STORE_CORRUPT')) throw error;
      yield {
        ...broken(layout.snapshot(id), error.message),
        advice: `delete the record when you need nothing from ${layout.overlay(id, 'diff')}`,
      };
    }
  }
}

async function* checkSnapshot(root: Root, layers: LayerChains, snapshot: Snapshot): AsyncGenerator<Problem> {
  const { layout } = root;
  const { id } = snapshot;
  const title = titleOf(snapshot);
  const isThere = (): boolean => statEntry(layout.at(layout.snapshot(id))) !== undefined;
  if (!hasDirectory(layout.at(layout.overlay(id, 'diff')))) {
    if (isThere()) yield broken(layout.overlay(id, 'diff'), `${title}: its files are missing`);
    return;
  }
  const entry = readEntry(layout, id);
  if (entry?.mountId !== id && isThere())
    yield broken(layout.mount(id), `${title} has no entry that keeps the layers of its image`);
  const lost = await lostLower(layout, layers, id, entry);
  if (lost !== undefined) yield broken(layout.overlay(id, 'lower'), `${title}: ${lost} below it is missing`);
  const hasChildren = (await childrenOf(layout, id)).length > 0;
  yield* checkOverlay(root, { id, owner: title, lowers: undefined, hasChildren });
}

type LayerChains = Pick<LayerStore, 'chain'>;

/**
 * Returns a name in `lower` whose directory is missing. The short names of packed layers have no target. If
 * the chain of the image is complete, a mount uses the chain, so these names are not checked.
 */
async function lostLower(
  layout: Layout,
  layers: LayerChains,
  id: string,
  entry: ReturnType<typeof readEntry>,
): Promise<string | undefined> {
  const lowers = lowerOf(layout, id);
  const parent = entry?.parent;
  const chain = parent === undefined ? [] : await undefinedIf(layers.chain(parent), 'ERR_LAYER_NOT_FOUND');
  const looked = lowers.slice(0, Math.max(0, lowers.length - (chain?.length ?? 0)));
  return looked.find((name) => !leadsToDirectory(layout, name));
}

function leadsToDirectory(layout: Layout, shortName: string): boolean {
  try {
    return hasDirectory(layout.at(layout.overlay(overlayOf(layout, shortName), 'diff')));
  } catch (error) {
    if (LayerstackError.is(error, 'ERR_STORE_CORRUPT')) return false;
    throw error;
  }
}

function broken(path: string, message: string): Problem {
  return {
    code: 'snapshot-incomplete',
    severity: 'error',
    path,
    message,
    advice: 'containers on top of it cannot be mounted: remove them, then the snapshot',
  };
}
