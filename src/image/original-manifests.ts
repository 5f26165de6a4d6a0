/**
 * The manifests and indexes that images were pulled by, as the registry sent them:
 * `<root>/layerstack/manifests/<hex of the image id>/<hex of the document's digest>`. Docker's store has no
 * place for them. They are removed with their image, and may be deleted at any time.
 */
import { MAX_MANIFEST_BYTES, MEDIA_TYPES, parseManifest, type Manifest } from '../core/descriptor.ts';
import {
  digestOf,
  digestOfHex,
  hexOf,
  imageIdOf,
  isHex64,
  type Digest,
  type ImageID,
} from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import type { ChangeStep } from '../system/changes.ts';
import { call, native } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { statEntry } from '../system/store-files.ts';

/** A manifest, byte for byte. */
export interface OriginalManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
}

/** An image may have been pulled by several manifests, from registries that compress differently. */
const MAX_DOCUMENTS = 16;

export class OriginalManifests {
  readonly #changes: Root['changes'];
  readonly #layout: Root['layout'];

  constructor({ changes, layout }: Pick<Root, 'changes' | 'layout'>) {
    this.#changes = changes;
    this.#layout = layout;
  }

  /**
   * Returns steps that keep the documents of an image, and drop its oldest ones if there are too many.
   * Returns no steps if these documents are its newest ones already. The caller holds the `references` lock
   * and a {@link BlobLease}.
   */
  async addSteps(id: ImageID, documents: readonly Uint8Array[]): Promise<ChangeStep[]> {
    const added = new Map(documents.map((bytes) => [hexOf(digestOf(bytes)), bytes]));
    const path = (name: string): string => this.#layout.originalManifest(hexOf(id), name);
    const names = await this.#names(id);
    if (await this.#areIntact(id, [...added.keys()], names.slice(0, added.size))) return [];
    const others = names.filter((name) => !added.has(name));
    const inTheWay = [...added.keys()].filter((name) => {
      const entry = statEntry(this.#layout.at(path(name)));
      return entry !== undefined && entry.kind !== 'file';
    });
    return [
      ...inTheWay.map((name) => ({ op: 'remove', path: path(name) }) as const),
      ...[...added].map(([name, data]) => ({ op: 'write', path: path(name), data }) as const),
      ...others
        .slice(MAX_DOCUMENTS - added.size)
        .map((name) => ({ op: 'remove', path: path(name) }) as const),
    ];
  }

  /** Returns the manifests by which an image was pulled, the last one first. Damaged ones count as absent. */
  async manifests(id: ImageID): Promise<OriginalManifest[]> {
    const found: OriginalManifest[] = [];
    for (const name of await this.#names(id)) {
      const bytes = await this.#read(id, name);
      if (!bytes) continue;
      const document = parsed(bytes);
      if (document?.kind !== 'manifest' || document.config.digest !== (id as Digest)) continue;
      const mediaType = document.mediaType ?? MEDIA_TYPES.ociManifest;
      found.push({ digest: digestOf(bytes), mediaType, bytes, manifest: document });
    }
    return found;
  }

  /** Returns the images that have documents here. */
  async images(): Promise<ImageID[]> {
    const names = await this.#changes.list(this.#layout.originalManifests);
    return names.filter(isHex64).map((name) => imageIdOf(digestOfHex(name)));
  }

  /** Returns whether the directory of an image's documents exists and is empty. */
  async isEmpty(id: ImageID): Promise<boolean> {
    return (await this.#names(id)).length === 0;
  }

  /** Returns steps that remove the documents of these images. */
  removeSteps(ids: Iterable<ImageID>): ChangeStep[] {
    const paths = [...ids].map((id) => this.#layout.originalManifest(hexOf(id)));
    return paths
      .filter((path) => statEntry(this.#layout.at(path)) !== undefined)
      .map((path) => ({ op: 'remove', path }));
  }

  async remove(ids: Iterable<ImageID>): Promise<void> {
    const paths = this.removeSteps(ids).map(({ path }) => path);
    await call(native.removeTree(this.#layout.root, paths));
  }

  /** Returns the names of an image's documents, the newest first. */
  async #names(id: ImageID): Promise<string[]> {
    const directory = this.#layout.originalManifest(hexOf(id));
    const names = await this.#changes.list(directory);
    const dated = names
      .filter(isHex64)
      // A document that is not in its place yet belongs to a pending change, so it is the newest.
      .map((name) => ({ name, at: statEntry(this.#layout.at(`${directory}/${name}`))?.mtimeMs ?? Infinity }));
    return dated.sort((a, b) => b.at - a.at).map(({ name }) => name);
  }

  async #areIntact(id: ImageID, wanted: readonly string[], newest: readonly string[]): Promise<boolean> {
    if (wanted.length !== newest.length) return false;
    for (const name of wanted)
      if (!newest.includes(name) || (await this.#read(id, name)) === undefined) return false;
    return true;
  }

  /** Returns a document's bytes, where they exist and are intact. */
  async #read(id: ImageID, name: string): Promise<Uint8Array | undefined> {
    const path = this.#layout.originalManifest(hexOf(id), name);
    const entry = statEntry(this.#layout.at(path));
    if (entry && (entry.kind !== 'file' || entry.size > MAX_MANIFEST_BYTES)) return undefined;
    const bytes = await this.#changes.read(path, MAX_MANIFEST_BYTES);
    return bytes && hexOf(digestOf(bytes)) === name ? bytes : undefined;
  }
}

function parsed(bytes: Uint8Array): ReturnType<typeof parseManifest> | undefined {
  try {
    return parseManifest(bytes, 'kept manifest');
  } catch (error) {
    if (LayerstackError.is(error)) return undefined;
    throw error;
  }
}
