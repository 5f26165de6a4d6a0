/**
 * The image database. `imagedb/content/sha256/<id>` holds an image's config verbatim; its digest is the id,
 * and every read checks it. `imagedb/metadata/sha256/<id>/<key>` holds metadata: `parent` (an image id) and
 * `lastUpdated` (a time), both without a newline. Mirrors `moby/moby: image/fs.go`.
 */
import { digestOf, digestOfHex, hexOf, imageIdOf, isDigest, isHex64, type ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import type { ChangeStep } from '../system/changes.ts';
import type { ImageMetadataKey } from '../system/layout.ts';
import type { Root } from '../system/root.ts';
import { readStoreFileSync, statEntry } from '../system/store-files.ts';
import { MAX_CONFIG_BYTES } from './config.ts';

/** The image database of one root. */
export class ImageDb {
  readonly #root: Root;

  constructor(root: Root) {
    this.#root = root;
  }

  /** Returns the ids of all images with content, valid or not, in the order of their digits. */
  async ids(): Promise<ImageID[]> {
    return this.#idsIn(this.#root.layout.imageContents);
  }

  /**
   * Returns the config's bytes, or undefined where the image has none.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT when they do not have the digest `id`.
   */
  async read(id: ImageID): Promise<Uint8Array | undefined> {
    const path = this.#root.layout.imageContent(id);
    const bytes = await this.#file(path);
    return bytes && verify(bytes, id, this.#root.layout.at(path));
  }

  /** Returns whether the image has content, intact or not. */
  has(id: ImageID): boolean {
    const path = this.#root.layout.imageContent(id);
    const changed = this.#root.changes.pending()?.read(path);
    if (changed !== undefined) return changed !== null;
    return statEntry(this.#root.layout.at(path)) !== undefined;
  }

  /**
   * Reads as {@link read} does, but blocks. Listings use it, because a thousand configs come from the page
   * cache in 10 ms this way, and in 75 ms through libuv's threads.
   */
  readSync(id: ImageID): Uint8Array | undefined {
    const changed = this.#root.changes.pending()?.read(this.#root.layout.imageContent(id));
    if (changed === null) return undefined;
    const path = this.#root.layout.at(this.#root.layout.imageContent(id));
    const bytes = changed ?? readStoreFileSync(path, MAX_CONFIG_BYTES);
    return bytes && verify(bytes, id, path);
  }

  /** Returns the parents of all images that have one. */
  async parents(): Promise<Map<ImageID, ImageID>> {
    const parents = new Map<ImageID, ImageID>();
    const ids = await this.#idsIn(this.#root.layout.imageMetadatas);
    for (const id of ids) {
      const parent = await this.parent(id);
      if (parent !== undefined) parents.set(id, parent);
    }
    return parents;
  }

  /** Returns the image's parent, or undefined. */
  async parent(id: ImageID): Promise<ImageID | undefined> {
    const text = await this.metadata(id, 'parent');
    return text !== undefined && isDigest(text) ? imageIdOf(text) : undefined;
  }

  /** Returns a metadata value as it is on disk, or undefined. */
  async metadata(id: ImageID, key: ImageMetadataKey): Promise<string | undefined> {
    const bytes = await this.#file(this.#root.layout.imageMetadata(id, key));
    return bytes && Buffer.from(bytes).toString();
  }

  /**
   * Stores the config `raw`, whose digest is `id`. It makes the image visible, so metadata is written before
   * it.
   */
  contentStep(id: ImageID, raw: Uint8Array): ChangeStep {
    return { op: 'write', path: this.#root.layout.imageContent(id), data: raw };
  }

  /** Sets a metadata value. */
  metadataStep(id: ImageID, key: ImageMetadataKey, value: string): ChangeStep {
    return { op: 'write', path: this.#root.layout.imageMetadata(id, key), data: value };
  }

  /**
   * Returns steps that remove images. Removing the content makes an image invisible. Missing files are
   * ignored.
   */
  deleteSteps(ids: readonly ImageID[]): ChangeStep[] {
    const { layout } = this.#root;
    const remove = (path: string): ChangeStep => ({ op: 'remove', path });
    return [
      ...ids.map((id) => remove(layout.imageContent(id))),
      ...ids
        .map((id) => layout.imageMetadata(id))
        .filter((path) => statEntry(layout.at(path)) !== undefined)
        .map(remove),
    ];
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
