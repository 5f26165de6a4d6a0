/**
 * The compressed layers that `pull --keep-blobs` keeps as the registry sent them:
 * `<root>/layerstack/blobs/sha256/<hex of the digest>`. Docker's store has no place for them. They may be
 * deleted at any time; layers are then compressed again. They are verified when they are written and whenever
 * they are read.
 */
import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { Descriptor } from '../core/descriptor.ts';
import { hexOf, type Digest } from '../core/digest.ts';
import { LayerstackError, unlessMissing } from '../core/errors.ts';
import { ChunkFile } from '../system/chunk-file.ts';
import type { Layout } from '../system/layout.ts';
import { call, native } from '../system/native.ts';
import { spaceError } from '../system/space.ts';
import { listDirectory, openStoreFile, statEntry } from '../system/store-files.ts';

/** Identifies a blob. */
export type BlobId = Pick<Descriptor, 'digest' | 'size'>;

const CHUNK_BYTES = 512 * 1024;

export class BlobArchive {
  readonly #layout: Layout;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** Returns whether the blob is kept, judged by its size. Its bytes are verified when they are read. */
  has({ digest, size }: BlobId): boolean {
    const entry = statEntry(this.#path(digest));
    return entry?.kind === 'file' && entry.size === size;
  }

  /**
   * Yields the blob's bytes from an offset. It yields the last piece only when all bytes are verified, and
   * removes a damaged file.
   * @throws {@link LayerstackError} (while iterating) ERR_STORE_CORRUPT, naming the file, where it is damaged
   *   or missing.
   */
  async *read({ digest, size }: BlobId, from = 0): AsyncGenerator<Uint8Array, void, undefined> {
    const path = this.#path(digest);
    const file = await unlessMissing(openStoreFile(path, constants.O_RDONLY));
    if (!file) throw damaged(digest, path, 'does not exist any more');
    try {
      const hash = createHash('sha256');
      let held: Uint8Array | undefined;
      let at = 0;
      for (;;) {
        const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
        const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
        if (bytesRead === 0 || at > size) break;
        const chunk = buffer.subarray(0, bytesRead);
        hash.update(chunk);
        if (held) yield held;
        const wanted = chunk.subarray(Math.max(0, from - at));
        held = wanted.length > 0 ? wanted : undefined;
        at += bytesRead;
      }
      if (at !== size || hash.digest('hex') !== hexOf(digest)) {
        // A store that is open read-only keeps the file.
        await rm(path, { force: true }).catch(() => undefined);
        throw damaged(digest, path, 'was changed or damaged on disk');
      }
      if (held) yield held;
    } finally {
      await file.close();
    }
  }

  /** Begins a blob, which the caller commits or discards. @throws {@link LayerstackError} ERR_NO_SPACE. */
  async begin(blob: BlobId): Promise<BlobDraft> {
    await this.#make();
    const temporary = this.#layout.archivedBlob(
      `.tmp-${hexOf(blob.digest)}-${randomBytes(4).toString('hex')}`,
    );
    const file = await ChunkFile.create(this.#layout.at(temporary));
    return new BlobDraft(this.#layout, blob, { file, temporary });
  }

  /**
   * Keeps these bytes. They are durable on return. An error leaves nothing behind.
   * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH, ERR_NO_SPACE; what `bytes` throws.
   */
  async write(blob: BlobId, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    const draft = await this.begin(blob);
    try {
      for await (const chunk of verifying(blob, bytes)) await draft.append(chunk);
      await draft.commit();
    } finally {
      await draft.discard();
    }
  }

  /** Removes all blobs but these. Resolves with the freed bytes. No blob may be written meanwhile. */
  async removeAllBut(named: ReadonlySet<string>): Promise<number> {
    let freed = 0;
    for (const name of (await listDirectory(this.#layout.at(this.#layout.archivedBlobs))) ?? []) {
      if (named.has(name)) continue;
      const path = this.#layout.at(this.#layout.archivedBlob(name));
      freed += statEntry(path)?.size ?? 0;
      await rm(path, { force: true });
    }
    return freed;
  }

  #path(digest: Digest): string {
    return this.#layout.at(this.#layout.archivedBlob(hexOf(digest)));
  }

  async #make(): Promise<void> {
    const { root, own, archivedBlobs } = this.#layout;
    const steps = [own, `${own}/blobs`, archivedBlobs].map(
      (path) => ({ op: 'mkdir', path, mode: 0o700, exist: true }) as const,
    );
    await call(native.batch(root, steps));
  }
}

/** A blob that is being written. */
export class BlobDraft {
  readonly #layout: Layout;
  readonly #blob: BlobId;
  readonly #temporary: string;
  #file: ChunkFile | undefined;

  constructor(layout: Layout, blob: BlobId, { file, temporary }: { file: ChunkFile; temporary: string }) {
    this.#layout = layout;
    this.#blob = blob;
    this.#file = file;
    this.#temporary = temporary;
  }

  /** @throws {@link LayerstackError} ERR_NO_SPACE. */
  async append(chunk: Uint8Array): Promise<void> {
    await this.#file?.append(chunk).catch((error: unknown) => this.#failed(error));
  }

  /**
   * Keeps the blob, durably. The caller has verified the appended bytes. An incomplete blob is discarded.
   * @throws {@link LayerstackError} ERR_NO_SPACE; then the blob is not kept.
   */
  async commit(): Promise<void> {
    const file = this.#file;
    if (file?.size !== this.#blob.size) return this.discard();
    const { root, archivedBlobs } = this.#layout;
    const to = this.#layout.archivedBlob(hexOf(this.#blob.digest));
    try {
      await file.sync();
      await call(
        native.batch(root, [
          { op: 'rename', from: this.#temporary, to },
          { op: 'fsync', path: archivedBlobs },
        ]),
      );
    } catch (error) {
      await this.#failed(error);
    }
    this.#file = undefined;
    await file.close();
  }

  /** Discards the blob. After a commit it does nothing. */
  async discard(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    if (!file) return;
    await rm(this.#layout.at(this.#temporary), { force: true });
    await file.close();
  }

  async #failed(error: unknown): Promise<never> {
    await this.discard();
    throw spaceError(error, this.#layout.root);
  }
}

/**
 * Passes the chunks on. Ends without an error only if they are exactly the blob.
 * @throws {@link LayerstackError} (while iterating) ERR_DIGEST_MISMATCH.
 */
export async function* verifying(
  { digest, size }: BlobId,
  bytes: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const hash = createHash('sha256');
  let seen = 0;
  for await (const chunk of bytes) {
    seen += chunk.length;
    if (seen > size) break;
    hash.update(chunk);
    yield chunk;
  }
  const found = `sha256:${hash.digest('hex')}`;
  if (seen === size && found === digest) return;
  const what = seen > size ? `are more than the expected ${String(size)}` : `have the digest ${found}`;
  throw new LayerstackError(
    'ERR_DIGEST_MISMATCH',
    `blob ${digest}: the received bytes ${what}; the registry's copy is damaged, or the bytes were changed in transit: ` +
      'pull or push the image again',
    { digest, expected: digest, found },
  );
}

function damaged(digest: Digest, path: string, what: string): LayerstackError {
  return new LayerstackError(
    'ERR_STORE_CORRUPT',
    `the kept blob ${digest} ${what} (${path}); run the command again to compress the layer again, or pull the image again ` +
      'with --keep-blobs to get the original bytes',
    { digest, path },
  );
}
