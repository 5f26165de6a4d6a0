/**
 * What the tests of archives in place share: an image with all that a layer can say, and the tree that a
 * store makes of it.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Layerstack } from '../../src/app/layerstack.ts';
import { CAPABILITY } from './edits.ts';
import { imageOf, layerOf, type TestImage } from './images.ts';
import { tar, type TarItem, type TarMember } from './tar.ts';
import { dumpTree, mapTree, type Tree, type TreeEntry } from './tree.ts';

export const NAME = 'rich:1';

const directory = (name: string, more: Partial<TarMember> = {}): TarMember => ({
  name,
  type: 'directory',
  ...more,
});

const SPARSE = {
  'GNU.sparse.major': '1',
  'GNU.sparse.minor': '0',
  'GNU.sparse.name': 'srv/sparse',
  'GNU.sparse.realsize': '1000000',
};

/** The map and the data of a file that has four bytes at 4096 and three near its end. */
function sparseContent(): Buffer {
  const map = Buffer.alloc(512);
  map.write('3\n4096\n4\n999997\n3\n1000000\n0\n');
  return Buffer.concat([map, Buffer.from('data'), Buffer.from('end')]);
}

const LAYERS: readonly (readonly TarItem[])[] = [
  [
    directory('srv', { mode: 0o2755, uid: 4_000_000_000, gid: 3_999_999_999, pax: { mtime: '1.123456789' } }),
    { name: 'srv/one', content: 'shared', mode: 0o4755, xattrs: { 'security.capability': CAPABILITY } },
    { name: 'srv/two', type: 'hardlink', linkname: 'srv/one', mode: 0o4755 },
    { name: 'srv/old', content: 'from before', pax: { mtime: '-1215222292.876543211' } },
    { name: 'srv/empty', content: '' },
    { name: 'srv/blocks', content: Buffer.alloc(100 * 512, 'b') },
    { name: 'srv/link', type: 'symlink', linkname: '../one' },
    { name: 'srv/long', type: 'symlink', linkname: 'x'.repeat(4000) },
    { name: 'srv/null', type: 'char', devmajor: 1, devminor: 3, mode: 0o666 },
    { name: 'srv/wide', type: 'block', devmajor: 259, devminor: 70_000, mode: 0o600 },
    { name: 'srv/pipe', type: 'fifo' },
    { name: Buffer.concat([Buffer.from('srv/'), Buffer.from([0xff, 0x01, 0x0a])]), content: 'any bytes' },
    {
      name: 'srv/attributes',
      content: 'a',
      xattrs: { 'user.long': Buffer.alloc(3000, 7), 'trusted.t': 't' },
    },
    { name: 'srv/sparse', content: sparseContent(), pax: SPARSE },
    directory('gone'),
    { name: 'gone/file', content: 'removed by the next layer' },
    directory('hidden'),
    { name: 'hidden/below', content: 'hidden by the next layer' },
    directory('becomes-a-file'),
    { name: 'becomes-a-file/inside', content: 'x' },
    { name: 'becomes-a-directory', content: 'x' },
    { name: 'without/parents/file', content: 'parents are made' },
    { name: 'twice', content: 'first' },
    { name: 'twice', content: 'second, longer' },
  ],
  [
    { name: '.wh.gone', content: '' },
    directory('hidden', { mode: 0o700 }),
    { name: 'hidden/.wh..wh..opq', content: '' },
    { name: 'hidden/above', content: 'only this' },
    { name: 'becomes-a-file', content: 'now a file' },
    directory('becomes-a-directory'),
    { name: 'becomes-a-directory/inside', content: 'y' },
    { name: 'srv/.wh.empty', content: '' },
    { name: 'srv/three', content: 'three' },
    { name: 'srv/four', type: 'hardlink', linkname: 'srv/three' },
  ],
];

export const RICH: TestImage = imageOf(LAYERS.map(layerOf), { tags: [NAME] });

/** Writes an archive of members; its path. */
export function writeArchive(path: string, items: readonly TarItem[]): string {
  writeFileSync(path, tar(items));
  return path;
}

/** What a container has that its image has not. */
const ADDED = new Set(
  '.dockerenv dev etc etc/hostname etc/hosts etc/mtab etc/resolv.conf proc sys'.split(' '),
);

/**
 * Directories to which the topmost layer that has them gives no time: extraction takes the clock's, an
 * index none.
 */
const WITHOUT_TIME = new Set(['.', 'srv', 'without', 'without/parents']);

/** Without what a container adds to a root file system. */
export async function treeOf(root: string): Promise<Tree> {
  return mapTree(await dumpTree(root), (entry): TreeEntry | undefined => {
    if (ADDED.has(entry.path) || entry.path.startsWith('dev/')) return undefined;
    return WITHOUT_TIME.has(entry.path) ? { ...entry, mtime: '' } : entry;
  });
}

/** The tree that a store shows when it has loaded an archive and made a container of the image. */
export async function classicTree(scratch: string, archive: string, image: string): Promise<Tree> {
  const store = await Layerstack.open({ root: join(scratch, 'classic') });
  try {
    await store.images.load(archive);
    await store.containers.create(image, { name: 'classic' });
    const mount = await store.containers.mount('classic');
    try {
      return await treeOf(mount.path);
    } finally {
      await mount.unmount();
      await store.containers.remove('classic');
    }
  } finally {
    await store.close();
  }
}
