/**
 * Packed images with each mount method of indexes, in a store that is open read-only, and while it is closed.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { LayerStore } from '../../src/layer/store.ts';
import { native } from '../../src/system/native.ts';
import { dockerArchive } from '../support/archives.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { compareTrees } from '../support/tree.ts';
import { classicTree, NAME, RICH, treeOf, writeArchive } from '../support/packed-layers.ts';

let scratch: string;
let archive: string;
let root: string;
let store: Layerstack;

beforeEach(async () => {
  scratch = makeScratch('packed-methods');
  archive = writeArchive(join(scratch, 'rich.tar'), dockerArchive([RICH]));
  root = join(scratch, 'store');
  store = await Layerstack.open({ root });
});

afterEach(async () => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  await store.close();
  expect(mountsBelow(scratch)).toEqual([]);
  await dropScratch(scratch);
});

const packed = (): string[] => readdirSync(join(root, 'layerstack/packed/layers'));

describe.each(['file', 'loop'])('the mount method %s', (method) => {
  it('shows the root file system that extraction gives', async () => {
    vi.stubEnv('LAYERSTACK_CAPS', `erofs=${method}`);
    await store.images.load(archive, { form: 'packed' });
    await store.containers.create(NAME, { name: 'box' });
    const mount = await store.containers.mount('box');
    const loops = readdirSync('/sys/block').filter((name) => {
      const file = `/sys/block/${name}/loop/backing_file`;
      return name.startsWith('loop') && readIfThere(file).startsWith(scratch);
    });
    const tree = await treeOf(mount.path);
    await mount.unmount();
    expect(compareTrees(tree, await classicTree(scratch, archive, NAME))).toEqual([]);
    // Of each of the two layers, one for the index and one for the tar.
    expect(loops).toHaveLength(method === 'loop' ? 4 : 0);
  });
});

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

describe('where the kernel cannot mount indexes', () => {
  it('extracts new images, and prints one line about it', async () => {
    await store.close();
    const env = { ...process.env, LAYERSTACK_CAPS: 'erofs=none' };
    const load = ['load', '--packed', '-i', archive];
    const { stdout, stderr } = await new LayerstackCli(root).try(load, { env });
    expect(
      [stdout, stderr]
        .join('')
        .split('\n')
        .filter((line) => line.includes('extracted')),
    ).toHaveLength(1);
    store = await Layerstack.open({ root });
    expect((await store.images.list())[0]?.Form).toBeUndefined();
    vi.stubEnv('LAYERSTACK_CAPS', 'erofs=none');
    const { notices } = await store.images.load(archive, { form: 'auto' });
    expect(notices).toEqual([expect.stringContaining('the layers are extracted')]);
    await expect(store.images.pack(NAME)).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' });
  });

  it('says what to do for images that are already packed', async () => {
    await store.images.load(archive, { form: 'packed' });
    await store.containers.create(NAME, { name: 'box' });
    vi.stubEnv('LAYERSTACK_CAPS', 'erofs=none');
    const refused = {
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('layerstack settle') as string,
    };
    await expect(store.containers.mount('box')).rejects.toMatchObject(refused);
    await expect(store.containers.create(NAME)).rejects.toMatchObject(refused);
    await expect(store.containers.diff('box')).rejects.toMatchObject(refused);
    expect(await store.images.settle(NAME)).toBe(true);
    const mount = await store.containers.mount('box');
    const tree = await treeOf(mount.path);
    await mount.unmount();
    expect(compareTrees(tree, await classicTree(scratch, archive, NAME))).toEqual([]);
  });
});

describe('a store that is open read-only', () => {
  it('lists the changes of a container on packed layers, and writes its image as a disk', async () => {
    await store.images.load(archive, { form: 'packed' });
    await store.containers.create(NAME, { name: 'box' });
    {
      await using mount = await store.containers.mount('box');
      writeFileSync(join(mount.path, 'written'), 'new');
      rmSync(join(mount.path, 'twice'));
      writeFileSync(join(mount.path, 'srv/old'), 'changed');
    }
    const expected = await store.containers.diff('box');
    expect(expected.map(({ kind, path }) => `${kind} ${path}`)).toEqual(
      expect.arrayContaining(['A /written', 'D /twice', 'C /srv/old']),
    );
    const disk = async (name: string, from: Layerstack): Promise<Buffer> => {
      await using file = await open(join(scratch, name), 'w+');
      await from.images.writeDisk(file.fd, NAME);
      return readFileSync(join(scratch, name));
    };
    const written = await disk('writer.erofs', store);
    const reader = await Layerstack.open({ root, readOnly: true });
    try {
      expect(await reader.containers.diff('box')).toEqual(expected);
      expect((await disk('reader.erofs', reader)).equals(written)).toBe(true);
    } finally {
      await reader.close();
    }
  });

  it('lists the changes of a container whose image is packed meanwhile', async () => {
    await store.images.load(archive);
    await store.containers.create(NAME, { name: 'box' });
    const expected = await store.containers.diff('box');
    const reader = await Layerstack.open({ root, readOnly: true });
    try {
      // The layers go between the moment when they are found and the moment when they are read.
      const { listChanges } = native;
      const packing = vi.spyOn(native, 'listChanges').mockImplementationOnce(async (...args) => {
        await store.images.pack(NAME);
        await store.close();
        return listChanges(...args);
      });
      expect(await reader.containers.diff('box')).toEqual(expected);
      expect(packing).toHaveBeenCalledTimes(2);
    } finally {
      await reader.close();
    }
  });
});

describe('the settling of an image in the background', () => {
  /** Holds it at its first layer; resolves when it is there. */
  function hold(): Promise<void> {
    const { restage } = LayerStore.prototype;
    return new Promise((resolve) => {
      vi.spyOn(LayerStore.prototype, 'restage').mockImplementation(function (
        this: LayerStore,
        layer,
        options,
      ) {
        resolve();
        const aborted = new Promise((done) => options.signal?.addEventListener('abort', done));
        return aborted.then(() => restage.call(this, layer, options));
      });
    });
  }

  it('ends when the store is closed with an aborted signal, and the image stays packed', async () => {
    const held = hold();
    await store.images.load(archive, { form: 'auto' });
    await held;
    await store.close({ signal: AbortSignal.abort() });
    store = await Layerstack.open({ root });
    expect((await store.images.list())[0]?.Form).toBe('packed');
    expect(packed()).toHaveLength(2);
    expect(readdirSync(join(root, 'overlay2'))).toEqual(['l']);
  });

  it('ends with the signal of the load', async () => {
    const held = hold();
    const controller = new AbortController();
    await store.images.load(archive, { form: 'auto', signal: controller.signal });
    await held;
    controller.abort();
    await store.close();
    store = await Layerstack.open({ root });
    expect((await store.images.list())[0]?.Form).toBe('packed');
  });
});
