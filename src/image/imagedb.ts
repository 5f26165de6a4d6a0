/**
 * The image database. `imagedb/content/sha256/<id>` holds an image's config verbatim; its digest is the id,
 * and every read checks it. `imagedb/metadata/sha256/<id>/<key>` holds metadata: `parent` (an image id),
 * `lastUpdated` (a time) and `builtLocally` (built.ts), all without a newline. Mirrors
 * `moby/moby: image/fs.go`.
 *
 * Images with packed layers are in `layerstack/packed/imagedb`, in the same shape: dockerd would take an
 * image in its own directory for one that it need not pull. An image is of one form. While it changes from
 * one to the other it may be in both places; then it is classic.
 */
import { digestOf, digestOfHex, hexOf, imageIdOf, isDigest, isHex64, type ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import type { LayerForm } from '../layer/store.ts';
import type { ChangeStep } from '../system/changes.ts';
import type { ImageMetadataKey } from '../system/layout.ts';
import type { Root } from '../system/root.ts';
import { readStoreFileSync, statEntry } from '../system/store-files.ts';
import { parseBuildRecord, type BuildRecord, type BuiltImage } from './built.ts';
import { MAX_CONFIG_BYTES } from './config.ts';

/** The image database of one root. */
export class ImageDb {
  readonly #root: Root;

  constructor(root: Root) {
    this.#root = root;
  }

  /** Returns the ids of all images with content, valid or not, in the order of their digits. */
  async ids(): Promise<ImageID[]> {
    return [...(await this.forms()).keys()];
  }

  /** Returns the forms of all images with content, in the order of their digits. */
  async forms(): Promise<Map<ImageID, LayerForm>> {
    const { layout } = this.#root;
    // An image that is settled or packed meanwhile would be in neither list if each were read once.
    const before = await this.#idsIn(layout.packedImageContents);
    const classic = await this.#idsIn(layout.imageContents);
    const packed = [...before, ...(await this.#idsIn(layout.packedImageContents))];
    const forms = new Map<ImageID, LayerForm>(classic.map((id) => [id, 'classic']));
    if (packed.length === 0) return forms;
    for (const id of packed) if (!forms.has(id)) forms.set(id, 'packed');
    return new Map([...forms].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** Returns the form of an image; undefined where it has no content. */
  formOf(id: ImageID): LayerForm | undefined {
    const { layout } = this.#root;
    const isClassic = (): boolean => this.#exists(layout.imageContent(id));
    if (isClassic()) return 'classic';
    if (this.#exists(layout.packedImageContent(id))) return 'packed';
    // A packed image that is gone by now may have been settled after the first look.
    return isClassic() ? 'classic' : undefined;
  }

  /**
   * Returns the config's bytes, or undefined where the image has none.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT when they do not have the digest `id`.
   */
  async read(id: ImageID): Promise<Uint8Array | undefined> {
    for (const path of this.#contentPaths(id)) {
      const bytes = await this.#file(path);
      if (bytes !== undefined) return verify(bytes, id, this.#root.layout.at(path));
    }
    return undefined;
  }

  /** Returns whether the image has content, intact or not. */
  has(id: ImageID): boolean {
    return this.formOf(id) !== undefined;
  }

  #exists(path: string): boolean {
    const changed = this.#root.changes.pending()?.read(path);
    if (changed !== undefined) return changed !== null;
    return statEntry(this.#root.layout.at(path)) !== undefined;
  }

  /** Returns the path of the image's config, relative to the root. */
  contentPath(id: ImageID): string {
    const { layout } = this.#root;
    return this.formOf(id) === 'packed' ? layout.packedImageContent(id) : layout.imageContent(id);
  }

  /** Returns the possible places of the config. It moves to the other one when the image's form changes. */
  #contentPaths(id: ImageID): Set<string> {
    const { layout } = this.#root;
    return new Set([this.contentPath(id), layout.imageContent(id), layout.packedImageContent(id)]);
  }

  /**
   * Reads as {@link read} does, but blocks. Listings use it, because a thousand configs come from the page
   * cache in 10 ms this way, and in 75 ms through libuv's threads.
   */
  readSync(id: ImageID): Uint8Array | undefined {
    for (const relative of this.#contentPaths(id)) {
      const changed = this.#root.changes.pending()?.read(relative);
      if (changed === null) continue;
      const path = this.#root.layout.at(relative);
      const bytes = changed ?? readStoreFileSync(path, MAX_CONFIG_BYTES);
      if (bytes !== undefined) return verify(bytes, id, path);
    }
    return undefined;
  }

  /** Returns the image's parent, or undefined. */
  async parent(id: ImageID): Promise<ImageID | undefined> {
    const text = await this.metadata(id, 'parent');
    return text !== undefined && isDigest(text) ? imageIdOf(text) : undefined;
  }

  /** Returns the images that a builder made in this store. Reads the metadata of all images. */
  async built(): Promise<BuiltImage[]> {
    const built: BuiltImage[] = [];
    for (const id of await this.ids()) {
      const record = await this.buildRecord(id);
      if (record !== undefined) built.push({ ...record, id, parent: await this.parent(id) });
    }
    return built;
  }

  /** Returns how the image was built in this store; undefined for another image. */
  async buildRecord(id: ImageID): Promise<BuildRecord | undefined> {
    return parseBuildRecord(await this.metadata(id, 'builtLocally'));
  }

  /** Returns a metadata value as it is on disk, or undefined. */
  async metadata(id: ImageID, key: ImageMetadataKey): Promise<string | undefined> {
    const { layout } = this.#root;
    const packed = (): Promise<Uint8Array | undefined> => this.#file(layout.packedImageMetadata(id, key));
    const first = this.formOf(id) === 'packed' ? await packed() : undefined;
    // An image may be packed meanwhile.
    const bytes = first ?? (await this.#file(layout.imageMetadata(id, key))) ?? (await packed());
    return bytes && Buffer.from(bytes).toString();
  }

  /**
   * Stores the config `raw`, whose digest is `id`. It makes the image visible, so metadata is written before
   * it.
   */
  contentStep(id: ImageID, raw: Uint8Array, form: LayerForm = 'classic'): ChangeStep {
    const { layout } = this.#root;
    const path = form === 'packed' ? layout.packedImageContent(id) : layout.imageContent(id);
    return { op: 'write', path, data: raw };
  }

  /** Sets a metadata value. */
  metadataStep(id: ImageID, key: ImageMetadataKey, value: string, form: LayerForm = 'classic'): ChangeStep {
    const { layout } = this.#root;
    const path = form === 'packed' ? layout.packedImageMetadata(id, key) : layout.imageMetadata(id, key);
    return { op: 'write', path, data: value };
  }

  /** Returns the steps that bring the metadata of an image from one form to the other. */
  async moveMetadataSteps(id: ImageID, form: LayerForm): Promise<ChangeStep[]> {
    const steps: ChangeStep[] = [];
    for (const key of ['parent', 'lastUpdated', 'builtLocally'] as const) {
      const value = await this.metadata(id, key);
      if (value !== undefined) steps.push(this.metadataStep(id, key, value, form));
    }
    return steps;
  }

  /**
   * Returns steps that remove images. Removing the content makes an image invisible. Missing files are
   * ignored.
   */
  deleteSteps(ids: readonly ImageID[]): ChangeStep[] {
    const { layout } = this.#root;
    const remove = (path: string): ChangeStep => ({ op: 'remove', path });
    const there = (path: string): boolean => statEntry(layout.at(path)) !== undefined;
    return [
      ...ids.map((id) => remove(layout.imageContent(id))),
      ...ids
        .map((id) => layout.imageMetadata(id))
        .filter(there)
        .map(remove),
      ...this.#packedPaths(ids).filter(there).map(remove),
    ];
  }

  /** Returns steps that remove images from one form. Missing files are ignored. */
  removeFormSteps(ids: readonly ImageID[], form: LayerForm): ChangeStep[] {
    const { layout } = this.#root;
    const classic = ids.flatMap((id) => [layout.imageContent(id), layout.imageMetadata(id)]);
    return (form === 'packed' ? this.#packedPaths(ids) : classic)
      .filter((path) => statEntry(layout.at(path)) !== undefined)
      .map((path) => ({ op: 'remove', path }));
  }

  #packedPaths(ids: readonly ImageID[]): string[] {
    const { layout } = this.#root;
    return ids.flatMap((id) => [layout.packedImageContent(id), layout.packedImageMetadata(id)]);
  }

  /** Returns the bytes of a file, with a pending change applied. */
  #file(path: string): Promise<Uint8Array | undefined> {
    return this.#root.changes.read(path, MAX_CONFIG_BYTES);
  }

  async #idsIn(directory: string): Promise<ImageID[]> {
    const names = await this.#root.changes.list(directory);
    return names
      .filter(isHex64)
      .sort()
      .map((name) => imageIdOf(digestOfHex(name)));
  }
}

function verify(bytes: Uint8Array, id: ImageID, path: string): Uint8Array {
  const found = digestOf(bytes);
  if (found === id) return bytes;
  throw new LayerstackError(
    'ERR_STORE_CORRUPT',
    `the config of image ${hexOf(id).slice(0, 12)} was changed or damaged on disk (its digest is now ${found}); ` +
      `load or pull the image again to heal it: ${path}`,
    { path, id, expected: id, found },
  );
}
