/** Archives in place, through the library: every format, every way that a kernel has, and what is refused. */
import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { openArchive } from '../../src/app/archives.ts';
import { Layerstack } from '../../src/app/layerstack.ts';
import { docker25Archive, dockerArchive, ociArchive, v1Archive, writeFolder } from '../support/archives.ts';
import { rejection } from '../support/errors.ts';
import { imageOf, layerFrom, layerOf } from '../support/images.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { tar, type TarItem } from '../support/tar.ts';
import { compareTrees, type Tree } from '../support/tree.ts';
import { zstdStored } from '../support/zstd.ts';
import { classicTree, NAME, RICH, treeOf, writeArchive } from '../support/packed-layers.ts';

let scratch: string;
let classic: string;
/** What a store shows of the image. */
let expected: Tree;

beforeAll(async () => {
  classic = makeScratch('classic');
  expected = await classicTree(classic, writeArchive(join(classic, 'app.tar'), dockerArchive([RICH])), NAME);
});

afterAll(() => dropScratch(classic));

beforeEach(() => {
  scratch = makeScratch('packed');
  try {
    execFileSync('modprobe', ['-q', 'erofs']);
  } catch {
    // built in, or the mount says so
  }
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await dropScratch(scratch);
});

const gzip = (bytes: Buffer): Buffer => gzipSync(bytes, { level: 1 });

const FORMATS: Readonly<Record<string, readonly TarItem[]>> = {
  'docker 1.10 to 24': dockerArchive([RICH]),
  'docker 25': docker25Archive([RICH]),
  'docker before 1.10': v1Archive(RICH),
  'OCI, plain layers': ociArchive([RICH], { compress: (bytes) => bytes }),
  'OCI, gzip layers': ociArchive([RICH], { compress: gzip }),
  'OCI, zstd layers': ociArchive([RICH], { compress: zstdStored }),
};

const plain = (): string => writeArchive(join(scratch, 'app.tar'), dockerArchive([RICH]));

/** Nothing is left of an archive that was open in this directory. */
function expectClean(directory: string): void {
  expect(readdirSync(directory).filter((name) => name.startsWith('layerstack-archive-'))).toEqual([]);
  expect(mountsBelow(directory)).toEqual([]);
  expect(
    execFileSync('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE'], { encoding: 'utf8' }),
  ).not.toContain(directory);
}

describe.each(['file', 'loop', 'none'])('by %s', (method) => {
  beforeEach(() => vi.stubEnv('LAYERSTACK_CAPS', `erofs=${method}`));

  it.each(Object.keys(FORMATS))('shows what a store shows: %s', async (format) => {
    const archive = writeArchive(join(scratch, 'app.tar'), FORMATS[format] ?? []);
    const root = await openArchive(archive, { directory: scratch });
    expect(compareTrees(await treeOf(root.path), expected)).toEqual([]);
    const isV1 = format === 'docker before 1.10';
    expect(root).toMatchObject({ verified: !isV1, image: { references: [NAME] } });
    const form = method === 'none' ? 'extracted' : /gzip|zstd/.test(format) ? 'inflated' : 'in-place';
    expect(root.layers.map((layer) => layer.form)).toEqual([form, form]);
    expect(root.layers.map(({ diffId }) => diffId)).toEqual(RICH.layers.map(({ diffId }) => diffId));
    expect(root.notices.some((notice) => notice.includes('could not be verified'))).toBe(isV1);
    expect(root.notices.length - Number(isV1) > 0).toBe(form !== 'in-place');
    await root.close();
    await root.close();
    expectClean(scratch);
  });
});

it('is writable, and read-only on request', async () => {
  const archive = plain();
  const before = readFileSync(archive);
  await using root = await openArchive(archive, { directory: scratch });
  writeFileSync(join(root.path, 'srv/one'), 'other');
  expect(readFileSync(join(root.path, 'srv/one'), 'utf8')).toBe('other');
  await using fixed = await openArchive(archive, { directory: scratch, readOnly: true });
  expect(fixed.readOnly).toBe(true);
  expect(readFileSync(join(fixed.path, 'srv/one'), 'utf8')).toBe('shared');
  expect(() => writeFileSync(join(fixed.path, 'srv/one'), 'x')).toThrow('EROFS');
  expect(readFileSync(archive).equals(before)).toBe(true);
});

it('takes a folder, and a file that is compressed as a whole', async () => {
  const folder = join(scratch, 'layout');
  mkdirSync(folder);
  await writeFolder(folder, ociArchive([RICH], { compress: (bytes) => bytes }));
  const whole = join(scratch, 'app.tar.gz');
  writeFileSync(whole, gzip(tar(dockerArchive([RICH]))));
  for (const archive of [folder, whole]) {
    await using root = await openArchive(archive, { directory: scratch });
    expect(compareTrees(await treeOf(root.path), expected), archive).toEqual([]);
  }
  expectClean(scratch);
});

it('takes an archive on tmpfs, which the kernel reads through loop devices only', async () => {
  const memory = join(scratch, 'memory');
  mkdirSync(memory);
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', memory]);
  const archive = writeArchive(join(memory, 'app.tar'), dockerArchive([RICH]));
  {
    await using root = await openArchive(archive, { directory: scratch });
    expect(readFileSync(join(root.path, 'twice'), 'utf8')).toBe('second, longer');
  }
  execFileSync('umount', [memory]);
});

it('takes an image without layers', async () => {
  const image = imageOf([], { tags: ['none:1'] });
  const archive = writeArchive(join(scratch, 'none.tar'), dockerArchive([image]));
  await using root = await openArchive(archive, { directory: scratch });
  expect(readdirSync(root.path)).toEqual([]);
});

describe('the choice of an image', () => {
  const a = imageOf([layerOf({ which: 'a' })], { tags: ['a:1'] });
  const b = imageOf([layerOf({ which: 'b' })], { tags: ['b:1', 'b:2'] });
  const which = async (archive: string, options: object): Promise<string> => {
    await using root = await openArchive(archive, { directory: scratch, ...options });
    return readFileSync(join(root.path, 'which'), 'utf8');
  };

  it('is by name or id, and needed if there are several', async () => {
    const archive = writeArchive(join(scratch, 'two.tar'), dockerArchive([a, b]));
    expect(await which(archive, { image: 'a:1' })).toBe('a');
    expect(await which(archive, { image: 'docker.io/library/b:2' })).toBe('b');
    expect(await which(archive, { image: b.id })).toBe('b');
    expect(await which(archive, { image: a.id.slice(7, 19) })).toBe('a');
    const several = await rejection(openArchive(archive, { directory: scratch }));
    expect(several).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
    expect(several.message).toContain('a:1, b:1');
    expect(await rejection(openArchive(archive, { directory: scratch, image: 'c' }))).toMatchObject({
      code: 'ERR_IMAGE_NOT_FOUND',
    });
    expectClean(scratch);
  });

  it('is by platform if one name has several', async () => {
    const arm = imageOf([layerOf({ which: 'arm' })], {
      tags: ['p:1'],
      platform: { os: 'linux', architecture: 'arm64' },
    });
    const amd = imageOf([layerOf({ which: 'amd' })], { tags: ['p:1'] });
    const archive = writeArchive(
      join(scratch, 'platforms.tar'),
      ociArchive([amd, arm], { multiPlatform: 'p:1', compress: (bytes) => bytes }),
    );
    expect(await which(archive, { platform: 'linux/arm64' })).toBe('arm');
    expect(await which(archive, { platform: 'linux/amd64' })).toBe('amd');
    expect(
      await rejection(openArchive(archive, { directory: scratch, platform: 'linux/s390x' })),
    ).toMatchObject({ code: 'ERR_PLATFORM_NOT_FOUND' });
  });
});

describe('refused is', () => {
  const refused = async (archive: string, options: object = {}) => {
    const error = await rejection(openArchive(archive, { directory: scratch, ...options }));
    expectClean(scratch);
    return error;
  };

  it.each(['file', 'none'])(
    'a layer that does not match the image, unless nothing is verified (%s)',
    async (method) => {
      vi.stubEnv('LAYERSTACK_CAPS', `erofs=${method}`);
      const archive = plain();
      const bytes = readFileSync(archive);
      const at = bytes.indexOf('second, longer');
      bytes.write('SECOND', at);
      writeFileSync(archive, bytes);
      const error = await refused(archive);
      expect(error).toMatchObject({ code: 'ERR_DIGEST_MISMATCH', expected: RICH.layers[0]?.diffId });
      await using root = await openArchive(archive, { directory: scratch, verify: false });
      expect(root.verified).toBe(false);
      expect(readFileSync(join(root.path, 'twice'), 'utf8')).toBe('SECOND, longer');
    },
  );

  it('a compressed layer that does not match the manifest', async () => {
    const items = ociArchive([RICH], { compress: gzip }).map((item) =>
      'content' in item && item.content instanceof Buffer && item.content[0] === 0x1f
        ? {
            ...item,
            content: Buffer.concat([item.content.subarray(0, 4), Buffer.from([9]), item.content.subarray(5)]),
          }
        : item,
    );
    const archive = writeArchive(join(scratch, 'other.tar'), items);
    expect(await refused(archive)).toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
  });

  it.each([
    ['no tar', layerFrom(Buffer.from('not a tar file'.repeat(100))), 'ERR_LAYER_INVALID'],
    ['cut off', layerFrom(layerOf({ a: 'x'.repeat(4000) }).tar.subarray(0, 1024)), 'ERR_LAYER_TRUNCATED'],
    ['a climbing name', layerOf([{ name: '../x', content: 'x' }]), 'ERR_LAYER_ESCAPE'],
    ['a link to nothing', layerOf([{ name: 'a', type: 'hardlink', linkname: 'b' }]), 'ERR_LAYER_INVALID'],
  ])('a layer that extraction refuses, too: %s', async (_, layer, code) => {
    const archive = writeArchive(
      join(scratch, 'bad.tar'),
      dockerArchive([imageOf([layer], { tags: ['bad:1'] })]),
    );
    const error = await refused(archive);
    expect(error).toMatchObject({ code, path: archive });
    expect(error.message).toContain("layer '");
  });

  it('an archive that is truncated, invalid or missing', async () => {
    const archive = plain();
    writeFileSync(join(scratch, 'cut.tar'), readFileSync(archive).subarray(0, 3000));
    expect(await refused(join(scratch, 'cut.tar'))).toMatchObject({ code: 'ERR_ARCHIVE_TRUNCATED' });
    writeFileSync(join(scratch, 'none.tar'), 'hello');
    expect(await refused(join(scratch, 'none.tar'))).toMatchObject({ code: 'ERR_ARCHIVE_INVALID' });
    expect(await refused(join(scratch, 'missing.tar'))).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
    execFileSync('mkfifo', [join(scratch, 'fifo')]);
    expect(await refused(join(scratch, 'fifo'))).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
  });

  it("more bytes than allowed, in docker's first format too, whose layers are read to identify them", async () => {
    const archive = writeArchive(join(scratch, 'app.tar'), v1Archive(RICH));
    const error = await rejection(openArchive(archive, { directory: scratch, maxBytes: 1000 }));
    expect(error).toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' });
    expectClean(scratch);
  });

  it('a directory of another user, before anything in it is swept', async () => {
    const theirs = join(scratch, 'theirs');
    const planted = join(theirs, 'layerstack-archive-0000000000000000');
    mkdirSync(planted, { recursive: true, mode: 0o700 });
    writeFileSync(join(planted, 'precious'), '');
    chownSync(theirs, 1000, 1000);
    expect(await rejection(openArchive(plain(), { directory: theirs }))).toMatchObject({
      code: 'ERR_STORE_UNSAFE',
    });
    expect(readdirSync(planted)).toEqual(['precious']);
  });

  it('more bytes than allowed', async () => {
    const archive = writeArchive(join(scratch, 'app.tar'), FORMATS['OCI, gzip layers'] ?? []);
    expect(await refused(archive, { maxBytes: 10_000 })).toMatchObject({
      code: 'ERR_LIMIT_EXCEEDED',
      limit: 10_000,
    });
    expect(await refused(plain(), { maxBytes: 10_000 })).toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' });
  });

  it('an unknown option, and a signal that has fired', async () => {
    expect(await refused(plain(), { verfy: false })).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
    expect(await refused(plain(), { signal: AbortSignal.abort() })).toMatchObject({ code: 'ERR_ABORTED' });
  });

  it('a directory that others can write to', async () => {
    const open = join(scratch, 'open');
    mkdirSync(open);
    execFileSync('chmod', ['777', open]);
    const error = await rejection(openArchive(plain(), { directory: open }));
    expect(error).toMatchObject({ code: 'ERR_STORE_UNSAFE' });
    expect(readdirSync(open)).toEqual([]);
  });
});

it('a close fails while files are in use, and works later', async () => {
  const root = await openArchive(plain(), { directory: scratch });
  const shell = execFileSync(
    'sh',
    ['-c', `cd ${root.path}/srv && exec sleep 100 >/dev/null 2>&1 & echo $!`],
    { encoding: 'utf8' },
  );
  const pid = Number(shell);
  await vi.waitFor(() => expect(readFileSync(`/proc/${String(pid)}/comm`, 'utf8')).toBe('sleep\n'));
  expect(await rejection(root.close())).toMatchObject({ code: 'ERR_CONTAINER_MOUNTED' });
  process.kill(pid);
  await vi.waitFor(() => root.close());
  expectClean(scratch);
});

it('a store opens archives below itself, and takes them away with their process', async () => {
  const store = await Layerstack.open({ root: join(scratch, 'store') });
  const root = await store.archives.open(plain());
  expect(root.path.startsWith(join(store.root, 'layerstack/archives/'))).toBe(true);
  expect(await store.archives.list()).toEqual([]);
  await root.close();
  expectClean(join(store.root, 'layerstack/archives'));
  await store.close();
});
