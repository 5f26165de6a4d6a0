import { execFileSync } from 'node:child_process';
import {
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mountOverlay, unmount } from '../../src/system/mounts.ts';
import { call, native } from '../../src/system/native.ts';
import { build, directories, scratch, snapshot, type DirectoryNode } from '../support/overlay.ts';

/** Layers built in a fresh directory, and their names topmost first. */
async function built(layers: readonly DirectoryNode[]): Promise<{ root: string; lowers: string[] }> {
  const root = scratch();
  for (const [i, layer] of layers.entries()) await build(join(root, `layer${i}`), layer);
  mkdirSync(join(root, 'merged'));
  return { root, lowers: layers.map((_, i) => `layer${i}`) };
}

describe('flatten', () => {
  test('shows what an overlay of the layers shows', async () => {
    const layer = directories(['a', 'b', 'c', 'd'], 3);
    await fc.assert(
      fc.asyncProperty(fc.array(layer, { minLength: 1, maxLength: 5 }), async (layers) => {
        const { root, lowers } = await built(layers);
        const target = join(root, 'merged');
        await mountOverlay({ root, target, lowers, method: 'fsconfig', readOnly: true, options: [] });
        const expected = await snapshot(target);
        await unmount(target);
        await call(native.flatten(root, lowers, 'flat'));
        expect(await snapshot(join(root, 'flat'))).toEqual(expected);
      }),
      { numRuns: 60 },
    );
  });

  test('makes no copy of a file, and keeps hard links together', async () => {
    const root = scratch();
    mkdirSync(join(root, 'a/dir'), { recursive: true });
    mkdirSync(join(root, 'b'));
    writeFileSync(join(root, 'a/dir/one'), 'x');
    linkSync(join(root, 'a/dir/one'), join(root, 'a/two'));
    await call(native.flatten(root, ['b', 'a'], 'flat'));
    const inode = lstatSync(join(root, 'a/two')).ino;
    expect(lstatSync(join(root, 'flat/dir/one')).ino).toBe(inode);
    expect(lstatSync(join(root, 'flat/two')).ino).toBe(inode);
  });

  test('copies files from another file system, with all their properties', async () => {
    const root = scratch();
    mkdirSync(join(root, 'far'));
    mkdirSync(join(root, 'near'));
    execFileSync('mount', ['-t', 'tmpfs', 'none', join(root, 'far')]);
    const far = join(root, 'far/layer');
    await build(far, {
      kind: 'dir',
      mode: 0o1777,
      gid: 5,
      opaque: false,
      xattr: true,
      children: {
        file: { kind: 'file', content: 'one', mode: 0o4755, uid: 7 },
        link: { kind: 'link', target: 'nowhere' },
        fifo: { kind: 'fifo' },
      },
    });
    await native.makeNode(join(far, 'zero'), 0o020666, 1, 5);
    await native.setXattr(join(far, 'file'), 'trusted.mark', Buffer.from([1, 0, 2]));
    await call(native.flatten(root, ['far/layer', 'near'], 'flat'));
    expect(await snapshot(join(root, 'flat'))).toEqual(await snapshot(far));
    expect(Buffer.from((await native.getXattr(join(root, 'flat/file'), 'trusted.mark')) ?? [])).toEqual(
      Buffer.from([1, 0, 2]),
    );
  });

  test('keeps holes in copied files', async () => {
    const root = scratch();
    mkdirSync(join(root, 'far'));
    execFileSync('mount', ['-t', 'tmpfs', 'none', join(root, 'far')]);
    mkdirSync(join(root, 'far/layer'));
    const far = (name: string): string => join(root, 'far/layer', name);
    const SIZE = 100 * 1024 ** 3;
    const OFFSETS: Readonly<Record<string, readonly number[]>> = {
      empty: [],
      begins: [0],
      parts: [4096, SIZE / 2, SIZE - 4],
    };
    for (const [name, offsets] of Object.entries(OFFSETS)) {
      const file = openSync(far(name), 'w');
      for (const offset of offsets) writeSync(file, 'data', offset);
      closeSync(file);
      truncateSync(far(name), SIZE);
    }
    await call(native.flatten(root, ['far/layer'], 'flat'));
    for (const [name, offsets] of Object.entries(OFFSETS)) {
      const copy = join(root, 'flat', name);
      expect(lstatSync(copy).size).toBe(SIZE);
      expect(lstatSync(copy).blocks * 512).toBeLessThan(1024 ** 2);
      const file = openSync(copy, 'r');
      const bytes = Buffer.alloc(4);
      for (const offset of offsets) {
        readSync(file, bytes, 0, 4, offset);
        expect(bytes.toString()).toBe('data');
      }
      closeSync(file);
    }
  });

  test('copies a file that already has the maximum number of links', async () => {
    const root = scratch();
    const image = join(root, 'fs.img');
    execFileSync('truncate', ['-s', '16M', image]);
    execFileSync('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', image]);
    const fs = join(root, 'fs');
    mkdirSync(fs);
    execFileSync('mount', ['-o', 'loop', image, fs]);
    mkdirSync(join(fs, 'layer'));
    mkdirSync(join(fs, 'links'));
    writeFileSync(join(fs, 'layer/full'), 'content');
    for (let i = 0; i < 64_999; i++) linkSync(join(fs, 'layer/full'), join(fs, `links/${i}`));
    expect(() => linkSync(join(fs, 'layer/full'), join(fs, 'links/more'))).toThrow(/EMLINK/);
    await call(native.flatten(fs, ['layer'], 'flat'));
    expect(await snapshot(join(fs, 'flat'))).toEqual(await snapshot(join(fs, 'layer')));
  });

  test('an existing target and a missing layer are errors with their path', async () => {
    const { root, lowers } = await built([]);
    mkdirSync(join(root, 'layer'));
    await expect(call(native.flatten(root, ['layer'], 'merged'))).rejects.toMatchObject({
      code: 'EEXIST',
      syscall: 'mkdir',
      path: join(root, 'merged'),
    });
    await expect(call(native.flatten(root, ['gone'], 'flat'))).rejects.toMatchObject({
      code: 'ERR_STORE_CORRUPT',
      path: join(root, 'gone'),
    });
    await expect(call(native.flatten(root, lowers, 'flat'))).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
    });
  });
});
