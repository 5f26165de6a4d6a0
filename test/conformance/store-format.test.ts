/**
 * The store on disk, file by file, against the store that dockerd makes of the same archives: same names,
 * bytes, modes and trees, after random names are replaced.
 */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Dockerd } from '../support/dockerd.ts';
import { CLI, LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { compareTrees, dumpTree, mapTree, type Tree } from '../support/tree.ts';
import { fixtures } from './support/fixtures.ts';
import { layerDifferences, layersOf, shapeOf } from './support/store-shape.ts';

const read = (...path: string[]) => readFileSync(join(...path), 'utf8');

describe.runIf(havePeers('dockerd', 'docker', 'python3'))('the store on disk', () => {
  let scratch: string;
  let ours: string;
  let theirs: string;

  beforeAll(async () => {
    scratch = makeScratch('format');
    ours = join(scratch, 'ours');
    theirs = join(scratch, 'theirs');
    // Modes must not follow the caller's umask.
    for (const [umask, archive] of [
      ['077', fixtures().whole],
      ['000', fixtures().deep],
    ] as const) {
      const script = `umask ${umask}; exec "$@"`;
      await must('sh', ['-c', script, 'sh', process.execPath, CLI, '--root', ours, 'load', '-i', archive]);
    }
    const daemon = await Dockerd.start(theirs);
    try {
      await daemon.docker('load', '-i', fixtures().whole);
      await daemon.docker('load', '-i', fixtures().deep);
    } finally {
      await daemon.stop();
    }
  });

  afterAll(() => dropScratch(scratch));

  test('every metadata file and directory has the name, mode and bytes that dockerd gives it', async () => {
    const expected = await shapeOf(theirs);
    // Empty folders that dockerd makes at its start, and the driver's own, are made by the program that needs
    // them.
    const optional =
      /^image\/overlay2\/(distribution|layerdb\/(mounts|tmp)|imagedb\/metadata)(\/|$)|^overlay2\/backingFsBlockDev$/;
    const required = (tree: Tree) =>
      mapTree(tree, (entry) => (optional.test(entry.path) ? undefined : entry));
    expect(compareTrees(required(await shapeOf(ours)), required(expected))).toEqual([]);
  });

  test('every layer directory holds the tree that dockerd makes', async () => {
    expect(await layerDifferences(ours, theirs)).toEqual([]);
  });

  test("every tar-split is dockerd's, without the empty last segment of its time", () => {
    const layerdb = (root: string, chain: string) => join(root, 'image/overlay2/layerdb/sha256', chain);
    const split = (root: string, chain: string) => {
      const file = readFileSync(join(layerdb(root, chain), 'tar-split.json.gz'));
      return gunzipSync(file)
        .toString()
        .split('\n')
        .filter((line) => !line.includes('"payload":"",'));
    };
    for (const chain of layersOf(theirs).values()) {
      expect(split(ours, chain)).toEqual(split(theirs, chain));
      const head = readFileSync(join(layerdb(ours, chain), 'tar-split.json.gz')).subarray(0, 4);
      expect([...head]).toEqual([0x1f, 0x8b, 8, 0]);
    }
  });

  test('link ids are 26 characters of base32, unique, and point to their layer', () => {
    const names = readdirSync(join(ours, 'overlay2/l'));
    expect(names).toHaveLength(layersOf(ours).size);
    for (const name of names) {
      expect(name).toMatch(/^[A-Z2-7]{26}$/);
      const [, id] = /^\.\.\/([0-9a-f]{64})\/diff$/.exec(readlinkSync(join(ours, 'overlay2/l', name))) ?? [];
      expect(read(ours, 'overlay2', id ?? '', 'link')).toBe(name);
    }
  });

  test('a container has the entry in mounts/ and the two directories that dockerd gives one', async () => {
    const layerstack = new LayerstackCli(ours);
    const id = await layerstack.run('create', '--name', 'one', 'fx/whole:1');
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    const mounts = join(ours, 'image/overlay2/layerdb/mounts', id);
    const mountId = read(mounts, 'mount-id');
    expect(mountId).toMatch(/^[0-9a-f]{64}$/);
    expect(read(mounts, 'init-id')).toBe(`${mountId}-init`);
    const top = read(mounts, 'parent').replace('sha256:', '');
    expect([...layersOf(ours).values()]).toContain(top);
    expect([...(await dumpTree(mounts)).values()].map(({ path, mode }) => `${mode} ${path}`)).toEqual([
      '0o755 .',
      '0o644 init-id',
      '0o644 mount-id',
      '0o644 parent',
    ]);
    const overlay = join(ours, 'overlay2');
    const topCache = [...layersOf(ours)].find(([, chain]) => chain === top)?.[0] ?? '';
    const initLower = `l/${read(overlay, topCache, 'link')}:${read(overlay, topCache, 'lower')}`;
    expect(read(overlay, `${mountId}-init`, 'lower')).toBe(initLower);
    expect(read(overlay, mountId, 'lower')).toBe(
      `l/${read(overlay, `${mountId}-init`, 'link')}:${initLower}`,
    );
    for (const [directory, names] of [
      [`${mountId}-init`, ['committed', 'diff', 'link', 'lower', 'work']],
      [mountId, ['diff', 'link', 'lower', 'work']],
      [topCache, ['committed', 'diff', 'link', 'lower', 'work']],
    ] as const)
      expect(readdirSync(join(overlay, directory)).sort()).toEqual(names);
    expect(await initFiles(join(overlay, `${mountId}-init`, 'diff'))).toEqual([
      '0o755 directory .',
      '0o755 file .dockerenv',
      '0o755 directory dev',
      '0o755 file dev/console',
      '0o755 directory dev/pts',
      '0o755 directory dev/shm',
      '0o755 directory etc',
      '0o755 file etc/hostname',
      '0o755 file etc/hosts',
      '0o777 symlink etc/mtab',
      '0o755 file etc/resolv.conf',
      '0o755 directory proc',
      '0o755 directory sys',
    ]);
    await layerstack.run('rm', 'one');
    expect(readdirSync(join(ours, 'image/overlay2/layerdb/mounts'))).toEqual([]);
    expect(readdirSync(overlay).filter((name) => name.startsWith(mountId))).toEqual([]);
  });
});

const initFiles = async (directory: string) =>
  [...(await dumpTree(directory)).values()].map(({ mode, type, path }) => `${mode} ${type} ${path}`);
