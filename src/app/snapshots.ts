/** `store.snapshots`: takes, lists, forks and removes snapshots of containers, and rolls containers back. */
import { checkArguments } from '../core/arguments.ts';
import { LayerstackError, undefinedIf } from '../core/errors.ts';
import type { Container } from '../container/record.ts';
import type { Snapshot, SnapshotSize } from '../snapshot/snapshot.ts';
import type { ForkOptions, RollbackOptions, SnapshotOptions } from '../snapshot/store.ts';
import type { ContainerRef } from './container-contents.ts';
import { SIGNATURES } from './signatures/snapshots.ts';
import type { StoreParts } from './store-parts.ts';

/** A snapshot, or a text that names one: its id, the beginning of its id, or its name. */
export type SnapshotRef = Snapshot | string;

/** The source of a fork: a snapshot or a container. A text may name either. */
export type ForkSource = Snapshot | Container | string;

export interface ListSnapshotsOptions {
  /** Lists only the snapshots of this container, and those below them. */
  readonly container?: ContainerRef | undefined;
}

/**
 * The snapshots of a store. A snapshot holds the files of a container, but no processes, memory or sockets.
 *
 * @example
 * ```ts
 * const base = await store.snapshots.create('build', { name: 'base' });
 * const forks = await store.snapshots.fork(base, { count: 16 });
 * await store.snapshots.rollback('build', base);
 * ```
 */
export class Snapshots {
  readonly #parts: StoreParts;

  /** @internal */
  constructor(parts: StoreParts) {
    this.#parts = parts;
  }

  /**
   * Takes a snapshot of a container. The container keeps the same files, and can be used further. The
   * snapshot has every write that returned before the call.
   *
   * In the mode `seal` nothing may write meanwhile, and nothing is copied. A mounted container gets a new
   * mount at its path: `generation` is that of the new mount, and an event `remount` reports it. Processes
   * that work in the old mount keep the sealed files. What they write fails with EROFS, until they enter the
   * path again. The mode `copy` copies what the container has changed since its last snapshot, also while
   * processes write. The mode `auto` seals, or copies where that is refused. `method` and `consistency` of
   * the result say what was done.
   *
   * With `durable` it is on disk when this resolves. After an error nothing has changed, except that the
   * snapshot of a mounted container stays where `durable` cannot bring it to disk.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND; ERR_CONTAINER_BUSY with the processes that write
   *   to it, in the mode `seal`, and where files move during each attempt to copy; ERR_CONTAINER_MOUNTED in
   *   the mode `seal` for a container that runs or is used elsewhere; ERR_SNAPSHOT_NAME_IN_USE;
   *   ERR_INVALID_ARGUMENT for a bad name; ERR_LAYER_DEPTH; ERR_UNSUPPORTED for a container without an init
   *   layer, and for processes that cannot be frozen; ERR_STORE_UNSUPPORTED before Linux 4.0; ERR_NO_SPACE;
   *   ERR_ABORTED; ERR_STORE_READ_ONLY.
   */
  async create(container: ContainerRef, options: SnapshotOptions = {}): Promise<Snapshot> {
    const { events } = this.#parts;
    const source = await this.#container(container);
    const snapshot = await (await this.#parts.snapshots()).create(source, options);
    events.snapshot('create', snapshot);
    events.container('snapshot', source, { snapshot: snapshot.id });
    const { method, generation } = snapshot;
    if (method === 'sealed' && generation > 0) this.#remounted(source, generation);
    return snapshot;
  }

  /**
   * Returns the snapshots, the oldest first.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_ID_AMBIGUOUS.
   */
  async list({ container }: ListSnapshotsOptions = {}): Promise<Snapshot[]> {
    const snapshots = await this.#parts.snapshots();
    const all = await snapshots.list();
    return container === undefined ? all : snapshots.lineOf(await this.#container(container), all);
  }

  /**
   * Returns the snapshot that an id, the beginning of one, or a name means.
   * @throws {@link LayerstackError} ERR_SNAPSHOT_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_STORE_CORRUPT.
   */
  async get(ref: SnapshotRef): Promise<Snapshot> {
    return typeof ref === 'string' ? (await this.#parts.snapshots()).resolve(ref) : ref;
  }

  /**
   * Returns how much disk a snapshot uses. Reads its sealed uppers.
   * @throws {@link LayerstackError} ERR_SNAPSHOT_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_STORE_CORRUPT.
   */
  async size(ref: SnapshotRef): Promise<SnapshotSize> {
    return (await this.#parts.snapshots()).size(await this.get(ref));
  }

  /**
   * Makes containers with the files of a snapshot or of a container: all of them or, after an error, none.
   * For a container, it takes a snapshot first, as {@link create} does in the mode `auto`, so the forks have
   * every write that returned before the call. They have the source's config and labels.
   * @throws {@link LayerstackError} ERR_SNAPSHOT_NOT_FOUND, ERR_CONTAINER_NOT_FOUND,
   *   ERR_CONTAINER_NAME_IN_USE, ERR_INVALID_ARGUMENT, ERR_ID_AMBIGUOUS for a text that names a snapshot and
   *   a container, and for a container the errors of {@link create}.
   */
  async fork(source: ForkSource, options: ForkOptions = {}): Promise<Container[]> {
    const from = typeof source === 'string' ? await this.#source(source) : source;
    const snapshots = await this.#parts.snapshots();
    await snapshots.checkFork(options);
    const snapshot = isSnapshot(from) ? from : await this.create(from, { signal: options.signal });
    const forks = await snapshots.fork(snapshot, options);
    for (const fork of forks) this.#parts.events.container('create', fork, { snapshot: snapshot.id });
    return forks;
  }

  /**
   * Puts a container back to a snapshot of the same image. Its id, its name and its path stay. Even after a
   * crash it has its old files or those of the snapshot. The old files are deleted, unless `keep` takes a
   * snapshot of them. A mounted container gets a new mount at its path, which an event `remount` reports. No
   * process may work in it, unless `force` is given.
   * @returns with `keep`, the snapshot of the old files
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_CONTAINER_BUSY with the processes that work
   *   in it, ERR_CONTAINER_MOUNTED for one that runs, ERR_SNAPSHOT_NOT_FOUND, ERR_INVALID_ARGUMENT for a
   *   snapshot of another image, ERR_LAYER_DEPTH, ERR_STORE_UNSUPPORTED, ERR_STORE_CORRUPT, ERR_NO_SPACE,
   *   ERR_ABORTED, ERR_STORE_READ_ONLY.
   */
  async rollback(
    container: ContainerRef,
    snapshot: SnapshotRef,
    options: RollbackOptions = {},
  ): Promise<Snapshot | undefined> {
    const { events } = this.#parts;
    const target = await this.#container(container);
    const to = await this.get(snapshot);
    const kept = await (await this.#parts.snapshots()).rollback(target, to, options);
    if (kept) events.snapshot('create', kept);
    events.container('rollback', target, { snapshot: to.id });
    const mounted = await this.#parts.containers.mounted(target);
    if (mounted) this.#remounted(target, mounted.generation);
    return kept;
  }

  /**
   * Removes a snapshot. Its files are deleted in the background: `store.close` waits for it.
   * @throws {@link LayerstackError} ERR_SNAPSHOT_NOT_FOUND for a name, ERR_SNAPSHOT_IN_USE when a container
   *   or another snapshot depends on it, ERR_STORE_CORRUPT when damage hides whether one does, ERR_ABORTED,
   *   ERR_STORE_READ_ONLY.
   */
  async remove(ref: SnapshotRef, { signal }: Pick<SnapshotOptions, 'signal'> = {}): Promise<void> {
    const { events, images } = this.#parts;
    const snapshot = await this.get(ref);
    const { imageId, layer } = snapshot;
    if (!(await (await this.#parts.snapshots()).remove(snapshot, signal))) return;
    events.snapshot('destroy', snapshot);
    if (layer !== undefined)
      await this.#parts.root.aftermath.run('layers of its image that nothing needs stay', () =>
        images.release(imageId, layer),
      );
  }

  #remounted(container: Container, generation: number): void {
    this.#parts.events.container('remount', container, { generation: String(generation) });
  }

  async #container(ref: ContainerRef): Promise<Container> {
    return typeof ref === 'string' ? this.#parts.containers.resolve(ref) : ref;
  }

  async #source(text: string): Promise<Snapshot | Container> {
    const snapshot = await (await this.#parts.snapshots()).find(text);
    const container = await undefinedIf(this.#parts.containers.resolve(text), 'ERR_CONTAINER_NOT_FOUND');
    if (snapshot && container)
      throw new LayerstackError(
        'ERR_ID_AMBIGUOUS',
        `a snapshot and a container are called ${text}: give the id of one`,
        { id: text },
      );
    const found = snapshot ?? container;
    if (found) return found;
    throw new LayerstackError(
      'ERR_SNAPSHOT_NOT_FOUND',
      `neither a snapshot nor a container is called ${JSON.stringify(text)}`,
      { id: text },
    );
  }

  static {
    checkArguments(this.prototype, 'store.snapshots', SIGNATURES);
  }
}

function isSnapshot(source: Snapshot | Container): source is Snapshot {
  return 'containerId' in source;
}
