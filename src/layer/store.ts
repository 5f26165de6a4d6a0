/**
 * The layers of one store. A layer is *staged* (extracted and verified, in any order, in parallel, without
 * its parent), then *published* with all layers of the load (durable, visible, named by its ChainID), or
 * *discarded*. A layer that the store already has is *found*, and its source is not read.
 *
 * ```ts
 * const known = await layers.find(chainId);
 * const layer = known ?? (await layers.stage({ fd, offset, size }, { limits, expectedDiffId }));
 * await layers.publish([[base, layer]]);
 * ```
 */
import { topChainId, type ChainID, type DiffID } from '../core/digest.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import type { Lock } from '../system/lock.ts';
import { call, native } from '../system/native.ts';
import { readText } from '../system/store-files.ts';
import type { Root } from '../system/root.ts';
import { spaceError } from '../system/space.ts';
import type { LayerSource } from './apply.ts';
import { assembleLayer, layerTarSize, writeLayer } from './assemble.ts';
import { REPAIR } from './check-overlay.ts';
import { dropFlats } from './drop-flats.ts';
import { compareLayer } from './compare.ts';
import { LayerCollector, type CollectedLayer, type ImageTops } from './collector.ts';
import { readGraph, type LayerNode } from './graph.ts';
import { CompressedLayer, type CompressOptions } from './compress.ts';
import { isClassic, LayerDb, type ClassicLayer, type Layer } from './layerdb.ts';
import { Overlay } from './overlay.ts';
import { findPacked, hasPacked, packedSize } from './packed/entry.ts';
import { publishPacked } from './packed/publish.ts';
import { removePacked } from './packed/remove.ts';
import { OWN_LAYER_LIMITS } from './limits.ts';
import { classicLayers, planImages, type PlannedLayer } from './plan.ts';
import { Publication } from './publish.ts';
import { classicNeeds, hasBothForms } from './second-forms.ts';
import type { StageOptions } from './stage-options.ts';
import type { StagedLayer } from './staged-layer.ts';
import type { Staging } from './staging.ts';
import { tarReaderOf, tarSourceOf, type TarReader } from './tar-source.ts';
import { forgetSteps, noteSteps } from './unused.ts';
import { Writeback } from './writeback.ts';

export type { LayerSource } from './apply.ts';
export type { CollectedLayer, ImageTops } from './collector.ts';
export type { LayerNode } from './graph.ts';
export type { ClassicLayer, Layer } from './layerdb.ts';
export type { PackedLayer } from './packed/entry.ts';
export { formAbove } from './form-above.ts';
export { OWN_LAYER_LIMITS };
export { stagedForm, type LayerForm, type StageOptions, type StoreForm } from './stage-options.ts';
export type { StagedLayer } from './staged-layer.ts';

export interface PublishOptions {
  /** Has an effect until the first layer is renamed into place. */
  readonly signal?: AbortSignal | undefined;
}

export interface DamageOptions {
  readonly deep: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface ReplaceOptions extends PublishOptions {
  /** Keeps containers on the layer from being mounted. It is taken when the layer is locked. */
  readonly guard: GuardLayer;
}

/**
 * Claims the use of a layer for a repair of its files. The caller holds the lock `REPAIR` of
 * layer/check-overlay.ts.
 * @throws ERR_CONTAINER_MOUNTED where it is mounted.
 */
export type GuardLayer = (layer: DamagedLayer) => Promise<AsyncDisposable>;

/** A layer to replace. It has no `cacheId` where its directory is unknown. */
export type DamagedLayer = Pick<Layer, 'packed' | 'chainId' | 'diffId' | 'parent'> & {
  readonly cacheId?: string | undefined;
};

export interface PublishResult {
  /** The top ChainID of each image, in order; undefined for an image without layers. */
  readonly tops: readonly (ChainID | undefined)[];
  /** Messages for the user, e.g. that dockerd cannot use an image with so many layers. */
  readonly notices: readonly string[];
}

/** The layer store of one root. */
export class LayerStore {
  readonly #root: Root;
  readonly #db: LayerDb;
  readonly #overlay: Overlay;
  readonly #collector: LayerCollector;
  readonly #background = new Set<Promise<void>>();
  #stagingArea: Promise<Staging> | undefined;

  constructor(root: Root) {
    this.#root = root;
    this.#db = new LayerDb(root.layout);
    this.#overlay = new Overlay(root.layout);
    this.#collector = new LayerCollector(root, (chainId) => this.size(chainId));
  }

  /**
   * Returns the layer; undefined when it is absent or incomplete. Its parents are not checked: see
   * {@link chain}.
   */
  async find(chainId: ChainID): Promise<Layer | undefined> {
    const find = (): Promise<Layer | undefined> => this.#db.find(chainId);
    // A packed layer that is gone by now may have been extracted after the first look.
    return (await find()) ?? (await findPacked(this.#root.layout, chainId)) ?? (await find());
  }

  /** Does {@link find} for each, in order, with bounded concurrency. */
  async findAll(chainIds: readonly ChainID[]): Promise<(Layer | undefined)[]> {
    const found: (Layer | undefined)[] = await this.#db.findAll(chainIds);
    for (const [index, chainId] of chainIds.entries())
      found[index] ??= (await findPacked(this.#root.layout, chainId)) ?? (await this.#db.find(chainId));
    return found;
  }

  /** @throws {@link LayerstackError} ERR_LAYER_NOT_FOUND when it is absent or incomplete. */
  async get(chainId: ChainID): Promise<Layer> {
    const layer = await this.find(chainId);
    if (layer !== undefined) return layer;
    throw new LayerstackError('ERR_LAYER_NOT_FOUND', `the store has no complete layer ${chainId}`, {
      digest: chainId,
      layer: chainId,
    });
  }

  /**
   * Returns the layer and all below it, top first.
   * @throws {@link LayerstackError} ERR_LAYER_NOT_FOUND when any is absent or incomplete.
   */
  async chain(chainId: ChainID): Promise<Layer[]> {
    const ids = this.#db.lineage(chainId);
    const layers = (await this.findAll(ids)).filter((layer) => layer !== undefined);
    // A layer is missing. The loop below starts from the top, and its error names the first missing layer.
    if (layers.length < ids.length) layers.length = 0;
    for (let next = layers.length === 0 ? chainId : layers.at(-1)?.parent; next !== undefined;) {
      const layer: Layer = await this.get(next);
      layers.push(layer);
      next = layer.parent;
    }
    return layers;
  }

  /**
   * Returns the layers of an image, bottom first.
   * @throws {@link LayerstackError} ERR_LAYER_NOT_FOUND when any is absent or incomplete.
   */
  async stack(diffIds: readonly DiffID[]): Promise<Layer[]> {
    const top = topChainId(diffIds);
    return top === undefined ? [] : (await this.chain(top)).reverse();
  }

  /**
   * Returns the bytes of one layer's own content, cheap enough for thousands; undefined when the size is
   * unknown.
   */
  size(chainId: ChainID): number | undefined {
    return this.#db.size(chainId) ?? packedSize(this.#root.layout, chainId);
  }

  /** Returns every layer with its parent and its size. */
  graph(): Promise<Map<ChainID, LayerNode>> {
    return readGraph(this.#root.layout, (chainId) => this.size(chainId));
  }

  /**
   * Yields the tar that the layer was made from, bit for bit, verified while it streams.
   * @throws {@link LayerstackError} (while iterating) ERR_STORE_CORRUPT, naming the changed file.
   */
  tar(layer: Layer): AsyncGenerator<Uint8Array, void, undefined> {
    return this.#readerOf(layer)(assembleLayer);
  }

  /**
   * Writes {@link tar} to an open file, and yields the length of each write. Nothing is synced.
   * @throws the errors of {@link tar}; system errors of write(2).
   */
  writeTar(layer: Layer, fd: number): AsyncGenerator<{ readonly length: number }, void, undefined> {
    return this.#readerOf(layer)((source) => writeLayer(source, fd));
  }

  /**
   * Returns the bytes of {@link tar}. Costs a read of the tar-split.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT when the layer's tar-split is missing or damaged.
   */
  async tarSize(layer: Layer): Promise<number> {
    try {
      return await layerTarSize(tarSourceOf(this.#root.layout, layer));
    } catch (error) {
      if (!isSystemError(error, 'ENOENT')) throw error;
      const extracted = layer.packed && (await this.#db.find(layer.chainId));
      if (extracted) return this.tarSize(extracted);
      throw new LayerstackError(
        'ERR_STORE_CORRUPT',
        `layer ${layer.diffId} has no ${layer.packed ? 'layer.tar' : 'tar-split.json.gz, so its tar cannot be rebuilt'}: load its image again`,
        { layer: layer.diffId, path: error.path, cause: error },
      );
    }
  }

  /** Returns {@link tar}, compressed. */
  compressed(layer: Layer, options: CompressOptions): CompressedLayer {
    return new CompressedLayer(this.#readerOf(layer), options, this.#root.caps);
  }

  #readerOf(layer: Layer): TarReader {
    return tarReaderOf(this.#root.layout, this.#db, layer);
  }

  /**
   * Extracts and verifies a layer. Waits for one of max(2, cores) slots of this process, and lends it while
   * the source stalls, so that other layers do not wait for it (layer/slots.ts). An error leaves nothing
   * behind.
   * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH (`expected`, `found`, `layer`); ERR_NO_SPACE;
   *   ERR_ABORTED; ERR_LAYER_INVALID, ERR_LAYER_TRUNCATED, ERR_LAYER_ESCAPE, ERR_LIMIT_EXCEEDED,
   *   ERR_COMPRESSION_UNSUPPORTED (`layer`, `member`); ERR_STORE_READ_ONLY; any error of the source.
   */
  async stage(source: LayerSource, options: StageOptions): Promise<StagedLayer> {
    return (await this.#staging()).stage(source, options);
  }

  /** The staging area, whose module is imported when a layer is first staged. */
  #staging(): Promise<Staging> {
    this.#stagingArea ??= import('./staging.ts').then(
      ({ Staging }) => new Staging(this.#root, this.#overlay),
      (error: unknown) => {
        // The next call tries again, e.g. when files can be opened again.
        this.#stagingArea = undefined;
        throw error;
      },
    );
    return this.#stagingArea;
  }

  /**
   * Does {@link stage} for a layer that is published alone. Its files are written to disk while it is staged,
   * so that publishing waits only for the rest.
   * @throws the errors of {@link stage}; {@link LayerstackError} ERR_NO_SPACE and system errors of the writes
   *   to disk.
   */
  async stageAlone(source: LayerSource, options: StageOptions): Promise<StagedLayer> {
    const { root } = this.#root.layout;
    let failed: { readonly error: unknown } | undefined;
    const writeback = new Writeback(options.form ?? 'classic', root, (error) => (failed = { error }));
    const staged = await this.stage(source, options).finally(() => writeback.stop());
    if (failed === undefined) return staged;
    await this.discard(staged);
    throw spaceError(failed.error, root);
  }

  /**
   * Stages a second copy, from the reassembled tar of the first, for a layer that two chains need.
   * @throws the errors of {@link stage}; {@link LayerstackError} ERR_STORE_CORRUPT when the first copy has
   *   changed.
   */
  restage(layer: StagedLayer | Layer, options: StageOptions): Promise<StagedLayer> {
    const tar = 'writeSet' in layer ? assembleLayer(tarSourceOf(this.#root.layout, layer)) : this.tar(layer);
    return this.stage(tar, { ...options, expectedDiffId: layer.diffId });
  }

  /**
   * Removes a staged layer, or leaves it to the next writer. Does nothing for a discarded or published layer.
   */
  async discard(staged: StagedLayer): Promise<void> {
    await this.#root.aftermath.run('a layer that is not needed stays until the next writer', async () =>
      (await this.#staging()).discard(staged),
    );
  }

  /**
   * Adds all layers of the images to the store. Each image lists its layers from bottom to top. Returns when
   * the layers and their contents are durable. Staged copies of layers that the store has got meanwhile are
   * discarded. After an error, unpublished layers are still staged, and the caller discards them.
   * @throws {@link LayerstackError} ERR_LAYER_DEPTH; ERR_LAYER_NOT_FOUND when an existing layer has vanished
   *   meanwhile; ERR_NO_SPACE; ERR_ABORTED; ERR_STORE_READ_ONLY.
   */
  async publish(
    images: readonly (readonly (StagedLayer | Layer)[])[],
    options: PublishOptions = {},
  ): Promise<PublishResult> {
    const { layers, tops, notices } = planImages(images);
    for (const notice of notices) this.#root.log.warn(notice);
    const staging = await this.#staging();
    const staged = [...new Set(images.flat())].filter(
      (layer): layer is StagedLayer => 'writeSet' in layer && staging.isOpen(layer),
    );
    const lock = await this.#lock(layers, options.signal);
    const parts = { root: this.#root, db: this.#db, overlay: this.#overlay };
    const packed: StagedLayer[] = [];
    try {
      const classic = classicLayers(layers);
      await new Publication(parts, classic, new Map()).run(options.signal);
      packed.push(...(await this.#publishPacked(layers, undefined, options.signal)));
      await this.#dropPackedCopies(classic.filter(({ layer }) => 'writeSet' in layer));
    } catch (error) {
      throw spaceError(error, this.#root.layout.root);
    } finally {
      await this.#markPublished(layers, staged, packed).finally(() => lock.release());
    }
    await Promise.all(staged.map((layer) => this.discard(layer)));
    return { tops, notices };
  }

  /**
   * Gives extracted layers a packed copy, durably. Until {@link collect} removes one of the two forms, the
   * extracted one is used. The copies stay at least until the result is disposed. They are noted as unused:
   * if this process dies, the next writer examines both forms. Copies that another process has published
   * meanwhile are still staged afterwards, and the caller discards them.
   * @param images - the layers of each, bottom first
   * @throws {@link LayerstackError} the errors of {@link publish}.
   */
  async publishCopies(
    images: readonly (readonly (StagedLayer | Layer)[])[],
    { signal }: PublishOptions = {},
  ): Promise<AsyncDisposable> {
    const { layers } = planImages(images);
    const lock = await this.#lock(layers, signal);
    try {
      const find = async ({ layer, chainId }: PlannedLayer): Promise<Layer | undefined> =>
        'writeSet' in layer ? findPacked(this.#root.layout, chainId) : layer;
      const present = await Promise.all(layers.map(find));
      const published = await publishPacked(this.#root, layers, present, { signal, copies: true });
      await (await this.#staging()).markPublished(published);
      return lock;
    } catch (error) {
      await lock.release();
      throw spaceError(error, this.#root.layout.root);
    }
  }

  /**
   * Returns the extracted layers whose form nothing would need if only the images with these top layers were
   * in Docker's form. The topmost layer comes first.
   */
  async packable(candidates: readonly ChainID[], classicTops: Iterable<ChainID>): Promise<ChainID[]> {
    const needs = await classicNeeds(this.#root, classicTops);
    return needs.unneeded(candidates.filter((chainId) => isClassic(this.#root, chainId)));
  }

  /** Returns whether the store has a packed form of the layer, beside another form or alone. */
  hasPacked(chainId: ChainID): boolean {
    return hasPacked(this.#root.layout, chainId);
  }

  /** Returns whether the layer is extracted and packed. */
  hasBothForms(chainId: ChainID): boolean {
    return hasBothForms(this.#root, chainId);
  }

  /**
   * Returns whether the layer does not have the digest that its DiffID names. Without `deep` no content is
   * read: then a file differs only by its size. Metadata and whiteouts that differ count only with `deep`.
   * @throws {@link LayerstackError} ERR_ABORTED; system errors.
   */
  async isDamaged(layer: Layer, { deep, signal }: DamageOptions): Promise<boolean> {
    if (layer.packed) {
      const { isPackedDamaged } = await import('./packed/verify.ts');
      return isPackedDamaged(this.#root.layout, layer, { deep, signal });
    }
    try {
      const compared = await compareLayer(this.#root.layout, layer, {
        contents: deep,
        stopEarly: !deep,
        signal,
      });
      if (compared === undefined) return true;
      return compared.count > 0 || (deep && !compared.proven);
    } catch (error) {
      if (LayerstackError.is(error, 'ERR_STORE_CORRUPT')) return true;
      // dockerd may have stored members that layerstack refuses.
      if (LayerstackError.is(error, 'ERR_LIMIT_EXCEEDED')) return deep;
      if (LayerstackError.is(error) && error.code.startsWith('ERR_LAYER_')) return false;
      throw error;
    }
  }

  /**
   * Puts a staged copy into the place of a damaged layer of the same form. The layers below must exist.
   * Layers, images and containers on it stay. Durable on return. The files of the damaged layer are removed.
   * The mounts of a packed layer keep the old files until they end.
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED of the guard, and the errors of {@link publish};
   *   then the layer is as it was, and the copy is still staged.
   */
  async replace(layer: DamagedLayer, staged: StagedLayer, { guard, signal }: ReplaceOptions): Promise<void> {
    const { chainId, parent, cacheId } = layer;
    if (staged.packed !== layer.packed)
      throw new LayerstackError('ERR_INTERNAL', `the copy of layer ${chainId} has another form`);
    const below = parent === undefined ? [] : (await this.chain(parent)).reverse();
    const { layers } = planImages([[...below, staged]]);
    const parts = { root: this.#root, db: this.#db, overlay: this.#overlay };
    await using _lock = await this.#lock(layers, signal, staged.packed ? [] : [REPAIR]);
    if (staged.packed) {
      const published = await this.#publishPacked(layers, chainId, signal);
      await (await this.#staging()).markPublished(published);
      return;
    }
    await using _guard = await guard(layer);
    try {
      const replacing = new Map(cacheId === undefined ? [] : [[chainId, cacheId]]);
      await new Publication(parts, classicLayers(layers), replacing).run(signal);
    } catch (error) {
      throw spaceError(error, this.#root.layout.root);
    } finally {
      await this.#markPublished(layers, [staged], []);
    }
    await dropFlats(this.#root, chainId);
  }

  /**
   * Replaces a damaged layer whose contents are right by a copy that is made of its own tar.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT when its tar cannot be rebuilt; the errors of
   *   {@link replace}.
   */
  async renew(layer: ClassicLayer, options: ReplaceOptions): Promise<void> {
    const staged = await this.restage(layer, { limits: OWN_LAYER_LIMITS, signal: options.signal });
    try {
      await this.replace(layer, staged, options);
    } finally {
      await this.discard(staged);
    }
  }

  /**
   * Protects these layers and all below them from collection until the pin is released. The layers need not
   * exist yet. The caller takes the pin before it looks the layers up, and holds it until an image or a
   * container refers to them. A store that is open read-only pins nothing.
   */
  pin(chainIds: Iterable<ChainID>, options: PublishOptions = {}): Promise<AsyncDisposable> {
    return this.#collector.pin(chainIds, options);
  }

  /**
   * Notes layers that are about to lose a reference, so that a later process collects them if this one dies.
   */
  async noteUnused(chainIds: Iterable<ChainID>): Promise<void> {
    const { layout } = this.#root;
    await call(native.batch(layout.root, noteSteps(layout, chainIds)));
  }

  /** Removes the notes of layers that have a reference now. */
  async forgetUnused(chainIds: Iterable<ChainID>): Promise<void> {
    const { layout } = this.#root;
    await call(native.batch(layout.root, forgetSteps(layout, chainIds)));
  }

  /**
   * Removes unused layers among the candidates, the layers below them and the noted ones; with `all`, among
   * all layers. A layer is unused if no image, container, other layer, pin or BuildKit snapshot refers to it.
   * Of used layers in both forms, it removes the form that is not needed (layer/second-forms.ts).
   * The layers no longer exist on return, even if this process crashes then; their bytes are deleted in the
   * background, see {@link drain}. Not synced.
   * @returns the removed layers, children before parents
   * @throws {@link LayerstackError} ERR_STORE_READ_ONLY.
   */
  collect(candidates: Iterable<ChainID> | 'all', imageTops: ImageTops): Promise<CollectedLayer[]> {
    return this.#collector.collect(candidates, imageTops);
  }

  /** Returns the layers that {@link collect} would remove if none were pinned. */
  collectable(candidates: Iterable<ChainID> | 'all', imageTops: ImageTops): Promise<CollectedLayer[]> {
    return this.#collector.plan(candidates, imageTops);
  }

  /**
   * Takes over work that its caller does not wait for, such as the clean-up after an abort. A failure is
   * logged.
   */
  runInBackground(work: Promise<unknown>): void {
    const running = work
      .catch((error: unknown) => this.#root.log.warn('tidying up failed; the next writer will', { error }))
      .then(() => void this.#background.delete(running));
    this.#background.add(running);
  }

  /** Waits for the deletions of {@link collect}, and for the work of {@link runInBackground}. */
  async drain(): Promise<void> {
    // That work may begin deletions, so they are waited for after it.
    await Promise.all(this.#background);
    await this.#collector.drain();
  }

  /**
   * Publishes the staged packed layers of a plan. The caller holds their locks.
   * @param replaced - a layer whose entry is damaged
   */
  async #publishPacked(
    layers: readonly PlannedLayer[],
    replaced: ChainID | undefined,
    signal: AbortSignal | undefined,
  ): Promise<readonly StagedLayer[]> {
    if (!layers.some(({ layer }) => layer.packed)) return [];
    const present = await this.findAll(layers.map(({ chainId }) => chainId));
    const known = present.map((layer) => (layer?.chainId === replaced ? undefined : layer));
    try {
      return await publishPacked(this.#root, layers, known, { signal });
    } catch (error) {
      throw spaceError(error, this.#root.layout.root);
    }
  }

  /**
   * Returns whether layerdb has an entry of the layer, complete or not. Packed layers cannot be below such a
   * layer.
   */
  isClassic(chainId: ChainID): boolean {
    return isClassic(this.#root, chainId);
  }

  /** Removes the packed form of layers that are extracted now. A container finds their new form. */
  async #dropPackedCopies(layers: readonly PlannedLayer[]): Promise<void> {
    const chainIds = layers.map(({ chainId }) => chainId).reverse();
    await this.#root.aftermath.run('extracted layers stay packed as well', () =>
      removePacked(this.#root, chainIds),
    );
  }

  /** Marks the staged layers that layerdb names as published, even if a later step failed. */
  async #markPublished(
    layers: readonly PlannedLayer[],
    staged: readonly StagedLayer[],
    packed: readonly StagedLayer[],
  ): Promise<void> {
    const { layout } = this.#root;
    const named = new Set(
      layers.map(({ chainId }) => readText(layout.at(layout.layer(chainId, 'cache-id')))),
    );
    const isPublished = (layer: StagedLayer): boolean =>
      layer.packed ? packed.includes(layer) : named.has(layer.cacheId);
    await (await this.#staging()).markPublished(staged.filter(isPublished));
  }

  /** Takes the locks of all layers that may be made. */
  async #lock(
    layers: readonly PlannedLayer[],
    signal: AbortSignal | undefined,
    more: readonly string[] = [],
  ): Promise<Lock> {
    const keys = layers.filter(({ layer }) => 'writeSet' in layer).map(({ chainId }) => chainId);
    return this.#root.locks.acquireAll('layers', [...keys, ...more], { signal });
  }
}
