/**
 * The images of a root: configs (imagedb), their names (repositories.json) and their layers. An image exists
 * when its config is intact and its chain of layers is complete. Listings skip other images, as dockerd does
 * at start. Mirrors `moby/moby: image/store.go` and `daemon/images/` at v20.10.
 */
import {
  chainIds,
  digestOfHex,
  hexOf,
  imageIdOf,
  isDigest,
  topChainId,
  type ChainID,
  type ImageID,
} from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { Pace } from '../core/pace.ts';
import { formatReference, parseReference, withDefaultTag, type Reference } from '../core/reference.ts';
import { compareTimes, localTime, parseTime, ZERO_TIME, type Time } from '../core/time.ts';
import { parseTimestamp } from '../core/timestamp.ts';
import type { Layer, LayerForm, LayerStore } from '../layer/store.ts';
import type { ChangeStep } from '../system/changes.ts';
import type { Root } from '../system/root.ts';
import { Catalog } from './catalog.ts';
import { parseImageConfig, type ImageConfig } from './config.ts';
import {
  historyRows,
  inspectDocument,
  summaryRow,
  type HistoryRow,
  type ImageInspect,
  type ImageSummary,
} from './documents.ts';
import type { DeletedRecord, DeleteOptions, ImageUser } from './deletion.ts';
import { ImageFilter, valuesOf, type ImageFilters, type OneOrMore } from './filters.ts';
import {
  ImageCollector,
  type ImageUsers,
  type OnDeletion,
  type PruneOptions,
  type PruneResult,
} from './gc.ts';
import { OriginalImages } from './originals.ts';
import { ImageDb } from './imagedb.ts';
import type { MutableReferences, References } from './references.ts';
import { Repositories, type ChangeDraft } from './repositories.ts';
import { layerTree, type LayerTree } from './tree.ts';
import { imageUsage, withSharedSizes, type ImageUsage } from './usage.ts';

export type { DeletedRecord, DeleteOptions, ImageUser } from './deletion.ts';
export type { HistoryRow, ImageInspect, ImageSummary } from './documents.ts';
export type { ImageFilters } from './filters.ts';
export type { ImageUsers, OnDeletion, PruneOptions, PruneResult } from './gc.ts';
export type { LayerTree } from './tree.ts';
export type { ImageUsage } from './usage.ts';

/** A reference and the image to name. */
export interface TagChange {
  readonly reference: Reference;
  readonly id: ImageID;
}

/** An image to be stored. */
export interface NewImage {
  readonly config: ImageConfig;
  readonly parent?: ImageID | undefined;
  /**
   * The documents that it was pulled by, which are kept with it. The caller holds a lease of
   * {@link OriginalImages}.
   */
  readonly documents?: readonly Uint8Array[] | undefined;
}

export interface CreateImageOptions {
  readonly parent?: ImageID | undefined;
  /** Names that the image gets in the same step. They set its time of last tagging to now. */
  readonly references?: readonly Reference[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface AddOptions {
  readonly signal?: AbortSignal | undefined;
  /** Sets the named images' time of last tagging to now. Default false, as in docker's `load` and `pull`. */
  readonly dated?: boolean | undefined;
  /** Fails with ERR_IMAGE_NOT_FOUND where the store does not have an image already. Default false. */
  readonly existing?: boolean | undefined;
  /**
   * The form of the images. Default: that of their top layers. With `packed`, all of these have a packed
   * form, and layers that are also extracted stay noted until {@link ImageStore.dropSecondForms}.
   */
  readonly form?: 'packed' | undefined;
}

export interface CreatedImage {
  readonly id: ImageID;
  /** False where the store has the image already. */
  readonly created: boolean;
}

export interface ListOptions {
  /** Includes images that have children but no reference, as `docker images -a`. Default false. */
  readonly all?: boolean | undefined;
  readonly filters?: ImageFilters | undefined;
  /** Fills in `SharedSize`; reads the metadata of all layers. Default false. */
  readonly sharedSize?: boolean | undefined;
}

/** How many candidates the error about an ambiguous id names. */
const SHOWN = 3;

/** The images of one root. */
export class ImageStore {
  /** Images as they were pulled. */
  readonly originals: OriginalImages;
  readonly #root: Root;
  readonly #layers: LayerStore;
  readonly #db: ImageDb;
  readonly #repositories: Repositories;
  readonly #catalog: Catalog;
  readonly #collector: ImageCollector;

  constructor(root: Root, layers: LayerStore) {
    const db = new ImageDb(root);
    const repositories = new Repositories(root, db);
    const catalog = new Catalog(root, layers, db);
    this.#root = root;
    this.#layers = layers;
    this.#db = db;
    this.#repositories = repositories;
    this.#catalog = catalog;
    this.originals = new OriginalImages(root);
    this.#collector = new ImageCollector({
      root,
      layers,
      db,
      repositories,
      catalog,
      originals: this.originals,
    });
  }

  /**
   * Adds the image to the store, durably, with `parent` as its parent where given. An image that exists stays
   * as it is, except for its parent. Damaged content is healed.
   * @throws {@link LayerstackError} as {@link add}.
   */
  async create(config: ImageConfig, options: CreateImageOptions = {}): Promise<CreatedImage> {
    const { id } = config;
    const { parent, references = [], signal } = options;
    const names = references.map((reference) => ({ reference, id }));
    const { created } = await this.add([{ config, parent }], names, { signal, dated: true });
    return { id, created: created[0] === true };
  }

  /**
   * Adds images, each as {@link create} does and after its parent, and sets the names. All of this is one
   * change, so a deletion happens before or after it. The results are in the order of `images` and of
   * `names`.
   * @throws {@link LayerstackError} ERR_LAYER_NOT_FOUND when the store lacks a layer of an image;
   *   ERR_IMAGE_NOT_FOUND when it lacks a parent, or an image that is named; ERR_REFERENCE_CONFLICT for a
   *   reference by digest that names another image; ERR_NO_SPACE; ERR_STORE_READ_ONLY.
   */
  async add(
    images: readonly NewImage[],
    names: readonly TagChange[],
    { signal, dated = false, existing = false, form }: AddOptions = {},
  ): Promise<{ readonly created: boolean[]; readonly tagged: { previous?: ImageID }[] }> {
    this.#root.session();
    const tops = images.flatMap(({ config }) => topChainId(config.diffIds) ?? []);
    await using _pin = await this.#layers.pin(tops, { signal });
    const edit = async (references: MutableReferences, draft: ChangeDraft) => {
      if (existing) for (const { config } of images) await this.get(config.id);
      // Under the lock: a settle that runs meanwhile moves the image before or after this change.
      const forms = form
        ? new Map(images.map(({ config }) => [config.id, form]))
        : await this.#formsOf(images);
      const formOf = (id: ImageID): LayerForm => forms.get(id) ?? this.#db.formOf(id) ?? 'classic';
      const fresh = new Set(images.map(({ config }) => config.id));
      for (const { id } of names) if (!fresh.has(id)) await this.get(id);
      const tagged = names.map(({ reference, id }) => {
        const previous = references.set(reference, id);
        return previous === undefined || previous === id ? {} : { previous };
      });
      // Readers skip a new name without its image, but a name that moves must always have one. dockerd must
      // see an image that is packed with its names, or not at all.
      const moves = form === 'packed' || tagged.some(({ previous }) => previous !== undefined);
      const steps = moves ? draft.beforeNames : draft.afterNames;
      const now = localTime(new Date());
      if (dated)
        for (const id of new Set(names.map(({ id }) => id)))
          steps.push(this.#db.metadataStep(id, 'lastUpdated', now, formOf(id)));
      const created: boolean[] = [];
      const contents = new Map<ImageID, ChangeStep>();
      const left: ChangeStep[] = [];
      for (const { config, parent, documents } of images) {
        const { id } = config;
        if (documents) steps.push(...(await this.originals.manifests.addSteps(id, documents)));
        if (parent !== undefined && !contents.has(parent)) await this.get(parent);
        if (parent !== undefined && (await this.#db.parent(id)) !== parent)
          steps.push(this.#db.metadataStep(id, 'parent', parent, formOf(id)));
        const isNew = !contents.has(id) && !(await this.#isIntact(id));
        const moves = !isNew && this.#db.formOf(id) !== formOf(id);
        if (moves) steps.unshift(...(await this.#db.moveMetadataSteps(id, formOf(id))));
        if (moves)
          left.push(...this.#db.removeFormSteps([id], formOf(id) === 'packed' ? 'classic' : 'packed'));
        if (isNew || moves) contents.set(id, this.#db.contentStep(id, config.raw, formOf(id)));
        created.push(isNew);
      }
      steps.push(...contents.values());
      // A reader sees an image that moves from one form to the other in at least one of them.
      (form === 'packed' ? draft.beforeNames : draft.afterNames).push(...left);
      return { created, tagged };
    };
    const chains = images.flatMap(({ config }) => chainIds(config.diffIds));
    return await this.#repositories.change(edit, {
      signal,
      afterwards: () =>
        form === 'packed'
          ? Promise.resolve()
          : this.#layers.forgetUnused(chains.filter((id) => !this.#layers.hasBothForms(id))),
    });
  }

  /** Returns the form of each image, that of its top layer: only packed layers are above packed ones. */
  async #formsOf(images: readonly NewImage[]): Promise<Map<ImageID, LayerForm>> {
    const forms = new Map<ImageID, LayerForm>();
    for (const { config } of images) {
      const top = topChainId(config.diffIds);
      const isPacked = top !== undefined && (await this.#layers.get(top)).packed;
      forms.set(config.id, isPacked ? 'packed' : 'classic');
    }
    return forms;
  }

  async #isIntact(id: ImageID): Promise<boolean> {
    try {
      return (await this.#db.read(id)) !== undefined;
    } catch (error) {
      if (LayerstackError.is(error, 'ERR_STORE_CORRUPT')) return false;
      throw error;
    }
  }

  /**
   * Makes `reference` (with the tag `latest` where it has none) name `id`, durably, and sets the image's time
   * of last tagging to now. `previous` is the other image that it named before.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND; ERR_REFERENCE_CONFLICT for a reference by digest
   *   that names another image; ERR_STORE_READ_ONLY.
   */
  async tag(reference: Reference, id: ImageID): Promise<{ previous?: ImageID }> {
    const { tagged } = await this.add([], [{ reference, id }], { dated: true });
    return tagged[0] ?? {};
  }

  /**
   * Returns the image that a reference, an id (`sha256:…` or bare) or the prefix of an id names. A reference
   * wins over an id with the same prefix.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND; ERR_ID_AMBIGUOUS when several ids have the prefix;
   *   ERR_REFERENCE_INVALID when the text can be neither.
   */
  async resolve(nameOrId: string): Promise<ImageID> {
    // One look is enough if it finds the image. A look that finds nothing is repeated, because the image may
    // be changing its form.
    const digits = digitsOf(nameOrId);
    const id = digits?.length === 64 ? imageIdOf(digestOfHex(digits)) : undefined;
    if (id !== undefined && this.#db.has(id)) return id;
    return this.#root.changes.steady(() => this.#resolve(nameOrId));
  }

  async #resolve(nameOrId: string): Promise<ImageID> {
    const digits = digitsOf(nameOrId);
    const prefixed = nameOrId.startsWith('sha256:');
    if (digits?.length === 64) {
      const id = imageIdOf(digestOfHex(digits));
      if (!this.#db.has(id)) throw notFound(id);
      return id;
    }
    let dangling: ImageID | undefined;
    if (!prefixed) {
      const named = await this.#repositories.find(parseReference(nameOrId));
      if (named !== undefined && this.#db.has(named)) return named;
      dangling = named;
    }
    const found =
      digits === undefined ? [] : (await this.#db.ids()).filter((id) => hexOf(id).startsWith(digits));
    if (found.length > 1) throw ambiguous(nameOrId, found);
    if (found[0] !== undefined) return found[0];
    throw notFound(nameOrId, dangling);
  }

  /**
   * Returns the image's config.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND; ERR_STORE_CORRUPT when its content was changed;
   *   ERR_CONFIG_INVALID when dockerd could not use the config.
   */
  async get(id: ImageID): Promise<ImageConfig> {
    const raw = isDigest(id) ? await this.#db.read(id) : undefined;
    if (raw === undefined) throw notFound(id);
    return parseImageConfig(raw);
  }

  /** Returns the form of an image; undefined where the store does not have it. */
  formOf(id: ImageID): LayerForm | undefined {
    return this.#db.formOf(id);
  }

  /** Returns the names of every named image, in docker's order, also where the image is missing. */
  async references(): Promise<Map<ImageID, string[]>> {
    const byImage = (await this.#repositories.read()).byImage();
    return new Map([...byImage].map(([id, list]) => [id, list.map(formatReference)]));
  }

  /** Does {@link references}, but a damaged file of names gives none, and a warning. */
  async readableReferences(): Promise<Map<ImageID, string[]>> {
    const byImage = (await this.#repositories.readable()).byImage();
    return new Map([...byImage].map(([id, list]) => [id, list.map(formatReference)]));
  }

  /** Returns the image that `id` was built from, if the store knows it. */
  async parent(id: ImageID): Promise<ImageID | undefined> {
    return await this.#db.parent(id);
  }

  /** Returns the images that were built from `id`; without it, those that have no parent. */
  async children(id: ImageID | undefined): Promise<ImageID[]> {
    const [content, parents] = await Promise.all([this.#db.ids(), this.#db.parents()]);
    return content.filter((child) => parents.get(child) === id);
  }

  /**
   * Lists all images, newest first. Images that are damaged or lack a layer are skipped and logged. The facts
   * are cached (image/catalog.ts), so that the next listing costs two stats for each image.
   */
  list(options: ListOptions = {}): Promise<ImageSummary[]> {
    return this.#root.changes.steady(() => this.#list(options));
  }

  async #list({ all = false, filters = {}, sharedSize = false }: ListOptions): Promise<ImageSummary[]> {
    const created = (names: OneOrMore | undefined): Promise<Time[]> =>
      Promise.all(valuesOf(names).map((name) => this.#created(name)));
    const until = valuesOf(filters.until).map((text) => parseTimestamp('until', text));
    const [before] = [...(await created(filters.before)), ...until].sort(compareTimes);
    const since = (await created(filters.since)).sort(compareTimes).at(-1);
    const filter = new ImageFilter({ ...filters, until: undefined }, { before, since });
    const [entries, references] = await Promise.all([this.#catalog.entries(), this.#repositories.readable()]);
    const names = references.byImage();
    const withChildren = new Set(entries.map(({ parent }) => parent));
    const rows: ImageSummary[] = [];
    const pace = new Pace();
    for (const entry of entries) {
      if (!filter.matches(entry)) continue;
      const shown = await filter.shown(names.get(entry.id) ?? [], withChildren.has(entry.id), pace);
      const isHidden = shown?.length === 0 && !all && withChildren.has(entry.id);
      if (shown !== undefined && !isHidden) rows.push(summaryRow(entry, shown));
    }
    rows.sort((a, b) => b.Created - a.Created || (a.Id < b.Id ? -1 : 1));
    return sharedSize ? withSharedSizes(await this.#layers.graph(), entries, rows) : rows;
  }

  async #created(name: string): Promise<Time> {
    return (await this.get(await this.resolve(name))).created ?? (parseTime(ZERO_TIME) as Time);
  }

  /**
   * Deletes a reference, and with the last one the image, those of its layers that no other image has, and
   * its untagged parents. The deletion is durable on return. The bytes of the layers are deleted in the
   * background ({@link LayerStore.drain}).
   * @param users - the containers, which may prevent it
   * @returns the records, in docker's order and words
   * @throws {@link LayerstackError} as {@link resolve}; ERR_IMAGE_IN_USE; ERR_STORE_READ_ONLY.
   */
  remove(
    name: string,
    users: ImageUsers,
    options: DeleteOptions = {},
    onDeletion?: OnDeletion,
  ): Promise<DeletedRecord[]> {
    return this.#collector.remove({ name, resolve: () => this.resolve(name) }, users, options, onDeletion);
  }

  /**
   * Deletes unused images, and the layers to which nothing refers (also those of dead loads).
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a bad filter; ERR_STORE_READ_ONLY unless it is a
   *   dry run.
   */
  prune(users: ImageUsers, options: PruneOptions = {}, onDeletion?: OnDeletion): Promise<PruneResult> {
    return this.#collector.prune(users, options, onDeletion);
  }

  /**
   * Returns the disk usage of the images.
   * @param users - the containers
   * @param kept - the layers of their images
   */
  async usage(users: readonly ImageUser[], kept: readonly ChainID[]): Promise<ImageUsage> {
    const [graph, entries, images] = await Promise.all([
      this.#layers.graph(),
      this.#catalog.entries(),
      this.list(),
    ]);
    return imageUsage(graph, entries, { images, users, kept });
  }

  /** Returns the layers as a tree, with the images on them. */
  async tree(): Promise<LayerTree[]> {
    const [graph, entries, references] = await Promise.all([
      this.#layers.graph(),
      this.#catalog.entries(),
      this.#repositories.readable(),
    ]);
    return layerTree(graph, entries, references.byImage());
  }

  /**
   * Completes the deletions of dead processes, and those that left layers because these were in use. Failures
   * are logged.
   */
  async resume(): Promise<void> {
    await this.#repositories.refreshCopies();
    await this.originals.resume();
    await this.#collector.resume();
  }

  /**
   * Removes one form of each layer that is in both forms: the extracted form, unless an image in Docker's
   * form has the layer. Layers below mounted containers stay in both forms until a later collection. A
   * failure is logged, and the next writer repeats this.
   */
  dropSecondForms(chains: readonly ChainID[]): Promise<void> {
    return this.#collector.dropSecondForms(chains);
  }

  /** Returns the top layers of the images in Docker's form, except for those in `but`. */
  classicTops(but: readonly ImageID[]): Promise<Iterable<ChainID>> {
    return this.#collector.tops('classic', but);
  }

  /**
   * Handles the removal of a container of image `id`: the layer `top` is removed too if the image was
   * removed.
   */
  release(id: ImageID | undefined, top: ChainID): Promise<void> {
    return this.#collector.release(id, top);
  }

  /**
   * Returns the document of `docker image inspect`, with the fields in its order.
   * @throws {@link LayerstackError} as {@link get}; ERR_LAYER_NOT_FOUND when a layer of it is missing.
   */
  inspect(id: ImageID): Promise<ImageInspect> {
    return this.#root.changes.steady(() => this.#inspect(id));
  }

  async #inspect(id: ImageID): Promise<ImageInspect> {
    const config = await this.get(id);
    const [layers, references, parent, lastUpdated] = await Promise.all([
      this.#chain(config),
      this.#namesOf(id),
      this.#db.parent(id),
      this.#db.metadata(id, 'lastUpdated'),
    ]);
    return inspectDocument({ config, layers, references, parent, lastUpdated }, this.#root.layout);
  }

  /**
   * Returns the rows of `docker history`, the newest step first.
   * @throws {@link LayerstackError} as {@link inspect}.
   */
  history(id: ImageID): Promise<HistoryRow[]> {
    return this.#root.changes.steady(() => this.#history(id));
  }

  async #history(id: ImageID): Promise<HistoryRow[]> {
    const config = await this.get(id);
    const [layers, references] = await Promise.all([this.#chain(config), this.#repositories.readable()]);
    const names = references.byImage();
    const ancestors: { id: ImageID; references: readonly Reference[] }[] = [];
    let next: ImageID | undefined = id;
    while (next !== undefined && ancestors.length < config.history.length) {
      ancestors.push({ id: next, references: names.get(next) ?? [] });
      const parent: ImageID | undefined = await this.#db.parent(next);
      next = parent !== undefined && (await this.#isIntact(parent)) ? parent : undefined;
    }
    return historyRows(config, layers, ancestors);
  }

  async #chain(config: ImageConfig): Promise<Layer[]> {
    const top = topChainId(config.diffIds);
    return top === undefined ? [] : await this.#layers.chain(top);
  }

  async #namesOf(id: ImageID): Promise<readonly Reference[]> {
    const references: References = await this.#repositories.readable();
    return references.byImage().get(id) ?? [];
  }
}

/** Returns the digits of an id, or of the beginning of one; undefined for other texts. */
function digitsOf(nameOrId: string): string | undefined {
  return /^(?:sha256:)?([0-9a-f]{1,64})$/.exec(nameOrId)?.[1];
}

/** The message is docker's, with the implied tag: docker's clients match on it and then pull the image. */
function notFound(name: string, dangling?: ImageID): LayerstackError {
  const why = dangling === undefined ? '' : `: the name points to ${dangling}, which is not in the store`;
  const shown = /^sha256:/.test(name) ? name : formatReference(withDefaultTag(parseReference(name)));
  return new LayerstackError('ERR_IMAGE_NOT_FOUND', `No such image: ${shown}${why}`, {
    ...(isDigest(name) ? { id: name } : { reference: name }),
  });
}

function ambiguous(prefix: string, found: readonly ImageID[]): LayerstackError {
  const shown = found.slice(0, SHOWN).map((id) => hexOf(id).slice(0, Math.max(12, prefix.length + 2)));
  const more = found.length > SHOWN ? `, … (${found.length} in all)` : '';
  return new LayerstackError(
    'ERR_ID_AMBIGUOUS',
    `${prefix} is the beginning of several image ids: ${shown.join(', ')}${more}; give more digits`,
    { id: prefix, found: found.length },
  );
}
