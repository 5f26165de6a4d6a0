import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Bundle } from '../../src/container/bundle.ts';
import { rejection } from '../support/errors.ts';
import { archiveOfMembers, TestStore, IMAGE, LAYERS } from '../support/test-store.ts';

let fixture: TestStore;

beforeEach(async () => {
  const archive = archiveOfMembers(LAYERS, {
    Cmd: ['sh', '-c', 'id -u; id -g; id -G; pwd; hostname; cat concrete; env'],
    Env: ['PATH=/bin', 'TRADE=mason'],
    User: 'mason',
    WorkingDir: '/house',
  });
  fixture = await TestStore.build(archive);
});

afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

const bundleOf = async (
  options: Parameters<TestStore['store']['containers']['bundle']>[2] = {},
): Promise<Bundle> => {
  const { id } = await fixture.store.containers.create(IMAGE, { hostname: 'site' });
  return fixture.store.containers.bundle(id, join(fixture.scratch, 'bundle'), options);
};

describe('bundle', () => {
  it('names the mounted root file system', async () => {
    const bundle = await bundleOf();
    const document = JSON.parse(readFileSync(join(bundle.path, 'config.json'), 'utf8')) as typeof bundle.spec;
    expect(document).toEqual(JSON.parse(JSON.stringify(bundle.spec)));
    expect(document.root.path.startsWith(fixture.at('overlay2'))).toBe(true);
    expect(readFileSync(join(document.root.path, 'house/concrete'), 'utf8')).toBe('good concrete\n');
    expect(document.process.user).toEqual({ uid: 1000, gid: 100, additionalGids: [100, 2000] });
  });

  it('mounts a container once, however often it is called', async () => {
    const { id } = await fixture.store.containers.create(IMAGE);
    for (let i = 0; i < 3; i++) await fixture.store.containers.bundle(id, join(fixture.scratch, 'bundle'));
    expect(await fixture.store.containers.unmount(id)).toBe(0);
    expect(await fixture.store.containers.isMounted(id)).toBe(false);
  });

  it('leaves a container unmounted when it fails', async () => {
    const { id } = await fixture.store.containers.create(IMAGE, { user: 'nobody' });
    const error = await rejection(fixture.store.containers.bundle(id, join(fixture.scratch, 'bundle')));
    expect(error.code).toBe('ERR_USER_NOT_FOUND');
    expect(await fixture.store.containers.isMounted(id)).toBe(false);
    expect(existsSync(join(fixture.scratch, 'bundle'))).toBe(false);
  });

  it("reads users in the container's files, also through links, and never outside", async () => {
    const { id } = await fixture.store.containers.create(IMAGE, { user: 'outsider' });
    const outside = join(fixture.scratch, 'passwd');
    writeFileSync(outside, 'outsider:x:7:7::/:\n');
    const mount = await fixture.store.containers.mount(id);
    const passwd = join(mount.path, 'etc/passwd');
    unlinkSync(passwd);
    for (const link of [outside, `../../../../../../../../../..${outside}`]) {
      symlinkSync(link, passwd);
      const error = await rejection(fixture.store.containers.bundle(id, join(fixture.scratch, 'bundle')));
      expect(error.code).toBe('ERR_USER_NOT_FOUND');
      unlinkSync(passwd);
    }
    writeFileSync(join(mount.path, 'users'), 'outsider:x:4711:12::/:\n');
    symlinkSync('/users', passwd);
    const { spec } = await fixture.store.containers.bundle(id, join(fixture.scratch, 'bundle'));
    expect(spec.process.user).toMatchObject({ uid: 4711, gid: 12 });
    rmSync(outside);
    await mount.unmount();
  });

  it.each([
    [{ command: ['b'] }, ['/e', 'b']],
    [{ entrypoint: ['/f'] }, ['/f']],
    [{ entrypoint: ['/f'], command: ['b'] }, ['/f', 'b']],
    [{ entrypoint: [''], command: ['/b'] }, ['/b']],
    [{}, ['/e', 'a']],
  ])('runs the same command as docker with %j', async (options, args) => {
    const { id } = await fixture.store.containers.create(IMAGE, { entrypoint: ['/e'], command: ['a'] });
    const { spec } = await fixture.store.containers.bundle(id, join(fixture.scratch, 'bundle'), options);
    expect(spec.process.args).toEqual(args);
    await fixture.store.containers.unmount(id);
  });

  it('refuses a container without a command', async () => {
    const { id } = await fixture.store.containers.create(IMAGE, { entrypoint: [] });
    expect((await rejection(fixture.store.containers.bundle(id, join(fixture.scratch, 'bundle')))).code).toBe(
      'ERR_CONFIG_INVALID',
    );
  });
});

describe('the host config of a bundle', () => {
  const directory = (): string => join(fixture.scratch, 'bundle');

  it('is carried, and logged', async () => {
    const { id } = await fixture.store.containers.create(IMAGE, {
      user: 'root',
      hostConfig: {
        Memory: 64 * 1024 * 1024,
        Ulimits: [{ Name: 'core', Soft: -1, Hard: -1 }],
        CapDrop: ['ALL'],
        NetworkMode: 'none',
      },
    });
    const { spec, mapped, unsupported } = await fixture.store.containers.bundle(id, directory());
    expect(unsupported).toEqual([]);
    expect(spec).toMatchObject({
      process: { capabilities: { bounding: [], effective: [], permitted: [] } },
      linux: { resources: { memory: { limit: 67108864, swap: 134217728 } } },
    });
    expect(mapped).toEqual([
      { key: 'Memory', to: 'linux.resources.memory.limit = 67108864' },
      { key: 'MemorySwap', to: 'linux.resources.memory.swap = 134217728' },
      { key: 'CapDrop', to: 'process.capabilities = []' },
      {
        key: 'Ulimits',
        to: 'process.rlimits = [{"type":"RLIMIT_CORE","hard":"18446744073709551615","soft":"18446744073709551615"}]',
      },
    ]);
    // A number, digit by digit.
    expect(readFileSync(join(directory(), 'config.json'), 'utf8')).toContain('"hard": 18446744073709551615,');
  });

  it('is refused if it cannot be carried, and leaves nothing', async () => {
    const hostConfig = { Init: true, NetworkMode: 'bridge' };
    const error = await rejection(fixture.store.containers.create(IMAGE, { name: 'asked', hostConfig }));
    expect(error).toMatchObject({ code: 'ERR_UNSUPPORTED', kind: 'invalid', key: 'NetworkMode' });
    expect(error.message).toMatch(/NetworkMode: .*bridge.*Init: .*ignoreUnsupported/);
    expect(await fixture.store.containers.list()).toEqual([]);
    const told: string[] = [];
    const { id } = await fixture.store.containers.create(IMAGE, {
      ...{ name: 'asked', hostConfig, ignoreUnsupported: true },
      onUnsupported: ({ key }) => told.push(key),
    });
    expect(told).toEqual(['NetworkMode', 'Init']);
    const { unsupported } = await fixture.store.containers.bundle(id, directory());
    expect(unsupported.map(({ key }) => key)).toEqual(['Init']);
  });

  it.each([
    [{ Devices: [{ PathOnHost: '/dev/not-there' }] }, 'ERR_PATH_NOT_FOUND'],
    [{ Devices: [{ PathOnHost: '/etc/passwd' }] }, 'ERR_PATH_TYPE'],
    [{ BlkioDeviceReadBps: [{ Path: '/dev/null', Rate: 1 }] }, 'ERR_PATH_TYPE'],
    [{ GroupAdd: ['nobody-knows'] }, 'ERR_USER_NOT_FOUND'],
  ])('%j fails with %s, and the container is not mounted', async (hostConfig, code) => {
    const { id } = await fixture.store.containers.create(IMAGE, { hostConfig });
    expect((await rejection(fixture.store.containers.bundle(id, directory()))).code).toBe(code);
    expect(await fixture.store.containers.isMounted(id)).toBe(false);
    expect(existsSync(directory())).toBe(false);
  });

  it('makes the directories that Binds name, not those of Mounts', async () => {
    const [made, missing] = [join(fixture.scratch, 'made/here'), join(fixture.scratch, 'missing')];
    const { id } = await fixture.store.containers.create(IMAGE, { hostConfig: { Binds: [`${made}:/made`] } });
    await fixture.store.containers.bundle(id, directory());
    expect(existsSync(made)).toBe(true);
    mkdirSync(missing);
    const mounts = [{ Type: 'bind', Source: missing, Target: '/x' }];
    const other = await fixture.store.containers.create(IMAGE, { hostConfig: { Mounts: mounts } });
    rmSync(missing, { recursive: true });
    const error = await rejection(fixture.store.containers.bundle(other.id, directory()));
    expect(error).toMatchObject({ code: 'ERR_PATH_NOT_FOUND', path: missing });
  });

  it('finds the volumes that dockerd has made on the same root', async () => {
    const data = fixture.at('volumes/theirs/_data');
    const hostConfig = { Binds: ['theirs:/data:ro'] };
    expect((await rejection(fixture.store.containers.create(IMAGE, { hostConfig }))).code).toBe(
      'ERR_UNSUPPORTED',
    );
    mkdirSync(data, { recursive: true });
    const { id } = await fixture.store.containers.create(IMAGE, { hostConfig });
    const { spec } = await fixture.store.containers.bundle(id, directory());
    expect(spec.mounts).toContainEqual({
      ...{ destination: '/data', type: 'bind', source: data, options: ['rbind', 'ro'] },
    });
  });

  it('has volumes without a name, filled or empty', async () => {
    const { id } = await fixture.store.containers.create(IMAGE, {
      hostConfig: {
        Mounts: [
          { Type: 'volume', Target: '/house' },
          { Type: 'volume', Target: '/etc', VolumeOptions: { NoCopy: true } },
        ],
      },
    });
    const { spec } = await fixture.store.containers.bundle(id, directory(), { user: '0' });
    const sourceOf = (path: string): string =>
      spec.mounts.find(({ destination }) => destination === path)?.source ?? '';
    expect(readFileSync(join(sourceOf('/house'), 'concrete'), 'utf8')).toBe('good concrete\n');
    expect(readdirSync(sourceOf('/etc'))).toEqual([]);
  });

  it('that is malformed in the store is an error that names it', async () => {
    const { id } = await fixture.store.containers.create(IMAGE);
    writeFileSync(fixture.at(`containers/${id}/hostconfig.json`), '{"Memory":"much"}');
    const error = await rejection(fixture.store.containers.bundle(id, directory()));
    expect(error).toMatchObject({ code: 'ERR_STORE_CORRUPT', id });
    expect(error.message).toContain('Memory');
  });
});
