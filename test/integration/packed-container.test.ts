/**
 * An archive in place, treated as a container: what `diff`, `export`, `cp`, `bundle` and `commit` do with it
 * is what they do with a container of its image.
 */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openArchive } from '../../src/app/archives.ts';
import { Layerstack } from '../../src/app/layerstack.ts';
import { dockerArchive } from '../support/archives.ts';
import { rejection } from '../support/errors.ts';
import { imageOf, layerFrom, layerOf } from '../support/images.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { findProgram, havePeers } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';
import { NAME, RICH, writeArchive } from '../support/packed-layers.ts';

let scratch: string;
let archive: string;
let store: Layerstack;

beforeEach(async () => {
  scratch = makeScratch('packed-container');
  archive = writeArchive(join(scratch, 'app.tar'), dockerArchive([RICH]));
  store = await Layerstack.open({ root: join(scratch, 'store') });
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await store.close();
  await dropScratch(scratch);
});

const places = (): string => join(store.root, 'layerstack/archives');

/** No mount, no loop device, no directory. */
async function expectNothing(): Promise<void> {
  expect(await store.archives.list()).toEqual([]);
  if (existsSync(places())) expect(readdirSync(places())).toEqual([]);
  expect(mountsBelow(scratch)).toEqual([]);
  expect(
    execFileSync('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE'], { encoding: 'utf8' }),
  ).not.toContain(scratch);
}

/** Every kind of change. */
function edit(root: string): void {
  writeFileSync(join(root, 'added'), 'new');
  appendFileSync(join(root, 'srv/old'), ' and now');
  chmodSync(join(root, 'srv/three'), 0o600);
  rmSync(join(root, 'srv/null'));
  rmSync(join(root, 'hidden'), { recursive: true });
  mkdirSync(join(root, 'hidden'));
  writeFileSync(join(root, 'hidden/instead'), 'opaque');
  renameSync(join(root, 'becomes-a-file'), join(root, 'renamed'));
  mkdirSync(join(root, 'deep/er'), { recursive: true });
}

const EDITS = [
  'A /added',
  'D /becomes-a-file',
  'A /deep',
  'A /deep/er',
  'C /hidden',
  'D /hidden/above',
  'A /hidden/instead',
  'A /renamed',
  'C /srv',
  'D /srv/null',
  'C /srv/old',
  'C /srv/three',
];

/** A container of the archive's image, with the same changes. */
async function editedContainer(): Promise<string> {
  await store.images.load(archive);
  const { id } = await store.containers.create(NAME);
  await using mount = await store.containers.mount(id);
  edit(mount.path);
  return id;
}

const namesIn = (bytes: Buffer): string[] =>
  execFileSync('tar', ['-t'], { input: bytes, encoding: 'utf8' }).split('\n');

const lines = (changes: readonly { readonly kind: string; readonly path: string }[]): string[] =>
  changes.map(({ kind, path }) => `${kind} ${path}`);

describe.each(['file', 'loop', 'none'])('by %s', (method) => {
  beforeEach(() => vi.stubEnv('LAYERSTACK_CAPS', `erofs=${method}`));

  it('diff lists what it lists for a container', async () => {
    const { path } = await store.archives.mount(archive);
    expect(await store.archives.diff(archive)).toEqual([]);
    edit(path);
    const changes = lines(await store.archives.diff(archive));
    expect(changes).toEqual(lines(await store.containers.diff(await editedContainer())));
    expect(changes).toEqual(EDITS);
    expect(lines(await store.archives.diff(path))).toEqual(changes);
    expect(await store.archives.unmount(archive)).toBe(0);
    await expectNothing();
  });
});

describe('export and cp', () => {
  it('export writes what an archive shows, mounted with changes or not, and leaves nothing', async () => {
    const names = async (): Promise<string[]> => namesIn(await buffer(store.archives.export(archive)));
    const before = await names();
    expect(before).toContain('srv/one');
    expect(before).not.toContain('added');
    await expectNothing();
    const { path } = await store.archives.mount(archive);
    edit(path);
    const after = await names();
    expect(after).toContain('added');
    expect(after).not.toContain('srv/null');
    await store.archives.unmount(archive);
    await expectNothing();
  });

  it('an unmount during an export says that the archive is in use', async () => {
    await store.archives.mount(archive);
    const exported = store.archives.export(archive);
    await once(exported, 'readable');
    expect(await rejection(store.archives.unmount(archive))).toMatchObject({ code: 'ERR_CONTAINER_MOUNTED' });
    exported.destroy();
    await once(exported, 'close');
    await store.archives.unmount(archive);
    await expectNothing();
  });

  it('an export of an archive that changes meanwhile fails at its end', async () => {
    await store.archives.mount(archive);
    const exported = store.archives.export(archive);
    await once(exported, 'readable');
    utimesSync(archive, 1, 1);
    expect(await rejection(buffer(exported))).toMatchObject({ code: 'ERR_ARCHIVE_CHANGED' });
    await store.archives.unmount(archive);
    await expectNothing();
  });

  it('an unverified export says so', async () => {
    const notices: unknown[] = [];
    const onProgress = (event: { type: string }) => event.type === 'notice' && notices.push(event);
    await buffer(store.archives.export(archive, { verify: false, onProgress }));
    expect(notices).toContainEqual({ type: 'notice', message: 'Nothing of the archive was verified' });
  });

  it('cp copies out of an archive that is not mounted, and leaves nothing', async () => {
    await store.archives.copyOut(archive, '/srv/one', join(scratch, 'one'));
    expect(readFileSync(join(scratch, 'one'), 'utf8')).toBe('shared');
    expect(await store.archives.statPath(archive, '/srv/one')).toMatchObject({ name: 'one', size: 6 });
    expect(await rejection(store.archives.copyOut(archive, '/none', scratch))).toMatchObject({
      code: 'ERR_PATH_NOT_FOUND',
    });
    await expectNothing();
  });

  it('cp copies into a mounted one only', async () => {
    const file = join(scratch, 'file');
    writeFileSync(file, 'content');
    expect(await rejection(store.archives.copyIn(archive, file, '/srv'))).toMatchObject({
      code: 'ERR_ARCHIVE_NOT_MOUNTED',
    });
    const { path } = await store.archives.mount(archive);
    await store.archives.copyIn(archive, file, '/srv');
    await store.archives.putArchive(path, '/srv', Readable.from([tar([{ name: 'in', content: 'tar' }])]));
    expect(lines(await store.archives.diff(archive))).toEqual(['C /srv', 'A /srv/file', 'A /srv/in']);
    await store.archives.unmount(archive);
    await store.archives.mount(archive, { readOnly: true });
    expect(await rejection(store.archives.copyIn(archive, file, '/srv'))).toMatchObject({
      code: 'ERR_CONTAINER_MOUNTED',
    });
    await store.archives.unmount(archive);
    await expectNothing();
  });

  it('a link of the archive that leads out of it is followed inside it', async () => {
    const hostile = imageOf([layerFrom(tar([{ name: 'out', type: 'symlink', linkname: scratch }]))], {
      tags: ['h:1'],
    });
    writeArchive(archive, dockerArchive([hostile]));
    await using root = await store.archives.open(archive);
    await root.putArchive('/', Readable.from([tar([{ name: 'x', content: '' }])]));
    expect(await rejection(root.putArchive('/out', Readable.from([tar([])])))).toMatchObject({
      code: 'ERR_PATH_NOT_FOUND',
    });
    expect(existsSync(join(scratch, 'x'))).toBe(false);
  });

  it('the command takes ./ARCHIVE:/PATH, and tars', async () => {
    const cli = new LayerstackCli(store.root);
    const at = { cwd: scratch };
    await mustRun(process.execPath, cli.argv('cp', './app.tar:/srv/one', 'copied'), at);
    expect(readFileSync(join(scratch, 'copied'), 'utf8')).toBe('shared');
    await mustRun(process.execPath, cli.argv('mount', './app.tar'), at);
    await mustRun(process.execPath, cli.argv('cp', './copied', './app.tar:/added'), at);
    const out = await mustRun(process.execPath, cli.argv('diff', './app.tar'), at);
    expect(out.stdout).toBe('A /added\n');
    await mustRun(process.execPath, cli.argv('export', '-o', 'fs.tar', './app.tar'), at);
    expect(namesIn(readFileSync(join(scratch, 'fs.tar')))).toContain('added');
    await mustRun(process.execPath, cli.argv('unmount', './app.tar'), at);
    await expectNothing();
  });
});

describe('bundle', () => {
  it('is that of a container, and leaves nothing after unmount', async () => {
    const bundle = await store.archives.bundle(archive, join(scratch, 'a'), { command: ['/bin/true'] });
    const [mount] = await store.archives.list();
    expect(bundle.spec.root.path).toBe(mount?.path);
    await store.images.load(archive);
    await store.containers.create(NAME, { name: 'same' });
    const other = await store.containers.bundle('same', join(scratch, 'b'), { command: ['/bin/true'] });
    // Each has its own names, paths and root file system.
    const common = (path: string, hostname: string | undefined, root: string): unknown =>
      JSON.parse(
        readFileSync(join(scratch, path, 'config.json'), 'utf8')
          .replaceAll(root, 'ROOT')
          .replaceAll(join(scratch, path), 'BUNDLE')
          .replaceAll(hostname ?? '', 'HOST'),
      );
    expect(common('a', bundle.spec.hostname, bundle.spec.root.path)).toEqual(
      common('b', other.spec.hostname, other.spec.root.path),
    );
    await store.containers.unmount('same');
    await store.archives.bundle(archive, join(scratch, 'a'), { command: ['/bin/true'] });
    expect(await store.archives.unmount(archive)).toBe(0);
    await expectNothing();
  });

  it('that cannot be written leaves no mount', async () => {
    expect(
      await rejection(store.archives.bundle(archive, join(scratch, 'a'), { user: 'nobody-here' })),
    ).toMatchObject({ code: 'ERR_USER_NOT_FOUND' });
    await expectNothing();
  });

  it.each(['runc'].filter((runtime) => havePeers(runtime, 'busybox')))('runs in %s', async (runtime) => {
    const program = layerFrom(
      tar([
        { name: 'bin', type: 'directory', mode: 0o755 },
        { name: 'bin/busybox', content: readFileSync(findProgram('busybox') ?? ''), mode: 0o755 },
        { name: 'proc', type: 'directory', mode: 0o755 },
      ]),
    );
    const image = imageOf([program], {
      tags: ['hello:1'],
      config: { Cmd: ['/bin/busybox', 'echo', 'hello'], Volumes: { '/data': {} } },
    });
    writeArchive(archive, dockerArchive([image]));
    const { path } = await store.archives.bundle(archive, join(scratch, 'job'));
    const name = `layerstack-archive-${String(process.pid)}-${runtime}`;
    expect((await mustRun(runtime, ['run', '--bundle', path, name])).stdout).toBe('hello\n');
    await store.archives.unmount(archive);
    await expectNothing();
  });
});

describe('commit', () => {
  const commits = { changes: ['ENV A=b'], message: 'changed', sourceDateEpoch: 1_700_000_000 };

  /** Changes a root file system in each way. */
  function change(path: string): void {
    writeFileSync(join(path, 'srv/new'), 'new');
    rmSync(join(path, 'srv/one'));
    chmodSync(join(path, 'srv/old'), 0o600);
  }

  it('makes the image that a commit of a container makes, but for the container, and names only this one', async () => {
    const mount = await store.archives.mount(archive);
    change(mount.path);
    const id = await store.archives.commit(archive, { ...commits, reference: 'made:2' });
    expect((await store.images.list({ all: true })).flatMap(({ RepoTags }) => RepoTags ?? [])).toEqual([
      'made:2',
    ]);
    await store.archives.unmount(archive);

    await store.images.load(archive);
    await using container = await store.containers.create(NAME);
    await using rootfs = await store.containers.mount(container);
    change(rootfs.path);
    const other = await store.containers.commit(container, { ...commits, reference: 'other:2' });
    const [made, expected] = await Promise.all([store.images.inspect(id), store.images.inspect(other)]);
    expect(made.RootFS.Layers?.slice(0, -1)).toEqual(expected.RootFS.Layers?.slice(0, -1));
    expect(made.Config?.Env).toEqual(expected.Config?.Env);
    expect(made.Config?.Cmd).toEqual(expected.Config?.Cmd);
    expect((await store.images.history(id)).map(({ Comment }) => Comment)).toEqual(
      (await store.images.history(other)).map(({ Comment }) => Comment),
    );
    await using copy = await store.containers.create('made:2');
    await using changed = await store.containers.mount(copy);
    expect(existsSync(join(changed.path, 'srv/one'))).toBe(false);
    expect(readFileSync(join(changed.path, 'srv/new'), 'utf8')).toBe('new');
    expect(readFileSync(join(changed.path, 'srv/two'), 'utf8')).toBe('shared');
  });

  it('of a read-only mount adds no layer', async () => {
    await store.archives.mount(archive, { readOnly: true });
    const id = await store.archives.commit(archive, commits);
    expect((await store.images.inspect(id)).RootFS.Layers).toEqual(RICH.layers.map(({ diffId }) => diffId));
    await store.archives.unmount(archive);
    await expectNothing();
  });

  it('of one that is not mounted, or has changed since, says so and adds nothing', async () => {
    expect((await rejection(store.archives.commit(archive))).code).toBe('ERR_ARCHIVE_NOT_MOUNTED');
    await store.archives.mount(archive);
    appendFileSync(archive, 'x');
    expect((await rejection(store.archives.commit(archive))).code).toBe('ERR_ARCHIVE_CHANGED');
    expect(await store.images.list({ all: true })).toEqual([]);
    await store.archives.unmount(archive);
    await expectNothing();
  });

  it('verifies what was mounted unverified, and adds nothing where a digest does not fit', async () => {
    const [base, top] = RICH.layers;
    const wrong = { ...RICH, layers: [{ ...base, tar: top?.tar }, top] } as typeof RICH;
    const damaged = writeArchive(join(scratch, 'damaged.tar'), dockerArchive([wrong]));
    await store.archives.mount(damaged, { verify: false });
    expect((await rejection(store.archives.commit(damaged))).code).toBe('ERR_DIGEST_MISMATCH');
    expect(await store.images.list({ all: true })).toEqual([]);
    await store.archives.unmount(damaged);
    await expectNothing();
  });

  it('is a verb', async () => {
    const cli = new LayerstackCli(store.root);
    const path = await cli.run('mount', archive);
    writeFileSync(join(path, 'srv/new'), 'new');
    expect(await cli.run('commit', archive, 'made:3')).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(await cli.run('images', '--format', '{{.Repository}}:{{.Tag}}')).toBe('made:3');
    await cli.run('unmount', archive);
    await expectNothing();
  });
});

describe('diff', () => {
  it('of an archive that this process has open, without a store', async () => {
    const root = await openArchive(archive, { directory: scratch });
    edit(root.path);
    expect(lines(await root.diff())).toEqual(EDITS);
    await root.close();
    expect(await rejection(root.diff())).toMatchObject({ code: 'ERR_ARCHIVE_NOT_MOUNTED' });
  });

  it('of one that is not mounted says so', async () => {
    expect(await rejection(store.archives.diff(archive))).toMatchObject({
      code: 'ERR_ARCHIVE_NOT_MOUNTED',
      path: archive,
      message: expect.stringContaining('layerstack mount') as string,
    });
  });

  it('of one that has changed since says so, and it can be unmounted', async () => {
    await store.archives.mount(archive);
    appendFileSync(archive, 'x');
    expect(await rejection(store.archives.diff(archive))).toMatchObject({ code: 'ERR_ARCHIVE_CHANGED' });
    await store.archives.unmount(archive);
    await expectNothing();
  });

  it('chooses among several mounted images', async () => {
    const other = imageOf([layerOf({ which: 'other' })], { tags: ['other:1'] });
    writeArchive(archive, dockerArchive([RICH, other]));
    await store.archives.mount(archive, { image: NAME });
    const { path } = await store.archives.mount(archive, { image: 'other:1' });
    writeFileSync(join(path, 'x'), '');
    expect(await rejection(store.archives.diff(archive))).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
    expect(lines(await store.archives.diff(archive, { image: 'other:1' }))).toEqual(['A /x']);
    expect(await store.archives.diff(archive, { image: NAME })).toEqual([]);
    for (const mount of await store.archives.list()) await store.archives.unmount(mount.path);
    await expectNothing();
  });

  it('is that of the mounted image, however it is named', async () => {
    const { path, imageId } = await store.archives.mount(archive);
    writeFileSync(join(path, 'x'), '');
    for (const image of [NAME, imageId, imageId.slice('sha256:'.length, 20)])
      expect(lines(await store.archives.diff(archive, { image }))).toEqual(['A /x']);
    await store.archives.unmount(archive);
    await expectNothing();
  });

  it('is that of the archive to which a link leads now', async () => {
    const link = join(scratch, 'current.tar');
    symlinkSync(archive, link);
    await store.archives.mount(link);
    rmSync(link);
    symlinkSync(
      writeArchive(join(scratch, 'v2.tar'), dockerArchive([imageOf([layerOf({ which: 'v2' })])])),
      link,
    );
    await store.archives.copyOut(link, '/which', join(scratch, 'which'));
    expect(readFileSync(join(scratch, 'which'), 'utf8')).toBe('v2');
    await store.archives.unmount(link);
    await expectNothing();
  });

  it('works in a store that is open read-only, and for one that is mounted read-only', async () => {
    await store.archives.mount(archive, { readOnly: true });
    const reader = await Layerstack.open({ root: store.root, readOnly: true });
    expect(await reader.archives.diff(archive)).toEqual([]);
    await reader.close();
    await store.archives.unmount(archive);
    await expectNothing();
  });
});
