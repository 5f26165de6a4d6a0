/**
 * `store.containers`: makes, lists, mounts and removes containers. container-contents.ts reads and writes
 * their content.
 */
import { throwIfAborted } from '../core/abort.ts';
import { checkArguments } from '../core/arguments.ts';
import { LayerstackError } from '../core/errors.ts';
import { formatReference, parseReference, withDefaultTag } from '../core/reference.ts';
import type { Bundle, BundleOptions } from '../container/bundle.ts';
import type { Endpoints } from '../container/documents.ts';
import type { ContainerInspect } from '../container/inspect.ts';
import type { Mount, MountOptions, UnmountOptions } from '../container/mount.ts';
import type { Container } from '../container/record.ts';
import type { RunResult } from '../container/run/options.ts';
import type { RunOptions } from '../container/run/run.ts';
import type {
  ContainerPruneFilters,
  ContainerPruneResult,
  ContainerSize,
  CreateOptions,
  RemoveOptions,
} from '../container/store.ts';
import { ContainerContents, type ContainerRef } from './container-contents.ts';
import { signatures } from './signatures/containers.ts';
import type { StoreParts } from './store-parts.ts';

const late = () => import('./late/containers.ts');

/**
 * A container that was just made. Disposing it removes it, and unmounts it first, even if other processes
 * have mounted it or have files open in it. Disposing a container that was removed already does nothing.
 */
export interface NewContainer extends Container, AsyncDisposable {}

/**
 * The containers of a store, including those that dockerd made.
 *
 * @example
 * ```ts
 * const container = await store.containers.create('alpine:latest', { name: 'build' });
 * const mount = await store.containers.mount(container);
 * console.log(await readFile(`${mount.path}/etc/os-release`, 'utf8'));
 * await mount.unmount();
 * await store.containers.remove(container);
 * ```
 */
export class Containers extends ContainerContents {
  readonly #parts: StoreParts;

  /** @internal */
  constructor(parts: StoreParts) {
    super(parts);
    this.#parts = parts;
  }

  /**
   * Makes a container: an empty writable layer on the image. Atomic. With `durable` the container is on disk
   * when this resolves. Without, a power cut right afterwards may lose the empty container.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, ERR_CONTAINER_NAME_IN_USE, ERR_INVALID_ARGUMENT,
   *   ERR_UNSUPPORTED for a key of the host config that no bundle can carry, ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * await using container = await store.containers.create('alpine:latest'); // gone at the end of the block
   * await using mount = await store.containers.mount(container);
   * await writeFile(`${mount.path}/etc/motd`, 'hello');
   * ```
   */
  async create(image: string, options: CreateOptions = {}): Promise<NewContainer> {
    return this.#disposable(await this.#create(image, options));
  }

  async #create(image: string, options: CreateOptions, withId?: string): Promise<Container> {
    throwIfAborted(options.signal);
    const { images, containers, events } = this.#parts;
    const id = await images.resolve(image);
    try {
      const named = { imageName: imageName(image, id), ...options };
      const container = await containers.create(id, named, withId);
      events.container('create', container);
      return container;
    } catch (error) {
      // A missing layer is not damage of the store if its image was deleted meanwhile: `resolve` then reports
      // that.
      if (LayerstackError.is(error) && error.kind === 'data-loss') await images.resolve(id);
      throw error;
    }
  }

  /**
   * Makes a container, runs its command in an OCI runtime, and unmounts the container when the command has
   * ended. If this process dies, the command continues. When it has ended, the next writer that opens the
   * store unmounts the container, and with `remove` also removes it.
   * @throws {@link LayerstackError} the errors of {@link create} and {@link bundle}; ERR_RUNTIME_NOT_FOUND,
   *   ERR_RUNTIME where the runtime cannot start the container, ERR_COMMAND_NOT_FOUND and ERR_COMMAND_DENIED
   *   where it cannot start the command; ERR_ABORTED.
   * @example
   * ```ts
   * const { status } = await store.containers.run('alpine:latest', { command: ['true'], remove: true });
   * ```
   */
  async run(image: string, options: RunOptions = {}): Promise<RunResult> {
    throwIfAborted(options.signal);
    const { runContainer } = await late();
    const { root } = this.#parts;
    root.session();
    return runContainer(
      root,
      {
        create: (create, id) => this.#create(image, create, id),
        mount: (container) => this.mount(container),
        isMounted: (container) => this.isMounted(container),
        unmount: (container) => this.unmount(container),
        remove: (container, how) => this.remove(container, how),
      },
      options,
    );
  }

  /** Returns all containers, newest first. */
  list(): Promise<Container[]> {
    return this.#parts.containers.list();
  }

  /**
   * Returns what `docker container inspect` shows of a container.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_ID_AMBIGUOUS.
   */
  async inspect(ref: ContainerRef): Promise<ContainerInspect> {
    const { inspectContainer } = await late();
    return inspectContainer(this.#parts.root.layout, await this.get(ref));
  }

  /**
   * Mounts a container's root file system. The mount outlives this process; each `mount` needs its `unmount`.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_CONTAINER_MOUNTED, ERR_STORE_CORRUPT,
   *   ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * await using mount = await store.containers.mount('build');
   * await writeFile(`${mount.path}/etc/motd`, 'hello');
   * ```
   */
  async mount(ref: ContainerRef, options: MountOptions = {}): Promise<Mount> {
    const { containers, events } = this.#parts;
    const container = await this.get(ref);
    const mount = await containers.mount(container, options);
    events.container('mount', container);
    let emitted = false;
    const unmount = async (): Promise<void> => {
      await mount.unmount();
      if (!emitted) events.container('unmount', container);
      emitted = true;
    };
    return { ...mount, unmount, [Symbol.asyncDispose]: unmount };
  }

  /**
   * Ends one use of a container's mount; the last one unmounts. Resolves with the number of remaining uses.
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED while files in it are in use, unless forced.
   */
  async unmount(ref: ContainerRef, options: UnmountOptions = {}): Promise<number> {
    const container = await this.get(ref);
    const left = await this.#parts.containers.unmount(container, options);
    this.#parts.events.container('unmount', container);
    return left;
  }

  /** Returns whether a container's root file system is mounted. */
  async isMounted(ref: ContainerRef): Promise<boolean> {
    return this.#parts.containers.isMounted(await this.get(ref));
  }

  /**
   * Writes an OCI bundle of a container to `directory`, for `runc run --bundle`. The bundle has the settings
   * of the container's config and host config. Mounts the container unless it is mounted. The runtime needs
   * that mount until it has ended: {@link unmount} it then.
   * @throws {@link LayerstackError} ERR_USER_NOT_FOUND, ERR_CONFIG_INVALID without a command,
   *   ERR_PATH_NOT_FOUND and ERR_PATH_TYPE for a device or directory of the host, ERR_INVALID_ARGUMENT for a
   *   propagation that the host's mount does not allow, and what {@link mount} throws.
   */
  async bundle(ref: ContainerRef, directory: string, options: BundleOptions = {}): Promise<Bundle> {
    const { containerBundle, writeBundle } = await late();
    const { root, containers, events } = this.#parts;
    const container = await this.get(ref);
    const source = containerBundle(root, container);
    const existing = await containers.mounted(container);
    if (existing) return writeBundle(source, existing, directory, options);
    const mount = await containers.mountForProcess(container);
    try {
      const bundle = await writeBundle(source, mount, directory, options);
      await mount.keep();
      events.container('mount', container);
      return bundle;
    } catch (error) {
      await mount.unmount();
      throw error;
    }
  }

  /**
   * Gives a container another name. After a crash, the container has either the old name or the new one.
   * @throws {@link LayerstackError} ERR_CONTAINER_NAME_IN_USE, ERR_INVALID_ARGUMENT for a bad name or the one
   *   it has, ERR_CONTAINER_NOT_FOUND, ERR_STORE_READ_ONLY.
   */
  async rename(ref: ContainerRef, name: string): Promise<void> {
    const container = await this.get(ref);
    const renamed = await this.#parts.containers.rename(container, name);
    this.#parts.events.container('rename', renamed, { oldName: `/${container.name}` });
  }

  /**
   * Returns how much disk a container uses. Reads its whole writable layer.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_ID_AMBIGUOUS.
   */
  async size(ref: ContainerRef): Promise<ContainerSize> {
    return this.#parts.containers.size(await this.get(ref));
  }

  /**
   * Records that a container joins a network when it runs, with docker's `EndpointSettings`. Durable.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_STORE_READ_ONLY.
   */
  async connect(ref: ContainerRef, network: string, settings: Endpoints[string] = {}): Promise<void> {
    await this.#parts.containers.connect(await this.get(ref), network, settings);
  }

  /**
   * Records that a container does not join a network.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where it did not join it, ERR_CONTAINER_NOT_FOUND,
   *   ERR_STORE_READ_ONLY.
   */
  async disconnect(ref: ContainerRef, network: string): Promise<void> {
    await this.#parts.containers.disconnect(await this.get(ref), network);
  }

  /**
   * Removes a container and all that was written in it. Its files are deleted in the background:
   * `store.close` waits for it.
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED unless forced, ERR_CONTAINER_NOT_FOUND for a name.
   */
  async remove(ref: ContainerRef, options: RemoveOptions = {}): Promise<void> {
    const { containers, events } = this.#parts;
    const container = await this.get(ref);
    if (await containers.remove(container, options)) events.container('destroy', container);
  }

  /**
   * Removes every container that neither runs nor is mounted and that fits the filters.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a bad filter, ERR_STORE_READ_ONLY.
   */
  async prune(
    filters: ContainerPruneFilters = {},
    { signal }: Pick<RemoveOptions, 'signal'> = {},
  ): Promise<ContainerPruneResult> {
    const { containers, events } = this.#parts;
    const onRemoved = (container: Container): void => events.container('destroy', container);
    const result = await containers.prune(filters, onRemoved, signal);
    events.prune('container', result.SpaceReclaimed);
    return result;
  }

  /**
   * Adds the method that disposes the container. It is not enumerable: a copy of the container, or its JSON,
   * holds data alone.
   */
  #disposable(container: Container): NewContainer {
    const value = (): Promise<void> => this.remove(container, { force: true });
    return Object.defineProperty({ ...container }, Symbol.asyncDispose, { value }) as NewContainer;
  }

  static {
    checkArguments(this.prototype, 'store.containers', signatures);
  }
}

/**
 * Returns the image as `docker ps` shows it: the reference with its tag, or the id if the caller gave an id.
 */
function imageName(given: string, id: string): string {
  if (id.startsWith(given) || id.startsWith(`sha256:${given}`)) return id;
  return formatReference(withDefaultTag(parseReference(given)));
}
