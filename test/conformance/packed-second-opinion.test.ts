/**
 * A second opinion on our EROFS images, of erofs-utils 1.8: `fsck.erofs` finds nothing wrong with the index
 * and the disk image of any tar of the corpora, and `mkfs.erofs --tar=i --aufs` makes an index with the same
 * tree.
 */
import { closeSync, constants, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LayerstackError } from '../../src/core/errors.ts';
import { LayerStore } from '../../src/layer/store.ts';
import { call, native } from '../../src/system/native.ts';
import { unmount } from '../../src/system/mounts.ts';
import { Root } from '../../src/system/root.ts';
import { writeErofs } from '../../src/transfer/archive/erofs-disk.ts';
import { erofsUtils } from '../support/erofs-utils.ts';
import { LIMITS } from '../support/layers.ts';
import { havePeers } from '../support/peers.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { compareTrees, dumpTree, mapTree, type Tree, type TreeEntry } from '../support/tree.ts';
import { corpora, MAKERS, MAX_BYTES, type CorpusLayer } from './support/corpora.ts';

/** Tars that mkfs.erofs 1.8 refuses, and why. */
const REFUSED_BY_MKFS: readonly (readonly [RegExp, string])[] = [
  [/--format=v7 |^old headers$|: v7\.tar$/, 'it takes no headers without a magic'],
  [/: star\.tar$|: sparse-formats\.tar$/, 'it finds the checksum of a header wrong'],
  [/^times before 1970$|^numbers in base 256$|: nil-uid\.tar$/, 'it takes no such numbers'],
  [
    /^no end blocks$|^one end block$|^no bytes at all$|notenoughnils/,
    'it does not accept the end of the tar',
  ],
  [
    /^no padding at the end$|(?:gnu|pax)-multi-hdrs|pax-path-hdr|pax-pos-size-file|ustar-file-reg/,
    'it does not accept the end of the tar',
  ],
  [/^an opaque root$|: pax-global-records\.tar$/, 'it stops with "Not a directory"'],
  [/^a symlink over a parent of what follows$/, 'it stops with "Input/output error"'],
];

/** Tars of which mkfs.erofs 1.8 makes another tree, and why ours stays. dockerd extracts ours. */
const OTHERWISE: readonly (readonly [RegExp, string])[] = [
  [/ --sparse .*of holes$|-nil-sparse-(?:data|hole)\.tar$/, 'it does not know sparse files'],
  [/^a hard link with metadata of its own$/, 'it keeps the metadata of the first name'],
  [/^a size on a symlink$/, 'it loses the member after the symlink'],
  [/^xattrs of every kind$/, 'it keeps an xattr without a value'],
  [/^smuggled overlay xattrs$/, 'it takes over marks of overlayfs that the tar has no right to'],
  [/: invalid-go17\.tar$/, 'it makes no entry of this name'],
];

const scratch = makeScratch('second-opinion');
const utils = havePeers(...MAKERS) ? await erofsUtils(join(scratch, 'erofs-utils')) : undefined;

interface Judged {
  readonly name: string;
  /** What fsck.erofs says of the index and of the disk image. */
  readonly faults: readonly string[];
}

const at = (...parts: readonly string[]): string => join(scratch, ...parts);

async function fsck(image: string, ...options: readonly string[]): Promise<string[]> {
  const ran = await utils?.run('fsck.erofs', ...options, image);
  return ran?.status === 0 && !/<[EW]>/.test(ran.stderr) ? [] : [JSON.stringify(ran)];
}

async function mount(image: string, tar: string, target: string): Promise<void> {
  mkdirSync(target);
  const [fd, device] = [openSync(image, constants.O_RDONLY), openSync(tar, constants.O_RDONLY)];
  try {
    await call(native.mountErofs({ fd, devices: [device], target, method: 'file' }));
  } finally {
    closeSync(fd);
    closeSync(device);
  }
}

describe.runIf(utils !== undefined)('erofs-utils on our images', () => {
  const judged: Judged[] = [];
  let differences: Map<string, string[]>;

  beforeAll(async () => {
    for (const name of ['corpus', 'ours', 'theirs']) mkdirSync(at(name));
    const root = await Root.open(at('store'));
    const layers = new LayerStore(root);
    const names: string[] = [];
    for await (const layer of corpora(at('corpus'))) {
      const one = await judge(root, layers, layer, String(names.length));
      if (one === undefined) continue;
      judged.push(one);
      names.push(one.name);
    }
    await root.close();
    const [ours, theirs] = [await treesIn(at('ours')), await treesIn(at('theirs'))];
    differences = new Map(
      names.map((name, index) => {
        const tree = theirs.get(String(index));
        return [name, tree ? compareTrees(ours.get(String(index)) ?? new Map(), tree) : ['refused']];
      }),
    );
  }, 600_000);

  afterAll(async () => {
    for (const side of ['ours', 'theirs'])
      for (const index of judged.keys()) await unmount(at(side, String(index)));
    await dropScratch(scratch);
  });

  /** Returns undefined for a tar that layerstack refuses. */
  async function judge(
    root: Root,
    layers: LayerStore,
    { name, tar }: CorpusLayer,
    number: string,
  ): Promise<Judged | undefined> {
    const limits = { ...LIMITS, maxBytes: MAX_BYTES };
    const source = (async function* () {
      await Promise.resolve();
      yield tar;
    })();
    const staged = await layers.stage(source, { limits, form: 'packed' }).catch((error: unknown) => {
      if (!LayerstackError.is(error)) throw error;
    });
    if (staged?.packed !== true) return undefined;
    const file = (entry: 'layer.tar' | 'index.erofs'): string =>
      root.layout.at(root.layout.stagedPackedLayer(staged.writeSet, entry));
    await mount(file('index.erofs'), file('layer.tar'), at('ours', number));
    const disk = openSync(at('disk'), 'w+');
    await writeErofs(disk, { root: at('ours', number), lowers: [] }, {}).finally(() => closeSync(disk));
    const faults = [
      ...(await fsck(file('index.erofs'), `--device=${file('layer.tar')}`)),
      ...(await fsck(at('disk'))),
    ];
    const index = at(`index-${number}`);
    const made = await utils?.run('mkfs.erofs', '--tar=i', '--aufs', index, file('layer.tar'));
    if (made?.status === 0) await mount(index, file('layer.tar'), at('theirs', number));
    return { name, faults };
  }

  test('fsck.erofs finds nothing wrong', () => {
    expect(judged.length).toBeGreaterThan(100);
    expect(judged.flatMap(({ name, faults }) => faults.map((fault) => `${name}: ${fault}`))).toEqual([]);
  });

  test('mkfs.erofs makes the same tree of the tar', () => {
    const known = [...REFUSED_BY_MKFS, ...OTHERWISE];
    const isKnown = (name: string): boolean => known.some(([pattern]) => pattern.test(name));
    const differing = [...differences].filter(([, lines]) => lines.length > 0);
    expect(differing.filter(([name]) => !isKnown(name))).toEqual([]);
    expect([...differences.keys()].filter((name) => !isKnown(name)).length).toBeGreaterThan(70);
  });

  test.each([
    ...REFUSED_BY_MKFS.map((row) => [...row, true] as const),
    ...OTHERWISE.map((row) => [...row, false] as const),
  ])('%s differs: %s', (pattern, _reason, refused) => {
    const rows = [...differences].filter(([name]) => pattern.test(name));
    expect(rows).not.toEqual([]);
    for (const [name, lines] of rows) expect([name, lines.includes('refused')]).toEqual([name, refused]);
    expect(rows.filter(([, lines]) => lines.length === 0)).toEqual([]);
  });
});

/**
 * Without what mkfs.erofs does otherwise: it gives a directory without a member the mode 0777 and the time of
 * the moment, reads a fraction of a second without its leading zeros, takes the mode of a symlink from its
 * header, gives whiteouts no time, and marks their parents.
 */
function comparable({ mtime, mode, inode, xattrs = {}, ...entry }: TreeEntry): TreeEntry {
  const { 'trusted.overlay.origin': origin, ...kept } = xattrs;
  void origin;
  const isNow = Math.abs(Date.now() - Number(mtime.slice(0, -6))) < 3_600_000;
  const isImplied = mode === '0o777' ? isNow : mode === '0o755' && mtime === '0';
  const hasFacts = !(entry.type === 'directory' && isImplied);
  const isWhiteout = entry.type === 'char' && entry.rdev === '0:0';
  return {
    ...entry,
    mode: hasFacts && entry.type !== 'symlink' ? mode : '',
    mtime: hasFacts && !isWhiteout ? mtime.slice(0, -9) : '',
    ...(Object.keys(kept).length > 0 && { xattrs: kept }),
    ...(inode !== undefined && { inode: inode.slice(inode.indexOf('/') + 1) }),
  };
}

/** Returns the trees of all mounts in a directory, by one walk. */
async function treesIn(directory: string): Promise<Map<string, Tree>> {
  const trees = new Map<string, Tree>();
  for (const entry of mapTree(await dumpTree(directory), comparable).values()) {
    const [top = '', ...rest] = entry.path.split('/');
    if (top === '.') continue;
    const tree = trees.get(top) ?? new Map<string, TreeEntry>();
    trees.set(top, tree);
    const path = rest.join('/');
    if (path !== '') tree.set(path, { ...entry, path });
  }
  return trees;
}
