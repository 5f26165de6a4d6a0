/** Damage to a store with packed images: what a load or a repair puts right, and what it leaves as it is. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FsckOptions } from '../../src/app/fsck.ts';
import { Layerstack } from '../../src/app/layerstack.ts';
import { hexOf, type ChainID } from '../../src/core/digest.ts';
import type { StoreFinding } from '../../src/core/store-finding.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf } from '../support/images.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { compareTrees } from '../support/tree.ts';
import { classicTree, NAME, RICH, treeOf, writeArchive } from '../support/packed-layers.ts';

let scratch: string;
let archive: string;
let base: string;
let root: string;
let store: Layerstack;

beforeEach(async () => {
  scratch = makeScratch('packed-damage');
  archive = writeArchive(join(scratch, 'rich.tar'), dockerArchive([RICH]));
  const image = imageOf(RICH.layers.slice(0, 1), { tags: ['base:1'] });
  base = writeArchive(join(scratch, 'base.tar'), dockerArchive([image]));
  root = join(scratch, 'store');
  store = await Layerstack.open({ root });
});

afterEach(async () => {
  await store.close();
  expect(mountsBelow(scratch)).toEqual([]);
  await dropScratch(scratch);
});

const packed = (path: string): string => join(root, 'layerstack/packed', path);
/** A file of a layer's entry, by the layer's place in the image. */
const entry = (index: number, name = ''): string =>
  join(root, 'image/overlay2/layerdb/sha256', hexOf(RICH.chain[index] as ChainID), name);
const packedEntry = (index: number, name = ''): string =>
  packed(join('layers', hexOf(RICH.chain[index] as ChainID), name));
const content = (index: number): string =>
  join(root, 'overlay2', readFileSync(entry(index, 'cache-id'), 'utf8'), 'diff');

async function check(options: FsckOptions = {}): Promise<StoreFinding[]> {
  const findings: StoreFinding[] = [];
  for await (const finding of store.fsck(options)) findings.push(finding);
  return findings;
}

/** Expects that the store is sound, and that a new container has the right files. */
async function expectWhole(): Promise<void> {
  expect(await check({ deep: true })).toEqual([]);
  await using container = await store.containers.create(NAME);
  await using mount = await store.containers.mount(container);
  expect(compareTrees(await treeOf(mount.path), await classicTree(scratch, archive, NAME))).toEqual([]);
}

describe('damaged names of packed images', () => {
  it("are moved aside by a repair, and Docker's names stay", async () => {
    await store.images.load(base);
    await store.images.load(archive, { form: 'packed' });
    const names = join(root, 'image/overlay2/repositories.json');
    const before = readFileSync(names, 'utf8');
    writeFileSync(packed('repositories.json'), '{');
    expect(await check({ repair: true })).toMatchObject([
      { code: 'names-unreadable', path: 'layerstack/packed/repositories.json', repaired: true },
    ]);
    expect(readFileSync(names, 'utf8')).toBe(before);
    expect((await store.images.list()).flatMap(({ RepoTags }) => RepoTags)).toContain('base:1');
  });

  it("are moved aside together with Docker's, where both are damaged", async () => {
    await store.images.load(base);
    await store.images.load(archive, { form: 'packed' });
    writeFileSync(join(root, 'image/overlay2/repositories.json'), '');
    writeFileSync(packed('repositories.json'), '{');
    expect((await check({ repair: true })).map(({ code }) => code)).toEqual([
      'names-unreadable',
      'names-unreadable',
    ]);
    expect(await check()).toEqual([]);
    expect(await store.images.list()).toHaveLength(2);
  });
});

describe('a damaged extracted layer below a packed one', () => {
  beforeEach(async () => {
    await store.images.load(base);
    await store.images.load(archive, { form: 'packed' });
  });

  it('stays as it is while a container on the packed layer is mounted', async () => {
    await using container = await store.containers.create(NAME);
    await using mount = await store.containers.mount(container);
    const directory = content(0);
    rmSync(join(directory, 'twice'));
    const { notices } = await store.images.load(base);
    expect(notices).toEqual([expect.stringContaining('stays as it is while containers on it are mounted')]);
    expect(content(0)).toBe(directory);
    expect(existsSync(join(mount.path, 'srv/one'))).toBe(true);
  });

  it('is replaced by a packed load, in its own form', async () => {
    rmSync(join(content(0), 'twice'));
    const { notices } = await store.images.load(archive, { form: 'packed' });
    expect(notices).toEqual([expect.stringContaining('was damaged in the store, and is replaced')]);
    expect(readFileSync(join(content(0), 'twice'), 'utf8')).toBe('second, longer');
    expect(readdirSync(packed('layers'))).toHaveLength(1);
    await expectWhole();
  });

  it('is replaced by a packed load where its entry is incomplete', async () => {
    rmSync(entry(0, 'size'));
    await store.images.load(archive, { form: 'packed' });
    await expectWhole();
  });
});

describe('a damaged extracted image', () => {
  it('is made whole by a packed load, with extracted layers below those that are left', async () => {
    await store.images.load(archive);
    const directory = join(content(0), '..');
    rmSync(join(root, 'overlay2/l', readFileSync(join(directory, 'link'), 'utf8')));
    rmSync(directory, { recursive: true });
    rmSync(entry(0), { recursive: true });
    await store.images.load(archive, { form: 'packed' });
    expect(existsSync(entry(0, 'cache-id'))).toBe(true);
    expect(existsSync(packedEntry(0))).toBe(false);
    await expectWhole();
  });
});

describe('a packed layer', () => {
  beforeEach(async () => void (await store.images.load(archive, { form: 'packed' })));

  it.each(['layer.tar', 'diff', 'size', 'link', 'parent'] as const)(
    'is replaced by a load when its %s is lost',
    async (name) => {
      rmSync(packedEntry(1, name));
      await store.images.load(archive, { form: 'packed' });
      expect(existsSync(packedEntry(1, name))).toBe(true);
      await expectWhole();
    },
  );

  it.each([false, true])('is replaced by a load when its tar was changed (check: %s)', async (deep) => {
    const path = packedEntry(1, 'layer.tar');
    const link = readFileSync(packedEntry(1, 'link'), 'utf8');
    const bytes = readFileSync(path);
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    const { notices } = await store.images.load(archive, { form: 'packed', check: deep });
    expect(notices).toEqual([expect.stringContaining('was damaged in the store, and is replaced')]);
    expect(readFileSync(packedEntry(1, 'link'), 'utf8')).toBe(link);
    await expectWhole();
  });

  it('is replaced while it is mounted, and the mount keeps its files', async () => {
    await using container = await store.containers.create(NAME);
    await using mount = await store.containers.mount(container);
    rmSync(packedEntry(1, 'size'));
    await store.images.load(archive, { form: 'packed' });
    expect(readFileSync(join(mount.path, 'srv/three'), 'utf8')).toBe('three');
    await mount.unmount();
    await using again = await store.containers.mount(container);
    expect(readFileSync(join(again.path, 'srv/three'), 'utf8')).toBe('three');
  });

  it('is reported, and removed by a repair, with a directory in place of a file', async () => {
    rmSync(packedEntry(1, 'diff'));
    mkdirSync(packedEntry(1, 'diff'));
    expect((await check({ repair: true })).map(({ code }) => code)).toContain('layer-incomplete');
    expect(existsSync(packedEntry(1))).toBe(false);
    await store.images.load(archive, { form: 'packed' });
    await expectWhole();
  });

  it('is not damaged after a copy of the root, which changes its inodes', async () => {
    const path = packedEntry(1, 'layer.tar');
    const bytes = readFileSync(path);
    rmSync(path);
    writeFileSync(path, bytes);
    const { notices } = await store.images.load(archive, { form: 'packed' });
    expect(notices).toEqual([]);
  });
});
