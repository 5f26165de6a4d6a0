/**
 * The order in which a `load` writes to disk, by its system calls: content before layerdb, layerdb before the
 * one rename that decides the change, and that rename, durable, before config and names are put in their
 * places. A `load --packed` has the same order.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { fixtures } from './support/fixtures.ts';

interface Call {
  readonly name: 'sync' | 'syncfs' | 'rename' | 'write';
  /** The synced or written path, or the new name. */
  readonly path: string;
  /** Line of the trace where it began and where it had ended. */
  readonly begin: number;
  readonly end: number;
}

/** Reads the output of `strace -f -y`, in which a call that another thread interrupts is cut in two. */
function readTrace(text: string): Call[] {
  const calls: Call[] = [];
  const open = new Map<string, { text: string; begin: number }>();
  text.split('\n').forEach((line, index) => {
    const [, pid, rest] = /^(\d+)\s+(.*)$/.exec(line) ?? [];
    if (!pid || !rest) return;
    let begin = index;
    let whole = rest;
    if (rest.endsWith('<unfinished ...>')) {
      open.set(pid, { text: rest.replace(/\s*<unfinished \.\.\.>$/, ''), begin });
      return;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    const started = open.get(pid);
    if (resumed && started) {
      begin = started.begin;
      whole = started.text + (resumed[1] ?? '');
      open.delete(pid);
    }
    const call = readCall(whole);
    if (call) calls.push({ ...call, begin, end: index });
  });
  return calls;
}

function readCall(text: string): Pick<Call, 'name' | 'path'> | undefined {
  const written = /^(?:write|pwrite64|writev|pwritev2?|ftruncate)\(\d+<([^>]*)>.* = \d+$/.exec(text);
  if (written) return { name: 'write', path: written[1] ?? '' };
  if (!/ = 0$/.test(text)) return undefined;
  const sync = /^(fsync|fdatasync|syncfs)\(\d+<([^>]*)>/.exec(text);
  if (sync) return { name: sync[1] === 'syncfs' ? 'syncfs' : 'sync', path: sync[2] ?? '' };
  const at = /^renameat2?\((?:AT_FDCWD|\d+)(?:<[^>]*>)?, "[^"]*", (?:AT_FDCWD|\d+)<([^>]*)>, "([^"]*)"/.exec(
    text,
  );
  if (at) return { name: 'rename', path: resolve(at[1] ?? '/', at[2] ?? '') };
  const plain = /^rename\("[^"]*", "([^"]*)"/.exec(text);
  return plain ? { name: 'rename', path: plain[1] ?? '' } : undefined;
}

const SYNCS = 'fsync,fdatasync,syncfs,rename,renameat,renameat2';
const WRITES = 'write,pwrite64,writev,pwritev,pwritev2,ftruncate';

/** Runs a load under strace, and returns the calls in which it changes the disk. */
async function traceLoad(store: string, filter: string, ...options: readonly string[]): Promise<Call[]> {
  const trace = `${store}.trace`;
  await must('strace', [
    ...['-f', '-y', '-s', '0', '-e', `trace=${filter}`, '-o', trace],
    process.execPath,
    ...new LayerstackCli(store).argv('load', ...options, '-i', fixtures().whole),
  ]);
  return readTrace(readFileSync(trace, 'utf8'));
}

/** Returns the renames to a path below the store that fits. */
function renamesIn(store: string, calls: readonly Call[], pattern: RegExp): Call[] {
  return calls.filter(
    ({ name, path }) =>
      name === 'rename' && path.startsWith(`${store}/`) && pattern.test(path.slice(store.length)),
  );
}

/** Returns whether a sync of `path` begins after `from` and has ended before `to`. */
function isSynced(calls: readonly Call[], path: string, from: Call | undefined, to?: Call): boolean {
  return calls.some(
    (call) =>
      call.name === 'sync' &&
      call.path === path &&
      call.begin > (from?.end ?? Infinity) &&
      call.end < (to?.begin ?? Infinity),
  );
}

describe.runIf(havePeers('dockerd', 'docker', 'strace'))('durability of load', () => {
  let scratch: string;
  let calls: Call[];
  let store: string;

  beforeAll(async () => {
    scratch = makeScratch('durability');
    store = join(scratch, 'root');
    calls = await traceLoad(store, SYNCS);
  });

  afterAll(() => dropScratch(scratch));

  const renamesTo = (pattern: RegExp) => renamesIn(store, calls, pattern);
  const synced = (path: string, from: Call | undefined, to?: Call) => isSynced(calls, path, from, to);

  const layers = () => renamesTo(/^\/image\/overlay2\/layerdb\/sha256\/[0-9a-f]{64}$/);
  const decided = () => renamesTo(/^\/layerstack\/changes\/pending$/);
  const configs = () => renamesTo(/^\/image\/overlay2\/imagedb\/content\/sha256\/[0-9a-f]{64}$/);
  const tags = () => renamesTo(/^\/image\/overlay2\/repositories\.json$/);

  test('the steps come in order: layers, the pending change, names and config', () => {
    expect(layers()).toHaveLength(6);
    expect(decided()).toHaveLength(1);
    expect(configs()).toHaveLength(1);
    expect(tags()).toHaveLength(1);
    expect(layers().at(-1)?.end).toBeLessThan(decided()[0]?.begin ?? 0);
    // Readers ignore a name without an image, but they would see an image without its names.
    expect(decided()[0]?.end).toBeLessThan(tags()[0]?.begin ?? 0);
    expect(tags()[0]?.end).toBeLessThan(configs()[0]?.begin ?? 0);
  });

  test('the content of every layer is synced before the first appears in layerdb', () => {
    const first = layers()[0]?.begin ?? 0;
    expect(calls.filter(({ name, end }) => name === 'syncfs' && end < first)).not.toEqual([]);
  });

  test('layerdb is synced after its last rename and before the change is decided', () => {
    expect(synced(join(store, 'image/overlay2/layerdb/sha256'), layers().at(-1), decided()[0])).toBe(true);
  });

  test('config and names are synced before they are decided', () => {
    const before = calls.filter(({ name, end }) => name === 'sync' && end < (decided()[0]?.begin ?? 0));
    const paths = before.map(({ path }) => path.slice(store.length));
    for (const file of [/:imagedb:content:sha256:[0-9a-f]{64}$/, /:repositories\.json$/])
      expect(
        paths.filter((path) => /^\/layerstack\/changes\/\.tmp-/.test(path) && file.test(path)),
      ).toHaveLength(1);
  });

  test('the decision is synced before any file is put in its place', () => {
    expect(synced(join(store, 'layerstack/changes'), decided()[0], tags()[0])).toBe(true);
  });

  test('config and names are synced in place before load returns', () => {
    expect(synced(join(store, 'image/overlay2/imagedb/content/sha256'), configs()[0])).toBe(true);
    expect(synced(join(store, 'image/overlay2'), tags()[0])).toBe(true);
  });
});

describe.runIf(havePeers('dockerd', 'docker', 'strace'))('durability of load --packed', () => {
  let scratch: string;
  let calls: Call[];
  let store: string;

  beforeAll(async () => {
    scratch = makeScratch('durability-packed');
    store = join(scratch, 'root');
    calls = await traceLoad(store, `${SYNCS},${WRITES}`, '--packed');
  });

  afterAll(() => dropScratch(scratch));

  const published = () => renamesIn(store, calls, /^\/layerstack\/packed\/layers\/[0-9a-f]{64}$/);
  const decided = () => renamesIn(store, calls, /^\/layerstack\/changes\/pending$/);
  const configs = () =>
    renamesIn(store, calls, /^\/layerstack\/packed\/imagedb\/content\/sha256\/[0-9a-f]{64}$/);
  const names = () => renamesIn(store, calls, /^\/layerstack\/packed\/repositories\.json$/);

  /** The last write to each file of a layer that is not published yet. */
  function lastWrites(): Map<string, Call> {
    const staged = join(store, 'layerstack/packed/layers/.tmp-');
    const writes = calls.filter(({ name, path }) => name === 'write' && path.startsWith(staged));
    return new Map(writes.map((call) => [call.path.slice(staged.length), call]));
  }

  test('every file of a layer is synced after its last write and before the first layer is published', () => {
    const files = [...lastWrites()];
    const written = files.map(([path]) => path.slice(path.indexOf('/') + 1));
    for (const name of ['layer.tar', 'index.erofs', 'versions', 'diff', 'size', 'link'])
      expect(
        written.filter((each) => each === name),
        name,
      ).toHaveLength(published().length);
    const first = published()[0]?.begin ?? 0;
    const unsynced = files.filter(
      ([, last]) =>
        !calls.some(
          ({ name, path, begin, end }) =>
            (name === 'syncfs' || (name === 'sync' && path === last.path)) && begin > last.end && end < first,
        ),
    );
    expect(unsynced).toEqual([]);
  });

  test('the steps come in order: layers, the pending change, names and config', () => {
    expect(published()).toHaveLength(6);
    expect(decided()).toHaveLength(1);
    expect(configs()).toHaveLength(1);
    expect(names()).toHaveLength(1);
    expect(published().at(-1)?.end).toBeLessThan(decided()[0]?.begin ?? 0);
    expect(decided()[0]?.end).toBeLessThan(names()[0]?.begin ?? 0);
    expect(names()[0]?.end).toBeLessThan(configs()[0]?.begin ?? 0);
  });

  test('the directory of the layers is synced after its last rename and before the change is decided', () => {
    const directory = join(store, 'layerstack/packed/layers');
    expect(isSynced(calls, directory, published().at(-1), decided()[0])).toBe(true);
  });

  test('config and names are synced in place before load returns', () => {
    const directory = join(store, 'layerstack/packed/imagedb/content/sha256');
    expect(isSynced(calls, directory, configs()[0])).toBe(true);
    expect(isSynced(calls, join(store, 'layerstack/packed'), names()[0])).toBe(true);
  });
});
