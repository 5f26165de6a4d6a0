/**
 * The steps that make an RW layer and its init layer. The owner adds them to its own batch, so that all of it
 * is one transaction. Nothing is mounted.
 */
import type { ChainID } from '../core/digest.ts';
import type { Overlay } from '../layer/overlay.ts';
import { REPAIR } from '../layer/check-overlay.ts';
import { isClassic } from '../layer/layerdb.ts';
import { openChain } from '../layer/packed/chain.ts';
import type { LayerStore } from '../layer/store.ts';
import type { Layout } from '../system/layout.ts';
import { remember } from '../core/remember.ts';
import type { BatchStep } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { readText } from '../system/store-files.ts';
import { entrySteps } from './entry.ts';
import type { Base, NewRwLayer } from './rwlayer.ts';
import { childSteps, overlayOf } from './sealed.ts';

/** A base whose layers stay until it is disposed. */
export interface PinnedBase extends Base, AsyncDisposable {}

/** The number of stacks kept in memory, a few KB each. */
const REMEMBERED = 64;

/** The stacks of a store's layers, for RW layers above them. */
export class Bases {
  readonly #root: Root;
  readonly #layers: LayerStore;
  readonly #overlay: Overlay;
  /** Keys are cache-ids, which are never used twice. */
  readonly #stacks = new Map<string, readonly string[]>();

  constructor(root: Root, layers: LayerStore, overlay: Overlay) {
    this.#root = root;
    this.#layers = layers;
    this.#overlay = overlay;
  }

  /** @see RwLayerStore.base */
  async pin(parent: ChainID | undefined, signal: AbortSignal | undefined): Promise<PinnedBase> {
    if (parent === undefined) return { parent, lowers: [], [Symbol.asyncDispose]: () => Promise.resolve() };
    // Deleting a layer takes its lock exclusively. Repairing any layer takes the lock REPAIR exclusively.
    const lock = await this.#root.locks.acquireAll('layers', [parent, REPAIR], { signal, shared: true });
    try {
      const lowers = this.#knownStack(parent);
      if (lowers === undefined && !isClassic(this.#root, parent)) return await this.#openPacked(parent, lock);
      return {
        parent,
        lowers: lowers ?? (await this.#stack(parent)),
        [Symbol.asyncDispose]: () => lock.release(),
      };
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** Returns the base on a packed layer, which is mounted until it is disposed. */
  async #openPacked(parent: ChainID, lock: AsyncDisposable): Promise<PinnedBase> {
    const { names: lowers, directories, ...chain } = await openChain(this.#root, this.#layers, parent);
    const dispose = async (): Promise<void> => {
      await chain[Symbol.asyncDispose]();
      await lock[Symbol.asyncDispose]();
    };
    return { parent, lowers, directories, [Symbol.asyncDispose]: dispose };
  }

  /**
   * Returns the stack where it is known. A layer is removed as a whole, and the stack below its directory
   * never changes. So one small read shows that it exists.
   */
  #knownStack(parent: ChainID): readonly string[] | undefined {
    const { layout } = this.#root;
    const present = readText(layout.at(layout.layer(parent, 'cache-id')))?.trim() ?? '';
    return this.#stacks.get(present);
  }

  /** Returns the stack as `lower` names it. Its top is marked as a parent (`committed`). */
  async #stack(parent: ChainID): Promise<readonly string[]> {
    const { cacheId = '' } = await this.#layers.get(parent);
    const [lowers] = await Promise.all([this.#overlay.lowersOf(cacheId), this.#overlay.commit(cacheId)]);
    remember(this.#stacks, cacheId, lowers, REMEMBERED);
    return lowers;
  }
}

/** Independent steps: two threads can run `init` and `own`. */
export interface CreateSteps {
  readonly init: readonly BatchStep[];
  readonly own: readonly BatchStep[];
}

/** @see RwLayerStore.createSteps */
export function createSteps(layout: Layout, overlay: Overlay, layer: NewRwLayer): CreateSteps {
  return { init: initSteps(layout, overlay, layer), own: ownSteps(layout, overlay, layer) };
}

function initSteps(layout: Layout, overlay: Overlay, layer: NewRwLayer): BatchStep[] {
  const { initId, initLink, lowers, directories = lowers } = layer;
  if (initId === undefined) return [];
  const below = directories.map((directory) => layout.lower(directory));
  return [
    ...overlay.createSteps(initId),
    { op: 'populateInit', root: layout.root, lowers: below, upper: layout.overlay(initId, 'diff') },
    ...overlay.stackSteps({ id: initId, link: initLink, lowers }),
    { op: 'write', path: layout.overlay(initId, 'committed'), data: '', mode: 0o600 },
  ];
}

function ownSteps(layout: Layout, overlay: Overlay, layer: NewRwLayer): BatchStep[] {
  const { mountId, link, initId, initLink, lowers, sealed } = layer;
  const [below] = sealed;
  const init = initId === undefined ? [] : [`l/${initLink}`];
  return [
    ...(below === undefined ? [] : childSteps(layout, overlayOf(layout, below), mountId)),
    ...directorySteps(layout, overlay, layer),
    ...overlay.stackSteps({ id: mountId, link, lowers: [...sealed, ...init, ...lowers] }),
    ...entrySteps(layout, layer),
  ];
}

/**
 * The upper's root directory is that of the root file system. Above a sealed upper, it starts as a copy of
 * the sealed upper's.
 */
function directorySteps(layout: Layout, overlay: Overlay, { mountId, sealed }: NewRwLayer): BatchStep[] {
  const [below] = sealed;
  if (below === undefined) return overlay.createSteps(mountId);
  return [
    { op: 'mkdir', path: layout.overlay(mountId), mode: 0o710 },
    { op: 'emptyCopy', root: layout.at(layout.overlay2), from: below, to: `${mountId}/diff` },
  ];
}

/**
 * Returns the markers, the init layer's first. After a crash, each marked directory is removed, even if
 * another one depends on it.
 */
export function createMarkers({ initId, mountId }: NewRwLayer): Marker[] {
  return [...(initId === undefined ? [] : [`overlay2.${initId}` as const]), `overlay2.${mountId}`];
}

/** Returns the parts that {@link createSteps} makes: the trees, and the short names that lead to them. */
export function createdParts(layout: Layout, layer: NewRwLayer): { trees: string[]; links: BatchStep[] } {
  const links = [layer.link, layer.initLink];
  const overlays = [layer.mountId, ...(layer.initId === undefined ? [] : [layer.initId])];
  return {
    trees: [layout.mount(layer.key), ...overlays.map((overlay) => layout.overlay(overlay))],
    links: links.map((link) => ({ op: 'unlink', path: layout.link(link), missing: true })),
  };
}
