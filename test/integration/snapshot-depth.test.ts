/** Long histories: stacks stay short, and neither listing nor removal is quadratic. */
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Container } from '../../src/container/record.ts';
import type { Snapshot } from '../../src/snapshot/snapshot.ts';
import { IMAGE, TestStore } from '../support/test-store.ts';

/** 10,000 take minutes. */
const COUNT = Number(process.env['LAYERSTACK_TEST_SNAPSHOTS'] ?? 200);

let fixture: TestStore;
let source: Container;

beforeEach(async () => {
  fixture = await TestStore.build();
  source = await fixture.store.containers.create(IMAGE, { name: 'build' });
});

afterEach(() => fixture[Symbol.asyncDispose]());

async function names(container: Container): Promise<string[]> {
  await using mount = await fixture.store.containers.mount(container);
  return readdirSync(mount.path).sort();
}

/** Writes to the upper without a mount, which costs most of the time. */
const put = (name: string): void =>
  writeFileSync(fixture.at(`overlay2/${source.mountId}/diff/${name}`), name);

it(`a container is sealed ${COUNT} times, and each snapshot shows its files`, async () => {
  const { snapshots, containers } = fixture.store;
  const taken: Snapshot[] = [];
  for (let index = 0; index < COUNT; index++) {
    put(`file-${index}`);
    taken.push(await snapshots.create(source));
  }
  expect(Math.max(...taken.map(({ depth }) => depth))).toBeLessThan(128);
  expect(taken.at(-1)?.depth).toBeLessThan(COUNT);
  expect(taken.every(({ parent }, index) => parent === taken[index - 1]?.id)).toBe(true);
  expect(await snapshots.list()).toHaveLength(COUNT);
  expect((await snapshots.list({ container: source })).map(({ id }) => id)).toEqual(
    taken.map(({ id }) => id),
  );
  expect((await snapshots.sizes()).size).toBe(COUNT);
  for (const index of [0, 63, 64, 130, COUNT - 1]) {
    const [fork] = await snapshots.fork(taken[index] as Snapshot);
    const found = (await names(fork as Container)).filter((name) => name.startsWith('file-'));
    expect(found, `snapshot ${index}`).toHaveLength(index + 1);
    await containers.remove(fork as Container);
  }
  const changes = await snapshots.diff(taken[10] as Snapshot, taken[COUNT - 1] as Snapshot);
  expect(changes).toHaveLength(COUNT - 11);
  expect(changes.every(({ kind }) => kind === 'A')).toBe(true);
  const found: string[] = [];
  for await (const { code, path } of fixture.store.fsck()) found.push(`${code} ${path}`);
  expect(found).toEqual([]);

  await containers.remove(source);
  for (const snapshot of [...taken].reverse()) await snapshots.remove(snapshot);
  await fixture.reopen();
  expect(readdirSync(fixture.at('layerstack/snapshots'))).toEqual([]);
  expect(readdirSync(fixture.at('image/overlay2/layerdb/mounts'))).toEqual([]);
}, 900_000);

it('a deleted file and a replaced directory stay so above a merged upper', async () => {
  const { snapshots } = fixture.store;
  for (let index = 0; index < 64; index++) {
    if (index === 20) {
      await using mount = await fixture.store.containers.mount(source);
      rmSync(join(mount.path, 'house'), { recursive: true });
      rmSync(join(mount.path, 'etc/passwd'));
      writeFileSync(join(mount.path, 'house'), 'a file now');
    }
    await snapshots.create(source);
  }
  await fixture.reopen();
  const [next] = [await fixture.store.snapshots.create('build')];
  expect(next.depth).toBe(2);
  const [fork] = await fixture.store.snapshots.fork(next);
  await using mount = await fixture.store.containers.mount(fork as Container);
  expect(existsSync(join(mount.path, 'etc/passwd'))).toBe(false);
  expect(readdirSync(join(mount.path, 'etc'))).toContain('group');
  expect(existsSync(join(mount.path, 'house/concrete'))).toBe(false);
}, 60_000);

it('a merged upper stays while a container stands on it, even if no note says so', async () => {
  const { snapshots } = fixture.store;
  put('first');
  const taken: Snapshot[] = [];
  for (let index = 0; index < 64; index++) taken.push(await snapshots.create(source));
  await fixture.reopen();
  const next = await fixture.store.snapshots.create('build');
  const [merged] = readdirSync(fixture.at('layerstack/snapshots')).filter((name) => name.endsWith('.flat'));
  const id = fixture.text(`layerstack/snapshots/${merged ?? ''}`).trim();
  for (const note of readdirSync(fixture.at(`layerstack/children/${id}`)))
    rmSync(fixture.at(`layerstack/children/${id}/${note}`), { recursive: true });
  await fixture.store.snapshots.remove(taken[63] as Snapshot);
  await fixture.reopen();
  expect(await names(source)).toContain('first');
  const [fork] = await fixture.store.snapshots.fork(next);
  expect(await names(fork as Container)).toContain('first');
});
