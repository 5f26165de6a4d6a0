/** The snapshots of one store. snapshot.ts explains them. */
import { isHex64 } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { readDocuments } from '../container/fork.ts';
import { readContainer, rwLayerOf, type Container } from '../container/record.ts';
import { isActive, type ContainerStore } from '../container/store.ts';
import { newOverlayId } from '../layer/overlay.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import { lowerOf, overlayOf, sealedBelow, targetOf } from '../rwlayer/sealed.ts';
import type { Root } from '../system/root.ts';
import { Deletions } from './deletions.ts';
import { noteExpiry, parseExpiry } from './expire.ts';
import { Flats, flatsOf, removeFlats } from './flatten.ts';
import { checkForkOptions, forkSnapshot, namesOf, removed, sealedOf, type ForkOptions } from './fork.ts';
import { nameKeys, requireFreeName } from './names.ts';
import { promote, type Promoted } from './promote.ts';
import { readRecord, recordIds } from './record.ts';
import { removeSnapshot, titleOf } from './remove.ts';
import { putOnTop } from './rollback.ts';
import { checkStack, seal, stackToSeal } from './seal.ts';
import { settleAll } from './settle.ts';
import { SnapshotSizes } from './sizes.ts';
import type { Snapshot, SnapshotSize } from './snapshot.ts';
import { squash, type Squashed, type SquashOptions } from './squash.ts';

export type { SquashOptions } from './squash.ts';
export type { ForkOptions } from './fork.ts';

export interface SnapshotOptions {
  /** Unique among the snapshots of the store: letters, digits, `_`, `.` and `-`. Default: none. */
  readonly name?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /**
   * When the next writer or `prune` removes the snapshot, unless something needs it then: a duration from now
   * (`1h`), a date, or seconds since 1970. Default: never.
   */
  readonly expires?: string | undefined;
  /**
   * Resolves only when the snapshot and everything in it are on disk. Without it, a power cut may take what
   * was written last, as in the container itself. Default false.
   */
  readonly durable?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface RollbackOptions {
  /** Takes a snapshot of what the container has first. Default false: it is deleted. */
  readonly keep?: boolean | undefined;
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
   * Takes a snapshot of a container that is not mounted or in use. The container keeps the same files, and
   * can be used further. After an error nothing has changed.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_CONTAINER_MOUNTED, ERR_SNAPSHOT_NAME_IN_USE,
   *   ERR_INVALID_ARGUMENT for a bad name, ERR_LAYER_DEPTH, ERR_UNSUPPORTED, ERR_STORE_UNSUPPORTED,
   *   ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
   */
  async create(container: Container, options: SnapshotOptions = {}): Promise<Snapshot> {
    const { name, signal } = options;
    this.#root.session();
    await using _locks = await this.#root.locks.acquireAll('containers', [container.id, ...nameKeys(name)], {
      signal,
    });
    await this.#requireFree(name);
    return await this.#seal(await this.#idle(container), options);
  }

  /** Returns all snapshots, the oldest first. A record that cannot be read is left to fsck. */
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

  /** Does {@link size} for many, whose parents come before their children. Reads each upper once. */
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

  /** Returns those of the snapshots that were taken of the container, and those below it and them. */
  lineOf(container: Container, all: readonly Snapshot[]): Snapshot[] {
    const { layout } = this.#root;
    const ids = new Set(sealedBelow(layout, rwLayerOf(container)).map((name) => overlayOf(layout, name)));
    for (const { id, containerId } of all) if (containerId === container.id) ids.add(id);
    // A parent is always older, so one pass from the newest finds all.
    for (const { id, parent } of [...all].reverse()) if (ids.has(id) && parent !== undefined) ids.add(parent);
    return all.filter(({ id }) => ids.has(id));
  }

  /**
   * Puts a container back to a snapshot of the same image. Its id, its name and its path stay. A kill leaves
   * what it had or the snapshot. What it had is deleted in the background.
   * @returns the snapshot of what it had, with `keep`
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_CONTAINER_MOUNTED, ERR_SNAPSHOT_NOT_FOUND,
   *   ERR_INVALID_ARGUMENT for a snapshot of another image, ERR_LAYER_DEPTH, ERR_STORE_UNSUPPORTED,
   *   ERR_STORE_CORRUPT, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
   */
  async rollback(
    container: Container,
    snapshot: Snapshot,
    { keep = false, signal }: RollbackOptions = {},
  ): Promise<Snapshot | undefined> {
    const { locks, layout } = this.#root;
    this.#root.session();
    await using base = await this.#containers.rwLayers.base(snapshot.layer, signal);
    await using _locks = await locks.acquireAll('containers', [container.id, snapshot.id], { signal });
    if (!(await readRecord(layout, snapshot.id))) throw removed(snapshot);
    const current = await this.#idle(container);
    if (current.parent !== snapshot.layer)
      throw new LayerstackError(
        'ERR_INVALID_ARGUMENT',
        `${titleOf(snapshot)} belongs to another image than container ${current.name} does: fork the snapshot instead`,
        { id: snapshot.id },
      );
    const layer = rwLayerOf(current);
    const sealed = sealedOf(this.#root, snapshot, base.lowers.length);
    checkStack(this.#root, layer, sealed.length + base.lowers.length);
    const kept = keep ? await this.#seal(current, {}) : undefined;
    const { away, markers } = await putOnTop(this.#root, layer, { sealed, base: base.lowers });
    this.#deletions.later(markers, [layout.overlay(away)]);
    return kept;
  }

  /** @see promote */
  promote(child: Container | Snapshot, onto: Container, signal?: AbortSignal): Promise<Promoted> {
    const parts = {
      ...{ root: this.#root, containers: this.#containers, deletions: this.#deletions },
      seal: (container: Container) => this.#seal(container, {}),
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
  async remove(snapshot: Snapshot, signal?: AbortSignal): Promise<boolean> {
    const { layout } = this.#root;
    const [below] = lowerOf(layout, snapshot.id);
    const next = snapshot.depth > 1 && below !== undefined ? targetOf(layout, below) : undefined;
    const flats = await flatsOf(layout, snapshot.id, next);
    const removed = await removeSnapshot(this.#root, this.#deletions, snapshot, signal);
    if (removed) await removeFlats(this.#root, this.#deletions, flats);
    return removed;
  }

  /** Settles what dead writers have left. */
  resume(): Promise<void> {
    return settleAll(this.#root);
  }

  /** Waits for the merges and deletions in the background. */
  async drain(): Promise<void> {
    await this.#flats.drain();
    await this.#deletions.drain();
  }

  /** Seals the upper. The caller holds the container's lock, and that of the name. */
  async #seal(
    container: Container,
    { name, labels = {}, expires, durable = false }: SnapshotOptions,
  ): Promise<Snapshot> {
    const layer: RwLayer = rwLayerOf(container);
    const height = sealedBelow(this.#root.layout, layer).length;
    using short = await this.#flats.shorten(() => stackToSeal(this.#root, layer), height);
    const { stack } = short;
    const snapshot: Snapshot = {
      id: newOverlayId(),
      name,
      labels,
      created: new Date().toISOString(),
      expires: expires === undefined ? undefined : parseExpiry(expires),
      parent: stack.parent,
      depth: stack.sealed.length + 1,
      containerId: container.id,
      containerName: container.name,
      imageId: container.imageId,
      imageName: container.imageName,
      layer: container.parent,
    };
    const documents = readDocuments(this.#root.layout, container.id);
    await noteExpiry(this.#root, snapshot);
    await seal(this.#root, layer, { record: { snapshot, documents }, stack, durable });
    this.#flats.later(snapshot);
    return snapshot;
  }

  /**
   * Returns the container as it is now, under its lock. No process uses its root file system.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_CONTAINER_MOUNTED.
   */
  async #idle({ id, name }: Container): Promise<Container> {
    const container = readContainer(this.#root.layout, id);
    if (!container)
      throw new LayerstackError('ERR_CONTAINER_NOT_FOUND', `container ${name} was removed`, { id });
    const { rwLayers } = this.#containers;
    const layer = rwLayerOf(container);
    const refuse = (why: string): LayerstackError =>
      new LayerstackError('ERR_CONTAINER_MOUNTED', `container ${container.name} ${why}`, {
        ...{ id, path: rwLayers.mountPath(layer) },
      });
    if (await rwLayers.isMounted(layer)) throw refuse('is mounted: unmount it first');
    if (isActive(container)) throw refuse(`is ${container.state}: stop it first`);
    if (this.#root.caps.mountMethod !== 'flat' && (await rwLayers.isInUse(layer)))
      throw refuse(
        'is still in use, by a process in another mount namespace or one that was there before a forced ' +
          'unmount: stop that process first',
      );
    return container;
  }

  async #requireFree(name: string | undefined): Promise<void> {
    if (name !== undefined) requireFreeName(await this.list(), name);
  }
}
