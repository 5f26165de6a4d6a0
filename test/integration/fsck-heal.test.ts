/**
 * A damaged layer is replaced in place, from kept blobs, an archive or a registry, by `fsck` or by a plain
 * load.
 */
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { hexOf, type ChainID } from '../../src/core/digest.ts';
import { isWrong, type StoreFinding } from '../../src/core/store-finding.ts';
import { REPAIR } from '../../src/layer/check-overlay.ts';
import { Locks } from '../../src/system/lock.ts';
import { dockerArchive } from '../support/archives.ts';
import { rejection } from '../support/errors.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

const base = imageOf([layerOf({ 'etc/base': 'base', 'etc/other': 'other' })], { tags: ['base:1'] });
const app = imageOf([...base.layers, layerOf({ run: 'run' }), layerOf({ more: 'more' })], {
  tags: ['app:1'],
});
const archive = tar(dockerArchive([app]));

let scratch: string;
let root: string;
let store: Layerstack;
let file: string;

beforeEach(async () => {
  scratch = makeScratch('fsck-heal');
  root = join(scratch, 'root');
  file = join(scratch, 'app.tar');
  writeFileSync(file, archive);
  store = await Layerstack.open({ root });
  await store.images.load(Readable.from([tar(dockerArchive([base, app]))]));
  await store.containers.create('app:1', { name: 'box' });
});
afterEach(async () => {
  await store.close();
  await dropScratch(scratch);
});

const entry = (index: number, name: string): string =>
  join(root, 'image/overlay2/layerdb/sha256', hexOf(app.chain[index] as ChainID), name);
const content = (index: number, name = ''): string =>
  join(root, 'overlay2', readFileSync(entry(index, 'cache-id'), 'utf8'), 'diff', name);
const check = async (options: Parameters<Layerstack['fsck']>[0] = {}): Promise<StoreFinding[]> => {
  const findings: StoreFinding[] = [];
  for await (const finding of store.fsck(options)) findings.push(finding);
  return findings;
};

/** The store is as it was before the damage: both images, and the container that was made before. */
async function expectWhole(): Promise<void> {
  expect(await check({ deep: true })).toEqual([]);
  expect((await store.images.list()).flatMap(({ RepoTags }) => RepoTags).sort()).toEqual(['app:1', 'base:1']);
  const mount = await store.containers.mount('box');
  for (const [name, text] of [
    ['etc/base', 'base'],
    ['etc/other', 'other'],
    ['run', 'run'],
    ['more', 'more'],
  ] as const)
    expect(readFileSync(join(mount.path, name), 'utf8')).toBe(text);
  await mount.unmount();
  await store.close();
  store = await Layerstack.open({ root });
  expect(await check({ deep: true })).toEqual([]);
}

const DAMAGE: Readonly<Record<string, () => void>> = {
  'a changed content of the lowest layer': () => writeFileSync(content(0, 'etc/other'), 'OTHER'),
  'a missing file of a layer in the middle': () => rmSync(content(1, 'run')),
  'an empty file, as after a power cut': () => truncateSync(content(2, 'more')),
  'a directory that is gone': () => rmSync(join(content(1), '..'), { recursive: true }),
  'a tar-split that is not gzip': () => writeFileSync(entry(1, 'tar-split.json.gz'), 'damaged'),
  'a missing tar-split': () => rmSync(entry(1, 'tar-split.json.gz')),
  'two layers at once': () => {
    rmSync(content(0, 'etc/base'));
    rmSync(content(2, 'more'));
  },
};

describe('fsck --repair --from replaces', () => {
  it.each(Object.keys(DAMAGE))('%s', async (name) => {
    DAMAGE[name]?.();
    const found = await check({ deep: true });
    expect(found.some(isWrong)).toBe(true);
    expect(found.some(({ advice }) => advice.includes('--from'))).toBe(true);
    await check({ deep: true, repair: true, from: [file] });
    await expectWhole();
  });

  it('from a compressed archive, after one that does not have the layer', async () => {
    const without = join(scratch, 'without.tar');
    writeFileSync(without, tar(dockerArchive([imageOf([layerOf({ x: 'x' })], { tags: ['x:1'] })])));
    const compressed = join(scratch, 'app.tar.gz');
    writeFileSync(compressed, gzipSync(archive));
    rmSync(content(1, 'run'));
    await check({ deep: true, repair: true, from: [without, compressed] });
    await expectWhole();
  });

  it('nothing below a mounted container, which is named', async () => {
    const mount = await store.containers.mount('box');
    writeFileSync(content(0, 'etc/other'), 'OTHER');
    const [finding] = await check({ deep: true, repair: true, from: [file] });
    expect(finding).toMatchObject({ code: 'layer-damaged', repaired: false });
    expect(finding?.advice).toContain('unmount box');
    expect(readFileSync(join(mount.path, 'etc/other'), 'utf8')).toBe('OTHER');
    await mount.unmount();
    await check({ deep: true, repair: true, from: [file] });
    await expectWhole();
  });

  it('nothing where no place has the layer, and leaves the layer as it is', async () => {
    writeFileSync(content(0, 'etc/other'), 'OTHER');
    const before = readFileSync(entry(0, 'cache-id'), 'utf8');
    const [finding] = await check({ deep: true, repair: true });
    expect(finding?.advice).toMatch(/^the repair failed: no copy of layer .* was found: .*--from/);
    const missing = join(scratch, 'missing.tar');
    const [other] = await check({ deep: true, repair: true, from: [missing] });
    expect(other?.advice).toContain(missing);
    expect(readFileSync(entry(0, 'cache-id'), 'utf8')).toBe(before);
  });

  it('nothing by an archive whose layer has other bytes', async () => {
    writeFileSync(content(0, 'etc/other'), 'OTHER');
    const at = archive.indexOf('other', archive.indexOf('etc/other') + 512);
    const damaged = Buffer.from(archive);
    damaged.write('OTHER', at);
    writeFileSync(file, damaged);
    const [finding] = await check({ deep: true, repair: true, from: [file] });
    expect(finding).toMatchObject({ repaired: false });
    expect(finding?.advice).toContain('the repair failed');
  });

  it('only with repair: a check alone is refused an archive', async () => {
    expect(await rejection(check({ from: [file] }))).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
  });
});

it.each([
  ['the directory', () => rmSync(content(0, 'etc/other'))],
  ['the metadata', () => chmodSync(content(0, 'etc/other'), 0o777)],
])('a container cannot be created and mounted while %s of a layer below is repaired', async (_, damage) => {
  damage();
  const { id } = await store.containers.get('box');
  const locks = new Locks(join(root, 'layerstack/locks'));
  const box = await locks.acquire('containers', id);
  const repair = check({ deep: true, repair: true, from: [file] });
  await expect
    .poll(async () => {
      const lock = locks.tryEach('layers', [REPAIR]);
      await lock.release();
      return lock.keys.size;
    })
    .toBe(0);
  await using other = await Layerstack.open({ root });
  let isMade = false;
  const made = other.containers.create('app:1', { name: 'late' }).then(() => (isMade = true));
  await sleep(300);
  expect(isMade).toBe(false);
  await box.release();
  expect((await repair).every(({ repaired }) => repaired)).toBe(true);
  await made;
  await expectWhole();
});

describe('a plain load of an image replaces', () => {
  const load = (check = false) => store.images.load(Readable.from([archive]), { check });

  it.each([
    'a missing file of a layer in the middle',
    'an empty file, as after a power cut',
    'two layers at once',
  ])('%s', async (name) => {
    DAMAGE[name]?.();
    const { notices } = await load();
    expect(notices.join()).toContain('was damaged in the store, and is replaced');
    await expectWhole();
  });

  it('a changed content of the same size, with check', async () => {
    writeFileSync(content(0, 'etc/other'), 'OTHER');
    expect((await load()).notices).toEqual([]);
    expect((await load(true)).notices).toHaveLength(1);
    await expectWhole();
  });

  it('nothing of a sound image, whose layers it does not read', async () => {
    const before = readFileSync(entry(1, 'cache-id'), 'utf8');
    expect((await load(true)).notices).toEqual([]);
    expect(readFileSync(entry(1, 'cache-id'), 'utf8')).toBe(before);
  });

  it('nothing below a mounted container, which is named in a notice', async () => {
    const mount = await store.containers.mount('box');
    rmSync(content(1, 'run'));
    const { notices } = await load();
    expect(notices.join()).toContain('unmount box');
    await mount.unmount();
    await load();
    await expectWhole();
  });
});

describe('a directory that a damaged entry names is kept', () => {
  const load = () => store.images.load(Readable.from([archive]));
  const plant = (id: string): void => {
    mkdirSync(join(root, 'overlay2', id, 'diff'), { recursive: true });
    writeFileSync(join(root, 'overlay2', id, 'diff/precious'), 'precious');
    writeFileSync(entry(1, 'cache-id'), id);
  };
  const precious = (id: string): string => readFileSync(join(root, 'overlay2', id, 'diff/precious'), 'utf8');

  it('where it is the upper of a container: by a load, and by the removal of the image', async () => {
    const { mountId } = await store.containers.get('box');
    plant(mountId);
    const [dispute] = await check();
    expect(dispute).toMatchObject({ code: 'layer-incomplete', severity: 'error' });
    expect(dispute?.message).toContain('the directory of a container');
    expect((await load()).notices.join()).toContain('was damaged in the store, and is replaced');
    expect(precious(mountId)).toBe('precious');
    await store.containers.create('base:1', { name: 'other' });
    const other = (await store.containers.get('other')).mountId;
    plant(other);
    await store.containers.remove('box');
    await store.images.remove('app:1');
    await store.close();
    store = await Layerstack.open({ root });
    expect(precious(other)).toBe('precious');
  });

  it('where it is an init layer', async () => {
    const { id } = await store.containers.get('box');
    const init = readFileSync(join(root, 'image/overlay2/layerdb/mounts', id, 'init-id'), 'utf8');
    plant(init);
    await load();
    expect(precious(init)).toBe('precious');
  });

  it('where it is a snapshot', async () => {
    const { id } = await store.snapshots.create('box');
    plant(id);
    await load();
    expect(precious(id)).toBe('precious');
  });

  it("where it is one of BuildKit's", async () => {
    const id = 'u9qn3k5c0m1z7d2r8t4v6w0x1';
    mkdirSync(join(root, 'buildkit'));
    writeFileSync(join(root, 'buildkit/snapshots.db'), `db ${id} db`);
    plant(id);
    await load();
    expect(precious(id)).toBe('precious');
  });
});

it.each(['', 'none'])(
  'a layer with the cache-id %j and a damaged tar-split does not end the check',
  async (id) => {
    writeFileSync(entry(1, 'cache-id'), id);
    writeFileSync(entry(1, 'tar-split.json.gz'), 'damaged');
    rmSync(content(2, 'more'));
    const found = await check({ deep: true });
    expect(found.map(({ message }) => message).join()).toContain("'more' is missing");
    await check({ deep: true, repair: true, from: [file] });
    await check({ deep: true, repair: true });
    expect((await check({ deep: true })).filter(isWrong)).toEqual([]);
  },
);

it('a layer goes back to the directory that lost its name, whatever else overlay2 has', async () => {
  mkdirSync(join(root, 'overlay2/stranger/diff'), { recursive: true });
  const old = join(content(1), '..');
  renameSync(old, join(root, 'overlay2/renamed'));
  await check({ repair: true });
  expect(readFileSync(entry(1, 'cache-id'), 'utf8')).toBe('renamed');
  rmSync(join(root, 'overlay2/stranger'), { recursive: true });
  await expectWhole();
});
