/** Copying in and out of containers: mounts, owners, tars, refusals, and containers that attack. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EMPTY_CONTAINER_CONFIG } from '../../src/image/container-config.ts';
import { Layerstack, type Container, type CreateOptions } from '../../src/index.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { must } from '../support/process.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { tar, type TarItem } from '../support/tar.ts';

const LAYER: readonly TarItem[] = [
  { name: 'etc/', type: 'directory' },
  { name: 'etc/passwd', content: 'root:x:0:0::/:\napp:x:1234:2345::/:\n' },
  { name: 'dir/', type: 'directory', uid: 7, gid: 8, mode: 0o2755 },
  { name: 'dir/file', content: 'content', uid: 3, gid: 4 },
  { name: 'dir/suid', content: 'program', uid: 1000, gid: 1000, mode: 0o6755 },
  { name: 'dir/big', content: 'x'.repeat(3_000_000) },
  { name: 'link', type: 'symlink', linkname: 'dir/file' },
];

let scratch: string;
let store: Layerstack;
let container: Container;

beforeEach(async () => {
  scratch = makeScratch('copy');
  const archive = join(scratch, 'image.tar');
  writeFileSync(archive, tar(dockerArchive([imageOf([layerOf(LAYER)], { tags: ['copy:1'] })])));
  store = await Layerstack.open({ root: join(scratch, 'root') });
  await store.images.load(archive);
  container = await store.containers.create('copy:1', { name: 'work' });
});

afterEach(async () => {
  await store.close();
  await dropScratch(scratch);
});

const host = (...names: string[]): string => join(scratch, ...names);
const bytes = (items: readonly TarItem[]): Readable => Readable.from([tar(items)]);

/** A file of the container. */
async function inside(path: string): Promise<string> {
  await using mount = await store.containers.mount(container);
  return readFileSync(join(mount.path, path), 'utf8');
}

describe('mounts', () => {
  test('an unmounted container is mounted for the time of the copy', async () => {
    writeFileSync(host('new'), 'new');
    await store.containers.copyIn(container, host('new'), '/dir/');
    await store.containers.copyOut(container, '/dir/new', host('back'));
    expect(readFileSync(host('back'), 'utf8')).toBe('new');
    expect(await store.containers.isMounted(container)).toBe(false);
    expect(mountsBelow(scratch)).toEqual([]);
  });

  test('a mounted container stays mounted, with the same count', async () => {
    const mount = await store.containers.mount(container);
    await store.containers.copyOut(container, '/dir/file', host('file'));
    await expect(store.containers.copyOut(container, '/nope', host('x'))).rejects.toMatchObject({
      code: 'ERR_PATH_NOT_FOUND',
    });
    expect(await store.containers.isMounted(container)).toBe(true);
    await mount.unmount();
    expect(await store.containers.isMounted(container)).toBe(false);
  });

  test('a read-only mount allows copies out, and none in', async () => {
    await using mount = await store.containers.mount(container, { readOnly: true });
    expect(mount.readOnly).toBe(true);
    await store.containers.copyOut(container, '/dir/file', host('file'));
    await expect(store.containers.copyIn(container, host('file'), '/')).rejects.toMatchObject({
      code: 'ERR_CONTAINER_MOUNTED',
    });
  });

  test('a store that is open read-only copies out of mounted containers', async () => {
    await using mount = await store.containers.mount(container);
    void mount;
    await using reader = await Layerstack.open({ root: store.root, readOnly: true });
    await reader.containers.copyOut('work', '/dir/file', host('file'));
    expect(readFileSync(host('file'), 'utf8')).toBe('content');
  });

  test.each(['before the first read', 'in the middle'])(
    'a tar that is abandoned %s releases the mount',
    async (when) => {
      const { tar: stream } = await store.containers.getArchive(container, '/dir');
      if (when === 'in the middle') await once(stream, 'readable');
      expect(await store.containers.isMounted(container)).toBe(true);
      stream.destroy();
      await once(stream, 'close');
      expect(await store.containers.isMounted(container)).toBe(false);
    },
  );

  test('a tar that is read to its end releases the mount', async () => {
    const { stat, tar: stream } = await store.containers.getArchive(container, '/dir/.');
    expect(stat.name).toBe('.');
    await buffer(stream);
    expect(await store.containers.isMounted(container)).toBe(false);
  });
});

describe('owners', () => {
  test('copies on the host belong to the caller, without set-id bits', async () => {
    await store.containers.copyOut(container, '/dir', host('out'));
    const { uid, gid, mode } = statSync(host('out/suid'));
    expect({ uid, gid, mode: mode & 0o7777 }).toEqual({ uid: 0, gid: 0, mode: 0o755 });
  });

  test('-a out keeps owners and set-id bits', async () => {
    await store.containers.copyOut(container, '/dir', host('out'), { archive: true });
    const { uid, gid, mode } = statSync(host('out/suid'));
    expect({ uid, gid, mode: mode & 0o7777 }).toEqual({ uid: 1000, gid: 1000, mode: 0o6755 });
  });

  test("-a in gives everything to the container's user, by the container's own passwd", async () => {
    const other = await store.containers.create('copy:1', { name: 'app', user: 'app' });
    writeFileSync(host('file'), 'x');
    await store.containers.copyIn(other, host('file'), '/kept');
    await store.containers.copyIn(other, host('file'), '/given', { archive: true });
    await using mount = await store.containers.mount(other);
    expect(statSync(join(mount.path, 'kept'))).toMatchObject({ uid: 0, gid: 0 });
    expect(statSync(join(mount.path, 'given'))).toMatchObject({ uid: 1234, gid: 2345 });
  });
});

describe('tars', () => {
  test.each([
    ['plain', (data: Buffer) => data],
    ['gzip', (data: Buffer) => gzipSync(data)],
  ])('a %s tar is merged into a directory', async (_, pack) => {
    const items: TarItem[] = [
      { name: './', type: 'directory', mode: 0o700 },
      { name: 'file', content: 'replaced', mtime: 12345 },
      { name: 'deep/er/new', content: 'new' },
      { name: 'twin', type: 'hardlink', linkname: 'file' },
      { name: '.wh.big', content: 'no whiteout' },
    ];
    await store.containers.copyIn(container, Readable.from([pack(tar(items))]), '/dir');
    await using mount = await store.containers.mount(container);
    const at = (name: string): string => join(mount.path, 'dir', name);
    expect(readFileSync(at('file'), 'utf8')).toBe('replaced');
    expect(readFileSync(at('deep/er/new'), 'utf8')).toBe('new');
    expect(statSync(at('file'))).toMatchObject({ ino: statSync(at('twin')).ino, mtimeMs: 12345000 });
    expect(readdirSync(join(mount.path, 'dir')).sort()).toEqual(
      ['.wh.big', 'big', 'deep', 'file', 'suid', 'twin'].sort(),
    );
    expect(statSync(join(mount.path, 'dir')).mode & 0o7777).toBe(0o2755);
  });

  test('a tar into something that is not a directory is refused', async () => {
    await expect(store.containers.copyIn(container, bytes([]), '/dir/file')).rejects.toMatchObject({
      code: 'ERR_PATH_TYPE',
    });
    await expect(store.containers.putArchive(container, '/dir/file', bytes([]))).rejects.toMatchObject({
      code: 'ERR_PATH_TYPE',
    });
    await expect(store.containers.putArchive(container, '/nope', bytes([]))).rejects.toMatchObject({
      code: 'ERR_PATH_NOT_FOUND',
    });
  });

  test('directories and files replace each other only if that is allowed', async () => {
    const swap = (): Readable =>
      bytes([
        { name: 'dir', content: 'now a file' },
        { name: 'link/', type: 'directory' },
      ]);
    await expect(
      store.containers.putArchive(container, '/', swap(), { noOverwriteDirNonDir: true }),
    ).rejects.toMatchObject({
      code: 'ERR_PATH_TYPE',
      member: 'dir',
    });
    await store.containers.putArchive(container, '/', swap());
    expect(await inside('dir')).toBe('now a file');
  });

  test('a tar that ends early leaves the old file as it was', async () => {
    const whole = tar([{ name: 'file', content: 'y'.repeat(100_000) }]);
    const cut = Readable.from([whole.subarray(0, 50_000)]);
    await expect(store.containers.copyIn(container, cut, '/dir')).rejects.toMatchObject({
      code: 'ERR_ARCHIVE_TRUNCATED',
    });
    expect(await inside('dir/file')).toBe('content');
    await using mount = await store.containers.mount(container);
    expect(readdirSync(join(mount.path, 'dir')).sort()).toEqual(['big', 'file', 'suid']);
  });

  test('a signal stops the wait for a tar that does not come', async () => {
    const controller = new AbortController();
    const endless = new Readable({ read: () => undefined });
    const copy = store.containers.copyIn(container, endless, '/dir', { signal: controller.signal });
    setTimeout(() => controller.abort(), 100);
    await expect(copy).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    expect(await store.containers.isMounted(container)).toBe(false);
  });
});

test('statPath returns what docker returns', async () => {
  await using mount = await store.containers.mount(container);
  await must('touch', ['-d', '1970-01-02T00:00:00.012345678Z', join(mount.path, 'dir/suid')]);
  expect(await store.containers.statPath(container, 'dir/suid')).toEqual({
    name: 'suid',
    size: 7,
    mode: 0o755 + 2 ** 23 + 2 ** 22,
    mtime: '1970-01-02T00:00:00.012345678Z',
    linkTarget: '',
  });
  symlinkSync('../../nowhere/../gone', join(mount.path, 'dir/dangling'));
  expect(await store.containers.statPath(container, '/dir/dangling')).toMatchObject({
    name: 'dangling',
    mode: 0o777 + 2 ** 27,
    linkTarget: '/gone',
  });
  expect(await store.containers.statPath(container, '/')).toMatchObject({ name: '/' });
  await expect(store.containers.statPath(container, '/dir/file/')).rejects.toMatchObject({
    code: 'ERR_PATH_TYPE',
  });
});

describe('dangling links', () => {
  /** Each with its text; `through` stands for a path through a link to a directory. */
  const LOOPS: Readonly<Record<string, string>> = {
    self: 'self',
    ping: 'pong',
    pong: '../loops/./ping',
    below: 'below/x',
    'dir/up': '../way/up',
    dangling: 'nowhere/at/all',
  };

  function makeLoops(directory: string): void {
    mkdirSync(join(directory, 'dir'), { recursive: true });
    symlinkSync('dir', join(directory, 'way'));
    for (const [name, text] of Object.entries(LOOPS)) symlinkSync(text, join(directory, name));
  }

  beforeEach(async () => {
    await using mount = await store.containers.mount(container);
    makeLoops(join(mount.path, 'loops'));
    makeLoops(host('loops'));
  });

  test.each([...Object.entries(LOOPS), ['way/up', '../way/up']])(
    '%s is copied as a link',
    async (name, text) => {
      await store.containers.copyOut(container, `/loops/${name}`, host('out'));
      expect(readlinkSync(host('out'))).toBe(text);
      await store.containers.copyIn(container, host('loops', name), '/in');
      await using mount = await store.containers.mount(container);
      expect(readlinkSync(join(mount.path, 'in'))).toBe(text);
      expect((await store.containers.statPath(container, `/loops/${name}`)).mode).toBe(0o777 + 2 ** 27);
    },
  );

  test.each(['self', 'ping', 'below', 'dir/up'])(
    '%s is not followed, and is replaced by the copy',
    async (name) => {
      const refused = { code: 'ERR_PATH_TYPE', kind: 'invalid' };
      const followed = { followLink: true };
      await expect(
        store.containers.copyOut(container, `/loops/${name}`, host('out'), followed),
      ).rejects.toMatchObject(refused);
      await expect(
        store.containers.copyIn(container, host('loops', name), '/in', followed),
      ).rejects.toMatchObject(refused);
      await expect(store.containers.getArchive(container, `/loops/${name}`, followed)).rejects.toMatchObject(
        refused,
      );
      await expect(store.containers.copyOut(container, `/loops/${name}/`, host('out'))).rejects.toMatchObject(
        refused,
      );
      await expect(
        store.containers.copyIn(container, host('loops/dir'), `/loops/${name}`),
      ).rejects.toMatchObject(refused);
      await expect(
        store.containers.copyOut(container, '/dir/file', host('loops', name)),
      ).rejects.toMatchObject(refused);
      writeFileSync(host('new'), 'new');
      await store.containers.copyIn(container, host('new'), `/loops/${name}`);
      expect(await inside(`loops/${name}`)).toBe('new');
    },
  );
});

describe('attacks', () => {
  test.each<[string, TarItem[]]>([
    ['a name that climbs out', [{ name: '../../escaped', content: 'x' }]],
    ['a name that climbs out in the middle', [{ name: 'a/../../../escaped', content: 'x' }]],
    ['a hard link to what is outside', [{ name: 'l', type: 'hardlink', linkname: '../../../etc/hostname' }]],
    ['a member that is the destination and a file', [{ name: './', content: 'x' }]],
    ['a hard link to nothing', [{ name: 'l', type: 'hardlink', linkname: 'gone' }]],
  ])('%s is refused', async (_, items) => {
    await expect(store.containers.putArchive(container, '/dir', bytes(items))).rejects.toMatchObject({
      code: 'ERR_ARCHIVE_INVALID',
    });
  });

  test('members through links of the archive stay inside the container', async () => {
    mkdirSync(host('outside'));
    const items: TarItem[] = [
      { name: 'abs', type: 'symlink', linkname: '/etc' },
      { name: 'abs/through', content: 'x' },
      { name: 'up', type: 'symlink', linkname: '../../../../../../../../etc' },
      { name: 'up/over', content: 'x' },
    ];
    await store.containers.putArchive(container, '/dir', bytes(items));
    expect(await inside('etc/through')).toBe('x');
    expect(await inside('etc/over')).toBe('x');
    expect(existsSync('/etc/through') || existsSync('/etc/over')).toBe(false);
  });

  test('a link to a host path in the way of a copy leads nowhere', async () => {
    mkdirSync(host('outside'));
    writeFileSync(host('outside/secret'), 'secret');
    await using mount = await store.containers.mount(container);
    symlinkSync(host('outside'), join(mount.path, 'out'));
    writeFileSync(host('file'), 'x');
    await expect(store.containers.copyOut(container, '/out/secret', host('got'))).rejects.toMatchObject({
      code: 'ERR_PATH_NOT_FOUND',
    });
    await expect(store.containers.copyIn(container, host('file'), '/out/file')).rejects.toMatchObject({
      code: 'ERR_PATH_NOT_FOUND',
    });
    expect(readdirSync(host('outside'))).toEqual(['secret']);
  });

  test('CVE-2018-15664: a container that swaps a directory and a link meanwhile', async () => {
    mkdirSync(host('outside'));
    writeFileSync(host('outside/secret'), 'of the host');
    await using mount = await store.containers.mount(container);
    // Where the link leads inside the container: that it is reached shows that the swap was met.
    const decoy = join(mount.path, host('outside'));
    mkdirSync(decoy, { recursive: true });
    writeFileSync(join(decoy, 'secret'), 'of the container');
    const place = join(mount.path, 'place');
    mkdirSync(place);
    writeFileSync(join(place, 'secret'), 'of the place');
    symlinkSync(host('outside'), join(mount.path, 'evil'));
    writeFileSync(host('file'), 'x');
    const swapper = spawn('python3', ['-c', SWAP, place, join(mount.path, 'evil')], { stdio: 'ignore' });
    try {
      const seen = new Set<string>();
      for (let round = 0; round < 120; round++) {
        await store.containers
          .copyIn(container, host('file'), `/place/in-${String(round)}`)
          .catch(() => undefined);
        const got = await store.containers.copyOut(container, '/place/secret', host('got')).then(
          () => readFileSync(host('got'), 'utf8'),
          () => '',
        );
        seen.add(got);
      }
      expect(seen).toContain('of the container');
      expect(seen).toContain('of the place');
      expect(seen).not.toContain('of the host');
      expect(readdirSync(decoy).some((name) => name.startsWith('in-'))).toBe(true);
      expect(readdirSync(host('outside'))).toEqual(['secret']);
    } finally {
      swapper.kill('SIGKILL');
      await once(swapper, 'exit');
    }
  });

  test('CVE-2019-14271: nothing of the container is loaded', async () => {
    const source = host('nss.c');
    writeFileSync(
      source,
      `#include <fcntl.h>\n__attribute__((constructor)) static void load(void) { open("${host('loaded')}", O_CREAT, 0600); }\n`,
    );
    await must('cc', ['-shared', '-fPIC', '-o', host('libnss_files.so.2'), source]);
    const other = await store.containers.create('copy:1', { name: 'nss', user: 'app' });
    for (const directory of ['lib', 'lib64', 'usr/lib', 'lib/x86_64-linux-gnu', 'usr/lib/x86_64-linux-gnu']) {
      const items: TarItem[] = ['libnss_files.so.2', 'libnss_compat.so.2', 'libc.so.6'].map((name) => ({
        name: `${directory}/${name}`,
        content: readFileSync(host('libnss_files.so.2')),
        mode: 0o755,
      }));
      await store.containers.putArchive(other, '/', bytes(items));
    }
    await store.containers.putArchive(
      other,
      '/etc',
      bytes([{ name: 'nsswitch.conf', content: 'passwd: files compat\n' }]),
    );
    writeFileSync(host('file'), 'x');
    await store.containers.copyIn(other, host('file'), '/file', { archive: true });
    await store.containers.copyOut(other, '/dir', host('out'), { archive: true });
    expect(existsSync(host('loaded'))).toBe(false);
    expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain(store.root);
    // The trap would have sprung: a program that loads the library leaves the mark.
    await must('env', [`LD_PRELOAD=${host('libnss_files.so.2')}`, 'true']);
    expect(existsSync(host('loaded'))).toBe(true);
  });
});

describe('a volume without a name, before the container has run', () => {
  const TREE: readonly TarItem[] = [
    ...LAYER,
    { name: 'data/', type: 'directory' },
    { name: 'short', type: 'symlink', linkname: 'data/long' },
    { name: 'taken', content: 'a file' },
  ];

  /** A container of an image with these volumes. */
  async function withVolumes(volumes: readonly string[], options: CreateOptions = {}): Promise<Container> {
    const config = { Volumes: Object.fromEntries(volumes.map((path) => [path, {}])) };
    const image = imageOf([layerOf(TREE)], { tags: ['volumes:1'], config });
    writeFileSync(host('volumes.tar'), tar(dockerArchive([image])));
    await store.images.load(host('volumes.tar'));
    return store.containers.create('volumes:1', options);
  }

  test.each([
    ['of the image', ['/vol1'], {}],
    ['of the image, below directories that are missing', ['/srv/a/vol1'], {}],
    ['of the image, behind a link', ['/short/vol1'], {}],
    ['that create asks for', [], { config: { ...EMPTY_CONTAINER_CONFIG, Volumes: ['/vol1'] } }],
    ['that a mount asks for', [], { hostConfig: { Mounts: [{ Type: 'volume', Target: '/vol1' }] } }],
    ['that a bind asks for', [], { hostConfig: { Binds: ['/vol1'] } }],
  ] as [string, string[], CreateOptions][])('%s takes files', async (_, volumes, options) => {
    const target = await withVolumes(volumes, options);
    const path = volumes[0] ?? '/vol1';
    const stat = await store.containers.statPath(target, path);
    expect([stat.name, stat.mode & 0o777]).toEqual(['vol1', 0o755]);
    await store.containers.putArchive(target, path, bytes([{ name: 'by-put', content: 'put' }]));
    writeFileSync(host('file'), 'copied');
    await store.containers.copyIn(target, host('file'), `${path}/`);
    await store.containers.copyOut(target, path, host('out'));
    expect(readdirSync(host('out')).sort()).toEqual(['by-put', 'file']);
  });

  test('has the copied files in its first bundle', async () => {
    const target = await withVolumes(['/vol1'], { command: ['true'] });
    await store.containers.putArchive(target, '/vol1', bytes([{ name: 'kept', content: 'kept' }]));
    const { spec } = await store.containers.bundle(target, host('bundle'));
    const volume = spec.mounts.find(({ destination }) => destination === '/vol1');
    expect(readFileSync(join(volume?.source ?? '', 'kept'), 'utf8')).toBe('kept');
    await store.containers.unmount(target);
  });

  test('does not make a mount point that a mount of the host would hide', async () => {
    const target = await withVolumes(['/vol1'], { hostConfig: { Binds: [`${scratch}:/vol1`] } });
    await expect(store.containers.statPath(target, '/vol1')).rejects.toMatchObject({
      code: 'ERR_PATH_NOT_FOUND',
    });
    await expect(store.containers.putArchive(target, '/vol1', bytes([]))).rejects.toMatchObject({
      code: 'ERR_PATH_NOT_FOUND',
    });
  });

  test('does not prevent copies of other files if its directory cannot be made', async () => {
    const target = await withVolumes(['/taken/vol1', '/', '/proc/x', '/vol1']);
    await store.containers.copyOut(target, '/dir/file', host('got'));
    expect(readFileSync(host('got'), 'utf8')).toBe('content');
    expect((await store.containers.statPath(target, '/vol1')).name).toBe('vol1');
    await expect(store.containers.statPath(target, '/proc/x')).rejects.toMatchObject({
      code: 'ERR_PATH_NOT_FOUND',
    });
  });

  test('does not lead out of the container', async () => {
    const evil: TarItem = { name: 'out', type: 'symlink', linkname: `../../../../..${scratch}` };
    const image = imageOf([layerOf([...TREE, evil])], {
      tags: ['evil:1'],
      config: { Volumes: { '/out/vol1': {} } },
    });
    writeFileSync(host('evil.tar'), tar(dockerArchive([image])));
    await store.images.load(host('evil.tar'));
    const target = await store.containers.create('evil:1');
    await store.containers.putArchive(target, '/out/vol1', bytes([{ name: 'x', content: 'x' }]));
    expect(existsSync(host('vol1'))).toBe(false);
    expect((await store.containers.statPath(target, `${scratch}/vol1/x`)).size).toBe(1);
  });
});

/** Exchanges two names without a pause (renameat2 with RENAME_EXCHANGE), as the proof of concept did. */
const SWAP = `
import ctypes, os, sys
libc = ctypes.CDLL(None)
a, b = (os.fsencode(p) for p in sys.argv[1:])
while True:
    libc.renameat2(-100, a, -100, b, 2)
`;
