/**
 * Invalid input, failing media, users without rights: one clear line with a code, exit 1, and an unchanged
 * store.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Dockerd } from '../support/dockerd.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { makeVolume, type Volume } from '../support/loop.ts';
import { havePeers } from '../support/peers.ts';
import { must, run, type Ran } from '../support/process.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { dumpStore, showStoreOnFailure, storeChanges } from '../support/store-dump.ts';
import { tar } from '../support/tar.ts';
import type { Tree } from '../support/tree.ts';
import { archiveParts, packArchive, type ArchiveParts } from './support/archive.ts';

const lower = tar([{ name: 'lower', content: 'lower' }]);
const upper = tar([{ name: 'upper', content: 'u'.repeat(100_000) }]);

/** Exactly one line with this code, nothing on standard output (or what docker prints there), exit 1. */
function expectRefusal(ran: Ran, code: string, mentions: RegExp, stdout = ''): void {
  expect(ran.stderr).toMatch(new RegExp(`^layerstack: ${code}: [^\\n]+\\n$`));
  expect(ran.stderr).toMatch(mentions);
  expect([ran.status, ran.stdout]).toEqual([1, stdout]);
}

/** An archive of two layers with a fault. */
const spoiled = (spoil: (parts: ArchiveParts) => void): Buffer => {
  const parts = archiveParts({ layers: [lower, upper], tags: ['bad/image:1'] });
  spoil(parts);
  return packArchive(parts);
};

/** An archive with another config, whose name announces no digest. */
const withConfig = (change: (config: string) => string): Buffer =>
  spoiled(({ config, manifest }) => {
    manifest.Config = config.name = 'config.json';
    config.content = change(config.content.toString());
  });

/** An archive whose upper layer is stored as other bytes. */
const withUpper = (bytes: Uint8Array): Buffer =>
  spoiled(({ layers, manifest }) => {
    layers[1] = { name: manifest.Layers[1] ?? '', content: bytes };
  });

const withManifest = (change: (manifest: ArchiveParts['manifest']) => void): Buffer =>
  spoiled(({ manifest }) => change(manifest));

function withOneByteChanged(bytes: Buffer, offset: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[offset] = (copy[offset] ?? 0) ^ 1;
  return copy;
}

const good = spoiled(() => undefined);
const climbing = tar([{ name: 'a/../../../etc/cron.d/evil', content: 'x' }]);

/** The fault, the code, a pattern for the line, and the archive. */
const ARCHIVES: readonly (readonly [string, string, RegExp, Uint8Array])[] = [
  ['an archive that ends within a layer', 'ERR_ARCHIVE_TRUNCATED', /./, good.subarray(0, 60_000)],
  [
    'an archive that ends before its manifest',
    'ERR_ARCHIVE_(INVALID|TRUNCATED)',
    /./,
    good.subarray(0, good.length - 2048),
  ],
  [
    'an archive that ends within a gzip stream',
    'ERR_ARCHIVE_TRUNCATED',
    /./,
    gzipSync(good).subarray(0, -40),
  ],
  [
    'one wrong byte in a layer',
    'ERR_DIGEST_MISMATCH',
    /1-[0-9a-f]{12}/,
    withUpper(withOneByteChanged(upper, 50_000)),
  ],
  [
    'one wrong byte in a gzipped layer',
    'ERR_[A-Z_]+',
    /1-[0-9a-f]{12}/,
    withUpper(withOneByteChanged(gzipSync(upper), 60)),
  ],
  [
    'a config that is not the one its name says',
    'ERR_DIGEST_MISMATCH',
    /\.json/,
    spoiled(({ config }) => (config.content = '{}')),
  ],
  ['a config that is not JSON', 'ERR_CONFIG_INVALID', /./, withConfig(() => '{"rootfs": oops')],
  ['a config without rootfs', 'ERR_CONFIG_INVALID', /rootfs/, withConfig(() => '{}')],
  [
    'a config for another system',
    'ERR_CONFIG_INVALID',
    /windows/,
    withConfig((text) => text.replace('"linux"', '"windows"')),
  ],
  [
    'a manifest that is not JSON',
    'ERR_MANIFEST_INVALID',
    /./,
    tar([{ name: 'manifest.json', content: '[{' }]),
  ],
  ['fewer layers than diff_ids', 'ERR_LAYER_COUNT', /1.*2|2.*1/, withManifest(({ Layers }) => Layers.pop())],
  [
    'more layers than diff_ids',
    'ERR_LAYER_COUNT',
    /3.*2|2.*3/,
    withManifest(({ Layers }) => Layers.push(Layers[0] ?? '')),
  ],
  [
    'a layer that the archive does not have',
    'ERR_ARCHIVE_MEMBER',
    /no\/layer\.tar/,
    withManifest(({ Layers }) => (Layers[1] = 'no/layer.tar')),
  ],
  [
    'a layer at an absolute path',
    'ERR_ARCHIVE_MEMBER',
    /\/etc\/passwd/,
    withManifest(({ Layers }) => (Layers[1] = '/etc/passwd')),
  ],
  [
    'a layer above the archive',
    'ERR_ARCHIVE_MEMBER',
    /\.\.\/\.\.\/etc\/passwd/,
    withManifest(({ Layers }) => (Layers[1] = '../../etc/passwd')),
  ],
  [
    'a config above the archive',
    'ERR_ARCHIVE_MEMBER',
    /\.\.\/config\.json/,
    withManifest((manifest) => (manifest.Config = '../config.json')),
  ],
  [
    'a name that is not a reference',
    'ERR_REFERENCE_INVALID',
    /Bad Name/,
    withManifest((manifest) => (manifest.RepoTags = ['good/name:1', 'Bad Name:1'])),
  ],
  [
    'an entry that climbs out of its layer',
    'ERR_LAYER_ESCAPE',
    /\.\.\/\.\.\/etc\/cron\.d\/evil/,
    packArchive(archiveParts({ layers: [lower, climbing] })),
  ],
  [
    'a layer compressed by xz',
    'ERR_COMPRESSION_UNSUPPORTED',
    /xz/,
    withUpper(Buffer.from('fd377a585a000004e6d6b446', 'hex')),
  ],
  [
    'a layer compressed by bzip2',
    'ERR_COMPRESSION_UNSUPPORTED',
    /bzip2/,
    withUpper(Buffer.from('BZh91AY&SY\x17\x72\x45\x38', 'latin1')),
  ],
  [
    'bytes that are not an archive',
    'ERR_ARCHIVE_INVALID',
    /./,
    Buffer.from('no archive at all\n'.repeat(100)),
  ],
  ['no bytes', 'ERR_ARCHIVE_(INVALID|TRUNCATED)', /./, Buffer.alloc(0)],
  ['a tar without a manifest', 'ERR_ARCHIVE_INVALID', /manifest/, tar([{ name: 'x', content: 'x' }])],
];

describe('invalid input', () => {
  let scratch: string;
  let layerstack: LayerstackCli;
  let before: Tree;

  beforeAll(async () => {
    scratch = makeScratch('bad');
    layerstack = new LayerstackCli(join(scratch, 'root'));
    const archive = join(scratch, 'good.tar');
    writeFileSync(archive, packArchive(archiveParts({ layers: [lower], tags: ['good/image:1'] })));
    await layerstack.run('load', '-i', archive);
  });

  beforeEach(async () => {
    before = await dumpStore(layerstack.root);
    showStoreOnFailure(layerstack.root);
  });

  afterEach(async () => {
    expect(await storeChanges(layerstack.root, before)).toEqual([]);
    expect(mountsBelow(scratch)).toEqual([]);
  });

  afterAll(() => dropScratch(scratch));

  test.each(ARCHIVES)('%s', async (_, code, mentions, bytes) => {
    const archive = join(scratch, 'bad.tar');
    writeFileSync(archive, bytes);
    expectRefusal(await layerstack.try(['load', '-i', archive]), code, mentions);
  });

  test.each(ARCHIVES)('%s, from a pipe', async (_, code, mentions, bytes) => {
    expectRefusal(await layerstack.try(['load'], { input: bytes }), code, mentions);
  });

  test('10 GB of zeros in a gzip of 10 MB', async () => {
    const archive = join(scratch, 'bomb.tar');
    const zeros = gzipSync(Buffer.alloc(100_000_000)); // members of one gzip stream follow each other
    // Its digest is wrong too, but the bound must be checked first.
    const header = tar([{ name: 'zeros', size: 9_999_999_488 }], { endBlocks: 0 });
    writeFileSync(archive, withUpper(Buffer.concat([gzipSync(header), ...Array<Buffer>(100).fill(zeros)])));
    const started = Date.now();
    expectRefusal(
      await layerstack.try(['load', '--max-bytes', '100000000', '-i', archive]),
      'ERR_LIMIT_EXCEEDED',
      /100000000/,
    );
    expect(Date.now() - started).toBeLessThan(30_000);
  });

  test('a file that does not exist', async () => {
    const ran = await layerstack.try(['load', '-i', join(scratch, 'nothing.tar')]);
    expectRefusal(ran, 'ERR_[A-Z_]+', /nothing\.tar/);
  });

  test('an image, a container, an option that does not exist', async () => {
    expectRefusal(await layerstack.try(['inspect', 'no/such']), 'ERR_IMAGE_NOT_FOUND', /no\/such/, '[]\n');
    expectRefusal(await layerstack.try(['create', 'no/such']), 'ERR_IMAGE_NOT_FOUND', /no\/such/);
    expectRefusal(await layerstack.try(['mount', 'nobody']), 'ERR_CONTAINER_NOT_FOUND', /nobody/);
    for (const args of [['load', '--no-such-option'], ['no-such-verb'], ['create'], ['mount', 'a', 'b']])
      expect((await layerstack.try(args)).status).toBe(2);
  });

  test('SIGINT half-way', async () => {
    const child = spawn(process.execPath, layerstack.argv('load'), { stdio: ['pipe', 'pipe', 'pipe'] });
    const stderr: Buffer[] = [];
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.stdin.on('error', () => undefined);
    child.stdin.write(good.subarray(0, 60_000));
    // Half-way is when the store shows work in progress.
    await expect
      .poll(async () => (await storeChanges(layerstack.root, before)).length, { timeout: 20_000 })
      .toBeGreaterThan(0);
    child.kill('SIGINT');
    const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    expect(Buffer.concat(stderr).toString()).toMatch(/^layerstack: ERR_ABORTED: [^\n]+\n$/);
    expect([status, signal]).toEqual([1, null]);
  });

  test('SIGKILL half-way, and the next writer', async () => {
    const child = spawn(process.execPath, layerstack.argv('load'), { stdio: ['pipe', 'ignore', 'ignore'] });
    child.stdin.on('error', () => undefined);
    child.stdin.write(good.subarray(0, 60_000));
    await expect
      .poll(async () => (await storeChanges(layerstack.root, before)).length, { timeout: 20_000 })
      .toBeGreaterThan(0);
    child.kill('SIGKILL');
    await once(child, 'close');
    expect(await storeChanges(layerstack.root, before)).not.toEqual([]);
    const id = await layerstack.run('create', 'good/image:1');
    await layerstack.run('rm', id);
    // The layer of good/image is now the parent of a container for the first time, which marks it
    // permanently.
    const rest = (await storeChanges(layerstack.root, before)).filter(
      (line) => !line.includes('/committed:'),
    );
    expect(rest).toEqual([]);
    before = await dumpStore(layerstack.root);
  });

  test('a user without CAP_SYS_ADMIN', async () => {
    const args = ['--bounding-set=-sys_admin', '--inh-caps=-sys_admin', process.execPath];
    const archive = join(scratch, 'good.tar');
    const ran = await run('setpriv', [...args, ...layerstack.argv('load', '-i', archive)]);
    expectRefusal(ran, 'ERR_NOT_ROOT', /root|CAP_SYS_ADMIN/);
  });
});

describe.runIf(havePeers('mkfs.ext4', 'mount'))('media that fail', () => {
  const volumes: Volume[] = [];
  let scratch: string;
  let archive: string;

  beforeAll(() => {
    scratch = makeScratch('media');
    archive = join(scratch, 'archive.tar');
    const content = Buffer.alloc(40 << 20, 'not so easily compressed');
    const layers = [lower, tar([{ name: 'large', content }])];
    writeFileSync(archive, packArchive(archiveParts({ layers, tags: ['large:1'] })));
  });

  afterAll(async () => {
    for (const volume of volumes) await volume.unmount();
    await dropScratch(scratch);
  });

  const volume = async (...args: Parameters<typeof makeVolume>) => {
    const made = await makeVolume(...args);
    volumes.push(made);
    return made;
  };

  test.each(['ext4', 'tmpfs'] as const)('a full disk, %s', async (type) => {
    const { path } = await volume(type, { sizeMiB: 24 });
    const layerstack = new LayerstackCli(join(path, 'root'));
    const small = join(scratch, 'small.tar');
    writeFileSync(small, packArchive(archiveParts({ layers: [lower], tags: ['small:1'] })));
    await layerstack.run('load', '-i', small);
    const before = await dumpStore(layerstack.root);
    expectRefusal(await layerstack.try(['load', '-i', archive]), 'ERR_NO_SPACE', /./);
    expect(await storeChanges(layerstack.root, before)).toEqual([]);
    expect(await layerstack.run('images', '-q')).toMatch(/^[0-9a-f]{12}$/);
  });

  test('a file system without d_type', async () => {
    const { path } = await volume('ext4', { sizeMiB: 64, mkfs: ['-O', '^filetype'] });
    const ran = await new LayerstackCli(join(path, 'root')).try(['load', '-i', archive]);
    expectRefusal(ran, 'ERR_STORE_UNSUPPORTED', /d_type/);
  });

  test('a file system without trusted xattrs', async () => {
    const path = join(scratch, 'ramfs');
    await must('mkdir', [path]);
    await must('mount', ['-t', 'ramfs', 'ramfs', path]);
    const ran = await new LayerstackCli(join(path, 'root')).try(['load', '-i', archive]);
    expectRefusal(ran, 'ERR_STORE_UNSUPPORTED', /trusted/);
  });

  test('a read-only file system', async () => {
    const { path } = await volume('ext4', { sizeMiB: 64 });
    await must('mount', ['-o', 'remount,ro', path]);
    expectRefusal(
      await new LayerstackCli(join(path, 'root')).try(['load', '-i', archive]),
      'ERR_[A-Z_]+',
      /./,
    );
  });
});

describe.runIf(havePeers('dockerd', 'docker'))('a root that another program holds', () => {
  let scratch: string;
  let archive: string;

  beforeAll(() => {
    scratch = makeScratch('held');
    archive = join(scratch, 'archive.tar');
    writeFileSync(archive, packArchive(archiveParts({ layers: [lower, upper], tags: ['late:1'] })));
  });

  afterAll(() => dropScratch(scratch));

  test('dockerd holds it: layerstack refuses to write, and can read', async () => {
    const daemon = await Dockerd.start(join(scratch, 'theirs'));
    try {
      const layerstack = new LayerstackCli(daemon.root);
      const before = await dumpStore(join(daemon.root, 'image'));
      expectRefusal(await layerstack.try(['load', '-i', archive]), 'ERR_STORE_LOCKED', /docker/);
      expect(await storeChanges(join(daemon.root, 'image'), before)).toEqual([]);
      await daemon.docker('load', '-i', archive);
      expect(await new LayerstackCli(daemon.root, '--read-only').run('images', '-q', '--no-trunc')).toBe(
        await daemon.docker('images', '-q', '--no-trunc'),
      );
    } finally {
      await daemon.stop();
    }
  });

  test('layerstack holds it: dockerd refuses to start, and starts afterwards', async () => {
    const layerstack = new LayerstackCli(join(scratch, 'ours'));
    const child = spawn(process.execPath, layerstack.argv('load'), { stdio: ['pipe', 'pipe', 'pipe'] });
    const output: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    const closed = once(child, 'close');
    const bytes = readFileSync(archive);
    child.stdin.write(bytes.subarray(0, 60_000));
    await expect
      .poll(async () => (await dumpStore(layerstack.root)).size, { timeout: 20_000 })
      .toBeGreaterThan(5);
    try {
      await expect(Dockerd.start(layerstack.root)).rejects.toThrow(/volume store metadata database: timeout/);
    } finally {
      child.stdin.end(bytes.subarray(60_000));
      await closed;
    }
    expect(Buffer.concat(output).toString()).toBe('Loaded image: late:1\n');
    const daemon = await Dockerd.start(layerstack.root);
    try {
      expect(await daemon.docker('images', '--format', '{{.Repository}}:{{.Tag}}')).toBe('late:1');
    } finally {
      await daemon.stop();
    }
  });
});
