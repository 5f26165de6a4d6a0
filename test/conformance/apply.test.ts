/**
 * dockerd as the oracle for the tar engine: it loads the same layers, and its directory and tar-split must
 * equal ours except for deliberate differences (trusted.overlay.* is dropped; content that dockerd could not
 * save is carried raw).
 */
import { createHash } from 'node:crypto';
import { lstatSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { native } from '../../src/system/native.ts';
import { apply, readSplit, refused, sha256, type SplitEntry } from '../support/applied.ts';
import { Dockerd } from '../support/dockerd.ts';
import { havePeers } from '../support/peers.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar, type TarItem } from '../support/tar.ts';

const PEERS = havePeers('dockerd', 'docker');

let home: string;
let daemon: Dockerd;

beforeAll(async () => {
  if (!PEERS) return;
  home = makeScratch('oracle');
  daemon = await Dockerd.start(join(home, 'root'));
});

afterAll(async () => {
  if (!PEERS) return;
  await daemon.stop();
  await dropScratch(home);
});

/** Loads a one-layer image of `layer` into dockerd. Returns its directory and tar-split. */
async function loadWithDocker(layer: Uint8Array): Promise<{ diff: string; split: SplitEntry[] }> {
  const diffId = sha256(layer);
  const config = JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: [diffId] },
  });
  const name = `${createHash('sha256').update(config).digest('hex')}.json`;
  const manifest = JSON.stringify([{ Config: name, RepoTags: null, Layers: ['l/layer.tar'] }]);
  const archive = join(home, 'image.tar');
  writeFileSync(
    archive,
    tar([
      { name, content: config },
      { name: 'l/layer.tar', content: layer },
      { name: 'manifest.json', content: manifest },
    ]),
  );
  await daemon.docker('load', '-i', archive);
  const layerdb = join(home, 'root/image/overlay2/layerdb/sha256', diffId.slice(7));
  const cacheId = readFileSync(join(layerdb, 'cache-id'), 'utf8');
  return {
    diff: join(home, 'root/overlay2', cacheId, 'diff'),
    split: readSplit(join(layerdb, 'tar-split.json.gz')),
  };
}

/** Names are walked as latin1, which holds any bytes. */
const bytes = (path: string) => Buffer.from(path, 'latin1');
const isAscii = (path: string) => !/[^ -~]/.test(path);

async function xattrs(path: string): Promise<Record<string, string>> {
  const values: Record<string, string> = {};
  for (const key of await native.listXattrs(path))
    values[key] = Buffer.from((await native.getXattr(path, key)) ?? []).toString('hex');
  return values;
}

/**
 * Returns every entry below `root` with all facts that a layer records. Times of `untimed` entries are left
 * out.
 */
async function tree(root: string, untimed: readonly string[]): Promise<Record<string, unknown>> {
  const entries: Record<string, unknown> = {};
  const inodes = new Map<bigint, string>();
  const walk = async (path: string): Promise<void> => {
    for (const raw of readdirSync(bytes(join(root, path)), { encoding: 'latin1' }).sort()) {
      const name = join(path, raw);
      const full = bytes(join(root, name));
      const status = lstatSync(full, { bigint: true });
      const { mode, uid, gid, rdev, nlink, mtimeNs, ino } = status;
      entries[name] = {
        ...{ mode, uid, gid, rdev },
        nlink: status.isDirectory() ? 0n : nlink,
        same: status.isDirectory() ? name : (inodes.get(ino) ?? name),
        mtime: untimed.includes(name) ? 0n : mtimeNs,
        link: status.isSymbolicLink() ? readlinkSync(full) : '',
        content: status.isFile() ? sha256(readFileSync(full)) : '',
        xattrs: isAscii(name) ? await xattrs(join(root, name)) : {},
      };
      if (!inodes.has(ino)) inodes.set(ino, name);
      if (status.isDirectory()) await walk(name);
    }
  };
  await walk('');
  return entries;
}

/** Without the empty segment that daemons before 25 add, and with the trailing bytes as one segment. */
function comparable(split: readonly SplitEntry[]): string[] {
  const lines: string[] = [];
  let segment: Buffer[] = [];
  const digest = () => {
    const all = Buffer.concat(segment);
    segment = [];
    return `${String(all.length)} raw bytes, ${sha256(all)}`;
  };
  for (const entry of split) {
    if (entry.type === 2) {
      segment.push(Buffer.from(entry.payload ?? '', 'base64'));
      continue;
    }
    const { name, name_raw: raw, size, payload } = entry;
    lines.push(digest(), JSON.stringify({ name, raw, size, payload }));
  }
  return [...lines, digest()];
}

const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
const corpus: [string, TarItem[], string[]][] = [
  [
    'every kind of member',
    [
      { name: './', type: 'directory', mode: 0o700, uid: 3 },
      { name: './d/', type: 'directory', mode: 0o1777, uid: 7, gid: 8, mtime: 1000 },
      {
        name: './d/f',
        content: 'hello',
        mode: 0o6755,
        uid: 1,
        gid: 2,
        mtime: 2000,
        xattrs: { 'security.capability': capability },
      },
      { name: './d/s', type: 'symlink', linkname: '../nowhere', uid: 3, gid: 4, mtime: 3000 },
      { name: './d/h', type: 'hardlink', linkname: './d/f', mode: 0o4711, uid: 5, mtime: 4000 },
      { name: './c', type: 'char', devmajor: 1, devminor: 3, mode: 0o666 },
      { name: './b', type: 'block', devmajor: 8, devminor: 300, mode: 0o660, gid: 6 },
      { name: './p', type: 'fifo', mode: 0o4622 },
      { name: './deep/er/file', content: 'x' },
      { name: 'e/', type: 'directory', mode: 0o2775, gid: 50 },
      { name: 'e/f', content: 'x' },
      { name: 'e/sub/', type: 'directory' },
    ],
    ['deep', 'deep/er'],
  ],
  [
    'whiteouts',
    [
      { name: '.wh.gone', uid: 3, gid: 4, mode: 0o644 },
      { name: 'd/', type: 'directory', mtime: 5 },
      { name: 'd/.wh..wh..opq' },
      { name: 'd/f', content: 'kept' },
      { name: 'd/.wh.x' },
      { name: 'd/x', content: 'back' },
      { name: '.wh..wh.aufs' },
      { name: '.wh..wh.plnk/', type: 'directory' },
    ],
    ['gone', '.wh.aufs', '.wh.plnk'],
  ],
  [
    'names, numbers and times',
    [
      { name: `${'n'.repeat(180)}/`, type: 'directory' },
      { name: `${'n'.repeat(180)}/${'m'.repeat(200)}`, content: 'pax' },
      { name: `gnu${'l'.repeat(200)}`, content: 'gnu', format: 'gnu' },
      { name: Buffer.from('caf\xe9', 'latin1'), content: 'latin' },
      { name: 'html<&>\u2028', content: 'escaped' },
      { name: 'n', pax: { mtime: '1234567890.123456789', path: 'né' }, content: 'x' },
      { name: 'old', mtime: -5 },
      { name: 'neg', pax: { mtime: '-1.5' } },
      { name: 'big', uid: 3_000_000, base256: ['uid'] },
      { name: '/abs/', type: 'directory' },
      { name: '/abs/x', content: 'absolute' },
      { name: 'a/../dots', content: 'dots' },
      { name: 'v7/', type: '\0', format: 'v7', mode: 0o755 },
      { global: { comment: 'x', mtime: '5', path: 'no' } },
    ],
    [],
  ],
  [
    'directories through links',
    [
      { name: 'd/', type: 'directory' },
      { name: 'l', type: 'symlink', linkname: 'd' },
      { name: 'l/e/', type: 'directory', mtime: 9 },
      { name: 'd/e/s', type: 'symlink', linkname: '/../d' },
      { name: 'd/e/s/made/', type: 'directory' },
    ],
    ['d'],
  ],
];

describe.runIf(PEERS)('layers that dockerd accepts', () => {
  for (const [name, items, untimed] of corpus) {
    it(`${name}: equal trees and equal tar-splits`, async () => {
      const layer = tar(items, { trailing: Buffer.alloc(3000) });
      const theirs = await loadWithDocker(layer);
      const ours = await apply(layer);
      expect(await tree(ours.diff, untimed)).toEqual(await tree(theirs.diff, untimed));
      expect(comparable(ours.split)).toEqual(comparable(theirs.split));
    });
  }

  for (const [name, options] of [
    ['nothing', undefined],
    ['no end blocks', { endBlocks: 0 }],
    ['one end block', { endBlocks: 1 }],
    ['garbage at the end', { trailing: Buffer.from('garbage') }],
  ] as const)
    it(`the end of a tar: ${name}`, async () => {
      const layer = options ? tar([{ name: 'f', content: name }], options) : Buffer.alloc(0);
      const theirs = await loadWithDocker(layer);
      expect(comparable((await apply(layer)).split)).toEqual(comparable(theirs.split));
    });
});

describe.runIf(PEERS)('layers that dockerd refuses', () => {
  const refusals: [string, TarItem[]][] = [
    ['contiguous file', [{ name: 'x', type: 'contiguous' }]],
    ['whiteout of what the layer has made', [{ name: 'x' }, { name: '.wh.x' }]],
    ['hard link to a file of another layer', [{ name: 'h', type: 'hardlink', linkname: 'missing' }]],
    [
      'hard link to itself',
      [
        { name: 'a', content: 'x' },
        { name: 'b', type: 'hardlink', linkname: 'b' },
      ],
    ],
    ['file as parent', [{ name: 'a', content: 'x' }, { name: 'a/b' }]],
    ['dangling link as parent', [{ name: 'a', type: 'symlink', linkname: 'no' }, { name: 'a/b' }]],
    ['whiteout of the directory itself', [{ name: '.wh..' }]],
    ['wrong checksum', [{ name: 'x', checksum: 1 }]],
    ['malformed PAX record', [{ name: 'x', type: 'x', content: '9 path=a' }, { name: 'y' }]],
    ['zero block in the middle', [{ name: 'x' }, { raw: Buffer.alloc(512) }, { name: 'y' }]],
  ];
  for (const [name, items] of refusals)
    it(name, async () => {
      const layer = tar(items);
      await expect(loadWithDocker(layer)).rejects.toThrow();
      expect((await refused(layer)).code).toBe('ERR_LAYER_INVALID');
    });
});
