/**
 * Compares two snapshots or containers of the same image. Only the uppers that they do not share are walked.
 */
import { LayerstackError } from '../core/errors.ts';
import { readContainer, rwLayerOf, type Container } from '../container/record.ts';
import type { LayerStore } from '../layer/store.ts';
import { compareStacks, type Change } from '../rwlayer/changes.ts';
import { openDirectories } from '../rwlayer/lowers.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import { lowerOf, overlayOf, uppersOf } from '../rwlayer/sealed.ts';
import type { Layout } from '../system/layout.ts';
import type { Root } from '../system/root.ts';
import { statEntry } from '../system/store-files.ts';
import { removed } from './fork.ts';
import { titleOf } from './remove.ts';
import { isSnapshot, type Snapshot } from './snapshot.ts';

/** One of the two objects that are compared. */
interface Side {
  readonly layer: RwLayer;
  /** The overlay2 directories of its uppers, topmost first. */
  readonly ids: readonly string[];
  /** Ends the read. Throws where the uppers changed meanwhile. */
  readonly requireSame: () => void;
}

/**
 * Returns the changes that lead from `before` to `after`. Without `before`, `after` is compared with the
 * snapshot or image directly below it. The changes are sorted by path, with a directory before its content.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for different images, ERR_SNAPSHOT_NOT_FOUND,
 *   ERR_UPPER_CHANGED, ERR_UPPER_UNSUPPORTED, ERR_STORE_CORRUPT.
 */
export async function compare(
  root: Root,
  layers: LayerStore,
  after: Snapshot | Container,
  before: Snapshot | Container | undefined,
): Promise<Change[]> {
  const { layout } = root;
  const to = sideOf(layout, after);
  const from = before === undefined ? belowOf(to) : sideOf(layout, before);
  if (from.layer.parent !== to.layer.parent)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${from.layer.owner} and ${to.layer.owner} belong to different images: compare two of the same image`,
      { id: to.layer.key },
    );
  const shared = countShared(from.ids, to.ids);
  const init = from.layer.initId ?? to.layer.initId ?? initOf(layout, [before, after]);
  await using image = await openImage(root, layers, to);
  const diff = (ids: readonly string[]): string[] => ids.map((id) => layout.overlay(id, 'diff'));
  const changes = await compareStacks(layout.root, {
    before: diff(from.ids.slice(0, from.ids.length - shared)),
    after: diff(to.ids.slice(0, to.ids.length - shared)),
    lowers: [
      ...diff(to.ids.slice(to.ids.length - shared)),
      ...(init === undefined ? [] : diff([init])),
      ...image.list.map((lower) => layout.lower(lower)),
    ],
  });
  from.requireSame();
  to.requireSame();
  return changes;
}

function sideOf(layout: Layout, source: Snapshot | Container): Side {
  if (!isSnapshot(source)) {
    const layer = rwLayerOf(source);
    return { layer, ...uppersOf(layout, layer) };
  }
  const { id, depth } = source;
  const requireSame = (): void => {
    if (statEntry(layout.at(layout.snapshot(id))) === undefined) throw removed(source);
  };
  requireSame();
  const sealed = lowerOf(layout, id).slice(0, depth - 1);
  const ids = [id, ...sealed.map((name) => overlayOf(layout, name))];
  return { layer: layerOf(source), ids, requireSame };
}

/** Returns the RW layer of a snapshot, which has no init layer. */
export function layerOf(snapshot: Snapshot): RwLayer {
  const { id, layer: parent } = snapshot;
  return { key: id, owner: titleOf(snapshot), mountId: id, initId: undefined, parent };
}

function belowOf({ layer, ids, requireSame }: Side): Side {
  return { layer, ids: ids.slice(1), requireSame };
}

/** Returns the number of uppers at the bottom that both stacks share. */
function countShared(a: readonly string[], b: readonly string[]): number {
  let shared = 0;
  while (shared < Math.min(a.length, b.length) && a.at(-1 - shared) === b.at(-1 - shared)) shared++;
  return shared;
}

/**
 * Returns the init layer of a container that was sealed, while it exists. The init layers of one image have
 * the same files.
 */
function initOf(layout: Layout, sources: readonly (Snapshot | Container | undefined)[]): string | undefined {
  for (const source of sources) {
    if (!source || !isSnapshot(source)) continue;
    const container = readContainer(layout, source.containerId);
    if (container?.parent === source.layer && container?.initId !== undefined) return container.initId;
  }
  return undefined;
}

interface ImageDirectories extends AsyncDisposable {
  readonly list: readonly string[];
}

/** Opens the directories of the image's layers, topmost first. */
async function openImage(root: Root, layers: LayerStore, { layer, ids }: Side): Promise<ImageDirectories> {
  if (layer.parent === undefined) return { list: [], [Symbol.asyncDispose]: () => Promise.resolve() };
  const lowers = await openDirectories(root, layers, layer);
  const above = ids.length - 1 + (layer.initId === undefined ? 0 : 1);
  return { list: lowers.list.slice(above), [Symbol.asyncDispose]: () => lowers[Symbol.asyncDispose]() };
}
