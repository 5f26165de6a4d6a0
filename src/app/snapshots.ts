/** `store.snapshots`: takes, lists, forks and removes snapshots of containers, and rolls containers back. */
import { checkArguments } from '../core/arguments.ts';
import type { ImageID } from '../core/digest.ts';
import { LayerstackError, undefinedIf } from '../core/errors.ts';
import { matchesLabels, type LabelFilters } from '../core/labels.ts';
import { formatReference } from '../core/reference.ts';
import type { Container } from '../container/record.ts';
import type { CommitOptions } from '../container/commit.ts';
import type { Change } from '../rwlayer/changes.ts';
import { isSnapshot, type Snapshot, type SnapshotSize } from '../snapshot/snapshot.ts';
import type { ForkOptions, RollbackOptions, SnapshotOptions, SquashOptions } from '../snapshot/store.ts';
import { timed } from '../system/phases.ts';
import type { ContainerRef } from './container-contents.ts';
import { newImageName, type NameOptions } from './new-image-name.ts';
import { signatures } from './signatures/snapshots.ts';
import type { StoreParts } from './store-parts.ts';

/** A snapshot, or a text that names one: its id, the beginning of its id, or its name. */
export type SnapshotRef = Snapshot | string;

/** The source of a fork: a snapshot or a container. A text may name either. */
export type ForkSource = Snapshot | Container | string;

export interface ListSnapshotsOptions extends LabelFilters {
  /** Lists only the snapshots of this container, and those below them. */
  readonly container?: ContainerRef | undefined;
}

export interface PromoteOptions {
  /** The container that gets the files of the child. */
  readonly onto: ContainerRef;
  readonly signal?: AbortSignal | undefined;
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
   * The mode `seal` copies nothing, but no process may write meanwhile. A mounted container gets a new mount
   * at its path: `generation` is that of the new mount, and an event `remount` reports it. Processes in the
   * old mount keep the sealed files. Their writes fail with EROFS until they enter the path again. The mode
   * `copy` copies the container's changes since its last snapshot, and processes may write meanwhile. The
   * mode `auto` seals, or copies where a seal is refused. `method` and `consistency` of the result say how
   * the snapshot was taken.
   *
   * With `durable` the snapshot is on disk when this resolves. After an error nothing has changed, except
   * that the snapshot of a mounted container stays where `durable` cannot bring it to disk.
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
  async list({ container, ...labels }: ListSnapshotsOptions = {}): Promise<Snapshot[]> {
    const snapshots = await this.#parts.snapshots();
    const all = await snapshots.list();
    const line = container === undefined ? all : snapshots.lineOf(await this.#container(container), all);
    return line.filter((snapshot) => matchesLabels(snapshot.labels, labels));
  }

  /**
   * Returns the snapshot with this id, beginning of an id, or name.
   * @throws {@link LayerstackError} ERR_SNAPSHOT_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_STORE_CORRUPT.
   */
  async get(ref: SnapshotRef): Promise<Snapshot> {
    return typeof ref === 'string' ? (await this.#parts.snapshots()).resolve(ref) : ref;
  }

  /**
   * Returns how much disk a snapshot uses. Its uppers are measured once and remembered.
   * @throws {@link LayerstackError} ERR_SNAPSHOT_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_STORE_CORRUPT.
   */
  async size(ref: SnapshotRef): Promise<SnapshotSize> {
    return (await this.#parts.snapshots()).size(await this.get(ref));
  }

  /**
   * Returns how much disk each snapshot uses, by its id. Each upper is measured once and remembered.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT.
   */
  async sizes(): Promise<ReadonlyMap<string, SnapshotSize>> {
    const snapshots = await this.#parts.snapshots();
    return snapshots.sizes(await snapshots.list());
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
    const from = await this.#given(source);
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
   * Puts a container in the place of another one, from which it was forked: `onto` gets the files of
   * `child`, and keeps its id, its name and its path. Of several forks the first one wins. Even after a
   * crash `onto` has its old files or those of the child. If `child` is
   * a container, it is sealed first, and stays.
   * @returns the snapshot that is now below `onto`
   * @throws {@link LayerstackError} ERR_CONFLICT when `onto` was changed since the fork,
   *   ERR_INVALID_ARGUMENT for the same container or another image, ERR_CONTAINER_NOT_FOUND,
   *   ERR_SNAPSHOT_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_CONTAINER_MOUNTED, ERR_LAYER_DEPTH,
   *   ERR_STORE_UNSUPPORTED, ERR_STORE_CORRUPT, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
   */
  async promote(child: ForkSource, { onto, signal }: PromoteOptions): Promise<Snapshot> {
    const { events } = this.#parts;
    const source = await this.#given(child);
    const target = await this.#container(onto);
    const { snapshot, taken } = await (await this.#parts.snapshots()).promote(source, target, signal);
    if (taken) events.snapshot('create', snapshot);
    events.container('promote', target, { snapshot: snapshot.id });
    return snapshot;
  }

  /**
   * Lists the changes that lead from one snapshot or container to another one of the same image, sorted,
   * with the kinds of `docker diff`. With one argument: the changes in it since the snapshot or image
   * directly below it. Walks only the uppers that are not shared. Containers may be mounted.
   * @throws {@link LayerstackError} ERR_SNAPSHOT_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_INVALID_ARGUMENT for
   *   different images, ERR_UPPER_CHANGED, ERR_UPPER_UNSUPPORTED, ERR_STORE_CORRUPT.
   */
  async diff(from: ForkSource, to?: ForkSource): Promise<Change[]> {
    const { compare } = await import('./late/snapshots.ts');
    const [first, second] = [await this.#given(from), to === undefined ? undefined : await this.#given(to)];
    const { root, layers } = this.#parts;
    return second === undefined
      ? compare(root, layers, first, undefined)
      : compare(root, layers, second, first);
  }

  /**
   * Makes one snapshot of a run of snapshots: of `from`, of `to` above it, and of those between. Its files
   * are hard links to theirs. Idle containers directly above the old snapshots are put on the new one. All
   * other containers and snapshots stay as they are. Old snapshots that nothing needs any more are removed.
   * The new one is on disk when this resolves. After an error nothing has changed.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where `from` is not below `to`, or for a bad name,
   *   ERR_SNAPSHOT_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_SNAPSHOT_NAME_IN_USE, ERR_UPPER_UNSUPPORTED,
   *   ERR_STORE_CORRUPT, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
   */
  async squash(from: SnapshotRef, to: SnapshotRef, options: SquashOptions = {}): Promise<Snapshot> {
    const { events } = this.#parts;
    const [lowest, topmost] = [await this.get(from), await this.get(to)];
    const { snapshot, removed } = await (await this.#parts.snapshots()).squash(lowest, topmost, options);
    events.snapshot('squash', snapshot);
    for (const each of removed) events.snapshot('destroy', each);
    return snapshot;
  }

  /**
   * Makes an image of a snapshot, as `store.containers.commit` does of a container. Each snapshot below
   * becomes a layer too. Resolves with the image's id when the image is durable. After an error the store
   * is as it was.
   * @throws {@link LayerstackError} ERR_SNAPSHOT_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_REFERENCE_INVALID,
   *   ERR_INVALID_ARGUMENT for a malformed change, ERR_IMAGE_NOT_FOUND, ERR_UPPER_UNSUPPORTED,
   *   ERR_STORE_CORRUPT, ERR_LAYER_DEPTH, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
   */
  async commit(ref: SnapshotRef, options: CommitOptions & NameOptions = {}): Promise<ImageID> {
    const name = newImageName(options);
    const { commitSnapshot } = await import('./late/snapshots.ts');
    const snapshot = await this.get(ref);
    const id = await this.#parts.reclaiming(
      timed('commit', 'total', () => commitSnapshot(this.#parts, snapshot, name, options)),
    );
    const imageRef = name && formatReference(name);
    if (imageRef !== undefined) await this.#parts.imageEvents.emit('tag', id, imageRef);
    const comment = options.message ?? '';
    this.#parts.events.snapshot('commit', snapshot, { comment, imageID: id, imageRef: imageRef ?? '' });
    return id;
  }

  /**
   * Removes a snapshot. Its files are deleted in the background: `store.close` waits for it.
   * @throws {@link LayerstackError} ERR_SNAPSHOT_NOT_FOUND for a name, ERR_SNAPSHOT_IN_USE when a container
   *   or another snapshot depends on it, ERR_STORE_CORRUPT when damage hides whether one does, ERR_ABORTED,
   *   ERR_STORE_READ_ONLY.
   */
  async remove(ref: SnapshotRef, { signal }: Pick<SnapshotOptions, 'signal'> = {}): Promise<void> {
    await this.#parts.removeSnapshot(await this.get(ref), signal);
  }

  #remounted(container: Container, generation: number): void {
    this.#parts.events.container('remount', container, { generation: String(generation) });
  }

  async #container(ref: ContainerRef): Promise<Container> {
    return typeof ref === 'string' ? this.#parts.containers.resolve(ref) : ref;
  }

  async #given(ref: ForkSource): Promise<Snapshot | Container> {
    return typeof ref === 'string' ? this.#source(ref) : ref;
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
    checkArguments(this.prototype, 'store.snapshots', signatures);
  }
}
