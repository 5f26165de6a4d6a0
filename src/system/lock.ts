/**
 * Locks between the processes that share a store. Each kind of object has one file,
 * `<root>/layerstack/locks/<kind>`. An object's lock is an OFD lock on one byte of this file. The offset of
 * the byte is 52 bits of the XXH3 of the object's key. So locks leave nothing behind, cost two system calls,
 * and end with their process. Two objects on one byte (one chance in 2^52 per pair) only wait for each other.
 *
 * To avoid deadlocks, take locks in this order: `pulls`, `layers`, `containers`, `references`. Of `pulls`,
 * take the image's before its layers'. Take several of one kind by {@link Locks.acquireAll}.
 */
import { fstatSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import type xxhash from 'xxhash-addon';
import { pause, throwIfAborted } from '../core/abort.ts';
import { remember } from '../core/remember.ts';
import { require } from './here.ts';
import { giveBack, LockFiles, type LockFile } from './lock-files.ts';
import { native } from './native.ts';
import { Turns } from './turns.ts';
import { statEntry } from './store-files.ts';

/** The kinds of objects; each is also the name of its lock file. */
export type LockKind = 'pulls' | 'layers' | 'containers' | 'references' | 'archives';

/**
 * The key of the only `references` lock. All names are in one file, and images change under the same lock.
 */
export const REFERENCES_KEY = 'repositories.json';

export interface LockOptions {
  /** Aborts the wait. */
  readonly signal?: AbortSignal | undefined;
  /** Shares the lock with other shared holders, but not with an exclusive one. Default false. */
  readonly shared?: boolean | undefined;
}

/** A held lock. */
export interface Lock {
  /** Releases the lock. Idempotent. */
  release(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A wait for another process polls, so that a signal can end it: after 1, 2, 4, ... 50 ms. */
const FIRST_PAUSE_MS = 1;
const LAST_PAUSE_MS = 50;

/** The hash is loaded for the first lock, which takes 7 ms. Readers take no locks, so they save this time. */
let addon: typeof xxhash | undefined;

/** The bytes of the last keys, since most keys are locked several times. */
const bytes = new Map<string, number>();
const REMEMBERED = 256;

/** The byte of a key: the 52 high bits of its hash, a whole number that is exact in a double. */
function byteOf(key: string): number {
  const known = bytes.get(key);
  if (known !== undefined) return known;
  addon ??= require('xxhash-addon') as typeof xxhash;
  const hash = addon.XXHash3.hash(Buffer.from(key));
  const byte = hash.readUInt32BE(0) * 2 ** 20 + (hash.readUInt32BE(4) >>> 12);
  remember(bytes, key, byte, REMEMBERED);
  return byte;
}

/** The locks of one store. */
export class Locks {
  readonly #files: LockFiles;
  /**
   * The holders of each byte in this process, and the waiters for it. A caller asks the kernel only in its
   * turn.
   */
  readonly #turns = new Map<string, Turns>();

  /** @param directory - `<root>/layerstack/locks`; made when it is missing. */
  constructor(directory: string) {
    this.#files = new LockFiles(directory);
  }

  /**
   * Waits until this caller has the lock of `key`, alone or with other shared holders. Callers of one process
   * get it in the order of their calls. Between processes the order is not defined.
   * @throws {@link LayerstackError} ERR_ABORTED when the signal fires first.
   */
  async acquire(kind: LockKind, key: string, options: LockOptions = {}): Promise<Lock> {
    return this.#acquireByte(kind, byteOf(key), options);
  }

  /**
   * Takes the locks of several keys as one, in the order of their bytes, so that callers with overlapping
   * keys cannot wait for each other in a circle. It holds all of them or, after an error, none.
   * @throws {@link LayerstackError} ERR_ABORTED when the signal fires first.
   */
  async acquireAll(kind: LockKind, keys: Iterable<string>, options: LockOptions = {}): Promise<Lock> {
    const held: Lock[] = [];
    const lock = heldLock(async () => {
      for (const one of held.reverse()) await one.release();
    });
    try {
      const bytes = new Set(Array.from(keys, byteOf));
      for (const byte of [...bytes].sort((a, b) => a - b)) {
        held.push(await this.#acquireByte(kind, byte, options));
      }
      return lock;
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /**
   * Takes the locks of those keys that are free, without waiting; `keys` of the result lists them. One file
   * descriptor holds all of them, so they may be thousands.
   */
  tryEach(kind: LockKind, keys: Iterable<string>): Lock & { readonly keys: ReadonlySet<string> } {
    for (;;) {
      const { path, fd } = this.#files.openOwn(kind);
      const left: (() => void)[] = [];
      const { release, ...lock } = heldLock(() => {
        giveBack(fd);
        for (const leave of left) leave();
      });
      try {
        const held = new Set<string>();
        for (const key of keys) {
          const leave = this.#tryByte(kind, fd, byteOf(key));
          if (leave === undefined) continue;
          left.push(leave);
          held.add(key);
        }
        if (isSameFile(fd, path)) return { keys: held, release, ...lock };
      } catch (error) {
        void release();
        throw error;
      }
      void release();
    }
  }

  /**
   * Locks the byte, without waiting. Returns a function that ends the turn, or undefined where another caller
   * or process holds the byte. Closing the fd releases the lock.
   */
  #tryByte(kind: LockKind, fd: number, byte: number): (() => void) | undefined {
    const { turns, leave } = this.#turnsOf(kind, byte);
    if (!turns.tryEnter()) return undefined;
    let locked = false;
    try {
      locked = native.tryRangeLock(fd, byte, true);
    } finally {
      if (!locked) leave();
    }
    return locked ? leave : undefined;
  }

  /**
   * Returns the queue of a byte, and the function that ends a turn in it. `file` is the file in which the
   * caller has locked the byte, if it did.
   */
  #turnsOf(
    kind: LockKind,
    byte: number,
  ): { readonly turns: Turns; readonly leave: (file?: LockFile) => void } {
    const name = `${kind} ${byte}`;
    let turns = this.#turns.get(name);
    if (!turns) this.#turns.set(name, (turns = new Turns()));
    const leave = (file?: LockFile): void => {
      if (turns.isSingle) this.#files.unlock(kind, byte, file);
      if (file !== undefined) this.#files.leave(kind, file);
      turns.leave();
      if (turns.idle) this.#turns.delete(name);
    };
    return { turns, leave };
  }

  async #acquireByte(kind: LockKind, byte: number, { signal, shared = false }: LockOptions): Promise<Lock> {
    throwIfAborted(signal);
    const { turns, leave } = this.#turnsOf(kind, byte);
    await turns.enter(shared, signal);
    try {
      const file = await this.#lockByte(kind, byte, shared, signal);
      return heldLock(() => leave(file));
    } catch (error) {
      leave();
      throw error;
    }
  }

  /** Waits for the byte. Returns the file in which it is locked. */
  async #lockByte(kind: LockKind, byte: number, shared: boolean, signal?: AbortSignal): Promise<LockFile> {
    for (let ms = FIRST_PAUSE_MS; ; ms = Math.min(ms * 2, LAST_PAUSE_MS)) {
      const file = this.#files.tryLock(kind, byte, !shared);
      if (file !== undefined) return file;
      await pause(ms, signal);
    }
  }

  /** Closes the files; those with held locks when these are released. Later locks open files again. */
  close(): void {
    this.#files.close();
  }
}

function heldLock(end: () => void | Promise<void>): Lock {
  let released: Promise<void> | undefined;
  const release = (): Promise<void> => (released ??= (async () => end())());
  return { release, [Symbol.asyncDispose]: release };
}

function isSameFile(fd: number, path: string): boolean {
  const now = statEntry(path);
  const held = fstatSync(fd);
  return now !== undefined && now.ino === held.ino && now.dev === held.dev;
}

/** A flock(2) on a whole file, which lasts as long as a program uses the store. */
export interface FlockHandle extends Lock {
  readonly fd: number;
}

/**
 * Takes the flock of the file at `path` without waiting.
 * @param options.create - mode of the file if it has to be made; without it a missing file is ENOENT.
 * @returns null where another holds it.
 */
export async function holdFlock(
  path: string,
  exclusive: boolean,
  options: { readonly create?: number } = {},
): Promise<FlockHandle | null> {
  return flockFile(
    options.create === undefined ? await open(path, 'r') : await open(path, 'a+', options.create),
    exclusive,
  );
}

/**
 * {@link holdFlock} for an open file. The file is closed with the lock, or at once where another holds it.
 */
export async function flockFile(file: FileHandle, exclusive: boolean): Promise<FlockHandle | null> {
  let held = false;
  try {
    held = native.tryFlock(file.fd, exclusive);
  } finally {
    if (!held) await file.close();
  }
  return held ? { fd: file.fd, ...heldLock(() => file.close()) } : null;
}
