/** pull: from a repository into a real store, without a network. */
import { randomBytes } from 'node:crypto';
import { readdirSync, readlinkSync } from 'node:fs';
import { readdir, readFile, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { MEDIA_TYPES } from '../../src/core/descriptor.ts';
import { digestOf, hexOf, type Digest } from '../../src/core/digest.ts';
import { Distribution } from '../../src/image/distribution.ts';
import { native } from '../../src/system/native.ts';
import { Partial, PARTIAL_TTL_MS, sweepPartials } from '../../src/system/partials.ts';
import { rejection } from '../support/errors.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { showStoreOnFailure } from '../support/store-dump.ts';
import { zstdStored } from '../support/zstd.ts';
import { broken, FakeRepository, pieces, PullStore } from '../support/pull-store.ts';

const base = layerOf({ 'etc/base': 'base' });
const top = layerOf({ 'etc/top': 'top' });
const big = layerOf({ big: randomBytes(3_000_000).toString('base64') });
const image = imageOf([base, top]);
const NAME = 'localhost:5000/t/x';

/** What this process has open. */
function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return [];
    }
  });
}

describe('pull', () => {
  it('stores the image, its names and the origin of its layers', async () => {
    await using target = await PullStore.open();
    showStoreOnFailure(target.store.path);
    const repository = new FakeRepository();
    const { digest } = repository.push(image, ['1']);
    const result = await target.pull(repository, '1');
    expect(result).toEqual({
      images: [{ id: image.id, reference: `${NAME}:1`, digest, updated: true }],
      notices: [],
      warnings: [],
    });
    await target.store.expectImages({ ...image, tags: [`${NAME}:1`, `${NAME}@${digest}`] });
    expect(await target.store.layerFile(image, 1, 'etc/top')).toBe('top');
    const distribution = join(target.store.path, 'image/overlay2/distribution');
    const blobs = [...repository.blobs.keys()].filter((blob) => blob !== image.id);
    for (const [index, blob] of blobs.entries()) {
      const diffId = image.layers[index]?.diffId ?? image.id;
      expect(await readFile(join(distribution, 'diffid-by-digest/sha256', hexOf(blob)), 'utf8')).toBe(diffId);
      expect(await readFile(join(distribution, 'v2metadata-by-diffid/sha256', hexOf(diffId)), 'utf8')).toBe(
        `[{"Digest":"${blob}","SourceRepository":"${NAME}","HMAC":""}]`,
      );
    }
  });

  it('a second time requests only the manifest', async () => {
    await using target = await PullStore.open();
    const repository = new FakeRepository();
    repository.push(image, ['1', '2']);
    await target.pull(repository, '1');
    const asked = new Map(repository.asked);
    const again = await target.pull(repository, '1');
    expect(again.images[0]?.updated).toBe(false);
    expect(target.types()).toEqual(['pulling', 'pulled']);
    const other = await target.pull(repository, '2');
    expect(other.images[0]?.updated).toBe(true);
    expect(repository.asked).toEqual(asked);
  });

  it('fetches only the layers that the store lacks, and a blob of two layers once', async () => {
    await using target = await PullStore.open();
    const repository = new FakeRepository();
    repository.push(image, ['1']);
    await target.pull(repository, '1');
    repository.asked.clear();
    const twice = imageOf([base, big, big]);
    const { digest } = repository.push(twice, ['2']);
    await target.pull(repository, '2');
    expect(target.types().filter((type) => type === 'layer-exists')).toHaveLength(1);
    expect([...repository.asked.values()]).toEqual([[0], [0]]);
    expect((await target.store.images.references()).get(twice.id)).toEqual([
      `${NAME}:2`,
      `${NAME}@${digest}`,
    ]);
    await target.store.expectClean();
  });

  it('resumes where the connection broke, even if the server ignores the offset', async () => {
    await using target = await PullStore.open();
    const repository = new FakeRepository();
    const whole = imageOf([big]);
    repository.push(whole, ['1'], { compress: (bytes) => bytes });
    repository.serve = (offset, bytes, asked) => {
      if (bytes.length < 1_000_000) return undefined;
      if (asked === 0) return { body: pieces(bytes.subarray(0, 1_000_000), broken()) };
      if (asked === 1) return { start: 0, body: pieces(bytes.subarray(0, 2_000_000), broken()) };
      return { body: pieces(bytes.subarray(offset)) };
    };
    await target.pull(repository, '1');
    const blob = whole.layers[0]?.diffId;
    expect(repository.asked.get(blob as never)).toEqual([0, 1_000_000, 2_000_000]);
    expect(target.types().filter((type) => type === 'layer-retry')).toHaveLength(2);
    await target.store.expectClean();
    expect(await readdir(join(target.store.path, 'layerstack/partial'))).toEqual([]);
  });

  it("does not record a manifest's blobs for existing layers, since they were not verified", async () => {
    await using target = await PullStore.open();
    const repository = new FakeRepository();
    repository.push(imageOf([base]), ['1']);
    await target.pull(repository, '1');
    const evil = new FakeRepository('localhost:5000/evil/x');
    const other = evil.blob(Buffer.from('something else'), MEDIA_TYPES.dockerLayerGzip);
    evil.push(image, ['1'], {
      change: (document) => ({ ...document, layers: [other, ...(document['layers'] as object[]).slice(1)] }),
    });
    const { images } = await target.pull(evil, '1');
    expect(images[0]?.id).toBe(image.id);
    const distribution = new Distribution(target.store.root);
    expect((await distribution.sources(base.diffId)).map(({ repository }) => repository)).toEqual([NAME]);
    expect(await distribution.diffId(other.digest)).toBeUndefined();
    expect(await target.store.images.originals.manifests.manifests(image.id)).toEqual([]);
    expect(await distribution.sources(top.diffId)).toHaveLength(1);
  });

  it('of all tags ignores malformed tags', async () => {
    await using target = await PullStore.open();
    const repository = new FakeRepository();
    const { digest } = repository.push(image, ['1']);
    repository.tags = () =>
      (async function* () {
        yield await Promise.resolve('1');
        yield digest;
      })();
    const error = await rejection(target.pull(repository, '', { allTags: true }));
    expect(error.code).toBe('ERR_REGISTRY_INVALID');
    await target.store.expectImages();
  });

  it('with an unknown platform leaves no work running', async () => {
    await using target = await PullStore.open();
    const repository = new FakeRepository();
    repository.push(image, ['1']);
    const batch = vi.spyOn(native, 'batch');
    expect((await rejection(target.pull(repository, '1', { platform: 'a//b' }))).code).toBe(
      'ERR_INVALID_ARGUMENT',
    );
    await sleep(1200);
    expect(batch).not.toHaveBeenCalled();
    batch.mockRestore();
  });

  it.each([
    'application/octet-stream',
    'application/json',
    'text/html',
    'text/plain; charset=utf-8',
    '',
    undefined,
  ])("accepts a config of type %s as an image's, judged by its content", async (mediaType) => {
    await using target = await PullStore.open();
    const repository = new FakeRepository();
    repository.push(image, ['1'], {
      change: (document) => ({ ...document, config: { ...(document['config'] as object), mediaType } }),
    });
    const { images } = await target.pull(repository, '1');
    expect(images).toMatchObject([{ id: image.id, reference: `${NAME}:1` }]);
    await target.store.expectClean();
  });

  it('accepts zstd layers', async () => {
    await using target = await PullStore.open();
    const repository = new FakeRepository();
    repository.push(image, ['1'], { compress: zstdStored, layerType: MEDIA_TYPES.ociLayerZstd });
    await target.pull(repository, '1');
    await target.store.expectClean();
  });
});

describe('the partial of a stopped pull', () => {
  /** A layer that comes slowly and then not at all, and a pull of it that is aborted. */
  async function stopped(target: PullStore, repository: FakeRepository, bytes: number): Promise<Digest> {
    const whole = imageOf([big]);
    repository.push(whole, ['1'], { compress: (tar) => tar });
    repository.serve = (offset, blob, asked) =>
      blob.length > 1_000_000 && asked === 0
        ? { body: stalling(blob.subarray(offset, offset + bytes)) }
        : undefined;
    const abort = new AbortController();
    const pulling = target.pull(repository, '1', { signal: abort.signal });
    while (!target.events.some((event) => event.type === 'layer-progress' && event.current >= bytes))
      await sleep(5);
    const before = performance.now();
    abort.abort('why');
    await expect(pulling).rejects.toMatchObject({ code: 'ERR_ABORTED', cause: 'why' });
    expect(performance.now() - before).toBeLessThan(5000);
    await target.store.layers.drain();
    return big.diffId;
  }

  async function* stalling(bytes: Buffer): AsyncGenerator<Uint8Array> {
    yield* pieces(bytes);
    await new Promise(() => undefined);
  }

  const partials = async (target: PullStore) => readdir(join(target.store.path, 'layerstack/partial'));

  it('is continued, and removed when the image exists', async () => {
    await using target = await PullStore.open();
    const repository = new FakeRepository();
    const blob = await stopped(target, repository, 2_000_000);
    await target.store.expectClean();
    expect(await partials(target)).toEqual([hexOf(blob)]);
    await target.pull(repository, '1');
    expect(repository.asked.get(blob)).toEqual([0, 2_000_000]);
    const phases = target.events.flatMap((event) => (event.type === 'layer-progress' ? [event.phase] : []));
    expect(phases.filter((phase, index) => phase !== phases[index - 1])).toEqual([
      'verifying',
      'downloading',
      'extracting',
    ]);
    expect(await partials(target)).toEqual([]);
    await target.store.expectClean();
  });

  it('may begin within the blob', async () => {
    await using target = await PullStore.open();
    const repository = new FakeRepository();
    const { tar, diffId } = big;
    await writePartial(target, diffId, 1_000_000, tar.subarray(1_000_000, 2_500_000));
    repository.push(imageOf([big]), ['1'], { compress: (bytes) => bytes });
    await target.pull(repository, '1');
    expect(repository.asked.get(diffId)).toEqual([0, 2_500_000]);
    await target.store.expectClean();
  });

  it.each([
    ['wrong bytes', (tar: Buffer) => Buffer.alloc(2_000_000, tar.subarray(1, 1000))],
    ['more than the blob has', (tar: Buffer) => Buffer.concat([tar, tar])],
  ])('is dropped if it is %s', async (_, spoil) => {
    await using target = await PullStore.open();
    const repository = new FakeRepository();
    await writePartial(target, big.diffId, 0, spoil(big.tar));
    repository.push(imageOf([big]), ['1'], { compress: (bytes) => bytes });
    await target.pull(repository, '1');
    expect(repository.asked.get(big.diffId)?.at(-1)).toBe(0);
    expect(await partials(target)).toEqual([]);
    await target.store.expectClean();
  });

  it('is not taken from another process that owns it', async () => {
    await using target = await PullStore.open();
    const repository = new FakeRepository();
    const { layout } = target.store.root;
    const held = await Partial.open(layout, big.diffId);
    expect(await Partial.open(layout, big.diffId)).toBeUndefined();
    const path = layout.at(layout.partial(hexOf(big.diffId)));
    expect(openFiles().filter((name) => name === path)).toHaveLength(1);
    repository.push(imageOf([big]), ['1'], { compress: (bytes) => bytes });
    await target.pull(repository, '1');
    await held?.close();
    expect(await partials(target)).toEqual([]);
  });

  it('expires, unless a process owns it', async () => {
    await using target = await PullStore.open();
    const { layout, log } = target.store.root;
    const other = digestOf('other');
    for (const blob of [big.diffId, other]) await writePartial(target, blob, 0, Buffer.alloc(1000));
    const held = await Partial.open(layout, other);
    await sweepPartials(layout, log);
    expect(await partials(target)).toHaveLength(2);
    const yesterday = (Date.now() - PARTIAL_TTL_MS) / 1000 - 60;
    for (const blob of [big.diffId, other])
      await utimes(layout.at(layout.partial(hexOf(blob))), yesterday, yesterday);
    await sweepPartials(layout, log);
    expect(await partials(target)).toEqual([hexOf(other)]);
    await held?.close();
    await sweepPartials(layout, log, { maxBytes: 1e9 });
    expect(await partials(target)).toEqual([]);
  });

  it('is removed, oldest first, if all together are too large', async () => {
    await using target = await PullStore.open();
    const { layout, log } = target.store.root;
    const blobs = ['a', 'b', 'c'].map((text) => digestOf(text));
    for (const [age, blob] of blobs.entries()) {
      await writePartial(target, blob, 0, Buffer.alloc(1000));
      const then = Date.now() / 1000 - age;
      await utimes(layout.at(layout.partial(hexOf(blob))), then, then);
    }
    await sweepPartials(layout, log, { maxBytes: 2100 });
    expect((await partials(target)).sort()).toEqual(blobs.slice(0, 2).map(hexOf).sort());
  });

  async function writePartial(target: PullStore, blob: Digest, start: number, bytes: Buffer): Promise<void> {
    const partial = await Partial.open(target.store.root.layout, blob);
    await partial?.begin(start);
    await partial?.append(bytes);
    await partial?.close();
  }
});
