/**
 * The root file systems of images that steps read from (`COPY --from`), mounted until the end of the build.
 */
import type { ImageConfig } from '../image/config.ts';
import { newOverlayId } from '../layer/overlay.ts';
import { StepLayer, type StepStores } from './step-layer.ts';

export class ImageRoots implements AsyncDisposable {
  readonly #stores: StepStores;
  readonly #signal: AbortSignal;
  readonly #opened = new Map<string, Promise<{ readonly layer: StepLayer; readonly path: string }>>();

  constructor(stores: StepStores, signal: AbortSignal) {
    this.#stores = stores;
    this.#signal = signal;
  }

  /** Returns the root file system of an image: a path that is valid in this process. */
  async path(image: ImageConfig | undefined): Promise<string> {
    return (await this.#open(image, false)).path;
  }

  /** Returns the root file system of an image at a path that is valid in other processes too. */
  async sharedPath(image: ImageConfig | undefined): Promise<string> {
    return (await this.#open(image, true)).path;
  }

  #open(image: ImageConfig | undefined, shared: boolean): Promise<{ layer: StepLayer; path: string }> {
    const key = `${image?.id ?? ''} ${shared}`;
    const opening = this.#opened.get(key) ?? this.#mount(image, shared);
    this.#opened.set(key, opening);
    return opening;
  }

  async #mount(image: ImageConfig | undefined, shared: boolean): Promise<{ layer: StepLayer; path: string }> {
    const layer = await StepLayer.make(this.#stores, {
      ...{ id: newOverlayId(), owner: 'a source of the build', image, runs: false, signal: this.#signal },
    });
    try {
      if (!shared || (image?.diffIds.length ?? 0) === 0)
        return { layer, path: await layer.open({ readOnly: true }) };
      return { layer, path: (await layer.mountForRuntime()).path };
    } catch (error) {
      await layer[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const opening of this.#opened.values()) {
      const opened = await opening.catch(() => undefined);
      await opened?.layer[Symbol.asyncDispose]();
    }
  }
}
