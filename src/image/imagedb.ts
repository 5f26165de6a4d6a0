/**
 * The image database: `imagedb/content/sha256/<id>` holds an image's config verbatim (its digest is the id, and
 * is checked on every read), `imagedb/metadata/sha256/<id>/<key>` holds what is said about it: `parent` (an
 * image id) and `lastUpdated` (a time), both without a newline.
 * Mirrors `moby/moby: image/fs.go`.
 */
import { existsSync, readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { digestOf, hexOf, isDigest, type ImageID } from '../core/digest.ts';
import { isSystemError, LayerstackError, unlessMissing } from '../core/errors.ts';
import type { ImageMetadataKey } from '../system/layout.ts';
import { call, native, type BatchStep } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { spaceError } from '../system/space.ts';

const HEX = /^[0-9a-f]{64}$/;

/** The image database of one root. */
export class ImageDb {
  readonly #root: Root;

  constructor(root: Root) {
    this.#root = root;
  }

  /** Ids of all images with content, valid or not, in the order of their digits. */
  async ids(): Promise<ImageID[]> {
    return (await this.#names(this.#root.layout.imageContents)) as ImageID[];
  }

  /**
   * The config's bytes, or undefined where there is none.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT when they do not have the digest `id`.
   */
  async read(id: ImageID): Promise<Uint8Array | undefined> {
    const path = this.#root.layout.at(this.#root.layout.imageContent(id));
    const bytes = await unlessMissing(readFile(path));
    return bytes && verify(bytes, id, path);
  }

  /** Whether there is content, intact or not. */
  has(id: ImageID): Promise<boolean> {
    // Blocks for a few microseconds, where a trip to libuv's threads takes a hundred.
    return Promise.resolve(existsSync(this.#root.layout.at(this.#root.layout.imageContent(id))));
  }

  /**
   * As {@link read}, but blocking: for listings, where a thousand configs come from the page cache in
   * 10 ms this way and in 75 ms through libuv's threads.
   */
  readSync(id: ImageID): Uint8Array | undefined {
    const path = this.#root.layout.at(this.#root.layout.imageContent(id));
    try {
      return verify(readFileSync(path), id, path);
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  /** The parents of all images that have one. */
  async parents(): Promise<Map<ImageID, ImageID>> {
    const parents = new Map<ImageID, ImageID>();
    const ids = (await this.#names(this.#root.layout.imageMetadatas)) as ImageID[];
    for (const id of ids) {
      const parent = await this.parent(id);
      if (parent !== undefined) parents.set(id, parent);
    }
    return parents;
  }

  /** The image's parent, or undefined. */
  async parent(id: ImageID): Promise<ImageID | undefined> {
    const text = await this.metadata(id, 'parent');
    return text !== undefined && isDigest(text) ? (text as ImageID) : undefined;
  }

  /** A metadata value as it is on disk, or undefined. */
  async metadata(id: ImageID, key: ImageMetadataKey): Promise<string | undefined> {
    const { layout } = this.#root;
    return await unlessMissing(readFile(layout.at(layout.imageMetadata(id, key)), 'utf8'));
  }

  /**
   * Writes the config `raw`, whose digest `id` is, and the metadata given with it. Durable on return; the
   * content appears last, so an image is never seen without its parent.
   */
  async write(id: ImageID, raw: Uint8Array, parent?: ImageID): Promise<void> {
    const { layout } = this.#root;
    await this.apply([
      ...(parent === undefined ? [] : this.#metadataSteps(id, 'parent', parent)),
      { op: 'replace', path: layout.imageContent(id), data: raw, mode: 0o600 },
      { op: 'fsync', path: layout.imageContents },
    ]);
  }

  /** Sets a metadata value. Durable on return. */
  async setMetadata(id: ImageID, key: ImageMetadataKey, value: string): Promise<void> {
    await this.apply(this.#metadataSteps(id, key, value));
  }

  /**
   * Removes images, metadata before content, as dockerd does. Durable on return. Missing ones are no error.
   * @param before - steps to be done first
   */
  async delete(ids: readonly ImageID[], before: readonly BatchStep[]): Promise<void> {
    const { layout } = this.#root;
    await this.apply(before);
    for (const id of ids) await call(native.removeTree(layout.root, layout.imageMetadata(id)));
    await this.apply([
      ...ids.map((id): BatchStep => ({ op: 'unlink', path: layout.imageContent(id), missing: true })),
      { op: 'fsync', path: layout.imageContents },
    ]);
  }

  #metadataSteps(id: ImageID, key: ImageMetadataKey, value: string): BatchStep[] {
    const { layout } = this.#root;
    return [
      { op: 'mkdir', path: layout.imageMetadata(id), mode: 0o700, exist: true },
      { op: 'fsync', path: layout.imageMetadatas },
      { op: 'replace', path: layout.imageMetadata(id, key), data: value, mode: 0o600 },
      { op: 'fsync', path: layout.imageMetadata(id) },
    ];
  }

  /** Does `steps`; a full disk is told as one. */
  async apply(steps: readonly BatchStep[]): Promise<void> {
    this.#root.session();
    try {
      await call(native.batch(this.#root.layout.root, steps));
    } catch (error) {
      throw spaceError(error, this.#root.layout.root);
    }
  }

  async #names(directory: string): Promise<string[]> {
    const names = (await unlessMissing(readdir(this.#root.layout.at(directory)))) ?? [];
    return names
      .filter((name) => HEX.test(name))
      .sort()
      .map((name) => `sha256:${name}`);
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
