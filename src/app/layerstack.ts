/**
 * The facade: one opened store, and its operations by noun. `images`, `containers` and `registry` take names
 * as callers write them (references, names, short ids), report events to the listeners of the store, and
 * leave the work to the rooms below. A module that only some calls need is imported by these calls (late/),
 * so that `layerstack images` starts quickly.
 */
import { checkArguments } from '../core/arguments.ts';
import { LayerstackError } from '../core/errors.ts';
import type { StoreFinding } from '../core/store-finding.ts';
import { NamedObjects } from '../container/named-objects.ts';
import type { Orphan, OrphanOptions } from '../rwlayer/orphans.ts';
import { useAddon } from '../system/addon.ts';
import type { Capabilities } from '../system/caps.ts';
import { DEFAULT_ROOT } from '../system/environment.ts';
import { Root } from '../system/root.ts';
import { Archives } from './archives.ts';
import { Containers } from './containers.ts';
import { diskUsage, type DiskUsage } from './disk-usage.ts';
import type { Finding } from './doctor.ts';
import type { EventsOptions, RecordedEvent } from './event-reader.ts';
import type { FsckOptions } from './fsck.ts';
import { Images } from './images.ts';
import type { OpenOptions } from './open-options.ts';
import type { ScrubOptions } from './scrub.ts';
import { readScrub, type ScrubStatus } from './scrub-status.ts';
import { signatures } from './signatures/store.ts';
import { Snapshots } from './snapshots.ts';
import type { StoreListener } from './store-events.ts';
import { StoreParts, type CloseOptions } from './store-parts.ts';
import { StoreRegistry } from './store-registry.ts';

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
  /** Root file systems of containers, kept as they were at one moment. */
  readonly snapshots: Snapshots;
  readonly registry: StoreRegistry;
  /** Image archives as root file systems, in place. */
  readonly archives: Archives;
  /** The names of networks that clients have made. The store knows nothing else about them. */
  readonly networks: NamedObjects;
  /** The names of volumes that clients have made. The store knows nothing else about them. */
  readonly volumes: NamedObjects;

  private constructor(root: Root) {
    this.#parts = new StoreParts(root);
    this.images = new Images(this.#parts);
    this.containers = new Containers(this.#parts);
    this.snapshots = new Snapshots(this.#parts);
    this.registry = new StoreRegistry(this.#parts);
    this.archives = new Archives(this.#parts);
    this.networks = new NamedObjects(root, 'networks');
    this.volumes = new NamedObjects(root, 'volumes');
  }

  /**
   * Opens a store. Several processes may have it open. dockerd must not run on it, unless all of them have it
   * open read-only.
   * @throws {@link LayerstackError} ERR_STORE_LOCKED while dockerd runs on the root, ERR_NOT_ROOT without
   *   CAP_SYS_ADMIN, ERR_STORE_UNSUPPORTED where the file system lacks something that overlay2 needs,
   *   ERR_INVALID_ARGUMENT for a bad root, ERR_STORE_UNSAFE for a root that others can write to, ERR_ADDON
   *   where the native addon cannot be loaded.
   */
  static async open(options: OpenOptions = {}): Promise<Layerstack> {
    const { root = DEFAULT_ROOT, readOnly = false, allowUnsafeRoot = false, log, addon } = options;
    // open({ root: process.env.UNSET_BUT_EMPTY }) must not open some other store.
    if (root === '')
      throw new LayerstackError(
        'ERR_INVALID_ARGUMENT',
        "the store's root is empty: use open({ root: '/var/lib/layerstack' })",
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

  /**
   * Reports what this machine and the store at `root` can do, even if the store cannot be opened. Changes
   * nothing.
   */
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

  /** What the kernel and the file system can do, as probed when the store was opened. */
  get capabilities(): Capabilities {
    return this.#parts.root.caps;
  }

  /**
   * Calls `listener` for each event of this opened store, as `docker events` shows it, until the returned
   * function is called. {@link events} also yields the events of other processes on the same root.
   * @example
   * ```ts
   * const stop = store.onEvent(({ type, action, id }) => console.log(type, action, id));
   * ```
   */
  onEvent(listener: StoreListener): () => void {
    return this.#parts.events.listen(listener);
  }

  /**
   * Yields the events of every process that has the store open for writing. With `since` it begins with the
   * events from then on, as far back as the journal of the store reaches (the latest mebibyte). Ends at
   * `until`. What dockerd does on the root is not included.
   * @throws {@link LayerstackError} (while iterating) ERR_INVALID_ARGUMENT for a bad time, ERR_ABORTED.
   * @example
   * ```ts
   * for await (const { type, action, id } of store.events({ since: '10m' })) console.log(type, action, id);
   * ```
   */
  async *events(options: EventsOptions = {}): AsyncGenerator<RecordedEvent, void, undefined> {
    const { readEvents } = await import('./event-reader.ts');
    yield* readEvents(this.#parts.root.layout, options);
  }

  /**
   * Returns how much disk images, containers and snapshots use. Sizes of layers come from their metadata;
   * sizes of containers are measured.
   */
  usage(): Promise<DiskUsage> {
    return diskUsage(this.#parts);
  }

  /**
   * Checks layers, images and containers, and yields what is wrong as it is found. With `repair` it makes
   * those repairs that lose nothing a user may want. Others may use the store at the same time.
   * @throws {@link LayerstackError} (while iterating) ERR_STORE_READ_ONLY for repairs of a store that is open
   *   read-only, ERR_ABORTED.
   * @example
   * ```ts
   * for await (const { severity, path, message } of store.fsck({ deep: true }))
   *   console.log(severity, path, message);
   * ```
   */
  async *fsck(options: FsckOptions = {}): AsyncGenerator<StoreFinding, void, undefined> {
    const { fsck } = await import('./fsck.ts');
    const { root, layers, images } = this.#parts;
    const repositories = () => this.registry.repositories();
    yield* fsck({ root, layers, images, repositories }, options);
  }

  /**
   * Lists the directories of `overlay2` that no layer, container, snapshot, writer or BuildKit snapshot
   * explains, the largest first, and removes those that cannot hold anybody's work. With `force` it also
   * removes those that may hold work. Mounted ones, and those below a directory that stays, are never
   * removed. Not synced.
   * @throws {@link LayerstackError} ERR_STORE_READ_ONLY unless it is a dry run, ERR_ABORTED.
   * @example
   * ```ts
   * for (const { path, size, reason } of await store.pruneOrphans({ dryRun: true }))
   *   console.log(path, size, reason);
   * ```
   */
  async pruneOrphans(options: OrphanOptions = {}): Promise<Orphan[]> {
    const { orphans } = await import('./orphans.ts');
    const { root, layers } = this.#parts;
    return orphans(root, layers, options);
  }

  /**
   * Reads all content at a bounded rate, and yields the findings of a deep {@link fsck}, without repairs. It
   * continues an interrupted scrub after the last layer that was read to its end. `layerstack/scrub.json` has
   * this place. It is written even if the store is open read-only.
   * @throws {@link LayerstackError} (while iterating) ERR_STORE_LOCKED while another scrub reads the store,
   *   ERR_INVALID_ARGUMENT for a bad rate, ERR_ABORTED.
   * @example
   * ```ts
   * for await (const { severity, path } of store.scrub({ rate: 20 * 1024 * 1024 }))
   *   console.log(severity, path);
   * ```
   */
  async *scrub(options: ScrubOptions = {}): AsyncGenerator<StoreFinding, void, undefined> {
    const { scrub } = await import('./scrub.ts');
    const { root, layers, images } = this.#parts;
    yield* scrub({ root, layers, images, repositories: () => this.registry.repositories() }, options);
  }

  /** Returns the progress of the current scrub, and the findings of the last complete one. */
  async scrubStatus(): Promise<ScrubStatus> {
    return readScrub(this.#parts.root.layout);
  }

  /** @see Layerstack.diagnose */
  doctor(): Promise<Finding[]> {
    return Layerstack.diagnose(this.root);
  }

  /**
   * Announces a temporary file at an absolute path. If this process dies before the result is disposed, the
   * next writer of this store removes the file. This is for any file that is renamed to its place when it is
   * complete. Its name must begin with `.tmp-`. In a store that cannot be written (open read-only, or on a
   * full disk) this does nothing.
   */
  announceTemporary(path: string): Promise<AsyncDisposable> {
    return this.#parts.announceTemporary(path);
  }

  /**
   * Destroys the streams that are still being read, waits for work in the background, and releases the root.
   * The work is deletions, and the settling of images with the form `auto`. `signal` ends the settling.
   * Mounts stay. A second call does nothing.
   */
  close(options: CloseOptions = {}): Promise<void> {
    return this.#parts.close(options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  static {
    checkArguments(this, 'Layerstack', signatures);
    checkArguments(this.prototype, 'store', signatures);
  }
}
