/**
 * Every tar of the corpora as a layer: mounted in place, and extracted by a store. Both show the same tree,
 * or refuse with the same code. The corpora are those of this suite, of Go's archive/tar and of tar-split.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openArchive } from '../../src/app/archives.ts';
import { Layerstack } from '../../src/app/layerstack.ts';
import { LayerstackError } from '../../src/core/errors.ts';
import { havePeers } from '../support/peers.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { compareTrees, dumpTree, mapTree, type Tree, type TreeEntry } from '../support/tree.ts';
import { archiveOfTars, sha256 } from './support/archive.ts';
import { corpora, MAKERS, MAX_BYTES } from './support/corpora.ts';
import { CASES, REFUSED } from './support/corpus.ts';

/** Returns `mounted`, or the code of the refusal. */
async function outcome(work: Promise<void>): Promise<string> {
  return work.then(
    () => 'mounted',
    (error: unknown) => {
      if (LayerstackError.is(error)) return error.code;
      throw error;
    },
  );
}

/** Without the marks of an overlay's layer. */
function asRootFileSystem(entry: TreeEntry): TreeEntry | undefined {
  if (entry.type === 'char' && entry.rdev === '0:0') return undefined;
  const { xattrs, ...facts } = entry;
  const { 'trusted.overlay.opaque': opaque, ...kept } = xattrs ?? {};
  void opaque;
  return Object.keys(kept).length > 0 ? { ...facts, xattrs: kept } : facts;
}

/** The trees of all mounts, by one walk. What no member gave a time has the moment's, or 0 in place. */
async function treesOf(directory: string): Promise<Map<string, Tree>> {
  const trees = new Map<string, Tree>();
  for (const { path, inode, mtime, ...facts } of mapTree(
    await dumpTree(directory),
    asRootFileSystem,
  ).values()) {
    const [top = '', ...rest] = path.split('/');
    const tree = trees.get(top) ?? new Map();
    trees.set(top, tree);
    const age = Date.now() - Number(mtime.slice(0, -6));
    const inTree = rest.length === 0 ? '.' : rest.join('/');
    tree.set(inTree, {
      ...facts,
      path: inTree,
      mtime: mtime === '0' || (age > -60_000 && age < 3_600_000) ? 'none' : mtime,
      ...(inode !== undefined && { inode: inode.slice(inode.indexOf('/') + 1) }),
    });
  }
  trees.delete('.');
  return trees;
}

describe.runIf(havePeers(...MAKERS))('the corpora in place', () => {
  let scratch: string;
  const refusals: { name: string; extracted: string; inPlace: string }[] = [];
  const names = new Map<string, string>();
  let extracted: Map<string, Tree>;
  let inPlace: Map<string, Tree>;

  beforeAll(async () => {
    scratch = makeScratch('packed-corpus');
    const at = (...parts: readonly string[]): string => join(scratch, ...parts);
    for (const name of ['extracted', 'packed', 'places', 'corpus']) mkdirSync(at(name));
    await using store = await Layerstack.open({ root: at('store') });
    const extract = async (archive: string, layer: Buffer, target: string): Promise<void> => {
      await store.images.load(archive, { maxBytes: MAX_BYTES });
      const chain = at('store/image/overlay2/layerdb/sha256', sha256(layer), 'cache-id');
      const lower = at('store/overlay2', readFileSync(chain, 'utf8'), 'diff');
      mkdirSync(target);
      execFileSync('mount', ['--bind', lower, target]);
    };
    const mount = async (archive: string, target: string): Promise<void> => {
      const options = { directory: at('places'), readOnly: true, maxBytes: MAX_BYTES };
      const root = await openArchive(archive, options);
      mkdirSync(target);
      execFileSync('mount', ['--bind', root.path, target]);
    };
    let index = 0;
    for await (const { name, tar } of corpora(at('corpus'))) {
      const number = String(index++);
      const archive = at(`${number}.tar`);
      writeFileSync(archive, archiveOfTars({ layers: [tar] }));
      const found = {
        name,
        extracted: await outcome(extract(archive, tar, at('extracted', number))),
        inPlace: await outcome(mount(archive, at('packed', number))),
      };
      if (found.extracted === 'mounted' && found.inPlace === 'mounted') names.set(number, name);
      else refusals.push(found);
    }
    extracted = await treesOf(at('extracted'));
    inPlace = await treesOf(at('packed'));
  }, 600_000);

  afterAll(() => dropScratch(scratch));

  test('refuse the same layers with the same code', () => {
    expect(refusals.length).toBeGreaterThan(REFUSED.length);
    expect(refusals.filter((one) => one.extracted !== one.inPlace)).toEqual([]);
  });

  test('show the same tree', () => {
    expect(names.size).toBeGreaterThan(CASES.length);
    const differences = [...names].flatMap(([number, name]) =>
      compareTrees(inPlace.get(number) ?? new Map(), extracted.get(number) ?? new Map()).map(
        (line) => `${name}: ${line}`,
      ),
    );
    expect(differences).toEqual([]);
  });
});
