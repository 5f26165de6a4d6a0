/**
 * Puts the layers of one pull into the blob archive, compressed as they come (image/blob-archive.ts). Their blobs are written
 * while they are extracted, and committed when extracting has found their digests right. Blobs of layers that the store has already
 * are fetched for the archive, and inflated once to see that they are those layers.
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
  /** Uncompressed bytes of a layer. */
  readonly maxBytes: number;
  readonly caps: Pick<Capabilities, 'zstd'>;
  /** Whether the blob is known to be this layer. */
  readonly isKnown: (blob: Descriptor, diffId: DiffID) => Promise<boolean>;
}

/** A layer, and what its manifest says that it comes as. */
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

  /** The same chunks, recorded as they pass. */
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
   * The blobs of these layers are in the archive, durably. The caller has verified all layers whose bytes were recorded.
   * @throws {@link LayerstackError} ERR_NO_SPACE; ERR_DIGEST_MISMATCH where a blob is another layer than the store has in
   *   its place; and what fetching the others throws.
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
      // A blob that was read is the layer that it was read for, and no other.
      const isOne = layers.every((layer) => layer.blob?.digest !== blob.digest || layer.diffId === diffId);
      if (read.has(blob.digest) && isOne) continue;
      if (!(await this.#options.isKnown(blob, diffId))) await this.#check(blob, diffId);
    }
  }

  /** Removes what was not committed. */
  async close(): Promise<void> {
    const drafts = [...this.#drafts.values()];
    this.#drafts.clear();
    await Promise.all(drafts.map((draft) => draft.discard()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** A push sends the blob in the layer's place, so it must be that layer, compressed. */
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

  /** Where the bytes are wrong, asks the next source as long as there is one. */
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
