import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { holdFlock, Locks, type Lock } from '../../../src/system/lock.ts';
import { native } from '../../../src/system/native.ts';

const addon = fileURLToPath(new URL('../../../build/Release/layerstack.node', import.meta.url));
const holder = fileURLToPath(new URL('../../fixtures/hold-lock.mjs', import.meta.url));

let dir: string;
let locks: Locks;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'lock-'));
  locks = new Locks(join(dir, 'locks'));
});

afterEach(async () => {
  vi.restoreAllMocks();
  await rm(dir, { recursive: true });
});

/** Whether `promise` settles within some milliseconds. */
async function settles(promise: Promise<unknown>, ms = 30): Promise<boolean> {
  return Promise.race([promise.then(() => true), sleep(ms, false)]);
}

describe('Locks', () => {
  test('an exclusive lock keeps others out until it is released', async () => {
    const first = await locks.acquire('layers', 'a');
    const second = locks.acquire('layers', 'a');
    expect(await settles(second)).toBe(false);
    await first.release();
    await (await second).release();
  });

  test('other keys and kinds are free', async () => {
    await using a = await locks.acquire('layers', 'a');
    await using b = await locks.acquire('layers', 'b');
    await using c = await locks.acquire('containers', 'a');
    expect([a, b, c]).toHaveLength(3);
    expect((await readdir(join(dir, 'locks'))).sort()).toEqual(['containers', 'layers']);
  });

  test('two Locks on one directory exclude each other through the kernel', async () => {
    const other = new Locks(join(dir, 'locks'));
    const held = await locks.acquire('references', 'x');
    const waiting = other.acquire('references', 'x');
    expect(await settles(waiting)).toBe(false);
    await held.release();
    expect(await settles(waiting, 500)).toBe(true);
    await (await waiting).release();
  });

  test('shared holders hold it together, an exclusive one alone, in the order of their calls', async () => {
    const order: string[] = [];
    const take = async (name: string, shared: boolean): Promise<void> => {
      await using lock = await locks.acquire('layers', 'k', { shared });
      void lock;
      order.push(`+${name}`);
      await sleep(10);
      order.push(`-${name}`);
    };
    await Promise.all([take('a', true), take('b', true), take('W', false), take('c', true), take('d', true)]);
    expect(order).toEqual(['+a', '+b', '-a', '-b', '+W', '-W', '+c', '+d', '-c', '-d']);
  });

  test('shared locks of two Locks are held at once and keep an exclusive one out', async () => {
    const other = new Locks(join(dir, 'locks'));
    const a = await locks.acquire('layers', 'k', { shared: true });
    const b = await other.acquire('layers', 'k', { shared: true });
    const exclusive = new Locks(join(dir, 'locks')).acquire('layers', 'k');
    await a.release();
    expect(await settles(exclusive, 120)).toBe(false);
    await b.release();
    await (await exclusive).release();
  });

  test('a hundred waiters of one process do not poll', async () => {
    await (await locks.acquire('layers', 'k')).release(); // makes the directory
    const tries = vi.spyOn(native, 'tryNamedRangeLock');
    const first = await locks.acquire('layers', 'k');
    let done = 0;
    const waiters = Array.from({ length: 100 }, async () => {
      const lock = await locks.acquire('layers', 'k');
      done++;
      await lock.release();
    });
    await sleep(60);
    expect(tries).toHaveBeenCalledTimes(1);
    await first.release();
    await Promise.all(waiters);
    expect(done).toBe(100);
    expect(tries).toHaveBeenCalledTimes(101);
  });

  test.each(['in this process', 'through the kernel'])('a signal ends the waiting %s', async (where) => {
    const other = where === 'in this process' ? locks : new Locks(join(dir, 'locks'));
    const held = await other.acquire('layers', 'k');
    const controller = new AbortController();
    const waiting = locks.acquire('layers', 'k', { signal: controller.signal });
    await sleep(5);
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_ABORTED', cause: { message: 'enough' } });
    await held.release();
    await (await locks.acquire('layers', 'k')).release();
  });

  test('a waiter that gives up does not block those behind it', async () => {
    const held = await locks.acquire('layers', 'k', { shared: true });
    const controller = new AbortController();
    const exclusive = locks.acquire('layers', 'k', { signal: controller.signal });
    const behind = locks.acquire('layers', 'k', { shared: true });
    expect(await settles(behind)).toBe(false);
    controller.abort();
    await expect(exclusive).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    await (await behind).release();
    await held.release();
  });

  test('an aborted signal takes no lock', async () => {
    await expect(locks.acquire('layers', 'k', { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    });
  });

  test('releasing twice gives back once', async () => {
    const a = await locks.acquire('layers', 'k');
    await a.release();
    const b = await locks.acquire('layers', 'k');
    await a.release();
    const c = locks.acquire('layers', 'k');
    expect(await settles(c)).toBe(false);
    await b.release();
    await (await c).release();
  });

  test('acquireAll does not deadlock with overlapping keys in opposite order', async () => {
    const keys = ['a', 'b', 'c', 'd', 'e'];
    const others = [locks, new Locks(join(dir, 'locks'))];
    const rounds = Array.from({ length: 40 }, async (_, i) => {
      const mine = i % 2 ? keys : keys.toReversed();
      await using all = await (others[i % 2] as Locks).acquireAll('layers', mine);
      void all;
    });
    await Promise.all(rounds);
  });

  test('acquireAll holds one lock of a repeated key, and nothing after it was aborted', async () => {
    const all = await locks.acquireAll('layers', ['a', 'b', 'a']);
    const controller = new AbortController();
    const waiting = locks.acquireAll('layers', ['c', 'a'], { signal: controller.signal });
    await sleep(5);
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    await (await locks.acquire('layers', 'c')).release();
    await all.release();
  });

  test('tryEach takes the free locks without waiting, and releases all of them', async () => {
    const other = new Locks(join(dir, 'locks'));
    await using mine = await locks.acquire('layers', 'mine', { shared: true });
    await using theirs = await other.acquire('layers', 'theirs');
    const held = locks.tryEach('layers', ['a', 'mine', 'theirs', 'b', 'a']);
    expect([mine, theirs, [...held.keys].sort()]).toMatchObject([{}, {}, ['a', 'b']]);
    const waiting = [locks.acquire('layers', 'a'), other.acquire('layers', 'b', { shared: true })];
    expect(await Promise.all(waiting.map((lock) => settles(lock)))).toEqual([false, false]);
    expect([...other.tryEach('layers', ['a', 'c']).keys]).toEqual(['c']);
    await held.release();
    for (const lock of await Promise.all(waiting)) await lock.release();
  });

  test('tryEach holds thousands on one file descriptor', async () => {
    const keys = Array.from({ length: 3000 }, (_, index) => `key ${String(index)}`);
    const before = (await readdir('/proc/self/fd')).length;
    const held = locks.tryEach('layers', keys);
    expect((await readdir('/proc/self/fd')).length - before).toBeLessThanOrEqual(1);
    expect(held.keys.size).toBe(keys.length);
    expect(new Locks(join(dir, 'locks')).tryEach('layers', keys).keys.size).toBe(0);
    await held.release();
    const again = locks.tryEach('layers', keys);
    expect(again.keys.size).toBe(keys.length);
    await again.release();
  });

  test('many locks take one file descriptor, which close() gives back after the last one', async () => {
    const count = async () => (await readdir('/proc/self/fd')).length;
    const before = await count();
    const keys = Array.from({ length: 50 }, (_, index) => `key ${String(index)}`);
    const held = await Promise.all(keys.map((key) => locks.acquire('layers', key)));
    expect((await count()) - before).toBe(1);
    locks.close();
    const other = new Locks(join(dir, 'locks'));
    const none = other.tryEach('layers', keys);
    expect(none.keys.size).toBe(0);
    await none.release();
    for (const lock of held) await lock.release();
    const all = other.tryEach('layers', keys);
    expect(all.keys.size).toBe(keys.length);
    await all.release();
    expect(await count()).toBe(before);
    await (await locks.acquire('layers', 'later')).release();
    expect(await count()).toBe(before);
  });

  test('the first shared holder to leave does not unlock the byte for the others', async () => {
    const other = new Locks(join(dir, 'locks'));
    const [first, second] = [
      await locks.acquire('layers', 'k', { shared: true }),
      await locks.acquire('layers', 'k', { shared: true }),
    ];
    await first.release();
    const waiting = other.acquire('layers', 'k');
    expect(await settles(waiting)).toBe(false);
    await second.release();
    await (await waiting).release();
    other.close();
  });

  test('a waiter that is aborted in its turn leaves no lock behind', async () => {
    const other = new Locks(join(dir, 'locks'));
    const held = await other.acquire('layers', 'k', { shared: true });
    const mine = await locks.acquire('layers', 'k', { shared: true });
    await mine.release();
    const controller = new AbortController();
    const exclusive = locks.acquire('layers', 'k', { signal: controller.signal });
    await sleep(5);
    controller.abort();
    await expect(exclusive).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    await held.release();
    await (await other.acquire('layers', 'k')).release();
  });

  test('a lock file that was deleted is made again, and both sides agree on the new one', async () => {
    await (await locks.acquire('layers', 'k')).release();
    const other = new Locks(join(dir, 'locks'));
    const old = await locks.acquire('layers', 'k');
    const waiting = other.acquire('layers', 'k');
    await sleep(5);
    await rm(join(dir, 'locks'), { recursive: true });
    await old.release();
    const held: Lock = await waiting;
    const third = locks.acquire('layers', 'k');
    expect(await settles(third)).toBe(false);
    await held.release();
    await (await third).release();
  });
});

test('a lock ends with its process, however the process ends', async () => {
  const tries = vi.spyOn(native, 'tryNamedRangeLock');
  await (await locks.acquire('containers', 'k')).release();
  const byte = tries.mock.calls[0]?.[2];
  expect(byte).toSatisfy(Number.isSafeInteger);
  const child = spawn(process.execPath, [holder, addon, join(dir, 'locks/containers'), String(byte)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    expect(String((await once(child.stdout, 'data'))[0])).toBe('held\n');
    const waiting = locks.acquire('containers', 'k');
    expect(await settles(waiting, 100)).toBe(false);
    child.kill('SIGKILL');
    expect(await settles(waiting, 2000)).toBe(true);
    await (await waiting).release();
  } finally {
    child.kill('SIGKILL');
  }
});

describe('holdFlock', () => {
  test('excludes, shares, and makes the file with the given mode', async () => {
    const path = join(dir, 'metadata.db');
    await expect(holdFlock(path, true)).rejects.toMatchObject({ code: 'ENOENT' });
    const shared = await holdFlock(path, false, { create: 0o600 });
    const also = await holdFlock(path, false);
    expect(shared && also).not.toBeNull();
    expect(await holdFlock(path, true)).toBeNull();
    await shared?.release();
    await also?.release();
    const exclusive = await holdFlock(path, true);
    expect(exclusive).not.toBeNull();
    expect(await holdFlock(path, false)).toBeNull();
    await exclusive?.release();
  });
});
