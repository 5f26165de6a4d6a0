/**
 * The layers of one pull, compressed as they come, on their way to where they are kept (image/kept-blobs.ts). They are written
 * while they are extracted, and kept when extracting has found their digests right; those that the store has already are
 * fetched for the purpose.
 */
import type { Descriptor } from '../../core/descriptor.ts';
import type { Digest } from '../../core/digest.ts';
import type { OnProgress } from '../../core/progress.ts';
import type { BlobDraft, KeptBlobs } from '../../image/kept-blobs.ts';
import { Download } from './download.ts';
import type { PullSource } from './source.ts';

export interface BlobKeepingOptions {
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress | undefined;
}

export class BlobKeeping implements AsyncDisposable {
  readonly #source: PullSource;
  readonly #kept: KeptBlobs;
  readonly #options: BlobKeepingOptions;
  readonly #drafts = new Map<Digest, BlobDraft>();

  constructor(source: PullSource, kept: KeptBlobs, options: BlobKeepingOptions) {
    this.#source = source;
    this.#kept = kept;
    this.#options = options;
  }

  /** The same chunks, written as they pass. */
  async *written(
    blob: Descriptor,
    chunks: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    await this.#drafts.get(blob.digest)?.discard();
    const draft = await this.#kept.begin(blob);
    this.#drafts.set(blob.digest, draft);
    for await (const chunk of chunks) {
      await draft.append(chunk);
      yield chunk;
    }
  }

  /**
   * These blobs are kept, durably. To be called when all layers that were read are verified.
   * @throws {@link LayerstackError} ERR_NO_SPACE, and what fetching the others throws.
   */
  async settle(blobs: readonly Descriptor[]): Promise<void> {
    for (const draft of this.#drafts.values()) await draft.commit();
    this.#drafts.clear();
    const distinct = new Map(blobs.map((blob) => [blob.digest, blob]));
    for (const blob of distinct.values()) if (!(await this.#kept.has(blob))) await this.#fetch(blob);
  }

  /** What was not kept goes. */
  async close(): Promise<void> {
    const drafts = [...this.#drafts.values()];
    this.#drafts.clear();
    await Promise.all(drafts.map((draft) => draft.discard()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #fetch(blob: Descriptor): Promise<void> {
    const { signal, onProgress } = this.#options;
    const layer = { member: blob.digest, blob: blob.digest, total: blob.size };
    const download = new Download(this.#source, blob, {
      signal,
      onRetry: (current, delayMs, { message }) =>
        onProgress?.({ type: 'layer-retry', ...layer, current, delayMs, message }),
    });
    let current = 0;
    const told = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
      for await (const chunk of download.bytes()) {
        yield chunk;
        current += chunk.length;
        onProgress?.({ type: 'layer-progress', ...layer, current, phase: 'downloading' });
      }
    };
    await this.#kept.write(blob, told());
    onProgress?.({ type: 'layer-done', ...layer, current });
  }
}
