/**
 * A root that dockerd has filled, opened by layerstack: beside the running daemon for reading, and after its
 * end for creating and mounting containers, whose trees must equal those of dockerd's own containers.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Dockerd } from '../support/dockerd.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { dumpStore, storeChanges } from '../support/store-dump.ts';
import { compareTrees, dumpTree, mapTree, type Tree } from '../support/tree.ts';
import { fixtures } from './support/fixtures.ts';

const IMAGES = ['fx/whole:1', 'fx/deep:125', 'fx/base:1'];

/** Made or touched when a container is created, so their times say when that was. */
const INIT_PATHS = new Set(
  '. .dockerenv dev dev/pts dev/shm dev/console proc sys etc etc/hosts etc/hostname etc/resolv.conf etc/mtab srv'.split(
    ' ',
  ),
);

/** Images of the same second have no order. */
const sorted = (lines: string) => lines.split('\n').sort();

/** The mount point of the image's volume exists only in a container that has run. */
const comparable = (tree: Tree) =>
  mapTree(tree, (entry) => {
    if (entry.path === 'srv/volume') return undefined;
    return INIT_PATHS.has(entry.path) ? { ...entry, mtime: '' } : entry;
  });

/** The facts in an exported tar: whole seconds, and no xattrs except capabilities. */
const exported = (tree: Tree) =>
  mapTree(comparable(tree), (entry) => ({ ...entry, mtime: entry.mtime.slice(0, -9) }));

describe.runIf(havePeers('dockerd', 'docker', 'runc'))('a root that dockerd has filled', () => {
  let scratch: string;
  let root: string;
  const mounted = new Map<string, Tree>();
  const tarred = new Map<string, Tree>();
  const told = new Map<string, unknown>();
  let listed: string;

  beforeAll(async () => {
    scratch = makeScratch('reverse');
    root = fixtures().dockerRoot;
    const daemon = await Dockerd.start(root);
    try {
      for (const image of IMAGES) {
        told.set(image, await daemon.inspect(image));
        const sleeper = image === 'fx/whole:1' ? ['sleep 1000'] : ['/bin/sleep', '1000'];
        const container = await daemon.docker('run', '-d', '--network', 'none', image, ...sleeper);
        const { GraphDriver } = (await daemon.inspect(container)) as {
          GraphDriver: { Data: { MergedDir: string } };
        };
        mounted.set(image, comparable(await dumpTree(GraphDriver.Data.MergedDir)));
        const folder = join(scratch, image.replace(/\W/g, '-'));
        mkdirSync(folder);
        await daemon.docker('export', '-o', `${folder}.tar`, container);
        await must('tar', [
          '-C',
          folder,
          '--numeric-owner',
          '--xattrs',
          '--xattrs-include=*',
          '-xpf',
          `${folder}.tar`,
        ]);
        tarred.set(image, exported(await dumpTree(folder)));
        await daemon.docker('rm', '-f', '-v', container);
      }
      listed = await daemon.docker('images', '-aq', '--no-trunc');
      await readsBesideTheDaemon(root, told, listed);
    } finally {
      await daemon.stop();
    }
  });

  afterAll(() => dropScratch(scratch));

  test('layerstack lists and describes its images as dockerd does', async () => {
    const layerstack = new LayerstackCli(root);
    expect(sorted(await layerstack.run('images', '-a', '-q', '--no-trunc'))).toEqual(sorted(listed));
    for (const image of IMAGES) expect(await layerstack.inspect(image)).toEqual(told.get(image));
  });

  test.each(IMAGES)('a container of %s shows the tree that dockerd shows', async (image) => {
    const layerstack = new LayerstackCli(root);
    const before = await dumpStore(root);
    const container = await layerstack.run('create', image);
    const merged = await layerstack.run('mount', container);
    const tree = await dumpTree(merged);
    await layerstack.run('unmount', container);
    await layerstack.run('rm', container);
    const reference = mounted.get(image);
    const archive = tarred.get(image);
    if (!reference || !archive) throw new Error(`no reference of ${image}`);
    expect(compareTrees(comparable(tree), reference)).toEqual([]);
    expect(compareTrees(exported(tree), archive)).toEqual([]);
    expect(mountsBelow(root)).toEqual([]);
    // A layer that got its first container is marked as committed permanently; nothing else may remain.
    const rest = (await storeChanges(root, before)).filter(
      (line) => !/^overlay2\/[0-9a-f]{64}\/committed:/.test(line),
    );
    expect(rest).toEqual([]);
  });

  test('dockerd uses the root afterwards without a difference', async () => {
    const daemon = await Dockerd.start(root);
    try {
      expect(sorted(await daemon.docker('images', '-aq', '--no-trunc'))).toEqual(sorted(listed));
      expect(await daemon.docker('ps', '-aq')).toBe('');
      expect(await daemon.docker('run', '--rm', '--network', 'none', 'fx/whole:1', 'cat /data/again')).toBe(
        'second',
      );
    } finally {
      await daemon.stop();
    }
  });
});

/** Beside a running daemon: reading works and leaves no trace, writing is refused. */
async function readsBesideTheDaemon(root: string, told: Map<string, unknown>, listed: string): Promise<void> {
  const before = await dumpStore(join(root, 'image'));
  const reader = new LayerstackCli(root, '--read-only');
  expect(sorted(await reader.run('images', '-a', '-q', '--no-trunc'))).toEqual(sorted(listed));
  for (const image of IMAGES) expect(await reader.inspect(image)).toEqual(told.get(image));
  const refused = await reader.try(['create', 'fx/base:1']);
  expect([refused.status, refused.stdout]).toEqual([1, '']);
  expect(refused.stderr).toMatch(/^layerstack: ERR_STORE_READ_ONLY: .+\n$/);
  expect(await storeChanges(join(root, 'image'), before)).toEqual([]);
}
