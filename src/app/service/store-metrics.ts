/**
 * Metrics of the store: its objects, its mounts, its disk. They are counted from directory listings, at most
 * every ten seconds. The size of a layer never changes, so it is read once. The sizes of containers are not
 * here, because they need a walk over all files; `system/df` has them.
 */
import { isHex64 } from '../../core/digest.ts';
import { readFile, statfs } from 'node:fs/promises';
import { isSystemError } from '../../core/errors.ts';
import { Layout } from '../../system/layout.ts';
import { listEntries, readEntry } from '../../system/removal.ts';
import type { Gauge, Metrics } from './metrics.ts';

const FRESH_MS = 10_000;
/** A disk that hangs must not block the metrics: they then show the last known values. */
const PATIENCE_MS = 5_000;

interface StoreCounts {
  readonly images: number;
  readonly layers: number;
  readonly layerBytes: number;
  readonly containers: number;
  readonly mounts: number;
}

/** Declares the store's gauges, and updates them before each scrape. */
export function watchStore(metrics: Metrics, root: string): void {
  const counter = new StoreCounter(new Layout(root));
  const gauges: Readonly<Record<keyof StoreCounts, Gauge>> = {
    images: metrics.gauge('layerstack_images', 'Images in the store.'),
    layers: metrics.gauge('layerstack_layers', 'Layers in the store.'),
    layerBytes: metrics.gauge('layerstack_layers_bytes', 'Content of all layers, as docker counts it.'),
    containers: metrics.gauge('layerstack_containers', 'Containers in the store.'),
    mounts: metrics.gauge('layerstack_mounts', 'Root file systems that are mounted.'),
  };
  const disk = metrics.gauge('layerstack_filesystem_bytes', "The file system of the store's root.", [
    'state',
  ]);
  let counting: Promise<void> | undefined;
  let counted = -Infinity;

  const count = async (): Promise<void> => {
    const counts = await counter.count();
    for (const [name, gauge] of Object.entries(gauges)) gauge.set(counts[name as keyof StoreCounts]);
    const { blocks, bfree, bavail, bsize } = await statfs(root);
    disk.set(blocks * bsize, 'size');
    disk.set((blocks - bfree) * bsize, 'used');
    disk.set(bavail * bsize, 'available');
    counted = performance.now();
  };
  metrics.before(async () => {
    if (performance.now() - counted < FRESH_MS) return;
    counting ??= count()
      .catch(() => undefined)
      .finally(() => (counting = undefined));
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => (timer = setTimeout(resolve, PATIENCE_MS)));
    await Promise.race([counting, patience]);
    clearTimeout(timer);
  });
}

class StoreCounter {
  readonly #layout: Layout;
  /** Bytes of each layer that the last count found. */
  #sizes = new Map<string, number>();

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  async count(): Promise<StoreCounts> {
    const layout = this.#layout;
    const layers = await this.#ids(layout.layers);
    const sizes = new Map<string, number>();
    for (const layer of layers)
      sizes.set(layer, this.#sizes.get(layer) ?? (await this.#layerSize(`${layout.layers}/${layer}/size`)));
    this.#sizes = sizes;
    return {
      images: (await this.#ids(layout.imageContents)).length,
      layers: layers.length,
      layerBytes: [...sizes.values()].reduce((sum, size) => sum + size, 0),
      containers: (await this.#ids(layout.containers)).length,
      mounts: await this.#mounts(),
    };
  }

  async #ids(directory: string): Promise<string[]> {
    return (await listEntries(this.#layout, directory)).filter(isHex64);
  }

  async #layerSize(path: string): Promise<number> {
    try {
      return Number(await readEntry(this.#layout, path)) || 0;
    } catch (error) {
      if (isSystemError(error)) return 0;
      throw error;
    }
  }

  /**
   * Counts merged directories of this store in the mount table, which escapes blanks and similar characters.
   */
  async #mounts(): Promise<number> {
    const below = `${this.#layout.at(this.#layout.overlay2)}/`.replace(
      /[ \t\n\\]/g,
      (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`,
    );
    const table = await readFile('/proc/self/mountinfo', 'utf8');
    return table.split('\n').filter((line) => {
      const point = line.split(' ', 5)[4] ?? '';
      return point.startsWith(below) && point.endsWith('/merged');
    }).length;
  }
}
