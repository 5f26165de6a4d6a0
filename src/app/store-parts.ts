/**
 * The parts of one opened store that its nouns (images, containers, registry) share, from opening to closing.
 */
import { ContainerStore } from '../container/store.ts';
import type { ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { ImageStore, type ImageUser } from '../image/store.ts';
import { LayerStore, type StoreForm } from '../layer/store.ts';
import { Overlay } from '../layer/overlay.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import type { SnapshotStore } from '../snapshot/store.ts';
import { listEntries } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { allMarkers } from '../system/session.ts';
import { ByteStreams } from './byte-stream.ts';
import { EventJournal } from './event-journal.ts';
import { ImageEvents } from './image-events.ts';
import { StoreEvents } from './store-events.ts';

export interface CloseOptions {
  /** Ends the settling of images in the background (form `auto`). They stay packed. */
  readonly signal?: AbortSignal | undefined;
}

export class StoreParts {
  readonly root: Root;
  readonly layers: LayerStore;
  readonly images: ImageStore;
  readonly containers: ContainerStore;
  readonly overlay: Overlay;
  readonly events: StoreEvents;
  readonly imageEvents: ImageEvents;
  /** The streams that callers still read. */
  readonly streams = new ByteStreams();
  readonly #journal: EventJournal;
  /** Ends the settling in the background. */
  readonly #closing = new AbortController();
  #snapshots: Promise<SnapshotStore> | undefined;

  constructor(root: Root) {
    this.root = root;
    this.events = new StoreEvents(root.log);
    this.#journal = new EventJournal(root);
    if (!root.readOnly) this.events.listen(this.#journal.record);
    this.overlay = new Overlay(root.layout);
    this.layers = new LayerStore(root);
    this.images = new ImageStore(root, this.layers);
    this.imageEvents = new ImageEvents(this.events, this.images);
    this.containers = new ContainerStore(root, this.layers, this.images, this.overlay);
  }

  /** The snapshots of the store, whose module is imported when they are first needed. */
  snapshots(): Promise<SnapshotStore> {
    this.#snapshots ??= import('./late/snapshots.ts').then(
      ({ SnapshotStore }) => new SnapshotStore(this.root, this.containers),
      (error: unknown) => {
        // The next call tries again, e.g. when files can be opened again.
        this.#snapshots = undefined;
        throw error;
      },
    );
    return this.#snapshots;
  }

  /** Returns the containers and snapshots as users of their images. */
  async users(): Promise<ImageUser[]> {
    const snapshots = (await this.listSnapshots()).map(({ id, imageId }) => ({
      containerId: id,
      imageId,
      running: false,
    }));
    return [...(await this.containers.users()), ...snapshots];
  }

  /** Returns the snapshots. A store without any does without their module. */
  async listSnapshots(): Promise<Snapshot[]> {
    const { layout } = this.root;
    const entries = await listEntries(layout, layout.snapshots);
    return entries.length === 0 ? [] : (await this.snapshots()).list();
  }

  /** Removes the snapshots that have expired and that nothing needs. */
  async removeExpired(): Promise<void> {
    const { layout } = this.root;
    if ((await listEntries(layout, layout.expiring)).length === 0) return;
    const { removeExpired } = await import('./late/snapshots.ts');
    await removeExpired(this.root, (snapshot) => this.removeSnapshot(snapshot));
  }

  /**
   * Removes a snapshot, and the layers of its image that nothing needs any more.
   * @throws {@link LayerstackError} as `SnapshotStore.remove`.
   */
  async removeSnapshot(snapshot: Snapshot, signal?: AbortSignal): Promise<void> {
    if (!(await (await this.snapshots()).remove(snapshot, signal))) return;
    this.events.snapshot('destroy', snapshot);
    const { imageId, layer } = snapshot;
    if (layer !== undefined)
      await this.root.aftermath.run('layers of its image that nothing needs stay', () =>
        this.images.release(imageId, layer),
      );
  }

  /** Completes or undoes the unfinished work of earlier writers of the store. */
  async resume(): Promise<void> {
    const { layout } = this.root;
    // Containers and snapshots left work only where a writer left a marker.
    const markers = await allMarkers(layout);
    if (markers.size > 0) await this.containers.resume();
    if ((await listEntries(layout, layout.runs)).length > 0)
      await (await import('./late/containers.ts')).sweepRuns(this.root, this.containers);
    if ([...markers].some((marker) => marker.startsWith('snapshot.')))
      await (await this.snapshots()).resume();
    await this.images.resume();
    if ((await listEntries(layout, layout.expiring)).length > 0)
      this.layers.runInBackground(this.removeExpired());
  }

  /**
   * Waits for work that makes an image. If it fails, the layers that were published for the image are removed
   * in the background; the caller does not wait for that.
   */
  async reclaiming<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (!this.root.readOnly) this.layers.runInBackground(this.images.resume());
      throw error;
    }
  }

  /**
   * Settles images while the caller does something else; {@link close} waits for it, unless `signal` ends it.
   * An image that cannot be settled stays packed. The other images are settled all the same.
   */
  settleLater(form: StoreForm, ids: readonly ImageID[], signal: AbortSignal | undefined): void {
    if (form !== 'auto') return;
    const ends = AbortSignal.any([this.#closing.signal, ...(signal ? [signal] : [])]);
    const settle = async (): Promise<void> => {
      for (const id of ids)
        await this.root.aftermath.run(
          `image ${id} stays packed until \`layerstack settle\` extracts it`,
          () => this.#settle(id, ends),
        );
    };
    this.layers.runInBackground(settle());
  }

  async #settle(id: ImageID, signal: AbortSignal): Promise<void> {
    const { settleImage } = await import('./late/images.ts');
    try {
      await settleImage(this, id, { signal });
    } catch (error) {
      if (!LayerstackError.is(error, 'ERR_IMAGE_NOT_FOUND')) throw error;
      // The image was removed meanwhile. Layers that were extracted for it are not needed.
      await this.images.resume();
    }
  }

  /** @see Layerstack.announceTemporary */
  async announceTemporary(path: string): Promise<AsyncDisposable> {
    try {
      return await this.root.session().temporary(path);
    } catch (error) {
      this.root.log.debug('a temporary file could not be announced by a marker', { path, error });
      return { [Symbol.asyncDispose]: () => Promise.resolve() };
    }
  }

  /**
   * Destroys the streams that are still being read, waits for work in the background, and releases the root.
   */
  async close({ signal }: CloseOptions = {}): Promise<void> {
    const abort = (): void => this.#closing.abort(signal?.reason);
    if (signal?.aborted === true) abort();
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await this.#close();
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  async #close(): Promise<void> {
    await this.streams.close();
    await Promise.all([this.containers.drain(), this.layers.drain()]);
    await (await this.#snapshots?.catch(() => undefined))?.drain();
    await this.#journal.drain();
    await this.root.close();
  }
}
