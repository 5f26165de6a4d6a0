import { existsSync, readFileSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Bundle } from '../../src/container/bundle.ts';
import { rejection } from '../support/errors.ts';
import { dockerArchive, House, IMAGE, LAYERS } from './container-support.ts';

let house: House;

beforeEach(async () => {
  const archive = dockerArchive(LAYERS, {
    Cmd: ['sh', '-c', 'id -u; id -g; id -G; pwd; hostname; cat concrete; env'],
    Env: ['PATH=/bin', 'TRADE=mason'],
    User: 'mason',
    WorkingDir: '/house',
  });
  house = await House.build(archive);
});

afterEach(async () => {
  await house[Symbol.asyncDispose]();
});

const bundleOf = async (options: Parameters<House['store']['bundle']>[2] = {}): Promise<Bundle> => {
  const { id } = await house.store.create(IMAGE, { hostname: 'site' });
  return house.store.bundle(id, join(house.scratch, 'bundle'), options);
};

describe('bundle', () => {
  it('names the mounted root file system', async () => {
    const bundle = await bundleOf();
    const document = JSON.parse(readFileSync(join(bundle.path, 'config.json'), 'utf8')) as typeof bundle.spec;
    expect(document).toEqual(JSON.parse(JSON.stringify(bundle.spec)));
    expect(document.root.path.startsWith(house.at('overlay2'))).toBe(true);
    expect(readFileSync(join(document.root.path, 'house/concrete'), 'utf8')).toBe('good concrete\n');
    expect(document.process.user).toEqual({ uid: 1000, gid: 100, additionalGids: [100, 2000] });
  });

  it('mounts a container once, however often it is called', async () => {
    const { id } = await house.store.create(IMAGE);
    for (let i = 0; i < 3; i++) await house.store.bundle(id, join(house.scratch, 'bundle'));
    expect(await house.store.unmount(id)).toBe(0);
    expect(await house.store.isMounted(id)).toBe(false);
  });

  it('leaves a container unmounted when it fails', async () => {
    const { id } = await house.store.create(IMAGE, { user: 'nobody' });
    const error = await rejection(house.store.bundle(id, join(house.scratch, 'bundle')));
    expect(error.code).toBe('ERR_USER_NOT_FOUND');
    expect(await house.store.isMounted(id)).toBe(false);
    expect(existsSync(join(house.scratch, 'bundle'))).toBe(false);
  });

  it("reads users in the container's files, also through links, and never outside", async () => {
    const { id } = await house.store.create(IMAGE, { user: 'outsider' });
    const outside = join(house.scratch, 'passwd');
    writeFileSync(outside, 'outsider:x:7:7::/:\n');
    const mount = await house.store.mount(id);
    const passwd = join(mount.path, 'etc/passwd');
    unlinkSync(passwd);
    for (const link of [outside, `../../../../../../../../../..${outside}`]) {
      symlinkSync(link, passwd);
      const error = await rejection(house.store.bundle(id, join(house.scratch, 'bundle')));
      expect(error.code).toBe('ERR_USER_NOT_FOUND');
      unlinkSync(passwd);
    }
    writeFileSync(join(mount.path, 'users'), 'outsider:x:4711:12::/:\n');
    symlinkSync('/users', passwd);
    const { spec } = await house.store.bundle(id, join(house.scratch, 'bundle'));
    expect(spec.process.user).toMatchObject({ uid: 4711, gid: 12 });
    rmSync(outside);
    await mount.unmount();
  });

  it('refuses a container that has nothing to run', async () => {
    const { id } = await house.store.create(IMAGE, { entrypoint: [] });
    expect((await rejection(house.store.bundle(id, join(house.scratch, 'bundle')))).code).toBe(
      'ERR_CONFIG_INVALID',
    );
  });
});
