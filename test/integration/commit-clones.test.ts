/**
 * Commits on a file system that can clone files: large ones share their blocks with the container, and are
 * what they were at one moment, whatever the container does meanwhile.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, statSync, statfsSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { call, native } from '../../src/system/native.ts';
import { CAPABILITY } from '../support/edits.ts';
import { makeVolume, type Volume } from '../support/loop.ts';
import { mustRun } from '../support/process.ts';
import { chunks, archiveOfMembers, IMAGE, LAYERS } from '../support/test-store.ts';

const MIB = 1 << 20;
const WRITER = `
  const contents = [32, 48].map((size, round) => Buffer.alloc(size << 20, String(round)));
  for (let round = 0; ; round++) require('fs').writeFileSync(process.argv[1], contents[round % 2]);
`;

let volume: Volume;
let store: Layerstack;

beforeAll(async () => {
  volume = await makeVolume('xfs', { sizeMiB: 512, mkfs: ['-m', 'reflink=1'] });
});

afterAll(() => volume.unmount());

beforeEach(async () => {
  store = await Layerstack.open({ root: join(volume.path, 'store') });
  await store.images.load(chunks(archiveOfMembers(LAYERS)));
});

afterEach(async () => {
  for (const container of await store.containers.list())
    await store.containers.remove(container, { force: true });
  await store.images.prune({ all: true });
  await store.close();
});

async function used(): Promise<number> {
  await call(native.batch(volume.path, [{ op: 'syncfs', path: '.' }]));
  const { blocks, bfree, bsize } = statfsSync(volume.path);
  return (blocks - bfree) * bsize;
}

describe('a commit on a file system with clones', () => {
  test('takes no space for large files, which keep owner, mode, times and capabilities', async () => {
    const mount = await store.containers.mount(await store.containers.create(IMAGE, { name: 'build' }));
    const content = randomBytes(96 * MIB);
    const large = join(mount.path, 'house/large');
    writeFileSync(large, content);
    await mustRun('chown', ['1000:100', large]);
    await mustRun('chmod', ['4750', large]);
    await native.setXattr(large, 'security.capability', CAPABILITY);
    await mustRun('ln', [large, join(mount.path, 'house/same')]);
    await mustRun('touch', ['-d', '2001-02-03T04:05:06.789Z', large]);
    const before = await used();
    await store.containers.commit('build', { reference: 'large:1' });
    expect((await used()) - before).toBeLessThan(8 * MIB);

    // The container goes on writing in place; the image stays what it was.
    const fd = openSync(large, 'r+');
    writeSync(fd, Buffer.alloc(MIB), 0, MIB, 0);
    closeSync(fd);
    await mount.unmount();
    const copy = await store.containers.mount(await store.containers.create('large:1', { name: 'copy' }));
    expect(readFileSync(join(copy.path, 'house/large')).equals(content)).toBe(true);
    const { stdout } = await mustRun('sh', [
      '-c',
      'cd "$1" && stat -c "%u:%g %a %h %.9Y" house/large house/same && getcap house/same',
      'sh',
      copy.path,
    ]);
    const line = `1000:100 4750 2 ${(Date.parse('2001-02-03T04:05:06.789Z') / 1000).toFixed(3)}000000`;
    expect(stdout.split('\n').slice(0, 2)).toEqual([line, line]);
    expect(stdout).toContain('house/same cap_');
    await copy.unmount();
    for await (const chunk of store.images.save('large:1')) void chunk; // compares every file with its CRC
  });

  test('keeps holes, even of a file of a terabyte', async () => {
    const TIB = 1024 ** 4;
    const mount = await store.containers.mount(await store.containers.create(IMAGE, { name: 'holes' }));
    for (const [name, size] of [
      ['small', 100 * MIB],
      ['huge', TIB],
      ['second', TIB],
    ] as const) {
      const fd = openSync(join(mount.path, 'house', name), 'w');
      writeSync(fd, Buffer.alloc(MIB, 'x'), 0, MIB, MIB);
      writeSync(fd, 'end', size - 3);
      closeSync(fd);
    }
    const before = await used();
    await store.containers.commit('holes', { reference: 'holes:1' });
    expect((await used()) - before).toBeLessThan(8 * MIB);
    await mount.unmount();
    for await (const chunk of store.images.save('holes:1')) void chunk;
    const copy = await store.containers.mount(await store.containers.create('holes:1', { name: 'again' }));
    for (const [name, size] of [
      ['small', 100 * MIB],
      ['huge', TIB],
      ['second', TIB],
    ] as const) {
      const path = join(copy.path, 'house', name);
      expect(statSync(path)).toMatchObject({ size });
      expect(statSync(path).blocks * 512).toBeLessThan(4 * MIB);
      const { stdout } = await mustRun('tail', ['-c', '5', path]);
      expect(stdout).toBe('\0\0end');
    }
    await copy.unmount();
  });

  test('shows one moment of each large file, even if it is written to and truncated during the commit', async () => {
    const mount = await store.containers.mount(await store.containers.create(IMAGE, { name: 'busy' }));
    const large = join(mount.path, 'house/log');
    writeFileSync(large, Buffer.alloc(48 * MIB, 'a'));
    // In a process of its own: it must not hold up the event loop.
    const writer = spawn(process.execPath, ['-e', WRITER, large], { stdio: 'ignore' });
    const closed = once(writer, 'close');
    try {
      for (const tag of ['busy:1', 'busy:2', 'busy:3']) {
        await store.containers.commit('busy', { reference: tag });
        for await (const chunk of store.images.save(tag)) void chunk;
      }
    } finally {
      writer.kill('SIGKILL');
      await closed;
      await mount.unmount();
    }
  });
});
