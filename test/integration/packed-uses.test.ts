/**
 * Every use of a packed image in a store beside the same use of the extracted image: the results are equal.
 */
import { createHash } from 'node:crypto';
import { createWriteStream, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { must } from '../support/process.ts';
import { dumpTree } from '../support/tree.ts';
import { NAME, RICH, treeOf, writeArchive } from '../support/packed-layers.ts';

const FORMS = ['classic', 'packed'] as const;

/** Extraction gives a directory that a layer leaves out the time of the clock. This one names all of them. */
const TIMED = imageOf(
  [
    layerOf([
      { name: './', type: 'directory' },
      { name: 'srv/', type: 'directory' },
      { name: 'srv/file', content: 'content' },
      { name: 'srv/link', type: 'hardlink', linkname: 'srv/file' },
    ]),
    layerOf([
      { name: './', type: 'directory' },
      { name: 'srv/', type: 'directory', mode: 0o700 },
      { name: 'srv/.wh.link', content: '' },
    ]),
  ],
  { tags: ['timed:1'] },
);

let scratch: string;
let stores: Layerstack[];

beforeAll(async () => {
  scratch = makeScratch('packed-uses');
  const archive = writeArchive(join(scratch, 'rich.tar'), dockerArchive([RICH]));
  const plain = writeArchive(join(scratch, 'plain.tar'), dockerArchive([TIMED]));
  stores = await Promise.all(FORMS.map((form) => Layerstack.open({ root: join(scratch, form) })));
  for (const [index, store] of stores.entries()) {
    await store.images.load(archive, { form: FORMS[index] });
    await store.images.load(plain, { form: FORMS[index] });
    await store.containers.create(NAME, { name: 'used' });
    await using mount = await store.containers.mount('used');
    writeFileSync(join(mount.path, 'srv/one'), 'changed');
    writeFileSync(join(mount.path, 'new'), 'new');
    // In the topmost of the changed directories too: its time goes into the tar of a commit.
    for (const path of ['srv/one', 'new', 'srv', '.']) utimesSync(join(mount.path, path), 1e9, 1e9);
  }
});

afterAll(async () => {
  for (const store of stores) await store.close();
  expect(mountsBelow(scratch)).toEqual([]);
  await dropScratch(scratch);
});

/** Does the same in both stores; `directory` is the use's own. */
async function both<T>(
  name: string,
  use: (store: Layerstack, directory: string) => Promise<T>,
): Promise<T[]> {
  const results: T[] = [];
  for (const [index, store] of stores.entries()) {
    const directory = join(scratch, `${name}-${FORMS[index] ?? ''}`);
    await mkdir(directory);
    results.push(await use(store, directory));
  }
  return results;
}

const digestOf = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

const USES: Readonly<Record<string, (store: Layerstack, directory: string) => Promise<unknown>>> = {
  diff: (store) => store.containers.diff('used'),
  export: async (store, directory) => {
    const tar = join(directory, 'export.tar');
    await pipeline(store.containers.export('used'), createWriteStream(tar));
    const tree = join(directory, 'tree');
    await mkdir(tree);
    await must('tar', ['-C', tree, '--numeric-owner', '--xattrs', '--xattrs-include=*', '-xpf', tar]);
    return [...(await treeOf(tree)).values()].map(({ path, mode, sha256, uid }) => [path, mode, sha256, uid]);
  },
  cp: async (store, directory) => {
    await store.containers.copyOut('used', '/srv', join(directory, 'srv'), { archive: true });
    return [...(await dumpTree(join(directory, 'srv'))).values()].map(({ path, mode, sha256 }) => [
      path,
      mode,
      sha256,
    ]);
  },
  'disk image': async (store, directory) => {
    const path = join(directory, 'disk.erofs');
    await using file = await open(path, 'w+');
    await store.images.writeDisk(file.fd, 'timed:1');
    return digestOf(path);
  },
  bundle: async (store, directory) => {
    await using mount = await store.containers.mount('used');
    const { spec } = await store.containers.bundle('used', join(directory, 'bundle'));
    expect(spec.root).toMatchObject({ path: mount.path });
    const process = { ...spec.process, env: undefined };
    return { ...spec, root: undefined, mounts: undefined, hostname: undefined, linux: undefined, process };
  },
  commit: async (store) => {
    const id = await store.containers.commit('used', {
      reference: 'committed:1',
      sourceDateEpoch: 1_700_000_000,
    });
    const { RootFS } = await store.images.inspect('committed:1');
    return [typeof id, RootFS];
  },
  'snapshot, fork and rollback': async (store) => {
    const snapshot = await store.snapshots.create('used', { name: 'kept' });
    const [fork] = await store.snapshots.fork(snapshot, {});
    await using mount = await store.containers.mount(fork?.id ?? '');
    const tree = [...(await treeOf(mount.path)).values()].map(({ path, mode, sha256, size }) => [
      path,
      mode,
      sha256,
      size,
    ]);
    await mount.unmount();
    await store.containers.remove(fork?.id ?? '');
    await store.snapshots.rollback('used', snapshot.id);
    return [tree, await store.containers.diff('used')];
  },
};

it.each(Object.keys(USES))('%s', async (name) => {
  const use = USES[name] ?? expect.fail(name);
  const [classic, packed] = await both(name.replaceAll(/\W/g, '-'), use);
  expect(packed).toEqual(classic);
  expect(classic).toBeTruthy();
});
