/** Mounts of one container by many at once, some of whom unmount what is not theirs. */
import { setTimeout as sleep } from 'node:timers/promises';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { Layerstack, LayerstackError } from '../../src/index.ts';
import { scratch } from '../support/overlay.ts';
import { tar } from '../support/tar.ts';

let store: Layerstack;
let id: string;

beforeEach(async () => {
  const directory = scratch();
  mkdirSync(join(directory, 'tree/etc'), { recursive: true });
  writeFileSync(join(directory, 'tree/etc/motd'), 'hello');
  store = await Layerstack.open({ root: join(directory, 'root') });
  await store.images.import(join(directory, 'tree'), { reference: 't/a:1' });
  ({ id } = await store.containers.create('t/a:1', { name: 'box' }));
  return async () => {
    await store.containers.unmount('box', { force: true });
    await store.close();
  };
});

async function drain(bytes: AsyncIterable<unknown>): Promise<void> {
  for await (const chunk of bytes) void chunk;
}

test('an unmount is complete when its lock is released, so that others never see a part of it', async () => {
  for (let round = 0; round < 20; round++) {
    const mounts = await Promise.all(Array.from({ length: 8 }, () => store.containers.mount('box')));
    await Promise.all(mounts.map((mount) => mount.unmount()));
    expect(await store.containers.isMounted('box')).toBe(false);
  }
});

test('operations succeed or fail cleanly while others unmount, and nothing is written below the mount point', async () => {
  const bytes = tar([{ name: 'tmp/written', content: 'x'.repeat(50_000) }]);
  const source = async function* (): AsyncGenerator<Uint8Array> {
    yield bytes.subarray(0, 1000);
    await sleep(1);
    yield bytes.subarray(1000);
  };
  const acts = [
    () => store.containers.mount('box'),
    () => store.containers.unmount('box'),
    () => store.containers.putArchive('box', '/', source()),
    async () => drain((await store.containers.getArchive('box', '/etc')).tar),
    () => drain(store.containers.export('box')),
  ];
  const codes = new Set<string>();
  let written = 0;
  const client = async (first: number): Promise<void> => {
    for (let turn = 0; turn < 30; turn++) {
      const act = acts[(first + turn * 3) % acts.length];
      try {
        await act?.();
        if (act === acts[2]) written++;
      } catch (error) {
        if (!LayerstackError.is(error)) throw error;
        codes.add(error.code);
      }
    }
  };
  await Promise.all(Array.from({ length: 10 }, (_, first) => client(first)));
  // In use, or mounted read-only by an export.
  expect([...codes].filter((code) => code !== 'ERR_CONTAINER_MOUNTED')).toEqual([]);
  expect(written).toBeGreaterThan(0);
  await store.containers.unmount('box', { force: true });
  expect((await store.containers.diff(id)).map(({ path }) => path)).toContain('/tmp/written');
  const overlays = readdirSync(join(store.root, 'overlay2'), { withFileTypes: true }).filter((entry) =>
    entry.isDirectory(),
  );
  for (const { name } of overlays)
    expect(readdirSync(join(store.root, 'overlay2', name))).not.toContain('merged');
});
