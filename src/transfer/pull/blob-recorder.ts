/**
 * Puts the compressed layers of one pull into the blob archive (image/blob-archive.ts). A blob is written
 * while its layer is extracted, and committed when extraction has verified its digests. If the store already
 * has a layer, its blob is fetched for the archive, and inflated once to check that it is that layer.
 */
import { createHash } from 'node:crypto';
import { throwIfAborted } from '../../core/abort.ts';
import type { Descriptor } from '../../core/descriptor.ts';
import type { DiffID, Digest } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import type { OnProgress } from '../../core/progress.ts';
import type { BlobDraft, BlobArchive } from '../../image/blob-archive.ts';
import { decompress, sniff } from '../../layer/codec.ts';
import type { Capabilities } from '../../system/caps.ts';
import { Download } from './download.ts';
import type { PullSource } from './source.ts';

export interface BlobRecorderOptions {
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress | undefined;
  /** Maximum uncompressed bytes of a layer. */
  readonly maxBytes: number;
  readonly caps: Pick<Capabilities, 'zstd'>;
  /** Returns whether the blob is known to be this layer. */
  readonly isKnown: (blob: Descriptor, diffId: DiffID) => Promise<boolean>;
}

/** A layer, with its blob as the manifest describes it. */
interface RecordedLayer {
  readonly diffId: DiffID;
  readonly blob?: Descriptor | undefined;
}

export class BlobRecorder implements AsyncDisposable {
  readonly #source: PullSource;
  readonly #archive: BlobArchive;
  readonly #options: BlobRecorderOptions;
  readonly #drafts = new Map<Digest, BlobDraft>();

  constructor(source: PullSource, archive: BlobArchive, options: BlobRecorderOptions) {
    this.#source = source;
    this.#archive = archive;
    this.#options = options;
  }

  /** Passes the chunks on, and records them. */
  async *recorded(
    blob: Descriptor,
    chunks: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    await this.#drafts.get(blob.digest)?.discard();
    const draft = await this.#archive.begin(blob);
    this.#drafts.set(blob.digest, draft);
    for await (const chunk of chunks) {
      await draft.append(chunk);
      yield chunk;
    }
  }

  /**
   * Commits the blobs of these layers to the archive, durably. The caller has verified all layers whose bytes
   * were recorded.
   * @throws {@link LayerstackError} ERR_NO_SPACE; ERR_DIGEST_MISMATCH where a blob is not the layer that the
   *   store has in its place; and the errors of fetching the other blobs.
   */
  async complete(layers: readonly RecordedLayer[]): Promise<void> {
    const read = new Set(this.#drafts.keys());
    for (const draft of this.#drafts.values()) await draft.commit();
    this.#drafts.clear();
    const checked = new Set<string>();
    for (const { blob, diffId } of layers) {
      if (!blob || checked.has(`${blob.digest} ${diffId}`)) continue;
      checked.add(`${blob.digest} ${diffId}`);
      if (!this.#archive.has(blob)) await this.#fetch(blob);
      // A recorded blob is verified only as the layer that it was read for.
      const isOne = layers.every((layer) => layer.blob?.digest !== blob.digest || layer.diffId === diffId);
      if (read.has(blob.digest) && isOne) continue;
      if (!(await this.#options.isKnown(blob, diffId))) await this.#check(blob, diffId);
    }
  }

  /** Removes the drafts that were not committed. */
  async close(): Promise<void> {
    const drafts = [...this.#drafts.values()];
    this.#drafts.clear();
    await Promise.all(drafts.map((draft) => draft.discard()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Checks that the blob is that layer, compressed, because a push sends the blob in place of the layer. */
  async #check(blob: Descriptor, diffId: DiffID): Promise<void> {
    const { signal, maxBytes, caps } = this.#options;
    const { compression, bytes } = await sniff(this.#archive.read(blob));
    const hash = createHash('sha256');
    let size = 0;
    for await (const chunk of decompress(bytes, compression, caps)) {
      throwIfAborted(signal);
      if ((size += chunk.length) > maxBytes) break;
      hash.update(chunk);
    }
    const found = size > maxBytes ? `more than ${String(maxBytes)} bytes` : `sha256:${hash.digest('hex')}`;
    if (found === diffId) return;
    const { repository } = this.#source;
    throw new LayerstackError(
      'ERR_DIGEST_MISMATCH',
      `blob ${blob.digest} of ${repository}: the manifest names it for the layer ${diffId}, which the store has, but it is ` +
        `${found}; do not use this manifest: push the image again`,
      { digest: blob.digest, repository, layer: blob.digest, expected: diffId, found },
    );
  }

  /** Fetches the blob. If the bytes are wrong, it asks the next source, until none is left. */
  async #fetch(blob: Descriptor): Promise<void> {
    for (;;) {
      const download = this.#download(blob);
      try {
        return await this.#write(blob, download);
      } catch (error) {
        if (!LayerstackError.is(error, 'ERR_DIGEST_MISMATCH') || !download.distrust()) throw error;
      }
    }
  }

  #download(blob: Descriptor): Download {
    const { signal, onProgress } = this.#options;
    const layer = { member: blob.digest, blob: blob.digest, total: blob.size };
    return new Download(this.#source, blob, {
      signal,
      onRetry: (current, delayMs, { message }) =>
        onProgress?.({ type: 'layer-retry', ...layer, current, delayMs, message }),
    });
  }

  async #write(blob: Descriptor, download: Download): Promise<void> {
    const { onProgress } = this.#options;
    const layer = { member: blob.digest, blob: blob.digest, total: blob.size };
    let current = 0;
    const withProgress = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
      for await (const chunk of download.bytes()) {
        yield chunk;
        current += chunk.length;
        onProgress?.({ type: 'layer-progress', ...layer, current, phase: 'downloading' });
      }
    };
    await this.#archive.write(blob, withProgress());
    onProgress?.({ type: 'layer-done', ...layer, current });
  }
}
