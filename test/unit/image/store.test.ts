import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { digestOf, hexOf, topChainId, type ChainID, type ImageID } from '../../../src/core/digest.ts';
import { parseReference } from '../../../src/core/reference.ts';
import type { ImageConfig } from '../../../src/image/config.ts';
import { ImageStore } from '../../../src/image/store.ts';
import { FakeLayers, imageConfig, testRoot, type TestRoot } from './support.ts';

interface TestStore extends TestRoot {
  readonly layers: FakeLayers;
  readonly images: ImageStore;
}

async function testStore(): Promise<TestStore> {
  const opened = await testRoot();
  const layers = new FakeLayers();
  return { ...opened, layers, images: new ImageStore(opened.root, layers.store) };
}

/** Images with the layers `numbers` on each other, stored. */
async function stored(
  { images, layers, root }: TestStore,
  numbers: number[],
  more: object = {},
): Promise<ImageConfig> {
  const config = imageConfig(layers.add(...numbers), more);
  await images.create(config);
  await layers.publish(root, config.diffIds);
  return config;
}

const contentPath = (path: string, id: ImageID): string =>
  `${path}/image/overlay2/imagedb/content/sha256/${hexOf(id)}`;
const missing = digestOf('missing') as ImageID;

describe('creating an image', () => {
  it('keeps its bytes, and says whether it was new', async () => {
    const store = await testStore();
    const config = imageConfig(store.layers.add(1, 2));
    expect(await store.images.create(config)).toEqual({ id: config.id, created: true });
    expect(await store.images.create(config)).toEqual({ id: config.id, created: false });
    expect(await readFile(contentPath(store.path, config.id))).toEqual(Buffer.from(config.raw));
    expect((await store.images.get(config.id)).diffIds).toEqual(config.diffIds);
  });

  it('needs its layers', async () => {
    const store = await testStore();
    const config = imageConfig(store.layers.add(1, 2));
    store.layers.remove(topChainId(config.diffIds) as ChainID);
    await expect(store.images.create(config)).rejects.toMatchObject({ code: 'ERR_LAYER_NOT_FOUND' });
    await expect(store.images.get(config.id)).rejects.toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND' });
  });

  it('needs no layers if the config has none', async () => {
    const store = await testStore();
    const config = await stored(store, []);
    expect(await store.images.inspect(config.id)).toMatchObject({ Size: 0, GraphDriver: { Data: null } });
  });

  it('heals a config that was damaged on disk', async () => {
    const store = await testStore();
    const config = await stored(store, [1]);
    await writeFile(contentPath(store.path, config.id), 'x');
    await expect(store.images.get(config.id)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' });
    expect(await store.images.create(config)).toEqual({ id: config.id, created: true });
    expect((await store.images.get(config.id)).id).toBe(config.id);
  });

  it('links it to its parent, also later', async () => {
    const store = await testStore();
    const parent = await stored(store, [1]);
    const child = await stored(store, [1, 2]);
    const { images } = store;
    expect(await images.parent(child.id)).toBeUndefined();
    await images.create(child, { parent: parent.id });
    const other = imageConfig(store.layers.add(1, 3));
    await images.create(other, { parent: parent.id });
    expect(await images.parent(child.id)).toBe(parent.id);
    expect(await images.parent(other.id)).toBe(parent.id);
    await expect(images.create(child, { parent: missing })).rejects.toMatchObject({
      code: 'ERR_IMAGE_NOT_FOUND',
    });
  });
});

it('knows the images that a builder made, with their parents and dates', async () => {
  const store = await testStore();
  const { images } = store;
  const parent = await stored(store, [1]);
  const [plain, dated] = [imageConfig(store.layers.add(1, 2)), imageConfig(store.layers.add(1, 3))];
  const add = (config: ImageConfig, sourceDateEpoch: number | undefined) => ({
    ...{ config, parent: parent.id, built: { sourceDateEpoch } },
  });
  await images.add([add(plain, undefined), add(dated, 5)], []);
  expect(
    (await images.built()).toSorted((a, b) => (a.sourceDateEpoch ?? 0) - (b.sourceDateEpoch ?? 0)),
  ).toEqual([
    { id: plain.id, parent: parent.id, sourceDateEpoch: undefined },
    { id: dated.id, parent: parent.id, sourceDateEpoch: 5 },
  ]);
});

describe('tagging', () => {
  it('adds latest, returns the previous image, and records the time', async () => {
    const store = await testStore();
    const [a, b] = [await stored(store, [1]), await stored(store, [2])];
    expect(await store.images.tag(parseReference('x'), a.id)).toEqual({});
    expect(await store.images.tag(parseReference('x:latest'), a.id)).toEqual({});
    expect(await store.images.tag(parseReference('docker.io/library/x'), b.id)).toEqual({ previous: a.id });
    expect(await store.images.references()).toEqual(new Map([[b.id, ['x:latest']]]));
    const { Metadata } = await store.images.inspect(b.id);
    expect(Math.abs(Date.parse(Metadata.LastTagTime) - Date.now())).toBeLessThan(60_000);
  });

  it('of several is all or nothing, and does not change the times', async () => {
    const store = await testStore();
    const a = await stored(store, [1]);
    const digest = digestOf('manifest');
    await store.images.add([], [{ reference: parseReference(`x@${digest}`), id: a.id }]);
    expect((await store.images.inspect(a.id)).Metadata.LastTagTime).toBe('0001-01-01T00:00:00Z');
    const b = await stored(store, [2]);
    const conflict = store.images.add(
      [],
      [
        { reference: parseReference('y:1'), id: b.id },
        { reference: parseReference(`x@${digest}`), id: b.id },
      ],
    );
    await expect(conflict).rejects.toMatchObject({ code: 'ERR_REFERENCE_CONFLICT' });
    await expect(
      store.images.add(
        [],
        [
          { reference: parseReference('y:1'), id: b.id },
          { reference: parseReference('y:2'), id: missing },
        ],
      ),
    ).rejects.toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND' });
    expect(await store.images.references()).toEqual(new Map([[a.id, [`x@${digest}`]]]));
  });
});

describe('resolving', () => {
  it('takes a reference, an id with or without sha256:, and the beginning of an id', async () => {
    const store = await testStore();
    const { id } = await stored(store, [1]);
    await store.images.tag(parseReference('x:1'), id);
    const hex = hexOf(id);
    for (const name of [
      'x:1',
      'docker.io/library/x:1',
      id,
      hex,
      hex.slice(0, 12),
      hex.slice(0, 1),
      id.slice(0, 9),
    ]) {
      expect(await store.images.resolve(name), name).toBe(id);
    }
  });

  it('prefers a reference to an id with the same beginning', async () => {
    const store = await testStore();
    const [a, b] = [await stored(store, [1]), await stored(store, [2])];
    const short = hexOf(a.id).slice(0, 6);
    expect(await store.images.resolve(short)).toBe(a.id);
    await store.images.tag(parseReference(short), b.id);
    expect(await store.images.resolve(short)).toBe(b.id);
    expect(await store.images.resolve(`sha256:${short}`)).toBe(a.id);
  });

  it('names the ids with the same beginning', async () => {
    const store = await testStore();
    const ids: ImageID[] = [];
    for (let i = 0; i < 17; i++) ids.push((await stored(store, [1], { author: `${i}` })).id);
    const digits = [...'0123456789abcdef'].find(
      (d) => ids.filter((id) => hexOf(id).startsWith(d)).length > 1,
    ) as string;
    const alike = ids.filter((id) => hexOf(id).startsWith(digits));
    await expect(store.images.resolve(digits)).rejects.toMatchObject({
      code: 'ERR_ID_AMBIGUOUS',
      found: alike.length,
      message: expect.stringContaining(hexOf(alike.toSorted()[0] as ImageID).slice(0, 12)) as string,
    });
  });

  it('finds nothing else', async () => {
    const store = await testStore();
    const { id } = await stored(store, [1]);
    const other = hexOf(id).startsWith('0') ? '1' : '0';
    for (const name of [
      'x',
      'x:1',
      other,
      missing,
      hexOf(missing),
      `sha256:${other}`,
      'sha256:xyz',
      'sha256:',
    ]) {
      await expect(store.images.resolve(name), name).rejects.toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND' });
    }
    await expect(store.images.resolve('X:1')).rejects.toMatchObject({ code: 'ERR_REFERENCE_INVALID' });
  });

  it('says when a name points to a missing image', async () => {
    const store = await testStore();
    const { id } = await stored(store, [1]);
    await store.images.tag(parseReference('x:1'), id);
    await rm(contentPath(store.path, id));
    await expect(store.images.resolve('x:1')).rejects.toMatchObject({
      code: 'ERR_IMAGE_NOT_FOUND',
      message: expect.stringContaining(`points to ${id}`) as string,
    });
    expect((await store.images.references()).get(id)).toEqual(['x:1']);
  });
});

describe('inspecting', () => {
  it('gives docker fields in docker order', async () => {
    const store = await testStore();
    const config = await stored(store, [10, 20, 30], {
      architecture: 'arm64',
      variant: 'v8',
      created: '2020-01-02T03:04:05.600Z',
      config: { Cmd: ['sh'], Labels: { b: '2', a: '1' } },
      history: [{ comment: 'the last' }],
    });
    await store.images.add([], [{ reference: parseReference('x:1'), id: config.id }]);
    const inspect = await store.images.inspect(config.id);
    expect(Object.keys(inspect)).toEqual(
      (
        'Id RepoTags RepoDigests Parent Comment Created Container ContainerConfig DockerVersion Author Config ' +
        'Architecture Variant Os Size VirtualSize GraphDriver RootFS Metadata'
      ).split(' '),
    );
    const overlay = (name: string): string => `${store.path}/overlay2/${name}`;
    expect(inspect).toMatchObject({
      Id: config.id,
      RepoTags: ['x:1'],
      RepoDigests: [],
      Comment: 'the last',
      Created: '2020-01-02T03:04:05.6Z',
      Size: 60,
      GraphDriver: {
        Name: 'overlay2',
        Data: {
          LowerDir: `${overlay('cache20/diff')}:${overlay('cache10/diff')}`,
          MergedDir: overlay('cache30/merged'),
          UpperDir: overlay('cache30/diff'),
          WorkDir: overlay('cache30/work'),
        },
      },
      RootFS: { Type: 'layers', Layers: config.diffIds },
    });
    expect(JSON.stringify(inspect.Config)).toBe(
      '{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,' +
        '"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":["sh"],"Image":"","Volumes":null,' +
        '"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{"a":"1","b":"2"}}',
    );
  });

  it('names the layer that is missing', async () => {
    const store = await testStore();
    const config = await stored(store, [1]);
    store.layers.remove(topChainId(config.diffIds) as ChainID);
    await expect(store.images.inspect(config.id)).rejects.toMatchObject({ code: 'ERR_LAYER_NOT_FOUND' });
  });
});

describe('the history', () => {
  it('is newest first, with the sizes of the layers and the images that are in the store', async () => {
    const store = await testStore();
    const created = '1970-01-01T00:00:07Z';
    const steps = [
      { created, created_by: 'one' },
      { created, created_by: 'two', empty_layer: true },
      { created, created_by: 'three', comment: 'c' },
    ];
    const parent = await stored(store, [10], { history: steps.slice(0, 2) });
    const child = imageConfig(store.layers.add(10, 20), { history: steps });
    await store.images.create(child, { parent: parent.id });
    await store.images.tag(parseReference('p:1'), parent.id);
    expect(await store.images.history(child.id)).toEqual([
      { Comment: 'c', Created: 7, CreatedBy: 'three', Id: child.id, Size: 20, Tags: null },
      { Comment: '', Created: 7, CreatedBy: 'two', Id: parent.id, Size: 0, Tags: ['p:1'] },
      { Comment: '', Created: 7, CreatedBy: 'one', Id: '<missing>', Size: 10, Tags: null },
    ]);
  });

  it("ends even if two images are each other's parent", async () => {
    const store = await testStore();
    const a = await stored(store, [1], { author: 'a', history: [{}] });
    const b = await stored(store, [1], { author: 'b', history: [{}] });
    await store.images.create(a, { parent: b.id });
    await store.images.create(b, { parent: a.id });
    expect(await store.images.history(a.id)).toHaveLength(1);
  });
});

describe('listing', () => {
  const at = (second: number): { created: string } => ({ created: `1970-01-01T00:00:0${second}Z` });

  it('is newest first, and leaves intermediate images out unless asked', async () => {
    const store = await testStore();
    const base = await stored(store, [1], at(1));
    const middle = imageConfig(store.layers.add(1, 2), at(2));
    const top = imageConfig(store.layers.add(1, 2, 3), { ...at(3), config: { Labels: { k: 'v' } } });
    await store.images.create(middle, { parent: base.id });
    await store.images.create(top, { parent: middle.id });
    await store.layers.publish(store.root, top.diffIds);
    const dangling = await stored(store, [4], at(4));
    await store.images.tag(parseReference('base'), base.id);
    const rows = await store.images.list();
    expect(rows.map((row) => row.Id)).toEqual([dangling.id, top.id, base.id]);
    expect((await store.images.list({ all: true })).map((row) => row.Id)).toEqual([
      dangling.id,
      top.id,
      middle.id,
      base.id,
    ]);
    expect(rows[1]).toEqual({
      Containers: -1,
      Created: 3,
      Id: top.id,
      Labels: { k: 'v' },
      ParentId: middle.id,
      RepoDigests: [],
      RepoTags: [],
      SharedSize: -1,
      Size: 6,
      VirtualSize: 6,
    });
    expect(rows[2]).toMatchObject({ RepoTags: ['base:latest'], Labels: null, ParentId: '' });
  });

  it('skips and logs damaged images and images without their layers', async () => {
    const store = await testStore();
    const good = await stored(store, [1]);
    const damaged = await stored(store, [2]);
    const layerless = await stored(store, [3]);
    await writeFile(contentPath(store.path, damaged.id), 'x');
    store.layers.remove(topChainId(layerless.diffIds) as ChainID);
    expect((await store.images.list()).map((row) => row.Id)).toEqual([good.id]);
    expect(store.warnings).toHaveLength(2);
  });

  it('of an empty store is empty', async () => {
    const { images, path } = await testStore();
    expect(await images.list()).toEqual([]);
    await rm(`${path}/image`, { recursive: true });
    expect(await images.list()).toEqual([]);
    expect(await images.references()).toEqual(new Map());
    expect(await readdir(path)).not.toContain('image');
  });
});
