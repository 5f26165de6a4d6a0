/**
 * Shared by the tests of load: a store of their own, every form in which load accepts an archive, and checks
 * of the store.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { createReadStream, mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { expect } from 'vitest';
import { hexOf } from '../../src/core/digest.ts';
import type { ProgressEvent } from '../../src/core/progress.ts';
import { ImageStore } from '../../src/image/store.ts';
import { LayerStore } from '../../src/layer/store.ts';
import { Root } from '../../src/system/root.ts';
import { load, type LoadOptions, type LoadResult } from '../../src/transfer/archive/load.ts';
import type { ArchiveSource } from '../../src/transfer/archive/source.ts';
import { writeFolder } from './archives.ts';
import type { TestImage } from './images.ts';
import { dropScratch, makeScratch } from './scratch.ts';
import { tar, type TarItem } from './tar.ts';

/** A store in a scratch directory. */
export class LoadStore {
  readonly directory: string;
  readonly root: Root;
  readonly layers: LayerStore;
  readonly images: ImageStore;
  /** Events of the last load. */
  events: ProgressEvent[] = [];

  private constructor(directory: string, root: Root) {
    this.directory = directory;
    this.root = root;
    this.layers = new LayerStore(root);
    this.images = new ImageStore(root, this.layers);
  }

  /**
   * @param path - path of the root; default: in a new scratch directory
   */
  static async open(path?: string): Promise<LoadStore> {
    const directory = makeScratch('load');
    return new LoadStore(directory, await Root.open(path ?? join(directory, 'root')));
  }

  get path(): string {
    return this.root.layout.root;
  }

  async load(source: ArchiveSource, options: LoadOptions = {}): Promise<LoadResult> {
    this.events = [];
    return load(this, source, { onProgress: (event) => this.events.push(event), ...options });
  }

  /** Counts the layers that the last load read, and those that existed already. */
  counts(): { read: number; existing: number } {
    const of = (type: string) => this.events.filter((event) => event.type === type).length;
    return { read: of('layer-start'), existing: of('layer-exists') };
  }

  async close(): Promise<void> {
    await this.layers.drain();
    await this.root.close();
    await dropScratch(this.directory);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Creates an empty directory of this test. */
  scratch(): string {
    return mkdtempSync(join(this.directory, 'scratch-'));
  }

  /** Returns every name in `directory` of the store; none if it is missing. */
  async names(directory: string): Promise<string[]> {
    return (await readdir(join(this.path, directory)).catch(() => [])).sort();
  }

  /** Expects no staged, marked or incomplete object: all overlay2 directories and links belong to layers. */
  async expectClean(): Promise<void> {
    expect(await this.names('image/overlay2/layerdb/tmp')).toEqual([]);
    const chains = await this.names('image/overlay2/layerdb/sha256');
    const cacheIds = await Promise.all(
      chains.map((chain) =>
        readFile(join(this.path, 'image/overlay2/layerdb/sha256', chain, 'cache-id'), 'utf8'),
      ),
    );
    expect((await this.names('overlay2')).filter((name) => name !== 'l')).toEqual(cacheIds.sort());
    expect((await this.names('overlay2/l')).length).toBe(chains.length);
    for (const session of await this.names('layerstack/sessions'))
      expect((await this.names(`layerstack/sessions/${session}`)).filter((name) => name !== 'lock')).toEqual(
        [],
      );
  }

  /** Expects exactly these images and their layers in the store. */
  async expectImages(...images: readonly TestImage[]): Promise<void> {
    await this.expectClean();
    expect(await this.names('image/overlay2/imagedb/content/sha256')).toEqual(
      [...new Set(images.map(({ id }) => hexOf(id)))].sort(),
    );
    expect(await this.names('image/overlay2/layerdb/sha256')).toEqual(
      [...new Set(images.flatMap(({ chain }) => chain.map(hexOf)))].sort(),
    );
    for (const { id, config } of images) expect(Buffer.from((await this.images.get(id)).raw)).toEqual(config);
    expect(await this.images.references()).toEqual(
      new Map(images.filter(({ tags }) => tags.length > 0).map(({ id, tags }) => [id, [...tags].sort()])),
    );
  }

  /** Returns the content of a file of a layer. */
  async layerFile(image: TestImage, depth: number, name: string): Promise<string> {
    const chain = image.chain[depth];
    if (chain === undefined) throw new Error(`no layer ${String(depth)}`);
    const { cacheId } = await this.layers.get(chain);
    return readFile(join(this.path, 'overlay2', cacheId ?? '', 'diff', name), 'utf8');
  }
}

type Hand = (store: LoadStore, items: readonly TarItem[]) => Promise<ArchiveSource>;

const file = async (store: LoadStore, items: readonly TarItem[]): Promise<string> => {
  const path = join(store.scratch(), 'image.tar');
  await writeFile(path, tar(items));
  return path;
};

const gzipFile = async (store: LoadStore, items: readonly TarItem[]): Promise<string> => {
  const path = join(store.scratch(), 'image.tar.gz');
  await writeFile(path, gzipSync(tar(items)));
  return path;
};

/** Every form in which load accepts an archive. */
export const WAYS = {
  file,
  'gzip file': gzipFile,
  pipe: async (store, items) => createReadStream(await file(store, items)),
  'gzip pipe': async (store, items) => createReadStream(await gzipFile(store, items)),
  chunks: (_, items) => Promise.resolve(chunksOf(tar(items), 777)),
  folder: async (store, items) => {
    const path = store.scratch();
    await writeFolder(path, items);
    return path;
  },
} satisfies Record<string, Hand>;

export type Way = keyof typeof WAYS;
export const ALL_WAYS = Object.keys(WAYS) as Way[];

/** Yields the bytes in pieces that do not match any block size. */
export function chunksOf(bytes: Buffer, length: number): Readable {
  const count = Math.ceil(bytes.length / length);
  return Readable.from(
    Array.from({ length: count }, (_, index) => bytes.subarray(index * length, (index + 1) * length)),
  );
}
