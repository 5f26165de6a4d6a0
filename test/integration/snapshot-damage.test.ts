/** Snapshots on stores that are damaged, interrupted or in use: nothing that they or containers have is lost. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
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
