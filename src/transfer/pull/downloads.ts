/**
 * The layers of one pull as the pool takes them. A limited number of them is open at once; each resumes from
 * the bytes that earlier pulls have left. This class owns the partials until it is closed.
 */
import type { Descriptor } from '../../core/descriptor.ts';
import type { Digest } from '../../core/digest.ts';
import { LayerstackError, type ErrorCode } from '../../core/errors.ts';
import type { LayerPhase, OnProgress } from '../../core/progress.ts';
import { Slots } from '../../layer/slots.ts';
import type { Layout } from '../../system/layout.ts';
import { Partial } from '../../system/partials.ts';
import type { LayerContent, LayerMember, OpenLayer } from '../ingest/member.ts';
import { Download } from './download.ts';
import type { BlobRecorder } from './blob-recorder.ts';
import type { PullSource } from './source.ts';

export interface LayerDownloadsOptions {
  readonly layout: Layout;
  readonly signal: AbortSignal;
  readonly maxConcurrent: number;
  readonly onProgress: OnProgress | undefined;
  /** Records the bytes of each blob as they pass. */
  readonly recorder?: BlobRecorder | undefined;
}

/** Fetching fewer bytes than this again takes no longer than keeping them. */
const MIN_PARTIAL_BYTES = 1024 * 1024;

/**
 * Staging fails with these codes because of the bytes, not because of the transfer. No pull may resume from
 * such bytes.
 */
const BAD_BYTES: readonly ErrorCode[] = [
  'ERR_DIGEST_MISMATCH',
  'ERR_LAYER_INVALID',
  'ERR_LAYER_TRUNCATED',
  'ERR_LAYER_ESCAPE',
  'ERR_COMPRESSION_UNSUPPORTED',
  'ERR_LIMIT_EXCEEDED',
];

export class LayerDownloads implements AsyncDisposable {
  readonly #source: PullSource;
  readonly #options: LayerDownloadsOptions;
  readonly #slots: Slots;
  readonly #contents = new Map<Digest, LayerContent>();
  readonly #partials = new Map<Digest, Promise<Partial | undefined>>();
  readonly #transfers = new Set<Download>();
  #closed = false;
  /** The range of each layer's bytes that was on disk when the layer was opened. */
  readonly #resumed = new Map<Digest, { readonly start: number; readonly end: number }>();

  constructor(source: PullSource, options: LayerDownloadsOptions) {
    this.#source = source;
    this.#options = options;
    this.#slots = new Slots(options.maxConcurrent);
  }

  /** Returns the layer of this blob. A blob that is several layers is fetched once. */
  member(blob: Descriptor): LayerMember {
    let content = this.#contents.get(blob.digest);
    if (!content) {
      content = {
        size: blob.size,
        openOnce: true,
        open: () => this.#open(blob),
        phase: (current) => this.#phase(blob, current),
      };
      this.#contents.set(blob.digest, content);
    }
    return { name: blob.digest, content };
  }

  /** Removes the partials of the layers. All layers are staged, so no pull has to resume them. */
  async removePartials(): Promise<void> {
    for (const partial of this.#partials.values()) await (await partial)?.remove();
  }

  /** Keeps the downloaded bytes of each layer for the next pull. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#transfers].map((transfer) => transfer.flush()));
    const partials = [...this.#partials.values()];
    this.#partials.clear();
    // A partial that could not be opened has already failed the pull.
    await Promise.all(partials.map(async (partial) => (await partial.catch(() => undefined))?.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #phase({ digest, size }: Descriptor, current: number): LayerPhase {
    if (current >= size) return 'extracting';
    const { start, end } = this.#resumed.get(digest) ?? { start: 0, end: 0 };
    return current > start && current <= end ? 'verifying' : 'downloading';
  }

  /**
   * Opens a layer. Resolves when its first bytes are there, so that a layer without bytes does not occupy a
   * slot of the store.
   */
  async #open(blob: Descriptor): Promise<OpenLayer> {
    const { signal, onProgress } = this.#options;
    const slot = await this.#slots.take(signal);
    try {
      const partial = await this.#partial(blob);
      const { start = 0, size = 0 } = partial ?? {};
      this.#resumed.set(blob.digest, { start, end: start + size });
      const transfer = new Download(this.#source, blob, {
        signal,
        partial,
        onRetry: (current, delayMs, { message }) => {
          const layer = { member: blob.digest, blob: blob.digest, current, total: blob.size };
          onProgress?.({ type: 'layer-retry', ...layer, delayMs, message });
        },
      });
      this.#transfers.add(transfer);
      const bytes = this.#options.recorder?.recorded(blob, transfer.bytes()) ?? transfer.bytes();
      const first = await bytes.next();
      return {
        source: first.done === true ? bytes : startingWith(first.value, bytes),
        again: async (error) => {
          if (!LayerstackError.is(error, ...BAD_BYTES)) return false;
          await transfer.discard();
          return transfer.distrust() || size > 0;
        },
        close: async () => {
          slot.release();
          // Not awaited: the generator may wait for bytes that never come.
          bytes.return().catch(() => undefined);
          await transfer.flush();
          this.#transfers.delete(transfer);
        },
      };
    } catch (error) {
      slot.release();
      throw error;
    }
  }

  async #partial(blob: Descriptor): Promise<Partial | undefined> {
    if (blob.size < MIN_PARTIAL_BYTES || this.#closed) return undefined;
    const partial = this.#partials.get(blob.digest) ?? Partial.open(this.#options.layout, blob.digest);
    this.#partials.set(blob.digest, partial);
    return await partial;
  }
}

async function* startingWith(
  first: Uint8Array,
  rest: AsyncGenerator<Uint8Array, void, undefined>,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield first;
  yield* rest;
}
