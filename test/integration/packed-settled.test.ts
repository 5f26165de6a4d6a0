/** A settled store beside a store that extracted the image at once: they are equal, file for file. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { dockerArchive } from '../support/archives.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { dumpStore } from '../support/store-dump.ts';
import { compareTrees, mapTree, type Tree, type TreeEntry } from '../support/tree.ts';
import { NAME, RICH, writeArchive } from '../support/packed-layers.ts';

let scratch: string;
let archive: string;

beforeEach(() => {
  scratch = makeScratch('packed-settled');
  archive = writeArchive(join(scratch, 'rich.tar'), dockerArchive([RICH]));
});

afterEach(() => dropScratch(scratch));

/** The random names of a store's layers, and what they stand for. */
function randomNames(root: string): Map<string, string> {
  const names = new Map<string, string>();
  const layers = join(root, 'image/overlay2/layerdb/sha256');
  for (const chainId of readdirSync(layers)) {
    const id = readFileSync(join(layers, chainId, 'cache-id'), 'utf8');
    names.set(id, `directory of ${chainId}`);
    names.set(readFileSync(join(root, 'overlay2', id, 'link'), 'utf8'), `short name of ${chainId}`);
  }
  return names;
}

/** The files whose content is a random name, or contains one. */
const NAMED = /(?:^|\/)(?:link|lower|cache-id)$/;
/** dockerd's time of the last tag. Its length varies: a fraction of a second ends without zeros. */
const TIMED = /imagedb\/metadata\/.*\/lastUpdated$/;

/** The store with the random names replaced by what they stand for. */
async function comparable(root: string): Promise<Tree> {
  const names = randomNames(root);
  const replaced = (text: string): string =>
    [...names].reduce((result, [name, meaning]) => result.replaceAll(name, meaning), text);
  const tree = mapTree(await dumpStore(root), (entry): TreeEntry => {
    const named = {
      ...entry,
      path: replaced(entry.path),
      ...(entry.target !== undefined && { target: replaced(entry.target) }),
      ...(entry.inode !== undefined && { inode: replaced(entry.inode) }),
    };
    if (NAMED.test(entry.path) && entry.type === 'file')
      return { ...named, mtime: '', sha256: replaced(readFileSync(join(root, entry.path), 'utf8')) };
    if (TIMED.test(entry.path)) return { ...named, mtime: '', sha256: '', size: 0 };
    // The times of the store's own files are those of their making; the times of layers are the tar's.
    // Whiteouts have no time in the tar.
    const isOfTar = /^overlay2\/[^/]+\/diff\/./.test(entry.path) && entry.rdev !== '0:0';
    return isOfTar ? named : { ...named, mtime: '' };
  });
  return new Map([...tree.values()].map((entry) => [entry.path, entry] as const).sort());
}

/** Directories to which the layer that makes them gives no time: extraction takes the clock's. */
const timeless = (tree: Tree): Tree =>
  mapTree(tree, (entry) =>
    /\/diff\/(?:srv|without|without\/parents)$/.test(entry.path) ? { ...entry, mtime: '' } : entry,
  );

describe('a settled store', () => {
  it.each(['a load', 'an import'])('equals one that extracted at once: %s', async (how) => {
    const roots = ['classic', 'settled'].map((name) => join(scratch, name));
    for (const [index, root] of roots.entries()) {
      const form = index === 0 ? 'classic' : 'packed';
      await using store = await Layerstack.open({ root });
      if (how === 'a load') await store.images.load(archive, { form });
      else
        await store.images.import(
          writeArchive(join(scratch, 'one.tar'), [{ name: 'srv/file', content: 'x' }]),
          {
            reference: NAME,
            sourceDateEpoch: 1_700_000_000,
            form,
          },
        );
      // It leaves the mark of a parent, which settling makes in any case.
      await store.containers.remove((await store.containers.create(NAME)).id);
      if (form === 'packed') await store.images.settle(NAME);
      for await (const finding of store.fsck({ deep: true })) expect.fail(finding.message);
    }
    const [classic, settled] = await Promise.all(roots.map(comparable));
    expect(classic?.size).toBeGreaterThan(20);
    expect(compareTrees(timeless(settled ?? new Map()), timeless(classic ?? new Map()))).toEqual([]);
  });
});
