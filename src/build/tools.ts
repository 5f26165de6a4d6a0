/** What all stages of a build share. */
import { findRuntime } from '../container/run/runtime.ts';
import { readHostConfig } from '../container/decodable.ts';
import type { HostConfig } from '../container/documents.ts';
import { hostSettings, type HostSettings } from '../container/spec/settings.ts';
import { refuseUnsupported, thisMachine } from '../container/spec/unsupported.ts';
import { validateCreate } from '../container/validate.ts';
import { namedVolumes } from '../container/volumes.ts';
import type { ProgressEvent } from '../core/progress.ts';
import type { ImageStore } from '../image/store.ts';
import { Slots } from '../layer/slots.ts';
import type { LayerStore } from '../layer/store.ts';
import type { RwLayerStore } from '../rwlayer/store.ts';
import type { Root } from '../system/root.ts';
import type { RegistrySettings } from '../transfer/registry/settings.ts';
import { ImageRoots } from './image-roots.ts';
import type { BuildOptions } from './options.ts';

/** The parts of a store that a build uses. */
export interface BuildStores {
  /** Reads the settings for registries, by which ADD downloads. */
  readonly settings: () => Promise<RegistrySettings>;
  readonly root: Root;
  readonly layers: LayerStore;
  readonly images: ImageStore;
  readonly rwLayers: RwLayerStore;
}

export class BuildTools implements BuildStores, AsyncDisposable {
  readonly settings: BuildStores['settings'];
  readonly root: Root;
  readonly layers: LayerStore;
  readonly images: ImageStore;
  readonly rwLayers: RwLayerStore;
  readonly roots: ImageRoots;
  readonly options: BuildOptions;
  /** Fires when the caller aborts the build, or a stage fails. */
  readonly signal: AbortSignal;
  readonly onProgress: ((event: ProgressEvent) => void) | undefined;
  readonly #host: HostConfig;
  readonly #slots: Slots;

  private constructor(stores: BuildStores, options: BuildOptions, signal: AbortSignal, host: HostConfig) {
    this.settings = stores.settings;
    this.root = stores.root;
    this.layers = stores.layers;
    this.images = stores.images;
    this.rwLayers = stores.rwLayers;
    this.roots = new ImageRoots(stores, signal);
    this.options = options;
    this.signal = signal;
    this.onProgress = options.onProgress;
    this.#host = host;
    this.#slots = new Slots(MAX_STEPS);
  }

  /**
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT, and ERR_UNSUPPORTED for a setting of RUN that is
   *   wrong, or that no bundle can carry.
   */
  static async make(stores: BuildStores, options: BuildOptions, signal: AbortSignal): Promise<BuildTools> {
    const host = readHostConfig({ ...options.hostConfig, NetworkMode: options.network ?? 'none' });
    await validateCreate({}, host);
    refuseUnsupported(host, thisMachine(namedVolumes(stores.root.layout)), {});
    return new BuildTools(stores, options, signal, host);
  }

  /** Does a step when fewer than {@link MAX_STEPS} others are under way. */
  step<T>(work: () => Promise<T>): Promise<T> {
    return this.#slots.run(this.signal, work);
  }

  /** Returns the settings of a RUN. A build without RUN needs no runtime. */
  hostSettings(network: string | undefined): HostSettings {
    return hostSettings({ ...this.#host, ...(network !== undefined && { NetworkMode: network }) });
  }

  /** @throws {@link LayerstackError} ERR_RUNTIME_NOT_FOUND */
  runtime(): string {
    return findRuntime(this.options.runtime);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.roots[Symbol.asyncDispose]();
  }
}

/** The steps that are made at the same time, each of another stage. */
const MAX_STEPS = 4;
