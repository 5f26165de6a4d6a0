/** What stands in the store where it should not, or is missing from it: nothing of it may stop work on the rest. */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { makeVolume } from '../support/loop.ts';
import { rejection } from '../support/errors.ts';
import { chunks, dockerArchive, House, IMAGE, LAYERS } from './container-support.ts';

let house: House;
beforeEach(async () => {
  house = await House.build();
});
afterEach(() => house[Symbol.asyncDispose]());

const layerdb = 'image/overlay2/layerdb/sha256';

describe('names', () => {
  it('a container that cannot be made does not take the name of another away', async () => {
    const { id } = await house.store.create(IMAGE, { name: 'web' });
    for (const session of readdirSync(house.at('layerstack/sessions')))
      rmSync(house.at(`layerstack/sessions/${session}`), { recursive: true });
    await expect(house.store.create(IMAGE, { name: 'web' })).rejects.toThrow();
    expect(readlinkSync(house.at('layerstack/names/web'))).toBe(id);
  });

  it('a name in config.v2.json that is a path names no file of the index', async () => {
    const { id } = await house.store.create(IMAGE, { name: 'web' });
    const path = house.at(`containers/${id}/config.v2.json`);
    writeFileSync(path, house.text(`containers/${id}/config.v2.json`).replace('"/web"', '"/../../escaped"'));
    await house.store.close();
    rmSync(house.at('layerstack/names'), { recursive: true });
    await house.reopen();
    await house.store.create(IMAGE, { name: 'other' });
    expect(existsSync(house.at('escaped'))).toBe(false);
    expect(readdirSync(house.root)).not.toContain('escaped');
    await house.store.remove(id);
  });

  it('a name longer than a file name is no container, not a system error', async () => {
    const error = await rejection(house.store.container('x'.repeat(300)));
    expect(error.code).toBe('ERR_CONTAINER_NOT_FOUND');
  });
});

describe('strange entries', () => {
  it('a directory in the place of config.v2.json hides only its own container', async () => {
    const { id } = await house.store.create(IMAGE, { name: 'good' });
    mkdirSync(house.at(`containers/${'a'.repeat(64)}/config.v2.json`), { recursive: true });
    expect((await house.store.containers()).map((container) => container.id)).toEqual([id]);
  });

  it('a directory in the place of an image config hides nothing else', async () => {
    mkdirSync(house.at(`image/overlay2/imagedb/content/sha256/${'a'.repeat(64)}`));
    expect((await house.store.images()).map(({ RepoTags }) => RepoTags)).toEqual([[IMAGE]]);
  });

  it.each(['null', '{"version":1}', '7'])('an image catalog that holds %s counts as none', async (text) => {
    writeFileSync(house.at('layerstack/image-catalog.json'), text);
    expect(await house.store.images()).toHaveLength(1);
  });

  it('a directory in the place of cache-id is an incomplete layer, and is replaced', async () => {
    for (const hex of readdirSync(house.at(layerdb))) {
      rmSync(house.at(`${layerdb}/${hex}/cache-id`));
      mkdirSync(house.at(`${layerdb}/${hex}/cache-id`));
    }
    await house.store.load(chunks(dockerArchive(LAYERS, { Cmd: ['/bin/true'] })));
    const mount = await house.store.mount(await house.store.create(IMAGE));
    expect(readFileSync(join(mount.path, 'house/concrete'), 'utf8')).toBe('good concrete\n');
    await mount.unmount();
  });
});

describe('removal', () => {
  it('a file that cannot be deleted does not keep the store from being opened', async () => {
    const volume = await makeVolume('ext4', { sizeMiB: 64 });
    try {
      const root = join(volume.path, 'store');
      const store = await Layerstack.open({ root });
      await store.load(chunks(dockerArchive(LAYERS)));
      const mount = await store.mount(await store.create(IMAGE, { name: 'sticky' }));
      const diff = join(mount.path, '../diff/immutable');
      await mount.unmount();
      writeFileSync(diff, '');
      execFileSync('chattr', ['+i', diff]);
      await store.remove('sticky');
      await store.close();
      const again = await Layerstack.open({ root });
      expect(await again.containers()).toEqual([]);
      await again.close();
      const [left = ''] = readdirSync(join(root, 'overlay2')).filter((name) => name.endsWith('-removing'));
      execFileSync('chattr', ['-i', join(root, 'overlay2', left, 'diff/immutable')]);
      await (await Layerstack.open({ root })).close();
      expect(readdirSync(join(root, 'overlay2')).filter((name) => name.endsWith('-removing'))).toEqual([]);
    } finally {
      await volume.unmount();
    }
  });

  it('mounting a container that was removed meanwhile says so', async () => {
    const container = await house.store.create(IMAGE);
    await house.store.remove(container);
    expect((await rejection(house.store.mount(container))).code).toBe('ERR_CONTAINER_NOT_FOUND');
  });
});

describe('opening', () => {
  it('a root that is mounted read-only says so, and opens read-only', async () => {
    const volume = await makeVolume('tmpfs', { sizeMiB: 16 });
    try {
      const root = join(volume.path, 'store');
      mkdirSync(root);
      execFileSync('mount', ['-o', 'remount,ro', volume.path]);
      expect((await rejection(Layerstack.open({ root }))).code).toBe('ERR_STORE_READ_ONLY');
      await using store = await Layerstack.open({ root, readOnly: true });
      expect(await store.images()).toEqual([]);
      expect((await Layerstack.diagnose(root)).find(({ name }) => name === 'file system')?.state).toBe(
        'fail',
      );
    } finally {
      await volume.unmount();
    }
  });

  it('a temporary directory that is missing is not blamed on the store', async () => {
    vi.stubEnv('TMPDIR', '/nonexistent');
    try {
      const error = await rejection(Layerstack.open({ root: house.root, readOnly: true }));
      expect(error.message).toContain('/nonexistent');
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it('a file in the place of a directory of the store is named', async () => {
    await house.store.close();
    rmSync(house.at('containers'), { recursive: true });
    writeFileSync(house.at('containers'), '');
    await expect(Layerstack.open({ root: house.root })).rejects.toThrow(/containers/);
    rmSync(house.at('containers'));
    await house.reopen();
  });
});

it('a bundle is not written through a link that waits in its directory', async () => {
  const container = await house.store.create(IMAGE);
  const directory = join(house.scratch, 'bundle');
  mkdirSync(directory);
  writeFileSync(join(house.scratch, 'victim'), 'untouched');
  symlinkSync(join(house.scratch, 'victim'), join(directory, 'config.json.tmp'));
  await house.store.bundle(container, directory);
  expect(readFileSync(join(house.scratch, 'victim'), 'utf8')).toBe('untouched');
  await house.store.unmount(container);
});

it('a layer that is published again reaches all that stands on it, not its children only', async () => {
  const three = [...LAYERS, [{ name: 'house/roof', content: 'slate\n' }]];
  const archive = dockerArchive(three, { Cmd: ['/bin/true'] }, 'three:1');
  await house.store.load(chunks(archive));
  for (const hex of readdirSync(house.at(layerdb))) {
    if (existsSync(house.at(`${layerdb}/${hex}/parent`))) continue;
    const id = house.text(`${layerdb}/${hex}/cache-id`);
    rmSync(house.at(`overlay2/l/${house.text(`overlay2/${id}/link`)}`));
    rmSync(house.at(`overlay2/${id}`), { recursive: true });
    rmSync(house.at(`${layerdb}/${hex}`), { recursive: true });
  }
  await house.store.load(chunks(archive));
  const mount = await house.store.mount(await house.store.create('three:1'));
  expect(readdirSync(join(mount.path, 'house')).sort()).toEqual(['concrete', 'marble', 'rebar', 'roof']);
  await mount.unmount();
});
