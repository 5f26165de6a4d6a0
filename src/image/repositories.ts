/**
 * repositories.json on disk. Every change reads the file anew under the `references` lock and replaces it
 * whole (temp, fsync, rename, fsync of the directory), so that processes never undo each other's changes and a
 * crash leaves the old file or the new one.
 */
import { dirname } from 'node:path';
import { call, native } from '../system/native.ts';
import { REFERENCES_KEY } from '../system/lock.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { spaceError } from '../system/space.ts';
import { readStoreFile } from '../system/store-files.ts';
import { MAX_REFERENCES_BYTES, parseReferences, type MutableReferences } from './references.ts';

const MARKERS: readonly Marker[] = ['references.change'];

export interface ChangeOptions<T> {
  /** Ends the waiting for the lock. */
  readonly signal?: AbortSignal | undefined;
  readonly afterwards?: (result: T) => Promise<void>;
}

/** The references of one root. */
export class Repositories {
  readonly #root: Root;

  constructor(root: Root) {
    this.#root = root;
  }

  /**
   * All references, as they are on disk now: a copy of the caller's own.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT when the file is empty or not JSON.
   */
  async read(): Promise<MutableReferences> {
    const path = this.#path();
    return parseReferences(await readStoreFile(path, MAX_REFERENCES_BYTES), path);
  }

  /**
   * Lets `edit` change the references, and writes them back where it did. Durable on return; nothing
   * is written when `edit` throws. Nobody else changes references or images meanwhile, nor during `afterwards`,
   * which runs when the references are written.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT as {@link read}; ERR_STORE_READ_ONLY; ERR_NO_SPACE.
   */
  async change<T>(
    edit: (references: MutableReferences) => T | Promise<T>,
    { signal, afterwards }: ChangeOptions<T> = {},
  ): Promise<T> {
    const session = this.#root.session();
    const lock = await this.#root.locks.acquire('references', REFERENCES_KEY, signal ? { signal } : {});
    try {
      await session.mark(MARKERS).catch((error: unknown) => {
        throw spaceError(error, this.#root.layout.root);
      });
      const path = this.#path();
      const references = parseReferences(await readStoreFile(path, MAX_REFERENCES_BYTES), path);
      const before = references.serialize();
      const result = await edit(references);
      const after = references.serialize();
      if (after !== before) await this.#write(after);
      await afterwards?.(result);
      return result;
    } finally {
      await session.unmark(MARKERS).finally(() => lock.release());
    }
  }

  async #write(text: string): Promise<void> {
    const { root, repositories } = this.#root.layout;
    const replaced = native.batch(root, [
      { op: 'replace', path: repositories, data: text, mode: 0o600 },
      { op: 'fsync', path: dirname(repositories) },
    ]);
    await call(replaced).catch((error: unknown) => {
      throw spaceError(error, root);
    });
  }

  #path(): string {
    return this.#root.layout.at(this.#root.layout.repositories);
  }
}
