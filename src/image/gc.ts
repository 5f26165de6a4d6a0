/**
 * Deletes images, in this order:
 *
 * 1. One step (system/changes.ts) removes all names and images of the deletion. It holds the `references`
 *    lock, so a load, a tag or another deletion happens before or after it.
 * 2. The layers are removed from the top down, until one that something else refers to.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { chainIds, type ChainID, type ImageID } from '../core/digest.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { formatReference, parseReference, withDefaultTag } from '../core/reference.ts';
import type { CollectedLayer, LayerStore } from '../layer/store.ts';
import { listEntries } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import type { Catalog, CatalogEntry } from './catalog.ts';
import { parseImageConfig } from './config.ts';
import {
  Deletion,
  type DeletedRecord,
  type DeleteOptions,
  type DeletionState,
  type DeletionStep,
  type ImageUser,
} from './deletion.ts';
import { ImageFilter, type ImageFilters } from './filters.ts';
import type { ImageDb } from './imagedb.ts';
import type { OriginalImages } from './originals.ts';
import type { MutableReferences } from './references.ts';
import type { Repositories } from './repositories.ts';

/** Planning yields to other work on the event loop after this many images (a few milliseconds). */
const SLICE = 64;

/** Returns the current containers of the store. */
export type ImageUsers = () => Promise<readonly ImageUser[]>;

export interface PruneOptions {
  /** Removes named images too, if no container uses them. Default false: only images without a tag. */
  readonly all?: boolean | undefined;
  readonly filters?: Pick<ImageFilters, 'label' | 'notLabel' | 'until'> | undefined;
  /** Only reports what would be removed. Default false. */
  readonly dryRun?: boolean | undefined;
}

/** Receives each record, in order, when the deletion is done. The labels are those of the deleted image. */
export type OnDeletion = (step: DeletionStep, labels: Readonly<Record<string, string>> | null) => void;

/** The report of `docker image prune`. */
export interface PruneResult {
  readonly ImagesDeleted: readonly DeletedRecord[];
  /** Bytes of the removed layers, by their metadata. */
  readonly SpaceReclaimed: number;
}

/** The parts of the image store. */
export interface ImageParts {
  readonly root: Root;
  readonly layers: LayerStore;
  readonly db: ImageDb;
  readonly repositories: Repositories;
  readonly catalog: Catalog;
  readonly originals: OriginalImages;
}

/** The images that a deletion removes, with their layers topmost first. */
type Doomed = ReadonlyMap<ImageID, readonly ChainID[]>;

/** An image as its user names it. */
interface NamedImage {
  readonly name: string;
  resolve(): Promise<ImageID>;
}

export class ImageCollector {
  readonly #parts: ImageParts;

  constructor(parts: ImageParts) {
    this.#parts = parts;
  }

  /** @see ImageStore.remove */
  async remove(
    { name, resolve }: NamedImage,
    users: ImageUsers,
    options: DeleteOptions,
    onDeletion?: OnDeletion,
  ): Promise<DeletedRecord[]> {
    const choose = async (deletion: Deletion, references: MutableReferences): Promise<void> => {
      const id = await resolve().catch((error: unknown) => damagedImage(error));
      if (id !== undefined) deletion.remove(id, name, options);
      else if (!forget(deletion, references, name)) await resolve();
    };
    const { deletion, doomed } = await this.#delete(users, choose, onDeletion);
    if (doomed.size > 0) await this.#parts.originals.collect();
    return withLayers(deletion.records, doomed, await this.#collectAfter([...doomed.values()].flat()));
  }

  /** @see ImageStore.prune */
  async prune(
    users: ImageUsers,
    { all = false, filters = {}, dryRun = false }: PruneOptions,
    onDeletion?: OnDeletion,
  ): Promise<PruneResult> {
    const filter = new ImageFilter(filters);
    const choose = async (deletion: Deletion, references: MutableReferences): Promise<void> => {
      const names = references.byImage();
      const entries = await this.#parts.catalog.entries();
      const withChildren = new Set(entries.map(({ parent }) => parent));
      for (const [index, entry] of entries.entries()) {
        if (index % SLICE === SLICE - 1) await nextTurn();
        const named = names.get(entry.id) ?? [];
        if (withChildren.has(entry.id) && (!all || named.length === 0)) continue;
        if (!filter.matches(entry)) continue;
        if (!all && named.some(({ tag }) => tag !== undefined)) continue;
        if (named.length === 0) attempt(() => deletion.remove(entry.id, entry.id));
        for (const reference of named) {
          // An earlier step may have deleted this reference: the last tag of a repository takes its digests
          // with it.
          if (references.get(reference) !== entry.id) continue;
          attempt(() => deletion.remove(entry.id, formatReference(reference)));
        }
      }
    };
    if (dryRun) return this.#rehearse(users, choose);
    const { deletion, doomed } = await this.#delete(users, choose, onDeletion);
    const { db, originals, root } = this.#parts;
    // Steady, so that an image whose form changes meanwhile is listed.
    await originals.collect(() => root.changes.steady(() => db.ids()));
    return report(deletion, doomed, await this.#collectAfter('all'));
  }

  /**
   * Handles the removal of a container, which referred to an image's top layer. If the image was removed, the
   * layer may be unused now, and is removed then.
   */
  async release(id: ImageID | undefined, top: ChainID): Promise<void> {
    const { db, layers } = this.#parts;
    if (id !== undefined && db.has(id)) return;
    await layers.noteUnused([top]);
    await this.#collect([top]);
  }

  /** @see ImageStore.resume */
  async resume(): Promise<void> {
    const { layout, log } = this.#parts.root;
    try {
      if ((await listEntries(layout, layout.unused)).length > 0) await this.#collect([]);
    } catch (error) {
      log.warn('layers that are not needed any more could not be removed', { error: String(error) });
    }
  }

  /**
   * The images are removed already, and their layers are noted, so the next writer completes what fails here.
   */
  async #collectAfter(candidates: readonly ChainID[] | 'all'): Promise<CollectedLayer[]> {
    try {
      return await this.#collect(candidates);
    } catch (error) {
      if (!isSystemError(error) && !LayerstackError.is(error)) throw error;
      this.#parts.root.log.warn('done, but the layers are left to the next writer', { error: String(error) });
      return [];
    }
  }

  async #collect(candidates: readonly ChainID[] | 'all'): Promise<CollectedLayer[]> {
    return this.#parts.layers.collect(candidates, (form) => this.tops(form));
  }

  /** Returns the top layers of all images, or of those of one form, except for the images in `but`. */
  async tops(form?: 'classic', but: readonly ImageID[] = []): Promise<Iterable<ChainID>> {
    const { catalog, db } = this.#parts;
    if (form === undefined) return catalog.tops(new Set(but));
    const packed = [...(await db.forms())].filter(([, each]) => each === 'packed').map(([id]) => id);
    return catalog.tops(new Set([...packed, ...but]));
  }

  /** @see ImageStore.dropSecondForms */
  async dropSecondForms(chains: readonly ChainID[]): Promise<void> {
    const both = chains.filter((chainId) => this.#parts.layers.hasBothForms(chainId));
    if (both.length > 0) await this.#collectAfter(both);
  }

  /** Carries out the plan of `choose`, except for the layers. */
  async #delete(
    users: ImageUsers,
    choose: (deletion: Deletion, references: MutableReferences) => Promise<void>,
    onDeletion: OnDeletion = () => undefined,
  ): Promise<{ readonly deletion: Deletion; readonly doomed: Doomed }> {
    const { db, layers, repositories, originals } = this.#parts;
    const done = await repositories.change(async (references, { beforeNames, afterNames }) => {
      const { state, labels } = await this.#state(references, users);
      const deletion = new Deletion(state);
      await choose(deletion, references);
      const doomed = await this.#chains(deletion.images);
      if (doomed.size > 0) {
        await layers.noteUnused([...doomed.values()].flatMap((chain) => chain.slice(0, 1)));
        // Readers skip a name without its image, but they would see an image without its names.
        beforeNames.push(...db.deleteSteps([...doomed.keys()]));
        afterNames.push(...originals.manifests.removeSteps(doomed.keys()));
      }
      return { deletion, doomed, labels };
    });
    for (const step of done.deletion.steps) onDeletion(step, done.labels.get(step.id) ?? null);
    return done;
  }

  async #rehearse(
    users: ImageUsers,
    choose: (deletion: Deletion, references: MutableReferences) => Promise<void>,
  ): Promise<PruneResult> {
    const { layers, catalog, repositories } = this.#parts;
    const references = await repositories.read();
    const deletion = new Deletion((await this.#state(references, users)).state);
    await choose(deletion, references);
    const doomed = await this.#chains(deletion.images);
    return report(deletion, doomed, await layers.collectable('all', () => catalog.tops(doomed)));
  }

  async #state(
    references: MutableReferences,
    users: ImageUsers,
  ): Promise<{
    readonly state: DeletionState;
    readonly labels: ReadonlyMap<ImageID, CatalogEntry['labels']>;
  }> {
    const [entries, found] = await Promise.all([this.#parts.catalog.entries(), users()]);
    const parents = entries.flatMap(({ id, parent }) => (parent === null ? [] : [[id, parent] as const]));
    return {
      state: { references, parents: new Map(parents), users: found },
      labels: new Map(entries.map((entry) => [entry.id, entry.labels])),
    };
  }

  /**
   * Returns the layers of these images. A damaged config does not name its layers, so `prune` has to find
   * them.
   */
  async #chains(ids: readonly ImageID[]): Promise<Doomed> {
    const chains = new Map<ImageID, readonly ChainID[]>();
    for (const id of ids) {
      const config = await this.#parts.db
        .read(id)
        .then((raw) => raw && parseImageConfig(raw))
        .catch((error: unknown) => void damagedImage(error));
      chains.set(id, chainIds(config?.diffIds ?? []).reverse());
    }
    return chains;
  }
}

/** Returns the unreadable image that the error names, or undefined. */
function damagedImage(error: unknown): ImageID | undefined {
  if (!LayerstackError.is(error)) throw error;
  if (error.code === 'ERR_STORE_CORRUPT' || error.code === 'ERR_CONFIG_INVALID')
    return error.id as ImageID | undefined;
  if (error.code === 'ERR_IMAGE_NOT_FOUND') return undefined;
  throw error;
}

/**
 * Removes a reference whose image is missing, which dockerd cannot do. Returns false where it does not exist.
 */
function forget(deletion: Deletion, references: MutableReferences, name: string): boolean {
  const reference = withDefaultTag(parseReference(name));
  if (references.get(reference) === undefined) return false;
  references.delete(reference);
  deletion.records.push({ Untagged: formatReference(reference) });
  return true;
}

/** Skips an image that cannot be deleted. */
function attempt(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!LayerstackError.is(error, 'ERR_IMAGE_IN_USE')) throw error;
  }
}

/** Adds the records of layers, each after the last image that had it. Layers of no image come last. */
function withLayers(
  records: readonly DeletedRecord[],
  doomed: Doomed,
  removed: readonly CollectedLayer[],
): DeletedRecord[] {
  const owner = new Map<ChainID, string>();
  for (const [id, chain] of doomed) for (const chainId of chain) owner.set(chainId, id);
  const gone = new Set(removed.map(({ chainId }) => chainId));
  return records.flatMap((record): DeletedRecord[] => {
    if ('Untagged' in record) return [record];
    const layers = doomed.get(record.Deleted as ImageID) ?? [];
    const own = layers.filter((chainId) => gone.has(chainId) && owner.get(chainId) === record.Deleted);
    return [record, ...own.map((chainId) => ({ Deleted: chainId }))];
  });
}

function report(deletion: Deletion, doomed: Doomed, removed: readonly CollectedLayer[]): PruneResult {
  const ofImages = new Set([...doomed.values()].flat());
  const others = removed.filter(({ chainId }) => !ofImages.has(chainId));
  return {
    ImagesDeleted: [
      ...withLayers(deletion.records, doomed, removed),
      ...others.map(({ chainId }) => ({ Deleted: chainId })),
    ],
    SpaceReclaimed: removed.reduce((sum, { size }) => sum + size, 0),
  };
}
