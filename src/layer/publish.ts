/**
 * Publishes staged layers: they become entries of layerdb, bottom to top. All metadata is written first
 * (`link`, `l/`, `lower`, the parent's `committed`, `parent`). Then ONE syncfs brings it and all staged
 * content to disk. Then the write-sets are renamed to `sha256/<chain>`, and that directory is fsynced. The
 * caller holds the layers' locks.
 *
 * A complete entry that exists already is adopted, also if another program made it. An incomplete entry is
 * exchanged with the new one, so that an entry exists at every moment, and becomes
 * `<chain>-<random>-removing`. The new layer takes over the short name of the old one, since the `lower` of
 * its children names it. A damaged entry that the caller names is exchanged in the same way; its directory is
 * removed, and the caller keeps containers on it from being mounted. Published layers are noted as unused
 * until an image refers to them.
 */
import { randomBytes } from 'node:crypto';
import { throwIfAborted } from '../core/abort.ts';
import { hexOf, type ChainID } from '../core/digest.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { syncSteps } from '../system/disk.ts';
import { call, native, type BatchStep } from '../system/native.ts';
import { findLink, isEntryName, readEntry, removeLayerEntries } from '../system/removal.ts';
import { usedDirectories } from './cache-ids.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { statEntry } from '../system/store-files.ts';
import type { ClassicLayer, LayerDb } from './layerdb.ts';
import { findPacked } from './packed/entry.ts';
import { newLinkId, type Overlay, type OverlaySpec } from './overlay.ts';
import type { PlannedClassicLayer } from './plan.ts';
import type { StagedClassicLayer } from './staged-layer.ts';
import { noteSteps } from './unused.ts';
import { readBuildkit } from './uses.ts';

/**
 * dockerd does not take layerstack's locks, so it may publish the same layer. Each attempt adopts its layers.
 */
const ATTEMPTS = 3;

/** An incomplete entry that a new layer replaces. */
interface Replaced {
  /** `<chain>-<random>-removing`, below `layerdb/sha256`. */
  readonly name: string;
  readonly link: string | undefined;
  /** Its directory in `overlay2`, if it is known. */
  readonly content: string | undefined;
  /** A layer or container is on top of its content. */
  readonly committed: boolean;
  /** The content stays, since it may be mounted. */
  readonly keep: boolean;
}

/** A staged layer on its way into layerdb. */
interface Fresh {
  readonly chainId: ChainID;
  readonly parent: ChainID | undefined;
  readonly staged: StagedClassicLayer;
  readonly spec: OverlaySpec;
  readonly replaced: Replaced | undefined;
}

/** The facts about a parent that are needed to publish its child. */
interface Below {
  readonly cacheId: string;
  readonly lowers: readonly string[];
}

/** Complete but damaged layers that staged ones replace, and the directories that these have. */
export type Replacing = ReadonlyMap<ChainID, string>;

/** The parts of a layer store. */
export interface LayerParts {
  readonly root: Root;
  readonly db: LayerDb;
  readonly overlay: Overlay;
}

/** Publishes the layers of one plan. */
export class Publication {
  readonly #root: Root;
  readonly #db: LayerDb;
  readonly #overlay: Overlay;
  readonly #layers: readonly PlannedClassicLayer[];
  readonly #replacing: Replacing;
  /** The directories of staged layers as an earlier attempt wrote them. */
  readonly #written = new Map<StagedClassicLayer, OverlaySpec>();
  readonly #replaced: Replaced[] = [];

  constructor(
    { root, db, overlay }: LayerParts,
    layers: readonly PlannedClassicLayer[],
    replacing: Replacing,
  ) {
    this.#root = root;
    this.#db = db;
    this.#overlay = overlay;
    this.#layers = layers;
    this.#replacing = replacing;
  }

  /** Returns when every planned layer is in layerdb, durably. */
  async run(signal: AbortSignal | undefined): Promise<void> {
    for (let attempt = 1; ; ++attempt) {
      try {
        await this.#attempt(signal);
        break;
      } catch (error) {
        if (attempt === ATTEMPTS || !isSystemError(error, 'EEXIST', 'ENOTEMPTY')) throw error;
        this.#root.log.info('another program published a layer first; adopting it', { path: error.path });
      }
    }
    await this.#removeReplaced();
  }

  async #attempt(signal: AbortSignal | undefined): Promise<void> {
    const present = (await this.#db.findAll(this.#layers.map(({ chainId }) => chainId))).map((layer) =>
      layer !== undefined && this.#replacing.get(layer.chainId) === layer.cacheId ? undefined : layer,
    );
    const below = new Map<ChainID, Below>();
    const fresh: Fresh[] = [];
    const steps: BatchStep[] = [];
    /** The layers whose stack differs from the `lower` of their children. */
    const moved = new Set<ChainID>();
    for (const [index, planned] of this.#layers.entries()) {
      const parent =
        planned.parent === undefined ? undefined : await this.#below(planned.parent, below, present);
      const existing = present[index];
      if (existing !== undefined) {
        if (parent === undefined || planned.parent === undefined || !moved.has(planned.parent)) continue;
        await this.#overlay.commit(parent.cacheId);
        const [own = '', ...lowers] = await this.#overlay.lowersOf(existing.cacheId);
        if (lowers.join(':') === parent.lowers.join(':')) continue;
        // The parent was lost and is published again, so `lower` must name the new one.
        steps.push(...this.#lowerSteps(existing.cacheId, parent.lowers));
        moved.add(planned.chainId);
        below.set(planned.chainId, { cacheId: existing.cacheId, lowers: [own, ...parent.lowers] });
        continue;
      }
      const layer = await this.#prepare(planned, parent);
      fresh.push(layer);
      moved.add(planned.chainId);
      below.set(planned.chainId, {
        cacheId: layer.spec.id,
        lowers: [`l/${layer.spec.link}`, ...layer.spec.lowers],
      });
      steps.push(...this.#metadataSteps(layer));
    }
    if (fresh.length === 0) return;
    await this.#write(fresh, steps, signal);
  }

  async #write(
    fresh: readonly Fresh[],
    steps: readonly BatchStep[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { layout } = this.#root;
    const replaced = fresh.flatMap((layer) => layer.replaced ?? []);
    throwIfAborted(signal);
    const notes = noteSteps(
      layout,
      fresh.map(({ chainId }) => chainId),
    );
    await this.#root.session().mark(replaced.flatMap(markersOf), [...notes, ...steps]);
    for (const { staged, spec } of fresh) this.#written.set(staged, spec);
    await this.#sync();
    throwIfAborted(signal);
    this.#replaced.push(...replaced);
    await call(
      native.batch(layout.root, [
        ...fresh.flatMap((layer) => this.#renameSteps(layer)),
        ...(fresh.some(({ spec }) => spec.takesOver) ? [{ op: 'fsync', path: layout.links } as const] : []),
        { op: 'fsync', path: layout.layers },
      ]),
    );
  }

  /** Does one syncfs, or two when the contents are on a separate disk. */
  async #sync(): Promise<void> {
    const { layout } = this.#root;
    await call(native.batch(layout.root, syncSteps(layout, [layout.layers, layout.overlay2])));
  }

  /**
   * Returns the parent's place in the stack. The parent is a layer of this publication, or an existing one.
   */
  async #below(
    chainId: ChainID,
    below: Map<ChainID, Below>,
    present: readonly (ClassicLayer | undefined)[],
  ): Promise<Below> {
    let found = below.get(chainId);
    if (found === undefined) {
      const cacheId = present[this.#layers.findIndex((layer) => layer.chainId === chainId)]?.cacheId;
      if (cacheId === undefined)
        throw new LayerstackError('ERR_INTERNAL', 'a layer is planned before its parent');
      found = { cacheId, lowers: await this.#overlay.lowersOf(cacheId) };
      below.set(chainId, found);
    }
    return found;
  }

  async #prepare({ chainId, parent, layer }: PlannedClassicLayer, below: Below | undefined): Promise<Fresh> {
    if (!('writeSet' in layer)) {
      throw new LayerstackError(
        'ERR_LAYER_NOT_FOUND',
        `layer ${chainId} was removed from the store meanwhile: try again`,
        { digest: chainId, layer: chainId },
      );
    }
    const replaced = await this.#incomplete(chainId);
    // Containers name a packed layer by the short name that it has here.
    const reserved = await findPacked(this.#root.layout, chainId);
    const written = this.#written.get(layer);
    if (below !== undefined) await this.#overlay.commit(below.cacheId);
    if (replaced?.committed === true || reserved !== undefined) await this.#overlay.commit(layer.cacheId);
    const spec: OverlaySpec = {
      id: layer.cacheId,
      link: written?.link ?? replaced?.link ?? reserved?.link ?? newLinkId(),
      lowers: below?.lowers ?? [],
      // A writer that died may have left the symlink of a packed layer's short name.
      takesOver: written?.takesOver ?? (replaced?.link ?? reserved?.link) !== undefined,
    };
    return { chainId, parent, staged: layer, spec, replaced };
  }

  #metadataSteps({ staged, spec, parent }: Fresh): BatchStep[] {
    const { layout } = this.#root;
    if (this.#written.has(staged)) return this.#lowerSteps(spec.id, spec.lowers);
    return [
      ...this.#overlay.stackSteps(spec),
      ...(parent === undefined
        ? []
        : [
            {
              op: 'write',
              path: layout.writeSet(staged.writeSet, 'parent'),
              data: parent,
              mode: 0o644,
            } as const,
          ]),
    ];
  }

  #lowerSteps(id: string, lowers: readonly string[]): BatchStep[] {
    if (lowers.length === 0) return [];
    const path = this.#root.layout.overlay(id, 'lower');
    return [{ op: 'replace', path, data: lowers.join(':'), mode: 0o644 }];
  }

  /** Returns the entry in the place of `chainId`. The caller knows that it is incomplete or damaged. */
  async #incomplete(chainId: ChainID): Promise<Replaced | undefined> {
    const { layout } = this.#root;
    if (statEntry(layout.at(layout.layer(chainId))) === undefined) return undefined;
    const cacheId = await readEntry(layout, layout.layer(chainId, 'cache-id'));
    const known = cacheId !== undefined && isEntryName(cacheId) && cacheId !== 'l';
    // The directory that a damaged entry names may be another layer's, or a container's.
    const used = await usedDirectories(layout, (name) => name === hexOf(chainId));
    const buildkit = await readBuildkit(layout);
    const isBuildkits = known && buildkit?.includes(cacheId) === true;
    const shared = known && (used.has(cacheId) || (isBuildkits && !buildkit.includes(chainId)));
    const link =
      known && !shared
        ? (await readEntry(layout, layout.overlay(cacheId, 'link'))) || (await findLink(layout, cacheId))
        : undefined;
    const has = (entry: 'committed' | 'diff'): boolean =>
      statEntry(layout.at(layout.overlay(cacheId ?? '', entry))) !== undefined;
    const replaced = {
      name: `${hexOf(chainId)}-${randomBytes(32).toString('hex')}-removing`,
      link,
      content: known ? cacheId : undefined,
      committed: known && has('committed'),
      keep:
        shared || isBuildkits || (known && has('committed') && has('diff') && !this.#replacing.has(chainId)),
    };
    this.#root.log.warn(`layer ${chainId} is incomplete or damaged in the store and is replaced`, {
      layer: chainId,
    });
    return replaced;
  }

  #renameSteps({ chainId, staged, spec, replaced }: Fresh): BatchStep[] {
    const { layout } = this.#root;
    const entry = layout.layer(chainId);
    const writeSet = layout.writeSet(staged.writeSet);
    const takeOver = spec.takesOver === true ? this.#overlay.takeOverSteps(spec) : [];
    // rename(2) replaces only an empty directory. It fails with EEXIST or ENOTEMPTY when an entry is in its
    // place.
    if (replaced === undefined) return [...takeOver, { op: 'rename', from: writeSet, to: entry }];
    const removing = `${layout.layers}/${replaced.name}`;
    return [
      { op: 'exchange', from: writeSet, to: entry, via: removing },
      ...takeOver,
      ...(replaced.keep ? [{ op: 'unlink', path: `${writeSet}/cache-id`, missing: true } as const] : []),
      { op: 'rename', from: writeSet, to: removing },
    ];
  }

  /**
   * Removes the replaced entries, best effort. A failed removal stays marked, and the next writer completes
   * it.
   */
  async #removeReplaced(): Promise<void> {
    for (const replaced of this.#replaced) {
      try {
        await removeLayerEntries(this.#root.layout, [replaced.name], () => false);
        await this.#root.session().unmark(markersOf(replaced));
      } catch (error) {
        this.#root.log.warn('a replaced layer could not be removed; the next writer removes it', { error });
      }
    }
  }
}

function markersOf({ name, content, keep }: Replaced): Marker[] {
  return [`removing.${name}`, ...(content === undefined || keep ? [] : [`overlay2.${content}` as const])];
}
