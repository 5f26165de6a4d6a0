/**
 * Input that is wrong, on media that fail, for users who may not: one clear line with a code, exit 1, and the store as it was.
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
import { archiveParts, packArchive, sha256, type ArchiveParts } from './support/archive.ts';

const lower = tar([{ name: 'lower', content: 'lower' }]);
const upper = tar([{ name: 'upper', content: 'u'.repeat(100_000) }]);

/** Exactly one line with this code, nothing on standard output, exit 1. */
function expectRefusal(ran: Ran, code: string, mentions: RegExp): void {
  expect(ran.stderr).toMatch(new RegExp(`^layerstack: ${code}: [^\\n]+\\n$`));
  expect(ran.stderr).toMatch(mentions);
  expect([ran.status, ran.stdout]).toEqual([1, '']);
}

/** An archive of two layers with something wrong about it. */
const spoiled = (spoil: (parts: ArchiveParts) => void): Buffer => {
  const parts = archiveParts({ layers: [lower, upper], tags: ['bad/image:1'] });
  spoil(parts);
  return packArchive(parts);
};

const ARCHIVES: readonly (readonly [string, string, RegExp, () => Buffer])[] = [
  ['an archive that ends within a layer', 'ERR_ARCHIVE_TRUNCATED', /./, () => spoiled(() => undefined).subarray(0, 60_000)],
  [
    'an archive that ends within a gzip stream',
    'ERR_ARCHIVE_TRUNCATED',
    /./,
    () => {
      const whole = gzipSync(spoiled(() => undefined));
      return whole.subarray(0, whole.length - 40);
    },
  ],
  [
    'one wrong byte in a layer',
    'ERR_DIGEST_MISMATCH',
    new RegExp(sha256(upper).slice(0, 12)),
    () =>
      spoiled((parts) => {
        const bytes = Buffer.from(upper);
        bytes[50_000] = 0x76;
        parts.layers[1] = bytes;
      }),
  ],
  ['a config that is not JSON', 'ERR_CONFIG_INVALID', /./, () => spoiled((parts) => (parts.config = '{"rootfs": oops'))],
  ['a config without rootfs', 'ERR_CONFIG_INVALID', /rootfs/, () => spoiled((parts) => (parts.config = '{}'))],
  [
    'a config for another operating system',
    'ERR_CONFIG_INVALID',
    /windows/,
    () => spoiled((parts) => (parts.config = String(parts.config).replace('"linux"', '"windows"'))),
  ],
  [
    'fewer layers than diff_ids',
    'ERR_LAYER_COUNT',
    /1.*2|2.*1/,
    () =>
      spoiled((parts) => {
        parts.layerNames.pop();
      }),
  ],
  [
    'more layers than diff_ids',
    'ERR_LAYER_COUNT',
    /3.*2|2.*3/,
    () => spoiled((parts) => parts.layerNames.push(parts.layerNames[0] ?? '')),
  ],
  [
    'a manifest naming a member that is not there',
    'ERR_ARCHIVE_MEMBER',
    /not-there\/layer\.tar/,
    () => spoiled((parts) => (parts.layerNames[1] = 'not-there/layer.tar')).subarray(0),
  ],
  [
    'a manifest naming an absolute path',
    'ERR_ARCHIVE_MEMBER',
    /\/etc\/passwd/,
    () => spoiled((parts) => (parts.layerNames[1] = '/etc/passwd')),
  ],
  [
    'a manifest naming a path above the archive',
    'ERR_ARCHIVE_MEMBER',
    /\.\.\/\.\.\/etc\/passwd/,
    () => spoiled((parts) => (parts.layerNames[1] = '../../etc/passwd')),
  ],
  [
    'a manifest whose config is above the archive',
    'ERR_ARCHIVE_MEMBER',
    /\.\.\/config/,
    () => spoiled((parts) => (parts.configName = '../config.json')),
  ],
  [
    'a name that is no reference',
    'ERR_REFERENCE_INVALID',
    /Bad Name/,
    () => spoiled((parts) => (parts.tags = ['good/name:1', 'Bad Name:1'])),
  ],
  ['bytes that are no archive', 'ERR_ARCHIVE_INVALID', /./, () => Buffer.from('no archive at all\n'.repeat(100))],
  ['an empty file', 'ERR_ARCHIVE_(INVALID|TRUNCATED)', /./, () => Buffer.alloc(0)],
  ['a tar without a manifest', 'ERR_ARCHIVE_INVALID', /manifest/, () => tar([{ name: 'x', content: 'x' }])],
  [
    'a layer with an entry that climbs out',
    'ERR_LAYER_ESCAPE',
    /\.\.\/\.\.\/etc\/cron\.d\/evil/,
    () => packArchive(archiveParts({ layers: [lower, tar([{ name: 'a/../../../etc/cron.d/evil', content: 'x' }])] })),
  ],
  [
    'a layer compressed by xz',
    'ERR_COMPRESSION_UNSUPPORTED',
    /xz/,
    () => spoiled((parts) => (parts.layers[1] = Buffer.from('fd377a585a000004e6d6b446', 'hex'))),
  ],
];

describe('input that is wrong', () => {
  let scratch: string;
  let layerstack: LayerstackCli;
  let before: Tree;

  beforeAll(async () => {
    scratch = makeScratch('bad');
    layerstack = new LayerstackCli(join(scratch, 'root'));
    const good = join(scratch, 'good.tar');
    writeFileSync(good, packArchive(archiveParts({ layers: [lower], tags: ['good/image:1'] })));
    await layerstack.run('load', '-i', good);
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

  test.each(ARCHIVES)('%s', async (_, code, mentions, make) => {
    const archive = join(scratch, 'bad.tar');
    writeFileSync(archive, make());
    expectRefusal(await layerstack.try(['load', '-i', archive]), code, mentions);
  });

  test.each(ARCHIVES)('%s, from a pipe', async (_, code, mentions, make) => {
    expectRefusal(await layerstack.try(['load'], { input: make() }), code, mentions);
  });

  test('10 GB of zeros in a gzip of 10 MB', async () => {
    const archive = join(scratch, 'bomb.tar');
    const zeros = await run('sh', ['-c', 'head -c 10000000000 /dev/zero | gzip -1']);
    // The layer's real digest does not matter: the bound has to come first.
    const parts = archiveParts({ layers: [lower], tags: ['bomb:1'] });
    const header = tar([{ name: 'zeros', size: 9_999_999_488 }], { endBlocks: 0 });
    parts.layers[0] = Buffer.concat([gzipSync(header), zeros.bytes]);
    writeFileSync(archive, packArchive(parts));
    const started = Date.now();
    expectRefusal(
      await layerstack.try(['load', '--max-bytes', '100000000', '-i', archive]),
      'ERR_LIMIT_EXCEEDED',
      /100000000/,
    );
    expect(Date.now() - started).toBeLessThan(30_000);
  });

  test('a file that is not there', async () => {
    const ran = await layerstack.try(['load', '-i', join(scratch, 'nothing.tar')]);
    expectRefusal(ran, 'ERR_[A-Z_]+', /nothing\.tar/);
  });

  test('an image, a container, an option that is not there', async () => {
    expectRefusal(await layerstack.try(['inspect', 'no/such']), 'ERR_IMAGE_NOT_FOUND', /no\/such/);
    expectRefusal(await layerstack.try(['create', 'no/such']), 'ERR_IMAGE_NOT_FOUND', /no\/such/);
    expectRefusal(await layerstack.try(['mount', 'nobody']), 'ERR_CONTAINER_NOT_FOUND', /nobody/);
    for (const args of [['load', '--no-such-option'], ['no-such-verb'], ['create'], ['mount', 'a', 'b']])
      expect((await layerstack.try(args)).status).toBe(2);
  });

  test('SIGINT half-way', async () => {
    const archive = spoiled(() => undefined);
    const child = spawn(process.execPath, layerstack.argv('load'), { stdio: ['pipe', 'pipe', 'pipe'] });
    const stderr: Buffer[] = [];
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.stdin.on('error', () => undefined);
    child.stdin.write(archive.subarray(0, 60_000));
    // Half-way is when the store shows work in progress.
    await expect.poll(async () => (await storeChanges(layerstack.root, before)).length, { timeout: 20_000 }).toBeGreaterThan(0);
    child.kill('SIGINT');
    const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    expect(Buffer.concat(stderr).toString()).toMatch(/^layerstack: ERR_ABORTED: [^\n]+\n$/);
    expect([status, signal]).toEqual([1, null]);
  });

  test('SIGKILL half-way, and the next writer', async () => {
    const archive = spoiled(() => undefined);
    const child = spawn(process.execPath, layerstack.argv('load'), { stdio: ['pipe', 'ignore', 'ignore'] });
    child.stdin.on('error', () => undefined);
    child.stdin.write(archive.subarray(0, 60_000));
    await expect.poll(async () => (await storeChanges(layerstack.root, before)).length, { timeout: 20_000 }).toBeGreaterThan(0);
    child.kill('SIGKILL');
    await once(child, 'close');
    expect(await storeChanges(layerstack.root, before)).not.toEqual([]);
    const id = await layerstack.run('create', 'good/image:1');
    await layerstack.run('rm', id);
    // good/image's layer is now the parent of a container for the first time, which marks it for ever.
    const rest = (await storeChanges(layerstack.root, before)).filter((line) => !line.includes('/committed:'));
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
    expectRefusal(await new LayerstackCli(join(path, 'root')).try(['load', '-i', archive]), 'ERR_[A-Z_]+', /./);
  });
});

describe.runIf(havePeers('dockerd', 'docker'))('a root that somebody else holds', () => {
  let scratch: string;
  let archive: string;

  beforeAll(() => {
    scratch = makeScratch('held');
    archive = join(scratch, 'archive.tar');
    writeFileSync(archive, packArchive(archiveParts({ layers: [lower, upper], tags: ['late:1'] })));
  });

  afterAll(() => dropScratch(scratch));

  test('dockerd holds it: layerstack refuses to write, and reads', async () => {
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
    await expect.poll(async () => (await dumpStore(layerstack.root)).size, { timeout: 20_000 }).toBeGreaterThan(5);
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
