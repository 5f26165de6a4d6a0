/**
 * Removes the layers that nothing refers to, children before parents, in dockerd's order
 * (docs/docker-overlay2-store.md, "layerdb"). It renames `sha256/H` to `H-<random>-removing`, then removes
 * the short name, the content and the entry. After the renames, the layers no longer exist for any process.
 * Their bytes are deleted in the background, under markers of the session, so that the next writer completes
 * the work of a killed one.
 *
 * A pinned layer stays (a load has found it, or a container is being made on it). It also stays noted in
 * `layerstack/unused/<chain>`, and the next collection examines it again. The same holds for the layers of a
 * process that died during a collection. Only one process at a time counts and renames: otherwise each of two
 * would count references of layers that the other is about to remove.
 */
import { randomBytes } from 'node:crypto';
import { chainIdOf, digestOfHex, hexOf, type ChainID } from '../core/digest.ts';
import { call, native, type BatchStep } from '../system/native.ts';
import { listEntries, readEntry, removeLayerEntries } from '../system/removal.ts';
import type { LockOptions } from '../system/lock.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { statEntry } from '../system/store-files.ts';
import { usedDirectories } from './cache-ids.ts';
import { REPAIR } from './check-overlay.ts';
import { isClassic } from './layerdb.ts';
import { hasPacked } from './packed/entry.ts';
import { keepLink } from './packed/publish.ts';
import { detachPacked, removePacked } from './packed/remove.ts';
import { classicNeeds, hasBothForms, unmountedLayers } from './second-forms.ts';
import { forgetSteps, noteSteps } from './unused.ts';
import { LayerUses, readParent } from './uses.ts';

/** Returns the top layers of all images, or of those of one form, as they are on disk at that time. */
export type ImageTops = (form?: 'classic') => Promise<Iterable<ChainID>>;

export interface CollectedLayer {
  readonly chainId: ChainID;
  /** Bytes of its own content; 0 when its entry was damaged. */
  readonly size: number;
}

/** A layer that is being removed. */
interface Departing {
  readonly chainId: ChainID;
  /** `<chain>-<random>-removing`, below `layerdb/sha256`. */
  readonly name: string;
}

/** The key of the lock by which collectors take turns. */
const COLLECT = 'collect';
/**
 * Layers locked at a time. The number is small because the kernel searches all locks of a file for each new
 * one.
 */
const SLICE = 200;
/** Threads that delete. File systems free the inodes of different directories in parallel. */
const DELETERS = 2;
/**
 * Layers deleted by one native call, so that for ten thousand small layers the calls do not cost most of the
 * time.
 */
const DELETED_AT_ONCE = 64;
const pinKey = (chainId: ChainID): string => `pin ${chainId}`;

export class LayerCollector {
  readonly #root: Root;
  readonly #sizeOf: (chainId: ChainID) => number | undefined;
  readonly #parents = new Map<ChainID, ChainID | undefined>();
  readonly #running = new Set<Promise<void>>();

  constructor(root: Root, sizeOf: (chainId: ChainID) => number | undefined) {
    this.#root = root;
    this.#sizeOf = sizeOf;
  }

  /** @see LayerStore.pin */
  async pin(chainIds: Iterable<ChainID>, options: Pick<LockOptions, 'signal'>): Promise<AsyncDisposable> {
    if (this.#root.readOnly) return { [Symbol.asyncDispose]: () => Promise.resolve() };
    return this.#root.locks.acquireAll('layers', Array.from(chainIds, pinKey), { ...options, shared: true });
  }

  /** @see LayerStore.collect */
  async collect(candidates: Iterable<ChainID> | 'all', imageTops: ImageTops): Promise<CollectedLayer[]> {
    this.#root.session();
    const { layout, locks } = this.#root;
    await using _turn = await locks.acquire('layers', COLLECT);
    const noted = (await listEntries(layout, layout.unused)).map((hex) => chainIdOf(digestOfHex(hex)));
    let wanted = await this.#closure(candidates === 'all' ? candidates : [...candidates, ...noted]);
    const inBoth = wanted.filter((chainId) => hasBothForms(this.#root, chainId));
    if (wanted.length > SLICE) wanted = (await this.#select(wanted, imageTops)).map(({ chainId }) => chainId);
    const removed: CollectedLayer[] = [];
    const looked = new Set([...noted, ...wanted]);
    for (let start = 0; start < wanted.length; start += SLICE) {
      const slice = wanted.slice(start, start + SLICE);
      await using held = locks.tryEach(
        'layers',
        slice.flatMap((chainId) => [chainId, pinKey(chainId)]),
      );
      const isFree = (chainId: ChainID): boolean => held.keys.has(chainId) && held.keys.has(pinKey(chainId));
      for (const chainId of slice) if (!isFree(chainId)) looked.delete(chainId);
      // If this process dies between two renames, or leaves a layer in use, the next collection starts from
      // these notes.
      await call(native.batch(layout.root, noteSteps(layout, slice)));
      removed.push(...(await this.#remove(await this.#select(slice.filter(isFree), imageTops))));
    }
    const gone = new Set(removed.map(({ chainId }) => chainId));
    const kept = inBoth.filter((chainId) => !gone.has(chainId));
    if (kept.length > 0)
      for (const chainId of await this.#dropSecondForms(kept, imageTops)) looked.delete(chainId);
    await call(native.batch(layout.root, forgetSteps(layout, looked)));
    return removed;
  }

  /** Returns the layers that stay in both forms, since they are in use, or a layer above them is. */
  async #dropSecondForms(chainIds: readonly ChainID[], imageTops: ImageTops): Promise<ChainID[]> {
    await using held = this.#root.locks.tryEach('layers', [
      REPAIR,
      ...chainIds.flatMap((chainId) => [chainId, pinKey(chainId)]),
    ]);
    const isFree = (chainId: ChainID): boolean => held.keys.has(chainId) && held.keys.has(pinKey(chainId));
    const both = chainIds.filter((chainId) => isFree(chainId) && hasBothForms(this.#root, chainId));
    const needs = await classicNeeds(this.#root, await imageTops('classic'));
    const packed = both.filter((chainId) => needs.has(chainId));
    await removePacked(this.#root, packed);
    if (held.keys.has(REPAIR)) {
      using unmounted = await unmountedLayers(
        this.#root,
        both.filter((chainId) => !needs.has(chainId)),
      );
      const classic = needs.unneeded(unmounted.chainIds);
      for (const chainId of classic) await keepLink(this.#root, chainId);
      await this.#removeClassic(classic);
    }
    return chainIds.filter((chainId) => hasBothForms(this.#root, chainId));
  }

  /** Renames the layers and begins to delete them. The caller holds their locks. */
  async #remove(layers: readonly CollectedLayer[]): Promise<readonly CollectedLayer[]> {
    if (layers.length === 0) return [];
    const chainIds = layers.map(({ chainId }) => chainId);
    // Packed layers are above the others.
    const deletePacked = await detachPacked(this.#root, chainIds);
    if (deletePacked !== undefined) this.#runLater(deletePacked());
    await this.#removeClassic(chainIds);
    return layers;
  }

  /** Renames the extracted layers, and begins to delete them. The caller holds their locks. */
  async #removeClassic(chainIds: readonly ChainID[]): Promise<void> {
    const { layout } = this.#root;
    const departing = chainIds
      .filter((chainId) => isClassic(this.#root, chainId))
      .map((chainId) => ({
        chainId,
        name: `${hexOf(chainId)}-${randomBytes(32).toString('hex')}-removing`,
      }));
    if (departing.length === 0) return;
    const flats = chainIds.flatMap((chainId) => this.#flats(chainId));
    const rename = (from: string, to: string): BatchStep => ({ op: 'rename', from, to });
    await this.#root
      .session()
      .mark(
        [
          ...departing.map(({ name }): Marker => `removing.${name}`),
          ...flats.map(({ temporary }): Marker => `flat.${temporary}`),
        ],
        [
          ...departing.map(({ chainId, name }) => rename(layout.layer(chainId), `${layout.layers}/${name}`)),
          ...flats.map(({ name, temporary }) => rename(layout.flat(name), layout.flat(temporary))),
        ],
      );
    const temporaries = flats.map(({ temporary }) => temporary);
    this.#runLater(this.#delete(departing, temporaries));
  }

  /** @see LayerStore.collectable */
  async plan(candidates: Iterable<ChainID> | 'all', imageTops: ImageTops): Promise<CollectedLayer[]> {
    return this.#select(await this.#closure(candidates), imageTops);
  }

  /** Waits for the deletions in the background. */
  async drain(): Promise<void> {
    await Promise.all(this.#running);
  }

  /** Returns the candidates and all layers below them, if they have an entry in layerdb. */
  async #closure(candidates: Iterable<ChainID> | 'all'): Promise<readonly ChainID[]> {
    const { layout } = this.#root;
    if (candidates === 'all') return (await LayerUses.count(layout, [], this.#parents)).layers;
    const found = new Set<ChainID>();
    for (const candidate of candidates) {
      for (let next: ChainID | undefined = candidate; next !== undefined && !found.has(next);) {
        found.add(next);
        next = readParent(layout, next);
      }
    }
    return [...found].filter((chainId) => isClassic(this.#root, chainId) || hasPacked(layout, chainId));
  }

  /** Returns the candidates that nothing refers to, children before parents. */
  async #select(candidates: readonly ChainID[], imageTops: ImageTops): Promise<CollectedLayer[]> {
    const { layout } = this.#root;
    if (candidates.length === 0) return [];
    const uses = await LayerUses.count(layout, await imageTops(), this.#parents);
    const removable = new Set<ChainID>();
    for (const chainId of candidates) {
      const cacheId = (): Promise<string | undefined> => readEntry(layout, layout.layer(chainId, 'cache-id'));
      if (!(await uses.isRoot(chainId, cacheId))) removable.add(chainId);
    }
    const selected: CollectedLayer[] = [];
    const childless = (chainId: ChainID): boolean =>
      removable.has(chainId) && (uses.children.get(chainId) ?? 0) === 0;
    const queue = candidates.filter(childless);
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      selected.push({ chainId: next, size: this.#sizeOf(next) ?? 0 });
      const parent = this.#parents.get(next);
      if (parent === undefined) continue;
      uses.children.set(parent, (uses.children.get(parent) ?? 0) - 1);
      if (childless(parent)) queue.unshift(parent);
    }
    return selected;
  }

  /**
   * Returns the flat lowers of the layer's chain. They go too, since their hard links would keep its bytes.
   */
  #flats(chainId: ChainID): { readonly name: string; readonly temporary: string }[] {
    const { layout } = this.#root;
    return [hexOf(chainId), `${hexOf(chainId)}-init`]
      .filter((name) => statEntry(layout.at(layout.flat(name))) !== undefined)
      .map((name) => ({ name, temporary: `.tmp-${randomBytes(8).toString('hex')}` }));
  }

  /** Lets a deletion run in the background. {@link drain} waits for it. */
  #runLater(deletion: Promise<void>): void {
    const running = deletion.catch((error: unknown) => {
      this.#root.log.warn('the files of removed layers are left to the next writer', {
        error: String(error),
      });
    });
    this.#running.add(running);
    void running.then(() => this.#running.delete(running));
  }

  async #delete(layers: readonly Departing[], flats: readonly string[]): Promise<void> {
    const { layout } = this.#root;
    const session = this.#root.session();
    for (const name of flats) {
      await call(native.removeTree(layout.root, layout.flat(name)));
      await session.unmark([`flat.${name}`]);
    }
    const left = layers.map(({ name }) => name);
    const slice = Math.max(1, Math.min(DELETED_AT_ONCE, Math.floor(left.length / DELETERS)));
    const failed: unknown[] = [];
    const used = await usedDirectories(layout, (name) => name.endsWith('-removing'));
    // A layer that cannot be deleted (a mount is in it) must not keep the others, so they are tried one by
    // one.
    const remove = async (names: readonly string[]): Promise<void> => {
      try {
        await removeLayerEntries(layout, names, (cacheId) => used.has(cacheId));
        await session.unmark(names.map((name): Marker => `removing.${name}`));
      } catch (error) {
        if (names.length > 1) for (const name of names) await remove([name]);
        else failed.push(error);
      }
    };
    const deleter = async (): Promise<void> => {
      for (let names = left.splice(0, slice); names.length > 0; names = left.splice(0, slice))
        await remove(names);
    };
    await Promise.all(Array.from({ length: DELETERS }, deleter));
    if (failed.length > 0) throw failed[0];
  }
}
