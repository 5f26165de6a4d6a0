/**
 * Syncs a store to disk for many callers at once. A syncfs covers everything that was written before it
 * began, so callers that come while one runs share the next one. So making fifty containers at once takes
 * only a few syncs.
 */
import type { Layout } from './layout.ts';
import { call, native, type BatchStep } from './native.ts';
import { statEntry } from './store-files.ts';

/**
 * Returns steps that run syncfs on each file system that holds one of the paths, which are below the root.
 */
export function syncSteps(layout: Layout, paths: readonly string[]): BatchStep[] {
  const devices = paths.map((path) => statEntry(layout.at(path))?.dev);
  return paths
    .filter((_, index) => devices.indexOf(devices[index] ?? NaN) === index)
    .map((path) => ({ op: 'syncfs', path }));
}

/** The disk of one store. */
export class Disk {
  readonly #layout: Layout;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /**
   * Resolves when everything that was written before the call is on disk: layers, containers and layerstack's
   * own files.
   * @throws a system error of syncfs, to all callers that share it.
   */
  sync(): Promise<void> {
    if (this.#running === undefined) return this.#start();
    this.#next ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined;
        return this.#start();
      });
    return this.#next;
  }

  #start(): Promise<void> {
    const running = this.#syncAll();
    this.#running = running;
    const ended = (): void => {
      if (this.#running === running) this.#running = undefined;
    };
    running.then(ended, ended);
    return running;
  }

  async #syncAll(): Promise<void> {
    const { overlay2, layers, containers, own, root } = this.#layout;
    await call(native.batch(root, syncSteps(this.#layout, [overlay2, layers, containers, own])));
  }
}
