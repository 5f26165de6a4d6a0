/** load: every format, every way to hand it in, on a real store. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { digestOf, hexOf } from '../../src/core/digest.ts';
import { docker25Archive, dockerArchive, ociArchive, v1Archive } from '../support/archives.ts';
import { imageOf, layerFrom, layerOf } from '../support/images.ts';
import { showStoreOnFailure } from '../support/store-dump.ts';
import { rejection } from '../support/errors.ts';
import { tar, type TarItem } from '../support/tar.ts';
import { ALL_WAYS, chunksOf, LoadStore, WAYS } from '../support/load-store.ts';

const base = layerOf({ 'etc/base': 'base' });
const top = layerOf({ 'etc/top': 'top' });
const blob = layerOf({ blob: 'x'.repeat(300_000) });
const first = imageOf([base, top], { tags: ['t/first:1', 'first:latest'] });
const second = imageOf([base, blob], { tags: ['second:2'] });

const FORMATS = {
  'docker save 1.10': () => dockerArchive([first, second]),
  'docker save 1.10, hard links': () => dockerArchive([first, second], { shared: 'hardlink' }),
  'skopeo docker-archive': () =>
    dockerArchive([first, second], { shared: 'copy', withoutRepositories: true, compress: gzipSync }),
  'docker save 25': () => docker25Archive([first, second]),
  'OCI archive of podman': () => ociArchive([first, second]),
  'OCI archive of BuildKit': () => ociArchive([first, second], { names: 'containerd' }),
  'OCI archive with docker media types': () => ociArchive([first, second], { mediaTypes: 'docker' }),
};

describe.each(Object.entries(FORMATS))('%s', (_, items) => {
  it.each(ALL_WAYS)('from a %s', async (way) => {
    await using store = await LoadStore.open();
    showStoreOnFailure(store.path);
    const result = await store.load(await WAYS[way](store, items()));
    expect(result.images).toEqual([
      { id: first.id, references: ['t/first:1', 'first:latest'], created: true },
      { id: second.id, references: ['second:2'], created: true },
    ]);
    expect(result.notices).toEqual([]);
    expect(result.warnings).toEqual([]);
    await store.expectImages({ ...first, tags: ['first:latest', 't/first:1'] }, second);
    expect(await store.layerFile(first, 1, 'etc/top')).toBe('top');
    expect(await store.layerFile(second, 1, 'blob')).toBe('x'.repeat(300_000));
  });
});

describe("docker's first format", () => {
  it.each(ALL_WAYS)('from a %s: every layer becomes an image', async (way) => {
    await using store = await LoadStore.open();
    const { images } = await store.load(
      await WAYS[way](store, v1Archive(imageOf([base, top, blob], { tags: ['old:1'] }))),
    );
    expect(images).toHaveLength(1);
    const [image] = images;
    expect(image?.references).toEqual(['old:1']);
    const config = await store.images.get(image?.id as never);
    expect(config.diffIds).toEqual([base.diffId, top.diffId, blob.diffId]);
    expect(config.history.map(({ createdBy }) => createdBy)).toEqual(
      [0, 1, 2].map((depth) => `/bin/sh -c step ${String(depth)}`),
    );
    const parent = await store.images.parent(config.id);
    expect((await store.images.get(parent as never)).diffIds).toEqual([base.diffId, top.diffId]);
    await store.expectClean();
    expect(await store.names('image/overlay2/imagedb/content/sha256')).toHaveLength(3);
  });
});

describe('an archive that leaves out a layer', () => {
  /**
   * The second image without the file of its first layer, which the manifest calls `path` (null: as buildpack
   * tools may write it).
   */
  const without = (path: string | null, empty = false): TarItem[] => {
    const items = dockerArchive([second]).map((item): TarItem => {
      if (!('name' in item) || item.name !== 'manifest.json' || !('content' in item)) return item;
      const [entry] = JSON.parse(String(item.content)) as { Layers: string[] }[];
      return {
        ...item,
        content: JSON.stringify([{ ...entry, Layers: [path, ...(entry?.Layers.slice(1) ?? [])] }]),
      };
    });
    const [gone] = items.filter((item) => 'content' in item && item.content === base.tar);
    const left = items.filter((item) => item !== gone);
    return empty && path !== null ? [{ name: path, content: '' }, ...left] : left;
  };
  const CASES: [string, TarItem[]][] = [
    ['an empty path', without('')],
    ['null', without(null)],
    ['the path of no member', without('blank_1')],
    ['the path of an empty member', without('blank_1', true)],
  ];

  it.each(CASES)('by %s is loaded if the store has the layer', async (_, items) => {
    await using store = await LoadStore.open();
    await store.load(await WAYS.file(store, dockerArchive([first])));
    for (const way of ALL_WAYS) {
      const { images } = await store.load(await WAYS[way](store, items));
      expect(images).toMatchObject([{ id: second.id, references: ['second:2'] }]);
    }
    await store.expectImages({ ...first, tags: ['first:latest', 't/first:1'] }, second);
    expect(await store.layerFile(second, 0, 'etc/base')).toBe('base');
  });

  it.each(CASES)('by %s is refused if the store lacks the layer, and leaves nothing', async (_, items) => {
    await using store = await LoadStore.open();
    for (const way of ALL_WAYS) {
      const error = await rejection(store.load(await WAYS[way](store, items)));
      expect(error).toMatchObject({
        code: expect.stringMatching(
          /^ERR_(ARCHIVE_MEMBER|LAYER_TRUNCATED|LAYER_INVALID|DIGEST_MISMATCH)$/,
        ) as string,
      });
    }
    await store.expectClean();
  });
});

describe('loading again', () => {
  it.each(['file', 'folder'] as const)('reads no layer of a %s', async (way) => {
    await using store = await LoadStore.open();
    const source = await WAYS[way](store, docker25Archive([first, second]));
    await store.load(source);
    expect(store.counts()).toEqual({ read: 3, existing: 0 });
    const { images } = await store.load(source);
    expect(store.counts()).toEqual({ read: 0, existing: 3 });
    expect(images.map(({ created }) => created)).toEqual([false, false]);
    await store.expectImages({ ...first, tags: ['first:latest', 't/first:1'] }, second);
  });

  it('from a pipe removes layers that were staged needlessly', async () => {
    await using store = await LoadStore.open();
    await store.load(await WAYS.pipe(store, dockerArchive([first])));
    await store.load(await WAYS.pipe(store, dockerArchive([first])));
    await store.expectImages({ ...first, tags: ['first:latest', 't/first:1'] });
  });

  it('reads only the layers that the store lacks', async () => {
    await using store = await LoadStore.open();
    await store.load(await WAYS.file(store, dockerArchive([first])));
    await store.load(await WAYS.file(store, dockerArchive([second])));
    expect(store.counts()).toEqual({ read: 1, existing: 1 });
  });

  it('twice at once in two stores of one root makes each layer once', async () => {
    await using store = await LoadStore.open();
    await using other = await LoadStore.open(store.path);
    const path = await WAYS.file(store, dockerArchive([first, second]));
    const results = await Promise.all([
      store.load(path),
      other.load(path),
      store.load(await WAYS.pipe(store, ociArchive([first]))),
    ]);
    for (const { images } of results) expect(images[0]?.id).toBe(first.id);
    await store.expectImages({ ...first, tags: ['first:latest', 't/first:1'] }, second);
  });
});

describe('members in any order', () => {
  it.each(['file', 'chunks', 'gzip pipe'] as const)('from a %s', async (way) => {
    const items = dockerArchive([first, second]);
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray(items, { minLength: items.length }), async (shuffled) => {
        await using store = await LoadStore.open();
        await store.load(await WAYS[way](store, shuffled));
        await store.expectImages({ ...first, tags: ['first:latest', 't/first:1'] }, second);
      }),
      { numRuns: 8 },
    );
  });
});

describe('one layer on several chains', () => {
  const repeated = imageOf([base, top, base], { tags: ['repeated:1'] });
  const swapped = imageOf([top, base], { tags: ['swapped:1'] });

  it.each(ALL_WAYS)('from a %s is stored once for each', async (way) => {
    await using store = await LoadStore.open();
    await store.load(await WAYS[way](store, dockerArchive([repeated, swapped])));
    await store.expectImages(repeated, swapped);
    expect(await store.layerFile(repeated, 2, 'etc/base')).toBe('base');
    expect(await store.layerFile(swapped, 1, 'etc/base')).toBe('base');
  });
});

describe('odd but valid', () => {
  it('an empty tar, 1024 zeros and an unfinished tar are layers', async () => {
    const image = imageOf(
      [
        layerFrom(Buffer.alloc(0)),
        layerFrom(Buffer.alloc(1024)),
        layerFrom(tar([{ name: 'x', content: 'x' }], { endBlocks: 0 })),
      ],
      { tags: ['odd:1'] },
    );
    for (const way of ALL_WAYS) {
      await using store = await LoadStore.open();
      await store.load(await WAYS[way](store, dockerArchive([image])));
      await store.expectImages(image);
    }
  });

  it('an image without layers', async () => {
    const image = imageOf([], { tags: ['none:1'] });
    await using store = await LoadStore.open();
    await store.load(await WAYS.chunks(store, dockerArchive([image])));
    await store.expectImages(image);
  });

  it('an untagged image, which has only its id', async () => {
    const image = imageOf([base]);
    for (const items of [dockerArchive([image]), docker25Archive([image]), ociArchive([image])]) {
      await using store = await LoadStore.open();
      const { images } = await store.load(await WAYS.pipe(store, items));
      expect(images).toEqual([{ id: image.id, references: [], created: true }]);
      await store.expectImages(image);
    }
  });

  it.each([
    'application/octet-stream',
    'application/json',
    'text/html',
    'text/plain; charset=utf-8',
    '',
    undefined,
  ])('an image whose config has the type %s, judged by its content', async (mediaType) => {
    const items = ociArchive([first], {
      manifest: (document) => ({ ...document, config: { ...(document['config'] as object), mediaType } }),
    });
    for (const way of ALL_WAYS) {
      await using store = await LoadStore.open();
      const { images, notices } = await store.load(await WAYS[way](store, items));
      expect(images).toEqual([{ id: first.id, references: ['t/first:1', 'first:latest'], created: true }]);
      expect(notices).toEqual([]);
      await store.expectImages({ ...first, tags: ['first:latest', 't/first:1'] });
    }
  });

  it.each([
    ['application/octet-stream', Buffer.alloc(9_000_000, 'weights')],
    ['application/json', Buffer.from('{"architecture":"amd64"}')],
    ['text/plain', Buffer.from('hello')],
    ['application/vnd.oci.empty.v1+json', Buffer.from('{}')],
  ])("an image beside an artifact whose config of type %s is not an image's", async (mediaType, bytes) => {
    const config = { mediaType, digest: digestOf(bytes), size: bytes.length };
    const type = 'application/vnd.oci.image.manifest.v1+json';
    const artifact = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: type, config, layers: [] }));
    const entry = { mediaType: type, digest: digestOf(artifact), size: artifact.length };
    const items = ociArchive([first], {
      index: (document) => ({ ...document, manifests: [...(document['manifests'] as object[]), entry] }),
    });
    for (const content of [bytes, artifact])
      items.push({ name: `blobs/sha256/${hexOf(digestOf(content))}`, content });
    for (const way of ALL_WAYS) {
      await using store = await LoadStore.open();
      const { images, notices } = await store.load(await WAYS[way](store, items));
      expect(images).toMatchObject([{ id: first.id }]);
      expect(notices).toEqual([`Skipped ${entry.digest}: ${mediaType} is not an image`]);
    }
  });

  it('names with ./ before them, as tar -C DIR -c . writes', async () => {
    const items = ociArchive([first]).map((item) =>
      'name' in item ? { ...item, name: `./${String(item.name)}` } : item,
    );
    await using store = await LoadStore.open();
    await store.load(chunksOf(tar(items), 4096));
    await store.expectImages({ ...first, tags: ['first:latest', 't/first:1'] });
  });

  it('a long member name, in a PAX or GNU header', async () => {
    for (const format of ['ustar', 'gnu'] as const) {
      const long = `${'d'.repeat(90)}/${'e'.repeat(120)}`;
      const rename = (text: string) => text.replaceAll(hexOf(first.id), long);
      const items = dockerArchive([first]).map((item) => {
        if (!('name' in item) || 'global' in item) return item;
        const content =
          'content' in item && item.name === 'manifest.json' ? rename(String(item.content)) : item.content;
        return {
          ...item,
          format,
          name: rename(String(item.name)),
          ...(content !== undefined && { content }),
        };
      });
      for (const way of ['file', 'pipe'] as const) {
        await using store = await LoadStore.open();
        await store.load(await WAYS[way](store, items));
        await store.expectImages({ ...first, tags: ['first:latest', 't/first:1'] });
      }
    }
  });
});

describe('names and parents', () => {
  it('a name that moves leaves the old image without it', async () => {
    const old = imageOf([base], { tags: ['a:1'] });
    const young = imageOf([top], { tags: ['a:1'] });
    await using store = await LoadStore.open();
    await store.load(await WAYS.file(store, dockerArchive([old])));
    const { notices } = await store.load(await WAYS.file(store, dockerArchive([young])));
    expect(notices).toEqual([
      `The image a:1 already exists, renaming the old one with ID ${old.id} to empty string`,
    ]);
    await store.expectImages({ ...old, tags: [] }, young);
    expect((await store.load(await WAYS.file(store, dockerArchive([young])))).notices).toEqual([]);
  });

  it('sets parents that are in the archive, whatever the order', async () => {
    const parent = imageOf([base]);
    const child = imageOf([base, top], { parent, tags: ['child:1'] });
    const orphan = imageOf([blob], { parent: imageOf([]), tags: ['orphan:1'] });
    await using store = await LoadStore.open();
    const { images } = await store.load(await WAYS.file(store, dockerArchive([child, parent, orphan])));
    expect(images.map(({ id }) => id)).toEqual([child.id, parent.id, orphan.id]);
    expect(await store.images.parent(child.id)).toBe(parent.id);
    expect(await store.images.parent(orphan.id)).toBeUndefined();
    const link = join(store.path, 'image/overlay2/imagedb/metadata/sha256', hexOf(child.id), 'parent');
    expect(await readFile(link, 'utf8')).toBe(parent.id);
  });
});

describe('platforms', () => {
  const amd64 = imageOf([base], { platform: { os: 'linux', architecture: 'amd64' } });
  const arm64 = imageOf([top], { platform: { os: 'linux', architecture: 'arm64' } });
  const multi = () => ociArchive([amd64, arm64], { multiPlatform: 'multi:1' });

  it.each(ALL_WAYS)('of a %s: the requested one is chosen', async (way) => {
    await using store = await LoadStore.open();
    await store.load(await WAYS[way](store, multi()), { platform: 'linux/arm64/v8' });
    await store.expectImages({ ...arm64, tags: ['multi:1'] });
  });

  it("default to the host's", async () => {
    await using store = await LoadStore.open();
    const { images } = await store.load(await WAYS.file(store, multi()));
    expect(images.map(({ id }) => id)).toEqual([process.arch === 'arm64' ? arm64.id : amd64.id]);
  });

  it('allow an image for another platform if it is the only one', async () => {
    await using store = await LoadStore.open();
    const other = imageOf([base], { platform: { os: 'linux', architecture: 's390x' } });
    await store.load(await WAYS.file(store, ociArchive([other])));
    await store.expectImages(other);
  });

  it('are listed in the error if none fits', async () => {
    await using store = await LoadStore.open();
    for (const items of [multi(), dockerArchive([amd64, arm64])])
      await expect(
        store.load(await WAYS.pipe(store, items), { platform: 'linux/riscv64' }),
      ).rejects.toMatchObject({
        code: 'ERR_PLATFORM_NOT_FOUND',
        message: expect.stringMatching(/linux\/riscv64.*linux\/amd64, linux\/arm64/),
      });
    await store.expectImages();
  });
});
