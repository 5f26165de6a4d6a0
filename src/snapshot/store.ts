/** The snapshots of one store. snapshot.ts explains them. */
import { isHex64 } from '../core/digest.ts';
import { LayerstackError, undefinedIf } from '../core/errors.ts';
import { readContainer, rwLayerOf, type Container } from '../container/record.ts';
import type { ContainerStore } from '../container/store.ts';
import { newOverlayId } from '../layer/overlay.ts';
import { overlayOf, sealedBelow } from '../rwlayer/sealed.ts';
import { requireNobody } from '../rwlayer/users.ts';
import type { Root } from '../system/root.ts';
import { Deletions } from './deletions.ts';
import { Flats } from './flatten.ts';
import { checkForkOptions, forkSnapshot, namesOf, removed, sealedOf, type ForkOptions } from './fork.ts';
import { flatOf } from './merged-uppers.ts';
import { nameKeys, requireFreeName } from './names.ts';
import { checkSnapshotOptions, type SnapshotOptions } from './options.ts';
import { promote, type Promoted } from './promote.ts';
import { readRecord, recordIds } from './record.ts';
import { removeFlats, removeSnapshot, titleOf } from './remove.ts';
import { putOnTop } from './rollback.ts';
import { resumeSnapshots } from './resume.ts';
import { SnapshotSizes } from './sizes.ts';
import type { Snapshot, SnapshotSize } from './snapshot.ts';
import { squash, type Squashed, type SquashOptions } from './squash.ts';
import { checkStack } from './stack.ts';
import { requireIdle, takeSnapshot } from './take.ts';

export type { SquashOptions } from './squash.ts';
export type { ForkOptions } from './fork.ts';
export type { SnapshotMode, SnapshotOptions } from './options.ts';

export interface RollbackOptions {
  /** First takes a snapshot of the container's current files. Default false: these files are deleted. */
  readonly keep?: boolean | undefined;
  /**
   * Rolls back even while processes work in the mounted container. They keep the old files until these are
   * deleted. Their writes fail with EROFS, or are lost in files that are open for writing. Default false.
   */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class SnapshotStore {
  readonly #root: Root;
  readonly #containers: ContainerStore;
  readonly #deletions: Deletions;
  readonly #flats: Flats;
  readonly #sizes: SnapshotSizes;

  constructor(root: Root, containers: ContainerStore) {
    this.#root = root;
    this.#containers = containers;
    this.#deletions = new Deletions(root);
    this.#flats = new Flats(root, containers);
    this.#sizes = new SnapshotSizes(root, containers.rwLayers);
  }

  /**
   * Takes a snapshot of a container, by the first way that its users allow (take.ts). The container keeps the
   * same files, and can be used further. After an error nothing has changed, except that the snapshot of a
   * mounted container stays where `durable` cannot bring it to disk.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_CONTAINER_BUSY, ERR_CONTAINER_MOUNTED,
   *   ERR_SNAPSHOT_NAME_IN_USE, ERR_INVALID_ARGUMENT for a bad name, ERR_LAYER_DEPTH, ERR_UNSUPPORTED,
   *   ERR_STORE_UNSUPPORTED, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
   */
  async create(container: Container, options: SnapshotOptions = {}): Promise<Snapshot> {
    const { name, signal } = options;
    this.#root.session();
    checkSnapshotOptions(options);
    const keys = [container.id, ...nameKeys(name)];
    await resumeSnapshots(this.#root); // a container must not be sealed on top of what a dead writer has begun
    await using _locks = await this.#root.locks.acquireAll('containers', keys, { signal });
    await this.#requireFree(name);
    return await this.#take(this.#current(container), options);
  }

  /** Returns all snapshots, the oldest first. Leaves out records that cannot be read; fsck reports them. */
  async list(): Promise<Snapshot[]> {
    const { layout } = this.#root;
    const found: Snapshot[] = [];
    for (const id of await recordIds(layout)) {
      try {
        const record = await readRecord(layout, id);
        if (record && record.flattens === undefined) found.push(record.snapshot);
      } catch (error) {
        if (!LayerstackError.is(error, 'ERR_STORE_CORRUPT')) throw error;
        this.#root.log.warn('a snapshot is left out', { id, error: error.message });
      }
    }
    return found
      .sort((a, b) => a.depth - b.depth)
      .sort((a, b) => Date.parse(a.created) - Date.parse(b.created));
  }

  /**
   * Returns the snapshot with this id, name, or prefix of an id; undefined when none fits.
   * @throws {@link LayerstackError} ERR_ID_AMBIGUOUS, ERR_STORE_CORRUPT.
   */
  async find(idOrName: string): Promise<Snapshot | undefined> {
    if (isHex64(idOrName)) {
      const record = await readRecord(this.#root.layout, idOrName);
      return record?.flattens === undefined ? record?.snapshot : undefined;
    }
    const all = await this.list();
    const named = all.find(({ name }) => name === idOrName);
    if (named || !/^[0-9a-f]{1,63}$/.test(idOrName)) return named;
    const fitting = all.filter(({ id }) => id.startsWith(idOrName));
    if (fitting.length <= 1) return fitting[0];
    throw new LayerstackError(
      'ERR_ID_AMBIGUOUS',
      `${idOrName} begins the ids of ${fitting.length} snapshots: give more digits`,
      { id: idOrName },
    );
  }

  /** Does {@link find}. @throws {@link LayerstackError} ERR_SNAPSHOT_NOT_FOUND, too. */
  async resolve(idOrName: string): Promise<Snapshot> {
    const found = await this.find(idOrName);
    if (found) return found;
    throw new LayerstackError(
      'ERR_SNAPSHOT_NOT_FOUND',
      `snapshot ${JSON.stringify(idOrName)} does not exist: \`layerstack snapshots\` lists them`,
      { id: idOrName },
    );
  }

  /**
   * Returns the sizes of a snapshot: bytes of files and links, hard links once. Measures each upper once.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT.
   */
  size(snapshot: Snapshot): Promise<SnapshotSize> {
    return this.#sizes.of(snapshot);
  }

  /** Returns the sizes of several snapshots, of which parents come first. Reads each upper once. */
  sizes(all: readonly Snapshot[]): Promise<Map<string, SnapshotSize>> {
    return this.#sizes.ofAll(all);
  }

  /** @see forkSnapshot */
  fork(snapshot: Snapshot, options: ForkOptions = {}): Promise<Container[]> {
    return forkSnapshot(this.#root, this.#containers, snapshot, options);
  }

  /**
   * Checks the options of a fork, and that its names are free, before a snapshot is taken for it.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT, ERR_CONTAINER_NAME_IN_USE.
   */
  async checkFork(options: ForkOptions): Promise<void> {
    checkForkOptions(options);
    for (const name of namesOf(options)) if (name !== undefined) await this.#containers.requireFreeName(name);
  }

  /** Returns the snapshots of the container, and those that it or they stand on. */
  lineOf(container: Container, all: readonly Snapshot[]): Snapshot[] {
    const { layout } = this.#root;
    const ids = new Set(sealedBelow(layout, rwLayerOf(container)).map((name) => overlayOf(layout, name)));
    for (const { id, containerId } of all) if (containerId === container.id) ids.add(id);
    // A parent is always older, so one pass from the newest finds all.
    for (const { id, parent } of [...all].reverse()) if (ids.has(id) && parent !== undefined) ids.add(parent);
    return all.filter(({ id }) => ids.has(id));
  }

  /**
   * Puts a container back to a snapshot of the same image. Its id, its name and its path stay. After a kill
   * the container has its old files or the snapshot's. The old files are deleted in the background. A mount
   * stays at its path.
   * @returns the snapshot of the old files, with `keep`
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_CONTAINER_BUSY when processes work in it,
   *   ERR_CONTAINER_MOUNTED, ERR_SNAPSHOT_NOT_FOUND, ERR_INVALID_ARGUMENT for a snapshot of another image,
   *   ERR_LAYER_DEPTH, ERR_STORE_UNSUPPORTED, ERR_STORE_CORRUPT, ERR_NO_SPACE, ERR_ABORTED,
   *   ERR_STORE_READ_ONLY.
   */
  async rollback(
    container: Container,
    snapshot: Snapshot,
    { keep = false, force = false, signal }: RollbackOptions = {},
  ): Promise<Snapshot | undefined> {
    const { locks, layout } = this.#root;
    const { rwLayers } = this.#containers;
    this.#root.session();
    await resumeSnapshots(this.#root);
    await using base = await rwLayers.base(snapshot.layer, signal);
    await using _locks = await locks.acquireAll('containers', [container.id, snapshot.id], { signal });
    if (!(await readRecord(layout, snapshot.id))) throw removed(snapshot);
    const current = this.#current(container);
    await requireIdle(this.#root, rwLayers, current);
    if (current.parent !== snapshot.layer)
      throw new LayerstackError(
        'ERR_INVALID_ARGUMENT',
        `${titleOf(snapshot)} belongs to another image than container ${current.name} does: fork the snapshot instead`,
        { id: snapshot.id },
      );
    const layer = rwLayerOf(current);
    const sealed = sealedOf(this.#root, snapshot, base.lowers.length);
    checkStack(this.#root, layer, sealed.length + base.lowers.length);
    if (!force && (await rwLayers.isMounted(layer))) await requireNobody(this.#root, layer);
    const kept = keep ? await this.#take(current, { mode: 'seal' }) : undefined;
    const away = newOverlayId();
    const replacement = await rwLayers.replacement(layer, away);
    const markers = await putOnTop(this.#root, layer, { away, sealed, base, replacement, force });
    this.#deletions.later(markers, [layout.overlay(away)]);
    return kept;
  }

  /** @see promote */
  promote(child: Container | Snapshot, onto: Container, signal?: AbortSignal): Promise<Promoted> {
    const parts = {
      ...{ root: this.#root, containers: this.#containers, deletions: this.#deletions },
      seal: (container: Container) => this.#take(container, { mode: 'seal' }),
      idle: (container: Container) => this.#idle(container),
    };
    return promote(parts, child, onto, signal);
  }

  /** @see squash */
  squash(from: Snapshot, to: Snapshot, options: SquashOptions = {}): Promise<Squashed> {
    const parts = {
      ...{ root: this.#root, containers: this.#containers, deletions: this.#deletions },
      idle: (container: Container) => this.#idle(container),
      requireFree: (name: string | undefined) => this.#requireFree(name),
    };
    return squash(parts, from, to, options);
  }

  /** @see removeSnapshot */
  remove(snapshot: Snapshot, signal?: AbortSignal): Promise<boolean> {
    return removeSnapshot(this.#root, this.#deletions, snapshot, signal);
  }

  /** Completes or undoes the snapshots of dead writers, and removes merged uppers that nothing refers to. */
  async resume(): Promise<void> {
    await resumeSnapshots(this.#root);
    const { layout } = this.#root;
    for (const id of await recordIds(layout)) {
      const flattens = (await undefinedIf(readRecord(layout, id), 'ERR_STORE_CORRUPT'))?.flattens;
      if (flattens !== undefined && flatOf(layout, flattens) !== id)
        await removeFlats(this.#root, this.#deletions, [id]);
    }
  }

  /** Waits for the merges and deletions in the background. */
  async drain(): Promise<void> {
    await this.#flats.drain();
    await this.#deletions.drain();
  }

  /** Takes a snapshot. The caller holds the container's lock, and that of the name. */
  #take(container: Container, options: SnapshotOptions): Promise<Snapshot> {
    return takeSnapshot(this.#root, this.#containers, this.#flats, { container, options });
  }

  /**
   * Returns a container as it is now, under its lock. No process uses its root file system.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_CONTAINER_MOUNTED.
   */
  async #idle(container: Container): Promise<Container> {
    const current = this.#current(container);
    const { rwLayers } = this.#containers;
    const layer = rwLayerOf(current);
    if (await rwLayers.isMounted(layer))
      throw new LayerstackError(
        'ERR_CONTAINER_MOUNTED',
        `container ${current.name} is mounted: unmount it first`,
        { id: current.id, path: rwLayers.mountPath(layer) },
      );
    await requireIdle(this.#root, rwLayers, current);
    return current;
  }

  /**
   * Returns the container as it is now, under its lock.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND.
   */
  #current({ id, name }: Container): Container {
    const container = readContainer(this.#root.layout, id);
    if (container) return container;
    throw new LayerstackError('ERR_CONTAINER_NOT_FOUND', `container ${name} was removed`, { id });
  }

  async #requireFree(name: string | undefined): Promise<void> {
    if (name !== undefined) requireFreeName(await this.list(), name);
  }
}
