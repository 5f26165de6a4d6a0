/** The RW layers of one store. rwlayer.ts explains them, and how an owner uses them. */
import type { ChainID } from '../core/digest.ts';
import { unlessMissing } from '../core/errors.ts';
import type { Overlay } from '../layer/overlay.ts';
import type { LayerStore } from '../layer/store.ts';
import { call, native, type BatchStep } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { isUpperInUse } from '../system/upper-in-use.ts';
import type { Marker } from '../system/session.ts';
import {
  Bases,
  createdParts,
  createMarkers,
  createSteps,
  type CreateSteps,
  type PinnedBase,
} from './create.ts';
import type { Lowers } from './lowers.ts';
import { MountPoint } from './mount-point.ts';
import {
  RwLayerMounts,
  type Mounted,
  type MountOptions,
  type ProcessMount,
  type RwLayerMount,
  type UnmountOptions,
} from './mounts.ts';
import { mountForOperation, type OperationMount } from './operation-mount.ts';
import { removalOf, type Removal } from './remove.ts';
import type { Replacement } from './replacement.ts';
import type { NewRwLayer, RwLayer, RwLayerOwners } from './rwlayer.ts';

export type { CreateSteps, PinnedBase } from './create.ts';
export type { Mounted, MountOptions, ProcessMount, RwLayerMount, UnmountOptions } from './mounts.ts';
export type { OperationMount } from './operation-mount.ts';
export type { Removal } from './remove.ts';
export type { Replacement } from './replacement.ts';

export class RwLayerStore {
  readonly #root: Root;
  readonly #overlay: Overlay;
  readonly #bases: Bases;
  readonly #mounts: RwLayerMounts;

  constructor(root: Root, layers: LayerStore, overlay: Overlay, owners: RwLayerOwners) {
    this.#root = root;
    this.#overlay = overlay;
    this.#bases = new Bases(root, layers, overlay);
    this.#mounts = new RwLayerMounts(root, layers, owners);
  }

  /**
   * Returns the base of an RW layer above these layers. The layers are pinned until the result is disposed.
   * After the steps of {@link createSteps}, the RW layer's entry keeps them.
   * @param parent - the topmost layer; undefined for an image without layers
   * @throws {@link LayerstackError} ERR_LAYER_NOT_FOUND, ERR_STORE_CORRUPT, ERR_ABORTED.
   */
  base(parent: ChainID | undefined, signal?: AbortSignal): Promise<PinnedBase> {
    return this.#bases.pin(parent, signal);
  }

  /**
   * Returns the steps that make an RW layer. All its names are new, so only an owner's own step can fail with
   * EEXIST.
   */
  createSteps(layer: NewRwLayer): CreateSteps {
    return createSteps(this.#root.layout, this.#overlay, layer);
  }

  /**
   * Returns the markers that the session holds during {@link createSteps}, in addition to the owner's marker,
   * which covers the entry.
   */
  createMarkers(layer: NewRwLayer): Marker[] {
    return createMarkers(layer);
  }

  /**
   * Removes the parts that {@link createSteps} made before a failure.
   * @param markers - those of the RW layer and its owner, which are removed last
   * @param steps - the owner's own steps in the same batch
   */
  async discard(layer: NewRwLayer, markers: readonly Marker[], steps: readonly BatchStep[]): Promise<void> {
    const { layout } = this.#root;
    const { trees, links } = createdParts(layout, layer);
    for (const tree of trees) await call(native.removeTree(layout.root, tree));
    await this.#root.session().unmark(markers, [...links, ...steps]);
  }

  /** Returns the removal of an RW layer that is not mounted. The caller holds its lock. */
  removal(layer: RwLayer): Removal {
    return removalOf(this.#root.layout, layer);
  }

  /** Returns the path of the root file system while it is mounted. */
  mountPath(layer: RwLayer): string {
    return new MountPoint(this.#root, layer).path;
  }

  isMounted(layer: RwLayer): Promise<boolean> {
    return this.#mounts.isMounted(layer);
  }

  /** @see isUpperInUse */
  isInUse(layer: RwLayer): Promise<boolean> {
    return isUpperInUse(this.#root, layer);
  }

  /**
   * Returns what replaces the mount by one of the directory `beside` in overlay2; undefined when it is not
   * mounted. The caller holds the RW layer's lock.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT when another file system is mounted there.
   */
  replacement(layer: RwLayer, beside: string): Promise<Replacement | undefined> {
    return this.#mounts.replacement(layer, beside);
  }

  /**
   * Opens the lowers for a mount.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT.
   */
  lowers(layer: RwLayer, signal?: AbortSignal): Promise<Lowers> {
    return this.#mounts.lowers(layer, signal);
  }

  /** Returns the mount without adding a use; undefined when it is not mounted. */
  mounted(layer: RwLayer): Promise<Mounted | undefined> {
    return this.#mounts.mounted(layer);
  }

  /**
   * Mounts the root file system, or adds a use to its mount.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND when its owner was removed meanwhile,
   *   ERR_STORE_READ_ONLY when the store is open read-only, ERR_CONTAINER_MOUNTED when it is mounted
   *   read-only and a writable mount is requested, ERR_STORE_CORRUPT when a layer directory is missing.
   */
  mount(layer: RwLayer, options: MountOptions = {}): Promise<RwLayerMount> {
    return this.#mounts.mount(layer, options);
  }

  /**
   * Does {@link mount} for a use that ends with this process, unless it is kept. If the process dies, or
   * `unmount` fails, the next writer gives the use back. A failed `unmount` is logged and not thrown, since
   * the work of the use is done by then.
   */
  mountForProcess(layer: RwLayer, options: MountOptions = {}): Promise<ProcessMount> {
    return this.#mounts.mountForProcess(layer, options);
  }

  /**
   * Does {@link mountForProcess} until the result is disposed. Until then other processes cannot unmount,
   * except by force.
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED when others unmount it again and again; the errors
   *   of {@link mount}.
   */
  mountForOperation(layer: RwLayer, options: MountOptions = {}): Promise<OperationMount> {
    return mountForOperation(this.#mounts, layer, options);
  }

  /**
   * Gives back one use; the last one unmounts. Resolves with the number of remaining uses. Does nothing when
   * the root file system is not mounted.
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED when files in it are in use, unless forced.
   */
  unmount(layer: RwLayer, options: UnmountOptions = {}): Promise<number> {
    return this.#mounts.unmount(layer, options);
  }

  /** Does {@link unmount} for a caller that holds the RW layer's lock. */
  unmountLocked(layer: RwLayer, force: boolean): Promise<number> {
    return this.#mounts.unmountLocked(layer, force);
  }

  /**
   * Gives back the uses of dead processes. A failed unmount is logged, and the mount stays.
   */
  resume(): Promise<void> {
    return this.#mounts.resume();
  }

  /** Returns the bytes of the upper's files and links, hard links once. Reads the whole upper. */
  async contentSize({ mountId }: Pick<RwLayer, 'mountId'>): Promise<number> {
    const { layout } = this.#root;
    return (await unlessMissing(call(native.contentSize(layout.at(layout.overlay(mountId, 'diff')))))) ?? 0;
  }
}
