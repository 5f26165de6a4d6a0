/**
 * Brings the layers of one image from the registry into the store. Layers are downloaded, archived if that is
 * asked for, staged and written back to disk in parallel, then published.
 */
import type { Descriptor } from '../../core/descriptor.ts';
import { guardLayer } from '../../container/guard-layer.ts';
import type { OnProgress } from '../../core/progress.ts';
import { DamageCheck } from '../../layer/damage.ts';
import { stagedForm, type StagedLayer } from '../../layer/store.ts';
import { Writeback } from '../../layer/writeback.ts';
import { LayerPool } from '../ingest/layer-pool.ts';
import type { LayerMember } from '../ingest/member.ts';
import type { PlannedImage } from '../ingest/planned.ts';
import { DEFAULT_MAX_BYTES, publishImages, type Published } from '../ingest/publish-images.ts';
import { BlobRecorder } from './blob-recorder.ts';
import { LayerDownloads } from './downloads.ts';
import type { PullContext } from './options.ts';
import { isKnownAs } from './record.ts';

/** The default of docker's daemon. */
const DEFAULT_DOWNLOADS = 3;

export class LayerFetch {
  readonly #context: PullContext;
  readonly #pool: LayerPool;
  readonly #recorder: BlobRecorder | undefined;
  readonly #downloads: LayerDownloads;
  readonly #writeback: Writeback;
  /** Compares layers before the download and after it, each layer once. */
  readonly damage: DamageCheck;
  #onStaged: () => void = () => undefined;
  /**
   * Resolves when every layer is staged. Afterwards an abort does not reject at once; the running work obeys
   * it.
   */
  readonly staged = new Promise<void>((resolve) => (this.#onStaged = resolve));

  /** @param sourceName the reference, for messages */
  constructor(context: PullContext, sourceName: string) {
    const { stores, source, options } = context;
    const { root } = stores;
    const { onProgress, maxBytes = DEFAULT_MAX_BYTES } = options;
    this.#context = context;
    this.#pool = new LayerPool(stores.layers, {
      sourceName,
      maxBytes,
      signal: options.signal,
      log: root.log,
      form: stagedForm(options.form),
      onProgress,
      hint: "the registry's copy is damaged, or it was changed in transit: pull it again, or push it again",
    });
    const { signal } = this.#pool;
    this.damage = new DamageCheck(stores.layers, { deep: options.check ?? false, signal });
    this.#recorder =
      options.keepBlobs === true
        ? new BlobRecorder(source, stores.images.originals.blobs, {
            signal,
            onProgress,
            maxBytes,
            caps: root.caps,
            isKnown: ({ digest }, diffId) => isKnownAs(stores.distribution, digest, diffId),
          })
        : undefined;
    this.#downloads = new LayerDownloads(source, {
      layout: root.layout,
      signal,
      onProgress,
      maxConcurrent: options.maxConcurrentDownloads ?? DEFAULT_DOWNLOADS,
      recorder: this.#recorder,
    });
    this.#writeback = new Writeback(this.#pool.form, root.layout.root, (error) => this.#pool.fail(error));
  }

  /** Fires when the pull can no longer succeed, or when the caller's signal fires. */
  get signal(): AbortSignal {
    return this.#pool.signal;
  }

  /** Whether the layers' blobs are archived as they come. */
  get archives(): boolean {
    return this.#recorder !== undefined;
  }

  /** Stops everything for this reason, unless it has stopped before. Returns the first reason. */
  fail(error: unknown): unknown {
    return this.#pool.fail(error);
  }

  /** Returns the layer of this blob. */
  member(blob: Descriptor): LayerMember {
    return this.#downloads.member(blob);
  }

  /**
   * Fetches and publishes the layers' content, then runs `record`, which stores the image that refers to
   * them.
   */
  publish<T>(
    image: PlannedImage,
    onProgress: OnProgress | undefined,
    record: (fresh: readonly StagedLayer[]) => Promise<T>,
  ): Promise<Published<T>> {
    const staged = async (): Promise<void> => {
      await this.#recorder?.complete(image.layers);
      this.#onStaged();
      await this.#downloads.removePartials();
    };
    return publishImages(
      this.#context.stores.layers,
      [image],
      {
        operation: 'pull',
        pool: this.#pool,
        writeback: this.#writeback,
        signal: this.#context.options.signal,
        onProgress,
        damage: this.damage,
        guard: (layer) => guardLayer(this.#context.stores.root, layer),
        staged,
      },
      record,
    );
  }

  /**
   * Returns a disposable that ends everything once `work` is over. After an abort it waits only for the end
   * of the downloads, whose bytes stay for the next pull; the rest ends in the background.
   */
  cleanupAfter(work: Promise<unknown>): AsyncDisposable {
    const { root, layers } = this.#context.stores;
    const { aftermath } = root;
    const endStaging = async (): Promise<void> => {
      await work.catch(() => undefined);
      await this.#writeback.stop();
      await this.#pool.close();
      await aftermath.run('unfinished blobs of the image stay on disk', async () => this.#recorder?.close());
    };
    const endDownloads = (): Promise<unknown> =>
      aftermath.run('the next pull cannot resume from the downloaded bytes', () => this.#downloads.close());
    return {
      [Symbol.asyncDispose]: async () => {
        if (this.#context.options.signal?.aborted === true) {
          await endDownloads();
          layers.runInBackground(endStaging());
        } else {
          await endStaging();
          await endDownloads();
        }
      },
    };
  }
}
