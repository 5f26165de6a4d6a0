/**
 * The sizes of snapshots. A sealed upper never changes, so it is measured once, and its size is kept in
 * `layerstack/snapshots/<id>.size`.
 */
import type { RwLayerStore } from '../rwlayer/store.ts';
import type { Root } from '../system/root.ts';
import { readText } from '../system/store-files.ts';
import { readRecord } from './record.ts';
import type { Snapshot, SnapshotSize } from './snapshot.ts';

export class SnapshotSizes {
  readonly #root: Root;
  readonly #rwLayers: RwLayerStore;

  constructor(root: Root, rwLayers: RwLayerStore) {
    this.#root = root;
    this.#rwLayers = rwLayers;
  }

  /** Returns the sizes of one snapshot. Reads the records below it. */
  async of(snapshot: Snapshot): Promise<SnapshotSize> {
    const below: Snapshot[] = [];
    const seen = new Set([snapshot.id]); // a damaged record may name itself or a snapshot above it
    for (let id = snapshot.parent; id !== undefined && !seen.has(id);) {
      seen.add(id);
      const found = (await readRecord(this.#root.layout, id))?.snapshot;
      if (found) below.push(found);
      id = found?.parent;
    }
    const sizes = await this.ofAll([...below.reverse(), snapshot]);
    return sizes.get(snapshot.id) ?? { own: 0, shared: 0 };
  }

  /**
   * Returns the sizes of snapshots, by their ids.
   * @param all - parents before their children
   */
  async ofAll(all: readonly Snapshot[]): Promise<Map<string, SnapshotSize>> {
    const sizes = new Map<string, SnapshotSize>();
    for (const { id, parent } of all) {
      const below = sizes.get(parent ?? '');
      sizes.set(id, { own: await this.#own(id), shared: below ? below.own + below.shared : 0 });
    }
    return sizes;
  }

  async #own(id: string): Promise<number> {
    const { layout, readOnly, aftermath } = this.#root;
    const kept = readText(layout.at(layout.snapshotSize(id)))?.trim() ?? '';
    if (/^\d{1,15}$/.test(kept)) return Number(kept);
    const measured = await this.#rwLayers.contentSize({ mountId: id });
    if (!readOnly)
      await aftermath.run('the size of a snapshot is measured again the next time', () =>
        this.#root
          .session()
          .replace([
            { op: 'replace', path: layout.snapshotSize(id), data: `${measured}\n`, mode: 0o600, sync: false },
          ]),
      );
    return measured;
  }
}
