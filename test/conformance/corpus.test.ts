/**
 * Every tar of the corpus as a layer: applied by layerstack, by dockerd and by umoci, the trees and the
 * tar-split compared; then all of them saved again by a dockerd on layerstack's root, bit for bit.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Dockerd } from '../support/dockerd.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { showStoreOnFailure } from '../support/store-dump.ts';
import { compareTrees, dumpTree, mapTree, type Tree } from '../support/tree.ts';
import { archiveOfTars, sha256, writeOciLayout } from './support/archive.ts';
import { CASES, REFUSED, type Case } from './support/corpus.ts';

/** A layer's directory in a store. Every case is an image of one layer, whose ChainID is its DiffID. */
function layerFile(root: string, layer: Buffer, file: string): string {
  return join(root, 'image/overlay2/layerdb/sha256', sha256(layer), file);
}

function layerDirectory(root: string, layer: Buffer): string {
  return join(root, 'overlay2', readFileSync(layerFile(root, layer, 'cache-id'), 'utf8'), 'diff');
}

/** Entries without a time in a member get the current time. */
const withoutNow = (tree: Tree) =>
  mapTree(tree, (entry) => {
    const age = Date.now() - Number(entry.mtime.slice(0, -6));
    return age > -60_000 && age < 3_600_000 ? { ...entry, mtime: 'now' } : entry;
  });

/** Returns a layer's tree without a layer below it: umoci has no whiteouts, and it uses the root's entry. */
const asRootFileSystem = (tree: Tree) =>
  mapTree(withoutNow(tree), (entry) => {
    if (entry.path === '.' || (entry.type === 'char' && entry.rdev === '0:0')) return undefined;
    const { 'trusted.overlay.opaque': opaque, ...xattrs } = entry.xattrs ?? {};
    if (!opaque) return entry;
    const { xattrs: all, ...rest } = entry;
    return all && Object.keys(xattrs).length > 0 ? { ...rest, xattrs } : rest;
  });

interface Split {
  /** The records up to the last file. */
  readonly lines: string[];
  /** The bytes after it. Their division depends on the pieces that the reader got. */
  readonly rest: string;
}

function readSplit(root: string, layer: Buffer): Split {
  const text = gunzipSync(readFileSync(layerFile(root, layer, 'tar-split.json.gz'))).toString();
  const lines = text.split('\n').slice(0, -1);
  const records = lines.map(
    (line) => JSON.parse(line) as { type: number; payload: string; position: number },
  );
  expect(records.map(({ position }) => position)).toEqual(records.map((_, index) => index));
  const end = records.findLastIndex(({ type }) => type === 1) + 1;
  const rest = records.slice(end).map(({ payload }) => Buffer.from(payload, 'base64'));
  return { lines: lines.slice(0, end), rest: sha256(Buffer.concat(rest)) };
}

describe.runIf(havePeers('dockerd', 'docker', 'umoci', 'tar', 'bsdtar', 'busybox', 'python3'))(
  'tar corpus',
  () => {
    let scratch: string;
    let sources: string;
    let theirs: Dockerd;
    let ours: LayerstackCli;
    const loaded = new Map<string, Buffer>();

    beforeAll(async () => {
      scratch = makeScratch('corpus');
      sources = join(scratch, 'sources');
      mkdirSync(sources);
      await must('python3', [fileURLToPath(new URL('support/sources.py', import.meta.url)), sources]);
      ours = new LayerstackCli(join(scratch, 'ours'));
      theirs = await Dockerd.start(join(scratch, 'theirs'));
    });

    afterAll(async () => {
      await theirs.stop();
      await dropScratch(scratch);
    });

    async function umociTree(layer: Buffer): Promise<Tree> {
      const layout = join(scratch, 'layout');
      const rootfs = join(scratch, 'rootfs');
      try {
        writeOciLayout(layout, [layer], 'it');
        await must('umoci', ['raw', 'unpack', '--image', `${layout}:it`, rootfs]);
        return asRootFileSystem(await dumpTree(rootfs));
      } finally {
        rmSync(layout, { recursive: true, force: true });
        rmSync(rootfs, { recursive: true, force: true });
      }
    }

    async function gnuTarTree(layer: Buffer): Promise<Tree> {
      const directory = join(scratch, 'extracted');
      mkdirSync(directory);
      try {
        execFileSync('tar', ['-C', directory, '--numeric-owner', '-xpf', '-'], {
          input: layer,
          stdio: ['pipe', 'ignore', 'pipe'],
        });
        return asRootFileSystem(await dumpTree(directory));
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    }

    async function compareWithDockerd(it: Case, layer: Buffer, archive: string, tree: Tree): Promise<void> {
      const answer = await theirs.try('load', '-q', '-i', archive);
      if (it.dockerdRefuses) {
        // If it does not refuse, the reason in the corpus is wrong.
        expect(answer.stderr).not.toBe('');
        return;
      }
      expect(answer.stderr).toBe('');
      const reference = withoutNow(await dumpTree(layerDirectory(theirs.root, layer)));
      expect(compareTrees(withoutNow(tree), mapTree(reference, it.adjust ?? ((entry) => entry)))).toEqual([]);
      const size = (root: string) => readFileSync(layerFile(root, layer, 'size'), 'utf8');
      expect(size(ours.root)).toBe(size(theirs.root));
      if (!it.ownSplit) expect(readSplit(ours.root, layer)).toEqual(readSplit(theirs.root, layer));
    }

    test.each(CASES.map((it) => [it.name, it] as const))('%s', async (_, it) => {
      showStoreOnFailure(ours.root);
      const made = await it.make(sources, scratch);
      const layer = made.subarray(0, 2).equals(Buffer.from([0x1f, 0x8b])) ? gunzipSync(made) : made;
      const archive = join(scratch, 'archive.tar');
      const store = layer === made ? it.store : () => made;
      writeFileSync(archive, archiveOfTars({ layers: [layer], ...(store ? { store } : {}) }));

      const printed = await ours.run('load', '-i', archive);
      expect(printed).toMatch(/^Loaded image ID: sha256:[0-9a-f]{64}$/);
      loaded.set(printed.slice('Loaded image ID: '.length), layer);
      const tree = await dumpTree(layerDirectory(ours.root, layer));
      await compareWithDockerd(it, layer, archive, tree);
      if (!it.notUmoci) expect(compareTrees(asRootFileSystem(tree), await umociTree(layer))).toEqual([]);
      if (it.oracle === 'gnutar')
        expect(compareTrees(asRootFileSystem(tree), await gnuTarTree(layer))).toEqual([]);
    });

    test.each(REFUSED.map((it) => [it.name, it] as const))(
      'refused: %s',
      async (_, { layer, code, dockerdTakes }) => {
        const archive = join(scratch, 'archive.tar');
        writeFileSync(archive, archiveOfTars({ layers: [layer] }));
        const answer = await theirs.try('load', '-q', '-i', archive);
        expect(answer.status === 0).toBe(dockerdTakes !== undefined);
        const ran = await ours.try(['load', '-i', archive]);
        expect(ran.stderr).toMatch(new RegExp(`^layerstack: ${code}: .+\\n$`));
        expect([ran.status, ran.stdout]).toEqual([1, '']);
      },
    );

    test('save writes every layer byte for byte, all images in one archive', async () => {
      expect(loaded.size).toBeGreaterThan(CASES.length * 0.9);
      const saved = join(scratch, 'ours.tar');
      await ours.run('save', '-q', '-o', saved, ...loaded.keys());
      const folder = join(scratch, 'ours-saved');
      mkdirSync(folder);
      await must('tar', ['-C', folder, '-xf', saved]);
      for (const [id, layer] of loaded) {
        const blob = (bytes: Buffer) => join(folder, 'blobs/sha256', sha256(bytes));
        expect(readFileSync(blob(layer)).equals(layer), id).toBe(true);
        expect(existsSync(join(folder, 'blobs/sha256', id.slice(7))), id).toBe(true);
      }
    });

    test('a dockerd on this root saves every layer byte for byte, also layers that it could not save by itself', async () => {
      const daemon = await Dockerd.start(ours.root);
      const wrong: string[] = [];
      try {
        expect(loaded.size).toBeGreaterThan(CASES.length * 0.9);
        for (const [id, layer] of loaded) {
          const saved = join(scratch, 'saved.tar');
          await daemon.docker('save', '-o', saved, id);
          const name = (await must('tar', ['-tf', saved]))
            .split('\n')
            .find((member) => /^[^/]+\/layer\.tar$/.test(member));
          const bytes = execFileSync('tar', ['-xOf', saved, name ?? 'layer.tar'], { maxBuffer: 1 << 28 });
          if (!bytes.equals(layer)) wrong.push(id);
        }
      } finally {
        await daemon.stop();
      }
      expect(wrong).toEqual([]);
    });
  },
);
