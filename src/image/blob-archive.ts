/**
 * Layers as a registry sent them, compressed, where somebody asked to keep them (`pull --keep-blobs`):
 * `<root>/layerstack/blobs/sha256/<hex of the digest>`. Docker's store has no place for them. They may be deleted at any time:
 * layers are then compressed anew. Verified when they are written, and again whenever they are read.
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

/** What a blob is known by. */
export type BlobId = Pick<Descriptor, 'digest' | 'size'>;

const CHUNK_BYTES = 512 * 1024;

export class BlobArchive {
  readonly #layout: Layout;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** Whether it is kept, by its size; its bytes are looked at when they are read. */
  has({ digest, size }: BlobId): boolean {
    const entry = statEntry(this.#path(digest));
    return entry?.kind === 'file' && entry.size === size;
  }

  /**
   * The blob's bytes from an offset on. The last of them come only when all are verified; a file that turns out damaged is
   * removed, so that nobody meets it again.
   * @throws {@link LayerstackError} (while iterating) ERR_STORE_CORRUPT, naming the file, where it is damaged or gone.
   */
  async *read({ digest, size }: BlobId, from = 0): AsyncGenerator<Uint8Array, void, undefined> {
    const path = this.#path(digest);
    const file = await unlessMissing(openStoreFile(path, constants.O_RDONLY));
    if (!file) throw damaged(digest, path, 'is not there any more');
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
        // Of a store that is open read-only it stays.
        await rm(path, { force: true }).catch(() => undefined);
        throw damaged(digest, path, 'was changed or damaged on disk');
      }
      if (held) yield held;
    } finally {
      await file.close();
    }
  }

  /** Begins to keep a blob; to be committed or discarded. @throws {@link LayerstackError} ERR_NO_SPACE. */
  async begin(blob: BlobId): Promise<BlobDraft> {
    await this.#make();
    const temporary = this.#layout.archivedBlob(
      `.tmp-${hexOf(blob.digest)}-${randomBytes(4).toString('hex')}`,
    );
    const file = await ChunkFile.create(this.#layout.at(temporary));
    return new BlobDraft(this.#layout, blob, { file, temporary });
  }

  /**
   * Keeps these bytes. Durable on return; after an error nothing of them is left.
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

  /** Removes all but these; resolves with the bytes that they took. Nobody must be writing meanwhile. */
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
   * The blob is kept, durably; what was appended must have been verified. One that is not complete is discarded.
   * @throws {@link LayerstackError} ERR_NO_SPACE; then nothing is kept.
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

  /** Nothing is kept. After a commit: no-op. */
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
 * The same chunks; the end comes only when they are all of the blob and no more.
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
  const what =
    seen > size ? `more than the ${String(size)} bytes that it should have` : `the digest ${found}`;
  throw new LayerstackError(
    'ERR_DIGEST_MISMATCH',
    `blob ${digest}: what came has ${what}; the registry's copy is damaged, or it is changed on the way: pull it again, or ` +
      'push it again',
    { digest, expected: digest, found },
  );
}

function damaged(digest: Digest, path: string, what: string): LayerstackError {
  return new LayerstackError(
    'ERR_STORE_CORRUPT',
    `the kept blob ${digest} ${what} (${path}); do the same again: the layer is then compressed anew, or pull the image again ` +
      'with --keep-blobs to have the original',
    { digest, path },
  );
}
