/**
 * Images as they were pulled: the manifest with all its compressed layers, byte for byte, so that `save --format oci` and
 * `push` give out what came in. See kept-manifests.ts and kept-blobs.ts for what is where.
 *
 * Who keeps blobs holds a shared lock from before the first of them until their manifest is there; blobs that no manifest names
 * are removed under the exclusive one, which is never waited for: then the next removal of an image does it.
 */
import type { Descriptor } from '../core/descriptor.ts';
import { hexOf, type ImageID } from '../core/digest.ts';
import type { Lock } from '../system/lock.ts';
import type { Root } from '../system/root.ts';
import { KeptBlobs } from './kept-blobs.ts';
import { KeptManifests, type KeptManifest } from './kept-manifests.ts';

/** An image as it was pulled. */
export interface KeptImage {
  readonly manifest: KeptManifest;
  /** One descriptor for each layer, bottom to top. */
  readonly layers: readonly Descriptor[];
  /** The blob's bytes from an offset on. @see KeptBlobs.read */
  open(blob: Descriptor, from: number): AsyncIterable<Uint8Array>;
}

/** Taken before the other locks of a pull. */
const LOCK_KEY = 'kept blobs';

export class KeptImages {
  readonly manifests: KeptManifests;
  readonly blobs: KeptBlobs;
  readonly #root: Pick<Root, 'locks' | 'log'>;

  constructor(root: Pick<Root, 'layout' | 'locks' | 'log'>) {
    this.#root = root;
    this.manifests = new KeptManifests(root.layout);
    this.blobs = new KeptBlobs(root.layout);
  }

  /** The last manifest that the image was pulled by and whose blobs are all there; undefined without one. */
  async find(id: ImageID): Promise<KeptImage | undefined> {
    for (const manifest of await this.manifests.manifests(id)) {
      const { layers } = manifest.manifest;
      const there = layers.map((blob) => this.blobs.has(blob));
      if (there.every(Boolean))
        return { manifest, layers, open: (blob, from) => this.blobs.read(blob, from) };
    }
    return undefined;
  }

  /** While it is held, no blob is removed. @throws {@link LayerstackError} ERR_ABORTED. */
  hold(signal?: AbortSignal): Promise<Lock> {
    return this.#root.locks.acquire('pulls', LOCK_KEY, { shared: true, ...(signal && { signal }) });
  }

  /**
   * Removes the blobs that no manifest names, and the manifests of images other than `existing` where that is given. What cannot
   * be removed is logged.
   */
  async collect(existing?: ReadonlySet<ImageID>): Promise<void> {
    const lock = this.#root.locks.tryEach('pulls', [LOCK_KEY]);
    try {
      if (lock.keys.size === 0) return;
      const images = await this.manifests.images();
      if (existing) await this.manifests.remove(images.filter((id) => !existing.has(id)));
      await this.blobs.removeAllBut(await this.#named());
    } catch (error) {
      this.#root.log.warn('kept blobs that are not needed any more could not be removed', {
        error: String(error),
      });
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
