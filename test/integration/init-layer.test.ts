import {
  chmodSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  closeSync,
  renameSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mountOverlay, unmount } from '../../src/system/mounts.ts';
import { call, native } from '../../src/system/native.ts';
import { build, directories, scratch, snapshot, type DirectoryNode, type Node } from '../support/overlay.ts';

/** What dockerd wants to be there: moby daemon/initlayer. */
const WANTED: readonly (readonly [string, 'dir' | 'file' | 'link'])[] = [
  ['/dev/pts', 'dir'],
  ['/dev/shm', 'dir'],
  ['/proc', 'dir'],
  ['/sys', 'dir'],
  ['/.dockerenv', 'file'],
  ['/etc/resolv.conf', 'file'],
  ['/etc/hosts', 'file'],
  ['/etc/hostname', 'file'],
  ['/dev/console', 'file'],
  ['/etc/mtab', 'link'],
];

function attempt(action: () => void): boolean {
  try {
    action();
    return true;
  } catch {
    return false;
  }
}

const exists = (path: string): boolean => attempt(() => lstatSync(path));

/** A missing directory and its missing parents, as root's. */
function makeDirectories(path: string): void {
  if (exists(path)) return;
  makeDirectories(dirname(path));
  mkdirSync(path, 0o755);
  lchownSync(path, 0, 0);
}

/** dockerd's steps on a mounted overlay: the model that populateInit is held against. */
function populateMounted(root: string): void {
  const umask = process.umask(0o022);
  for (const [path, kind] of WANTED) {
    const parts = path.split('/').slice(1);
    parts.forEach((_, i) => attempt(() => unlinkSync(join(root, ...parts.slice(0, i + 1)))));
    const full = join(root, path);
    if (exists(full)) continue;
    makeDirectories(dirname(full));
    if (kind === 'dir') makeDirectories(full);
    if (kind === 'link') symlinkSync('/proc/mounts', full);
    if (kind === 'file') {
      closeSync(openSync(full, 'a', 0o755));
      lchownSync(full, 0, 0);
    }
  }
  process.umask(umask);
}

const OPAQUE = { times: false, overlayXattrs: ['trusted.overlay.opaque'] };

async function compare(images: readonly DirectoryNode[]): Promise<void> {
  const root = scratch();
  const lowers: string[] = [];
  for (const [i, image] of images.entries()) {
    await build(join(root, `layer${i}`), image);
    lowers.push(`layer${i}`);
  }
  for (const name of ['theirs', 'ours', 'again', 'work', 'merged']) mkdirSync(join(root, name), 0o755);
  const merged = join(root, 'merged');
  const mount = {
    root,
    target: merged,
    lowers,
    work: 'work',
    method: 'fsconfig' as const,
    options: ['index=off'],
  };
  await mountOverlay({ ...mount, upper: 'theirs' });
  populateMounted(merged);
  const theirView = await snapshot(merged, { times: false });
  await unmount(merged);

  await call(native.populateInit(root, lowers, 'ours'));
  const theirs = await snapshot(join(root, 'theirs'), OPAQUE);
  expect(await snapshot(join(root, 'ours'), OPAQUE)).toEqual(theirs);
  // The second container of an image uses the plan of the first one.
  await call(native.populateInit(root, lowers, 'again'));
  expect(await snapshot(join(root, 'again'), OPAQUE)).toEqual(theirs);
  await mountOverlay({ ...mount, upper: 'ours' });
  expect(await snapshot(merged, { times: false })).toEqual(theirView);
  await unmount(merged);
}

const dir = (children: Record<string, Node>, facts: Partial<DirectoryNode> = {}): DirectoryNode => ({
  kind: 'dir',
  mode: 0o755,
  gid: 0,
  opaque: false,
  xattr: false,
  children,
  ...facts,
});
const file: Node = { kind: 'file', content: 'of the image', mode: 0o644, uid: 7 };
const whiteout: Node = { kind: 'whiteout' };

test('a layer whose directory got other metadata is looked at again', async () => {
  const root = scratch();
  await build(join(root, 'layer'), dir({ etc: dir({}) }));
  const made = (upper: string): number => lstatSync(join(root, upper, 'etc')).mode & 0o7777;
  for (const mode of [0o777, 0o750]) {
    chmodSync(join(root, 'layer/etc'), mode);
    const upper = `upper${mode.toString(8)}`;
    mkdirSync(join(root, upper));
    await call(native.populateInit(root, ['layer'], upper));
    expect(made(upper)).toBe(mode);
  }
});

test('a layer that was replaced is looked at again', async () => {
  const root = scratch();
  for (const name of ['first', 'second']) mkdirSync(join(root, name), 0o755);
  await build(join(root, 'layer'), dir({ proc: dir({}) }));
  await call(native.populateInit(root, ['layer'], 'first'));
  renameSync(join(root, 'layer'), join(root, 'old'));
  await build(join(root, 'layer'), dir({}));
  await call(native.populateInit(root, ['layer'], 'second'));
  expect([exists(join(root, 'first/proc')), exists(join(root, 'second/proc'))]).toEqual([false, true]);
});

describe('populateInit leaves what dockerd leaves on a mounted overlay', () => {
  test.each<[string, DirectoryNode[]]>([
    ['an empty image', [dir({})]],
    [
      'an ordinary image',
      [dir({ etc: dir({ hosts: file, passwd: file }), dev: dir({ console: file }), proc: dir({}) })],
    ],
    [
      'everything there already',
      [dir({ dev: dir({ pts: dir({}), shm: dir({}) }), proc: dir({}), sys: dir({}) })],
    ],
    [
      '/etc is a link',
      [dir({ etc: { kind: 'link', target: 'usr/etc' }, usr: dir({ etc: dir({ hosts: file }) }) })],
    ],
    ['/dev is a file', [dir({ dev: file })]],
    [
      '/dev/pts is a file, /dev/console a directory',
      [dir({ dev: dir({ pts: file, console: dir({ x: file }) }) })],
    ],
    ['/etc was deleted by the top layer', [dir({ etc: whiteout }), dir({ etc: dir({ hosts: file }) })]],
    [
      '/etc is opaque in the top layer',
      [dir({ etc: dir({}, { opaque: true }) }), dir({ etc: dir({ hosts: dir({}) }) })],
    ],
    ['/etc merges', [dir({ etc: dir({ a: file }, { mode: 0o700 }) }), dir({ etc: dir({ hosts: dir({}) }) })]],
    [
      'a whiteout over a link over a directory',
      [dir({ sys: whiteout }), dir({ sys: file }), dir({ sys: dir({}) })],
    ],
    ['/etc is setgid and has attributes', [dir({ etc: dir({}, { mode: 0o2775, gid: 5, xattr: true }) })]],
    ['/proc is a fifo', [dir({ proc: { kind: 'fifo' } })]],
  ])('%s', async (_, images) => {
    await compare(images);
  });

  test('any image', async () => {
    const top = directories(['etc', 'dev', 'proc', 'sys', '.dockerenv'], 0);
    const inner = directories(['hosts', 'mtab', 'hostname', 'pts', 'console', 'shm'], 1);
    const layer = fc
      .tuple(top, fc.option(inner), fc.option(inner))
      .map(([root, etc, dev]) =>
        dir({ ...root.children, ...(etc && { etc }), ...(dev && { dev }) }, { xattr: root.xattr }),
      );
    await fc.assert(fc.asyncProperty(fc.array(layer, { minLength: 1, maxLength: 4 }), compare), {
      numRuns: 60,
    });
  });

  test('an image without layers does not get opaque directories', async () => {
    const root = scratch();
    mkdirSync(join(root, 'ours'), 0o755);
    mkdirSync(join(root, 'theirs'), 0o755);
    populateMounted(join(root, 'theirs'));
    await call(native.populateInit(root, [], 'ours'));
    expect(await snapshot(join(root, 'ours'), OPAQUE)).toEqual(await snapshot(join(root, 'theirs'), OPAQUE));
  });
});

test('a missing layer is an error that names it', async () => {
  const root = scratch();
  mkdirSync(join(root, 'ours'));
  await expect(call(native.populateInit(root, ['l/GONE'], 'ours'))).rejects.toMatchObject({
    code: 'ERR_STORE_CORRUPT',
    path: join(root, 'l/GONE'),
  });
});
