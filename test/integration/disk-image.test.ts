/**
 * A root file system as an EROFS image: checked by fsck.erofs, mounted by the kernel, compared with the tree
 * that it was made of.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { unmountBelow } from '../support/overlay.ts';
import { expectSameTree, fillRich } from '../support/rich-tree.ts';
import { TestStore, IMAGE } from '../support/test-store.ts';

let fixture: TestStore;

beforeEach(async () => {
  fixture = await TestStore.build();
  try {
    execFileSync('modprobe', ['-q', 'erofs']);
  } catch {
    // built in, or the mount says so
  }
});

afterEach(async () => {
  unmountBelow(fixture.scratch);
  await fixture[Symbol.asyncDispose]();
});

async function imageOf(name: string, file: string): Promise<string> {
  const path = join(fixture.scratch, file);
  const handle = await open(path, 'wx');
  try {
    const { images, containers } = fixture.store;
    await (name === 'build' ? containers : images).writeDisk(handle.fd, name);
  } finally {
    await handle.close();
  }
  return path;
}

/**
 * Where it is mounted, once fsck.erofs has passed it. The kernel gives back the loop device with the mount.
 */
function mounted(image: string): string {
  execFileSync('fsck.erofs', [image], { stdio: 'pipe' });
  const at = `${image}.mounted`;
  mkdirSync(at);
  execFileSync('mount', ['-t', 'erofs', '-o', 'loop,ro', image, at]);
  return at;
}

async function equal(image: string, root: string): Promise<void> {
  await expectSameTree(mounted(image), root);
}

async function build(fill: (at: (path: string) => string) => void | Promise<void>): Promise<string> {
  await fixture.store.containers.create(IMAGE, { name: 'build' });
  const mount = await fixture.store.containers.mount('build');
  await fill((path) => join(mount.path, path));
  return mount.path;
}

describe('writeDisk', () => {
  test('shows the layers of an image as one tree, without what a container adds', async () => {
    const at = mounted(await imageOf(IMAGE, 'image.erofs'));
    expect(readFileSync(join(at, 'house/concrete'), 'utf8')).toBe('good concrete\n');
    expect(readFileSync(join(at, 'house/marble'), 'utf8')).toBe('marble\n');
    expect(() => statSync(join(at, '.dockerenv'))).toThrow('ENOENT');
  });

  test('gives the same bytes for the same image, and needs an empty file', async () => {
    const first = await imageOf(IMAGE, 'a.erofs');
    const second = await imageOf(IMAGE, 'b.erofs');
    expect(readFileSync(first).equals(readFileSync(second))).toBe(true);
    const handle = await open(first, 'r+');
    try {
      await expect(fixture.store.images.writeDisk(handle.fd, IMAGE)).rejects.toMatchObject({
        code: 'ERR_INVALID_ARGUMENT',
      });
    } finally {
      await handle.close();
    }
  });

  test('keeps kinds, owners, times, attributes, links, devices and holes', async () => {
    const root = await build(fillRich);
    const image = await imageOf('build', 'kept.erofs');
    await equal(image, root);
    expect(statSync(image).blocks * 512).toBeLessThan(30_000_000);
  });

  test('has directories with many entries', async () => {
    const root = await build((at) => {
      mkdirSync(at('many'));
      for (let i = 0; i < 20_000; i++) writeFileSync(at(`many/${'n'.repeat(i % 100)}${i}`), '');
    });
    await equal(await imageOf('build', 'many.erofs'), root);
  });

  test('stops at a signal, and names what is missing', async () => {
    const handle = await open(join(fixture.scratch, 'stopped'), 'wx');
    try {
      const options = { signal: AbortSignal.abort() };
      await expect(fixture.store.images.writeDisk(handle.fd, IMAGE, options)).rejects.toMatchObject({
        code: 'ERR_ABORTED',
      });
      await expect(fixture.store.images.writeDisk(handle.fd, 'nobody:1')).rejects.toMatchObject({
        code: 'ERR_IMAGE_NOT_FOUND',
      });
    } finally {
      await handle.close();
    }
  });
});

test('the command prefers a container to an image of the same name', async () => {
  await build((at) => writeFileSync(at('mine'), 'written in the container'));
  await fixture.store.images.tag(IMAGE, 'build');
  const cli = new LayerstackCli(fixture.root);
  const container = join(fixture.scratch, 'container.erofs');
  const image = join(fixture.scratch, 'image.erofs');
  await cli.run('image', '-o', container, 'build');
  await cli.run('image', '-o', image, 'build:latest');
  expect(readFileSync(join(mounted(container), 'mine'), 'utf8')).toBe('written in the container');
  expect(() => statSync(join(mounted(image), 'mine'))).toThrow('ENOENT');
  const missing = await cli.try(['image', '-o', join(fixture.scratch, 'none'), 'nobody:1']);
  expect(missing.stderr).toContain('ERR_IMAGE_NOT_FOUND');
});
