/** Renaming containers: one owner of a name at any time, whoever asks for it. */
import { existsSync, mkdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { Locks } from '../../src/system/lock.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

const image = imageOf([layerOf({ f: 'f' })], { tags: ['base:1'] });
let scratch: string;
let root: string;
let store: Layerstack;

beforeAll(async () => {
  scratch = makeScratch('rename');
  root = join(scratch, 'root');
  store = await Layerstack.open({ root });
  await store.images.load(Readable.from([tar(dockerArchive([image]))]));
});
afterAll(async () => {
  await store.close();
  await dropScratch(scratch);
});

const owner = (name: string): string | undefined =>
  existsSync(join(root, 'layerstack/names')) ? readLink(join(root, 'layerstack/names', name)) : undefined;
const readLink = (path: string): string | undefined => {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
};

it('gives the new name and takes the old one, in the config that dockerd reads and in the index', async () => {
  const { id } = await store.containers.create('base:1', { name: 'before', labels: { a: '<&>' } });
  const path = join(root, 'containers', id, 'config.v2.json');
  const config = readFileSync(path, 'utf8');
  await store.containers.rename('before', '/after');
  expect(readFileSync(path, 'utf8')).toBe(config.replace('"Name":"/before"', '"Name":"/after"'));
  expect([owner('before'), owner('after')]).toEqual([undefined, id]);
  await expect(store.containers.get('before')).rejects.toMatchObject({ code: 'ERR_CONTAINER_NOT_FOUND' });
  expect((await store.containers.create('base:1', { name: 'before' })).name).toBe('before');
  await store.containers.remove('before');
  await store.containers.remove('after');
  expect(owner('after')).toBeUndefined();
});

it('names that a dead writer was giving and taking lead to their container, or nowhere', async () => {
  const { id } = await store.containers.create('base:1', { name: 'kept' });
  const session = join(root, 'layerstack/sessions/dead');
  mkdirSync(session);
  for (const name of ['lock', `naming.${id}`]) writeFileSync(join(session, name), '');
  for (const name of ['wanted', 'before']) symlinkSync(id, join(root, 'layerstack/names', name));
  symlinkSync('f'.repeat(64), join(root, 'layerstack/names/unmarked'));
  await (await Layerstack.open({ root })).close();
  expect(['kept', 'wanted', 'before'].map(owner)).toEqual([id, undefined, undefined]);
  expect(owner('unmarked')).toBe('f'.repeat(64)); // not this session's
  expect(existsSync(session)).toBe(false);
  await store.containers.remove('kept');
});

it('refuses a name that is taken, the one it has, and none at all', async () => {
  await store.containers.create('base:1', { name: 'one' });
  const two = await store.containers.create('base:1', { name: 'two' });
  await expect(store.containers.rename('one', 'two')).rejects.toMatchObject({
    code: 'ERR_CONTAINER_NAME_IN_USE',
    id: two.id,
  });
  await expect(store.containers.rename('one', 'one')).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
  await expect(store.containers.rename('one', '../x')).rejects.toMatchObject({
    code: 'ERR_INVALID_ARGUMENT',
  });
  await store.containers.remove('one');
  await expect(store.containers.rename(two, 'two2')).resolves.toBeUndefined();
  await store.containers.remove('two2');
  await expect(store.containers.rename(two, 'three')).rejects.toMatchObject({
    code: 'ERR_CONTAINER_NOT_FOUND',
  });
});

it('takes over a name whose container is gone', async () => {
  symlinkSync('0'.repeat(64), join(root, 'layerstack/names/stale'));
  const { id } = await store.containers.create('base:1', { name: 'fresh' });
  await store.containers.rename('fresh', 'stale');
  expect(owner('stale')).toBe(id);
  await store.containers.remove('stale');
});

it('of many that want one name at once, also by another open store, one gets it', async () => {
  await using other = await Layerstack.open({ root });
  const names = Array.from({ length: 6 }, (_, index) => `racer${index}`);
  for (const name of names) await store.containers.create('base:1', { name });
  const results = await Promise.allSettled(
    names.map((name, index) => (index % 2 ? other : store).containers.rename(name, 'winner')),
  );
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  const all = (await store.containers.list()).map(({ name }) => name);
  expect(all.filter((name) => name === 'winner')).toHaveLength(1);
  expect(all).toHaveLength(6);
  expect(owner('winner')).toBe((await store.containers.get('winner')).id);
  await store.containers.prune();
  expect(await store.containers.list()).toEqual([]);
});

it('gives a name back only while nobody else claims it', async () => {
  const locks = new Locks(join(root, 'layerstack/locks'));
  for (const giveBack of [
    (): Promise<unknown> => store.containers.remove('mine'),
    (): Promise<unknown> => store.containers.rename('mine', 'yours'),
  ]) {
    await store.containers.create('base:1', { name: 'mine' });
    const claim = await locks.acquire('containers', 'name:mine');
    let given = false;
    const giving = giveBack().then(() => (given = true));
    await setTimeout(200);
    expect(given).toBe(false);
    await claim.release();
    await giving;
    expect(owner('mine')).toBeUndefined();
  }
  await store.containers.remove('yours');
});

it('is a verb, that prints nothing', async () => {
  const { id } = await store.containers.create('base:1', { name: 'hut' });
  const cli = new LayerstackCli(root);
  expect(await cli.try(['rename', 'hut', 'palace'])).toMatchObject({ status: 0, stdout: '', stderr: '' });
  expect((await store.containers.get('palace')).id).toBe(id);
  const again = await cli.try(['rename', 'hut', 'castle']);
  expect(again).toMatchObject({ status: 1, stdout: '' });
  expect(again.stderr).toMatch(/^layerstack: ERR_CONTAINER_NOT_FOUND: no container has the name or id "hut"/);
});
