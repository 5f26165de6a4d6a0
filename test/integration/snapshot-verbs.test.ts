/** What snapshots can do once they are taken: be compared, committed, promoted and squashed. */
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { execFile, execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import type { Container } from '../../src/container/record.ts';
import type { Snapshot } from '../../src/snapshot/snapshot.ts';
import { rejection } from '../support/errors.ts';
import { FAULTS, interrupt } from '../support/interrupt.ts';
import { CLI } from '../support/layerstack-cli.ts';
import { IMAGE, TestStore } from '../support/test-store.ts';

let fixture: TestStore;

beforeEach(async () => {
  fixture = await TestStore.build();
});

afterEach(async () => {
  vi.restoreAllMocks();
  await fixture[Symbol.asyncDispose]();
});

type Step = (path: string) => void;

/** Does `work` in the mounted root file system. */
async function inside<T>(
  ref: Container | string,
  work: (path: string) => T,
  store = fixture.store,
): Promise<T> {
  const mount = await store.containers.mount(ref);
  try {
    return work(mount.path);
  } finally {
    await mount.unmount();
  }
}

const write =
  (name: string, text: string): Step =>
  (path) =>
    writeFileSync(join(path, name), text);
const remove =
  (name: string): Step =>
  (path) =>
    rmSync(join(path, name), { recursive: true });
const make = (name = 'build'): Promise<Container> => fixture.store.containers.create(IMAGE, { name });
const take = (ref: Container | string, name?: string): Promise<Snapshot> =>
  fixture.store.snapshots.create(ref, { name });

async function fork(source: Snapshot | Container | string, name: string): Promise<Container> {
  const [made] = await fixture.store.snapshots.fork(source, { name });
  if (made === undefined) throw new Error('nothing was made');
  return made;
}

/** Returns every entry below the root directory: its kind and mode, and its text. */
function tree(ref: Container | string, store = fixture.store): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  const walk = (root: string, directory: string): void => {
    for (const name of readdirSync(join(root, directory))) {
      const path = `${directory}/${name}`;
      const stat = lstatSync(join(root, path));
      const text = stat.isSymbolicLink()
        ? readlinkSync(join(root, path))
        : stat.isFile()
          ? readFileSync(join(root, path), 'utf8')
          : '';
      found[path] = `${stat.mode.toString(8)} ${text}`;
      if (stat.isDirectory()) walk(root, path);
    }
  };
  return inside(
    ref,
    (path) => {
      walk(path, '');
      return found;
    },
    store,
  );
}

async function findings(store = fixture.store): Promise<string[]> {
  const found: string[] = [];
  for await (const { code, path, message } of store.fsck()) found.push(`${code} ${path} ${message}`);
  return found;
}

/** Steps that make, replace and delete entries of the image and of each other. */
const STEPS: readonly Step[] = [
  write('added', '1'),
  remove('house'),
  (path) => {
    mkdirSync(join(path, 'house/new/deep'), { recursive: true });
    writeFileSync(join(path, 'house/new/deep/file'), '1');
  },
  write('house/marble', 'other marble'),
  remove('added'),
  (path) => {
    writeFileSync(join(path, 'etc/group'), 'changed');
    symlinkSync('group', join(path, 'etc/link'));
  },
  remove('house/new/deep/file'),
  remove('etc/passwd'),
  (path) => {
    mkdirSync(join(path, 'etc/passwd'));
    writeFileSync(join(path, 'etc/passwd/file'), '1');
  },
  remove('house/new'),
  (path) => chmodSync(join(path, 'house'), 0o700),
  (path) => renameSync(join(path, 'etc/group'), join(path, 'etc/renamed')),
  remove('etc'),
  write('etc', 'a file now'),
];

/** Takes a snapshot after each step; returns them, and the trees that they had. */
async function history(source: Container, steps = STEPS) {
  const taken: { readonly snapshot: Snapshot; readonly files: Record<string, string> }[] = [];
  for (const step of steps) {
    await inside(source, step);
    taken.push({ snapshot: await take(source), files: await tree(source) });
  }
  return taken;
}

/** Returns the changes that the two trees show, without those of the directories above a change. */
function expected(before: Record<string, string>, after: Record<string, string>): string[] {
  const isNew = (path: string): boolean => before[path] === undefined;
  const gone = Object.keys(before).filter((path) => after[path] === undefined);
  const top = gone.filter((path) => {
    const parent = path.slice(0, path.lastIndexOf('/'));
    return parent === '' || after[parent]?.startsWith('4') === true;
  });
  const changed = Object.keys(after).filter((path) => !isNew(path) && before[path] !== after[path]);
  const added = Object.keys(after).filter(isNew);
  return [
    ...added.map((path) => `A ${path}`),
    ...changed.map((path) => `C ${path}`),
    ...top.map((path) => `D ${path}`),
  ].sort();
}

describe('a comparison', () => {
  it('lists the changes from any snapshot of a container to any other', async () => {
    const taken = await history(await make());
    for (const [from, before] of taken.entries())
      for (const [to, after] of taken.entries()) {
        if (from === to) continue;
        const changes = await fixture.store.snapshots.diff(before.snapshot, after.snapshot);
        const lines = changes.map(({ kind, path }) => `${kind} ${path}`);
        const wanted = expected(before.files, after.files);
        expect(lines, `${from} to ${to}`).toEqual(expect.arrayContaining(wanted));
        // A directory with changed content is listed, too, and one whose times changed is not.
        const others = lines.filter((line) => !wanted.includes(line));
        for (const line of others) {
          const path = line.slice(2);
          expect(line, `${from} to ${to}`).toMatch(/^C /);
          expect(
            wanted.some((each) => each.slice(2).startsWith(`${path}/`)),
            `${from} to ${to}: ${line}`,
          ).toBe(true);
        }
      }
  });

  it('of siblings lists the changes of both since their common snapshot', async () => {
    const source = await make();
    await inside(source, write('shared', '1'));
    const base = await take(source, 'base');
    const [a, b] = [await fork(base, 'one'), await fork(base, 'two')];
    await inside(a, remove('house'));
    await inside(a, write('shared', 'of a'));
    await inside(b, write('house/of-b', '1'));
    const changes = await fixture.store.snapshots.diff(a, b);
    expect(changes.map(({ kind, path }) => `${kind} ${path}`)).toEqual([
      'A /house',
      'A /house/concrete',
      'A /house/marble',
      'A /house/of-b',
      'A /house/rebar',
      'C /shared',
    ]);
    expect((await fixture.store.snapshots.diff(b, a)).map(({ kind, path }) => `${kind} ${path}`)).toEqual([
      'D /house',
      'C /shared',
    ]);
    expect(await fixture.store.snapshots.diff(base, 'one')).toEqual([
      { kind: 'D', path: '/house' },
      { kind: 'C', path: '/shared' },
    ]);
  });

  it('of one object lists its changes since the snapshot or image directly below it', async () => {
    const source = await make();
    await inside(source, write('first', '1'));
    const first = await take(source);
    await inside(source, write('second', '2'));
    const second = await take(source);
    await inside(source, remove('second'));
    expect(await fixture.store.snapshots.diff(first)).toEqual([{ kind: 'A', path: '/first' }]);
    expect(await fixture.store.snapshots.diff(second)).toEqual([{ kind: 'A', path: '/second' }]);
    expect(await fixture.store.snapshots.diff(source)).toEqual([{ kind: 'D', path: '/second' }]);
  });

  it('is refused for a removed snapshot and for different images', async () => {
    const source = await make();
    await inside(source, write('first', '1'));
    const first = await take(source);
    await fixture.store.containers.commit(source, { reference: 'other:1' });
    const other = await fixture.store.containers.create('other:1');
    expect((await rejection(fixture.store.snapshots.diff(first, other))).code).toBe('ERR_INVALID_ARGUMENT');
    await fixture.store.containers.remove(source);
    await fixture.store.snapshots.remove(first);
    expect((await rejection(fixture.store.snapshots.diff(first))).code).toBe('ERR_SNAPSHOT_NOT_FOUND');
    expect((await rejection(fixture.store.snapshots.diff('missing'))).code).toBe('ERR_SNAPSHOT_NOT_FOUND');
  });
});

describe('a commit of a snapshot', () => {
  it('is the image that a commit of a container above it would be, after the container is removed too', async () => {
    const source = await fixture.store.containers.create(IMAGE, { name: 'build', command: ['/run', 'it'] });
    const taken = await history(source, STEPS.slice(0, 4));
    await inside(source, write('later', '1'));
    const files = taken[3]?.files;
    await fixture.store.containers.remove(source);
    const snapshot = taken[3]?.snapshot as Snapshot;
    const events: string[] = [];
    fixture.store.onEvent(({ type, action }) => events.push(`${type} ${action}`));
    const id = await fixture.store.snapshots.commit(snapshot, { reference: 'built:1', message: 'done' });
    expect(events).toEqual(['image tag', 'snapshot commit']);
    const made = await fixture.store.containers.create('built:1');
    expect(await tree(made)).toEqual(files);
    const { Id, Config, RootFS } = await fixture.store.images.inspect('built:1');
    expect([Id, Config?.Cmd]).toEqual([id, ['/run', 'it']]);
    expect(RootFS.Layers).toHaveLength(6);
    const forked = await fork(snapshot, 'forked');
    await fixture.store.containers.commit(forked, { reference: 'forked:1' });
    expect((await fixture.store.images.inspect('forked:1')).RootFS.Layers).toEqual(RootFS.Layers);
    expect(await findings()).toEqual([]);
  });

  it('is refused for a removed snapshot', async () => {
    const source = await make();
    const snapshot = await take(source);
    await fixture.store.containers.remove(source);
    await fixture.store.snapshots.remove(snapshot);
    expect((await rejection(fixture.store.snapshots.commit(snapshot))).code).toBe('ERR_SNAPSHOT_NOT_FOUND');
  });
});

describe('a promotion', () => {
  it('gives the source the files of a fork, and the first one wins', async () => {
    const source = await make();
    await inside(source, write('first', '1'));
    const forks = await fixture.store.snapshots.fork(source, { count: 3, name: 'try' });
    for (const each of forks) await inside(each, write('result', each.name));
    const path = await inside(source, (mounted) => mounted);
    const won = await fixture.store.snapshots.promote('try-2', { onto: 'build' });
    expect(await tree('build')).toEqual(await tree('try-2'));
    expect((await tree('build'))['/result']).toMatch(/ try-2$/);
    expect(await fixture.store.containers.get('build')).toEqual(source);
    expect(await inside('build', (mounted) => mounted)).toBe(path);
    const late = await rejection(fixture.store.snapshots.promote('try-1', { onto: 'build' }));
    expect(late.code).toBe('ERR_CONFLICT');
    // Later work of the winner can follow.
    await inside('try-2', write('more', '1'));
    await fixture.store.snapshots.promote('try-2', { onto: 'build' });
    expect(await tree('build')).toHaveProperty('/more');
    expect((await fixture.store.snapshots.list({ container: 'build' })).map(({ id }) => id)).toContain(
      won.id,
    );
    expect(await findings()).toEqual([]);
  });

  it('is refused when the source has changed since the fork', async () => {
    const source = await make();
    const other = await fork(source, 'other');
    await inside(other, write('result', '1'));
    await inside(source, write('changed', '1'));
    const error = await rejection(fixture.store.snapshots.promote(other, { onto: source }));
    expect([error.code, error.message]).toEqual([
      'ERR_CONFLICT',
      expect.stringMatching(/was changed since the fork: fork it again, or roll it back/) as unknown,
    ]);
    expect(await tree(source)).toHaveProperty('/changed');
    expect(await fixture.store.snapshots.list()).toHaveLength(1);
  });

  it('of a snapshot takes no other snapshot', async () => {
    const source = await make();
    const other = await fork(source, 'other');
    await inside(other, write('result', '1'));
    const good = await take(other, 'good');
    await inside(other, write('result', 'bad'));
    expect(await fixture.store.snapshots.promote('good', { onto: 'build' })).toEqual(good);
    expect((await tree('build'))['/result']).toMatch(/ 1$/);
    expect(await fixture.store.snapshots.list()).toHaveLength(2);
  });

  it('is refused for a mounted or missing container, another image, and the container itself', async () => {
    const source = await make();
    const other = await fork(source, 'other');
    const promote = (child: Container | string, onto: Container | string = source): Promise<string> =>
      rejection(fixture.store.snapshots.promote(child, { onto })).then(({ code }) => code as string);
    expect(await promote(source)).toBe('ERR_INVALID_ARGUMENT');
    expect(await promote('missing')).toBe('ERR_SNAPSHOT_NOT_FOUND');
    expect(await promote(other, 'missing')).toBe('ERR_CONTAINER_NOT_FOUND');
    const mount = await fixture.store.containers.mount(source);
    expect(await promote(other)).toBe('ERR_CONTAINER_MOUNTED');
    await mount.unmount();
    await inside(other, write('result', '1'));
    await fixture.store.containers.commit(other, { reference: 'other:1' });
    expect(await promote(await fixture.store.containers.create('other:1'))).toBe('ERR_INVALID_ARGUMENT');
  });
});

describe('a squash', () => {
  it('shows the same files as the snapshots, for every run of them', async () => {
    const source = await make();
    const taken = await history(source);
    const shown = await tree(source);
    // The snapshots stay, since a mounted container needs them.
    await using _mount = await fixture.store.containers.mount(source);
    for (const [from, to] of [
      [0, 13],
      [1, 3],
      [2, 9],
      [4, 13],
      [7, 12],
    ] as const) {
      const [lowest, topmost] = [taken[from], taken[to]];
      if (!lowest || !topmost) throw new Error('not taken');
      const fresh = await fork(topmost.snapshot, `from-${from}-to-${to}`);
      const made = await fixture.store.snapshots.squash(lowest.snapshot, topmost.snapshot);
      expect(await tree(await fork(made, `squashed-${from}-${to}`)), `${from} to ${to}`).toEqual(
        topmost.files,
      );
      expect(await tree(fresh)).toEqual(topmost.files);
      expect(await tree(source)).toEqual(shown);
    }
    for (const { snapshot, files } of taken.slice(0, 12))
      expect(await tree(await fork(snapshot, `of-${snapshot.id.slice(0, 12)}`))).toEqual(files);
    expect(await findings()).toEqual([]);
  });

  it('lists no whiteout below a directory that hides the image', async () => {
    const source = await make();
    await inside(source, (path) => {
      rmSync(join(path, 'house'), { recursive: true });
      mkdirSync(join(path, 'house/inner'), { recursive: true });
      writeFileSync(join(path, 'house/inner/old'), '1');
    });
    const first = await take(source);
    await inside(source, remove('house/inner/old'));
    const second = await take(source);
    const made = await fixture.store.snapshots.squash(first, second);
    expect(readdirSync(fixture.at(`overlay2/${made.id}/diff/house/inner`))).toEqual([]);
    expect(await inside(await fork(made, 'forked'), (path) => readdirSync(join(path, 'house')))).toEqual([
      'inner',
    ]);
  });

  it('has hard links of the files, moves idle containers, and removes what nothing needs', async () => {
    const source = await make();
    await inside(source, write('big', 'x'.repeat(100_000)));
    const first = await take(source, 'first');
    await inside(source, write('small', '1'));
    const second = await take(source, 'second');
    await inside(source, write('own', '1'));
    const shown = await tree(source);
    const inode = lstatSync(fixture.at(`overlay2/${first.id}/diff/big`)).ino;
    const made = await fixture.store.snapshots.squash('first', 'second', {
      name: 'both',
      labels: { a: '1' },
    });
    expect(made).toMatchObject({ name: 'both', labels: { a: '1' }, parent: undefined, depth: 1 });
    expect(lstatSync(fixture.at(`overlay2/${made.id}/diff/big`)).ino).toBe(inode);
    expect(await fixture.store.snapshots.list()).toEqual([made]);
    expect(await tree(source)).toEqual(shown);
    await fixture.reopen();
    expect(existsSync(fixture.at(`overlay2/${second.id}`))).toBe(false);
    expect(await tree('build')).toEqual(shown);
    const next = await take('build');
    expect([next.parent, next.depth]).toEqual([made.id, 2]);
    expect(await findings()).toEqual([]);
  });

  it('leaves what a mounted container or another snapshot needs', async () => {
    const source = await make();
    await inside(source, write('first', '1'));
    const first = await take(source);
    const second = await take(source);
    const other = await fork(first, 'other');
    await take(other);
    await using mount = await fixture.store.containers.mount(source);
    await fixture.store.snapshots.squash(first, second);
    expect(readFileSync(join(mount.path, 'first'), 'utf8')).toBe('1');
    expect((await fixture.store.snapshots.list()).map(({ id }) => id)).toEqual(
      expect.arrayContaining([first.id, second.id]),
    );
    expect(await tree(other)).toHaveProperty('/first');
  });

  it('is refused where the first is not below the second, and for a taken name', async () => {
    const source = await make();
    const [first, second] = [await take(source, 'first'), await take(source)];
    expect((await rejection(fixture.store.snapshots.squash(second, first))).code).toBe(
      'ERR_INVALID_ARGUMENT',
    );
    expect((await rejection(fixture.store.snapshots.squash(first, second, { name: 'first' }))).code).toBe(
      'ERR_SNAPSHOT_NAME_IN_USE',
    );
    expect((await rejection(fixture.store.snapshots.squash('missing', second))).code).toBe(
      'ERR_SNAPSHOT_NOT_FOUND',
    );
    expect(await fixture.store.snapshots.list()).toHaveLength(2);
  });
});

/** Stops `work` at its steps on a copy of the store, and returns what is shown afterwards. */
async function everyStep<T>(
  dying: boolean,
  work: (store: Layerstack) => Promise<unknown>,
  show: (store: Layerstack) => Promise<T>,
): Promise<T[]> {
  await fixture.store.close();
  const shown: T[] = [];
  // An error at a step is followed by the same undoing as at the next ones.
  for (let at = 0; ; at += dying ? 1 : 3) {
    const root = join(fixture.scratch, `copy-${at}`);
    execFileSync('cp', ['-a', fixture.root, root]);
    const store = await Layerstack.open({ root });
    const reached = interrupt({ at, error: FAULTS.EIO, dying });
    await work(store).catch(() => undefined);
    await store.close().catch(() => undefined);
    vi.restoreAllMocks();
    const next = await Layerstack.open({ root });
    shown.push(await show(next));
    expect(await findings(next), `step ${at}`).toEqual([]);
    await next.close();
    expect(readdirSync(join(root, 'layerstack/sessions')), `step ${at}`).toEqual([]);
    execFileSync('rm', ['-rf', root]);
    if (!reached()) {
      await fixture.reopen();
      return shown;
    }
  }
}

for (const dying of [true, false])
  describe(dying ? 'a kill at any step' : 'an error at any step', () => {
    it('of a promotion leaves the old files or those of the fork', async () => {
      const source = await make();
      await inside(source, write('file', 'old'));
      await inside(await fork(source, 'other'), write('file', 'new'));
      const states = await everyStep(
        dying,
        (store) => store.snapshots.promote('other', { onto: 'build' }),
        async (store) => [(await tree('build', store))['/file'], (await tree('other', store))['/file']],
      );
      for (const [own, child] of states) {
        expect(own).toMatch(/ (old|new)$/);
        expect(child).toMatch(/ new$/);
      }
      expect(states[0]?.[0]).toMatch(/ old$/);
      expect(states.at(-1)?.[0]).toMatch(/ new$/);
    });

    it('of a squash leaves the snapshots or the new one, and the same files', async () => {
      const source = await make();
      await inside(source, write('first', '1'));
      await take(source, 'first');
      await inside(source, remove('house'));
      await take(source, 'second');
      const shown = await tree(source);
      const states = await everyStep(
        dying,
        (store) => store.snapshots.squash('first', 'second', { name: 'both' }),
        async (store) => {
          expect(await tree('build', store)).toEqual(shown);
          return (await store.snapshots.list()).map(({ name }) => name).join();
        },
      );
      for (const state of states)
        expect(['first,second', 'first,second,both', 'first,both', 'both']).toContain(state);
      expect([states[0], states.at(-1)]).toEqual(['first,second', 'both']);
    });
  });

describe('the command', () => {
  async function layerstack(...args: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)(process.execPath, [CLI, '--root', fixture.root, ...args]);
    return stdout.trimEnd();
  }

  it('compares, commits, promotes and squashes', async () => {
    const source = await make();
    await inside(source, write('first', '1'));
    const first = await take(source, 'first');
    await inside(source, write('second', '2'));
    await take(source, 'second');
    expect(await layerstack('diff', 'first', 'second')).toBe('A /second');
    expect(await layerstack('diff', 'second')).toBe('A /second');
    expect(await layerstack('diff', 'build', 'first')).toBe('D /second');
    expect(await layerstack('diff', 'build')).toBe('A /first\nA /second');
    expect(await layerstack('diff', '--format', 'json', first.id, 'build')).toBe(
      '{"kind":"A","path":"/second"}',
    );
    expect(await layerstack('commit', 'first', 'built:1')).toMatch(/^sha256:[0-9a-f]{64}$/);
    await layerstack('fork', '--name', 'try', 'second');
    expect(await layerstack('promote', '--onto', 'build', 'try')).toMatch(/^[0-9a-f]{64}$/);
    await expect(layerstack('promote', 'try')).rejects.toThrow(/--onto CONTAINER/);
    expect(await layerstack('squash', '--name', 'both', 'first', 'second')).toMatch(/^[0-9a-f]{64}$/);
  });
});
