/**
 * Writes blobs to an OCI layout. `blobs/sha256/<hex>` holds only files that are complete, synced and
 * verified. The bytes of unfinished blobs are in `.layerstack-partial/<hex>`, from which the next pull
 * resumes.
 */
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readdir, rename, rm, rmdir, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { throwIfAborted } from '../../core/abort.ts';
import { MAX_MANIFEST_BYTES, type Descriptor } from '../../core/descriptor.ts';
import { digestOf, hexOf, type Digest } from '../../core/digest.ts';
import { LayerstackError, unlessMissing } from '../../core/errors.ts';
import type { OnProgress } from '../../core/progress.ts';
import { call, native } from '../../system/native.ts';
import { spaceError } from '../../system/space.ts';
import { Download } from './download.ts';
import type { PullSource } from './source.ts';

export interface LayoutBlobsOptions {
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress | undefined;
}

const BLOBS = 'blobs/sha256';
const PARTIALS = '.layerstack-partial';
/** Temporary files that native code renames to files of the layout. */
export const TEMPORARY = /^\.tmp-(?:oci-layout|index\.json|[0-9a-f]{64})\d+$/;
const CHUNK_BYTES = 512 * 1024;

export class LayoutBlobs {
  readonly #directory: string;
  readonly #options: LayoutBlobsOptions;

  /** @param directory the layout's directory, absolute */
  constructor(directory: string, options: LayoutBlobsOptions) {
    this.#directory = directory;
    this.#options = options;
  }

  /** Makes the directories. */
  async begin(): Promise<void> {
    const steps = ['blobs', BLOBS, PARTIALS].map(
      (path) => ({ op: 'mkdir', path, mode: 0o755, exist: true }) as const,
    );
    await this.#batch(steps);
    await this.#sweep();
  }

  /** Removes the temporary files of a pull that died. */
  async #sweep(): Promise<void> {
    for (const directory of ['.', BLOBS]) {
      const left = (await readdir(join(this.#directory, directory))).filter((name) => TEMPORARY.test(name));
      await this.#batch(
        left.map((name) => ({ op: 'unlink', path: join(directory, name), missing: true }) as const),
      );
    }
  }

  /**
   * Syncs the names of the blobs. Removes the directory of partials, unless it holds partials of other blobs.
   */
  async finish(): Promise<void> {
    await this.#batch([{ op: 'fsync', path: BLOBS }]);
    await rmdir(join(this.#directory, PARTIALS)).catch(() => undefined);
  }

  /** Returns a document's bytes if the layout has them intact. */
  async document({ digest, size }: Pick<Descriptor, 'digest' | 'size'>): Promise<Uint8Array | undefined> {
    const file = await unlessMissing(open(this.#path(digest), constants.O_RDONLY | constants.O_NOFOLLOW));
    if (!file) return undefined;
    try {
      // A layer may have the digest that an index gives for a document.
      if (size > MAX_MANIFEST_BYTES || (await file.stat()).size !== size) return undefined;
      const bytes = await file.readFile();
      return digestOf(bytes) === digest ? bytes : undefined;
    } finally {
      await file.close();
    }
  }

  /** Writes a small blob. It is durable once {@link finish} has run. */
  async put(bytes: Uint8Array): Promise<void> {
    const path = `${BLOBS}/${hexOf(digestOf(bytes))}`;
    await this.#batch([{ op: 'replace', path, data: bytes, mode: 0o644 }]);
  }

  /**
   * Fetches a blob and verifies it. Resolves with the number of bytes fetched.
   * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH, ERR_NO_SPACE, ERR_ABORTED, and the errors of the
   *   registry.
   */
  async fetch(source: PullSource, blob: Descriptor): Promise<number> {
    const layer = { member: blob.digest, blob: blob.digest, total: blob.size };
    if (await this.#has(blob)) {
      this.#options.onProgress?.({ type: 'layer-exists', ...layer, current: blob.size });
      return 0;
    }
    const path = join(this.#directory, PARTIALS, hexOf(blob.digest));
    const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o644);
    try {
      let fetched = 0;
      // The bytes of an earlier pull may be wrong, and so may those of each mirror.
      for (let intact = false; !intact;) {
        const tried = await this.#complete(source, blob, file, path).catch((error: unknown) => {
          throw spaceError(error, this.#directory);
        });
        fetched += tried.fetched;
        intact = tried.intact;
      }
      await rename(path, this.#path(blob.digest));
      this.#options.onProgress?.({ type: 'layer-done', ...layer, current: blob.size });
      return fetched;
    } catch (error) {
      if ((await file.stat()).size === 0) await rm(path, { force: true });
      throw error;
    } finally {
      await file.close();
    }
  }

  /**
   * Fetches the rest of a partial. If the result is not `intact`, the partial is empty now, and another
   * source exists.
   */
  async #complete(
    source: PullSource,
    blob: Descriptor,
    file: FileHandle,
    path: string,
  ): Promise<{ readonly fetched: number; readonly intact: boolean }> {
    const { signal, onProgress } = this.#options;
    const layer = { member: blob.digest, blob: blob.digest, total: blob.size };
    const hash = createHash('sha256');
    const have = await this.#hashed(file, hash, blob.size);
    if (have === undefined) await file.truncate(0);
    const start = have ?? 0;
    const download = new Download(source, blob, {
      signal,
      have: start,
      onRetry: (current, delayMs, { message }) =>
        onProgress?.({ type: 'layer-retry', ...layer, current, delayMs, message }),
    });
    const fresh = have === undefined ? createHash('sha256') : hash;
    let at = start;
    for await (const chunk of download.bytes()) {
      fresh.update(chunk);
      await writeAll(file, chunk, at);
      at += chunk.length;
      onProgress?.({ type: 'layer-progress', ...layer, current: at, phase: 'downloading' });
    }
    const found = `sha256:${fresh.digest('hex')}`;
    if (found === blob.digest) {
      await file.sync();
      return { fetched: at - start, intact: true };
    }
    await file.truncate(0);
    const other = download.distrust();
    if (start > 0 || other) return { fetched: at - start, intact: false };
    await rm(path, { force: true });
    throw new LayerstackError(
      'ERR_DIGEST_MISMATCH',
      `blob ${blob.digest} of ${source.repository}: the received bytes have the digest ${found}; the registry's copy is damaged, or it was ` +
        'changed in transit: pull it again, or push it again',
      { digest: blob.digest, expected: blob.digest, found, repository: source.repository },
    );
  }

  /** Returns whether the blob is complete and intact. Removes it otherwise. */
  async #has(blob: Descriptor): Promise<boolean> {
    const path = this.#path(blob.digest);
    const file = await unlessMissing(open(path, constants.O_RDONLY | constants.O_NOFOLLOW));
    if (!file) return false;
    try {
      const hash = createHash('sha256');
      const size = await this.#hashed(file, hash, blob.size);
      if (size === blob.size && hash.digest('hex') === hexOf(blob.digest)) return true;
    } finally {
      await file.close();
    }
    await rm(path, { force: true });
    return false;
  }

  /** Hashes the file. Returns its size; undefined where it has more than `limit` bytes. */
  async #hashed(file: FileHandle, hash: Hash, limit: number): Promise<number | undefined> {
    for (let at = 0; ;) {
      throwIfAborted(this.#options.signal);
      const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
      const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) return at;
      at += bytesRead;
      if (at > limit) return undefined;
      hash.update(buffer.subarray(0, bytesRead));
    }
  }

  #path(digest: Digest): string {
    return join(this.#directory, BLOBS, hexOf(digest));
  }

  async #batch(steps: Parameters<typeof native.batch>[1]): Promise<void> {
    await call(native.batch(this.#directory, steps)).catch((error: unknown) => {
      throw spaceError(error, this.#directory);
    });
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;)
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
}
