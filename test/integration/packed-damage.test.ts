/** Damage to a store with packed images: what a load or a repair mends, and what it leaves as it is. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FsckOptions } from '../../src/app/fsck.ts';
import { Layerstack } from '../../src/app/layerstack.ts';
import { hexOf, type ChainID } from '../../src/core/digest.ts';
import type { StoreFinding } from '../../src/core/store-finding.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf } from '../support/images.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { NAME, RICH, writeArchive } from './packed-support.ts';

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
const content = (index: number): string =>
  join(root, 'overlay2', readFileSync(entry(index, 'cache-id'), 'utf8'), 'diff');

async function check(options: FsckOptions = {}): Promise<StoreFinding[]> {
  const findings: StoreFinding[] = [];
  for await (const finding of store.fsck(options)) findings.push(finding);
  return findings;
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
});
