/** Layers of one store that change their form, or are replaced, while containers are on them. */
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { StoreFinding } from '../../src/core/store-finding.ts';
import { Readable } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import { chainIds, hexOf } from '../../src/core/digest.ts';
import { Layerstack } from '../../src/app/layerstack.ts';
import { LayerStore } from '../../src/layer/store.ts';
import { Root } from '../../src/system/root.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { FAULTS } from '../support/interrupt.ts';
import { LIMITS } from '../support/layers.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { writeArchive } from '../support/packed-layers.ts';

const LAYERS = [layerOf({ base: 'below' }), layerOf({ top: 'above' })] as const;
const CHAINS = chainIds(LAYERS.map(({ diffId }) => diffId)).map(hexOf);

let scratch: string;
let root: string;
let base: string;
let archive: string;
let store: Layerstack;

beforeEach(async () => {
  scratch = makeScratch('packed-forms');
  root = join(scratch, 'store');
  base = writeArchive(
    join(scratch, 'base.tar'),
    dockerArchive([imageOf(LAYERS.slice(0, 1), { tags: ['base:1'] })]),
  );
  archive = writeArchive(join(scratch, 'app.tar'), dockerArchive([imageOf(LAYERS, { tags: ['app:1'] })]));
  store = await Layerstack.open({ root });
});

afterEach(async () => {
  vi.restoreAllMocks();
  await store.close();
  expect(mountsBelow(scratch)).toEqual([]);
  await dropScratch(scratch);
});

const packed = (path = ''): string => join(root, 'layerstack/packed/layers', path);
const layerdb = (chain = '', file = ''): string =>
  readFileSync(join(root, 'image/overlay2/layerdb/sha256', chain, file), 'utf8');
const overlay = (path: string): string => join(root, 'overlay2', path);

/** Loads an archive as dockerd does, which does not see packed layers, and names its layers by itself. */
async function loadAsDockerd(path: string): Promise<void> {
  renameSync(packed(), `${packed()}-aside`);
  mkdirSync(packed());
  await store.images.load(path);
  rmSync(packed(), { recursive: true });
  renameSync(`${packed()}-aside`, packed());
}

/** Returns the files of a container while it is mounted. */
async function filesOf(container: string): Promise<string[]> {
  await using mount = await store.containers.mount(container);
  return ['base', 'top'].map((file) => readFileSync(join(mount.path, file), 'utf8'));
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

function fsck(repair: boolean): Promise<StoreFinding[]> {
  return collect(store.fsck({ repair }));
}

describe('a container on packed layers', () => {
  it('keeps the extracted layers below it from being replaced while it is mounted', async () => {
    await store.images.load(base);
    await store.images.load(archive, { form: 'packed' });
    expect(readdirSync(packed())).toEqual([CHAINS[1]]);
    await store.containers.create('app:1', { name: 'box' });
    const mount = await store.containers.mount('box');
    const content = overlay(`${layerdb(CHAINS[0], 'cache-id')}/diff`);
    rmSync(join(content, 'base'));
    const { notices } = await store.images.load(base);
    expect(notices).toEqual([expect.stringContaining('unmount box')]);
    expect(readdirSync(content)).toEqual([]);
    await mount.unmount();
    await store.images.load(base);
    expect(await filesOf('box')).toEqual(['below', 'above']);
  });

  it('works again after a load when dockerd has deleted an extracted layer below it', async () => {
    await store.images.load(base);
    await store.images.load(archive, { form: 'packed' });
    await store.containers.create('app:1', { name: 'box' });
    const cacheId = layerdb(CHAINS[0], 'cache-id');
    rmSync(overlay(`l/${readFileSync(overlay(`${cacheId}/link`), 'utf8')}`));
    for (const path of [overlay(cacheId), join(root, 'image/overlay2/layerdb/sha256', CHAINS[0] ?? '')])
      rmSync(path, { recursive: true });
    await expect(store.containers.mount('box')).rejects.toMatchObject({ code: 'ERR_LAYER_NOT_FOUND' });
    await store.images.load(archive, { form: 'packed' });
    expect(await filesOf('box')).toEqual(['below', 'above']);
  });

  it('mounts when dockerd has extracted all its layers', async () => {
    await store.images.load(archive, { form: 'packed' });
    await store.containers.create('app:1', { name: 'box' });
    await loadAsDockerd(archive);
    expect(await filesOf('box')).toEqual(['below', 'above']);
    expect((await fsck(true)).map(({ code }) => code)).toContain('overlay-lower');
    expect(await fsck(false)).toEqual([]);
    expect(await filesOf('box')).toEqual(['below', 'above']);
  });

  it('mounts when dockerd has extracted some of its layers, and the others are settled then', async () => {
    await store.images.load(archive, { form: 'packed' });
    await store.containers.create('app:1', { name: 'box' });
    await loadAsDockerd(base);
    expect(await filesOf('box')).toEqual(['below', 'above']);
    await store.images.settle('app:1');
    expect(await filesOf('box')).toEqual(['below', 'above']);
  });

  it('mounts when a layer was packed again before it is settled', async () => {
    await store.images.load(archive, { form: 'packed' });
    await store.containers.create('app:1', { name: 'box' });
    rmSync(packed(`${CHAINS[0] ?? ''}/layer.tar`));
    await store.images.load(archive, { form: 'packed' });
    await store.images.settle('app:1');
    expect(await filesOf('box')).toEqual(['below', 'above']);
  });
});

describe('a snapshot on packed layers', () => {
  it('is found healthy, also when it is settled', async () => {
    await store.images.load(archive, { form: 'packed' });
    await store.containers.create('app:1', { name: 'box' });
    await store.snapshots.create('box', { name: 'snap' });
    expect(await fsck(false)).toEqual([]);
    await store.images.settle('app:1');
    expect(await fsck(false)).toEqual([]);
  });
});

describe('a staged layer of a writer that died', () => {
  it('is removed at the place to which the root was moved, and not at the old one', async () => {
    const writer = await Root.open(root);
    const tar = Readable.from([LAYERS[0].tar]);
    await new LayerStore(writer).stage(tar, { limits: LIMITS, form: 'packed' });
    await writer.close();
    const copy = join(scratch, 'copy');
    cpSync(root, copy, { recursive: true, verbatimSymlinks: true });
    const left = (store: string): string[] => readdirSync(join(store, 'layerstack/packed/layers'));
    expect(left(copy)).toHaveLength(1);
    await (await Layerstack.open({ root: copy })).close();
    expect([left(copy), left(root)]).toEqual([[], [expect.stringMatching(/^\.tmp-/)]]);
  });
});

describe('settle', () => {
  it('takes over a short name that a killed settle has left', async () => {
    await store.images.load(archive, { form: 'packed' });
    await store.containers.create('app:1', { name: 'box' });
    for (const chain of CHAINS)
      symlinkSync(`../${'d'.repeat(64)}/diff`, overlay(`l/${readFileSync(packed(`${chain}/link`), 'utf8')}`));
    await store.images.settle('app:1');
    expect(await filesOf('box')).toEqual(['below', 'above']);
  });

  it('leaves the tar of a layer to a reader that has not opened it yet', async () => {
    await store.images.load(archive, { form: 'packed' });
    const reader = await Root.open(root);
    try {
      const layers = new LayerStore(reader);
      const stack = await layers.stack(LAYERS.map(({ diffId }) => diffId));
      expect(stack).toMatchObject([{ packed: true }, { packed: true }]);
      const compressed = stack.map((layer) => layers.compressed(layer, { compression: 'gzip' }));
      await store.images.settle('app:1');
      for (const [index, layer] of stack.entries()) {
        const { tar } = LAYERS[index] ?? LAYERS[0];
        expect(Buffer.concat(await collect(layers.tar(layer))).equals(tar)).toBe(true);
        expect(await layers.tarSize(layer)).toBe(tar.length);
        const blob = Buffer.concat(await collect(compressed[index]?.read() ?? Readable.from([])));
        expect(gunzipSync(blob).equals(tar)).toBe(true);
        const staged = await layers.restage(layer, { limits: LIMITS });
        await layers.discard(staged);
      }
    } finally {
      await reader.close();
    }
  });

  it('settles the other images in the background where one fails', async () => {
    const [one, two] = LAYERS.map((layer, index) => imageOf([layer], { tags: [`image:${String(index)}`] }));
    const both = writeArchive(join(scratch, 'both.tar'), dockerArchive([one, two].filter((each) => !!each)));
    vi.spyOn(LayerStore.prototype, 'restage').mockRejectedValueOnce(FAULTS.ENOSPC);
    await store.images.load(both, { form: 'auto' });
    await store.close();
    store = await Layerstack.open({ root });
    expect((await store.images.list()).map(({ Form }) => Form).sort()).toEqual(['packed', undefined]);
  });

  it('settles two images with a common layer at the same time', async () => {
    await store.images.load(base, { form: 'packed' });
    await store.images.load(archive, { form: 'packed' });
    const other = await Layerstack.open({ root });
    try {
      await Promise.all([store.images.settle('base:1'), other.images.settle('app:1')]);
    } finally {
      await other.close();
    }
    expect(readdirSync(packed())).toEqual([]);
    expect(await fsck(false)).toEqual([]);
  });

  it('marks the layers below containers as parents', async () => {
    await store.images.load(archive, { form: 'packed' });
    await store.containers.create('app:1', { name: 'box' });
    await store.images.settle('app:1');
    for (const chain of CHAINS)
      expect(readdirSync(overlay(layerdb(chain, 'cache-id')))).toContain('committed');
  });
});
