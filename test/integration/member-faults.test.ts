/**
 * Members that no file system can hold, by every door that takes a tar: the error is the input's, and names
 * the member. What a member says in vain (an attribute that is not known here, mode bits that are none) is
 * taken, as docker takes it.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Layerstack, type Container, type CopyOptions } from '../../src/index.ts';
import { dockerArchive } from '../support/archives.ts';
import { rejection } from '../support/errors.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { makeVolume, type Volume } from '../support/loop.ts';
import { tar, type TarItem, type TarMember } from '../support/tar.ts';
import { FakeRepository, PullStore } from '../support/pull-store.ts';

const acl = (...entries: readonly (readonly [tag: number, mode: number])[]): Buffer =>
  Buffer.concat([
    Buffer.from([2, 0, 0, 0]),
    ...entries.map(([tag, mode]) => Buffer.from([tag & 255, tag >> 8, mode, 0, 255, 255, 255, 255])),
  ]);
const bad = (member: Partial<TarMember>): TarItem[] => [{ name: 'bad', ...member }];

type Fault = [what: string, items: TarItem[], name?: string];

const FAULTS: Fault[] = [
  ['a symbolic link to ""', bad({ type: 'symlink', linkname: '' })],
  ['a symbolic link to a text that is no path', bad({ type: 'symlink', linkname: 'x/'.repeat(2048) })],
  ['a hard link to ""', bad({ type: 'hardlink', linkname: '' })],
  ['a hard link to itself', bad({ type: 'hardlink', linkname: './bad' })],
  ['a hard link to what is not there', bad({ type: 'hardlink', linkname: 'gone' })],
  [
    'a hard link to a directory',
    [{ name: 'dir/', type: 'directory' }, ...bad({ type: 'hardlink', linkname: 'dir' })],
  ],
  ['a hard link below a file', [{ name: 'file' }, ...bad({ type: 'hardlink', linkname: 'file/x' })]],
  ['a name that is too long', [{ name: 'n'.repeat(256) }], 'n'.repeat(256)],
  ['a directory whose name is too long', [{ name: `${'n'.repeat(256)}/f` }], `${'n'.repeat(256)}/f`],
  ['a name below a file', [{ name: 'file' }, { name: 'file/bad' }], 'file/bad'],
  [
    'a name through links that lead to each other',
    [
      { name: 'ping', type: 'symlink', linkname: 'pong' },
      { name: 'pong', type: 'symlink', linkname: 'ping' },
      { name: 'ping/bad' },
    ],
    'ping/bad',
  ],
  [
    'a name through a link to nothing',
    [{ name: 'dangling', type: 'symlink', linkname: 'gone/far' }, { name: 'dangling/bad' }],
    'dangling/bad',
  ],
  ['a capability that is none', bad({ xattrs: { 'security.capability': 'none' } })],
  ['an ACL that is none', bad({ xattrs: { 'system.posix_acl_access': acl([0xff, 7]) } })],
  [
    'an ACL of a directory that is none',
    bad({ type: 'directory', name: 'bad/', xattrs: { 'system.posix_acl_default': acl([1, 9]) } }),
    'bad/',
  ],
  [
    'a default ACL of a file',
    bad({ xattrs: { 'system.posix_acl_default': acl([1, 7], [4, 5], [0x20, 5]) } }),
  ],
  ['an attribute without a name', bad({ xattrs: { '': 'x' } })],
  ['an attribute with too long a name', bad({ xattrs: { [`user.${'n'.repeat(251)}`]: 'x' } })],
  ['an attribute with too long a value', bad({ xattrs: { 'user.x': 'x'.repeat(65537) } })],
  ['an attribute that ext4 has no block for', bad({ xattrs: { 'user.x': 'x'.repeat(30_000) } })],
  [
    'attributes of a directory that ext4 has no block for',
    bad({
      name: 'bad/',
      type: 'directory',
      xattrs: { 'trusted.x': 'x'.repeat(3000), 'trusted.y': 'y'.repeat(3000) },
    }),
    'bad/',
  ],
  ['a device with too large a number', bad({ type: 'char', devmajor: 4096, devminor: 1 })],
  [
    'a device with a negative number',
    bad({ type: 'block', devmajor: 1, devminor: -1, base256: ['devminor'] }),
  ],
  ['a user that is none', bad({ pax: { uid: '4294967295' } })],
  ['a negative user', bad({ pax: { uid: '-1' } })],
  ['a group beyond all groups', bad({ pax: { gid: '4294967296' } })],
  ['a malformed record', bad({ pax: { mtime: 'never' } })],
];

/** Attributes, modes and times that the file system cannot hold. The members are extracted without them. */
const VAIN: readonly TarItem[] = [
  { name: 'unknown', xattrs: { 'strange.name': 'x', 'system.unknown': 'y' } },
  { name: 'link', type: 'symlink', linkname: 'unknown', xattrs: { 'user.x': 'x' } },
  { name: 'fifo', type: 'fifo', xattrs: { 'user.x': 'x' } },
  { name: 'old', xattrs: { 'system.posix_acl_access': 'of another version' } },
  { name: 'mode', mode: 0o177755, base256: ['mode'] },
  { name: 'past', mtime: -(2 ** 40) },
  { name: 'future', pax: { mtime: '9223372036854775807' } },
];

let volume: Volume;
let store: Layerstack;

/** Into a container of its own. */
async function copyIn(items: readonly TarItem[], options: CopyOptions = {}): Promise<Container> {
  const container = await store.containers.create('base:1');
  await store.containers.copyIn(container, Readable.from([tar(items)]), '/', options);
  return container;
}

beforeAll(async () => {
  volume = await makeVolume('ext4', { sizeMiB: 64 });
  store = await Layerstack.open({ root: join(volume.path, 'root') });
  const archive = join(volume.path, 'base.tar');
  writeFileSync(archive, tar(dockerArchive([imageOf([layerOf({ etc: '' })], { tags: ['base:1'] })])));
  await store.images.load(archive);
});

afterAll(async () => {
  await store.close();
  await volume.unmount();
});

describe.each<Fault>(FAULTS)('%s', (_, items, member = 'bad') => {
  test('is the fault of the layer that a load finds it in', async () => {
    const image = imageOf([layerOf({ fine: '' }), layerOf(items)]);
    const archive = join(volume.path, 'archive.tar');
    writeFileSync(archive, tar(dockerArchive([image])));
    const error = await rejection(store.images.load(archive));
    expect(error).toMatchObject({ code: 'ERR_LAYER_INVALID', kind: 'invalid', member, path: archive });
    expect(error).toHaveProperty('layer', expect.stringMatching(/layer\.tar|sha256/));
    expect(error.message).toContain(archive);
  });

  test('is the fault of the tar that is imported', async () => {
    const file = join(volume.path, 'import.tar');
    writeFileSync(file, tar(items));
    const found = { code: 'ERR_LAYER_INVALID', member };
    expect(await rejection(store.images.import(file))).toMatchObject({ ...found, layer: file });
    expect(await rejection(store.images.import(Readable.from([tar(items)])))).toMatchObject({
      ...found,
      layer: 'stdin',
    });
  });

  test('is the fault of the tar that is copied in', async () => {
    expect(await rejection(copyIn(items))).toMatchObject({
      code: 'ERR_ARCHIVE_INVALID',
      kind: 'invalid',
      member,
    });
  });
});

test.each<Fault>(FAULTS.filter(([what]) => /capability|link to ""|too long/.test(what)))(
  '%s is the fault of the layer that a pull finds it in',
  async (_, items, member = 'bad') => {
    await using target = await PullStore.open();
    const repository = new FakeRepository();
    const layer = layerOf(items);
    repository.push(imageOf([layer]), ['1']);
    const error = await rejection(target.pull(repository, '1'));
    expect(error).toMatchObject({ code: 'ERR_LAYER_INVALID', member });
  },
);

test('a file larger than the file system allows is the fault of its member', async () => {
  const size = String(17 * 1024 ** 4);
  const items = bad({
    content: 'x',
    pax: { 'GNU.sparse.map': '0,1', 'GNU.sparse.numblocks': '1', 'GNU.sparse.size': size },
  });
  const file = join(volume.path, 'large.tar');
  writeFileSync(file, tar(items));
  const maxBytes = 2 ** 50;
  const imported = rejection(store.images.import(file, { maxBytes }));
  expect(await imported).toMatchObject({ code: 'ERR_LAYER_INVALID', member: 'bad' });
  const copied = rejection(copyIn(items, { maxBytes }));
  expect(await copied).toMatchObject({ code: 'ERR_ARCHIVE_INVALID', member: 'bad' });
});

test('a removal in overlayfs’s form cannot be copied into a container', async () => {
  expect(await rejection(copyIn(bad({ type: 'char' })))).toMatchObject({
    code: 'ERR_ARCHIVE_INVALID',
    member: 'bad',
  });
});

test('a hard link to itself leaves the file of that name', async () => {
  const container = await copyIn([{ name: 'kept', content: 'kept' }]);
  const link: TarItem = { name: 'kept', type: 'hardlink', linkname: 'kept' };
  const copy = store.containers.copyIn(container, Readable.from([tar([link])]), '/');
  expect(await rejection(copy)).toMatchObject({ code: 'ERR_ARCHIVE_INVALID', member: 'kept' });
  expect(await store.containers.statPath(container, '/kept')).toMatchObject({ size: 4 });
});

test('ineffective records are accepted, with a warning if one is left out', async () => {
  const warnings: unknown[] = [];
  const onProgress = (event: { readonly type: string }): void => void warnings.push(event);
  await store.images.import(Readable.from([tar(VAIN)]), { reference: 'vain:1', onProgress });
  const left = (event: unknown): boolean => (event as { code?: string }).code === 'WARN_XATTR_DENIED';
  expect(warnings.filter(left)).toHaveLength(5);
  const container = await copyIn(VAIN);
  expect(await store.containers.statPath(container, '/mode')).toMatchObject({
    mode: 0o755 + 2 ** 23 + 2 ** 22 + 2 ** 20,
  });
});

test("a full disk is not reported as a member's fault", async () => {
  const small = await makeVolume('ext4', { sizeMiB: 8 });
  try {
    mkdirSync(join(small.path, 'root'));
    await using full = await Layerstack.open({ root: join(small.path, 'root') });
    const items = [{ name: 'big', content: 'x'.repeat(16 * 1024 ** 2), xattrs: { 'user.x': 'x' } }];
    const error = await rejection(full.images.import(Readable.from([tar(items)])));
    expect(error).toMatchObject({ code: 'ERR_NO_SPACE' });
  } finally {
    await small.unmount();
  }
});
