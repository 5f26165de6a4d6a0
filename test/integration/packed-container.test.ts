/**
 * An archive in place, treated as a container: what `diff`, `export`, `cp`, `bundle` and `commit` do with it is what they
 * do with a container of its image.
 */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openArchive } from '../../src/app/archives.ts';
import { Layerstack } from '../../src/app/layerstack.ts';
import { dockerArchive } from '../support/archives.ts';
import { rejection } from '../support/errors.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { NAME, RICH, writeArchive } from './packed-support.ts';

let scratch: string;
let archive: string;
let store: Layerstack;

beforeEach(async () => {
  scratch = makeScratch('packed-container');
  archive = writeArchive(join(scratch, 'app.tar'), dockerArchive([RICH]));
  store = await Layerstack.open({ root: join(scratch, 'store') });
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await store.close();
  await dropScratch(scratch);
});

const places = (): string => join(store.root, 'layerstack/archives');

/** No mount, no loop device, no directory. */
async function expectNothing(): Promise<void> {
  expect(await store.archives.list()).toEqual([]);
  if (existsSync(places())) expect(readdirSync(places())).toEqual([]);
  expect(mountsBelow(scratch)).toEqual([]);
  expect(
    execFileSync('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE'], { encoding: 'utf8' }),
  ).not.toContain(scratch);
}

/** Every kind of change. */
function edit(root: string): void {
  writeFileSync(join(root, 'added'), 'new');
  appendFileSync(join(root, 'srv/old'), ' and now');
  chmodSync(join(root, 'srv/three'), 0o600);
  rmSync(join(root, 'srv/null'));
  rmSync(join(root, 'hidden'), { recursive: true });
  mkdirSync(join(root, 'hidden'));
  writeFileSync(join(root, 'hidden/instead'), 'opaque');
  renameSync(join(root, 'becomes-a-file'), join(root, 'renamed'));
  mkdirSync(join(root, 'deep/er'), { recursive: true });
}

const EDITS = [
  'A /added',
  'D /becomes-a-file',
  'A /deep',
  'A /deep/er',
  'C /hidden',
  'D /hidden/above',
  'A /hidden/instead',
  'A /renamed',
  'C /srv',
  'D /srv/null',
  'C /srv/old',
  'C /srv/three',
];

/** A container of the archive's image, with the same changes. */
async function editedContainer(): Promise<string> {
  await store.images.load(archive);
  const { id } = await store.containers.create(NAME);
  await using mount = await store.containers.mount(id);
  edit(mount.path);
  return id;
}

const lines = (changes: readonly { readonly kind: string; readonly path: string }[]): string[] =>
  changes.map(({ kind, path }) => `${kind} ${path}`);

describe.each(['file', 'loop', 'none'])('by %s', (method) => {
  beforeEach(() => vi.stubEnv('LAYERSTACK_CAPS', `erofs=${method}`));

  it('diff lists what it lists for a container', async () => {
    const { path } = await store.archives.mount(archive);
    expect(await store.archives.diff(archive)).toEqual([]);
    edit(path);
    const changes = lines(await store.archives.diff(archive));
    expect(changes).toEqual(lines(await store.containers.diff(await editedContainer())));
    expect(changes).toEqual(EDITS);
    expect(lines(await store.archives.diff(path))).toEqual(changes);
    expect(await store.archives.unmount(archive)).toBe(0);
    await expectNothing();
  });
});

describe('diff', () => {
  it('of an archive that this process has open, without a store', async () => {
    const root = await openArchive(archive, { directory: scratch });
    edit(root.path);
    expect(lines(await root.diff())).toEqual(EDITS);
    await root.close();
    expect(await rejection(root.diff())).toMatchObject({ code: 'ERR_ARCHIVE_NOT_MOUNTED' });
  });

  it('of one that is not mounted says so', async () => {
    expect(await rejection(store.archives.diff(archive))).toMatchObject({
      code: 'ERR_ARCHIVE_NOT_MOUNTED',
      path: archive,
      message: expect.stringContaining('layerstack mount') as string,
    });
  });

  it('of one that has changed since says so, and it can be unmounted', async () => {
    await store.archives.mount(archive);
    appendFileSync(archive, 'x');
    expect(await rejection(store.archives.diff(archive))).toMatchObject({ code: 'ERR_ARCHIVE_CHANGED' });
    await store.archives.unmount(archive);
    await expectNothing();
  });

  it('chooses among several mounted images', async () => {
    const other = imageOf([layerOf({ which: 'other' })], { tags: ['other:1'] });
    writeArchive(archive, dockerArchive([RICH, other]));
    await store.archives.mount(archive, { image: NAME });
    const { path } = await store.archives.mount(archive, { image: 'other:1' });
    writeFileSync(join(path, 'x'), '');
    expect(await rejection(store.archives.diff(archive))).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
    expect(lines(await store.archives.diff(archive, { image: 'other:1' }))).toEqual(['A /x']);
    expect(await store.archives.diff(archive, { image: NAME })).toEqual([]);
    for (const mount of await store.archives.list()) await store.archives.unmount(mount.path);
    await expectNothing();
  });

  it('works in a store that is open read-only, and for one that is mounted read-only', async () => {
    await store.archives.mount(archive, { readOnly: true });
    const reader = await Layerstack.open({ root: store.root, readOnly: true });
    expect(await reader.archives.diff(archive)).toEqual([]);
    await reader.close();
    await store.archives.unmount(archive);
    await expectNothing();
  });
});
