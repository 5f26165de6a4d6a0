/**
 * Stages packed layers. One pass over the bytes writes the tar, hashes it and makes its index. The bytes that
 * are hashed are the bytes that are written, from the same memory. Nothing is synced: publishing syncs.
 */
import { constants } from 'node:fs';
import type { DiffID } from '../../core/digest.ts';
import { randomName } from '../../core/random.ts';
import { call, native, type LayerApplied } from '../../system/native.ts';
import type { Root } from '../../system/root.ts';
import { openStoreFile, statEntry } from '../../system/store-files.ts';
import { applyLayer, type LayerSource } from '../apply.ts';
import { newLinkId } from '../overlay.ts';
import { requireDiffId, type StageOptions } from '../stage-options.ts';
import { makeDirectory, packedDirectories } from './directories.ts';
import { versionsOf } from './versions.ts';

/** A packed layer that is written and verified, but not published. */
export interface StagedPackedLayer {
  readonly packed: true;
  readonly cacheId?: undefined;
  /** Its directory below `layerstack/packed/layers`: `.tmp-<random>`. */
  readonly writeSet: string;
  readonly applied: LayerApplied;
  readonly diffId: DiffID;
}

export class PackedStaging {
  readonly #root: Root;
  readonly #markers = new Map<string, AsyncDisposable>();

  constructor(root: Root) {
    this.#root = root;
  }

  /**
   * Writes the tar and the index of a layer. An error leaves nothing behind.
   * @throws {@link LayerstackError} as {@link applyLayer}; ERR_DIGEST_MISMATCH.
   */
  async stage(source: LayerSource, options: StageOptions): Promise<StagedPackedLayer> {
    const { layout } = this.#root;
    const writeSet = `.tmp-${randomName(8).toString('hex')}`;
    const directory = layout.stagedPackedLayer(writeSet);
    this.#markers.set(writeSet, await this.#root.session().temporary(directory));
    try {
      await call(native.batch(layout.root, [...packedDirectories(layout), makeDirectory(directory)]));
      const { applied, versions } = await this.#write(writeSet, source, options);
      const diffId = requireDiffId(applied, options);
      const file = (name: 'diff' | 'size' | 'link' | 'versions', data: string) =>
        ({ op: 'write', path: layout.stagedPackedLayer(writeSet, name), data, mode: 0o600 }) as const;
      await call(
        native.batch(layout.root, [
          file('diff', diffId),
          file('size', String(applied.contentSize)),
          file('link', newLinkId()),
          file('versions', versions),
        ]),
      );
      return { packed: true, writeSet, applied, diffId };
    } catch (error) {
      await this.remove(writeSet).catch((trouble: unknown) => {
        this.#root.log.warn('a failed layer could not be removed; the next writer removes it', {
          error: trouble,
        });
      });
      throw error;
    }
  }

  /** Removes a staged layer. */
  async remove(writeSet: string): Promise<void> {
    const { layout } = this.#root;
    await call(native.removeTree(layout.root, layout.stagedPackedLayer(writeSet)));
    await this.forget(writeSet);
  }

  /**
   * Removes the marker of a published or removed layer. The marker stays while the directory holds a replaced
   * entry that could not be removed.
   */
  async forget(writeSet: string): Promise<void> {
    const { layout } = this.#root;
    if (statEntry(layout.at(layout.stagedPackedLayer(writeSet))) !== undefined) return;
    await this.#markers.get(writeSet)?.[Symbol.asyncDispose]();
    this.#markers.delete(writeSet);
  }

  async #write(
    writeSet: string,
    source: LayerSource,
    { limits, signal, onProgress }: StageOptions,
  ): Promise<{ readonly applied: LayerApplied; readonly versions: string }> {
    const { layout, caps } = this.#root;
    const at = (name: 'layer.tar' | 'index.erofs'): string =>
      layout.at(layout.stagedPackedLayer(writeSet, name));
    const target = { tar: at('layer.tar'), index: at('index.erofs') };
    const applied = await applyLayer(source, target, { limits, caps, signal, onProgress });
    await using tar = await openStoreFile(target.tar, constants.O_RDONLY);
    await using index = await openStoreFile(target.index, constants.O_RDONLY);
    return { applied, versions: await versionsOf(tar, index) };
  }
}
