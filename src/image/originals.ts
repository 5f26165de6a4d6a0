/**
 * Images as they were pulled: the manifest with all its compressed layers, byte for byte, so that `save
 * --format oci` and `push` reproduce them. original-manifests.ts and blob-archive.ts say where the parts are.
 *
 * A manifest is kept in the same change as its image (ImageStore.add), so an image never lacks it. The blobs
 * are kept before. From its first blob until that change is done, a pull holds a shared lock and has a marker
 * in its session. Blobs that no manifest names are removed under the exclusive lock. No operation waits for
 * the exclusive lock. If another process holds it, a later operation collects the blobs: the next removal of
 * an image, or the next writer that finds the marker of a dead pull.
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
  /** Yields the blob's bytes from an offset. @see BlobArchive.read */
  open(blob: Descriptor, from: number): AsyncIterable<Uint8Array>;
}

/** No process waits for the exclusive lock, so the shared one may be taken while other locks are held. */
const LOCK_KEY = 'kept blobs';

/** A pull's lease on the archive: until it is disposed, no blob and no manifest is collected. */
export interface BlobLease extends AsyncDisposable {
  /** Says that a manifest names all archived blobs. Without it, the disposal collects unnamed blobs. */
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

  /** Returns the last manifest by which the image was pulled and whose blobs all exist, or undefined. */
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
        if (isNamed || (await this.collect()))
          await this.#root.aftermath.run('a marker stays for the next writer', () =>
            session.unmark([marker]),
          );
      },
    };
  }

  /** Removes the blobs of dead writers that no manifest names. */
  async resume(): Promise<void> {
    const { layout, log } = this.#root;
    await forEachDeadMarker(layout, log, 'keeping', async () => {
      if (!(await this.collect())) throw new Error('other blobs are being kept now');
    });
  }

  /**
   * Removes the blobs that no manifest names, and empty directories of manifests. With `images`, the images
   * of the store, it also removes the manifests of all other images. Failures are logged.
   * @returns whether all of them are removed
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
