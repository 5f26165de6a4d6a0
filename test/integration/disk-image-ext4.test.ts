/**
 * A root file system as an ext4 image: checked by e2fsck, mounted by the kernel, compared with the tree that
 * it was made of.
 */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Layerstack } from '../../src/app/layerstack.ts';
import { native } from '../../src/system/native.ts';
import type { DiskImageOptions } from '../../src/transfer/archive/disk-image.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { unmountBelow } from '../support/overlay.ts';
import { run } from '../support/process.ts';
import { expectSameContents, facts, fillRich } from '../support/rich-tree.ts';
import { IMAGE, TestStore } from '../support/test-store.ts';

let fixture: TestStore;

beforeEach(async () => {
  fixture = await TestStore.build();
});

afterEach(async () => {
  unmountBelow(fixture.scratch);
  await fixture[Symbol.asyncDispose]();
});

async function build(fill: (at: (path: string) => string) => void | Promise<void>): Promise<string> {
  await fixture.store.containers.create(IMAGE, { name: 'build' });
  const mount = await fixture.store.containers.mount('build');
  await fill((path) => join(mount.path, path));
  return mount.path;
}

type Writer = Pick<Layerstack['images'] | Layerstack['containers'], 'writeDisk'>;

async function imageOf(from: Writer, name: string, options: DiskImageOptions = {}): Promise<string> {
  const path = join(fixture.scratch, `${String(readdirSync(fixture.scratch).length)}.ext4`);
  const handle = await open(path, 'wx');
  try {
    await from.writeDisk(handle.fd, name, { format: 'ext4', ...options });
  } finally {
    await handle.close();
  }
  return path;
}

/** Where it is mounted, once e2fsck has passed it. The kernel gives back the loop device with the mount. */
function mounted(image: string): string {
  execFileSync('e2fsck', ['-fn', image], { stdio: 'pipe' });
  const at = `${image}.mounted`;
  mkdirSync(at);
  execFileSync('mount', ['-t', 'ext4', '-o', 'loop,noatime', image, at]);
  return at;
}

/** ext4 gets whole seconds. */
const wholeSeconds = (lines: readonly string[]): string[] =>
  lines.filter((line) => !line.startsWith('lost+found ')).map((line) => line.replace(/\.\d{10}(?= )/, ''));

describe('writeDisk with ext4', () => {
  test('keeps kinds, owners, times, attributes, links, devices and holes, and can be written to', async () => {
    const root = await build(async (at) => {
      await fillRich(at);
      execFileSync('chmod', ['2751', at('.')]);
      execFileSync('chown', ['4000000001:7', at('.')]);
      execFileSync('touch', ['-d', '1965-01-02 03:04:05.6 UTC', at('.')]);
    });
    const image = await imageOf(fixture.store.containers, 'build');
    const at = mounted(image);
    expect(wholeSeconds(facts(at))).toEqual(wholeSeconds(facts(root)));
    rmdirSync(join(at, 'lost+found'));
    await expectSameContents(at, root);
    expect(statSync(image).blocks * 512).toBeLessThan(30_000_000);
  });

  test('gives the same bytes for the same image, also from another store', async () => {
    await build(fillRich);
    await fixture.store.containers.commit('build', { reference: 'rich:1' });
    const archive = await buffer(fixture.store.images.save('rich:1'));
    await using other = await TestStore.build(archive);
    const first = await readFile(await imageOf(fixture.store.images, 'rich:1'));
    for (const { store } of [fixture, other])
      expect((await readFile(await imageOf(store.images, 'rich:1'))).equals(first)).toBe(true);
  });

  test('brings times between 1901 and 2038, and below SOURCE_DATE_EPOCH', async () => {
    await build((at) => {
      for (const [name, time] of [
        ['old', '1850-01-01'],
        ['new', '2100-01-01'],
      ] as const) {
        writeFileSync(at(name), '');
        execFileSync('touch', ['-d', `${time} UTC`, at(name)]);
      }
    });
    const seconds = (at: string, name: string): number => Math.floor(statSync(join(at, name)).mtimeMs / 1000);
    const open = mounted(await imageOf(fixture.store.containers, 'build'));
    // The store's own file system may have brought it to 1901 already.
    expect(seconds(open, 'old')).toBe(-(2 ** 31));
    expect(seconds(open, 'new')).toBe(2 ** 31 - 1);
    const bounded = mounted(await imageOf(fixture.store.containers, 'build', { sourceDateEpoch: 1_000_000 }));
    expect(seconds(bounded, 'new')).toBe(1_000_000);
  });

  test('has room for what takes more of ext4 than of EROFS', async () => {
    const value = Buffer.alloc(2000, 'x');
    const root = await build(async (at) => {
      for (let i = 0; i < 1000; i++) mkdirSync(at(`directory-${String(i)}`));
      for (let i = 0; i < 100; i++) {
        writeFileSync(at(`file-${String(i)}`), 'x');
        await native.setXattr(at(`file-${String(i)}`), 'user.x', value);
      }
    });
    const at = mounted(await imageOf(fixture.store.containers, 'build'));
    expect(readdirSync(at).filter((name) => name !== 'lost+found')).toEqual(readdirSync(root));
  });

  test('has the size that is asked for, and refuses one that is too small or wrong', async () => {
    const { images } = fixture.store;
    expect(statSync(await imageOf(images, IMAGE, { size: 50 << 20 })).size).toBe(50 << 20);
    await build((at) => writeFileSync(at('big'), Buffer.alloc(20 << 20, 'x')));
    for (const size of [16 << 20, 100_000, -1, 1.5])
      await expect(imageOf(fixture.store.containers, 'build', { size })).rejects.toMatchObject({
        code: 'ERR_INVALID_ARGUMENT',
      });
    await expect(imageOf(images, IMAGE, { format: 'erofs', size: 50 << 20 })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
    });
  });

  test('stops at a signal', async () => {
    await build((at) => writeFileSync(at('big'), Buffer.alloc(20 << 20, 'x')));
    const signal = AbortSignal.timeout(30);
    await expect(imageOf(fixture.store.containers, 'build', { signal })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    });
  });
});

describe('the command', () => {
  /** Runs it where the program is not installed. */
  const without = (program: string, ...args: string[]): ReturnType<typeof run> => {
    const hide = `mount --bind /dev/null "$(readlink -f "$(command -v ${program})")"; exec "$@"`;
    const cli = new LayerstackCli(fixture.root);
    return run('unshare', ['-m', 'sh', '-c', hide, '-', process.execPath, ...cli.argv(...args)]);
  };

  test('writes ext4 of a size', async () => {
    const file = join(fixture.scratch, 'disk.ext4');
    await new LayerstackCli(fixture.root).run(
      'image',
      '--format',
      'ext4',
      '--size',
      '40M',
      '-o',
      file,
      IMAGE,
    );
    expect(statSync(file).size).toBe(40 << 20);
    expect(readFileSync(join(mounted(file), 'house/concrete'), 'utf8')).toBe('good concrete\n');
  });

  test('names the package that is missing, and leaves nothing behind', async () => {
    const file = join(fixture.scratch, 'disk.ext4');
    for (const program of ['mke2fs', 'debugfs']) {
      const ran = await without(program, 'image', '--format', 'ext4', '-o', file, IMAGE);
      expect(ran.stderr).toMatch(new RegExp(`ERR_UNSUPPORTED: .*${program}.*install e2fsprogs`));
      const doctor = await without(program, 'doctor');
      expect(doctor.stdout).toMatch(new RegExp(`${program} .*not installed.*`));
      expect(doctor.stdout).toContain('install e2fsprogs');
    }
    expect(existsSync(file)).toBe(false);
    expect(readdirSync(fixture.scratch)).toEqual(['store']);
  });

  test('refuses a size of EROFS', async () => {
    const ran = await new LayerstackCli(fixture.root).try(['image', '--size', '1G', '-o', 'x', IMAGE]);
    expect(ran.status).toBe(2);
    expect(ran.stderr).toContain('--format ext4');
  });
});
