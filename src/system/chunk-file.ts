/** Writes a new file from front to back in large pieces, however small the given ones are. */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';

const WRITE_BYTES = 512 * 1024;

export class ChunkFile {
  readonly #file: FileHandle;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #size = 0;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Fails with EEXIST where the name exists. */
  static async create(path: string, mode = 0o600): Promise<ChunkFile> {
    return new ChunkFile(await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode));
  }

  /** The number of appended bytes, including those that are not yet written. */
  get size(): number {
    return this.#size;
  }

  /** Appends bytes, which must not change any more. */
  async append(chunk: Uint8Array): Promise<void> {
    this.#pending.push(chunk);
    this.#pendingBytes += chunk.length;
    this.#size += chunk.length;
    if (this.#pendingBytes >= WRITE_BYTES) await this.#flush();
  }

  /** Writes the remaining bytes, and syncs the file. */
  async sync(): Promise<void> {
    await this.#flush();
    await this.#file.sync();
  }

  /** Closes the file without a sync, so its last bytes may be missing. */
  async close(): Promise<void> {
    await this.#file.close();
  }

  async #flush(): Promise<void> {
    const bytes = Buffer.concat(this.#pending.splice(0));
    this.#pendingBytes = 0;
    for (let done = 0; done < bytes.length;)
      done += (await this.#file.write(bytes, done, bytes.length - done)).bytesWritten;
  }
}
