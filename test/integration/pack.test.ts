/** `store.images.pack`: extracted images become packed ones, and everything that uses them keeps working. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { chainIds, hexOf } from '../../src/core/digest.ts';
import { ImageStore } from '../../src/image/store.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { FAULTS } from '../support/interrupt.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { compareTrees, type Tree } from '../support/tree.ts';
import { classicTree, NAME, RICH, treeOf, writeArchive } from '../support/packed-layers.ts';

const LAYERS = [layerOf({ base: 'below' }), layerOf({ top: 'above' })] as const;
const CHAINS = chainIds(LAYERS.map(({ diffId }) => diffId)).map(hexOf);
const [BASE, TOP] = [imageOf(LAYERS.slice(0, 1), { tags: ['base:1'] }), imageOf(LAYERS, { tags: ['app:1'] })];

let scratch: string;
let root: string;
let store: Layerstack;

beforeEach(async () => {
  scratch = makeScratch('pack');
  root = join(scratch, 'store');
  store = await Layerstack.open({ root });
});

afterEach(async () => {
  vi.restoreAllMocks();
  await store.close();
  expect(mountsBelow(scratch)).toEqual([]);
  await dropScratch(scratch);
});

const at = (path: string): string => join(root, path);
const list = (path: string): string[] => (existsSync(at(path)) ? readdirSync(at(path)).sort() : []);
/** Without those whose files are deleted in the background. */
const extracted = (): string[] =>
  list('image/overlay2/layerdb/sha256').filter((name) => !name.endsWith('-removing'));
const packed = (): string[] => list('layerstack/packed/layers');

async function reopen(): Promise<void> {
  await store.close();
  store = await Layerstack.open({ root });
}

async function findings(): Promise<unknown[]> {
  const found: unknown[] = [];
  for await (const finding of store.fsck({ deep: true })) found.push(finding);
  return found;
}

async function load(...images: Parameters<typeof dockerArchive>[0]): Promise<void> {
  await store.images.load(writeArchive(join(scratch, 'some.tar'), dockerArchive(images)));
}

async function formOf(name: string): Promise<string> {
  const { Id } = await store.images.inspect(name);
  return (await store.images.list()).find((image) => image.Id === Id)?.Form ?? 'classic';
}

/** Returns the files of a container while it is mounted. */
async function filesOf(container: string): Promise<string[]> {
  await using mount = await store.containers.mount(container);
  return ['base', 'top'].map((file) => readFileSync(join(mount.path, file), 'utf8'));
}

async function saved(name: string): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of store.images.save(name)) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

describe('pack', () => {
  it('keeps the tars in place of the extracted layers, with the same root file system', async () => {
    const archive = writeArchive(join(scratch, 'rich.tar'), dockerArchive([RICH]));
    await store.images.load(archive);
    const before = { list: await store.images.list(), saved: await saved(NAME) };
    expect(await store.images.pack(NAME)).toEqual([NAME]);
    await reopen();
    expect([extracted(), list('overlay2'), list('image/overlay2/imagedb/content/sha256')]).toEqual([
      [],
      ['l'],
      [],
    ]);
    expect(list('overlay2/l')).toEqual([]);
    expect(packed()).toHaveLength(2);
    expect(await store.images.list()).toEqual([{ ...before.list[0], Form: 'packed' }]);
    expect((await saved(NAME)).equals(before.saved)).toBe(true);
    expect(await findings()).toEqual([]);
    let tree: Tree;
    {
      await using container = await store.containers.create(NAME);
      await using mount = await store.containers.mount(container);
      tree = await treeOf(mount.path);
    }
    expect(compareTrees(tree, await classicTree(scratch, archive, NAME))).toEqual([]);
  });

  it('does nothing to an image that is packed already', async () => {
    await load(TOP);
    expect(await store.images.pack(['app:1', TOP.id])).toEqual(['app:1', TOP.id]);
    expect(await store.images.pack('app:1')).toEqual([]);
  });

  it('is undone by settle', async () => {
    await load(TOP);
    const names = list('overlay2/l');
    await store.images.pack('app:1');
    expect(await store.images.settle('app:1')).toBe(true);
    await reopen();
    expect([extracted(), packed(), list('overlay2/l')]).toEqual([[...CHAINS].sort(), [], names]);
    expect(await findings()).toEqual([]);
  });

  it('leaves everything as it was where a layer was changed', async () => {
    await load(TOP);
    const cacheId = readFileSync(at(`image/overlay2/layerdb/sha256/${CHAINS[1] ?? ''}/cache-id`), 'utf8');
    writeFileSync(at(`overlay2/${cacheId}/diff/top`), 'other');
    await expect(store.images.pack('app:1')).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' });
    expect([await formOf('app:1'), packed(), extracted()]).toEqual(['classic', [], [...CHAINS].sort()]);
  });

  it('removes the copies where the images cannot be changed', async () => {
    await load(TOP);
    vi.spyOn(ImageStore.prototype, 'add').mockRejectedValueOnce(FAULTS.ENOSPC);
    await expect(store.images.pack('app:1')).rejects.toThrow();
    await reopen();
    expect([await formOf('app:1'), packed(), extracted()]).toEqual(['classic', [], [...CHAINS].sort()]);
    expect(list('layerstack/unused')).toEqual([]);
  });
});

describe('pack of images with common layers', () => {
  beforeEach(() => load(BASE, TOP));

  it('leaves the layers extracted that another image has', async () => {
    expect(await store.images.pack('app:1')).toEqual(['app:1']);
    expect([packed(), extracted()]).toEqual([[CHAINS[1]], [CHAINS[0]]]);
    await store.containers.create('app:1', { name: 'box' });
    expect(await filesOf('box')).toEqual(['below', 'above']);
    expect(await store.images.pack('base:1')).toEqual(['base:1']);
    expect([packed(), extracted()]).toEqual([[...CHAINS].sort(), []]);
    expect(await filesOf('box')).toEqual(['below', 'above']);
    expect(await findings()).toEqual([]);
  });

  it('refuses an image whose layers another one has, and names the other', async () => {
    await expect(store.images.pack('base:1')).rejects.toMatchObject({
      code: 'ERR_IMAGE_IN_USE',
      message: expect.stringContaining('app:1 also has its layers') as string,
    });
    expect([packed(), extracted()]).toEqual([[], [...CHAINS].sort()]);
  });

  it('packs both at once', async () => {
    expect(await store.images.pack(['base:1', 'app:1'])).toEqual(['base:1', 'app:1']);
    expect([packed(), extracted()]).toEqual([[...CHAINS].sort(), []]);
    expect([await formOf('base:1'), await formOf('app:1')]).toEqual(['packed', 'packed']);
  });

  it('packs the rest of an image when the other one is gone', async () => {
    await store.images.pack('app:1');
    await store.images.remove('base:1');
    expect(await store.images.pack('app:1')).toEqual(['app:1']);
    expect([packed(), extracted()]).toEqual([[...CHAINS].sort(), []]);
  });

  it('leaves the layers that BuildKit has', async () => {
    await store.images.remove('base:1');
    mkdirSync(at('buildkit'));
    writeFileSync(at('buildkit/snapshots.db'), `bolt sha256:${CHAINS[0] ?? ''} bolt`);
    expect(await store.images.pack('app:1')).toEqual(['app:1']);
    expect([packed(), extracted()]).toEqual([[CHAINS[1]], [CHAINS[0]]]);
  });
});

describe('a container on an image that is packed', () => {
  beforeEach(async () => {
    await load(TOP);
    await store.containers.create('app:1', { name: 'box' });
    await using mount = await store.containers.mount('box');
    writeFileSync(join(mount.path, 'written'), 'kept');
  });

  it('has its files, its changes and its names of layers', async () => {
    const names = list('overlay2/l');
    await store.images.pack('app:1');
    expect(extracted()).toEqual([]);
    expect(await filesOf('box')).toEqual(['below', 'above']);
    expect(await store.containers.diff('box')).toEqual([{ kind: 'A', path: '/written' }]);
    expect(await findings()).toEqual([]);
    await store.images.settle('app:1');
    await reopen();
    expect(list('overlay2/l')).toEqual(names);
    expect(await filesOf('box')).toEqual(['below', 'above']);
    expect(await findings()).toEqual([]);
  });

  it('keeps the extracted layers while it is mounted, and the next writer removes them', async () => {
    const mount = await store.containers.mount('box');
    expect(await store.images.pack('app:1')).toEqual(['app:1']);
    expect(await formOf('app:1')).toBe('packed');
    await reopen();
    expect([packed(), extracted()]).toEqual([[...CHAINS].sort(), [...CHAINS].sort()]);
    expect(readFileSync(join(mount.path, 'base'), 'utf8')).toBe('below');
    expect(await findings()).toEqual([]);
    await store.containers.unmount('box', { force: true });
    await reopen();
    await reopen();
    expect([packed(), extracted(), list('overlay2').length]).toEqual([[...CHAINS].sort(), [], 3]);
    expect(await filesOf('box')).toEqual(['below', 'above']);
    expect(await findings()).toEqual([]);
  });

  it('can be mounted while its image is in both forms, and settle removes the tars', async () => {
    const mount = await store.containers.mount('box');
    await store.images.pack('app:1');
    expect(await store.images.settle('app:1')).toBe(true);
    expect([packed(), extracted()]).toEqual([[], [...CHAINS].sort()]);
    expect(await formOf('app:1')).toBe('classic');
    await mount.unmount();
    expect(await filesOf('box')).toEqual(['below', 'above']);
    expect(await findings()).toEqual([]);
  });
});

describe('a reader of an image that is packed', () => {
  it('reads the extracted layers to their end', async () => {
    const big = layerOf({ big: 'x'.repeat(4_000_000) });
    await load(imageOf([big], { tags: ['big:1'] }));
    const whole = await saved('big:1');
    const stream = store.images.save('big:1')[Symbol.asyncIterator]();
    const pieces = [(await stream.next()).value as Buffer];
    await store.images.pack('big:1');
    expect(extracted()).toHaveLength(1);
    for (let next = await stream.next(); next.done !== true; next = await stream.next())
      pieces.push(next.value as Buffer);
    expect(Buffer.concat(pieces).equals(whole)).toBe(true);
    await reopen();
    expect([packed().length, extracted()]).toEqual([1, []]);
  });
});
