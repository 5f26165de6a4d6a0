/**
 * The images of a root: configs (imagedb), their names (repositories.json) and the layers they stand on.
 * An image is there when its config is intact and its chain of layers is complete; others are skipped in
 * listings, as dockerd skips them at start.
 * Mirrors `moby/moby: image/store.go` and `daemon/images/` at v20.10.
 */
import { hexOf, isDigest, topChainId, type ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { formatReference, parseReference, type Reference } from '../core/reference.ts';
import { localTime } from '../core/time.ts';
import type { Layer, LayerStore } from '../layer/store.ts';
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
import { ImageDb } from './imagedb.ts';
import type { References } from './references.ts';
import { Repositories } from './repositories.ts';

export type { HistoryRow, ImageInspect, ImageSummary } from './documents.ts';

/** A reference and the image that it shall name. */
export interface TagChange {
  readonly reference: Reference;
  readonly id: ImageID;
}

export interface CreatedImage {
  readonly id: ImageID;
  /** False where the store had the image already. */
  readonly created: boolean;
}

export interface ListOptions {
  /** Also images that have no reference but children, as `docker images -a`. Default false. */
  readonly all?: boolean;
}

/** How many candidates an ambiguity names. */
const SHOWN = 3;

/** The images of one root. */
export class ImageStore {
  readonly #root: Root;
  readonly #layers: LayerStore;
  readonly #db: ImageDb;
  readonly #repositories: Repositories;
  readonly #catalog: Catalog;

  constructor(root: Root, layers: LayerStore) {
    this.#root = root;
    this.#layers = layers;
    this.#db = new ImageDb(root);
    this.#repositories = new Repositories(root);
    this.#catalog = new Catalog(root, layers, this.#db);
  }

  /**
   * The image is in the store, durably, with `parent` as its parent where given. An image that is there
   * already stays as it is (its parent is set); damaged content is healed.
   * @throws {@link LayerstackError} ERR_LAYER_NOT_FOUND when the store lacks a layer of it; ERR_IMAGE_NOT_FOUND
   *   when it lacks `parent`; ERR_NO_SPACE; ERR_STORE_READ_ONLY.
   */
  async create(config: ImageConfig, options: { readonly parent?: ImageID } = {}): Promise<CreatedImage> {
    const { id } = config;
    const { parent } = options;
    const top = topChainId(config.diffIds);
    if (top !== undefined) await this.#layers.get(top);
    if (parent !== undefined) await this.get(parent);

    if (await this.#isIntact(id)) {
      if (parent !== undefined && (await this.#db.parent(id)) !== parent) {
        await this.#db.setMetadata(id, 'parent', parent);
      }
      return { id, created: false };
    }
    await this.#db.write(id, config.raw, parent);
    return { id, created: true };
  }

  async #isIntact(id: ImageID): Promise<boolean> {
    try {
      return (await this.#db.read(id)) !== undefined;
    } catch (error) {
      if (LayerstackError.is(error) && error.code === 'ERR_STORE_CORRUPT') return false;
      throw error;
    }
  }

  /**
   * `reference` (with tag `latest` where it has none) names `id`, durably, and the image's time of last tagging
   * is now. `previous` is the other image that it named before.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND; ERR_REFERENCE_CONFLICT for a reference by
   *   digest that names another image; ERR_STORE_READ_ONLY.
   */
  async tag(reference: Reference, id: ImageID): Promise<{ previous?: ImageID }> {
    const [result] = await this.tagAll([{ reference, id }]);
    await this.#db.setMetadata(id, 'lastUpdated', localTime(new Date()));
    return result ?? {};
  }

  /**
   * All references name their images, durably and in one rewrite: all change or none. As docker's `load` and
   * `pull`, it leaves the times of last tagging alone. The results are in the order of `changes`.
   * @throws {@link LayerstackError} as {@link tag}.
   */
  async tagAll(changes: readonly TagChange[], signal?: AbortSignal): Promise<{ previous?: ImageID }[]> {
    for (const id of new Set(changes.map((change) => change.id))) await this.get(id);
    return await this.#repositories.change(
      (references) =>
        changes.map(({ reference, id }) => {
          const previous = references.set(reference, id);
          return previous === undefined || previous === id ? {} : { previous };
        }),
      signal,
    );
  }

  /**
   * The image that a reference, an id (`sha256:…` or bare) or the beginning of an id names. A reference goes
   * before an id that begins alike.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND; ERR_ID_AMBIGUOUS when several ids begin so;
   *   ERR_REFERENCE_INVALID when it can be neither.
   */
  async resolve(nameOrId: string): Promise<ImageID> {
    const digits = /^(?:sha256:)?([0-9a-f]{1,64})$/.exec(nameOrId)?.[1];
    const prefixed = nameOrId.startsWith('sha256:');
    if (digits?.length === 64) {
      const id = `sha256:${digits}` as ImageID;
      await this.get(id);
      return id;
    }
    let dangling: ImageID | undefined;
    if (!prefixed) {
      const named = (await this.#repositories.read()).get(parseReference(nameOrId));
      if (named !== undefined && (await this.#db.read(named)) !== undefined) return named;
      dangling = named;
    }
    const found =
      digits === undefined ? [] : (await this.#db.ids()).filter((id) => hexOf(id).startsWith(digits));
    if (found.length > 1) throw ambiguous(nameOrId, found);
    if (found[0] !== undefined) return found[0];
    throw notFound(nameOrId, dangling);
  }

  /**
   * The image's config.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND; ERR_STORE_CORRUPT when its content was changed;
   *   ERR_CONFIG_INVALID when it is no config that dockerd would use.
   */
  async get(id: ImageID): Promise<ImageConfig> {
    const raw = isDigest(id) ? await this.#db.read(id) : undefined;
    if (raw === undefined) throw notFound(id);
    return parseImageConfig(raw);
  }

  /** The names of every image that has any, in docker's order; images that are missing included. */
  async references(): Promise<Map<ImageID, string[]>> {
    const byImage = (await this.#repositories.read()).byImage();
    return new Map([...byImage].map(([id, list]) => [id, list.map(formatReference)]));
  }

  /** The image that `id` was built from, where the store knows it. */
  async parent(id: ImageID): Promise<ImageID | undefined> {
    return await this.#db.parent(id);
  }

  /** The images that were built from `id`. */
  async children(id: ImageID): Promise<ImageID[]> {
    const content = new Set(await this.#db.ids());
    const parents = [...(await this.#db.parents())];
    return parents.filter(([child, parent]) => parent === id && content.has(child)).map(([child]) => child);
  }

  /**
   * All images, newest first. Images that are damaged or lack a layer are skipped, and logged. What it reads it
   * keeps (image/catalog.ts), so that the next listing costs two stats for each image.
   */
  async list(options: ListOptions = {}): Promise<ImageSummary[]> {
    const [entries, references] = await Promise.all([this.#catalog.entries(), this.#repositories.read()]);
    const names = references.byImage();
    const withChildren = new Set(entries.map(({ parent }) => parent));
    return entries
      .filter(({ id }) => options.all === true || names.has(id) || !withChildren.has(id))
      .map((entry) => summaryRow(entry, names.get(entry.id) ?? []))
      .sort((a, b) => b.Created - a.Created || (a.Id < b.Id ? -1 : 1));
  }

  /**
   * What `docker image inspect` shows, fields in its order.
   * @throws {@link LayerstackError} as {@link get}; ERR_LAYER_NOT_FOUND when a layer of it is missing.
   */
  async inspect(id: ImageID): Promise<ImageInspect> {
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
   * What `docker history` shows, newest step first.
   * @throws {@link LayerstackError} as {@link inspect}.
   */
  async history(id: ImageID): Promise<HistoryRow[]> {
    const config = await this.get(id);
    const [layers, references] = await Promise.all([this.#chain(config), this.#repositories.read()]);
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
    const references: References = await this.#repositories.read();
    return references.byImage().get(id) ?? [];
  }
}

function notFound(name: string, dangling?: ImageID): LayerstackError {
  const why = dangling === undefined ? '' : `: the name points to ${dangling}, which is not in the store`;
  return new LayerstackError('ERR_IMAGE_NOT_FOUND', `no such image: ${name}${why}`, {
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
