/** Foreign objects in the store, and missing files of the store: neither may stop work on the rest. */
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
import { chunks, archiveOfMembers, TestStore, IMAGE, LAYERS } from '../support/test-store.ts';

let fixture: TestStore;
beforeEach(async () => {
  fixture = await TestStore.build();
});
afterEach(() => fixture[Symbol.asyncDispose]());

const layerdb = 'image/overlay2/layerdb/sha256';

describe('names', () => {
  it("a container that cannot be made does not take another's name", async () => {
    const { id } = await fixture.store.containers.create(IMAGE, { name: 'web' });
    for (const session of readdirSync(fixture.at('layerstack/sessions')))
      rmSync(fixture.at(`layerstack/sessions/${session}`), { recursive: true });
    await expect(fixture.store.containers.create(IMAGE, { name: 'web' })).rejects.toThrow();
    expect(readlinkSync(fixture.at('layerstack/names/web'))).toBe(id);
  });

  it('a name in config.v2.json that is a path names no file of the index', async () => {
    const { id } = await fixture.store.containers.create(IMAGE, { name: 'web' });
    const path = fixture.at(`containers/${id}/config.v2.json`);
    writeFileSync(
      path,
      fixture.text(`containers/${id}/config.v2.json`).replace('"/web"', '"/../../escaped"'),
    );
    await fixture.store.close();
    rmSync(fixture.at('layerstack/names'), { recursive: true });
    await fixture.reopen();
    await fixture.store.containers.create(IMAGE, { name: 'other' });
    expect(existsSync(fixture.at('escaped'))).toBe(false);
    expect(readdirSync(fixture.root)).not.toContain('escaped');
    await fixture.store.containers.remove(id);
  });

  it('a name longer than a file name is not found, without a system error', async () => {
    const error = await rejection(fixture.store.containers.get('x'.repeat(300)));
    expect(error.code).toBe('ERR_CONTAINER_NOT_FOUND');
  });
});

describe('strange entries', () => {
  it('a directory in the place of config.v2.json hides only its own container', async () => {
    const { id } = await fixture.store.containers.create(IMAGE, { name: 'good' });
    mkdirSync(fixture.at(`containers/${'a'.repeat(64)}/config.v2.json`), { recursive: true });
    expect((await fixture.store.containers.list()).map((container) => container.id)).toEqual([id]);
  });

  it('a directory in the place of an image config hides nothing else', async () => {
    mkdirSync(fixture.at(`image/overlay2/imagedb/content/sha256/${'a'.repeat(64)}`));
    expect((await fixture.store.images.list()).map(({ RepoTags }) => RepoTags)).toEqual([[IMAGE]]);
  });

  it.each(['null', '{"version":1}', '7'])(
    'an image catalog that holds %s counts as missing',
    async (text) => {
      writeFileSync(fixture.at('layerstack/image-catalog.json'), text);
      expect(await fixture.store.images.list()).toHaveLength(1);
    },
  );

  it('a directory in the place of cache-id is an incomplete layer, and is replaced', async () => {
    for (const hex of readdirSync(fixture.at(layerdb))) {
      rmSync(fixture.at(`${layerdb}/${hex}/cache-id`));
      mkdirSync(fixture.at(`${layerdb}/${hex}/cache-id`));
    }
    await fixture.store.images.load(chunks(archiveOfMembers(LAYERS, { Cmd: ['/bin/true'] })));
    const mount = await fixture.store.containers.mount(await fixture.store.containers.create(IMAGE));
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
      await store.images.load(chunks(archiveOfMembers(LAYERS)));
      const mount = await store.containers.mount(await store.containers.create(IMAGE, { name: 'sticky' }));
      const diff = join(mount.path, '../diff/immutable');
      await mount.unmount();
      writeFileSync(diff, '');
      execFileSync('chattr', ['+i', diff]);
      await store.containers.remove('sticky');
      await store.close();
      const again = await Layerstack.open({ root });
      expect(await again.containers.list()).toEqual([]);
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
    const container = await fixture.store.containers.create(IMAGE);
    await fixture.store.containers.remove(container);
    expect((await rejection(fixture.store.containers.mount(container))).code).toBe('ERR_CONTAINER_NOT_FOUND');
  });

  it('listing the changes of a container that was removed meanwhile says so', async () => {
    const container = await fixture.store.containers.create(IMAGE);
    await fixture.store.containers.remove(container);
    expect((await rejection(fixture.store.containers.diff(container))).code).toBe('ERR_CONTAINER_NOT_FOUND');
  });
});

describe('opening', () => {
  it('a root on a read-only file system is an error that says so, and opens read-only', async () => {
    const volume = await makeVolume('tmpfs', { sizeMiB: 16 });
    try {
      const root = join(volume.path, 'store');
      mkdirSync(root);
      execFileSync('mount', ['-o', 'remount,ro', volume.path]);
      expect((await rejection(Layerstack.open({ root }))).code).toBe('ERR_STORE_READ_ONLY');
      await using store = await Layerstack.open({ root, readOnly: true });
      expect(await store.images.list()).toEqual([]);
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
      const error = await rejection(Layerstack.open({ root: fixture.root, readOnly: true }));
      expect(error.message).toContain('/nonexistent');
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it('a file in the place of a directory of the store is named', async () => {
    await fixture.store.close();
    rmSync(fixture.at('containers'), { recursive: true });
    writeFileSync(fixture.at('containers'), '');
    await expect(Layerstack.open({ root: fixture.root })).rejects.toThrow(/containers/);
    rmSync(fixture.at('containers'));
    await fixture.reopen();
  });
});

it('a bundle is not written through a link that waits in its directory', async () => {
  const container = await fixture.store.containers.create(IMAGE);
  const directory = join(fixture.scratch, 'bundle');
  mkdirSync(directory);
  writeFileSync(join(fixture.scratch, 'victim'), 'untouched');
  symlinkSync(join(fixture.scratch, 'victim'), join(directory, 'config.json.tmp'));
  await fixture.store.containers.bundle(container, directory);
  expect(readFileSync(join(fixture.scratch, 'victim'), 'utf8')).toBe('untouched');
  await fixture.store.containers.unmount(container);
});

it('a layer that is published again reaches all layers above it, not only its children', async () => {
  const three = [...LAYERS, [{ name: 'house/roof', content: 'slate\n' }]];
  const archive = archiveOfMembers(three, { Cmd: ['/bin/true'] }, 'three:1');
  await fixture.store.images.load(chunks(archive));
  for (const hex of readdirSync(fixture.at(layerdb))) {
    if (existsSync(fixture.at(`${layerdb}/${hex}/parent`))) continue;
    const id = fixture.text(`${layerdb}/${hex}/cache-id`);
    rmSync(fixture.at(`overlay2/l/${fixture.text(`overlay2/${id}/link`)}`));
    rmSync(fixture.at(`overlay2/${id}`), { recursive: true });
    rmSync(fixture.at(`${layerdb}/${hex}`), { recursive: true });
  }
  await fixture.store.images.load(chunks(archive));
  const mount = await fixture.store.containers.mount(await fixture.store.containers.create('three:1'));
  expect(readdirSync(join(mount.path, 'house')).sort()).toEqual(['concrete', 'marble', 'rebar', 'roof']);
  await mount.unmount();
});
