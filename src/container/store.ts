/**
 * Makes, lists, finds and removes containers. A container consists of
 *
 *   its RW layer, with its id as the key               see rwlayer/rwlayer.ts
 *   containers/<id>/{hostconfig.json,config.v2.json}   dockerd's documents, the latter last, by rename
 *   layerstack/names/<name>                            layerstack's index of names
 *
 * Neither making nor removing a container mounts anything. Only making a durable one syncs
 * (docs/architecture.md, "Durability").
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { throwIfAborted } from '../core/abort.ts';
import { isHex64, type ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import type { ImageStore, ImageUser } from '../image/store.ts';
import type { LayerStore } from '../layer/store.ts';
import type { Overlay } from '../layer/overlay.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import { overlayOf, sealedBelow } from '../rwlayer/sealed.ts';
import {
  RwLayerStore,
  type Mounted,
  type MountOptions,
  type OperationMount,
  type ProcessMount,
  type UnmountOptions,
} from '../rwlayer/store.ts';
import { listEntries } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import type { ContainerCreator, CreateOptions } from './create.ts';
import type { ForkOptions, ForkSource } from './fork.ts';
import type { Mount } from './mount.ts';
import { NameIndex } from './name-index.ts';
import { parseContainerName } from './names.ts';
import { pruneFilter, type ContainerPruneFilters, type ContainerPruneResult } from './prune.ts';
import { readContainer, rwLayerOf, type Container } from './record.ts';
import { ContainerRemover, type RemoveOptions } from './remove.ts';
import type { Endpoints } from './documents.ts';

export type { CreateOptions } from './create.ts';
export type { HostConfig } from './documents.ts';
export type { ContainerPruneFilters, ContainerPruneResult } from './prune.ts';
export type { RemoveOptions } from './remove.ts';

/** The size of a container's root file system: bytes of files and links, hard links once. */
export interface ContainerSize {
  /** The bytes written in the container. */
  readonly SizeRw: number;
  /** The same, plus what the snapshots below it have, plus the existing layers of its image. */
  readonly SizeRootFs: number;
}

/** The disk usage of one container. */
export interface ContainerUsage {
  readonly container: Container;
  /** Bytes of its RW layer. */
  readonly size: number;
  /** The same, plus the existing layers of its image. */
  readonly rootSize: number;
  /** The container runs, or is mounted. */
  readonly active: boolean;
  readonly mounted: boolean;
}

/** A listing yields to other work on the event loop after this many containers (about 3 ms). */
const SLICE = 32;

/** The containers of one store. */
export class ContainerStore {
  readonly #root: Root;
  readonly #images: ImageStore;
  readonly #layers: LayerStore;
  readonly #names: NameIndex;
  #creator: Promise<ContainerCreator> | undefined;
  readonly #remover: ContainerRemover;
  readonly #rwLayers: RwLayerStore;

  constructor(root: Root, layers: LayerStore, images: ImageStore, overlay: Overlay) {
    this.#root = root;
    this.#images = images;
    this.#layers = layers;
    this.#names = new NameIndex(root);
    const find = (id: string): RwLayer | undefined => {
      const container = readContainer(root.layout, id);
      return container && rwLayerOf(container);
    };
    this.#rwLayers = new RwLayerStore(root, layers, overlay, { find });
    this.#remover = new ContainerRemover(root, this.#rwLayers, this.#names);
  }

  /**
   * Makes a container of an image, atomically: a failure leaves nothing. It is durable on return only with
   * the option `durable`.
   * @param id - the id of the container; a random one by default
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, ERR_CONTAINER_NAME_IN_USE, ERR_INVALID_ARGUMENT for
   *   a bad name, ERR_STORE_READ_ONLY.
   */
  async create(image: ImageID, options: CreateOptions = {}, id?: string): Promise<Container> {
    return (await this.#create()).create(image, options, id);
  }

  /** @see ContainerCreator.fork */
  async fork(source: ForkSource, options: ForkOptions): Promise<Container> {
    return (await this.#create()).fork(source, options);
  }

  /** Most commands only list and find containers, so the modules that make them are imported here. */
  #create(): Promise<ContainerCreator> {
    this.#creator ??= import('./create.ts').then(
      ({ ContainerCreator }) => new ContainerCreator(this.#root, this.#images, this.#rwLayers, this.#names),
    );
    return this.#creator;
  }

  /** The RW layers of the store. Their owners are its containers. */
  get rwLayers(): RwLayerStore {
    return this.#rwLayers;
  }

  /** Returns all containers, the newest first, including those of dockerd. */
  async list(): Promise<Container[]> {
    const containers: Container[] = [];
    for (const [index, id] of (await this.#ids()).entries()) {
      if (index % SLICE === SLICE - 1) await nextTurn();
      const found = readContainer(this.#root.layout, id);
      if (found) containers.push(found);
    }
    return containers.sort((a, b) => Date.parse(b.created) - Date.parse(a.created));
  }

  /**
   * Returns the container with this id, name, or prefix of an id. Tries them in this order, as Docker does.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_ID_AMBIGUOUS.
   */
  async resolve(idOrName: string): Promise<Container> {
    const name = idOrName.startsWith('/') ? idOrName.slice(1) : idOrName;
    const found =
      (isHex64(name) ? readContainer(this.#root.layout, name) : undefined) ??
      (await this.#byName(name)) ??
      (await this.#byPrefix(name));
    if (!found)
      throw new LayerstackError(
        'ERR_CONTAINER_NOT_FOUND',
        `no container has the name or id ${JSON.stringify(idOrName)}: \`layerstack containers\` lists all`,
        { id: idOrName },
      );
    return found;
  }

  /**
   * Removes a container. On return, it no longer exists for any process, even after a crash. Its files are
   * deleted in the background, see {@link drain}. Does nothing for a removed container.
   * @returns whether the container existed
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED when it is mounted, unless forced.
   */
  async remove(container: Container, options: RemoveOptions = {}): Promise<boolean> {
    const wasThere = await this.#remover.remove(container, options);
    const { parent, imageId } = container;
    if (parent !== undefined)
      await this.#root.aftermath.run('layers of its image that nothing needs stay', () =>
        this.#images.release(imageId, parent),
      );
    return wasThere;
  }

  /** @see RwLayerStore.mount */
  async mount(container: Container, options?: MountOptions): Promise<Mount> {
    const mount = await this.#rwLayers.mount(rwLayerOf(container), options);
    return { ...mount, containerId: container.id };
  }

  /** @see RwLayerStore.mountForProcess */
  mountForProcess(container: Container, options?: MountOptions): Promise<ProcessMount> {
    return this.#rwLayers.mountForProcess(rwLayerOf(container), options);
  }

  /** @see RwLayerStore.mountForOperation */
  mountForOperation(container: Container, options?: MountOptions): Promise<OperationMount> {
    return this.#rwLayers.mountForOperation(rwLayerOf(container), options);
  }

  /** Completes the work of dead writers: {@link RwLayerStore.resume}, {@link NameIndex.resume}. */
  async resume(): Promise<void> {
    await this.#rwLayers.resume();
    await this.#names.resume();
  }

  /** @see RwLayerStore.unmount */
  unmount(container: Container, options?: UnmountOptions): Promise<number> {
    return this.#rwLayers.unmount(rwLayerOf(container), options);
  }

  /** @see RwLayerStore.mounted */
  mounted(container: Container): Promise<Mounted | undefined> {
    return this.#rwLayers.mounted(rwLayerOf(container));
  }

  isMounted(container: Container): Promise<boolean> {
    return this.#rwLayers.isMounted(rwLayerOf(container));
  }

  /** Returns every container as a user of its image. A mounted one counts as running. */
  async users(): Promise<ImageUser[]> {
    return Promise.all(
      (await this.list()).map(async (container) => ({
        containerId: container.id,
        imageId: container.imageId,
        running: await this.#isActive(container),
      })),
    );
  }

  /**
   * Returns the disk usage of every container: bytes of files and links, hard links once. Reads their whole
   * uppers.
   */
  async usage(): Promise<ContainerUsage[]> {
    const usages: ContainerUsage[] = [];
    for (const container of await this.list()) {
      const [size, mounted] = await Promise.all([this.size(container), this.isMounted(container)]);
      usages.push({
        container,
        size: size.SizeRw,
        rootSize: size.SizeRootFs,
        active: isActive(container) || mounted,
        mounted,
      });
    }
    return usages;
  }

  /** Returns the size of one container. Reads its whole upper. */
  async size(container: Container): Promise<ContainerSize> {
    const [SizeRw, below] = await Promise.all([
      this.#rwLayers.contentSize(container),
      this.#below(container),
    ]);
    return { SizeRw, SizeRootFs: SizeRw + below };
  }

  async #below(container: Container): Promise<number> {
    const { parent } = container;
    let sealed = 0;
    for (const mountId of this.#sealed(container)) sealed += await this.#rwLayers.contentSize({ mountId });
    if (parent === undefined) return sealed;
    try {
      return (await this.#layers.chain(parent)).reduce((sum, { size }) => sum + size, sealed);
    } catch (error) {
      if (LayerstackError.is(error, 'ERR_LAYER_NOT_FOUND')) return sealed;
      throw error;
    }
  }

  /** Returns the sealed uppers; none where they are unknown. One damaged container must not end a listing. */
  #sealed(container: Container): string[] {
    const { layout } = this.#root;
    try {
      return sealedBelow(layout, rwLayerOf(container)).map((name) => overlayOf(layout, name));
    } catch (error) {
      if (LayerstackError.is(error, 'ERR_STORE_CORRUPT')) return [];
      throw error;
    }
  }

  async #isActive(container: Container): Promise<boolean> {
    return isActive(container) || (await this.isMounted(container));
  }

  /**
   * Requires that a new container can have the name.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a bad name, ERR_CONTAINER_NAME_IN_USE.
   */
  async requireFreeName(text: string): Promise<void> {
    const name = parseContainerName(text);
    const holder = await this.#byName(name);
    if (holder)
      throw new LayerstackError(
        'ERR_CONTAINER_NAME_IN_USE',
        `container ${holder.id.slice(0, 12)} is called ${name} already: choose another name, or remove it`,
        { id: holder.id },
      );
  }

  /**
   * Renames a container. After a crash, it has either the old name or the new one.
   * @returns the container with its new name
   * @throws {@link LayerstackError} ERR_CONTAINER_NAME_IN_USE, ERR_INVALID_ARGUMENT for a bad name or the
   *   current one, ERR_CONTAINER_NOT_FOUND, ERR_STORE_READ_ONLY.
   */
  async rename(container: Container, name: string, signal?: AbortSignal): Promise<Container> {
    const { renameContainer } = await import('./rename.ts');
    return renameContainer(this.#root, this.#names, container, { name, signal });
  }

  /**
   * Notes that a container will join a network when it is started, with docker's `EndpointSettings`. Durable
   * on return.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_STORE_READ_ONLY.
   */
  async connect(container: Container, network: string, settings: Endpoints[string]): Promise<void> {
    const { connectNetwork } = await import('./networks.ts');
    return connectNetwork(this.#root, container, network, settings);
  }

  /**
   * Notes that a container will not join a network. Durable on return.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT when the container is not connected to the network,
   *   ERR_CONTAINER_NOT_FOUND, ERR_STORE_READ_ONLY.
   */
  async disconnect(container: Container, network: string): Promise<void> {
    const { disconnectNetwork } = await import('./networks.ts');
    return disconnectNetwork(this.#root, container, network);
  }

  /**
   * Removes the containers that neither run nor are mounted, and match the filters. Calls `onRemoved` for
   * each.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a bad filter, ERR_STORE_READ_ONLY.
   */
  async prune(
    filters: ContainerPruneFilters,
    onRemoved: (container: Container) => void,
    signal?: AbortSignal,
  ): Promise<ContainerPruneResult> {
    this.#root.session();
    const fits = pruneFilter(filters);
    const deleted: string[] = [];
    let reclaimed = 0;
    for (const container of await this.list()) {
      throwIfAborted(signal);
      if (!fits(container) || (await this.#isActive(container))) continue;
      const size = await this.#rwLayers.contentSize(container);
      try {
        if (!(await this.remove(container, { signal }))) continue;
      } catch (error) {
        // Another process has mounted it since the check.
        if (LayerstackError.is(error, 'ERR_CONTAINER_MOUNTED')) continue;
        throw error;
      }
      deleted.push(container.id);
      reclaimed += size;
      onRemoved(container);
    }
    return { ContainersDeleted: deleted, SpaceReclaimed: reclaimed };
  }

  /** Waits for the deletions of {@link remove}. */
  drain(): Promise<void> {
    return this.#remover.drain();
  }

  async #byName(name: string): Promise<Container | undefined> {
    if (name.includes('/')) return undefined;
    const id = this.#names.owner(name);
    if (id !== undefined) return readContainer(this.#root.layout, id);
    return (await this.list()).find((container) => container.name === name);
  }

  async #byPrefix(prefix: string): Promise<Container | undefined> {
    if (!/^[0-9a-f]{1,64}$/.test(prefix)) return undefined;
    const ids = (await this.#ids()).filter((id) => id.startsWith(prefix));
    const found = ids.flatMap((id) => readContainer(this.#root.layout, id) ?? []);
    if (found.length > 1)
      throw new LayerstackError(
        'ERR_ID_AMBIGUOUS',
        `${found.length} containers have ids that begin with ${prefix}: give more digits`,
        { id: prefix },
      );
    return found[0];
  }

  async #ids(): Promise<string[]> {
    const { layout } = this.#root;
    return (await listEntries(layout, layout.containers)).filter(isHex64);
  }
}

/**
 * Returns whether dockerd's last record says that the process runs. It may still run (dockerd's
 * live-restore).
 */
export function isActive({ state }: Container): boolean {
  return state === 'running' || state === 'paused' || state === 'restarting';
}
