/**
 * Removing images and layers: what goes, what stays and why, what a dead process leaves, and what others do
 * meanwhile.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { hexOf, type ChainID } from '../../src/core/digest.ts';
import { LayerStore } from '../../src/layer/store.ts';
import { LayerUses } from '../../src/layer/uses.ts';
import { native } from '../../src/system/native.ts';
import { Root } from '../../src/system/root.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf, type ImageOptions, type TestImage } from '../support/images.ts';
import { mustRun } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';
import { chunks } from '../support/layers.ts';

let scratch: string;
let store: Layerstack;

const at = (path: string): string => join(scratch, 'store', path);
const LAYERS = 'image/overlay2/layerdb/sha256';
const CONTENT = 'image/overlay2/imagedb/content/sha256';

const open = (): Promise<Layerstack> => Layerstack.open({ root: at('') });

beforeEach(async () => {
  scratch = makeScratch('housekeeping');
  store = await open();
});

afterEach(async () => {
  vi.restoreAllMocks();
  await store.close();
  await dropScratch(scratch);
});

/** An image of layers with one file each, called by these names. */
function image(layers: readonly string[], tags: readonly string[], more: ImageOptions = {}): TestImage {
  return imageOf(
    layers.map((name) => layerOf({ [`file-${name}`]: `content of ${name}` })),
    { tags, config: { Labels: { for: tags[0] ?? 'nobody' } }, ...more },
  );
}

const load = (...images: TestImage[]): Promise<unknown> =>
  store.images.load(chunks(tar(dockerArchive(images)), 5000));
const layerNames = (): string[] => readdirSync(at(LAYERS)).sort();
const chainsOf = (...images: TestImage[]): string[] =>
  [...new Set(images.flatMap(({ chain }) => chain.map(hexOf)))].sort();

/** After the deletions: exactly these images and their layers, and nothing that belongs to no layer. */
async function expectLeft(...images: TestImage[]): Promise<void> {
  await store.close();
  expect(readdirSync(at(CONTENT)).sort()).toEqual(images.map(({ id }) => hexOf(id)).sort());
  expect(readdirSync(at('image/overlay2/imagedb/metadata/sha256'))).toEqual(
    images.filter(({ parent }) => parent).map(({ id }) => hexOf(id)),
  );
  expect(layerNames()).toEqual(chainsOf(...images));
  const cacheIds = layerNames().map((name) => readFileSync(at(`${LAYERS}/${name}/cache-id`), 'utf8'));
  expect(
    readdirSync(at('overlay2'))
      .filter((name) => name !== 'l')
      .sort(),
  ).toEqual(cacheIds.sort());
  expect(readdirSync(at('overlay2/l'))).toHaveLength(cacheIds.length);
  expect(readdirSync(at('layerstack/unused'))).toEqual([]);
  expect(readdirSync(at('layerstack/sessions'))).toEqual([]);
  expect(readdirSync(at('layerstack/flat'))).toEqual([]);
}

describe('removing an image', () => {
  it('removes the layers that no other image has, from the top, and reports them', async () => {
    const [a, b] = [image(['base', 'shared', 'a1', 'a2'], ['a:1']), image(['base', 'shared'], ['b:1'])];
    await load(a, b);
    expect(await store.images.remove('a:1')).toEqual([
      { Untagged: 'a:1' },
      { Deleted: a.id },
      { Deleted: a.chain[3] },
      { Deleted: a.chain[2] },
    ]);
    expect(layerNames().filter((name) => !name.endsWith('-removing'))).toEqual(chainsOf(b));
    await expectLeft(b);
  });

  it('takes its untagged parents along, each with its own layers', async () => {
    const base = image(['base'], []);
    const middle = image(['base', 'middle'], [], { parent: base });
    const top = image(['base', 'middle', 'top'], ['top:1'], { parent: middle });
    await load(base, middle, top);
    expect(await store.images.remove('top:1')).toEqual([
      { Untagged: 'top:1' },
      { Deleted: top.id },
      { Deleted: top.chain[2] },
      { Deleted: middle.id },
      { Deleted: top.chain[1] },
      { Deleted: base.id },
      { Deleted: top.chain[0] },
    ]);
    await expectLeft();
  });

  it('leaves only the layer with a mount in it, until the next writer', async () => {
    const names = Array.from({ length: 12 }, (_, index) => String(index));
    const a = image(names, ['a:1']);
    await load(a);
    const cacheId = readFileSync(at(`${LAYERS}/${hexOf(a.chain[9] as ChainID)}/cache-id`), 'utf8');
    const point = at(`overlay2/${cacheId}/diff/point`);
    mkdirSync(point);
    await mustRun('mount', ['-t', 'tmpfs', 'tmpfs', point]);
    try {
      await store.images.remove('a:1');
      await store.close();
      expect(readdirSync(at('overlay2')).filter((name) => name !== 'l')).toEqual([cacheId]);
      expect(layerNames()).toHaveLength(1);
    } finally {
      await mustRun('umount', [point]);
    }
    store = await open();
    await expectLeft();
  });

  it('is refused, or leaves the layers, while a container uses it', async () => {
    const a = image(['base', 'a'], ['a:1']);
    await load(a);
    const container = await store.containers.create('a:1');
    await expect(store.images.remove('a:1')).rejects.toMatchObject({
      code: 'ERR_IMAGE_IN_USE',
      kind: 'conflict',
    });
    const mount = await store.containers.mount(container);
    await expect(store.images.remove(a.id, { force: true })).rejects.toThrow('cannot be forced');
    await mount.unmount();
    await store.images.remove('a:1', { force: true });
    expect(layerNames()).toEqual(chainsOf(a));
    await (await store.containers.mount(container)).unmount();
    await store.containers.remove(container);
    await expectLeft();
  });

  it('works if its config is damaged, or if only its name is left', async () => {
    const [a, b] = [image(['a'], ['a:1']), image(['b'], ['b:1'])];
    await load(a, b);
    writeFileSync(at(`${CONTENT}/${hexOf(a.id)}`), 'damaged');
    rmSync(at(`${CONTENT}/${hexOf(b.id)}`));
    expect(await store.images.remove('a:1')).toEqual([{ Untagged: 'a:1' }, { Deleted: a.id }]);
    expect(await store.images.remove('b:1')).toEqual([{ Untagged: 'b:1' }]);
    await expect(store.images.remove('b:1')).rejects.toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND' });
    expect(layerNames()).toEqual(chainsOf(a, b));
    await store.images.prune();
    await expectLeft();
  });

  it('leaves layers that BuildKit uses, by their chain or their directory', async () => {
    const [a, b] = [image(['base', 'a'], ['a:1']), image(['b'], ['b:1'])];
    await load(a, b);
    const cacheId = readFileSync(at(`${LAYERS}/${hexOf(b.chain[0] as ChainID)}/cache-id`), 'utf8');
    mkdirSync(at('buildkit'));
    writeFileSync(at('buildkit/snapshots.db'), `\0\0chainid${a.chain[0] ?? ''}\0committed${cacheId}\0`);
    await store.images.remove('a:1');
    await store.images.remove('b:1');
    await store.images.prune({ all: true });
    await store.close();
    expect(layerNames()).toEqual([a.chain[0], b.chain[0]].map((chain) => hexOf(chain as ChainID)).sort());
  });

  it('removes the flat lowers of its layers', async () => {
    const a = image(['base', 'a'], ['a:1']);
    await load(a);
    mkdirSync(at(`layerstack/flat/${hexOf(a.chain[1] as ChainID)}-init/dir`), { recursive: true });
    await store.images.remove('a:1');
    await expectLeft();
  });

  it('writes nothing in a store that is open read-only', async () => {
    const a = image(['a'], ['a:1']);
    await load(a);
    const reader = await Layerstack.open({ root: at(''), readOnly: true });
    await expect(reader.images.remove('a:1')).rejects.toMatchObject({ code: 'ERR_STORE_READ_ONLY' });
    await expect(reader.images.prune({ all: true })).rejects.toMatchObject({ code: 'ERR_STORE_READ_ONLY' });
    expect((await reader.images.prune({ all: true, dryRun: true })).ImagesDeleted).toHaveLength(3);
    await reader.close();
    await expectLeft(a);
  });
});

describe('layers in use by others', () => {
  it('stay as long as they are pinned, and are removed by the next writer', async () => {
    const a = image(['base', 'a'], ['a:1']);
    await load(a);
    const other = await Root.open(at(''));
    const pin = await new LayerStore(other).pin([a.chain[0] as ChainID]);
    expect(await store.images.remove('a:1')).toEqual([
      { Untagged: 'a:1' },
      { Deleted: a.id },
      { Deleted: a.chain[1] },
    ]);
    expect(readdirSync(at('layerstack/unused'))).toHaveLength(1);
    await pin[Symbol.asyncDispose]();
    await other.close();
    await store.close();
    store = await open();
    await expectLeft();
  });

  it('never disappear from a load of the same image, whenever it is deleted', async () => {
    const base = image(['base', 'shared'], ['base:1']);
    const a = image(['base', 'shared', 'a'], ['a:1']);
    const other = await open();
    const loading = async (): Promise<void> => {
      for (let round = 0; round < 25; round++) await load(base, a);
    };
    let isLoading = true;
    const deleting = async (): Promise<void> => {
      while (isLoading) {
        for (const name of ['a:1', 'base:1'])
          await other.images.remove(name).catch((error: unknown) => {
            expect(error).toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND' });
          });
        await other.images.prune({ all: true });
      }
    };
    await Promise.all([loading().finally(() => (isLoading = false)), deleting()]);
    await load(base, a);
    expect((await store.images.list()).map(({ Id }) => Id).sort()).toEqual([base.id, a.id].sort());
    const container = await store.containers.create('a:1');
    await (await store.containers.mount(container)).unmount();
    await store.containers.remove(container);
    await other.close();
    await expectLeft(base, a);
  });

  it('stay for a load that found them, even if their image is deleted during the load', async () => {
    const [old, fresh] = [image(['base', 'a'], ['old:1']), image(['base', 'a'], ['new:1'])];
    await load(old);
    const other = await open();
    const publish = Reflect.get(LayerStore.prototype, 'publish');
    vi.spyOn(LayerStore.prototype, 'publish').mockImplementationOnce(async function (
      this: LayerStore,
      ...args
    ) {
      await other.images.remove('old:1');
      const published = await publish.apply(this, args);
      await other.images.prune();
      return published;
    });
    await load(fresh);
    await other.close();
    await store.close();
    store = await open();
    await expectLeft(fresh);
  });

  it('stay until a save of them is complete', async () => {
    const a = image(['base', 'a'], ['a:1']);
    await load(a);
    const whole: Uint8Array[] = [];
    for await (const chunk of store.images.save(['a:1'])) whole.push(Buffer.from(chunk));
    const saved: Uint8Array[] = [];
    const other = await open();
    for await (const chunk of store.images.save(['a:1'])) {
      if (saved.length === 0) await other.images.remove('a:1');
      await other.close();
      saved.push(Buffer.from(chunk));
    }
    expect(Buffer.concat(saved).equals(Buffer.concat(whole))).toBe(true);
    await store.images.prune();
    await expectLeft();
  });

  it('are removed when two processes remove images on one base at once', async () => {
    await load(image(['base', 'a'], ['a:1']), image(['base', 'b'], ['b:1']));
    const other = await open();
    const count = Reflect.get(LayerUses, 'count');
    let second: Promise<unknown> | undefined;
    vi.spyOn(LayerUses, 'count').mockImplementationOnce(async (...args) => {
      const uses = await count.apply(LayerUses, args);
      second = other.images.remove('b:1');
      await Promise.race([second, setTimeout(200)]);
      return uses;
    });
    const removed = [...(await store.images.remove('a:1')), ...((await second) as object[])];
    expect(removed).toHaveLength(7);
    await other.close();
    await expectLeft();
  });
});

describe('a process that dies', () => {
  it('before the layers are removed leaves them to the next writer', async () => {
    const a = image(['base', 'a'], ['a:1']);
    await load(a);
    vi.spyOn(LayerStore.prototype, 'collect').mockRejectedValueOnce(new Error('died'));
    await expect(store.images.remove('a:1')).rejects.toThrow('died');
    expect(readdirSync(at(CONTENT))).toEqual([]);
    await store.close();
    store = await open();
    await expectLeft();
  });

  it('while the bytes are deleted leaves them to the next writer', async () => {
    const a = image(['base', 'a'], ['a:1']);
    await load(a);
    vi.spyOn(native, 'removeTree').mockRejectedValue(new Error('died'));
    const removed = store.images.remove('a:1');
    await expect(removed).rejects.toThrow('died');
    await store.close();
    vi.restoreAllMocks();
    store = await open();
    await store.images.remove(a.id).catch(() => undefined);
    await expectLeft();
  });
});

describe('prune', () => {
  it('removes what its dry run lists, and frees the reported bytes', async () => {
    const [a, b] = [image(['base', 'a'], ['a:1']), image(['base', 'b'], [])];
    const kept = image(['kept'], ['kept:1']);
    await load(a, b, kept);
    await store.containers.create('kept:1');
    const before = await store.usage();
    const plan = await store.images.prune({ all: true, dryRun: true });
    expect(layerNames()).toEqual(chainsOf(a, b, kept));
    expect(before.Reclaimable).toBe(plan.SpaceReclaimed);
    const sorted = (records: readonly object[]): string[] =>
      records.map((record) => JSON.stringify(record)).sort();
    const done = await store.images.prune({ all: true });
    expect(sorted(done.ImagesDeleted)).toEqual(sorted(plan.ImagesDeleted));
    expect(done.SpaceReclaimed).toBe(plan.SpaceReclaimed);
    expect((await store.usage()).LayersSize).toBe(before.LayersSize - plan.SpaceReclaimed);
    expect(layerNames().filter((name) => !name.endsWith('-removing'))).toEqual(chainsOf(kept));
  });

  it('without `all` removes untagged images, by their labels and age, and unreferenced layers', async () => {
    const old = { document: { created: '2020-01-01T00:00:00Z' } };
    const [loose, aged] = [image(['l'], []), image(['o'], [], old)];
    const [tagged, lost] = [image(['t'], ['t:1']), image(['x', 'y'], [])];
    await load(loose, aged, tagged, lost);
    rmSync(at(`${CONTENT}/${hexOf(lost.id)}`));
    const first = await store.images.prune({ filters: { until: '2021-01-01' } });
    expect(first.ImagesDeleted).toEqual([
      { Deleted: aged.id },
      { Deleted: aged.chain[0] },
      { Deleted: lost.chain[1] },
      { Deleted: lost.chain[0] },
    ]);
    await store.images.prune({ filters: { notLabel: ['for'] } });
    await store.images.prune({ filters: { label: ['for=somebody'] } });
    expect(readdirSync(at(CONTENT))).toHaveLength(2);
    await store.images.prune({ filters: { label: ['for=nobody'] } });
    await expectLeft(tagged);
  });
});

describe('disk usage', () => {
  it('is the length of all files and links, each inode once', async () => {
    const layer = layerOf([
      { name: 'dir/', type: 'directory' },
      { name: 'dir/file', content: Buffer.alloc(10_000) },
      { name: 'dir/again', type: 'hardlink', linkname: 'dir/file' },
      { name: 'link', type: 'symlink', linkname: 'dir/file' },
    ]);
    await load(image(['base'], ['a:1']), imageOf([layer], { tags: ['b:1'] }), image(['base', 'c'], ['c:1']));
    const usage = await store.usage();
    const { stdout } = await mustRun('find', [
      at('overlay2'),
      '-path',
      '*/diff/*',
      '!',
      '-type',
      'd',
      '-printf',
      '%i %s\n',
    ]);
    const sizes = new Map(
      stdout
        .trim()
        .split('\n')
        .map((line) => line.split(' ') as [string, string]),
    );
    expect(usage.LayersSize).toBe([...sizes.values()].reduce((sum, size) => sum + Number(size), 0));
    const shared = usage.Images.find(({ RepoTags }) => RepoTags[0] === 'a:1');
    expect(shared).toMatchObject({ Size: 15, SharedSize: 15, Containers: 0 });
    expect(usage.UnusedLayers).toEqual({ Count: 0, Size: 0 });
  });

  it('counts the files written in containers', async () => {
    await load(image(['base'], ['a:1']));
    const container = await store.containers.create('a:1');
    const mount = await store.containers.mount(container);
    writeFileSync(join(mount.path, 'new'), '12345');
    const { Containers, Images, Reclaimable } = await store.usage();
    expect(Containers).toMatchObject([{ size: 5, active: true, container: { id: container.id } }]);
    expect(Images[0]?.Containers).toBe(1);
    expect(Reclaimable).toBe(0);
    await mount.unmount();
  });
});

describe('the tree of layers', () => {
  it('has shared layers once, with the images at their top layers', async () => {
    const [base, a, b] = [
      image(['base'], []),
      image(['base', 'a'], ['a:1', 'a:2']),
      image(['base', 'b'], ['b:1']),
    ];
    await load(base, a, b);
    const [root, ...others] = await store.images.tree();
    expect(others).toEqual([]);
    expect(root).toMatchObject({
      chainId: base.chain[0],
      size: 15,
      virtualSize: 15,
      images: [{ id: base.id, references: [] }],
    });
    const children = root?.children.map(({ images, virtualSize }) => [images[0]?.references, virtualSize]);
    expect(children).toContainEqual([['a:1', 'a:2'], 27]);
    expect(children).toContainEqual([['b:1'], 27]);
  });
});
