/** Snapshots of containers on real overlayfs: taking, forking, rolling back and removing them. */
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import type { ForkSource } from '../../src/app/snapshots.ts';
import type { Container } from '../../src/container/record.ts';
import type { Snapshot } from '../../src/snapshot/snapshot.ts';
import type { ForkOptions } from '../../src/snapshot/store.ts';
import { CLI } from '../support/layerstack-cli.ts';
import { rejection } from '../support/errors.ts';
import { FAULTS, interrupt } from '../support/interrupt.ts';
import { IMAGE, TestStore } from '../support/test-store.ts';

let fixture: TestStore;

beforeEach(async () => {
  fixture = await TestStore.build();
});

afterEach(async () => {
  vi.restoreAllMocks();
  await fixture[Symbol.asyncDispose]();
});

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

const write = (ref: Container | string, name: string, text: string): Promise<void> =>
  inside(ref, (path) => writeFileSync(join(path, name), text));

/** Returns the contents of the files in the root directory and in `house`, by name. */
function files(ref: Container | string, store = fixture.store): Promise<Record<string, string>> {
  return inside(
    ref,
    (path) =>
      Object.fromEntries(
        ['', 'house/'].flatMap((directory) =>
          existsSync(join(path, directory))
            ? readdirSync(join(path, directory))
                .filter((name) => lstatSync(join(path, directory, name)).isFile())
                .map((name) => [directory + name, readFileSync(join(path, directory, name), 'utf8')])
            : [],
        ),
      ),
    store,
  );
}

async function forkOf(source: ForkSource, options: ForkOptions = {}): Promise<Container> {
  const [fork] = await fixture.store.snapshots.fork(source, options);
  if (fork === undefined) throw new Error('nothing was made');
  return fork;
}

const make = (name = 'build'): Promise<Container> => fixture.store.containers.create(IMAGE, { name });

async function findings(): Promise<string[]> {
  const found: string[] = [];
  for await (const { code, path, message } of fixture.store.fsck()) found.push(`${code} ${path} ${message}`);
  return found;
}

describe('a snapshot', () => {
  it('has the files of that moment, and the source goes on', async () => {
    const source = await make();
    await write(source, 'first', 'one');
    const snapshot = await fixture.store.snapshots.create(source, { name: 'one', labels: { step: '1' } });
    await write(source, 'first', 'changed');
    await write(source, 'second', 'two');
    expect(await files(source)).toMatchObject({ first: 'changed', second: 'two' });
    const fork = await forkOf(snapshot);
    const shown = await files(fork);
    expect(shown).toMatchObject({ first: 'one', 'house/concrete': 'good concrete\n' });
    expect(shown).not.toHaveProperty('second');
    expect(await fixture.store.snapshots.list()).toEqual([snapshot]);
    expect(snapshot).toMatchObject({ name: 'one', labels: { step: '1' }, parent: undefined, depth: 1 });
    expect(await findings()).toEqual([]);
  });

  it('keeps deletions, replaced directories and the attributes of the root directory', async () => {
    const source = await make();
    await inside(source, (path) => {
      rmSync(join(path, 'house'), { recursive: true });
      mkdirSync(join(path, 'house'));
      writeFileSync(join(path, 'house/door'), 'door');
      chmodSync(path, 0o1711);
      chownSync(path, 7, 8);
    });
    await fixture.store.snapshots.create(source);
    const fork = await forkOf(source);
    for (const ref of [source, fork]) {
      expect(await files(ref)).toEqual({ '.dockerenv': '', 'house/door': 'door' });
      const { mode, uid, gid } = await inside(ref, (path) => lstatSync(path));
      expect([mode & 0o7777, uid, gid]).toEqual([0o1711, 7, 8]);
    }
  });

  it('is a directory that overlay2 knows, with an entry that keeps its layers', async () => {
    const source = await make();
    const { id } = await fixture.store.snapshots.create(source);
    const link = fixture.text(`overlay2/${id}/link`);
    const init = fixture.text(`overlay2/${source.mountId}-init/link`);
    expect(fixture.text(`overlay2/${source.mountId}/lower`).split(':').slice(0, 2)).toEqual([
      `l/${link}`,
      `l/${init}`,
    ]);
    expect(fixture.text(`overlay2/${id}/lower`)).toBe(fixture.text(`overlay2/${source.mountId}-init/lower`));
    expect(readdirSync(fixture.at(`overlay2/${id}`)).sort()).toEqual(['committed', 'diff', 'link', 'lower']);
    const entry = `image/overlay2/layerdb/mounts/${id}`;
    expect(readdirSync(fixture.at(entry)).sort()).toEqual(['mount-id', 'parent']);
    expect(fixture.text(`${entry}/mount-id`)).toBe(id);
    expect(lstatSync(fixture.at(`layerstack/snapshots/${id}.json`)).mode & 0o777).toBe(0o600);
  });

  it('is refused for a name that is taken or bad', async () => {
    const source = await make();
    await fixture.store.snapshots.create(source, { name: 'taken' });
    expect((await rejection(fixture.store.snapshots.create(source, { name: 'taken' }))).code).toBe(
      'ERR_SNAPSHOT_NAME_IN_USE',
    );
    expect((await rejection(fixture.store.snapshots.create(source, { name: '../x' }))).code).toBe(
      'ERR_INVALID_ARGUMENT',
    );
    expect((await rejection(fixture.store.snapshots.create('missing'))).code).toBe('ERR_CONTAINER_NOT_FOUND');
    expect(readdirSync(fixture.at('layerstack/snapshots'))).toHaveLength(1);
  });

  it('cannot go while a child needs it', async () => {
    const source = await make();
    await write(source, 'first', 'one');
    const first = await fixture.store.snapshots.create(source);
    const second = await fixture.store.snapshots.create(source);
    await fixture.store.containers.remove(source);
    expect((await rejection(fixture.store.snapshots.remove(first))).code).toBe('ERR_SNAPSHOT_IN_USE');
    const fork = await forkOf(second);
    expect((await rejection(fixture.store.snapshots.remove(second))).code).toBe('ERR_SNAPSHOT_IN_USE');
    expect(await files(fork)).toMatchObject({ first: 'one' });
    await fixture.store.containers.remove(fork);
    await fixture.store.snapshots.remove(second);
    await fixture.store.snapshots.remove(first);
    expect((await rejection(fixture.store.snapshots.get(first.id))).code).toBe('ERR_SNAPSHOT_NOT_FOUND');
    await fixture.reopen();
    expect(await fixture.store.snapshots.list()).toEqual([]);
    expect(readdirSync(fixture.at('image/overlay2/layerdb/mounts'))).toEqual([]);
    expect(await findings()).toEqual([]);
  });

  it('keeps the layers of its image from prune, and its image from rmi', async () => {
    const source = await make();
    const snapshot = await fixture.store.snapshots.create(source);
    await fixture.store.containers.remove(source);
    expect((await rejection(fixture.store.images.remove(IMAGE))).code).toBe('ERR_IMAGE_IN_USE');
    await fixture.store.images.prune({ all: true });
    await fixture.store.images.remove(IMAGE, { force: true });
    await fixture.reopen();
    const fork = await forkOf(snapshot);
    expect(await files(fork)).toMatchObject({ 'house/concrete': 'good concrete\n' });
    await fixture.store.containers.remove(fork);
    await fixture.store.snapshots.remove(snapshot);
    await fixture.reopen();
    expect(readdirSync(fixture.at('image/overlay2/layerdb/sha256'))).toEqual([]);
  });
});

describe('a fork', () => {
  it('is a container of its own: config, labels and host name', async () => {
    const source = await fixture.store.containers.create(IMAGE, {
      name: 'build',
      command: ['/bin/sh', '-c', 'true'],
      labels: { kept: 'yes' },
      hostConfig: { Memory: 10_000_000 },
    });
    const fork = await forkOf(source, { name: 'copy', labels: { own: '1' } });
    expect(fork).toMatchObject({
      name: 'copy',
      command: source.command,
      imageId: source.imageId,
      state: 'created',
    });
    expect(Object.fromEntries(fork.config.Labels ?? [])).toEqual({ kept: 'yes', own: '1' });
    expect(fork.config.Hostname).toBe(fork.id.slice(0, 12));
    const { HostConfig } = await fixture.store.containers.inspect(fork);
    expect(HostConfig['Memory']).toBe(10_000_000);
    expect(await findings()).toEqual([]);
  });

  it('does not see what its source and its siblings write', async () => {
    const source = await make();
    await write(source, 'shared', 'before');
    const snapshot = await fixture.store.snapshots.create(source);
    const forks = await fixture.store.snapshots.fork(snapshot, { count: 3, name: 'twin' });
    expect(forks.map(({ name }) => name)).toEqual(['twin-1', 'twin-2', 'twin-3']);
    for (const fork of forks) await write(fork, 'shared', fork.name);
    for (const fork of forks) expect(await files(fork)).toMatchObject({ shared: fork.name });
    expect(await files(source)).toMatchObject({ shared: 'before' });
  });

  it('is made as a whole: all or none', async () => {
    const source = await make();
    await fixture.store.containers.create(IMAGE, { name: 'twin-3' });
    const snapshot = await fixture.store.snapshots.create(source);
    const error = await rejection(fixture.store.snapshots.fork(snapshot, { count: 3, name: 'twin' }));
    expect(error.code).toBe('ERR_CONTAINER_NAME_IN_USE');
    expect((await fixture.store.containers.list()).map(({ name }) => name).sort()).toEqual([
      'build',
      'twin-3',
    ]);
    expect((await rejection(fixture.store.snapshots.fork(snapshot, { count: 0 }))).code).toBe(
      'ERR_INVALID_ARGUMENT',
    );
  });

  it('of a removed snapshot is refused', async () => {
    const source = await make();
    const snapshot = await fixture.store.snapshots.create(source);
    await fixture.store.containers.remove(source);
    await fixture.store.snapshots.remove(snapshot);
    expect((await rejection(fixture.store.snapshots.fork(snapshot))).code).toBe('ERR_SNAPSHOT_NOT_FOUND');
    expect((await rejection(fixture.store.snapshots.fork('missing'))).code).toBe('ERR_SNAPSHOT_NOT_FOUND');
  });
});

describe('a rollback', () => {
  it('keeps identity, name and path', async () => {
    const source = await make();
    await write(source, 'first', 'one');
    const snapshot = await fixture.store.snapshots.create(source);
    const path = await inside(source, (mounted) => mounted);
    await write(source, 'second', 'two');
    await inside(source, (mounted) => rmSync(join(mounted, 'first')));
    await fixture.store.snapshots.rollback(source, snapshot);
    expect(await files(source)).toMatchObject({ first: 'one' });
    expect(await files(source)).not.toHaveProperty('second');
    expect(await fixture.store.containers.get('build')).toEqual(source);
    expect(await inside('build', (mounted) => mounted)).toBe(path);
    await fixture.reopen();
    expect(await findings()).toEqual([]);
  });

  it('takes a snapshot of what the container had, where it is asked to keep that', async () => {
    const source = await make();
    const snapshot = await fixture.store.snapshots.create(source);
    await write(source, 'later', 'text');
    const kept = await fixture.store.snapshots.rollback(source, snapshot, { keep: true });
    expect(await files(source)).not.toHaveProperty('later');
    const fork = await forkOf(kept as Snapshot);
    expect(await files(fork)).toMatchObject({ later: 'text' });
    expect(kept?.parent).toBe(snapshot.id);
  });

  it('to a snapshot of another image is refused', async () => {
    const source = await make();
    await write(source, 'first', 'one');
    const snapshot = await fixture.store.snapshots.create(source);
    await fixture.store.containers.commit(source, { reference: 'other:1' });
    const other = await fixture.store.containers.create('other:1');
    expect((await rejection(fixture.store.snapshots.rollback(other, snapshot))).code).toBe(
      'ERR_INVALID_ARGUMENT',
    );
  });
});

describe('a container above snapshots', () => {
  it('is committed with all changes since its image', async () => {
    const source = await make();
    await write(source, 'first', 'one');
    await inside(source, (path) => rmSync(join(path, 'house/marble')));
    await fixture.store.snapshots.create(source);
    await write(source, 'second', 'two');
    await inside(source, (path) => rmSync(join(path, 'house/rebar')));
    await fixture.store.containers.commit(source, { reference: 'built:1', message: 'done' });
    const made = await fixture.store.containers.create('built:1', { name: 'made' });
    expect(await files(made)).toEqual(await files(source));
    const { RootFS } = await fixture.store.images.inspect('built:1');
    expect(RootFS.Layers).toHaveLength(4);
    const [last, step] = await fixture.store.images.history('built:1');
    expect([last?.Comment, step?.Comment]).toEqual(['done', '']);
  });

  it('lists the changes since its image, as one that was never sealed does', async () => {
    const steps: ((path: string) => void)[] = [
      (path) => writeFileSync(join(path, 'added'), '1'),
      (path) => rmSync(join(path, 'house'), { recursive: true }),
      (path) => mkdirSync(join(path, 'house/new'), { recursive: true }),
      (path) => writeFileSync(join(path, 'house/marble'), 'other marble'),
      (path) => rmSync(join(path, 'added')),
      (path) => writeFileSync(join(path, 'etc/group'), 'changed'),
      (path) => writeFileSync(join(path, 'house/new/deep'), '1'),
      (path) => rmSync(join(path, 'etc/passwd')),
      (path) => mkdirSync(join(path, 'etc/passwd')),
      (path) => writeFileSync(join(path, 'etc/passwd/file'), '1'),
      (path) => rmSync(join(path, 'house/new'), { recursive: true }),
      (path) => chmodSync(join(path, 'house'), 0o700),
      (path) => rmSync(join(path, 'etc'), { recursive: true }),
    ];
    const sealed = await make();
    const plain = await make('plain');
    for (const step of steps) {
      await inside(plain, step);
      await inside(sealed, step);
      expect(await fixture.store.containers.diff(sealed)).toEqual(await fixture.store.containers.diff(plain));
      await fixture.store.snapshots.create(sealed);
      expect(await fixture.store.containers.diff(sealed)).toEqual(await fixture.store.containers.diff(plain));
    }
    expect(await fixture.store.containers.diff(plain)).toContainEqual({ kind: 'D', path: '/etc' });
  });

  it('has the size of its own upper, and counts the sealed ones into its root file system', async () => {
    const source = await make();
    const empty = await fixture.store.containers.size(source);
    await write(source, 'first', '12345');
    const snapshot = await fixture.store.snapshots.create(source);
    await write(source, 'second', '123');
    const size = await fixture.store.containers.size(source);
    expect(size).toEqual({ SizeRw: 3, SizeRootFs: empty.SizeRootFs + 8 });
    expect(await fixture.store.snapshots.size(snapshot)).toEqual({ own: 5, shared: 0 });
    const next = await fixture.store.snapshots.create(source);
    expect(await fixture.store.snapshots.size(next)).toEqual({ own: 3, shared: 5 });
    expect((await fixture.store.usage()).Snapshots.map(({ size }) => size)).toEqual([5, 3]);
  });

  it('is exported and copied from as it is mounted', async () => {
    const source = await make();
    await write(source, 'first', 'one');
    await fixture.store.snapshots.create(source);
    const { tar } = await fixture.store.containers.getArchive(source, '/first');
    const pieces: Buffer[] = [];
    for await (const piece of tar) pieces.push(piece as Buffer);
    expect(Buffer.concat(pieces).includes('one')).toBe(true);
  });

  it('is not repaired by fsck where its `lower` is damaged, since that would lose what snapshots have', async () => {
    const source = await make();
    await write(source, 'first', 'one');
    await fixture.store.snapshots.create(source);
    const path = fixture.at(`overlay2/${source.mountId}/lower`);
    const text = readFileSync(path);
    writeFileSync(path, '');
    const found: string[] = [];
    for await (const { code, repaired } of fixture.store.fsck({ repair: true }))
      found.push(`${code} ${repaired}`);
    expect(found).toEqual(['container-incomplete false']);
    writeFileSync(path, text);
    expect(await findings()).toEqual([]);
  });

  it('is removed without its snapshots', async () => {
    const source = await make();
    await write(source, 'first', 'one');
    const snapshot = await fixture.store.snapshots.create(source);
    await fixture.store.containers.remove(source);
    await fixture.reopen();
    expect(await files(await forkOf(snapshot))).toMatchObject({ first: 'one' });
    expect(await findings()).toEqual([]);
  });
});

describe('killed at any step', () => {
  /** Everything that users see. */
  async function shown(): Promise<unknown> {
    const store = await Layerstack.open({ root: fixture.root });
    try {
      const snapshots = await store.snapshots.list();
      return {
        snapshots: snapshots.map(({ name }) => name),
        containers: (await store.containers.list()).map(({ name }) => name).sort(),
        files: await files('build', store),
      };
    } finally {
      await store.close();
    }
  }

  /** Kills `work` at each of its steps, and returns the states that were seen afterwards. */
  async function everyStep(
    prepare: () => Promise<unknown>,
    work: (store: Layerstack) => Promise<unknown>,
    dying: boolean,
  ): Promise<unknown[]> {
    const states: unknown[] = [];
    for (let at = 0; ; at++) {
      await fixture[Symbol.asyncDispose]();
      fixture = await TestStore.build();
      await prepare();
      await fixture.reopen();
      const reached = interrupt({ at, error: FAULTS.EIO, dying });
      const failed = await work(fixture.store).then(
        () => false,
        () => true,
      );
      await fixture.store.close().catch(() => undefined);
      vi.restoreAllMocks();
      const state = await shown();
      fixture.store = await Layerstack.open({ root: fixture.root });
      await fixture.reopen();
      expect(await findings(), `step ${at}`).toEqual([]);
      expect(readdirSync(fixture.at('layerstack/sessions')), `step ${at}`).toEqual([]);
      expect(
        readdirSync(fixture.at('layerstack/snapshots')).filter((name) => name.startsWith('.')),
        `step ${at}`,
      ).toEqual([]);
      states.push(state);
      if (!reached()) return states;
      if (!dying && failed) expect(state, `step ${at}`).toEqual(states[0]);
    }
  }

  const prepare = async (): Promise<void> => {
    await write(await make(), 'first', 'one');
  };

  for (const dying of [true, false])
    it(`${dying ? 'a kill' : 'an error'} leaves a container with and without the snapshot, and the same files`, async () => {
      const states = await everyStep(
        prepare,
        (store) => store.snapshots.create('build', { name: 'snap' }),
        dying,
      );
      const old = {
        snapshots: [],
        containers: ['build'],
        files: expect.objectContaining({ first: 'one' }) as unknown,
      };
      for (const state of states) expect([{ ...old }, { ...old, snapshots: ['snap'] }]).toContainEqual(state);
      expect(states[0]).toEqual(old);
      expect(states.at(-1)).toEqual({ ...old, snapshots: ['snap'] });
    });

  for (const dying of [true, false])
    it(`${dying ? 'a kill' : 'an error'} leaves what was rolled back or the snapshot`, async () => {
      const states = await everyStep(
        async () => {
          await prepare();
          await fixture.store.snapshots.create('build', { name: 'snap' });
          await write('build', 'first', 'two');
        },
        (store) => store.snapshots.rollback('build', 'snap'),
        dying,
      );
      const texts = states.map((state) => (state as { files: Record<string, string> }).files['first']);
      expect(new Set(texts)).toEqual(new Set(['one', 'two']));
      expect(texts.at(-1)).toBe('one');
    });

  it('a kill leaves a snapshot or nothing of it when it is removed', async () => {
    const states = await everyStep(
      async () => {
        await prepare();
        const snapshot = await fixture.store.snapshots.create('build', { name: 'snap' });
        await fixture.store.snapshots.create('build', { name: 'tail' });
        const other = await forkOf(snapshot, { name: 'other' });
        await fixture.store.snapshots.create(other, { name: 'leaf' });
        await fixture.store.containers.remove(other);
      },
      (store) => store.snapshots.remove('leaf'),
      true,
    );
    const names = states.map((state) => (state as { snapshots: string[] }).snapshots.join());
    expect(new Set(names)).toEqual(new Set(['snap,tail,leaf', 'snap,tail']));
    expect(names.at(-1)).toBe('snap,tail');
  });
});

it('a store whose own folder was deleted shows the same files in its containers', async () => {
  const source = await make();
  await write(source, 'first', 'one');
  await fixture.store.snapshots.create(source);
  await fixture.store.close();
  renameSync(fixture.at('layerstack'), join(fixture.scratch, 'away'));
  fixture.store = await Layerstack.open({ root: fixture.root });
  expect(await files('build')).toMatchObject({ first: 'one' });
});

describe('the command', () => {
  async function layerstack(...args: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)(process.execPath, [CLI, '--root', fixture.root, ...args]);
    return stdout.trimEnd();
  }

  it('takes, draws, forks, rolls back and removes', async () => {
    await make();
    const id = await layerstack('snapshot', '--name', 'base', '--label', 'a=1', 'build');
    await layerstack('snapshot', 'build');
    const [first = '', second = ''] = (await layerstack('snapshots', '--size', 'build')).split('\n');
    expect(first).toMatch(new RegExp(`^└─${id.slice(0, 12)}  base  of build  0B  .* ago$`));
    expect(second).toMatch(/^ {2}└─[0-9a-f]{12} {2}of build/);
    expect(
      JSON.parse((await layerstack('snapshots', '--format', 'json')).split('\n')[0] ?? ''),
    ).toMatchObject({
      ...{ id, name: 'base', labels: { a: '1' }, depth: 1, ownBytes: 0, sharedBytes: 0 },
    });
    expect(await layerstack('snapshots', '--dot')).toMatch(/^digraph snapshots \{[^]* -> [^]*\}$/);
    expect((await layerstack('fork', '--count', '2', '--name', 'job', 'base')).split('\n')).toHaveLength(2);
    expect((await fixture.store.containers.list()).map(({ name }) => name).sort()).toEqual([
      ...['build', 'job-1', 'job-2'],
    ]);
    expect(await layerstack('rollback', 'build', 'base')).toBe('');
    expect(await layerstack('rollback', '--keep', 'build', 'base')).toMatch(/^[0-9a-f]{64}$/);
    await expect(layerstack('rm-snapshot', 'base')).rejects.toThrow(/cannot be removed/);
    expect(await layerstack('df')).toMatch(/^Snapshots +3 /m);
  });
});
