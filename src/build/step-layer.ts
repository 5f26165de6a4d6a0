/**
 * The RW layer of one step of a build (rwlayer/rwlayer.ts, "A build step"). The session marks it as long as
 * the step lasts, so after a kill the next writer unmounts and removes it. A step without a layer below
 * needs no mount: its root file system is its upper.
 */
import { topChainId } from '../core/digest.ts';
import type { ImageConfig } from '../image/config.ts';
import { newRwLayer, withoutInit, type NewRwLayer } from '../rwlayer/rwlayer.ts';
import type { OperationMount, ProcessMount, RwLayerStore } from '../rwlayer/store.ts';
import type { Layout } from '../system/layout.ts';
import { call, native, type BatchStep } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';

export interface StepStores {
  readonly root: Root;
  readonly rwLayers: RwLayerStore;
}

export interface StepLayerOptions {
  /** 64 hex digits. */
  readonly id: string;
  /** In messages, e.g. `step 3`. */
  readonly owner: string;
  /** The image below; undefined for `scratch`. */
  readonly image: ImageConfig | undefined;
  /** Adds the files that a runtime needs, which do not count as changes. */
  readonly runs: boolean;
  /** A directory to make with its parents, unless the image has it. */
  readonly directory?: string | undefined;
  readonly signal: AbortSignal | undefined;
}

export class StepLayer implements AsyncDisposable {
  readonly #stores: StepStores;
  readonly #layer: NewRwLayer;
  readonly #markers: readonly Marker[];
  #mount: AsyncDisposable | undefined;

  private constructor(stores: StepStores, layer: NewRwLayer, markers: readonly Marker[]) {
    this.#stores = stores;
    this.#layer = layer;
    this.#markers = markers;
  }

  /**
   * Makes the RW layer. Nothing of it is durable.
   * @throws {@link LayerstackError} ERR_LAYER_NOT_FOUND, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
   */
  static async make(stores: StepStores, options: StepLayerOptions): Promise<StepLayer> {
    const { id, owner, image, runs, directory, signal } = options;
    const { root, rwLayers } = stores;
    const session = root.session();
    await using base = await rwLayers.base(topChainId(image?.diffIds ?? []), signal);
    const whole = newRwLayer({ key: id, owner }, base);
    const layer = runs ? whole : withoutInit(whole);
    const markers: Marker[] = [...rwLayers.createMarkers(layer), `container.${id}`];
    const made = new StepLayer(stores, layer, markers);
    const { init, own } = rwLayers.createSteps(layer);
    // The volumes of the step are in the container's directory.
    const volumes = { op: 'mkdir', path: root.layout.container(id), mode: 0o710 } as const;
    try {
      await session.mark(markers, [
        { op: 'together', first: init, second: [...own, volumes] },
        ...directorySteps(root.layout, layer, directory),
      ]);
      return made;
    } catch (error) {
      await made[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The changes of the step: an absolute directory. */
  get upper(): string {
    return this.#stores.root.layout.at(this.#stores.root.layout.overlay(this.#layer.mountId, 'diff'));
  }

  /** Mounts the root file system for a runtime, until the RW layer is disposed. */
  async mountForRuntime(): Promise<ProcessMount> {
    const mount = await this.#stores.rwLayers.mountForProcess(this.#layer);
    this.#mount = mount;
    return mount;
  }

  /** Mounts the root file system for this process, until the RW layer is disposed, and returns its path. */
  async open({ readOnly = false }: { readonly readOnly?: boolean } = {}): Promise<string> {
    if (this.#layer.lowers.length === 0 && this.#layer.initId === undefined) return this.upper;
    const mount: OperationMount = await this.#stores.rwLayers.mountForOperation(this.#layer, { readOnly });
    this.#mount = mount;
    return mount.path;
  }

  /** Unmounts and removes the RW layer. What cannot be removed stays marked for the next writer. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { root, rwLayers } = this.#stores;
    await root.aftermath.run('parts of a build step stay until the next writer removes them', async () => {
      await this.#mount?.[Symbol.asyncDispose]();
      await call(native.removeTree(root.layout.root, root.layout.container(this.#layer.key)));
      await rwLayers.discard(this.#layer, this.#markers, []);
    });
  }
}

/** Nothing is mounted, so the steps need the base, which is open meanwhile. */
function directorySteps(layout: Layout, layer: NewRwLayer, path: string | undefined): BatchStep[] {
  if (path === undefined || path === '/') return [];
  const { mountId, lowers, directories = lowers } = layer;
  const below = directories.map((directory) => layout.lower(directory));
  return [
    {
      ...{ op: 'makeDirectory', root: layout.root, lowers: below, path },
      upper: layout.overlay(mountId, 'diff'),
    },
  ];
}
