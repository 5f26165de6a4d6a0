/**
 * The volumes of an image in a bundle: directories beside the container, filled as docker fills its volumes,
 * inside the root.
 */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { DEFAULT_MOUNTS } from '../../src/container/spec/defaults.ts';
import type { RuntimeMount } from '../../src/container/spec/mounts.ts';
import { rejection } from '../support/errors.ts';
import type { TarMember } from '../support/tar.ts';
import { archiveOfMembers, TestStore, IMAGE, LAYERS } from '../support/test-store.ts';

let fixture: TestStore;
afterEach(() => fixture[Symbol.asyncDispose]());

const LAYER: readonly TarMember[] = [
  { name: 'data', type: 'directory', mode: 0o2750, uid: 1000, gid: 100 },
  { name: 'data/file', content: 'of the image\n', mode: 0o640, uid: 7, gid: 8 },
  { name: 'data/link', type: 'symlink', linkname: '/etc/passwd' },
  { name: 'data/hard', type: 'hardlink', linkname: 'data/file', mode: 0o640, uid: 7, gid: 8 },
  { name: 'plain', content: 'a file' },
  { name: 'to-data', type: 'symlink', linkname: 'data' },
  { name: 'out', type: 'symlink', linkname: '/../../../../tmp/out' },
  { name: 'up', type: 'symlink', linkname: '../../../../made/by/link' },
  { name: 'to-proc', type: 'symlink', linkname: '/proc' },
  { name: 'loop', type: 'symlink', linkname: 'loop' },
];

async function build(...volumes: string[]): Promise<string> {
  const Volumes = Object.fromEntries(volumes.map((path) => [path, {}]));
  fixture = await TestStore.build(archiveOfMembers([...LAYERS, LAYER], { Cmd: ['/bin/true'], Volumes }));
  return (await fixture.store.containers.create(IMAGE, { name: 'web' })).id;
}

async function bundle(
  id: string,
): Promise<{ mounts: RuntimeMount[]; leftOut: readonly string[]; rootfs: string }> {
  const { path, leftOut } = await fixture.store.containers.bundle(id, join(fixture.scratch, 'bundle'));
  const spec = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) as {
    mounts: RuntimeMount[];
    root: { path: string };
  };
  return { mounts: volumesOf(spec), leftOut, rootfs: spec.root.path };
}

/** Returns the mounts that not every container has. */
function volumesOf({ mounts }: { readonly mounts: readonly object[] }): RuntimeMount[] {
  const usual = [
    ...DEFAULT_MOUNTS.map(({ destination }) => destination as string),
    ...['/etc/hostname', '/etc/hosts', '/etc/resolv.conf'],
  ];
  return (mounts as readonly RuntimeMount[]).filter(({ destination }) => !usual.includes(destination));
}

describe('a volume', () => {
  it("is a directory of its own with the image's content, owners and modes included", async () => {
    const id = await build('/data');
    const { mounts, rootfs } = await bundle(id);
    const source = mounts[0]?.source ?? '';
    expect(mounts).toEqual([{ destination: '/data', type: 'bind', source, options: ['rbind', 'rprivate'] }]);
    expect(source.startsWith(fixture.at(`containers/${id}/volumes/`))).toBe(true);
    expect(readdirSync(source).sort()).toEqual(['file', 'hard', 'link']);
    expect(readFileSync(join(source, 'file'), 'utf8')).toBe('of the image\n');
    expect(statSync(source)).toMatchObject({ mode: 0o042750, uid: 1000, gid: 100 });
    expect(statSync(join(source, 'file'))).toMatchObject({ mode: 0o100640, uid: 7, gid: 8, nlink: 2 });
    expect(lstatSync(join(source, 'link')).isSymbolicLink()).toBe(true);
    // The image's content stays where it was.
    expect(readFileSync(join(rootfs, 'data/file'), 'utf8')).toBe('of the image\n');
    expect(await fixture.store.containers.diff(id)).toEqual([]);
  });

  it('that the image lacks is an empty directory, in the root file system too', async () => {
    const id = await build('/var/lib/new', 'relative/too');
    const { mounts, rootfs } = await bundle(id);
    expect(mounts.map(({ destination }) => destination)).toEqual(['/relative/too', '/var/lib/new']);
    for (const { source, destination } of mounts) {
      expect(readdirSync(source)).toEqual([]);
      expect(statSync(join(rootfs, destination)).mode & 0o7777).toBe(0o755);
    }
  });

  it('keeps what was written between two bundles, and is in no diff, commit or size', async () => {
    const id = await build('/data');
    const [volume] = (await bundle(id)).mounts;
    writeFileSync(join(volume?.source ?? '', 'written'), 'x');
    const { mounts } = await bundle(id);
    expect(mounts).toEqual([volume]);
    expect(readFileSync(join(mounts[0]?.source ?? '', 'written'), 'utf8')).toBe('x');
    expect(await fixture.store.containers.diff(id)).toEqual([]);
    const image = await fixture.store.containers.commit(id);
    const again = await fixture.store.containers.mount(await fixture.store.containers.create(image));
    expect(readdirSync(join(again.path, 'data')).sort()).toEqual(['file', 'hard', 'link']);
    const found: unknown[] = [];
    for await (const finding of fixture.store.fsck()) found.push(finding);
    expect(found).toEqual([]);
  });

  it('is removed with its container', async () => {
    const id = await build('/data', '/other');
    await bundle(id);
    await fixture.store.containers.remove(id, { force: true });
    await fixture.store.close();
    expect(existsSync(fixture.at(`containers/${id}`))).toBe(false);
    await fixture.reopen();
  });

  it('is made once for concurrent callers', async () => {
    const id = await build('/data');
    await fixture.store.containers.mount(id);
    const all = await Promise.all(
      [1, 2, 3, 4].map((at) => fixture.store.containers.bundle(id, join(fixture.scratch, `bundle${at}`))),
    );
    expect(new Set(all.map(({ spec }) => JSON.stringify(volumesOf(spec)))).size).toBe(1);
    expect(readdirSync(fixture.at(`containers/${id}/volumes`))).toHaveLength(1);
  });

  it('that was left unfinished is made again', async () => {
    const id = await build('/data');
    const left = fixture.at(`containers/${id}/volumes/.tmp-0123`);
    mkdirSync(join(left, 'half'), { recursive: true });
    const { mounts } = await bundle(id);
    expect(readdirSync(mounts[0]?.source ?? '')).toHaveLength(3);
    expect(existsSync(left)).toBe(false);
  });

  it('above another comes first; default mounts of a runtime give way', async () => {
    const id = await build('/data/deep/er', '/dev/shm', '/data', '/z');
    const { spec } = await fixture.store.containers.bundle(id, join(fixture.scratch, 'bundle'));
    const mounts = spec['mounts'] as RuntimeMount[];
    const places = mounts.map(({ destination }) => destination);
    expect(places.filter((place) => place === '/dev/shm')).toHaveLength(1);
    expect(places.indexOf('/data')).toBeLessThan(places.indexOf('/data/deep/er'));
    expect(mounts.find(({ destination }) => destination === '/dev/shm')?.type).toBe('bind');
  });

  it('is used, and not made, by a store that is open read-only', async () => {
    const id = await build('/data');
    const { mounts } = await bundle(id);
    const reader = await Layerstack.open({ root: fixture.root, readOnly: true });
    const { spec } = await reader.containers.bundle(id, join(fixture.scratch, 'other'));
    expect(volumesOf(spec)).toEqual(mounts);
    await reader.close();
  });
});

describe('a hostile volume', () => {
  it.each([
    '/',
    '/../..',
    '.',
    '',
    '/proc',
    '/proc/self/../1',
    '/sys/fs',
    '/dev',
    '/to-proc',
    '/to-proc/x',
    '/dev/../proc',
  ])('at %j is left out, and reported', async (path) => {
    const id = await build(path, '/data');
    const { mounts, leftOut } = await bundle(id);
    expect(mounts.map(({ destination }) => destination)).toEqual(['/data']);
    expect(leftOut).toEqual([path]);
  });

  it.each([
    ['/../../data/', '/data'],
    ['/to-data', '/data'],
    ['/to-data/../x', '/x'],
    ['/out', '/tmp/out'],
    ['/out/more', '/tmp/out/more'],
    ['/up', '/made/by/link'],
    ['/./data/./new', '/data/new'],
  ])('at %j is %s inside the root', async (path, destination) => {
    const id = await build(path);
    const { mounts, rootfs } = await bundle(id);
    expect(mounts.map((mount) => mount.destination)).toEqual([destination]);
    expect(lstatSync(join(rootfs, destination)).isDirectory()).toBe(true);
    expect(existsSync('/tmp/out')).toBe(false);
    expect(existsSync('/made')).toBe(false);
  });

  it('two ways to one directory are one volume', async () => {
    const id = await build('/data', '/to-data', '/data/', '//data');
    expect((await bundle(id)).mounts).toHaveLength(1);
  });

  it.each(['/plain', '/plain/below', '/loop'])(
    'at %j is refused, and the container is unmounted',
    async (path) => {
      const id = await build(path);
      const error = await rejection(bundle(id));
      expect(error).toMatchObject({ code: 'ERR_PATH_TYPE', path });
      expect(await fixture.store.containers.isMounted(id)).toBe(false);
    },
  );

  it('with links out of the root does not copy anything from outside', async () => {
    const id = await build('/data');
    const mount = await fixture.store.containers.mount(id);
    symlinkSync('/etc/shadow', join(mount.path, 'data/shadow'));
    const { mounts } = await bundle(id);
    expect(lstatSync(join(mounts[0]?.source ?? '', 'shadow')).isSymbolicLink()).toBe(true);
    await mount.unmount();
  });
});
