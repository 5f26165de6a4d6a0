/**
 * Files with holes: they stay holes on every way through the store, huge ones cost neither time nor space,
 * and what they seem to hold counts against the bounds.
 */
import {
  closeSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { createWriteStream } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Layerstack, type Container } from '../../src/index.ts';
import { dockerArchive } from '../support/archives.ts';
import { rejection } from '../support/errors.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { must } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { dumpStore, storeChanges } from '../support/store-dump.ts';
import { tar, type TarItem } from '../support/tar.ts';
import { FakeRepository, PullStore } from '../support/pull-store.ts';

const MIB = 1024 ** 2;
const TIB = 1024 ** 4;

/** Names, sizes, and where there is data: a word at each offset. */
const HUGE: Readonly<Record<string, readonly [size: number, at: readonly number[]]>> = {
  begins: [TIB, [0]],
  middle: [TIB + 5, [700 * 1024 * MIB]],
  ends: [TIB, [4096, TIB - 4]],
  empty: [600 * 1024 * MIB, []],
};
/** More data than `du` shows in a block or two, and less than anything real. */
const LITTLE = 2 * MIB;

let scratch: string;
let store: Layerstack;
let container: Container;

beforeEach(async () => {
  scratch = makeScratch('sparse');
  store = await Layerstack.open({ root: join(scratch, 'root') });
  const archive = tar(dockerArchive([imageOf([layerOf({ etc: '' })], { tags: ['base:1'] })]));
  await store.images.load(Readable.from([archive]));
  container = await store.containers.create('base:1', { name: 'work' });
});

afterEach(async () => {
  await store.close();
  await dropScratch(scratch);
});

function makeSparse(
  path: string,
  size: number,
  at: readonly number[],
  word: Uint8Array = Buffer.from('data'),
): void {
  const file = openSync(path, 'w');
  for (const offset of at) writeSync(file, word, 0, word.length, offset);
  closeSync(file);
  truncateSync(path, size);
}

function wordAt(path: string, offset: number): string {
  const file = openSync(path, 'r');
  const bytes = Buffer.alloc(4);
  readSync(file, bytes, 0, 4, offset);
  closeSync(file);
  return bytes.toString();
}

const occupied = (path: string): number => statSync(path).blocks * 512;

function expectHuge(directory: string): void {
  for (const [name, [size, at]] of Object.entries(HUGE)) {
    const path = join(directory, name);
    expect(statSync(path).size, name).toBe(size);
    expect(occupied(path), name).toBeLessThan(LITTLE);
    for (const offset of at) expect(wordAt(path, offset), name).toBe('data');
    expect(wordAt(path, Math.floor(size / 2) + 8192), name).toBe('\0\0\0\0');
  }
}

async function withHuge(of: Container): Promise<void> {
  await using mount = await store.containers.mount(of);
  mkdirSync(join(mount.path, 'huge'));
  for (const [name, [size, at]] of Object.entries(HUGE)) makeSparse(join(mount.path, 'huge', name), size, at);
}

async function expectInside(of: string | Container): Promise<void> {
  await using mount = await store.containers.mount(of);
  expectHuge(join(mount.path, 'huge'));
}

const diskUse = async (path: string): Promise<number> =>
  Number((await must('du', ['-s', '-B1', path])).split('\t')[0]);

describe('files of a terabyte that are nearly all holes', () => {
  beforeEach(() => withHuge(container));

  test('are committed, saved and loaded as such, and verified', { timeout: 60_000 }, async () => {
    const id = await store.containers.commit(container, { reference: 'huge:1' });
    const saved = join(scratch, 'saved.tar');
    await pipeline(store.images.save(['huge:1']), createWriteStream(saved));
    expect(statSync(saved).size).toBeLessThan(LITTLE);
    const findings = [];
    for await (const finding of store.fsck({ deep: true })) findings.push(finding);
    expect(findings).toEqual([]);
    await using other = await Layerstack.open({ root: join(scratch, 'other') });
    expect(await rejection(other.images.load(saved))).toMatchObject({
      code: 'ERR_LIMIT_EXCEEDED',
      limit: TIB,
    });
    const { images } = await other.images.load(saved, { maxBytes: 8 * TIB });
    expect(images[0]?.id).toBe(id);
    await store.containers.create('huge:1', { name: 'again' });
    await expectInside('again');
    expect(await diskUse(scratch)).toBeLessThan(8 * LITTLE);
  });

  test('are exported as members that GNU tar and Python read', { timeout: 60_000 }, async () => {
    const file = join(scratch, 'export.tar');
    await pipeline(store.containers.export(container), createWriteStream(file));
    expect(statSync(file).size).toBeLessThan(LITTLE);
    const target = join(scratch, 'extracted');
    mkdirSync(target);
    await must('tar', ['-xf', file, '-C', target]);
    expectHuge(join(target, 'huge'));
    const sizes = await must('python3', [
      ...['-c', 'import sys,tarfile\nfor m in tarfile.open(sys.argv[1]): print(m.name, m.size)', file],
    ]);
    for (const [name, [size]] of Object.entries(HUGE))
      expect(sizes).toContain(`huge/${name} ${String(size)}\n`);
  });

  test('are copied out, in, and from container to container', { timeout: 60_000 }, async () => {
    await store.containers.copyOut(container, '/huge', join(scratch, 'out'));
    expectHuge(join(scratch, 'out'));
    const second = await store.containers.create('base:1', { name: 'second' });
    await store.containers.copyIn(second, join(scratch, 'out'), '/huge');
    await expectInside(second);
    const third = await store.containers.create('base:1', { name: 'third' });
    const { tar: archive } = await store.containers.getArchive(container, '/huge');
    await store.containers.copyIn(third, archive, '/');
    await expectInside(third);
    expect(await diskUse(scratch)).toBeLessThan(8 * LITTLE);
  });
});

describe('the tar of files with holes', () => {
  /** The type and size fields of each member's own header. */
  async function headers(): Promise<Record<string, string>> {
    const bytes = await buffer(store.containers.export(container));
    const found: Record<string, string> = {};
    for (let at = 0; at < bytes.length; at += 512) {
      const field = (from: number, to: number): string =>
        bytes
          .subarray(at + from, at + to)
          .toString('latin1')
          .replace(/\0.*$/s, '');
      if (bytes[at] === 0 || field(257, 262) !== 'ustar' || field(156, 157) === 'x') continue;
      const size = String(parseInt(field(124, 135), 8));
      found[field(0, 100).replace('GNUSparseFile.0/', '')] = `${field(156, 157)} ${size}`;
    }
    return found;
  }

  async function make(name: string, size: number, at: readonly number[], word?: Uint8Array): Promise<void> {
    await using mount = await store.containers.mount(container);
    makeSparse(join(mount.path, name), size, at, word);
  }

  test.each([
    ['small holes', 20 * MIB, [] as number[]],
    ['a hole with data behind it', 64 * MIB, [64 * MIB - 4]],
    ['no hole', 4096, [0]],
  ])('of %s has zeros, which every reader understands', async (_, size, at) => {
    await make('file', size, at);
    expect(await headers()).toMatchObject({ file: `0 ${String(size)}` });
  });

  test('has no more zeros than 256 MiB of all files together', async () => {
    for (const name of ['a', 'b', 'c']) await make(name, 100 * MIB, []);
    const full = `0 ${String(100 * MIB)}`;
    expect(await headers()).toMatchObject({ a: full, b: full, c: '0 512' });
  });

  test('has the zeros of a file with much data, which its layer would otherwise carry twice', async () => {
    await make('file', 310 * MIB, [0], Buffer.alloc(40 * MIB, 'x'));
    expect(await headers()).toMatchObject({ file: `0 ${String(310 * MIB)}` });
  });

  test('maps the data of a file of very many pieces in few entries', { timeout: 60_000 }, async () => {
    await make(
      'file',
      TIB,
      Array.from({ length: 5000 }, (_, index) => index * 200 * MIB),
    );
    await store.containers.commit(container, { reference: 'pieces:1' });
    await using mount = await store.containers.mount(await store.containers.create('pieces:1'));
    expect(statSync(join(mount.path, 'file')).size).toBe(TIB);
    for (const index of [0, 1, 2500, 4999])
      expect(wordAt(join(mount.path, 'file'), index * 200 * MIB)).toBe('data');
  });

  test('is refused if it cannot map all the holes of a huge file', { timeout: 60_000 }, async () => {
    await make(
      'file',
      2 * TIB,
      Array.from({ length: 30_000 }, (_, index) => index * 40 * MIB),
    );
    const refused = { code: 'ERR_LIMIT_EXCEEDED', member: 'file' };
    expect(await rejection(store.containers.commit(container))).toMatchObject(refused);
    expect(await rejection(buffer(store.containers.export(container)))).toMatchObject(refused);
    expect(
      await rejection(store.containers.copyOut(container, '/file', join(scratch, 'file'))),
    ).toMatchObject(refused);
  });
});

describe('zeros of a plain tar', () => {
  const content = Buffer.alloc(8 * MIB);
  content.write('begin', 0);
  content.write('middle', 5 * MIB - 3);
  const items: TarItem[] = [
    { name: 'some', content },
    { name: 'only', content: Buffer.alloc(3 * MIB) },
    { name: 'none', content: Buffer.alloc(MIB, 'x') },
  ];
  const expectHoles = (directory: string): void => {
    const at = (name: string): string => join(directory, name);
    expect(occupied(at('some'))).toBeLessThan(MIB);
    expect(occupied(at('only'))).toBeLessThan(MIB / 2);
    expect(occupied(at('none'))).toBeGreaterThanOrEqual(MIB);
    expect(statSync(at('only')).size).toBe(3 * MIB);
    expect(wordAt(at('some'), 5 * MIB - 3)).toBe('midd');
  };

  test('are holes in a layer, whose tar still has them', async () => {
    const bytes = tar(items);
    await store.images.import(Readable.from([bytes]), { reference: 'zeros:1' });
    const findings = [];
    for await (const finding of store.fsck({ deep: true })) findings.push(finding);
    expect(findings).toEqual([]);
    await using mount = await store.containers.mount(await store.containers.create('zeros:1'));
    expectHoles(mount.path);
    expect((await buffer(store.images.save(['zeros:1']))).includes(bytes)).toBe(true);
  });

  test('are holes in files that are copied in', async () => {
    await store.containers.copyIn(container, Readable.from([tar(items)]), '/');
    await using mount = await store.containers.mount(container);
    expectHoles(mount.path);
  });
});

describe('holes count against the bounds', () => {
  const sparse = (name: string, size: number): TarItem => ({
    name,
    content: 'x',
    pax: { 'GNU.sparse.map': '0,1', 'GNU.sparse.numblocks': '1', 'GNU.sparse.size': String(size) },
  });
  const bomb = Array.from({ length: 50 }, (_, index) => sparse(`f${String(index)}`, TIB / 2));
  const TOO_MUCH = { code: 'ERR_LIMIT_EXCEEDED', kind: 'invalid' };

  test('of a load, whether in one layer or in several', async () => {
    const before = await dumpStore(store.root);
    const archive = join(scratch, 'bomb.tar');
    writeFileSync(archive, tar(dockerArchive([imageOf([layerOf(bomb)])])));
    const found = { ...TOO_MUCH, limit: TIB, member: 'f1', path: archive };
    expect(await rejection(store.images.load(archive))).toMatchObject(found);
    const layers = [layerOf([sparse('a', 30_000)]), layerOf([sparse('b', 40_000)])];
    writeFileSync(archive, tar(dockerArchive([imageOf(layers)])));
    expect(await rejection(store.images.load(archive, { maxBytes: 70_000 }))).toMatchObject(TOO_MUCH);
    expect(await storeChanges(store.root, before)).toEqual([]);
    await store.images.load(archive, { maxBytes: 80_000 });
  });

  test('of an import and a pull', async () => {
    expect(await rejection(store.images.import(Readable.from([tar(bomb)])))).toMatchObject({
      ...TOO_MUCH,
      member: 'f1',
    });
    await using target = await PullStore.open();
    const repository = new FakeRepository();
    repository.push(imageOf([layerOf(bomb)]), ['1']);
    expect(await rejection(target.pull(repository, '1'))).toMatchObject({ ...TOO_MUCH, member: 'f1' });
  });

  test('of a tar that is copied in', async () => {
    const copy = (options = {}) =>
      store.containers.copyIn(container, Readable.from([tar(bomb)]), '/', options);
    expect(await rejection(copy())).toMatchObject({ ...TOO_MUCH, limit: 16 * TIB, member: 'f31' });
    expect(await rejection(copy({ maxBytes: TIB }))).toMatchObject({ ...TOO_MUCH, limit: TIB, member: 'f1' });
    await copy({ maxBytes: 32 * TIB });
  });
});
