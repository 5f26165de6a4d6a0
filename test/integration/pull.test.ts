/** pull: from a repository into a real store, without a network. */
import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../../src/core/descriptor.ts';
import { hexOf } from '../../src/core/digest.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { showStoreOnFailure } from '../support/store-dump.ts';
import { zstdStored } from '../support/zstd.ts';
import { broken, FakeRepository, pieces, PullStore } from './pull-support.ts';

const base = layerOf({ 'etc/base': 'base' });
const top = layerOf({ 'etc/top': 'top' });
const big = layerOf({ big: randomBytes(3_000_000).toString('base64') });
const image = imageOf([base, top]);
const NAME = 'localhost:5000/t/x';

describe('pull', () => {
  it('stores the image, its names and where its layers come from', async () => {
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

  it('a second time asks for the manifest alone', async () => {
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

  it('goes on where the connection broke, also where the server ignores the offset', async () => {
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

  it('takes zstd layers', async () => {
    await using target = await PullStore.open();
    const repository = new FakeRepository();
    repository.push(image, ['1'], { compress: zstdStored, layerType: MEDIA_TYPES.ociLayerZstd });
    await target.pull(repository, '1');
    await target.store.expectClean();
  });
});
