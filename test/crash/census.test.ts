/**
 * A container is made, mounted, written to, unmounted and removed, many times. Afterwards the process has as
 * many descriptors, mounts and directories as before, and its memory does not grow with the number.
 */
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import type { Layerstack } from '../../src/app/layerstack.ts';
import { mountsBelow } from '../support/scratch.ts';
import { IMAGE, TestStore } from '../support/test-store.ts';
import { report, scaled } from './support/scale.ts';

const ROUNDS = scaled(300, 10_000);
const WARM_UP = 100;
const MIB = 1024 ** 2;
/** Pools, caches and the removals under way differ by less. 10,000 objects of 1 KiB are more. */
const MOST_GROWTH = 8 * MIB;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const directories = (root: string): string[] =>
  readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();

const heap = (): number => {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

/** Makes, mounts, changes, unmounts and removes this many containers. */
async function use(store: Layerstack, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const container = await store.containers.create(IMAGE);
    const mount = await store.containers.mount(container);
    writeFileSync(join(mount.path, 'new'), 'content');
    await mount.unmount();
    await store.containers.remove(container);
  }
}

/** What an opened store has. The one before it is closed, so its removals in the background have ended. */
async function census(fixture: TestStore): Promise<unknown> {
  await fixture.reopen();
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    mounts: mountsBelow(fixture.scratch),
    directories: directories(fixture.root),
  };
}

it('many containers leave no descriptor, no mount, no directory and no memory', async () => {
  await using fixture = await TestStore.build();
  await use(fixture.store, WARM_UP);
  const before = await census(fixture);
  await use(fixture.store, WARM_UP);
  const used = heap();
  await use(fixture.store, ROUNDS);
  expect(heap() - used).toBeLessThan(MOST_GROWTH);
  expect(await census(fixture)).toEqual(before);
  report('create, mount, unmount and remove', ROUNDS);
});
