/**
 * The layers of one store. A layer is *staged* (extracted, verified; any order, in parallel, no parent needed), then
 * *published* with all layers of the load (durable, visible, named by its ChainID), or *discarded*. A layer that the store
 * has is *found*, and never read again.
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
import { call, native, type LayerLimits } from '../system/native.ts';
import { readText } from '../system/store-files.ts';
import type { Root } from '../system/root.ts';
import { spaceError } from '../system/space.ts';
import type { LayerSource } from './apply.ts';
import { assembleLayer, layerTarSize, writeLayer, type AssembleSource } from './assemble.ts';
import { LayerCollector, type CollectedLayer, type ImageTops } from './collector.ts';
import { readGraph, type LayerNode } from './graph.ts';
import { CompressedLayer, type CompressOptions } from './compress.ts';
import { LayerDb, type Layer } from './layerdb.ts';
import { Overlay } from './overlay.ts';
import { planImages, type PlannedLayer } from './plan.ts';
import { Publication } from './publish.ts';
import { Staging, type StagedLayer, type StageOptions } from './staging.ts';
import { forgetSteps, noteSteps } from './unused.ts';
import { Writeback } from './writeback.ts';

export type { LayerSource } from './apply.ts';
export type { CollectedLayer, ImageTops } from './collector.ts';
export type { LayerNode } from './graph.ts';
export type { Layer } from './layerdb.ts';
export type { StagedLayer, StageOptions } from './staging.ts';

/** For layers that come from this machine's own file system: bounded by what a path and an inode can be. */
export const OWN_LAYER_LIMITS: LayerLimits = {
  // What JavaScript counts exactly; dockerd's sizes are no larger than 2^63.
  maxBytes: Number.MAX_SAFE_INTEGER,
  maxEntries: Infinity,
  maxPathBytes: 4096,
  maxPaxBytes: 16 * 1024 * 1024,
};

export interface PublishOptions {
  /** Obeyed until the first layer is renamed into place. */
  readonly signal?: AbortSignal | undefined;
}

export interface PublishResult {
  /** The top ChainID of each image, in order; undefined for an image without layers. */
  readonly tops: readonly (ChainID | undefined)[];
  /** For the user, e.g. that dockerd cannot use an image this deep. */
  readonly notices: readonly string[];
}

/** The layer store of one root. */
export class LayerStore {
  readonly #root: Root;
  readonly #db: LayerDb;
  readonly #overlay: Overlay;
  readonly #staging: Staging;
  readonly #collector: LayerCollector;
  readonly #background = new Set<Promise<void>>();

  constructor(root: Root) {
    this.#root = root;
    this.#db = new LayerDb(root.layout);
    this.#overlay = new Overlay(root.layout);
    this.#staging = new Staging(root, this.#overlay);
    this.#collector = new LayerCollector(root, this.#db);
  }

  /** The layer; undefined when it is absent or incomplete. Says nothing of its parents: see {@link chain}. */
  find(chainId: ChainID): Promise<Layer | undefined> {
    return this.#db.find(chainId);
  }

  /** {@link find} for each, in order, with bounded concurrency. */
  findAll(chainIds: readonly ChainID[]): Promise<(Layer | undefined)[]> {
    return this.#db.findAll(chainIds);
  }

  /** @throws {@link LayerstackError} ERR_LAYER_NOT_FOUND when it is absent or incomplete. */
  async get(chainId: ChainID): Promise<Layer> {
    const layer = await this.#db.find(chainId);
    if (layer !== undefined) return layer;
    throw new LayerstackError('ERR_LAYER_NOT_FOUND', `the store has no complete layer ${chainId}`, {
      digest: chainId,
      layer: chainId,
    });
  }

  /**
   * The layer and all below it, top first.
   * @throws {@link LayerstackError} ERR_LAYER_NOT_FOUND when any is absent or incomplete.
   */
  async chain(chainId: ChainID): Promise<Layer[]> {
    const ids = this.#db.lineage(chainId);
    const layers = (await this.#db.findAll(ids)).filter((layer) => layer !== undefined);
    // The first missing one is missed again below, by name.
    if (layers.length < ids.length) layers.length = 0;
    for (let next = layers.length === 0 ? chainId : layers.at(-1)?.parent; next !== undefined;) {
      const layer: Layer = await this.get(next);
      layers.push(layer);
      next = layer.parent;
    }
    return layers;
  }

  /**
   * The layers of an image, bottom first.
   * @throws {@link LayerstackError} ERR_LAYER_NOT_FOUND when any is absent or incomplete.
   */
  async stack(diffIds: readonly DiffID[]): Promise<Layer[]> {
    const top = topChainId(diffIds);
    return top === undefined ? [] : (await this.chain(top)).reverse();
  }

  /** The size of one layer's own content in bytes, cheap enough for thousands; undefined where there is none. */
  size(chainId: ChainID): number | undefined {
    return this.#db.size(chainId);
  }

  /** Every layer, with its parent and its size. */
  graph(): Promise<Map<ChainID, LayerNode>> {
    return readGraph(this.#root.layout, this.#db);
  }

  /**
   * The tar that the layer was made from, bit for bit, verified while it streams.
   * @throws {@link LayerstackError} (while iterating) ERR_STORE_CORRUPT, naming the file that has changed.
   */
  tar(layer: Layer): AsyncGenerator<Uint8Array, void, undefined> {
    return assembleLayer(this.#sourceOf(layer));
  }

  /**
   * Writes {@link tar} to an open file, and tells what has been written. Nothing is synced.
   * @throws as {@link tar}; system errors of write(2).
   */
  writeTar(layer: Layer, fd: number): AsyncGenerator<{ readonly length: number }, void, undefined> {
    return writeLayer(this.#sourceOf(layer), fd);
  }

  /**
   * Bytes of {@link tar}. Costs a read of the tar-split.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT when the layer has none, or a damaged one.
   */
  async tarSize(layer: Layer): Promise<number> {
    try {
      return await layerTarSize(this.#sourceOf(layer));
    } catch (error) {
      if (!isSystemError(error, 'ENOENT')) throw error;
      throw new LayerstackError(
        'ERR_STORE_CORRUPT',
        `layer ${layer.diffId} has no tar-split.json.gz, so its tar cannot be rebuilt: load its image again`,
        { layer: layer.diffId, path: error.path, cause: error },
      );
    }
  }

  /** {@link tar}, compressed. */
  compressed(layer: Layer, options: CompressOptions): CompressedLayer {
    return new CompressedLayer(this.#sourceOf(layer), options, this.#root.caps);
  }

  #sourceOf(layer: Layer): AssembleSource {
    const { layout } = this.#root;
    return {
      diff: layout.at(layout.overlay(layer.cacheId, 'diff')),
      tarSplit: layout.at(layout.layer(layer.chainId, 'tar-split.json.gz')),
      diffId: layer.diffId,
    };
  }

  /**
   * Extracts and verifies a layer. Waits for one of max(2, cores) slots of this process, and has it only while there are
   * bytes: a source that stalls holds up nobody else (layer/slots.ts).
   * After any error nothing of it is left.
   * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH (`expected`, `found`, `layer`); ERR_NO_SPACE; ERR_ABORTED;
   * ERR_LAYER_INVALID, ERR_LAYER_TRUNCATED, ERR_LAYER_ESCAPE, ERR_LIMIT_EXCEEDED, ERR_COMPRESSION_UNSUPPORTED
   * (`layer`, `member`); ERR_STORE_READ_ONLY; whatever the source throws.
   */
  stage(source: LayerSource, options: StageOptions): Promise<StagedLayer> {
    return this.#staging.stage(source, options);
  }

  /**
   * {@link stage} for a layer that is published alone: what it writes goes to disk meanwhile, so that publishing has
   * little to wait for.
   * @throws as {@link stage}; {@link LayerstackError} ERR_NO_SPACE and system errors of what went to disk.
   */
  async stageAlone(source: LayerSource, options: StageOptions): Promise<StagedLayer> {
    const { root } = this.#root.layout;
    let failed: { readonly error: unknown } | undefined;
    const writeback = new Writeback(root, (error) => (failed = { error }));
    const staged = await this.stage(source, options).finally(() => writeback.stop());
    if (failed === undefined) return staged;
    await this.discard(staged);
    throw spaceError(failed.error, root);
  }

  /**
   * A second copy, for a layer that is needed on two chains: reassembled from the first.
   * @throws as {@link stage}, and {@link LayerstackError} ERR_STORE_CORRUPT when the first copy has changed.
   */
  restage(layer: StagedLayer | Layer, options: StageOptions): Promise<StagedLayer> {
    return this.#staging.restage(layer, options);
  }

  /** Removes a staged layer, or leaves it to the next writer. Second call, or after publishing: no-op. */
  async discard(staged: StagedLayer): Promise<void> {
    await this.#root.aftermath.run('a layer that is not needed stays until the next writer', () =>
      this.#staging.discard(staged),
    );
  }

  /**
   * Makes all layers of the images, each listed bottom to top, layers of the store. Returns when they are durable,
   * contents included. Staged copies of layers that the store has by now are discarded. After an error, what is
   * not published is still staged: discard it.
   * @throws {@link LayerstackError} ERR_LAYER_DEPTH; ERR_LAYER_NOT_FOUND when an existing layer vanished meanwhile;
   * ERR_NO_SPACE; ERR_ABORTED; ERR_STORE_READ_ONLY.
   */
  async publish(
    images: readonly (readonly (StagedLayer | Layer)[])[],
    options: PublishOptions = {},
  ): Promise<PublishResult> {
    const { layers, tops, notices } = planImages(images);
    for (const notice of notices) this.#root.log.warn(notice);
    const staged = [...new Set(images.flat())].filter(
      (layer): layer is StagedLayer => 'writeSet' in layer && this.#staging.isOpen(layer),
    );
    const lock = await this.#lock(layers, options.signal);
    try {
      await new Publication(this.#root, this.#db, this.#overlay, layers).run(options.signal);
    } catch (error) {
      throw spaceError(error, this.#root.layout.root);
    } finally {
      await this.#markPublished(layers, staged).finally(() => lock.release());
    }
    await Promise.all(staged.map((layer) => this.discard(layer)));
    return { tops, notices };
  }

  /**
   * Keeps these layers (there yet or not) and all below them from being collected, until it is released. To be
   * taken before looking whether they are there, and held until an image or a container refers to them. A store that
   * is open read-only pins nothing.
   */
  pin(chainIds: Iterable<ChainID>, options: PublishOptions = {}): Promise<AsyncDisposable> {
    return this.#collector.pin(chainIds, options);
  }

  /** Notes layers that are about to lose a reference, so that they are collected if this process dies. */
  async noteUnused(chainIds: Iterable<ChainID>): Promise<void> {
    const { layout } = this.#root;
    await call(native.batch(layout.root, noteSteps(layout, chainIds)));
  }

  /** These layers have a reference now: nobody need look at them. */
  async forgetUnused(chainIds: Iterable<ChainID>): Promise<void> {
    const { layout } = this.#root;
    await call(native.batch(layout.root, forgetSteps(layout, chainIds)));
  }

  /**
   * Removes those of the candidates, of the layers below them and of the noted ones that no image, container, other
   * layer, pin or BuildKit snapshot keeps; `all`: of all layers. They are gone on return, also after a crash of this
   * process; their bytes are deleted in the background, see {@link drain}. Not synced.
   * @returns what was removed, children before parents
   * @throws {@link LayerstackError} ERR_STORE_READ_ONLY.
   */
  collect(candidates: Iterable<ChainID> | 'all', imageTops: ImageTops): Promise<CollectedLayer[]> {
    return this.#collector.collect(candidates, imageTops);
  }

  /** What {@link collect} would remove, pins aside. */
  collectable(candidates: Iterable<ChainID> | 'all', imageTops: ImageTops): Promise<CollectedLayer[]> {
    return this.#collector.plan(candidates, imageTops);
  }

  /** For work that its caller does not wait for, such as tidying up after an abort. A failure is logged. */
  runInBackground(work: Promise<unknown>): void {
    const running = work
      .catch((error: unknown) => this.#root.log.warn('tidying up failed; the next writer will', { error }))
      .then(() => void this.#background.delete(running));
    this.#background.add(running);
  }

  /** Waits for the deletions that {@link collect} left running, and for {@link runInBackground}. */
  async drain(): Promise<void> {
    await Promise.all([this.#collector.drain(), ...this.#background]);
  }

  /** What layerdb names is published, also where a later step failed. */
  async #markPublished(layers: readonly PlannedLayer[], staged: readonly StagedLayer[]): Promise<void> {
    const { layout } = this.#root;
    const named = new Set(
      layers.map(({ chainId }) => readText(layout.at(layout.layer(chainId, 'cache-id')))),
    );
    await this.#staging.markPublished(staged.filter(({ cacheId }) => named.has(cacheId)));
  }

  /** The locks of all layers that may be made. */
  async #lock(layers: readonly PlannedLayer[], signal: AbortSignal | undefined): Promise<Lock> {
    const keys = layers.filter(({ layer }) => 'writeSet' in layer).map(({ chainId }) => chainId);
    return this.#root.locks.acquireAll('layers', keys, { signal });
  }
}
