/**
 * Layers as a registry sent them, compressed, where somebody asked to keep them (`pull --keep-blobs`):
 * `<root>/layerstack/blobs/sha256/<hex of the digest>`. Docker's store has no place for them. They may be deleted at any time:
 * layers are then compressed anew. Verified when they are written, and again whenever they are read.
 */
import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readdir, rm, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Descriptor } from '../core/descriptor.ts';
import { hexOf, type Digest } from '../core/digest.ts';
import { LayerstackError, unlessMissing } from '../core/errors.ts';
import type { Layout } from '../system/layout.ts';
import { call, native } from '../system/native.ts';
import type { Partial } from '../system/partials.ts';
import { spaceError } from '../system/space.ts';

/** What a blob is known by. */
export type BlobId = Pick<Descriptor, 'digest' | 'size'>;

const CHUNK_BYTES = 512 * 1024;

export class KeptBlobs {
  readonly #layout: Layout;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** Whether it is kept, by its size; its bytes are looked at when they are read. */
  async has({ digest, size }: BlobId): Promise<boolean> {
    const stats = await unlessMissing(stat(this.#path(digest)));
    return stats?.isFile() === true && stats.size === size;
  }

  /**
   * The blob's bytes from an offset on. The last of them come only when all are verified; a file that turns out damaged is
   * removed, so that nobody meets it again.
   * @throws {@link LayerstackError} (while iterating) ERR_STORE_CORRUPT, naming the file, where it is damaged or gone.
   */
  async *read({ digest, size }: BlobId, from = 0): AsyncGenerator<Uint8Array, void, undefined> {
    const path = this.#path(digest);
    const file = await unlessMissing(open(path, constants.O_RDONLY | constants.O_NOFOLLOW));
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

  /** Takes over the file of a download whose bytes were verified. False where it is not complete. Durable on return. */
  async adopt({ digest, size }: BlobId, partial: Partial): Promise<boolean> {
    if (partial.size !== size) return false;
    await this.#make();
    if (!(await partial.moveTo(this.#path(digest)))) return false;
    await this.#sync();
    return true;
  }

  /**
   * Keeps these bytes. Durable on return; after an error nothing of them is left.
   * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH, ERR_NO_SPACE; what `bytes` throws.
   */
  async write({ digest, size }: BlobId, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    await this.#make();
    const temporary = this.#layout.at(
      this.#layout.keptBlob(`.tmp-${hexOf(digest)}-${randomBytes(4).toString('hex')}`),
    );
    try {
      await writeVerified(temporary, { digest, size }, bytes);
      const names = { from: this.#relative(temporary), to: this.#layout.keptBlob(hexOf(digest)) };
      await call(native.batch(this.#layout.root, [{ op: 'rename', ...names }]));
    } catch (error) {
      await rm(temporary, { force: true });
      throw spaceError(error, this.#layout.root);
    }
    await this.#sync();
  }

  /** Removes all but these; resolves with the bytes that they took. Nobody must be writing meanwhile. */
  async removeAllBut(named: ReadonlySet<string>): Promise<number> {
    let freed = 0;
    for (const name of (await unlessMissing(readdir(this.#layout.at(this.#layout.keptBlobs)))) ?? []) {
      if (named.has(name)) continue;
      const path = this.#layout.at(this.#layout.keptBlob(name));
      freed += (await unlessMissing(stat(path)))?.size ?? 0;
      await rm(path, { force: true });
    }
    return freed;
  }

  #path(digest: Digest): string {
    return this.#layout.at(this.#layout.keptBlob(hexOf(digest)));
  }

  #relative(path: string): string {
    return this.#layout.keptBlob(basename(path));
  }

  async #make(): Promise<void> {
    const { root, own, keptBlobs } = this.#layout;
    const steps = [own, `${own}/blobs`, keptBlobs].map(
      (path) => ({ op: 'mkdir', path, mode: 0o700, exist: true }) as const,
    );
    await call(native.batch(root, steps));
  }

  async #sync(): Promise<void> {
    await call(native.batch(this.#layout.root, [{ op: 'fsync', path: this.#layout.keptBlobs }]));
  }
}

/**
 * Writes a new file, synced, of just these bytes.
 * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH; then the file is there, to be removed by the caller.
 */
export async function writeVerified(
  path: string,
  { digest, size }: BlobId,
  bytes: AsyncIterable<Uint8Array>,
): Promise<void> {
  const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    const hash = createHash('sha256');
    let written = 0;
    for await (const chunk of bytes) {
      written += chunk.length;
      if (written > size) break;
      hash.update(chunk);
      await file.writev([chunk]);
    }
    const found = `sha256:${hash.digest('hex')}`;
    if (written !== size || found !== digest)
      throw new LayerstackError(
        'ERR_DIGEST_MISMATCH',
        `blob ${digest}: what came has ${written > size ? 'more bytes' : `the digest ${found}`}; the registry's copy is ` +
          'damaged, or it is changed on the way: pull it again, or push it again',
        { digest, expected: digest, found },
      );
    await file.sync();
  } finally {
    await file.close();
  }
}

function damaged(digest: Digest, path: string, what: string): LayerstackError {
  return new LayerstackError(
    'ERR_STORE_CORRUPT',
    `the kept blob ${digest} ${what} (${path}); do the same again: the layer is then compressed anew, or pull the image again ` +
      'with --keep-blobs to have the original',
    { digest, path },
  );
}
