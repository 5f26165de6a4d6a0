/**
 * A writer's session: `<root>/layerstack/sessions/<random>/`, whose `lock` the process holds by flock as long
 * as it lives. A *marker* in it, which is a hard link to `lock`, announces each object that is on disk before
 * it is published. The next writer that opens the root removes the objects that the markers of dead sessions
 * name (system/reconcile.ts). A marker is a directory entry that is made before its object, so a journalling
 * file system brings it to disk first.
 */
import { constants } from 'node:fs';
import { mkdir, type FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { randomName } from '../core/random.ts';
import { Aftermath, type Rest } from './aftermath.ts';
import type { Layout } from './layout.ts';
import { defaultLogger } from './log.ts';
import { call, native, type BatchStep } from './native.ts';
import { listEntries } from './removal.ts';
import { openStoreFile, statEntry } from './store-files.ts';

/**
 * An object under construction:
 * - `overlay2.<id>`: the directory `overlay2/<id>` and its short name;
 * - `write-set.<digits>`: the directory `layerdb/tmp/write-set-<digits>`;
 * - `container.<id>`: the directories `containers/<id>` and `layerdb/mounts/<id>`;
 * - `flat.<name>`: the directory `layerstack/flat/<name>`;
 * - `lowers.<name>`: the directory `layerstack/packed/lowers/<name>`, and the mounts in it;
 * - `removing.<name>`: the directory `layerdb/sha256/<name>` of a layer being deleted, and its content;
 * - `held.<key>.<token>`: one use of an RW layer's mount that begins or ends, or that an operation of this
 *   process holds (the next writer's rwlayer/mounts.ts ends it);
 * - `keeping.<token>`: compressed layers in `layerstack/blobs` that no manifest names yet (the next writer's
 *   image/originals.ts removes the unnamed ones);
 * - `naming.<container>`: entries of `layerstack/names` that lead to the container (the next writer's
 *   container/name-index.ts removes wrong ones);
 * - `snapshot.<id>`: a snapshot that is being made or removed (the next writer's `SnapshotStore.resume`
 *   completes or undoes it);
 * - `temporary.<token>`: a symlink; files and directories whose paths begin with its text;
 * - `references.change`: temporary files of images and names, and metadata of missing images.
 */
export type Marker =
  | `overlay2.${string}`
  | `write-set.${string}`
  | `container.${string}`
  | `flat.${string}`
  | `lowers.${string}`
  | `removing.${string}`
  | `held.${string}`
  | `keeping.${string}`
  | `naming.${string}`
  | `snapshot.${string}`
  | `temporary.${string}`
  | 'references.change';

/** One writer's session. It uses no disk before the first {@link Session.mark}. */
export class Session {
  readonly #layout: Layout;
  readonly #aftermath: Aftermath;
  /** The markers, with the text of those that are symlinks. */
  readonly #markers = new Map<Marker, string | undefined>();
  #name: string | undefined;
  #lock: FileHandle | undefined;
  #starting: Promise<void> | undefined;
  #closed = false;

  constructor(layout: Layout, aftermath = new Aftermath(layout.root, defaultLogger)) {
    this.#layout = layout;
    this.#aftermath = aftermath;
  }

  /**
   * Makes the markers and then does `steps`, which make the objects, in one native batch. Fails as
   * `native.batch` does. The markers stay until {@link unmark}, also after a failure, so that the objects of
   * completed steps are not forgotten.
   * @param rest - steps after the step that makes the change: their failures are logged, not thrown
   * @returns whether the rest is done, too
   * @throws {@link LayerstackError} ERR_STORE_CLOSED after {@link close}.
   */
  async mark(
    markers: readonly Marker[],
    steps: readonly BatchStep[] = [],
    rest: Rest = NO_REST,
  ): Promise<boolean> {
    return this.#mark(new Map(markers.map((marker) => [marker, undefined])), steps, () => rest);
  }

  /**
   * Makes the markers, does `steps`, the last of which makes the change, and removes the markers, all in one
   * native batch. After a failure the markers stay until {@link unmark}.
   * @returns whether the markers are removed, too. A marker that cannot be removed does not fail the change
   */
  async during(markers: readonly Marker[], steps: readonly BatchStep[]): Promise<boolean> {
    const texts = new Map(markers.map((marker) => [marker, undefined]));
    const done = await this.#mark(texts, steps, () => this.#unmarking(markers));
    if (done) for (const marker of markers) this.#markers.delete(marker);
    return done;
  }

  /** Does `steps`. If this process dies, the next writer removes the temporary files of `replace` steps. */
  async replace(steps: readonly BatchStep[], rest: Rest = NO_REST): Promise<boolean> {
    const temporaries = new Temporaries();
    const named = steps.map((step) => temporaries.name(step));
    try {
      return await this.#mark(temporaries.markers, named, () => rest);
    } finally {
      // The markers are removed after a failure too, because native code has removed the temporary files.
      await this.unmark([...temporaries.markers.keys()]);
    }
  }

  /**
   * Lets the next writer remove all entries whose path begins with `path`, if this process dies before the
   * result is disposed. A path in the store is relative to the root, so that it stays right when the root is
   * moved, and a copy of the root does not name files of the original.
   */
  async temporary(path: string): Promise<AsyncDisposable> {
    const marker: Marker = `temporary.${token()}`;
    await this.#mark(new Map([[marker, path]]), [], () => NO_REST);
    return { [Symbol.asyncDispose]: () => this.unmark([marker]) };
  }

  async #mark(
    markers: ReadonlyMap<Marker, string | undefined>,
    steps: readonly BatchStep[],
    rest: () => Rest,
  ): Promise<boolean> {
    do await this.#begin(() => this.#start());
    while (this.#name === undefined && !this.#closed);
    if (this.#closed) throw closed();
    const fresh = [...markers].filter(([marker]) => !this.#markers.has(marker));
    if (fresh.length + steps.length + rest().steps.length === 0) return true;
    for (const [marker, text] of fresh) this.#markers.set(marker, text);
    const files = fresh.map(([marker, text]) => this.#write(marker, text));
    const name = this.#name;
    try {
      return await this.#aftermath.batch([...files, ...steps], rest());
    } catch (error) {
      if (!this.#isLost(error, files)) throw error;
      if (this.#name === name) this.#restart();
      await this.#starting;
      return await this.#aftermath.batch(steps, rest());
    }
  }

  /**
   * Does `steps`, then removes the markers, in one native batch: the objects are published, or removed. When
   * a step fails, the markers stay. A marker that cannot be removed does not fail the change: the next writer
   * removes it. Unknown markers are ignored.
   */
  async unmark(markers: readonly Marker[], steps: readonly BatchStep[] = []): Promise<void> {
    await this.#starting?.catch(() => undefined);
    const known = markers.filter((marker) => this.#markers.has(marker));
    const done = await this.#aftermath.batch(steps, this.#unmarking(known));
    if (done) for (const marker of known) this.#markers.delete(marker);
  }

  /**
   * Ends the session. Marked objects stay, with their markers, for the next writer. A second call does
   * nothing.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#starting?.catch(() => undefined);
    await this.#aftermath.run('the session of this process stays for the next writer', async () => {
      try {
        if (this.#name !== undefined && this.#markers.size === 0)
          await call(native.batch(this.#layout.root, dropSteps(this.#layout, this.#name)));
      } finally {
        await this.#lock?.close();
      }
    });
  }

  #unmarking(markers: readonly Marker[]): Rest {
    // `missing`, because `layerstack/` may be deleted.
    const steps = markers.map((marker): BatchStep => ({
      op: 'unlink',
      path: this.#path(marker),
      missing: true,
    }));
    return { steps, otherwise: 'a marker stays for the next writer' };
  }

  #path(file: Marker | 'lock'): string {
    if (this.#name === undefined) throw closed();
    return this.#layout.session(this.#name, file);
  }

  #write(marker: Marker, text: string | undefined): BatchStep & { readonly path: string } {
    const path = this.#path(marker);
    // A marker is a hard link to the lock: an entry without a new inode costs a quarter of the time.
    return text === undefined
      ? { op: 'link', path, target: this.#path('lock') }
      : { op: 'symlink', path, target: text };
  }

  async #begin(start: () => Promise<void>): Promise<void> {
    await (this.#starting ??= start().catch((error: unknown) => {
      this.#starting = undefined;
      throw error;
    }));
  }

  /**
   * Returns whether a batch failed because the session's directory is missing: `layerstack/` may be deleted.
   */
  #isLost(error: unknown, files: readonly unknown[]): boolean {
    return files.length > 0 && isSystemError(error, 'ENOENT') && error.step === 0;
  }

  /** Makes the session again under another name, with all markers. */
  #restart(): void {
    const lock = this.#lock;
    this.#lock = undefined;
    this.#name = undefined;
    this.#starting = undefined;
    this.#begin(async () => {
      await lock?.close();
      await call(native.batch(this.#layout.root, this.#layout.skeleton()));
      await this.#start();
      const files = [...this.#markers].map(([marker, text]) => this.#write(marker, text));
      await call(native.batch(this.#layout.root, files));
    }).catch(() => undefined); // the caller that waits for it gets the error
  }

  /** Makes the directory and takes its lock. Tries another name if a reconciler has removed the directory. */
  async #start(): Promise<void> {
    while (this.#lock === undefined) {
      const name = randomName(8).toString('hex');
      const lock = await claim(this.#layout.at(this.#layout.session(name)));
      if (lock === undefined) continue;
      this.#name = name;
      this.#lock = lock;
    }
  }
}

const NO_REST: Rest = { steps: [], otherwise: '' };

function token(): string {
  return randomName(8).toString('hex');
}

/** Chooses the names of a batch's temporary files, and one marker for those in each directory. */
class Temporaries {
  readonly markers = new Map<Marker, string>();
  readonly #prefixes = new Map<string, string>();
  #count = 0;

  name(step: BatchStep): BatchStep {
    if (step.op !== 'replace') return step;
    const directory = dirname(step.path);
    let prefix = this.#prefixes.get(directory);
    if (prefix === undefined) {
      const random = token();
      this.#prefixes.set(directory, (prefix = `.tmp-${random}-`));
      this.markers.set(`temporary.${random}`, `${directory}/${prefix}`);
    }
    return { ...step, temporary: `${prefix}${String(this.#count++)}-${basename(step.path)}`.slice(0, 255) };
  }
}

/**
 * Returns steps that remove a session without markers. Only the session's own process makes entries in it.
 */
export function dropSteps(layout: Layout, name: string): BatchStep[] {
  return [
    { op: 'unlink', path: layout.session(name, 'lock'), missing: true },
    { op: 'rmdir', path: layout.session(name), missing: true },
  ];
}

function closed(): LayerstackError {
  return new LayerstackError('ERR_STORE_CLOSED', 'the store is closed: open it again');
}

const NEW_LOCK = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;

/**
 * Makes a directory with a `lock`, and takes the lock, as a new session does. Returns undefined where a
 * reconciler removed the directory before that, because it looked like that of a dead process.
 */
export async function claim(directory: string): Promise<FileHandle | undefined> {
  await mkdir(directory, { mode: 0o700 });
  try {
    await (await openStoreFile(`${directory}/lock`, NEW_LOCK)).close();
    return await lockSession(directory);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Returns the markers of all current writers, each once. */
export async function allMarkers(layout: Layout): Promise<ReadonlySet<string>> {
  const sessions = await listEntries(layout, layout.sessions);
  return new Set((await Promise.all(sessions.map((name) => sessionFiles(layout, name)))).flat());
}

/** Returns the entries of a session; none where it is not a directory. */
export async function sessionFiles(layout: Layout, name: string): Promise<string[]> {
  try {
    return await listEntries(layout, layout.session(name));
  } catch (error) {
    if (isSystemError(error, 'ENOTDIR')) return [];
    throw error;
  }
}

/**
 * Takes the lock of the session in `directory`. Returns undefined where another process holds it, or removed
 * the session meanwhile. Closing the file releases it.
 * @throws system error ENOENT where `lock` is missing: only the session's own writer makes it.
 */
export async function lockSession(directory: string): Promise<FileHandle | undefined> {
  const path = `${directory}/lock`;
  const handle = await openStoreFile(path, constants.O_RDONLY);
  try {
    if (native.tryFlock(handle.fd, true)) {
      const [held, named] = [await handle.stat(), statEntry(path)];
      if (held.ino === named?.ino && held.dev === named.dev) return handle;
    }
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) {
      await handle.close();
      throw error;
    }
  }
  await handle.close();
  return undefined;
}
