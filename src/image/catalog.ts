/**
 * Caches the facts about each image that a listing needs. They come from imagedb and layerdb, but reading a
 * thousand configs and the sizes of ten thousand layers would take too long for a listing. So the facts are
 * in `layerstack/image-catalog.json`, as git keeps stat data in its index. An image's entry is valid while
 * inode, change time and size of its config, and inode and change time of its metadata directory, are
 * unchanged. Layers never change under their ChainID and are removed from the top down, so only the top layer
 * is looked up. The file is written without fsync and may be deleted at any time. Read-only stores do not
 * write it.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { chainIds, hexOf, topChainId, type ChainID, type ImageID } from '../core/digest.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { parseTime, ZERO_TIME } from '../core/time.ts';
import type { LayerForm, LayerStore } from '../layer/store.ts';
import { call, native, type StoreEntry } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { isPlanted, listDirectory, readStoreFile, statEntry } from '../system/store-files.ts';
import { parseImageConfig, type ImageConfig } from './config.ts';
import { isOldEnough, markOf } from './file-mark.ts';
import type { ImageDb } from './imagedb.ts';

/** The facts of one image. */
export interface CatalogEntry {
  readonly id: ImageID;
  /** Seconds since 1970; the year 1 where the config has no time. */
  readonly created: number;
  /** The same as RFC 3339. */
  readonly time: string;
  readonly labels: Readonly<Record<string, string>> | null;
  readonly parent: ImageID | null;
  /** ChainID of the topmost layer. */
  readonly top: ChainID | null;
  /** Bytes of all layers. */
  readonly size: number;
  readonly form: LayerForm;
}

/** An entry, with the state of the files that it was read from. */
interface CachedEntry extends CatalogEntry {
  readonly content: string;
  readonly metadata: string;
}

interface CatalogContent {
  /**
   * The state of the layers' directory at the time of the listing; empty where an image lacked its top layer.
   */
  readonly layers: string;
  readonly images: readonly CachedEntry[];
}

/** The file. A file of another version is ignored. */
interface CatalogFile extends CatalogContent {
  readonly version: typeof VERSION;
}

/** The state of an image's files. */
interface State {
  readonly form: LayerForm;
  readonly content: string;
  /** Empty for an image that has no metadata. */
  readonly metadata: string;
  /** Whether a later change of the files would change this state, see {@link isOldEnough}. */
  readonly oldEnough: boolean;
}

/** A set of images. */
interface Ids {
  has(id: ImageID): boolean;
}

/** The state of images that are being changed. It equals the state of no file, so the entry is not kept. */
const CHANGING: Omit<State, 'form'> = { content: 'changing', metadata: 'changing', oldEnough: false };

const VERSION = 2;
/** Enough for ten thousand images with many labels. */
const MAX_CATALOG_BYTES = 256 * 1024 * 1024;
const NOTHING: CatalogContent = { layers: '', images: [] };

/**
 * Reading images yields to other work on the event loop after this many, which take one or two milliseconds.
 */
const SLICE = 256;
/** An image whose config and layers are read counts as this many in {@link SLICE}. */
const READ_COST = 32;
const ZERO_UNIX = parseTime(ZERO_TIME)?.unix ?? 0;

/** The catalog of one root. */
export class Catalog {
  readonly #root: Root;
  readonly #layers: LayerStore;
  readonly #db: ImageDb;
  readonly #path: string;

  constructor(root: Root, layers: LayerStore, db: ImageDb) {
    this.#root = root;
    this.#layers = layers;
    this.#db = db;
    this.#path = `${root.layout.own}/image-catalog.json`;
  }

  /** Returns every image with an intact config and all its layers. The others are logged. */
  async entries(): Promise<CatalogEntry[]> {
    const layerState = this.#layerState();
    const [states, file] = await Promise.all([this.#states(), this.#load()]);
    const known = new Map(file.images.map((entry) => [entry.id, entry]));
    // The directory is unchanged, so every layer still exists.
    const isSame = file.layers !== '' && file.layers === layerState;
    const layers = new Set(isSame ? undefined : await this.#layerNames());
    const sizes = new Map<ChainID, number | undefined>();
    const found: CachedEntry[] = [];
    const lasting: CachedEntry[] = [];
    let looked = 0;
    for (const [id, state] of states) {
      const cached = known.get(id);
      const valid = cached?.content === state.content && cached.metadata === state.metadata;
      if ((looked += valid ? 1 : READ_COST) >= SLICE) {
        looked = 0;
        await nextTurn();
      }
      const entry = valid ? cached : await this.#readUnlessPlanted(id, state, sizes);
      if (entry === undefined) continue;
      if (entry.top === null || isSame || layers.has(hexOf(entry.top))) found.push(entry);
      else this.#skip(id, 'a layer of it is missing');
      if (valid || state.oldEnough) lasting.push(entry);
    }
    const now = { layers: found.length === lasting.length ? layerState : '', images: lasting };
    const changed =
      now.layers !== file.layers ||
      lasting.length !== known.size ||
      lasting.some((entry) => known.get(entry.id) !== entry);
    if (changed && !this.#root.readOnly) await this.#save(now);
    return found;
  }

  /** Skips an image if the entry of one of its layers is planted. */
  async #readUnlessPlanted(
    id: ImageID,
    state: State,
    sizes: Map<ChainID, number | undefined>,
  ): Promise<CachedEntry | undefined> {
    const { layout } = this.#root;
    try {
      return await this.#read(id, state, sizes);
    } catch (error) {
      if (!isPlanted(error) || !error.path.startsWith(`${layout.at(layout.layers)}/`)) throw error;
      return this.#skip(id, error.message);
    }
  }

  /** Returns the state of the layers' directory; empty where it has just changed, or is missing. */
  #layerState(): string {
    const { layout } = this.#root;
    const stats = statEntry(layout.at(layout.layers));
    const packed = statEntry(layout.at(layout.packedLayers));
    const oldEnough = stats && isOldEnough(Math.max(stats.ctimeMs, packed?.ctimeMs ?? 0));
    return oldEnough ? [stats, ...(packed ? [packed] : [])].map(markOf).join(' ') : '';
  }

  async #layerNames(): Promise<string[]> {
    const { layout } = this.#root;
    const names = [layout.layers, layout.packedLayers].map((each) => listDirectory(layout.at(each)));
    return (await Promise.all(names)).flatMap((each) => each ?? []);
  }

  /**
   * Returns the top layers of all images with an intact config, except for those in `but`. The layers need
   * not exist.
   */
  async tops(but: Ids = new Set()): Promise<Set<ChainID>> {
    const [states, file] = await Promise.all([this.#states(but), this.#load()]);
    const known = new Map(file.images.map((entry) => [entry.id, entry]));
    const tops = new Set<ChainID>();
    let seen = 0;
    for (const [id, state] of states) {
      if (++seen % SLICE === 0) await nextTurn();
      const cached = known.get(id);
      const valid = cached !== undefined && cached.content === state.content;
      const top = valid ? cached.top : topChainId(this.#config(id)?.diffIds ?? []);
      if (top !== undefined && top !== null) tops.add(top);
    }
    return tops;
  }

  /** Returns the states of the files of all images, except for those in `but`. */
  async #states(but: Ids = new Set()): Promise<Map<ImageID, State>> {
    const forms = await this.#db.forms();
    const states = new Map<ImageID, State>();
    // Some or all of their files are not yet in place.
    const changing = this.#changing();
    for (const [id, form] of forms)
      if (changing.has(hexOf(id)) && !but.has(id)) states.set(id, { ...CHANGING, form });
    for (const form of ['classic', 'packed'] as const) {
      const all = [...forms].filter(([id, each]) => each === form && !but.has(id) && !states.has(id));
      await this.#addStates(
        form,
        all.map(([id]) => id),
        states,
      );
    }
    return states;
  }

  async #addStates(form: LayerForm, ids: readonly ImageID[], states: Map<ImageID, State>): Promise<void> {
    if (ids.length === 0) return;
    const { layout } = this.#root;
    const [contentsOf, metadatasOf] =
      form === 'packed'
        ? [layout.packedImageContents, layout.packedImageMetadatas]
        : [layout.imageContents, layout.imageMetadatas];
    const withMetadata = new Set(await listDirectory(layout.at(metadatasOf)));
    for (let at = 0; at < ids.length; at += SLICE) {
      const slice = ids.slice(at, at + SLICE);
      const names = slice.map(hexOf);
      const [contents, metadatas] = await Promise.all([
        stamps(layout.at(contentsOf), names),
        stamps(
          layout.at(metadatasOf),
          names.filter((name) => withMetadata.has(name)),
        ),
      ]);
      for (const id of slice) {
        const content = contents.get(hexOf(id));
        if (content === undefined) continue; // it has just been deleted
        const metadata = metadatas.get(hexOf(id));
        states.set(id, {
          form,
          content: markOf(content),
          metadata: metadata ? markOf(metadata) : '',
          oldEnough: isOldEnough(Math.max(content.ctimeMs, metadata?.ctimeMs ?? 0)),
        });
      }
    }
  }

  /** Returns the images of a change that is decided but not completed. */
  #changing(): ReadonlySet<string> {
    const { changes, layout } = this.#root;
    const pending = changes.pending();
    if (pending === undefined) return new Set();
    return new Set(
      [
        layout.imageContents,
        layout.imageMetadatas,
        layout.packedImageContents,
        layout.packedImageMetadatas,
      ].flatMap((directory) => [...pending.touched(directory)]),
    );
  }

  async #read(
    id: ImageID,
    state: State,
    sizes: Map<ChainID, number | undefined>,
  ): Promise<CachedEntry | undefined> {
    const config = this.#config(id);
    if (config === undefined) return undefined;
    const chain = chainIds(config.diffIds);
    let size = 0;
    for (const chainId of chain) {
      if (!sizes.has(chainId)) sizes.set(chainId, this.#layers.size(chainId));
      const own = sizes.get(chainId);
      if (own === undefined) return this.#skip(id, 'a layer of it is missing');
      size += own;
    }
    const parent = state.metadata === '' ? undefined : await this.#db.parent(id);
    const labels = config.config.Labels;
    return {
      id,
      created: config.created?.unix ?? ZERO_UNIX,
      time: config.created?.text ?? ZERO_TIME,
      labels: labels && Object.fromEntries(labels),
      parent: parent ?? null,
      top: chain.at(-1) ?? null,
      size,
      form: state.form,
      content: state.content,
      metadata: state.metadata,
    };
  }

  #config(id: ImageID): ImageConfig | undefined {
    try {
      const raw = this.#db.readSync(id);
      return raw && parseImageConfig(raw);
    } catch (error) {
      if (isPlanted(error) || (!LayerstackError.is(error) && !isSystemError(error))) throw error;
      return this.#skip(id, error.message);
    }
  }

  #skip(id: ImageID, reason: string): undefined {
    this.#root.log.warn('an image is skipped', { id, reason });
  }

  async #load(): Promise<CatalogContent> {
    try {
      const bytes = await readStoreFile(this.#root.layout.at(this.#path), MAX_CATALOG_BYTES);
      if (bytes === undefined) return NOTHING;
      const file = JSON.parse(bytes.toString()) as CatalogFile;
      return file.version === VERSION && Array.isArray(file.images) ? file : NOTHING;
    } catch (error) {
      // A power cut may leave the file empty or torn. It is only a cache, so any fault makes it empty.
      this.#root.log.debug('the image catalog cannot be used, and is rebuilt', { reason: String(error) });
      return NOTHING;
    }
  }

  /** Failures are ignored: the next listing is only slower. */
  async #save(content: CatalogContent): Promise<void> {
    const data = JSON.stringify({ version: VERSION, ...content } satisfies CatalogFile);
    try {
      await this.#root
        .session()
        .replace([{ op: 'replace', path: this.#path, data, mode: 0o600, sync: false }]);
    } catch (error) {
      this.#root.log.debug('the image catalog could not be saved', { reason: String(error) });
    }
  }
}

/** The parts of a file's stat that show whether it has changed. */
type Stamp = Pick<StoreEntry, 'ino' | 'ctimeMs' | 'size'>;

/** Returns the stamps of the existing files among those of a directory. */
async function stamps(directory: string, names: readonly string[]): Promise<Map<string, Stamp>> {
  const numbers = await call(native.stampFiles(directory, names));
  const found = new Map<string, Stamp>();
  for (const [index, name] of names.entries()) {
    const [ino = NaN, ctimeMs = NaN, size = NaN] = [
      numbers[index * 3],
      numbers[index * 3 + 1],
      numbers[index * 3 + 2],
    ];
    if (!Number.isNaN(ino)) found.set(name, { ino, ctimeMs, size });
  }
  return found;
}
