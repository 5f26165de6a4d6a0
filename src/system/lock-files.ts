/**
 * The open lock files of one store (lock.ts). One file descriptor for each kind of object holds the locks of
 * all its bytes, because opening the file takes longer than locking a byte of it. The descriptor cannot tell
 * the callers of this process from each other, so each of them locks and unlocks in its turn.
 */
import { closeSync, constants, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { isSystemError } from '../core/errors.ts';
import { callSync, native } from './native.ts';
import { openStoreFd } from './store-files.ts';

/** An open file, which {@link LockFiles.leave} gives back. */
export interface LockFile {
  readonly path: string;
  readonly fd: number;
  /** The number of locks that are held in it. */
  holders: number;
  /** Its name leads to another file now. So it is closed when its last lock is released. */
  isReplaced: boolean;
}

const FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_APPEND;

export class LockFiles {
  readonly #directory: string;
  readonly #files = new Map<string, LockFile>();
  #closed = false;

  /** @param directory - made when it is missing */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /**
   * Locks the byte, without waiting. Returns undefined where another process holds it. Locking blocks for
   * microseconds; another thread would take longer.
   */
  tryLock(kind: string, byte: number, exclusive: boolean): LockFile | undefined {
    for (;;) {
      const file = this.#files.get(kind) ?? this.#open(kind);
      const isHeld = callSync(() => native.tryNamedRangeLock(file.fd, file.path, byte, exclusive));
      if (isHeld === false) {
        if (this.#closed && file.holders === 0) this.#drop(kind, file);
        return undefined;
      }
      if (isHeld === true) {
        file.holders++;
        return file;
      }
      this.#drop(kind, file);
    }
  }

  /**
   * Unlocks the byte, for the last caller of this process that has a turn. `file` is the file that it locked,
   * if it did.
   */
  unlock(kind: string, byte: number, file = this.#files.get(kind)): void {
    if (file !== undefined) unlessFailing(() => native.releaseRangeLock(file.fd, byte));
  }

  /** Ends one use of the file. The caller has unlocked its byte, unless other callers hold it too. */
  leave(kind: string, file: LockFile): void {
    file.holders--;
    if (file.holders > 0) return;
    if (file.isReplaced) giveBack(file.fd);
    else if (this.#closed) this.#drop(kind, file);
  }

  /** Closes the files. A file with held locks is closed when its last lock is released. */
  close(): void {
    this.#closed = true;
    for (const [kind, file] of this.#files) if (file.holders === 0) this.#drop(kind, file);
  }

  /** Opens the file of a kind for a caller that closes it. */
  openOwn(kind: string): { readonly path: string; readonly fd: number } {
    const path = join(this.#directory, kind);
    const open = (): number => openStoreFd(path, FLAGS);
    try {
      return { path, fd: open() };
    } catch (error) {
      // `layerstack/` may be deleted at any time.
      if (!isSystemError(error, 'ENOENT')) throw error;
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      return { path, fd: open() };
    }
  }

  #open(kind: string): LockFile {
    const file = { ...this.openOwn(kind), holders: 0, isReplaced: false };
    this.#files.set(kind, file);
    return file;
  }

  #drop(kind: string, file: LockFile): void {
    file.isReplaced = true;
    this.#files.delete(kind);
    if (file.holders === 0) giveBack(file.fd);
  }
}

/** Closes a lock file. Even a failed close(2) releases the locks, so its error is ignored. */
export function giveBack(fd: number): void {
  unlessFailing(() => closeSync(fd));
}

function unlessFailing(end: () => void): void {
  try {
    end();
  } catch (error) {
    if (!isSystemError(error, 'EIO', 'EINTR', 'ENOSPC', 'EDQUOT')) throw error;
  }
}
