/**
 * Checks snapshots: each record can be read, and has its sealed upper, its entry and a stack that can be
 * mounted; and no entry remains without a record. A repair never touches the content of a snapshot.
 */
import { throwIfAborted } from '../core/abort.ts';
import { LayerstackError } from '../core/errors.ts';
import type { Problem } from '../core/store-finding.ts';
import { checkOverlay } from '../layer/check-overlay.ts';
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
  { signal }: { readonly signal?: AbortSignal | undefined },
): AsyncGenerator<Problem> {
  const { layout } = root;
  for (const id of await recordIds(layout)) {
    throwIfAborted(signal);
    try {
      const record = await readRecord(layout, id);
      if (record) yield* checkSnapshot(root, record.snapshot);
    } catch (error) {
      if (!LayerstackError.is(error, 'ERR_STORE_CORRUPT')) throw error;
      yield {
        ...broken(layout.snapshot(id), error.message),
        advice: `delete the record when nothing in ${layout.overlay(id, 'diff')} is of use`,
      };
    }
  }
}

async function* checkSnapshot(root: Root, snapshot: Snapshot): AsyncGenerator<Problem> {
  const { layout } = root;
  const { id } = snapshot;
  const title = titleOf(snapshot);
  const isThere = (): boolean => statEntry(layout.at(layout.snapshot(id))) !== undefined;
  if (!hasDirectory(layout.at(layout.overlay(id, 'diff')))) {
    if (isThere()) yield broken(layout.overlay(id, 'diff'), `${title}: its files are missing`);
    return;
  }
  if (readEntry(layout, id)?.mountId !== id && isThere())
    yield broken(layout.mount(id), `${title} has no entry that keeps the layers of its image`);
  const lost = lowerOf(layout, id).find((name) => !leadsToDirectory(layout, name));
  if (lost !== undefined) yield broken(layout.overlay(id, 'lower'), `${title}: ${lost} below it is missing`);
  const hasChildren = (await childrenOf(layout, id)).length > 0;
  yield* checkOverlay(root, { id, owner: title, lowers: undefined, hasChildren });
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
    advice: 'what is on top of it cannot be mounted: remove that, then the snapshot',
  };
}
