/**
 * Images as they were pulled: the manifest with all its compressed layers, byte for byte, so that `save --format oci` and
 * `push` give out what came in. See original-manifests.ts and blob-archive.ts for what is where.
 *
 * A manifest is kept in the same change as its image (ImageStore.add), so an image never lacks it. The blobs come before. A pull
 * holds a shared lock and has a marker in its session from its first blob until that change is done. Blobs that no manifest names
 * are removed under the exclusive lock. Nobody waits for it: where it is taken, the next removal of an image collects them, or the
 * next writer that finds the marker of a pull that died.
 */
import type { Descriptor } from '../core/descriptor.ts';
import { hexOf, type ImageID } from '../core/digest.ts';
import { randomName } from '../core/random.ts';
import { forEachDeadMarker } from '../system/reconcile.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { BlobArchive } from './blob-archive.ts';
import { OriginalManifests, type OriginalManifest } from './original-manifests.ts';

/** An image as it was pulled. */
export interface OriginalImage {
  readonly manifest: Pick<OriginalManifest, 'mediaType' | 'bytes'>;
  /** One descriptor for each layer, bottom to top. */
  readonly layers: readonly Descriptor[];
  /** The blob's bytes from an offset on. @see BlobArchive.read */
  open(blob: Descriptor, from: number): AsyncIterable<Uint8Array>;
}

/** Whoever wants it exclusively never waits for it, so it may be taken while other locks are held. */
const LOCK_KEY = 'kept blobs';

/** A pull's hold on the archive: until it is disposed, no blob and no manifest is collected. */
export interface BlobLease extends AsyncDisposable {
  /** A manifest names all that was archived. Without this, disposing it collects what no manifest names. */
  commit(): void;
}

export class OriginalImages {
  readonly manifests: OriginalManifests;
  readonly blobs: BlobArchive;
  readonly #root: Root;

  constructor(root: Root) {
    this.#root = root;
    this.manifests = new OriginalManifests(root);
    this.blobs = new BlobArchive(root.layout);
  }

  /** The last manifest that the image was pulled by and whose blobs are all there; undefined without one. */
  async find(id: ImageID): Promise<OriginalImage | undefined> {
    for (const manifest of await this.manifests.manifests(id)) {
      const { layers } = manifest.manifest;
      const there = layers.map((blob) => this.blobs.has(blob));
      if (there.every(Boolean))
        return { manifest, layers, open: (blob, from) => this.blobs.read(blob, from) };
    }
    return undefined;
  }

  /** @throws {@link LayerstackError} ERR_ABORTED, ERR_NO_SPACE. */
  async lease(signal?: AbortSignal): Promise<BlobLease> {
    const { locks } = this.#root;
    const session = this.#root.session();
    const marker: Marker = `keeping.${randomName(8).toString('hex')}`;
    const lock = await locks.acquire('pulls', LOCK_KEY, { shared: true, signal });
    let isNamed = false;
    try {
      await session.mark([marker]);
    } catch (error) {
      await lock.release();
      throw error;
    }
    return {
      commit: () => (isNamed = true),
      [Symbol.asyncDispose]: async () => {
        await lock.release();
        if (isNamed || (await this.collect())) await session.unmark([marker]);
      },
    };
  }

  /** Removes what dead writers were keeping and no manifest names. */
  async resume(): Promise<void> {
    const { layout, log } = this.#root;
    await forEachDeadMarker(layout, log, 'keeping', async () => {
      if (!(await this.collect())) throw new Error('other blobs are being kept now');
    });
  }

  /**
   * Removes the blobs that no manifest names, and directories of manifests that are empty. With `images`, which lists the images of
   * the store, also the manifests of all others. What cannot be removed is logged.
   * @returns whether nothing is left of them
   */
  async collect(images?: () => Promise<readonly ImageID[]>): Promise<boolean> {
    const lock = this.#root.locks.tryEach('pulls', [LOCK_KEY]);
    try {
      if (lock.keys.size === 0) return false;
      const existing = images && new Set(await images());
      const unneeded: ImageID[] = [];
      for (const id of await this.manifests.images())
        if (existing?.has(id) === false || (await this.manifests.isEmpty(id))) unneeded.push(id);
      await this.manifests.remove(unneeded);
      await this.blobs.removeAllBut(await this.#named());
      return true;
    } catch (error) {
      this.#root.log.warn('kept blobs that are not needed any more could not be removed', {
        error: String(error),
      });
      return false;
    } finally {
      await lock.release();
    }
  }

  async #named(): Promise<Set<string>> {
    const named = new Set<string>();
    for (const id of await this.manifests.images())
      for (const { manifest } of await this.manifests.manifests(id))
        for (const { digest } of manifest.layers) named.add(hexOf(digest));
    return named;
  }
}
