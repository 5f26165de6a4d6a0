/**
 * The layers of one pull as the pool takes them: each is opened when it is its turn, at most so many at once, and resumes from
 * what earlier pulls have left of it. They own the partials until they are closed.
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

/** Fetching less than this again takes no longer than keeping it. */
const MIN_PARTIAL_BYTES = 1024 * 1024;

/** Staging fails with these for what the bytes are, not for how they came: no pull may resume from them. */
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
  /** Which bytes of each layer were there when it was opened. */
  readonly #resumed = new Map<Digest, { readonly start: number; readonly end: number }>();

  constructor(source: PullSource, options: LayerDownloadsOptions) {
    this.#source = source;
    this.#options = options;
    this.#slots = new Slots(options.maxConcurrent);
  }

  /** The layer that this blob is; a blob that several layers are is fetched once. */
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

  /** Removes what was kept of the layers: all of them are staged, so no pull has to resume them. */
  async removePartials(): Promise<void> {
    for (const partial of this.#partials.values()) await (await partial)?.remove();
  }

  /** Keeps what has come of each layer for the next pull. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#transfers].map((transfer) => transfer.flush()));
    const partials = [...this.#partials.values()];
    this.#partials.clear();
    // One that could not be opened has failed the pull already.
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

  /** Resolves when the first bytes are there, so that a slot of the store is not taken for one that has none. */
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
          // Not awaited: what it waits for may never come.
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
