/**
 * A container is made, mounted, written to, unmounted and removed, many times. Afterwards the process has as
 * many descriptors, mounts and directories as before, and its memory does not grow with the number.
 */
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { mountsBelow } from '../support/scratch.ts';
import { IMAGE, TestStore } from '../support/test-store.ts';
import { report, scaled } from './support/scale.ts';

const ROUNDS = scaled(500, 10_000);
const MIB = 1024 ** 2;
/** Ten thousand leaks of the smallest object that a round makes would be more. */
const MOST_GROWTH = 8 * MIB;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const directories = (root: string): string[] =>
  readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();

it('many containers leave no descriptor, no mount, no directory and no memory', async () => {
  await using fixture = await TestStore.build();
  const { store, root, scratch } = fixture;
  const round = async (): Promise<void> => {
    const container = await store.containers.create(IMAGE);
    const mount = await store.containers.mount(container);
    writeFileSync(join(mount.path, 'new'), 'content');
    await mount.unmount();
    await store.containers.remove(container);
  };
  const census = (): unknown => ({
    descriptors: readdirSync('/proc/self/fd').length,
    mounts: mountsBelow(scratch),
    directories: directories(root),
  });
  const heap = (): number => {
    collect();
    return process.memoryUsage().heapUsed + process.memoryUsage().external;
  };
  for (let number = 0; number < 100; number++) await round(); // fills pools and caches
  const [before, used] = [census(), heap()];
  for (let number = 0; number < ROUNDS; number++) await round();
  expect(census()).toEqual(before);
  expect(heap() - used).toBeLessThan(MOST_GROWTH);
  report('create, mount, unmount and remove', ROUNDS);
});
