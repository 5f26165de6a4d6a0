/**
 * `fsck --deep`: everything that a mount of a damaged layer shows is found, and what a repair does about it.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { hexOf, type ChainID } from '../../src/core/digest.ts';
import { isWrong, type StoreFinding } from '../../src/core/store-finding.ts';
import { call, native } from '../../src/system/native.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

const CAPABILITY = Buffer.from('0100000200200000000000000000000000000000', 'hex');
const image = imageOf(
  [
    layerOf([{ name: 'below', content: 'below' }]),
    layerOf([
      { name: 'bin', type: 'directory', mtime: 1_600_000_000 },
      { name: 'bin/tool', content: 'tool', mode: 0o4755, uid: 7, gid: 8, mtime: 1_600_000_001 },
      { name: 'bin/same', type: 'hardlink', linkname: 'bin/tool', mode: 0o4755, uid: 7, gid: 8 },
      { name: 'bin/ping', content: 'ping', pax: { 'SCHILY.xattr.security.capability': CAPABILITY } },
      { name: 'bin/marked', content: 'marked', pax: { 'SCHILY.xattr.user.mark': 'yes', mtime: '1.5' } },
      { name: 'bin/link', type: 'symlink', linkname: 'tool', mtime: 5 },
      { name: 'dev', type: 'directory' },
      { name: 'dev/null', type: 'char', devmajor: 1, devminor: 3, mode: 0o666 },
      { name: 'dev/pipe', type: 'fifo' },
      { name: '.wh.below' },
      { name: 'opaque', type: 'directory' },
      { name: 'opaque/.wh..wh..opq' },
      { name: 'implied/parent/file', content: 'x' },
      { name: 'twice', content: 'first' },
      { name: 'twice', content: 'second' },
      { name: 'empty', content: '' },
    ]),
  ],
  { tags: ['deep:1'] },
);

let scratch: string;
let root: string;
let store: Layerstack;
let diff: string;

beforeEach(async () => {
  scratch = makeScratch('fsck-deep');
  root = join(scratch, 'root');
  store = await Layerstack.open({ root });
  await store.images.load(Readable.from([tar(dockerArchive([image]))]));
  diff = join('overlay2', readFileSync(join(root, layerPath('cache-id')), 'utf8'), 'diff');
});
afterEach(async () => {
  await store.close();
  await dropScratch(scratch);
});

const layerPath = (file: string): string =>
  join('image/overlay2/layerdb/sha256', hexOf(image.chain[1] as ChainID), file);
const at = (name: string): string => join(root, diff, name);
const check = async (options: Parameters<Layerstack['fsck']>[0] = {}): Promise<StoreFinding[]> => {
  const findings: StoreFinding[] = [];
  for await (const finding of store.fsck({ deep: true, ...options })) findings.push(finding);
  return findings;
};
const brief = (findings: readonly StoreFinding[]): string[] =>
  findings.map(
    ({ code, path, message }) => `${code} ${path.replace(diff, '')} ${message.replace(/^.*?: /, '')}`,
  );
const setfattr = (...given: string[]): void => void execFileSync('setfattr', given);

it('finds nothing in a layer with links, devices, whiteouts, capabilities, duplicates and implied parents', async () => {
  expect(await check()).toEqual([]);
  expect(await check({ repair: true })).toEqual([]);
});

/** Damage of metadata: its finding, and a repair that sets it without any download. */
const METADATA: Readonly<Record<string, readonly [damage: () => void, finding: string]>> = {
  'a mode': [
    () => chmodSync(at('bin/marked'), 0o777),
    "/bin/marked 'bin/marked' has mode 0777 instead of 0644",
  ],
  'a setuid bit': [
    () => chmodSync(at('bin/tool'), 0o755),
    "/bin/same 'bin/same' has mode 0755 instead of 4755",
  ],
  'an owner': [
    () => chownSync(at('implied/parent/file'), 1, 2),
    "/implied/parent/file 'implied/parent/file' has owner 1:2 instead of 0:0",
  ],
  'the mode of an implied directory': [
    () => chmodSync(at('implied/parent'), 0o700),
    "/implied/parent 'implied/parent' has mode 0700 instead of 0755",
  ],
  'the mode of the root': [() => chmodSync(at(''), 0o700), " '' has mode 0700 instead of 0755"],
  'a time': [
    () => utimesSync(at('bin'), 1, 99),
    "/bin 'bin' has time 99.000000000 instead of 1600000000.000000000",
  ],
  'the fraction of a time': [
    () => utimesSync(at('bin/marked'), 1, 1),
    "/bin/marked 'bin/marked' has time 1.000000000 instead of 1.500000000",
  ],
  'the time of a link': [
    () => lutimesSync(at('bin/link'), 1, 77),
    "/bin/link 'bin/link' has time 77.000000000 instead of 5.000000000",
  ],
  'a lost capability': [
    () => setfattr('-x', 'security.capability', at('bin/ping')),
    "/bin/ping 'bin/ping' has no attribute security.capability",
  ],
  'an additional capability': [
    () => setfattr('-n', 'security.capability', '-v', `0x${CAPABILITY.toString('hex')}`, at('empty')),
    "/empty 'empty' has additional attribute security.capability",
  ],
  'an attribute': [
    () => setfattr('-n', 'user.mark', '-v', 'no', at('bin/marked')),
    "/bin/marked 'bin/marked' has another value of attribute user.mark",
  ],
  'a lost opaque mark': [
    () => setfattr('-x', 'trusted.overlay.opaque', at('opaque')),
    "/opaque 'opaque' has no opaque mark",
  ],
  'an additional opaque mark': [
    () => setfattr('-n', 'trusted.overlay.opaque', '-v', 'y', at('bin')),
    "/bin 'bin' has an additional opaque mark",
  ],
  'a redirect of overlayfs': [
    () => setfattr('-n', 'trusted.overlay.redirect', '-v', '/etc', at('bin')),
    "/bin 'bin' has additional attribute trusted.overlay.redirect",
  ],
};

describe('changed metadata is found, and set as the layer has it', () => {
  it.each(Object.keys(METADATA))('%s', async (name) => {
    const [damage, finding] = METADATA[name] as (typeof METADATA)[string];
    damage();
    const found = await check();
    expect(brief(found)).toContain(`layer-metadata ${finding}`);
    expect(found.every(isWrong)).toBe(true);
    expect((await check({ repair: true })).every(({ repaired }) => repaired)).toBe(true);
    expect(await check()).toEqual([]);
  });
});

/** Damage of contents and entries: what is found. A repair does not hide it. */
const TREE: Readonly<Record<string, readonly [damage: () => unknown, finding: string]>> = {
  'a content of the same size': [() => writeFileSync(at('bin/ping'), 'gnip'), '/bin/ping'],
  'a content that only the tar-split has': [() => writeFileSync(at('twice'), 'SECOND'), '/twice'],
  'a file that is cut off': [() => truncateSync(at('bin/marked'), 1), '/bin/marked'],
  'an empty file with content': [() => writeFileSync(at('empty'), 'x'), '/empty'],
  'a missing file': [() => rmSync(at('bin/ping')), '/bin/ping'],
  'a missing empty file': [() => rmSync(at('empty')), '/empty'],
  'a missing directory': [() => rmSync(at('opaque'), { recursive: true }), '/opaque'],
  'a missing whiteout': [() => rmSync(at('below')), '/below'],
  'a file in place of a whiteout': [
    () => {
      rmSync(at('below'));
      writeFileSync(at('below'), 'back');
    },
    '/below',
  ],
  'an additional file': [() => writeFileSync(at('bin/intruder'), 'x'), '/bin/intruder'],
  'an additional whiteout': [() => call(native.makeNode(at('hidden'), 0o020_000, 0, 0)), '/hidden'],
  'a broken hard link': [
    () => {
      copyFileSync(at('bin/tool'), at('copy'));
      renameSync(at('copy'), at('bin/same'));
    },
    '/bin/tool',
  ],
  'an additional hard link': [
    () => {
      rmSync(at('bin/marked'));
      linkSync(at('bin/ping'), at('bin/marked'));
    },
    '/bin/marked',
  ],
  'a link that leads elsewhere': [
    () => {
      rmSync(at('bin/link'));
      symlinkSync('evil', at('bin/link'));
    },
    '/bin/link',
  ],
  'another device number': [
    () => {
      rmSync(at('dev/null'));
      return call(native.makeNode(at('dev/null'), 0o020_666, 1, 5));
    },
    '/dev/null',
  ],
  'a directory in place of a fifo': [
    () => {
      rmSync(at('dev/pipe'));
      mkdirSync(at('dev/pipe'));
    },
    '/dev/pipe',
  ],
};

describe('changed contents and entries are found', () => {
  it.each(Object.keys(TREE))('%s', async (name) => {
    const [damage, path] = TREE[name] as (typeof TREE)[string];
    await damage();
    const found = (await check()).filter(({ code }) => code === 'layer-damaged');
    expect(found.map((finding) => finding.path)).toContain(`${diff}${path}`);
    expect(
      found.every(
        ({ severity, message }) => severity === 'error' && message.includes(image.layers[1]?.diffId ?? '?'),
      ),
    ).toBe(true);
  });
});

describe('a layer whose contents are right is replaced by a copy of itself, below a container that stays', () => {
  it.each([
    'a content that only the tar-split has',
    'an empty file with content',
    'a missing empty file',
    'a missing directory',
    'a missing whiteout',
    'a file in place of a whiteout',
    'an additional file',
    'a broken hard link',
    'a link that leads elsewhere',
    'another device number',
    'a directory in place of a fifo',
  ])('%s', async (name) => {
    await store.containers.create('deep:1', { name: 'box' });
    await TREE[name]?.[0]();
    const repaired = await check({ repair: true });
    expect(repaired.length).toBeGreaterThan(0);
    expect(repaired.every((finding) => finding.repaired)).toBe(true);
    expect(await check()).toEqual([]);
    const mount = await store.containers.mount('box');
    expect(readdirSync(join(mount.path, 'bin')).sort()).toEqual(['link', 'marked', 'ping', 'same', 'tool']);
    expect(readdirSync(mount.path)).not.toContain('below');
    await mount.unmount();
    await store.close();
    store = await Layerstack.open({ root });
    expect(await check()).toEqual([]);
  });

  it('but not while the container is mounted: it is named, and the layer is left', async () => {
    await store.containers.create('deep:1', { name: 'busy' });
    const mount = await store.containers.mount('busy');
    writeFileSync(at('bin/intruder'), 'x');
    const repaired = await check({ repair: true });
    expect(repaired.some((finding) => finding.repaired)).toBe(false);
    expect(repaired[0]?.advice).toContain('unmount busy');
    expect(readFileSync(join(mount.path, 'bin/intruder'), 'utf8')).toBe('x');
    await mount.unmount();
  });
});

describe('a repair does not hide damage', () => {
  it.each(['a broken hard link', 'an additional file'])('by writing the size anew: %s', async (name) => {
    const size = readFileSync(join(root, layerPath('size')), 'utf8');
    await TREE[name]?.[0]();
    rmSync(join(root, layerPath('size')));
    await check({ repair: true });
    await check({ repair: true });
    const now = statSync(join(root, layerPath('size')), { throwIfNoEntry: false });
    expect(now === undefined || readFileSync(join(root, layerPath('size')), 'utf8') === size).toBe(true);
  });

  it('by setting metadata by a tar-split that was changed', async () => {
    const other = imageOf([layerOf([{ name: 'empty', content: '', mode: 0o777 }])], { tags: ['other:1'] });
    await store.images.load(Readable.from([tar(dockerArchive([other]))]));
    const from = join(root, 'image/overlay2/layerdb/sha256', hexOf(other.chain[0] as ChainID));
    copyFileSync(join(from, 'tar-split.json.gz'), join(root, layerPath('tar-split.json.gz')));
    await check({ repair: true });
    expect(statSync(at('empty')).mode & 0o777).toBe(0o644);
    expect((await check()).some(isWrong)).toBe(true);
  });
});

describe('a difference that is not the layer’s is not reported', () => {
  it('an attribute of the file system itself', async () => {
    setfattr('-n', 'trusted.SGI_ACL_FILE', '-v', 'x', at('bin/ping'));
    expect(await check()).toEqual([]);
  });

  it('the owners of a root for user namespaces', async () => {
    await store.close();
    root = join(scratch, '100000.100000');
    renameSync(join(scratch, 'root'), root);
    chownSync(join(root, 'overlay2'), 0, 100_000);
    for (const id of readdirSync(join(root, 'overlay2')).filter((name) => name !== 'l')) {
      const directory = join(root, 'overlay2', id, 'diff');
      const entries = ['', ...readdirSync(directory, { recursive: true, encoding: 'utf8' })];
      for (const entry of entries) {
        const { uid, gid, mode } = lstatSync(join(directory, entry));
        if (uid >= 100_000) continue;
        lchownSync(join(directory, entry), uid + 100_000, gid + 100_000);
        if ((mode & 0o170_000) !== 0o120_000) chmodSync(join(directory, entry), mode & 0o7777);
      }
    }
    store = await Layerstack.open({ root });
    setfattr('-n', 'security.capability', '-v', `0x${CAPABILITY.toString('hex')}`, at('bin/ping'));
    expect(await check()).toEqual([]);
    chownSync(at('bin/ping'), 0, 0);
    setfattr('-n', 'security.capability', '-v', `0x${CAPABILITY.toString('hex')}`, at('bin/ping'));
    expect(brief(await check())).toEqual([
      "layer-metadata /bin/ping 'bin/ping' has owner 0:0 instead of 100000:100000",
    ]);
    await check({ repair: true });
    expect(lstatSync(at('bin/ping')).uid).toBe(100_000);
  });

  it('an attribute that only the upper of a BuildKit step has, also after its mode is repaired', async () => {
    const old = join(root, diff, '..');
    const link = join(root, 'overlay2/l', readFileSync(join(old, 'link'), 'utf8'));
    rmSync(link);
    renameSync(old, join(root, 'overlay2/u9qn3k5c0m1z7d2r8t4v6w0x1'));
    diff = 'overlay2/u9qn3k5c0m1z7d2r8t4v6w0x1/diff';
    symlinkSync('../u9qn3k5c0m1z7d2r8t4v6w0x1/diff', link);
    writeFileSync(join(root, layerPath('cache-id')), 'u9qn3k5c0m1z7d2r8t4v6w0x1');
    await store.close();
    store = await Layerstack.open({ root });
    setfattr('-n', 'user.step', '-v', 'kept', at('bin/ping'));
    expect(await check()).toEqual([]);
    chmodSync(at('bin/ping'), 0o777);
    expect((await check({ repair: true })).map(({ repaired }) => repaired)).toEqual([true]);
    expect(execFileSync('getfattr', ['-d', at('bin/ping')], { encoding: 'utf8' })).toContain('user.step');
  });

  it('whiteouts as a mount makes them, which a plain load accepts', async () => {
    rmSync(at('below'));
    await call(native.makeNode(at('hidden'), 0o020_000, 0, 0));
    const { notices } = await store.images.load(Readable.from([tar(dockerArchive([image]))]));
    expect(notices).toEqual([]);
  });
});

/** Returns the line of a tar-split for a file, or for bytes of the tar. */
const fileLine = (name: string, size: number): string =>
  `{"type":1,"name":"${name}","size":${BigInt(size)},"payload":"AAAAAAAAAAA=","position":0}\n`;
const bytesLine = (bytes: Buffer): string =>
  `{"type":2,"payload":"${bytes.toString('base64')}","position":0}\n`;

/** Returns the header of an extended header with this size. */
function extendedHeader(size: number): Buffer {
  const header = Buffer.alloc(512);
  header.write('x'.padEnd(100, '\0') + '0000644\0' + '0000000\0' + '0000000\0');
  header.writeUInt8(0x80, 124);
  header.writeBigUInt64BE(BigInt(size), 128);
  header.write('00000000000\0' + '        ' + 'x', 136);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

describe('a planted tar-split', () => {
  const split = (): string => gunzipSync(readFileSync(join(root, layerPath('tar-split.json.gz')))).toString();
  const plant = (lines: string): void =>
    writeFileSync(join(root, layerPath('tar-split.json.gz')), gzipSync(lines));

  it.each([
    ['an extended header of 1 TiB', () => bytesLine(extendedHeader(2 ** 40)) + fileLine('big', 2 ** 40)],
    [
      'an extended header of 1 MiB whose bytes are a file',
      () => bytesLine(extendedHeader(2 ** 20)) + fileLine('big', 2 ** 20),
    ],
    ['a file of 4 EiB after the end', () => split() + fileLine('big', 2 ** 62)],
  ])(
    'with %s neither fills the memory nor runs on: it is reported, and replaced by a load',
    async (_, lines) => {
      plant(lines());
      expect((await check()).map(({ code }) => code)).toContain('layer-damaged');
      const loaded = await store.images.load(Readable.from([tar(dockerArchive([image]))]), { check: true });
      expect(loaded.notices.join()).toContain('is replaced');
      expect(await check()).toEqual([]);
    },
  );

  it('that reads the content of one file from another does not prove the layer', async () => {
    const pair = imageOf([layerOf({ first: 'same', second: 'same' })], { tags: ['pair:1'] });
    await store.images.load(Readable.from([tar(dockerArchive([pair]))]));
    const entry = join(root, 'image/overlay2/layerdb/sha256', hexOf(pair.chain[0] as ChainID));
    const file = join(root, 'overlay2', readFileSync(join(entry, 'cache-id'), 'utf8'), 'diff/first');
    const { atime, mtime } = statSync(file);
    const lines = gunzipSync(readFileSync(join(entry, 'tar-split.json.gz'))).toString();
    expect(lines).toContain('"name":"first"');
    writeFileSync(
      join(entry, 'tar-split.json.gz'),
      gzipSync(lines.replace('"name":"first"', '"name":"second"')),
    );
    writeFileSync(file, 'evil');
    utimesSync(file, atime, mtime);
    expect((await check()).map(({ message }) => message).join()).toContain("'first' is not the file");
  });
});

it('names a bounded number of entries of one layer, and counts the others', async () => {
  for (let i = 0; i < 150; i++) writeFileSync(at(`intruder-${String(i)}`), '');
  const found = (await check()).filter(({ code }) => code === 'layer-damaged');
  expect(found).toHaveLength(101);
  expect(found.at(-1)?.message).toMatch(/5[01] more of its entries differ/);
});

it('leaves the metadata of a layer alone while a container on it is mounted, and names the container', async () => {
  await store.containers.create('deep:1', { name: 'busy' });
  const mount = await store.containers.mount('busy');
  chmodSync(at('bin/marked'), 0o777);
  const [finding] = await check({ repair: true });
  expect(finding).toMatchObject({ code: 'layer-metadata', repaired: false });
  expect(finding?.advice).toContain('unmount busy');
  expect(statSync(at('bin/marked')).mode & 0o777).toBe(0o777);
  await mount.unmount();
  expect((await check({ repair: true }))[0]).toMatchObject({ repaired: true });
  expect(readdirSync(join(root, 'overlay2')).length).toBeGreaterThan(0);
});

it('stops in the middle of a layer when it is aborted', async () => {
  const stop = new AbortController();
  const checking = (async () => {
    for await (const finding of store.fsck({ deep: true, signal: stop.signal })) void finding;
  })();
  stop.abort();
  await expect(checking).rejects.toMatchObject({ code: 'ERR_ABORTED' });
});
