/** Snapshots of mounted containers: sealed under their users, or copied, and rolled back in place. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import type { StoreEvent } from '../../src/app/store-events.ts';
import type { Container } from '../../src/container/record.ts';
import type { Snapshot } from '../../src/snapshot/snapshot.ts';
import { native } from '../../src/system/native.ts';
import { rejection } from '../support/errors.ts';
import { FAULTS, interrupt } from '../support/interrupt.ts';
import { mustRun } from '../support/process.ts';
import { expectSameContents, facts, fillRich } from '../support/rich-tree.ts';
import { mountsBelow } from '../support/scratch.ts';
import { archiveOfMembers, chunks, IMAGE, LAYERS, TestStore } from '../support/test-store.ts';

let fixture: TestStore;
let source: Container;
/** The root file system of the source. */
let path: string;
const children: ChildProcess[] = [];
const cgroups: string[] = [];

async function prepare(): Promise<void> {
  fixture = await TestStore.build();
  source = await fixture.store.containers.create(IMAGE, { name: 'build' });
  ({ path } = await fixture.store.containers.mount(source));
}

beforeEach(prepare);

async function drop(): Promise<void> {
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }
  for (const group of cgroups.splice(0)) await mustRun('rmdir', [group]);
  await fixture[Symbol.asyncDispose]();
}

afterEach(async () => {
  vi.restoreAllMocks();
  await drop();
});

const at = (name: string): string => join(path, name);
const text = (name: string): string => readFileSync(at(name), 'utf8');
const create = (...args: Parameters<Layerstack['snapshots']['create']>): Promise<Snapshot> =>
  fixture.store.snapshots.create(...args);

/** Starts a shell, and waits until it says that it is ready. */
async function shell(script: string, cwd = '/', program = ['sh', '-c']): Promise<ChildProcess> {
  const [command = '', ...args] = program;
  const child = spawn(command, [...args, script], { cwd, stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  await once(child.stdout, 'data');
  return child;
}

/** Has the shell do a line, and returns what it prints. */
async function answer(child: ChildProcess, line: string): Promise<string> {
  const { stdin, stdout } = child;
  if (!stdin || !stdout) throw new Error('the child has no pipes');
  stdin.write(`${line}; echo .\n`);
  let printed = '';
  while (!printed.endsWith('.\n')) {
    const [data] = (await once(stdout, 'data')) as [Buffer];
    printed += data.toString();
  }
  return printed.slice(0, -2);
}

/** Shows the files of a fork. */
async function inFork<T>(
  ref: Parameters<Layerstack['snapshots']['fork']>[0],
  work: (path: string) => T | Promise<T>,
): Promise<T> {
  const [fork] = await fixture.store.snapshots.fork(ref);
  if (!fork) throw new Error('nothing was made');
  const mount = await fixture.store.containers.mount(fork);
  try {
    return await work(mount.path);
  } finally {
    await mount.unmount();
  }
}

async function expectSound(): Promise<void> {
  const found: string[] = [];
  for await (const { code, path: where, message } of fixture.store.fsck())
    found.push(`${code} ${where} ${message}`);
  expect(found).toEqual([]);
}

describe('a mounted container without writers', () => {
  it('is sealed under a new mount at the same path', async () => {
    writeFileSync(at('first'), 'one');
    const events: StoreEvent[] = [];
    const stop = fixture.store.onEvent((event) => void events.push(event));
    const snapshot = await create(source, { name: 'one' });
    stop();
    expect(snapshot).toMatchObject({
      method: 'sealed',
      consistency: 'quiescent',
      bytes: 0,
      generation: 1,
      depth: 1,
    });
    expect(events.map(({ type, action, attributes }) => [type, action, attributes['generation']])).toEqual([
      ['snapshot', 'create', undefined],
      ['container', 'snapshot', undefined],
      ['container', 'remount', '1'],
    ]);
    expect(await fixture.store.snapshots.list()).toEqual([snapshot]);
    expect(mountsBelow(fixture.root)).toEqual([path]);
    writeFileSync(at('first'), 'changed');
    writeFileSync(at('second'), 'two');
    const next = await create(source);
    expect(next).toMatchObject({ parent: snapshot.id, generation: 2, depth: 2 });
    rmSync(at('first'));
    expect(
      await inFork(snapshot, (fork) => readdirSync(fork).filter((name) => /^(first|second)$/.test(name))),
    ).toEqual(['first']);
    expect(await inFork(next, (fork) => readFileSync(join(fork, 'first'), 'utf8'))).toBe('changed');
    expect(existsSync(at('first'))).toBe(false);
    await expectSound();
  });

  it('has the parts on disk that a snapshot of an idle one has', async () => {
    writeFileSync(at('first'), 'one');
    const { id } = await create(source);
    expect(readdirSync(fixture.at(`overlay2/${id}`)).sort()).toEqual(['committed', 'diff', 'link', 'lower']);
    expect(readdirSync(fixture.at(`overlay2/${source.mountId}`)).sort()).toEqual([
      'diff',
      'link',
      'lower',
      'merged',
      'work',
    ]);
    const init = `l/${fixture.text(`overlay2/${source.mountId}-init/link`)}`;
    const name = `l/${fixture.text(`overlay2/${id}/link`)}`;
    expect(fixture.text(`overlay2/${source.mountId}/lower`).split(':').slice(0, 2)).toEqual([name, init]);
    expect(fixture.text(`overlay2/${id}/lower`)).toBe(fixture.text(`overlay2/${source.mountId}-init/lower`));
    expect(readdirSync(fixture.at(`overlay2/${id}/diff`))).toEqual(['first']);
    expect(readdirSync(fixture.at(`overlay2/${source.mountId}/diff`))).toEqual([]);
    expect(
      readdirSync(fixture.at('layerstack/sessions')).flatMap((each) =>
        readdirSync(fixture.at(`layerstack/sessions/${each}`)),
      ),
    ).not.toContain(`snapshot.${id}`);
  });

  it('keeps its uses, and is unmounted by the last of them', async () => {
    const second = await fixture.store.containers.mount(source);
    await create(source);
    expect(await fixture.store.containers.mount(source)).toMatchObject({ path, generation: 1 });
    await second.unmount();
    expect(await fixture.store.containers.unmount(source)).toBe(1);
    writeFileSync(at('later'), 'x');
    expect(await fixture.store.containers.unmount(source)).toBe(0);
    expect(mountsBelow(fixture.root)).toEqual([]);
    expect(await fixture.store.containers.mount(source)).toMatchObject({ path, generation: 0 });
    expect(text('later')).toBe('x');
  });

  it('leaves a process that works in it with the sealed files, which it cannot change', async () => {
    writeFileSync(at('first'), 'one');
    const child = await shell('echo ready; while read line; do eval "$line"; done', path);
    await create(source, { mode: 'seal' });
    writeFileSync(at('first'), 'two');
    expect(await answer(child, 'cat first')).toBe('one');
    expect(await answer(child, '(echo x > written) 2>&1')).toMatch(/Read-only file system/);
    expect(await answer(child, `cd ${path} && echo x > written && cat first`)).toBe('two');
  });

  it('stays read-only where it was mounted so', async () => {
    writeFileSync(at('first'), 'one');
    await fixture.store.containers.unmount(source);
    await fixture.store.containers.mount(source, { readOnly: true });
    const snapshot = await create(source, { mode: 'seal' });
    expect(() => writeFileSync(at('second'), 'two')).toThrow(/EROFS/);
    expect(await inFork(snapshot, (fork) => readFileSync(join(fork, 'first'), 'utf8'))).toBe('one');
  });

  it('keeps deletions, hard links and the attributes of its root directory', async () => {
    writeFileSync(at('one'), 'shared');
    linkSync(at('one'), at('house/two'));
    rmSync(at('house/marble'));
    rmSync(at('etc'), { recursive: true });
    mkdirSync(at('etc'));
    await mustRun('chown', ['7:8', path]);
    await mustRun('chmod', ['1711', path]);
    const snapshot = await create(source);
    await inFork(snapshot, (fork) => expectSameContents(fork, path));
    expect(lstatSync(path)).toMatchObject({ uid: 7, gid: 8, mode: 0o41711 });
    expect(lstatSync(at('one')).nlink).toBe(2);
  });

  it('is on disk with `durable`', async () => {
    const syncs = vi.spyOn(native, 'batch');
    await create(source);
    const steps = (): string[] => syncs.mock.calls.flatMap(([, done]) => done.map(({ op }) => op));
    expect(steps()).not.toContain('syncfs');
    await create(source, { durable: true });
    expect(steps().lastIndexOf('syncfs')).toBeGreaterThan(steps().lastIndexOf('rename'));
  });

  it('of a packed image keeps the layers of the image mounted', async () => {
    await using rich = await packedStore();
    const { store } = rich;
    const mount = await store.containers.mount(
      await store.containers.create('app:packed', { name: 'packed' }),
    );
    const first = await store.snapshots.create('packed', { mode: 'seal' });
    writeFileSync(join(mount.path, 'house/concrete'), 'changed');
    const second = await store.snapshots.create('packed', { mode: 'seal' });
    expect(readFileSync(join(mount.path, 'house/rebar'), 'utf8')).toBe('rebar\n');
    await store.snapshots.rollback('packed', first);
    expect(readFileSync(join(mount.path, 'house/concrete'), 'utf8')).toBe('good concrete\n');
    const [fork] = await store.snapshots.fork(second, { name: 'forked' });
    const forked = await store.containers.mount(fork?.id ?? '');
    expect(readFileSync(join(forked.path, 'house/concrete'), 'utf8')).toBe('changed');
  });
});

/** A store with a packed image. */
async function packedStore(): Promise<TestStore> {
  const made = await TestStore.build();
  await made.store.images.load(chunks(archiveOfMembers(LAYERS, { Cmd: ['/bin/sh'] }, 'app:packed')), {
    form: 'packed',
  });
  return made;
}

describe('a mounted container with other writers', () => {
  it('is not sealed while a file is open for writing, and can be written to afterwards', async () => {
    const child = await shell('exec 3>open; echo ready; while read line; do eval "$line"; done', path);
    const error = await rejection(create(source, { mode: 'seal' }));
    expect(error.code).toBe('ERR_CONTAINER_BUSY');
    expect(error.message).toContain(`process ${child.pid} (sh), which writes`);
    expect(await answer(child, 'echo more > more; cat more')).toBe('more\n');
    expect(readdirSync(fixture.at('layerstack/snapshots'))).toEqual([]);
    expect(mountsBelow(fixture.root)).toEqual([path]);
    await expectSound();
  });

  it('is copied instead, with everything that was written before', async () => {
    const child = await shell(
      'exec 3>open; echo before >&3; echo ready; while read line; do eval "$line"; done',
      path,
    );
    const snapshot = await create(source);
    expect(snapshot).toMatchObject({
      method: 'copied',
      consistency: 'crash',
      bytes: 7,
      generation: 0,
      depth: 1,
    });
    expect(await answer(child, 'echo after >&3; cat open')).toBe('before\nafter\n');
    expect(await inFork(snapshot, (fork) => readFileSync(join(fork, 'open'), 'utf8'))).toBe('before\n');
    await expectSound();
  });

  it('is not sealed while a process works in it in another mount namespace', async () => {
    const private_ = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c'];
    const child = await shell('echo ready; cat', path, private_);
    const error = await rejection(create(source, { mode: 'seal' }));
    expect(error.code).toBe('ERR_CONTAINER_BUSY');
    expect(error.message).toContain(`in another mount namespace by process ${child.pid} (`);
    expect(await create(source)).toMatchObject({ method: 'copied' });
    writeFileSync(at('later'), 'x');
  });

  it('is sealed where a namespace has a copy of the mount that nobody uses, and the copy ends', async () => {
    const child = await shell('echo ready; cat', '/', [
      'unshare',
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
    ]);
    const mounts = (): string => readFileSync(`/proc/${child.pid}/mountinfo`, 'utf8');
    expect(mounts()).toContain(path);
    await create(source, { mode: 'seal' });
    expect(mounts()).not.toContain(fixture.root);
  });

  it('is not sealed while it is mounted elsewhere, or something is mounted below it', async () => {
    const other = join(fixture.scratch, 'other');
    mkdirSync(other);
    await mustRun('mount', ['--bind', path, other]);
    expect((await rejection(create(source, { mode: 'seal' }))).message).toContain(
      `is also mounted at ${other}`,
    );
    await mustRun('umount', [other]);
    await mustRun('mount', ['-t', 'tmpfs', 'none', at('house')]);
    expect((await rejection(create(source, { mode: 'seal' }))).message).toContain(
      `mounted below it, at ${at('house')}`,
    );
    await mustRun('umount', [at('house')]);
    expect(await create(source, { mode: 'seal' })).toMatchObject({ method: 'sealed' });
  });
});

describe('a copy', () => {
  it('has every kind of entry, and what overlayfs marks', async () => {
    await fillRich(at);
    writeFileSync(at('house/concrete'), 'own concrete');
    linkSync(at('house/concrete'), at('concrete'));
    rmSync(at('house/marble'));
    rmSync(at('etc'), { recursive: true });
    mkdirSync(at('etc'));
    const snapshot = await create(source, { mode: 'copy', freeze: false });
    expect(snapshot.bytes).toBeGreaterThan(300_000_000);
    // Overlayfs makes one whiteout many times, by hard links.
    const upper = (id: string): string[] =>
      facts(fixture.at(`overlay2/${id}/diff`)).map((line) => line.replace(/ \d+ c /, ' c '));
    expect(upper(snapshot.id)).toEqual(upper(source.mountId));
    await inFork(snapshot, (fork) => expectSameContents(fork, path));
    expect(statSync(fixture.at(`overlay2/${snapshot.id}/diff/srv/sparse`)).blocks).toBeLessThan(2000);
  });

  it('of an idle container is quiescent, and changes nothing in its stack', async () => {
    writeFileSync(at('first'), 'one');
    await fixture.store.containers.unmount(source);
    const lower = fixture.text(`overlay2/${source.mountId}/lower`);
    const snapshot = await create(source, { mode: 'copy', freeze: true });
    expect(snapshot).toMatchObject({ method: 'copied', consistency: 'quiescent', bytes: 3 });
    expect(fixture.text(`overlay2/${source.mountId}/lower`)).toBe(lower);
    await fixture.store.containers.mount(source);
  });

  it('is refused where files move all the time, since it could miss one', async () => {
    for (let each = 0; each < 200; each++) writeFileSync(at(`file-${each}`), 'x');
    await shell('echo ready; exec >&-; while :; do mv here there; mv there here; done', path);
    writeFileSync(at('here'), 'moved');
    const error = await rejection(create(source, { mode: 'copy', freeze: false }));
    expect(error.code).toBe('ERR_CONTAINER_BUSY');
    expect(readdirSync(fixture.at('overlay2')).length).toBe(5);
  });

  it('is refused where processes must be frozen and share their cgroup with others', async () => {
    await shell('exec 3>open; echo ready; cat', path);
    const error = await rejection(create(source, { mode: 'copy', freeze: true }));
    expect(error.code).toBe('ERR_UNSUPPORTED');
    expect((await rejection(create(source, { mode: 'seal', freeze: true }))).code).toBe(
      'ERR_INVALID_ARGUMENT',
    );
  });

  it('freezes the processes of a cgroup, and lets them go on', async () => {
    const group = await newCgroup();
    const child = await shell(
      `echo $$ > ${group}/cgroup.procs; exec 3>numbers; echo ready; n=0; while :; do n=$((n+1)); echo $n >&3; echo $n > other; done`,
      path,
    );
    const snapshot = await create(source, { mode: 'copy', freeze: true });
    expect(snapshot).toMatchObject({ method: 'copied', consistency: 'frozen' });
    const size = statSync(at('numbers')).size;
    await vi.waitFor(() => expect(statSync(at('numbers')).size).toBeGreaterThan(size));
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(existsSync(fixture.at(`overlay2/${snapshot.id}/frozen`))).toBe(false);
  });
});

/** Makes a cgroup of version 2. */
async function newCgroup(): Promise<string> {
  const line = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((each) => each.includes(' - cgroup2 '));
  const group = join(line?.split(' ')[4] ?? '/sys/fs/cgroup', `layerstack-${process.pid}`);
  mkdirSync(group);
  cgroups.push(group);
  return group;
}

describe('a fork of a mounted container', () => {
  it('has every write that returned to a busy writer', async () => {
    const script = [
      'const fs = require("fs");',
      'const fd = fs.openSync("log", "a");',
      'for (let n = 1; ; n++) { fs.writeSync(fd, n + "\\n"); fs.fsyncSync(fd); fs.writeSync(1, n + "\\n"); }',
    ].join('\n');
    const child = spawn(process.execPath, ['-e', script], {
      cwd: path,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    let told = 0;
    createInterface({ input: child.stdout }).on('line', (line) => (told = Number(line)));
    await vi.waitFor(() => expect(told).toBeGreaterThan(3));
    for (let round = 0; round < 6; round++) {
      const before = told;
      const last = await inFork(source, (fork) =>
        Number(readFileSync(join(fork, 'log'), 'utf8').trimEnd().split('\n').at(-1)),
      );
      expect(last).toBeGreaterThanOrEqual(before);
      await vi.waitFor(() => expect(told).toBeGreaterThan(before));
    }
    const methods = (await fixture.store.snapshots.list()).map(({ method }) => method);
    expect(new Set(methods)).toEqual(new Set(['copied']));
  });

  it('is on top of a snapshot of this moment', async () => {
    writeFileSync(at('first'), 'one');
    const forks = await fixture.store.snapshots.fork(source, { count: 2, name: 'job' });
    appendFileSync(at('first'), ' more');
    expect(forks.map(({ name }) => name)).toEqual(['job-1', 'job-2']);
    const [snapshot] = await fixture.store.snapshots.list();
    expect(snapshot).toMatchObject({ method: 'sealed', generation: 1 });
    const mount = await fixture.store.containers.mount('job-2');
    expect(readFileSync(join(mount.path, 'first'), 'utf8')).toBe('one');
  });
});

describe('a rollback of a mounted container', () => {
  it('changes the files at its path', async () => {
    writeFileSync(at('first'), 'one');
    const snapshot = await create(source);
    writeFileSync(at('first'), 'two');
    writeFileSync(at('second'), 'two');
    const events: string[] = [];
    const stop = fixture.store.onEvent(({ action, attributes }) =>
      events.push(`${action} ${attributes['generation'] ?? ''}`),
    );
    await fixture.store.snapshots.rollback(source, snapshot);
    stop();
    expect(events).toEqual(['rollback ', 'remount 2']);
    expect(text('first')).toBe('one');
    expect(existsSync(at('second'))).toBe(false);
    writeFileSync(at('third'), 'three');
    expect(mountsBelow(fixture.root)).toEqual([path]);
    await fixture.store.containers.unmount(source);
    await fixture.reopen();
    expect(mountsBelow(fixture.root)).toEqual([]);
    await expectSound();
    await fixture.store.containers.mount(source);
    expect(text('third')).toBe('three');
  });

  it('keeps the old files in a snapshot, with `keep`', async () => {
    const snapshot = await create(source);
    writeFileSync(at('later'), 'text');
    const kept = await fixture.store.snapshots.rollback(source, snapshot, { keep: true });
    expect(kept).toMatchObject({ method: 'sealed', parent: snapshot.id, generation: 2 });
    expect(existsSync(at('later'))).toBe(false);
    if (kept) expect(await inFork(kept, (fork) => readFileSync(join(fork, 'later'), 'utf8'))).toBe('text');
    expect(await fixture.store.containers.mount(source)).toMatchObject({ generation: 3 });
  });

  it('is refused while a process works in it, unless it is forced: then its writes fail', async () => {
    writeFileSync(at('first'), 'one');
    const snapshot = await create(source);
    writeFileSync(at('first'), 'two');
    const child = await shell('echo ready; while read line; do eval "$line"; done', path);
    const error = await rejection(fixture.store.snapshots.rollback(source, snapshot));
    expect(error.code).toBe('ERR_CONTAINER_BUSY');
    expect(error.message).toContain(`process ${child.pid} (sh), which works in it`);
    expect(text('first')).toBe('two');
    await fixture.store.snapshots.rollback(source, snapshot, { force: true });
    expect(text('first')).toBe('one');
    expect(await answer(child, '(echo x > written) 2>&1')).toMatch(/Read-only file system/);
    expect(existsSync(at('written'))).toBe(false);
    expect(await answer(child, `cd ${path} && echo x > written && cat first`)).toBe('one');
  });

  it('is refused while this process has a file open in it', async () => {
    const snapshot = await create(source);
    const fd = openSync(at('house/rebar'), 'r');
    const error = await rejection(fixture.store.snapshots.rollback(source, snapshot));
    closeSync(fd);
    expect(error.message).toContain(`process ${process.pid} (`);
    await fixture.store.snapshots.rollback(source, snapshot);
  });
});

describe('killed at any step', () => {
  /** Everything that users see at the path of the container, which is mounted and can be written to. */
  async function shown(): Promise<unknown> {
    const store = await Layerstack.open({ root: fixture.root });
    try {
      expect(mountsBelow(fixture.root)).toEqual([path]);
      writeFileSync(at('probe'), 'x');
      rmSync(at('probe'));
      const snapshots = await store.snapshots.list();
      return { snapshots: snapshots.map(({ name }) => name), first: text('first') };
    } finally {
      await store.close();
    }
  }

  /** Replaces the container by a new one, in the same store. */
  async function renew(): Promise<void> {
    await fixture.store.containers.remove(source, { force: true });
    for (const snapshot of await fixture.store.snapshots.list())
      await fixture.store.snapshots.remove(snapshot);
    source = await fixture.store.containers.create(IMAGE, { name: 'build' });
    ({ path } = await fixture.store.containers.mount(source));
  }

  /** Kills `work` at each of its steps, or fails them, and returns the states that were seen afterwards. */
  async function everyStep(
    before: () => Promise<unknown>,
    work: (store: Layerstack) => Promise<unknown>,
    dying: boolean,
  ): Promise<unknown[]> {
    const states: unknown[] = [];
    for (let step = 0; ; step++) {
      if (step > 0) await renew();
      writeFileSync(at('first'), 'one');
      await before();
      await fixture.reopen();
      const reached = interrupt({ at: step, error: FAULTS.EIO, dying });
      const failure = await work(fixture.store).then(
        () => undefined,
        (error: unknown) => error,
      );
      await fixture.store.close().catch(() => undefined);
      vi.restoreAllMocks();
      const state = await shown();
      expect(readdirSync(fixture.at('layerstack/sessions')), `step ${step}`).toEqual([]);
      fixture.store = await Layerstack.open({ root: fixture.root });
      await fixture.store.containers.unmount(source);
      await expectSound();
      expect(readdirSync(fixture.at('layerstack/snapshots')).filter((name) => name.startsWith('.'))).toEqual(
        [],
      );
      await fixture.store.containers.mount(source);
      expect(text('first'), `step ${step}`).toBe((state as { first: string }).first);
      states.push(state);
      if (!reached()) {
        expect(failure).toBeUndefined();
        return states;
      }
      if (!dying && failure !== undefined) expect(state, `step ${step}`).toEqual(states[0]);
    }
  }

  for (const dying of [true, false]) {
    const what = dying ? 'a kill' : 'an error';
    for (const mode of ['seal', 'copy'] as const)
      it(`${what} leaves a container with and without its snapshot (${mode})`, async () => {
        const states = await everyStep(
          () => Promise.resolve(),
          (store) => store.snapshots.create('build', { name: 'snap', mode }),
          dying,
        );
        const old = { snapshots: [], first: 'one' };
        for (const state of states) expect([old, { ...old, snapshots: ['snap'] }]).toContainEqual(state);
        expect(states[0]).toEqual(old);
        expect(states.at(-1)).toEqual({ ...old, snapshots: ['snap'] });
      });

    it(`${what} leaves the old files or those of the snapshot`, async () => {
      const states = await everyStep(
        async () => {
          await create(source, { name: 'snap' });
          writeFileSync(at('first'), 'two');
        },
        (store) => store.snapshots.rollback('build', 'snap'),
        dying,
      );
      const texts = states.map((state) => (state as { first: string }).first);
      expect(new Set(texts)).toEqual(new Set(['one', 'two']));
      expect(texts.at(-1)).toBe('one');
    });
  }
});
