/** Packed images in a store: what is on disk, and that every use of them equals that of extracted images. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { dockerArchive } from '../support/archives.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { layerOf } from '../support/images.ts';
import { compareTrees, type Tree } from '../support/tree.ts';
import { classicTree, NAME, RICH, treeOf, writeArchive } from './packed-support.ts';

let scratch: string;
let archive: string;
let root: string;
let store: Layerstack;

beforeEach(async () => {
  scratch = makeScratch('packed-store');
  archive = writeArchive(join(scratch, 'rich.tar'), dockerArchive([RICH]));
  root = join(scratch, 'store');
  store = await Layerstack.open({ root });
});

afterEach(async () => {
  await store.close();
  expect(mountsBelow(scratch)).toEqual([]);
  await dropScratch(scratch);
});

const packed = (path = ''): string => join(root, 'layerstack/packed', path);

/** Returns the tree of a new container of an image. */
async function containerTree(image = NAME): Promise<Tree> {
  await using container = await store.containers.create(image);
  await using mount = await store.containers.mount(container);
  return await treeOf(mount.path);
}

describe('load with form packed', () => {
  it('stores each layer as its tar with an index, and extracts nothing', async () => {
    const { images } = await store.images.load(archive, { form: 'packed' });
    expect(images).toMatchObject([{ references: [NAME], created: true }]);
    const layers = readdirSync(packed('layers'));
    expect(layers).toHaveLength(2);
    for (const layer of layers)
      expect(readdirSync(packed(`layers/${layer}`)).sort()).toEqual(
        expect.arrayContaining(['diff', 'index.erofs', 'layer.tar', 'link', 'size', 'versions']),
      );
    expect(readdirSync(join(root, 'overlay2'))).toEqual(['l']);
    expect(readdirSync(join(root, 'image/overlay2/layerdb/sha256'))).toEqual([]);
    expect(readdirSync(join(root, 'image/overlay2/imagedb/content/sha256'))).toEqual([]);
    expect(existsSync(join(root, 'image/overlay2/repositories.json'))).toBe(false);
  });

  it('gives containers the root file system that extraction gives', async () => {
    await store.images.load(archive, { form: 'packed' });
    expect(compareTrees(await containerTree(), await classicTree(scratch, archive, NAME))).toEqual([]);
  });

  it('lists the image with its form, and the sizes of an extracted one', async () => {
    await store.images.load(archive, { form: 'packed' });
    const [image] = await store.images.list();
    expect(image).toMatchObject({ RepoTags: [NAME], Form: 'packed' });
    await store.images.load(archive);
    const [classic] = await store.images.list();
    expect(classic).toEqual({ ...image, Form: undefined });
  });

  it('removes the image and its files', async () => {
    await store.images.load(archive, { form: 'packed' });
    const deleted = await store.images.remove(NAME);
    expect(deleted.filter((record) => 'Deleted' in record)).toHaveLength(3);
    expect(readdirSync(packed('layers'))).toEqual([]);
    expect(await store.images.list()).toEqual([]);
  });

  it('leaves nothing behind after a layer with another digest', async () => {
    const wrong = { ...RICH, layers: [RICH.layers[0], layerOf({ other: 'x' })] } as typeof RICH;
    const bad = writeArchive(join(scratch, 'bad.tar'), dockerArchive([wrong]));
    await expect(store.images.load(bad, { form: 'packed' })).rejects.toMatchObject({
      code: 'ERR_DIGEST_MISMATCH',
    });
    expect(readdirSync(packed('layers'))).toEqual([]);
    expect(await store.images.list({ all: true })).toEqual([]);
  });
});
