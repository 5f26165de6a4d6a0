/**
 * The facade: one opened store with all that can be done with it. It owns the stores below it and their
 * lifetime, names things as callers do (references, names, short ids), and adds nothing of its own. What only some
 * callers need (archives, the doctor) is imported when it is called, so that `layerstack images` starts quickly.
 */
import { throwIfAborted } from '../core/abort.ts';
import { LayerstackError } from '../core/errors.ts';
import { formatReference, parseReference, withDefaultTag } from '../core/reference.ts';
import { writeBundle, type Bundle, type BundleOptions } from '../container/bundle.ts';
import { inspectContainer, type ContainerInspect } from '../container/inspect.ts';
import type { Mount, MountOptions, UnmountOptions } from '../container/mount.ts';
import type { Container } from '../container/record.ts';
import { ContainerStore, type CreateOptions, type RemoveOptions } from '../container/store.ts';
import { ImageStore, type ImageInspect, type ImageSummary } from '../image/store.ts';
import { LayerStore } from '../layer/store.ts';
import { Overlay } from '../layer/overlay.ts';
import type { Logger } from '../system/log.ts';
import { Root } from '../system/root.ts';
import type { LoadOptions, LoadResult } from '../transfer/archive/load.ts';
import type { Finding } from './doctor.ts';

/** Where the store is when nobody says otherwise. */
export const DEFAULT_ROOT = '/var/lib/layerstack';

export interface OpenOptions {
  /** The store's directory, made when missing; Docker's own (`/var/lib/docker`) works too. */
  readonly root?: string | undefined;
  /** Writes nothing, and so works beside a running dockerd. Default false. */
  readonly readOnly?: boolean | undefined;
  /** Default: `NODE_DEBUG=layerstack`. */
  readonly log?: Logger | undefined;
}

export interface ImageListOptions {
  /** Intermediate images too. Default false. */
  readonly all?: boolean | undefined;
}

/** A container, or anything that names one: its id, the beginning of it, or its name. */
export type ContainerRef = Container | string;

/**
 * An opened store.
 *
 * @example
 * ```ts
 * const store = await Layerstack.open({ root: '/var/lib/layerstack' });
 * try {
 *   await store.load('alpine.tar');
 *   const container = await store.create('alpine:latest', { name: 'build' });
 *   const mount = await store.mount(container);
 *   console.log(await readFile(`${mount.path}/etc/os-release`, 'utf8'));
 *   await mount.unmount();
 *   await store.remove(container);
 * } finally {
 *   await store.close();
 * }
 * ```
 */
export class Layerstack implements AsyncDisposable {
  readonly #root: Root;
  readonly #layers: LayerStore;
  readonly #images: ImageStore;
  readonly #containers: ContainerStore;

  private constructor(root: Root) {
    this.#root = root;
    this.#layers = new LayerStore(root);
    this.#images = new ImageStore(root, this.#layers);
    this.#containers = new ContainerStore(root, this.#layers, this.#images, new Overlay(root.layout));
  }

  /**
   * Opens a store. Several processes may have it open; dockerd must not, except beside a read-only one.
   * @throws {@link LayerstackError} ERR_STORE_LOCKED while dockerd runs on the root, ERR_NOT_ROOT without
   *   CAP_SYS_ADMIN, ERR_STORE_UNSUPPORTED where the file system lacks something that overlay2 needs,
   *   ERR_INVALID_ARGUMENT for a bad root.
   */
  static async open(options: OpenOptions = {}): Promise<Layerstack> {
    const { root = DEFAULT_ROOT, readOnly = false, log } = options;
    // JavaScript callers: open('/path') and open({ root: process.env.UNSET_BUT_EMPTY }) must not open some other store.
    if (typeof options !== 'object' || typeof root !== 'string' || root === '')
      throw new LayerstackError(
        'ERR_INVALID_ARGUMENT',
        "the store's root is no path: use open({ root: '/var/lib/layerstack' })",
      );
    return new Layerstack(await Root.open(root, { readOnly, ...(log && { log }) }));
  }

  /** Says what this machine and the store at `root` can do, also where it cannot be opened. Changes nothing. */
  static async diagnose(root: string = DEFAULT_ROOT): Promise<Finding[]> {
    const { diagnose } = await import('./doctor.ts');
    return diagnose(root);
  }

  /** The store's directory: absolute and canonical. */
  get root(): string {
    return this.#root.layout.root;
  }

  get readOnly(): boolean {
    return this.#root.readOnly;
  }

  /**
   * Loads the images of a docker-archive, OCI archive or OCI layout folder: a path, or the archive's bytes.
   * Resolves when they are durable. All or nothing: after an error the store is as it was.
   * @throws {@link LayerstackError} ERR_ARCHIVE_TRUNCATED, ERR_ARCHIVE_INVALID, ERR_ARCHIVE_MEMBER, ERR_MANIFEST_INVALID,
   *   ERR_CONFIG_INVALID, ERR_LAYER_COUNT, ERR_DIGEST_MISMATCH, ERR_REFERENCE_INVALID, ERR_LIMIT_EXCEEDED,
   *   ERR_LAYER_INVALID and its like, ERR_PLATFORM_NOT_FOUND, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * const { images } = await store.load(process.stdin, { onProgress: (event) => console.error(event) });
   * ```
   */
  async load(source: string | AsyncIterable<Uint8Array>, options: LoadOptions = {}): Promise<LoadResult> {
    const { load } = await import('../transfer/archive/load.ts');
    return load({ root: this.#root, layers: this.#layers, images: this.#images }, source, options);
  }

  /** The images, newest first, as `docker images` lists them. */
  images({ all = false }: ImageListOptions = {}): Promise<ImageSummary[]> {
    return this.#images.list({ all });
  }

  /**
   * All about an image, as `docker image inspect` says it.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS.
   */
  async inspect(image: string): Promise<ImageInspect> {
    return this.#images.inspect(await this.#images.resolve(image));
  }

  /**
   * Makes a container: an empty writable layer on the image. Atomic; not synced, since it is empty.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, ERR_CONTAINER_NAME_IN_USE, ERR_INVALID_ARGUMENT,
   *   ERR_STORE_READ_ONLY.
   */
  async create(image: string, options: CreateOptions = {}): Promise<Container> {
    throwIfAborted(options.signal);
    const id = await this.#images.resolve(image);
    return this.#containers.create(id, { imageName: imageName(image, id), ...options });
  }

  /** All containers, newest first, those that dockerd made too. */
  containers(): Promise<Container[]> {
    return this.#containers.list();
  }

  /**
   * The container that an id, the beginning of one, or a name means.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_ID_AMBIGUOUS.
   */
  async container(ref: ContainerRef): Promise<Container> {
    return typeof ref === 'string' ? this.#containers.resolve(ref) : ref;
  }

  /**
   * All about a container, as `docker container inspect` says it.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_ID_AMBIGUOUS.
   */
  async inspectContainer(ref: ContainerRef): Promise<ContainerInspect> {
    return inspectContainer(this.#root.layout, await this.container(ref));
  }

  /**
   * Mounts a container's root file system. The mount outlives this process; each `mount` needs its `unmount`.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_CONTAINER_MOUNTED, ERR_STORE_CORRUPT,
   *   ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * await using mount = await store.mount('build');
   * await writeFile(`${mount.path}/etc/motd`, 'hello');
   * ```
   */
  async mount(ref: ContainerRef, options: MountOptions = {}): Promise<Mount> {
    return this.#containers.mount(await this.container(ref), options);
  }

  /**
   * Gives back one use of a container's mount; the last one unmounts. Resolves with the uses left.
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED while files in it are in use, unless forced.
   */
  async unmount(ref: ContainerRef, options: UnmountOptions = {}): Promise<number> {
    return this.#containers.unmount(await this.container(ref), options);
  }

  /** Whether a container's root file system is mounted. */
  async isMounted(ref: ContainerRef): Promise<boolean> {
    return this.#containers.isMounted(await this.container(ref));
  }

  /**
   * Removes a container and all that was written in it. Its files are deleted in the background: {@link close} waits.
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED unless forced, ERR_CONTAINER_NOT_FOUND for a name.
   */
  async remove(ref: ContainerRef, options: RemoveOptions = {}): Promise<void> {
    await this.#containers.remove(await this.container(ref), options);
  }

  /**
   * Writes an OCI bundle of a container to `directory`, for `runc run --bundle`. Mounts the container unless it is
   * mounted; the runtime needs that mount until it has ended, so {@link unmount} it then.
   * @throws {@link LayerstackError} ERR_USER_NOT_FOUND, ERR_CONFIG_INVALID without a command, and what `mount` throws.
   */
  async bundle(ref: ContainerRef, directory: string, options: BundleOptions = {}): Promise<Bundle> {
    const container = await this.container(ref);
    const held = await this.#containers.mounted(container);
    const mount = held ?? (await this.#containers.mount(container));
    try {
      return await writeBundle(container, mount, directory, options);
    } catch (error) {
      if (!held) await this.#containers.unmount(container);
      throw error;
    }
  }

  /** @see Layerstack.diagnose */
  doctor(): Promise<Finding[]> {
    return Layerstack.diagnose(this.root);
  }

  /** Waits for deletions, gives the root free. Mounts stay. Second call: no-op. */
  async close(): Promise<void> {
    await this.#containers.settle();
    await this.#root.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The image as `docker ps` shows it: the reference with its tag, or the id where one was given. */
function imageName(given: string, id: string): string {
  if (id.startsWith(given) || id.startsWith(`sha256:${given}`)) return id;
  return formatReference(withDefaultTag(parseReference(given)));
}
