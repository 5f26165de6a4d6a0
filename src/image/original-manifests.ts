/**
 * The documents that images were pulled by, as the registry sent them:
 * `<root>/layerstack/manifests/<hex of the image id>/<hex of the document's digest>`, the index and the manifest alike. Docker's
 * store has no place for them. They go with their image, and may be deleted at any time.
 */
import { MAX_MANIFEST_BYTES, MEDIA_TYPES, parseManifest, type Manifest } from '../core/descriptor.ts';
import { digestOf, hexOf, type Digest, type ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import type { ChangeStep } from '../system/changes.ts';
import type { Layout } from '../system/layout.ts';
import { call, native } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { spaceError } from '../system/space.ts';
import { listDirectory, readStoreFile, statEntry } from '../system/store-files.ts';

/** A manifest, byte for byte. */
export interface OriginalManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
}

/** An image may have been pulled by several manifests, from registries that compress differently. */
const MAX_DOCUMENTS = 16;
const HEX = /^[0-9a-f]{64}$/;

export class OriginalManifests {
  readonly #root: Root;
  readonly #layout: Layout;

  constructor(root: Root) {
    this.#root = root;
    this.#layout = root.layout;
  }

  /** Keeps documents of an image; the oldest go where it has too many. Durable on return. */
  async add(id: ImageID, documents: readonly Uint8Array[]): Promise<void> {
    const { root, own, originalManifests } = this.#layout;
    const directory = this.#layout.originalManifest(hexOf(id));
    const added = new Map(documents.map((bytes) => [hexOf(digestOf(bytes)), bytes]));
    const path = (name: string): string => this.#layout.originalManifest(hexOf(id), name);
    const others = (await this.#names(id)).filter((name) => !added.has(name));
    const steps = [
      ...[own, originalManifests, directory].map(
        (each) => ({ op: 'mkdir', path: each, mode: 0o700, exist: true }) as const,
      ),
      ...[...added].map(([name, data]) => ({ op: 'replace', path: path(name), data, mode: 0o600 }) as const),
      ...others
        .slice(MAX_DOCUMENTS - added.size)
        .map((name) => ({ op: 'unlink', path: path(name), missing: true }) as const),
      { op: 'fsync', path: directory } as const,
      { op: 'fsync', path: originalManifests } as const,
    ];
    try {
      await this.#root.session().replace(steps);
    } catch (error) {
      throw spaceError(error, root);
    }
  }

  /** The manifests that an image was pulled by, the last one first. What is damaged counts as absent. */
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

  /** The images that documents are kept of. */
  async images(): Promise<ImageID[]> {
    const names = (await listDirectory(this.#layout.at(this.#layout.originalManifests))) ?? [];
    return names.filter((name) => HEX.test(name)).map((name) => `sha256:${name}` as ImageID);
  }

  /** Whether there is a place for an image's documents, and none in it. */
  async isEmpty(id: ImageID): Promise<boolean> {
    return (await this.#names(id)).length === 0;
  }

  /** Steps that remove what is kept of these images. */
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

  /** The names of an image's documents, the newest first. */
  async #names(id: ImageID): Promise<string[]> {
    const directory = this.#layout.at(this.#layout.originalManifest(hexOf(id)));
    const names = (await listDirectory(directory)) ?? [];
    const dated = names
      .filter((name) => HEX.test(name))
      .map((name) => ({ name, at: statEntry(`${directory}/${name}`)?.mtimeMs ?? 0 }));
    return dated.sort((a, b) => b.at - a.at).map(({ name }) => name);
  }

  async #read(id: ImageID, name: string): Promise<Uint8Array | undefined> {
    const path = this.#layout.at(this.#layout.originalManifest(hexOf(id), name));
    const size = statEntry(path)?.size ?? Infinity;
    const bytes = size > MAX_MANIFEST_BYTES ? undefined : await readStoreFile(path, MAX_MANIFEST_BYTES);
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
