/**
 * The facade: one opened store and what can be done with it, by noun. `images`, `containers` and `registry` name things
 * as callers do (references, names, short ids), tell the store's listeners what was done, and leave the work to the
 * rooms below. What only some calls need is imported when it is called (late/), so that `layerstack images` starts
 * quickly.
 */
import { checkArguments } from '../core/arguments.ts';
import { LayerstackError } from '../core/errors.ts';
import type { StoreFinding } from '../core/store-finding.ts';
import { NamedObjects } from '../container/named-objects.ts';
import type { ContainerUsage } from '../container/store.ts';
import type { ImageUsage } from '../image/store.ts';
import { useAddon } from '../system/addon.ts';
import type { Capabilities } from '../system/caps.ts';
import type { Logger } from '../system/log.ts';
import { Root } from '../system/root.ts';
import { Archives } from './archives.ts';
import { Containers } from './containers.ts';
import type { Finding } from './doctor.ts';
import { readEvents, type EventsOptions, type RecordedEvent } from './event-journal.ts';
import type { FsckOptions } from './fsck.ts';
import { Images } from './images.ts';
import { SIGNATURES } from './signatures/store.ts';
import type { StoreListener } from './store-events.ts';
import { StoreParts } from './store-parts.ts';
import { StoreRegistry } from './store-registry.ts';

/** Where the store is when nobody says otherwise. */
export const DEFAULT_ROOT = '/var/lib/layerstack';

export interface OpenOptions {
  /** The store's directory, made when missing; Docker's own (`/var/lib/docker`) works too. */
  readonly root?: string | undefined;
  /** Writes nothing, and so works beside a running dockerd. Default false. */
  readonly readOnly?: boolean | undefined;
  /**
   * Opens a root that others than root can write to, or rename: they can make root read and write anything. Default
   * false: such a root is refused (ERR_STORE_UNSAFE).
   */
  readonly allowUnsafeRoot?: boolean | undefined;
  /**
   * Default: `NODE_DEBUG=layerstack`. A change that has happened resolves, also where something after it fails: a
   * warning that begins with `done, but` says what.
   */
  readonly log?: Logger | undefined;
  /**
   * File of the native addon, where it is neither in the package nor named by `LAYERSTACK_ADDON`, as in a bundled
   * program. A process loads one: the first `open` that names it decides.
   */
  readonly addon?: string | undefined;
}

/** What a store takes on disk, in the terms of docker's API; sizes in bytes. */
export interface DiskUsage extends ImageUsage {
  readonly Containers: readonly ContainerUsage[];
}

/**
 * An opened store.
 *
 * @example
 * ```ts
 * const store = await Layerstack.open({ root: '/var/lib/layerstack' });
 * try {
 *   await store.images.load('alpine.tar');
 *   const container = await store.containers.create('alpine:latest', { name: 'build' });
 *   const mount = await store.containers.mount(container);
 *   console.log(await readFile(`${mount.path}/etc/os-release`, 'utf8'));
 *   await mount.unmount();
 *   await store.containers.remove(container);
 * } finally {
 *   await store.close();
 * }
 * ```
 */
export class Layerstack implements AsyncDisposable {
  readonly #parts: StoreParts;
  readonly images: Images;
  readonly containers: Containers;
  readonly registry: StoreRegistry;
  /** Image archives as root file systems, in place. */
  readonly archives: Archives;
  /** Networks that clients have made: their names, nothing else. */
  readonly networks: NamedObjects;
  /** Volumes that clients have made: their names, nothing else. */
  readonly volumes: NamedObjects;

  private constructor(root: Root) {
    this.#parts = new StoreParts(root);
    this.images = new Images(this.#parts);
    this.containers = new Containers(this.#parts);
    this.registry = new StoreRegistry(this.#parts);
    this.archives = new Archives(root);
    this.networks = new NamedObjects(root, 'networks');
    this.volumes = new NamedObjects(root, 'volumes');
  }

  /**
   * Opens a store. Several processes may have it open; dockerd must not, except beside a read-only one.
   * @throws {@link LayerstackError} ERR_STORE_LOCKED while dockerd runs on the root, ERR_NOT_ROOT without
   *   CAP_SYS_ADMIN, ERR_STORE_UNSUPPORTED where the file system lacks something that overlay2 needs,
   *   ERR_INVALID_ARGUMENT for a bad root, ERR_STORE_UNSAFE for one that others can write to, ERR_ADDON where the native
   *   addon cannot be loaded.
   */
  static async open(options: OpenOptions = {}): Promise<Layerstack> {
    const { root = DEFAULT_ROOT, readOnly = false, allowUnsafeRoot = false, log, addon } = options;
    // open({ root: process.env.UNSET_BUT_EMPTY }) must not open some other store.
    if (root === '')
      throw new LayerstackError(
        'ERR_INVALID_ARGUMENT',
        "the store's root is no path: use open({ root: '/var/lib/layerstack' })",
      );
    if (addon !== undefined) useAddon(addon);
    const store = new Layerstack(await Root.open(root, { readOnly, allowUnsafeRoot, ...(log && { log }) }));
    if (!readOnly) {
      await store.#parts.resume();
      for (const objects of [store.networks, store.volumes]) await objects.resume();
      await store.archives.resume();
    }
    return store;
  }

  /** Reports what this machine and the store at `root` can do, also where it cannot be opened. Changes nothing. */
  static async diagnose(root: string = DEFAULT_ROOT): Promise<Finding[]> {
    const { diagnose } = await import('./doctor.ts');
    return diagnose(root);
  }

  /** The store's directory: absolute and canonical. */
  get root(): string {
    return this.#parts.root.layout.root;
  }

  get readOnly(): boolean {
    return this.#parts.root.readOnly;
  }

  /** What kernel and file system can do, as it was tried when the store was opened. */
  get capabilities(): Capabilities {
    return this.#parts.root.caps;
  }

  /**
   * Calls `listener` with each thing that is done through this store, as `docker events` shows it, until the returned
   * function is called. What other processes do on the same root is among {@link events} only.
   * @example
   * ```ts
   * const stop = store.onEvent(({ type, action, id }) => console.log(type, action, id));
   * ```
   */
  onEvent(listener: StoreListener): () => void {
    return this.#parts.events.listen(listener);
  }

  /**
   * Yields what is done to the store, by every process that has it open for writing. With `since`, begins with the
   * events from then on, as far back as the store's journal reaches (the latest mebibyte). Ends at `until`. What
   * dockerd does on the root is not among them.
   * @throws {@link LayerstackError} (while iterating) ERR_INVALID_ARGUMENT for a bad time, ERR_ABORTED.
   * @example
   * ```ts
   * for await (const { type, action, id } of store.events({ since: '10m' })) console.log(type, action, id);
   * ```
   */
  async *events(options: EventsOptions = {}): AsyncGenerator<RecordedEvent, void, undefined> {
    yield* readEvents(this.#parts.root.layout, options);
  }

  /** Returns what images and containers take on disk. Layers' sizes come from their metadata, containers' are counted. */
  async usage(): Promise<DiskUsage> {
    const { images, containers } = this.#parts;
    const Containers = await containers.usage();
    const users = Containers.map(({ container, active }) => ({
      containerId: container.id,
      imageId: container.imageId,
      running: active,
    }));
    const parents = Containers.flatMap(({ container }) => container.parent ?? []);
    return { ...(await images.usage(users, parents)), Containers };
  }

  /**
   * Checks layers, images and containers, and yields what is wrong as it is found. With `repair` it repairs what can be
   * repaired without losing anything that somebody may want. Others may use the store meanwhile.
   * @throws {@link LayerstackError} (while iterating) ERR_STORE_READ_ONLY for repairs of a store that is open read-only,
   *   ERR_ABORTED.
   * @example
   * ```ts
   * for await (const { severity, path, message } of store.fsck({ deep: true })) console.log(severity, path, message);
   * ```
   */
  async *fsck(options: FsckOptions = {}): AsyncGenerator<StoreFinding, void, undefined> {
    const { fsck } = await import('./fsck.ts');
    yield* fsck(this.#parts, options);
  }

  /** @see Layerstack.diagnose */
  doctor(): Promise<Finding[]> {
    return Layerstack.diagnose(this.root);
  }

  /**
   * Makes the next writer of this store remove the file at `path`, absolute, if this process dies before the result is
   * disposed. It is for a file that is renamed to its place when it is complete, whatever it holds. Its name must begin
   * with `.tmp-`. A store that cannot be written (it is open read-only, its disk is full) notes nothing.
   */
  async announceTemporary(path: string): Promise<AsyncDisposable> {
    const { root } = this.#parts;
    try {
      return await root.session().temporary(path);
    } catch (error) {
      root.log.debug('a temporary file is not noted', { path, error });
      return { [Symbol.asyncDispose]: () => Promise.resolve() };
    }
  }

  /**
   * Destroys the streams that are still being read, waits for deletions in the background, and releases the root.
   * Mounts stay. A second call does nothing.
   */
  close(): Promise<void> {
    return this.#parts.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  static {
    checkArguments(this, 'Layerstack', SIGNATURES);
    checkArguments(this.prototype, 'store', SIGNATURES);
  }
}
