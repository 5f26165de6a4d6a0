/**
 * `create` of durable containers, by its system calls: the state on disk when it resolves, and the number of
 * syncs.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { describeFailure, must, run } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { fixtures } from './support/fixtures.ts';

const PROGRAM = fileURLToPath(new URL('../fixtures/create-durably.mjs', import.meta.url));
const IMAGE = 'fx/whole:1';
const CALLS = 'trace=syncfs,renameat,access';

interface Call {
  readonly text: string;
  /** Lines of the trace where it began and ended. */
  readonly begin: number;
  readonly end: number;
}

/** The calls of an `strace -f`, in which one that another thread interrupts is cut in two. */
function readTrace(path: string): Call[] {
  const calls: Call[] = [];
  const open = new Map<string, { readonly text: string; readonly begin: number }>();
  for (const [line, text] of readFileSync(path, 'utf8').split('\n').entries()) {
    const [, pid = '', rest = ''] = /^(\d+)\s+(.*)$/.exec(text) ?? [];
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    const started = open.get(pid);
    if (rest.endsWith('<unfinished ...>')) open.set(pid, { text: rest, begin: line });
    else if (resumed && started)
      calls.push({ text: started.text + (resumed[1] ?? ''), begin: started.begin, end: line });
    else if (rest !== '') calls.push({ text: rest, begin: line, end: line });
  }
  return calls;
}

describe.runIf(havePeers('dockerd', 'docker', 'strace'))('a durable create', () => {
  let scratch: string;
  let ours: LayerstackCli;

  beforeAll(async () => {
    scratch = makeScratch('durable-create');
    ours = new LayerstackCli(join(scratch, 'root'));
    await ours.run('load', '-q', '-i', fixtures().whole);
  });

  afterAll(() => dropScratch(scratch));

  const count = (calls: readonly Call[]) => calls.filter(({ text }) => text.startsWith('syncfs(')).length;
  const made = (calls: readonly Call[]) =>
    calls.flatMap((call) => {
      const id = /"\/made\/([0-9a-f]{64})"/.exec(call.text)?.[1];
      return id === undefined ? [] : [{ id, at: call.begin }];
    });

  /** Returns the calls between the program's `/begin` and `/end`. */
  async function traced(name: string, containers: number, how: string, ...inject: string[]): Promise<Call[]> {
    const trace = join(scratch, name);
    const program = [process.execPath, PROGRAM, ours.root, IMAGE, String(containers), how];
    await must('strace', ['-f', '-y', '-e', CALLS, ...inject, '-o', trace, ...program]);
    const calls = readTrace(trace);
    const at = (path: string) => calls.findIndex(({ text }) => text.includes(`"${path}"`));
    return calls.slice(at('/begin'), at('/end'));
  }

  const remove = (containers: number) =>
    ours.run('rm', ...Array.from({ length: containers }, (_, index) => `c${index}`));

  /**
   * Checks for a sync between the content and the rename, and one between the rename and the end of the call.
   */
  function expectDurable(calls: readonly Call[]): void {
    const syncs = calls.filter(({ text }) => /^syncfs\(.*= 0$/.test(text));
    for (const { id, at } of made(calls)) {
      const rename = calls.find(
        ({ text }) => text.startsWith('renameat(') && text.includes(`/containers/${id}>`),
      );
      expect(rename, id).toBeDefined();
      expect(syncs.some(({ end }) => end < (rename?.begin ?? 0))).toBe(true);
      expect(syncs.some(({ begin, end }) => begin > (rename?.end ?? Infinity) && end < at)).toBe(true);
    }
  }

  test('fifty at once share a few syncs, and each is on disk when its call returns', async () => {
    const calls = await traced('fifty', 50, 'together');
    expect(made(calls)).toHaveLength(50);
    expect(count(calls)).toBeGreaterThanOrEqual(2);
    expect(count(calls)).toBeLessThanOrEqual(10);
    expectDurable(calls);
    // A sync follows the last rename before the last call ends.
    const renames = calls.filter(({ text }) => text.includes('config.v2.json'));
    expect(renames).toHaveLength(50);
    const last = Math.max(...renames.map(({ end }) => end));
    expect(calls.some(({ text, begin }) => text.startsWith('syncfs(') && begin > last)).toBe(true);
    await remove(50);
  });

  test('one after another each waits for its own syncs: before and after its rename', async () => {
    const calls = await traced('after', 3, 'after');
    expect(made(calls)).toHaveLength(3);
    const order = calls.flatMap(
      ({ text }) => /^(syncfs|renameat)\(|"\/(made)/.exec(text)?.slice(1).find(Boolean) ?? [],
    );
    expect(order).toEqual(Array(3).fill(['syncfs', 'renameat', 'syncfs', 'made']).flat());
    await remove(3);
  });

  test('the name of a removed container is used again, durably', async () => {
    for (const name of ['again-1', 'again-2']) {
      const calls = await traced(name, 1, 'together');
      expect(count(calls)).toBe(2);
      expectDurable(calls);
      await remove(1);
    }
  });

  test('without it nothing is synced', async () => {
    const calls = await traced('undurable', 20, 'undurably');
    expect(made(calls)).toHaveLength(20);
    expect(count(calls)).toBe(0);
    await remove(20);
  });

  test.each([
    ['before the rename', '1'],
    ['behind it', '2'],
  ])('a sync that fails %s is reported, and no container exists', async (_, when) => {
    const calls = await traced(`failed-${when}`, 1, 'together', '-e', `inject=syncfs:error=EIO:when=${when}`);
    expect(calls.some(({ text }) => text.includes('"/failed/EIO"'))).toBe(true);
    expect(made(calls)).toEqual([]);
    expect(await ours.run('containers', '-aq')).toBe('');
    expect(await ours.run('fsck')).not.toMatch(/c0|container/);
    expect(made(await traced(`after-${when}`, 1, 'together'))).toHaveLength(1);
    await remove(1);
  });

  test('a sync that fails is reported to all calls that waited for it, and to no others', async () => {
    const calls = await traced('failed-some', 10, 'together', '-e', 'inject=syncfs:error=EIO:when=1');
    const failed = calls.filter(({ text }) => text.includes('"/failed/EIO"'));
    expect(failed.length).toBeGreaterThan(0);
    expect(failed.length + made(calls).length).toBe(10);
    const names = (await ours.run('containers', '-aq')).split('\n').filter(Boolean);
    expect(names).toHaveLength(made(calls).length);
    if (names.length > 0) await ours.run('rm', ...names);
  });

  test('the command waits for the disk on request', async () => {
    const create = async (name: string, ...options: string[]) => {
      const trace = join(scratch, name);
      const words = ours.argv('create', ...options, '--name', name, IMAGE);
      await must('strace', ['-f', '-e', CALLS, '-o', trace, process.execPath, ...words]);
      await ours.run('rm', name);
      return count(readTrace(trace));
    };
    expect(await create('plain')).toBe(0);
    expect(await create('durable', '--durable')).toBe(2);
  });

  test('the service waits for the disk unless it is told not to', async () => {
    const create = async (name: string, ...args: string[]) => {
      const trace = join(scratch, name);
      const directory = join(scratch, `service-${name}`);
      mkdirSync(directory);
      await using service = await ServiceProcess.start(directory, { args });
      await new LayerstackCli(service.root).run('load', '-q', '-i', fixtures().whole);
      const strace = spawn('strace', ['-f', '-e', CALLS, '-o', trace, '-p', String(service.pid)]);
      const ended = once(strace, 'close');
      await once(strace.stderr, 'data'); // "attached"
      const body = JSON.stringify({ Image: IMAGE, Cmd: ['true'] });
      const words = ['-sS', '-w', '%{http_code}', '--unix-socket', service.socket, '-o', '/dev/null'];
      const request = [
        '-H',
        'Content-Type: application/json',
        '-d',
        body,
        'http://layerstack/containers/create',
      ];
      const ran = await Promise.all(Array.from({ length: 20 }, () => run('curl', [...words, ...request])));
      strace.kill('SIGINT');
      await ended;
      for (const each of ran) expect(each.stdout, describeFailure(each)).toBe('201');
      return count(readTrace(trace));
    };
    const durable = await create('durable-by-default');
    expect(durable).toBeGreaterThanOrEqual(2);
    // Two for each that comes alone; clients that start one after another share fewer than those of the test
    // above.
    expect(durable).toBeLessThan(40);
    expect(await create('not-durable', '--no-durable-create')).toBe(0);
  });
});
