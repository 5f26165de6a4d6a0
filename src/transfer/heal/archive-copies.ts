/** Copies of layers in an image archive of any format, a file or a folder. */
import type { DamagedLayer, LayerStore } from '../../layer/store.ts';
import type { Root } from '../../system/root.ts';
import type { Archive } from '../archive/archive.ts';
import { readImages } from '../archive/read-images.ts';
import { openArchive } from '../archive/source.ts';
import { LayerPool } from '../ingest/layer-pool.ts';
import { DEFAULT_MAX_BYTES } from '../ingest/publish-images.ts';
import type { LayerCopies, UseCopy } from './heal-layer.ts';

export interface ArchiveStores {
  readonly root: Pick<Root, 'aftermath' | 'caps' | 'log'>;
  readonly layers: Pick<LayerStore, 'stage' | 'restage' | 'discard'>;
}

export class ArchiveCopies implements LayerCopies {
  readonly name: string;
  readonly #stores: ArchiveStores;
  readonly #signal: AbortSignal | undefined;

  constructor(stores: ArchiveStores, path: string, signal: AbortSignal | undefined) {
    this.name = path;
    this.#stores = stores;
    this.#signal = signal;
  }

  async copy({ diffId }: DamagedLayer, use: UseCopy): Promise<boolean> {
    const { root, layers } = this.#stores;
    const bounds = { sourceName: this.name, maxBytes: DEFAULT_MAX_BYTES };
    const hint = 'the archive is damaged, name another one';
    const pool = new LayerPool(layers, { ...bounds, hint, signal: this.#signal, log: root.log });
    let archive: Archive | undefined;
    try {
      archive = await openArchive(this.name, { ...bounds, pool, caps: root.caps });
      const { images } = await readImages(archive, pool, undefined);
      const layer = images.flatMap((image) => image.layers).find((each) => each.diffId === diffId);
      if (layer === undefined) return false;
      const staged = await pool.take(layer.member, { diffId, blob: layer.blob });
      await use(staged);
      pool.published([staged]);
      return true;
    } finally {
      await pool.close();
      await root.aftermath.run('the archive was not closed', async () => archive?.close());
    }
  }
}
