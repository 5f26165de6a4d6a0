/** Snapshots on stores that are damaged, interrupted or in use: nothing that they or containers have is lost. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Container } from '../../src/container/record.ts';
import type { Snapshot } from '../../src/snapshot/snapshot.ts';
import { native, type BatchStep } from '../../src/system/native.ts';
import { rejection } from '../support/errors.ts';
import { IMAGE, TestStore } from '../support/test-store.ts';

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

const take = (container = source): Promise<Snapshot> => fixture.store.snapshots.create(container);
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
    await write(source, 'first', 'one');
    const snapshot = await take();
    for (let depth = readFileSync(lowerFile(source), 'utf8').split(':').length; depth < 128; depth++)
      await take();
    expect((await rejection(take())).code).toBe('ERR_LAYER_DEPTH');
    expect((await rejection(fixture.store.snapshots.rollback(source, snapshot, { keep: true }))).code).toBe(
      'ERR_LAYER_DEPTH',
    );
    await fixture.store.snapshots.rollback(source, snapshot);
    expect(await read(source, 'first')).toBe('one');
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
