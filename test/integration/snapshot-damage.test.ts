/**
 * Snapshots on stores that are damaged, interrupted or in use: nothing that they or containers have is lost.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Container } from '../../src/container/record.ts';
import type { Snapshot } from '../../src/snapshot/snapshot.ts';
import type { SnapshotOptions } from '../../src/snapshot/store.ts';
import { Locks } from '../../src/system/lock.ts';
import { native, type BatchStep } from '../../src/system/native.ts';
import { rejection } from '../support/errors.ts';
import { FAULTS, systemError } from '../support/interrupt.ts';
import { archiveOfMembers, chunks, IMAGE, TestStore } from '../support/test-store.ts';

let fixture: TestStore;
let source: Container;

beforeEach(async () => {
  fixture = await TestStore.build();
  source = await fixture.store.containers.create(IMAGE, { name: 'build' });
});

afterEach(async () => {
  vi.restoreAllMocks();
  await fixture[Symbol.asyncDispose]();
});

async function write(container: Container, name: string, text: string): Promise<void> {
  await using mount = await fixture.store.containers.mount(container);
  writeFileSync(join(mount.path, name), text);
}

async function read(container: Container, name: string): Promise<string | undefined> {
  await using mount = await fixture.store.containers.mount(container);
  return existsSync(join(mount.path, name)) ? readFileSync(join(mount.path, name), 'utf8') : undefined;
}

const take = (container = source, options: SnapshotOptions = {}): Promise<Snapshot> =>
  fixture.store.snapshots.create(container, options);
const lowerFile = ({ mountId }: Pick<Container, 'mountId'>): string =>
  fixture.at(`overlay2/${mountId}/lower`);

/** Returns the steps that native code does from now on. */
function recordSteps(): BatchStep[] {
  const { batch } = native;
  const done: BatchStep[] = [];
  vi.spyOn(native, 'batch').mockImplementation((root: string, steps: readonly BatchStep[]) => {
    done.push(...steps);
    return batch(root, steps);
  });
  return done;
}

/** Returns the files that were written before the exchange without being synced. Empty files do not count. */
function unsynced(steps: readonly BatchStep[]): string[] {
  const exchange = steps.findIndex(({ op }) => op === 'exchange');
  expect(exchange).toBeGreaterThan(0);
  return steps.slice(0, exchange).flatMap((step) => {
    if (step.op === 'write' && step.data !== '' && step.sync !== true) return [step.path];
    return step.op === 'replace' && step.sync === false ? [step.path] : [];
  });
}

describe('a power cut finds on disk', () => {
  it('the names of a sealed upper before the upper is exchanged', async () => {
    const steps = recordSteps();
    await take();
    expect(unsynced(steps)).toEqual([]);
  });

  it('the names of a rolled back container before the exchange, and the exchange before the deletion', async () => {
    const snapshot = await take();
    await write(source, 'later', 'text');
    const steps = recordSteps();
    await fixture.store.snapshots.rollback(source, snapshot);
    await fixture.store.close();
    expect(unsynced(steps)).toEqual([]);
    const after = steps.slice(steps.findIndex(({ op }) => op === 'exchange') + 1);
    const sync = after.findIndex((step) => step.op === 'fsync' && step.path === 'overlay2');
    expect(sync).toBeGreaterThanOrEqual(0);
    expect(after.findIndex(({ op }) => op === 'removeTree')).toBeGreaterThan(sync);
    await fixture.reopen();
  });
});

describe('a rollback', () => {
  it('writes the whole stack again, where the container has a damaged `lower`', async () => {
    await write(source, 'first', 'one');
    const snapshot = await take();
    writeFileSync(lowerFile(source), readFileSync(lowerFile(source), 'utf8').split(':')[0] ?? '');
    await fixture.store.snapshots.rollback(source, snapshot);
    expect(await read(source, 'first')).toBe('one');
    expect(await read(source, 'house/concrete')).toBe('good concrete\n');
  });

  it('to a lower snapshot is possible where no more layers can be mounted', async () => {
    // Fewer than 8 sealed uppers are not merged.
    const layers = Array.from({ length: 120 }, (_, index) => [{ name: `layer${index}`, content: 'x' }]);
    await fixture.store.images.load(chunks(archiveOfMembers(layers, {}, 'deep:1')));
    const deep = await fixture.store.containers.create('deep:1', { name: 'deep' });
    await write(deep, 'first', 'one');
    const snapshot = await take(deep);
    for (let depth = readFileSync(lowerFile(deep), 'utf8').split(':').length; depth < 128; depth++)
      await take(deep);
    expect((await rejection(take(deep))).code).toBe('ERR_LAYER_DEPTH');
    expect((await rejection(fixture.store.snapshots.rollback(deep, snapshot, { keep: true }))).code).toBe(
      'ERR_LAYER_DEPTH',
    );
    await fixture.store.snapshots.rollback(deep, snapshot);
    expect(await read(deep, 'first')).toBe('one');
  });
});

/** Repairs the store, and returns what was found. */
async function repair(): Promise<string[]> {
  const found: string[] = [];
  for await (const { code, repaired } of fixture.store.fsck({ repair: true }))
    found.push(`${code} ${repaired}`);
  return found;
}

describe('fsck --repair', () => {
  it('leaves a `lower` alone where the name of a sealed upper is damaged', async () => {
    await take();
    const text = readFileSync(lowerFile(source), 'utf8');
    writeFileSync(lowerFile(source), `l/${text[2] === 'A' ? 'B' : 'a'}${text.slice(3)}`);
    const damaged = readFileSync(lowerFile(source), 'utf8');
    expect(await repair()).toEqual(['container-incomplete false']);
    expect(readFileSync(lowerFile(source), 'utf8')).toBe(damaged);
  });

  it('leaves a damaged `lower` alone where the records of snapshots are lost', async () => {
    const { id } = await take();
    rmSync(fixture.at(`layerstack/snapshots/${id}.json`));
    writeFileSync(lowerFile(source), '');
    expect(await repair()).toContain('container-incomplete false');
    expect(readFileSync(lowerFile(source), 'utf8')).toBe('');
  });

  it('writes the `lower` of an unmounted container with its sealed uppers', async () => {
    await take();
    const text = readFileSync(lowerFile(source), 'utf8');
    const damaged = text.split(':').slice(0, 2).join(':');
    const mount = await fixture.store.containers.mount(source);
    writeFileSync(lowerFile(source), damaged);
    expect(await repair()).toEqual(['overlay-lower false']);
    expect(readFileSync(lowerFile(source), 'utf8')).toBe(damaged);
    await mount.unmount();
    expect(await repair()).toEqual(['overlay-lower true']);
    expect(readFileSync(lowerFile(source), 'utf8')).toBe(text);
  });

  it('does not call a snapshot superfluous that a container needs', async () => {
    const { id } = await take();
    writeFileSync(fixture.at(`image/overlay2/layerdb/mounts/${id}/mount-id`), '');
    const advice: string[] = [];
    for await (const finding of fixture.store.fsck())
      if (finding.path === `overlay2/${id}`) advice.push(finding.advice);
    expect(advice).toEqual(['keep it as long as the container']);
  });
});

describe('a snapshot that a container needs stays', () => {
  for (const [what, damage] of [
    ['is empty', ''],
    ['was changed', 'A'.repeat(26)],
  ] as const)
    it(`when its \`link\` ${what}`, async () => {
      await write(source, 'first', 'one');
      const snapshot = await take();
      writeFileSync(fixture.at(`overlay2/${snapshot.id}/link`), damage);
      const { snapshots } = fixture.store;
      expect((await rejection(snapshots.remove(snapshot))).code).toBe('ERR_STORE_CORRUPT');
      expect(await repair()).toContain('overlay-link true');
      expect((await rejection(snapshots.remove(snapshot))).code).toBe('ERR_SNAPSHOT_IN_USE');
      expect(await read(source, 'first')).toBe('one');
    });

  it('when the need passes to a new snapshot during the removal', async () => {
    await write(source, 'first', 'one');
    const snapshot = await take();
    const { listStoreDirectory } = native;
    let kept: Snapshot | undefined;
    vi.spyOn(native, 'listStoreDirectory').mockImplementation(async (path: string) => {
      const names = await listStoreDirectory(path);
      if (!path.endsWith('layerdb/mounts') || kept !== undefined) return names;
      kept = snapshot; // only once
      kept = await take();
      await fixture.store.containers.remove(source);
      return names;
    });
    expect((await rejection(fixture.store.snapshots.remove(snapshot))).code).toBe('ERR_SNAPSHOT_IN_USE');
    const [fork] = await fixture.store.snapshots.fork(kept as unknown as Snapshot);
    expect(await read(fork as Container, 'first')).toBe('one');
  });
});

describe('damage is an error, not a smaller stack', () => {
  it('of a container that is committed or sealed', async () => {
    await take();
    writeFileSync(fixture.at(`overlay2/${source.mountId}-init/link`), '');
    const { containers } = fixture.store;
    expect((await rejection(containers.commit(source, { reference: 'made:1' }))).code).toBe(
      'ERR_STORE_CORRUPT',
    );
    expect((await rejection(take())).code).toBe('ERR_STORE_CORRUPT');
    expect((await fixture.store.usage()).Containers).toHaveLength(1);
  });

  it('of a container that has lost the name of its init layer', async () => {
    await take();
    writeFileSync(fixture.at(`image/overlay2/layerdb/mounts/${source.id}/init-id`), '');
    const error = await rejection(fixture.store.containers.commit('build', { reference: 'made:1' }));
    expect(error.code).toBe('ERR_STORE_CORRUPT');
  });

  it('of a snapshot that is forked', async () => {
    await take();
    const snapshot = await take();
    const path = lowerFile({ mountId: snapshot.id });
    const text = readFileSync(path, 'utf8');
    for (const damaged of [text.split(':').slice(1).join(':'), `x${text}`]) {
      writeFileSync(path, damaged);
      const { snapshots } = fixture.store;
      expect((await rejection(snapshots.fork(snapshot))).code).toBe('ERR_STORE_CORRUPT');
      expect((await rejection(snapshots.rollback(source, snapshot))).code).toBe('ERR_STORE_CORRUPT');
    }
  });
});

describe('a hostile record', () => {
  it('that names itself as its parent does not stop `size`', async () => {
    const snapshot = await take();
    const path = fixture.at(`layerstack/snapshots/${snapshot.id}.json`);
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), parent: snapshot.id }));
    expect(await fixture.store.snapshots.size(snapshot.id)).toEqual({ own: 0, shared: 0 });
  }, 10_000);

  it('that is a directory is left out of lists, and reported by fsck', async () => {
    const snapshot = await take();
    const path = `layerstack/snapshots/${'f'.repeat(64)}.json`;
    mkdirSync(fixture.at(path));
    expect(await fixture.store.snapshots.list()).toEqual([snapshot]);
    await fixture.store.images.prune();
    const found: string[] = [];
    for await (const finding of fixture.store.fsck()) found.push(`${finding.code} ${finding.path}`);
    expect(found).toEqual([`snapshot-incomplete ${path}`]);
  });
});

describe('a container in use is not sealed', () => {
  it('when a process still works in it after a forced unmount', async () => {
    const mount = await fixture.store.containers.mount(source);
    const process = spawn('sleep', ['60'], { cwd: mount.path });
    const ended = once(process, 'exit');
    try {
      await once(process, 'spawn');
      await fixture.store.containers.unmount(source, { force: true });
      const error = await rejection(take(source, { mode: 'seal' }));
      expect([error.code, error.message]).toEqual([
        'ERR_CONTAINER_MOUNTED',
        expect.stringContaining('is still in use'),
      ]);
      expect(await take()).toMatchObject({ method: 'copied', consistency: 'crash' });
    } finally {
      process.kill();
      await ended;
    }
    const snapshot = await take();
    await fixture.store.snapshots.rollback(source, snapshot);
  });

  it('when dockerd says that it runs', async () => {
    const snapshot = await take();
    const path = fixture.at(`containers/${source.id}/config.v2.json`);
    const document = JSON.parse(readFileSync(path, 'utf8')) as { State: object };
    writeFileSync(path, JSON.stringify({ ...document, State: { ...document.State, Running: true } }));
    const { snapshots } = fixture.store;
    for (const work of [() => take(source, { mode: 'seal' }), () => snapshots.rollback(source, snapshot)])
      expect((await rejection(work())).code).toBe('ERR_CONTAINER_MOUNTED');
    expect(await take()).toMatchObject({ method: 'copied', consistency: 'crash' });
  });
});

describe('a record that was not written to its end', () => {
  it('leaves nothing after an error', async () => {
    const { batch } = native;
    vi.spyOn(native, 'batch').mockImplementation(async (root: string, steps: readonly BatchStep[]) => {
      const at = steps.findIndex((step) => step.op === 'write' && step.path.includes('snapshots/.tmp-'));
      const step = steps[at];
      if (step?.op !== 'write') return batch(root, steps);
      await batch(root, [...steps.slice(0, at), { ...step, data: '' }]);
      throw FAULTS.ENOSPC;
    });
    expect((await rejection(take())).code).toBe('ERR_NO_SPACE');
    vi.restoreAllMocks();
    expect(readdirSync(fixture.at('layerstack/snapshots'))).toEqual([]);
    await fixture.reopen();
    expect(readdirSync(fixture.at('layerstack/sessions'))).toEqual([]);
  });

  it('is removed with its marker by the next writer', async () => {
    const id = 'e'.repeat(64);
    await fixture.store.close();
    const session = fixture.at('layerstack/sessions/0123456789abcdef');
    mkdirSync(session, { mode: 0o700 });
    for (const name of ['lock', `snapshot.${id}`]) writeFileSync(join(session, name), '', { mode: 0o600 });
    mkdirSync(fixture.at('layerstack/snapshots'), { recursive: true, mode: 0o700 });
    writeFileSync(fixture.at(`layerstack/snapshots/.tmp-${id}`), '{"version":');
    await fixture.reopen();
    expect(readdirSync(fixture.at('layerstack/snapshots'))).toEqual([]);
    expect(readdirSync(fixture.at('layerstack/sessions'))).toEqual([]);
  });
});

it('a rollback is refused on a file system that cannot exchange two directories', async () => {
  const snapshot = await take();
  await write(source, 'later', 'text');
  const { batch } = native;
  vi.spyOn(native, 'batch').mockImplementation(async (root: string, steps: readonly BatchStep[]) => {
    const at = steps.findIndex((step) => step.op === 'exchange' && step.via === undefined);
    if (at < 0) return batch(root, steps);
    await batch(root, steps.slice(0, at));
    throw systemError('EINVAL', 22);
  });
  const error = await rejection(fixture.store.snapshots.rollback(source, snapshot));
  expect(error.code).toBe('ERR_STORE_UNSUPPORTED');
  vi.restoreAllMocks();
  expect(await read(source, 'later')).toBe('text');
  expect(await repair()).toEqual([]);
});

it('a fork of a container with a name that is taken or bad takes no snapshot', async () => {
  const { snapshots } = fixture.store;
  await fixture.store.containers.create(IMAGE, { name: 'twin-2' });
  expect((await rejection(snapshots.fork(source, { name: '../x' }))).code).toBe('ERR_INVALID_ARGUMENT');
  const error = await rejection(snapshots.fork(source, { name: 'twin', count: 2 }));
  expect(error.code).toBe('ERR_CONTAINER_NAME_IN_USE');
  expect(await snapshots.list()).toEqual([]);
});

it('a rollback cannot wait in a circle with a repair that holds the lock of the snapshot', async () => {
  const [own, other] = [0, 1].map(() => new Locks(fixture.at('layerstack/locks'))) as [Locks, Locks];
  const isFree = async (key: string): Promise<boolean> => {
    await using lock = own.tryEach('containers', [key]);
    return lock.keys.has(key);
  };
  /** Returns whether {@link Locks.acquireAll} takes the lock of the snapshot before that of the container. */
  const isFirst = async ({ id }: Snapshot): Promise<boolean> => {
    const held = await own.acquire('containers', id);
    const both = other.acquireAll('containers', [source.id, id]);
    await setTimeout(20);
    const free = await isFree(source.id);
    await held.release();
    await (await both).release();
    return free;
  };
  let snapshot = await take();
  while (!(await isFirst(snapshot))) snapshot = await take();
  const repairing = await own.acquire('containers', snapshot.id);
  const rollback = fixture.store.snapshots.rollback(source, snapshot);
  await setTimeout(100);
  expect(await isFree(source.id)).toBe(true);
  await repairing.release();
  await rollback;
});
