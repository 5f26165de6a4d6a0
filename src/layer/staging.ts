/**
 * Stages layers: extracts a layer tar into `overlay2/<cache-id>/diff` and
 * `layerdb/tmp/write-set-<digits>/{tar-split.json.gz,diff,size,cache-id}`, under markers of the writer's
 * session. It does not need the parent and does not sync: publishing sets the parents and syncs for all
 * layers of a load (layer/publish.ts).
 */
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { LayerstackError } from '../core/errors.ts';
import { call, native } from '../system/native.ts';
import { removeOverlay } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { spaceError } from '../system/space.ts';
import { statEntry } from '../system/store-files.ts';
import { applyLayer, type LayerSource } from './apply.ts';
import type { StagedClassicLayer, StagedLayer } from './staged-layer.ts';
import { requireDiffId, type StageOptions } from './stage-options.ts';
import { PackedStaging } from './packed/stage.ts';
import { newOverlayId, type Overlay } from './overlay.ts';
import { Slots } from './slots.ts';

/**
 * How many layers with a stalled source may wait without a slot. Each holds four idle threads, up to 16 open
 * files and 5 MiB (the buffers of an inflater and of the files; an uncompressed layer 1 MiB).
 */
const LENDABLE = 24;

/**
 * The slots of this process. Cores bound the extraction. There are at least two slots, since with one the
 * only core would be idle while a layer waits for the disk.
 */
const slots = new Slots(Math.max(2, availableParallelism()), LENDABLE);

const WRITE_SET = 'write-set-';

/** The staged layers of one store. */
export class Staging {
  readonly #root: Root;
  readonly #overlay: Overlay;
  readonly #packed: PackedStaging;
  /** The staged layers that are neither published nor discarded. */
  readonly #open = new Set<StagedLayer>();

  constructor(root: Root, overlay: Overlay) {
    this.#root = root;
    this.#overlay = overlay;
    this.#packed = new PackedStaging(root);
  }

  async stage(source: LayerSource, options: StageOptions): Promise<StagedLayer> {
    return slots.run(options.signal, async (slot) => {
      const bytes = Symbol.asyncIterator in source ? slot.lendWhileWaiting(source) : source;
      try {
        const stage =
          options.form === 'packed' ? this.#packed.stage(bytes, options) : this.#extract(bytes, options);
        const staged = await stage;
        this.#open.add(staged);
        return staged;
      } catch (error) {
        throw nameLayer(spaceError(error, this.#root.layout.root), options);
      }
    });
  }

  async discard(staged: StagedLayer): Promise<void> {
    if (!this.#open.delete(staged)) return;
    if (staged.packed) await this.#packed.remove(staged.writeSet);
    else await this.#remove(staged.cacheId, staged.writeSet);
  }

  /** Returns whether the layer is neither published nor discarded. */
  isOpen(staged: StagedLayer): boolean {
    return this.#open.has(staged);
  }

  /**
   * Removes the markers of published layers. A write-set that now holds a replaced entry keeps its marker.
   */
  async markPublished(published: readonly StagedLayer[]): Promise<void> {
    const { layout } = this.#root;
    for (const staged of published) this.#open.delete(staged);
    for (const staged of published) if (staged.packed) await this.#packed.forget(staged.writeSet);
    const done = published.flatMap((staged) => {
      if (staged.packed) return [];
      const { cacheId, writeSet } = staged;
      const [content, entry] = markers(cacheId, writeSet);
      return statEntry(layout.at(layout.writeSet(writeSet))) !== undefined ? [content] : [content, entry];
    });
    await this.#root.session().unmark(done);
  }

  async #extract(source: LayerSource, options: StageOptions): Promise<StagedClassicLayer> {
    const cacheId = newOverlayId();
    const writeSet = `${WRITE_SET}${randomBytes(8).readBigUInt64BE()}`;
    try {
      return await this.#fill(cacheId, writeSet, source, options);
    } catch (error) {
      await this.#remove(cacheId, writeSet).catch((removalError: unknown) => {
        this.#root.log.warn('a failed layer could not be removed; the next writer removes it', {
          error: removalError,
        });
      });
      throw error;
    }
  }

  async #fill(
    cacheId: string,
    writeSet: string,
    source: LayerSource,
    options: StageOptions,
  ): Promise<StagedClassicLayer> {
    const { layout, caps } = this.#root;
    await this.#root
      .session()
      .mark(markers(cacheId, writeSet), [
        ...this.#overlay.createSteps(cacheId),
        { op: 'mkdir', path: layout.writeSet(writeSet), mode: 0o700 },
      ]);
    const applied = await applyLayer(
      source,
      {
        diff: layout.at(layout.overlay(cacheId, 'diff')),
        tarSplit: layout.at(layout.writeSet(writeSet, 'tar-split.json.gz')),
      },
      { limits: options.limits, caps, signal: options.signal, onProgress: options.onProgress },
    );
    const diffId = requireDiffId(applied, options);
    const file = (name: 'diff' | 'size' | 'cache-id', data: string) =>
      ({ op: 'write', path: layout.writeSet(writeSet, name), data, mode: 0o644 }) as const;
    await call(
      native.batch(layout.root, [
        file('diff', diffId),
        file('size', String(applied.contentSize)),
        file('cache-id', cacheId),
      ]),
    );
    return { cacheId, writeSet, applied, diffId };
  }

  async #remove(cacheId: string, writeSet: string): Promise<void> {
    const { layout } = this.#root;
    await removeOverlay(layout, cacheId);
    await call(native.removeTree(layout.root, layout.writeSet(writeSet)));
    await this.#root.session().unmark(markers(cacheId, writeSet));
  }
}

function markers(cacheId: string, writeSet: string): [content: Marker, entry: Marker] {
  return [`overlay2.${cacheId}`, `write-set.${writeSet.slice(WRITE_SET.length)}`];
}

/** Adds the layer's name to an error. An abort and a full disk do not concern a particular layer. */
function nameLayer(error: unknown, options: StageOptions): unknown {
  const layer = options.name ?? options.expectedDiffId;
  if (layer === undefined || !LayerstackError.is(error) || error.layer !== undefined) return error;
  if (error.code === 'ERR_ABORTED' || error.code === 'ERR_NO_SPACE') return error;
  // An error of a registry names the registry and the blob already.
  if (error.code.startsWith('ERR_REGISTRY_')) return error;
  const { code, message, path, digest, member, expected, found, limit } = error;
  return new LayerstackError(code, `layer ${layer}: ${message}`, {
    path,
    digest,
    member,
    expected,
    found,
    limit,
    layer,
    cause: error,
  });
}
