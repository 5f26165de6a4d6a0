/**
 * A writer's session: `<root>/layerstack/sessions/<random>/`, whose `lock` the process holds by flock as long as it
 * lives. Every object that is visible on disk before it is published is announced there by an empty *marker*
 * file; the next writer that opens the root removes what the markers of dead sessions name (system/reconcile.ts).
 * A marker is a directory entry made before its object, so a journalling file system brings it to disk first.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, rm, type FileHandle } from 'node:fs/promises';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import type { Layout } from './layout.ts';
import { call, native, type BatchStep } from './native.ts';
import { listEntries } from './removal.ts';
import { openStoreFile, statEntry } from './store-files.ts';

/**
 * An object under construction:
 * `overlay2.<id>` the directory `overlay2/<id>` and its short name;
 * `write-set.<digits>` the directory `layerdb/tmp/write-set-<digits>`;
 * `container.<id>` the directories `containers/<id>` and `layerdb/mounts/<id>`;
 * `flat.<name>` the directory `layerstack/flat/<name>`;
 * `removing.<name>` the directory `layerdb/sha256/<name>` of a layer being deleted, and its content;
 * `held.<container>.<random>` one use of the container's mount, for as long as an operation of this process goes on (the
 *   next writer's container/mount.ts gives it back);
 * `references.change` temporary files of images and names, and metadata of images that are not there.
 */
export type Marker =
  | `overlay2.${string}`
  | `write-set.${string}`
  | `container.${string}`
  | `flat.${string}`
  | `removing.${string}`
  | `held.${string}`
  | 'references.change';

/** One writer's session. Costs nothing on disk until the first {@link Session.mark}. */
export class Session {
  readonly #layout: Layout;
  readonly #markers = new Set<Marker>();
  #name: string | undefined;
  #lock: FileHandle | undefined;
  #starting: Promise<void> | undefined;
  #closed = false;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /**
   * Makes the markers, then does `steps` (which make the objects): one native batch. Fails as `native.batch`
   * does; the markers stay until {@link unmark}, so what the steps did before the failure is not forgotten.
   * @throws {@link LayerstackError} ERR_STORE_CLOSED after {@link close}.
   */
  async mark(markers: readonly Marker[], steps: readonly BatchStep[] = []): Promise<void> {
    do await this.#begin(() => this.#start());
    while (this.#name === undefined && !this.#closed);
    if (this.#closed) throw closed();
    const fresh = markers.filter((marker) => !this.#markers.has(marker));
    for (const marker of fresh) this.#markers.add(marker);
    const files = fresh.map((marker) => this.#write(marker));
    const name = this.#name;
    try {
      await call(native.batch(this.#layout.root, [...files, ...steps]));
    } catch (error) {
      if (!this.#isLost(error, files)) throw error;
      if (this.#name === name) this.#restart();
      await this.#starting;
      await call(native.batch(this.#layout.root, steps));
    }
  }

  /**
   * Does `steps`, then removes the markers: the objects are published, or gone. One native batch; when a step
   * fails the markers stay. Unknown markers are ignored.
   */
  async unmark(markers: readonly Marker[], steps: readonly BatchStep[] = []): Promise<void> {
    await this.#starting?.catch(() => undefined);
    const known = markers.filter((marker) => this.#markers.has(marker));
    const files = known.map((marker) => ({
      op: 'unlink' as const,
      path: this.#path(marker),
      missing: true,
    }));
    try {
      await call(native.batch(this.#layout.root, [...steps, ...files]));
    } catch (error) {
      if (!this.#isLost(error, files)) throw error; // else the steps are done, and the markers are gone
    }
    for (const marker of known) this.#markers.delete(marker);
  }

  /**
   * Ends the session. What is still marked is left, with its markers, to the next writer. Second call: no-op.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#starting?.catch(() => undefined);
    if (this.#name !== undefined && this.#markers.size === 0) {
      await rm(this.#layout.at(this.#layout.session(this.#name)), { recursive: true, force: true });
    }
    await this.#lock?.close();
  }

  #path(marker: Marker): string {
    if (this.#name === undefined) throw closed();
    return this.#layout.session(this.#name, marker);
  }

  #write(marker: Marker): BatchStep & { readonly path: string } {
    return { op: 'write', path: this.#path(marker), data: '', mode: 0o600 };
  }

  async #begin(start: () => Promise<void>): Promise<void> {
    await (this.#starting ??= start().catch((error: unknown) => {
      this.#starting = undefined;
      throw error;
    }));
  }

  /** Whether a batch failed at the first of these files since the session's directory is gone: `layerstack/` may be deleted. */
  #isLost(error: unknown, [first]: readonly { readonly path: string }[]): boolean {
    return (
      first !== undefined && isSystemError(error, 'ENOENT') && error.path === this.#layout.at(first.path)
    );
  }

  /** Goes on under another name, with all markers. */
  #restart(): void {
    const lock = this.#lock;
    this.#lock = undefined;
    this.#name = undefined;
    this.#starting = undefined;
    this.#begin(async () => {
      await lock?.close();
      await call(native.batch(this.#layout.root, this.#layout.skeleton()));
      await this.#start();
      const files = [...this.#markers].map((marker) => this.#write(marker));
      await call(native.batch(this.#layout.root, files));
    }).catch(() => undefined); // told to whoever waits for it
  }

  /** Makes the directory and takes its lock; again under another name when a reconciler was faster. */
  async #start(): Promise<void> {
    while (this.#lock === undefined) {
      const name = randomBytes(8).toString('hex');
      const lock = await claim(this.#layout.at(this.#layout.session(name)));
      if (lock === undefined) continue;
      this.#name = name;
      this.#lock = lock;
    }
  }
}

function closed(): LayerstackError {
  return new LayerstackError('ERR_STORE_CLOSED', 'the store is closed: open it again');
}

/** Undefined when a reconciler took the new directory for a dead session before its lock was held. */
async function claim(directory: string): Promise<FileHandle | undefined> {
  await mkdir(directory, { mode: 0o700 });
  try {
    return await lockSession(directory);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** What the writers of now have marked; for what is marked twice, once. */
export async function allMarkers(layout: Layout): Promise<ReadonlySet<string>> {
  const sessions = await listEntries(layout, layout.sessions);
  return new Set(
    (await Promise.all(sessions.map((name) => listEntries(layout, layout.session(name))))).flat(),
  );
}

/**
 * Takes the lock of the session in `directory`, making its `lock` file where it is missing (a process died, or
 * is, between the two). Undefined when another holds it, or removed the session meanwhile. Closing gives it back.
 */
export async function lockSession(directory: string): Promise<FileHandle | undefined> {
  const path = `${directory}/lock`;
  const handle = await openStoreFile(path, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND);
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
