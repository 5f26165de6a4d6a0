/** How long snapshots stay, how they are found, and what they cost. */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Container } from '../../src/container/record.ts';
import { rejection } from '../support/errors.ts';
import { IMAGE, TestStore } from '../support/test-store.ts';

let fixture: TestStore;
let source: Container;

beforeEach(async () => {
  fixture = await TestStore.build();
  source = await fixture.store.containers.create(IMAGE, { name: 'build' });
});

afterEach(() => fixture[Symbol.asyncDispose]());

async function write(container: Container, name: string, text: string): Promise<void> {
  await using mount = await fixture.store.containers.mount(container);
  writeFileSync(join(mount.path, name), text);
}

const names = async (): Promise<(string | undefined)[]> =>
  (await fixture.store.snapshots.list()).map(({ name }) => name);
const notes = (): string[] => readdirSync(fixture.at('layerstack/expiring'));

describe('a snapshot that has expired', () => {
  it('is removed by the next writer, unless something needs it then', async () => {
    const { snapshots, containers } = fixture.store;
    await write(source, 'first', '1');
    const base = await snapshots.create(source, { name: 'base', expires: '1ms' });
    await snapshots.create(source, { name: 'later', expires: '1h' });
    await fixture.reopen();
    await fixture.reopen();
    // The container and the later snapshot need it.
    expect(await names()).toEqual(['base', 'later']);
    await fixture.store.containers.remove('build');
    await fixture.store.snapshots.remove('later');
    await fixture.reopen();
    await fixture.reopen();
    expect(await names()).toEqual([]);
    expect(existsSync(fixture.at(`overlay2/${base.id}`))).toBe(false);
    expect(notes().filter((note) => note.endsWith(base.id))).toEqual([]);
    void containers;
  });

  it('is removed by prune, with an event, children before parents', async () => {
    const { snapshots, containers, images } = fixture.store;
    await snapshots.create(source, { name: 'first', expires: '1ms' });
    await snapshots.create(source, { name: 'second', expires: '1ms' });
    await containers.remove(source);
    const events: string[] = [];
    fixture.store.onEvent(({ type, action, attributes }) =>
      events.push(`${type} ${action} ${attributes['name'] ?? ''}`),
    );
    await images.prune({ dryRun: true });
    expect(await names()).toEqual(['first', 'second']);
    await images.prune();
    expect(await names()).toEqual([]);
    expect(events.slice(0, 2)).toEqual(['snapshot destroy second', 'snapshot destroy first']);
  });

  it('stays while it is forked, and its fork keeps the files', async () => {
    const { snapshots, containers, images } = fixture.store;
    await write(source, 'first', '1');
    await snapshots.create(source, { name: 'base', expires: '1ms' });
    const [fork] = await snapshots.fork('base', { name: 'fork' });
    await containers.remove(source);
    await images.prune({ all: true });
    expect(await names()).toEqual(['base']);
    await using mount = await containers.mount(fork as Container);
    expect(readdirSync(mount.path)).toContain('first');
  });

  it('shows when it expires; a time that has passed is refused', async () => {
    const { snapshots } = fixture.store;
    const at = '2099-01-02T03:04:05Z';
    expect((await snapshots.create(source, { expires: at })).expires).toBe(at);
    const { expires = '' } = await snapshots.create(source, { expires: '1h' });
    expect(Date.parse(expires) - Date.now()).toBeGreaterThan(3_500_000);
    for (const wrong of ['2001-01-01', 'soon', ''])
      expect((await rejection(snapshots.create(source, { expires: wrong }))).code).toBe(
        'ERR_INVALID_ARGUMENT',
      );
    expect(await snapshots.list()).toHaveLength(2);
  });
});

it('snapshots are listed by their labels', async () => {
  const { snapshots } = fixture.store;
  await snapshots.create(source, { name: 'one', labels: { step: '1', kind: 'good' } });
  await snapshots.create(source, { name: 'two', labels: { step: '2' } });
  const list = async (label: string[], notLabel: string[] = []): Promise<unknown> =>
    (await snapshots.list({ label, notLabel })).map(({ name }) => name);
  expect(await list(['step'])).toEqual(['one', 'two']);
  expect(await list(['step=2'])).toEqual(['two']);
  expect(await list(['step'], ['kind'])).toEqual(['two']);
  expect(await list(['step=3'])).toEqual([]);
});

it('sizes are measured once, since a sealed upper never changes', async () => {
  const { snapshots } = fixture.store;
  await write(source, 'first', '12345');
  const first = await snapshots.create(source);
  await write(source, 'second', '123');
  const second = await snapshots.create(source);
  expect(await snapshots.sizes()).toEqual(
    new Map([
      [first.id, { own: 5, shared: 0 }],
      [second.id, { own: 3, shared: 5 }],
    ]),
  );
  const kept = fixture.at(`layerstack/snapshots/${first.id}.size`);
  writeFileSync(kept, '7\n');
  expect(await snapshots.size(second)).toEqual({ own: 3, shared: 7 });
  writeFileSync(kept, 'damaged');
  expect(await snapshots.size(second)).toEqual({ own: 3, shared: 5 });
  await fixture.store.containers.remove(source);
  await snapshots.remove(second);
  await snapshots.remove(first);
  await fixture.reopen();
  expect(readdirSync(fixture.at('layerstack/snapshots'))).toEqual([]);
  expect(readdirSync(fixture.at('layerstack/children'))).toEqual([]);
});
