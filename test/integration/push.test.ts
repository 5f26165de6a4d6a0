/** push: from a real store into a registry in memory. */
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../../src/core/descriptor.ts';
import { digestOf, hexOf, type Digest } from '../../src/core/digest.ts';
import { LayerstackError } from '../../src/core/errors.ts';
import { sourceHmac } from '../../src/image/distribution.ts';
import { decompress } from '../../src/layer/codec.ts';
import { imageOf, layerOf, type TestImage } from '../support/images.ts';
import { chunksOf } from '../support/load-store.ts';
import { FakeTarget, PushStore } from '../support/push-store.ts';

const NAME = 'localhost:5000/t/x';
const base = layerOf({ 'etc/base': 'base', 'usr/big': randomBytes(700_000).toString('hex') });
const top = layerOf({ 'etc/top': 'top' });
const image = imageOf([base, top], { tags: [`${NAME}:1`, `${NAME}:2`, 'localhost:5000/other:1'] });

/** The DiffID of a blob. */
const inflated = (target: FakeTarget, digest: Digest): Digest =>
  digestOf(gunzipSync(target.blobs.get(digest) ?? ''));

/** What dockerd's distribution/ says of a layer. */
function remembered(from: PushStore, { diffId }: { diffId: Digest }): unknown {
  const directory = join(from.store.path, 'image/overlay2/distribution/v2metadata-by-diffid/sha256');
  return JSON.parse(readFileSync(join(directory, hexOf(diffId)), 'utf8'));
}

const ofZstd = async (bytes: Buffer | undefined): Promise<Digest> => {
  const parts: Uint8Array[] = [];
  for await (const part of decompress(chunksOf(bytes ?? Buffer.alloc(0), 1 << 16), 'zstd', {
    zstd: 'native',
  }))
    parts.push(part);
  return digestOf(Buffer.concat(parts));
};

describe('push', () => {
  it('brings config, layers and manifest into the repository, and notes the digest as a name', async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    const { images } = await from.push(target, '1');
    const { bytes, mediaType } = target.manifests.get('1') ?? {};
    const digest = digestOf(bytes ?? '');
    expect(images).toEqual([{ reference: `${NAME}:1`, id: image.id, digest, size: bytes?.length }]);
    expect(mediaType).toBe(MEDIA_TYPES.dockerManifest);
    const manifest = target.manifest('1');
    expect(target.blobs.get(manifest.config.digest)).toEqual(image.config);
    expect(manifest.layers.map((layer) => inflated(target, layer.digest))).toEqual([base.diffId, top.diffId]);
    expect(manifest.layers.map((layer) => layer.mediaType)).toEqual(
      Array(2).fill(MEDIA_TYPES.dockerLayerGzip),
    );
    expect(from.types().sort()).toEqual([
      ...['layer-done', 'layer-done', 'layer-preparing', 'layer-preparing'],
      ...['layer-start', 'layer-start', 'pushed', 'pushing'],
    ]);
    expect((await from.store.images.references()).get(image.id)).toContain(`${NAME}@${digest}`);
    await from.store.expectClean();
  });

  it("writes docker's schema 2 as docker does, and remembers blobs as docker does", async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    const credentials = { username: 'u', password: 'p"<' };
    await from.push(target, '1', { credentials });
    const [first, second] = target.manifest('1').layers;
    expect(String(target.manifests.get('1')?.bytes)).toBe(
      [
        '{',
        '   "schemaVersion": 2,',
        '   "mediaType": "application/vnd.docker.distribution.manifest.v2+json",',
        '   "config": {',
        '      "mediaType": "application/vnd.docker.container.image.v1+json",',
        `      "size": ${image.config.length},`,
        `      "digest": "${image.id}"`,
        '   },',
        '   "layers": [',
        ...[first, second].flatMap((layer, at) => [
          '      {',
          '         "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",',
          `         "size": ${layer?.size},`,
          `         "digest": "${layer?.digest}"`,
          at === 0 ? '      },' : '      }',
        ]),
        '   ]',
        '}',
      ].join('\n'),
    );
    expect(remembered(from, base)).toEqual([
      {
        Digest: first?.digest,
        SourceRepository: NAME,
        HMAC: sourceHmac(first?.digest as Digest, NAME, credentials),
      },
    ]);
  });

  it('a second time reads no layer and sends nothing', async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    const first = await from.push(target, '1');
    target.requests.length = 0;
    // Without its tar-splits no layer can be rebuilt.
    for (const chain of image.chain)
      rmSync(join(from.store.path, 'image/overlay2/layerdb/sha256', hexOf(chain), 'tar-split.json.gz'));
    expect(await from.push(target, '1')).toEqual(first);
    expect(target.requests.every((request) => request.startsWith('HEAD '))).toBe(true);
    expect(from.types().filter((type) => type === 'layer-exists')).toHaveLength(2);
    await from.push(target, '2');
    expect(target.requests.filter((request) => !request.startsWith('HEAD '))).toEqual(['PUT 2']);
  });

  it('sends again what the registry has collected meanwhile, with the same bytes', async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    const first = await from.push(target, '1');
    target.blobs.clear();
    target.manifests.clear();
    expect(await from.push(target, '1')).toEqual(first);
    expect(remembered(from, top)).toHaveLength(1);
  });

  it('mounts from a repository of the same registry', async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    await from.push(target, '1');
    const other = target.beside('localhost:5000/other');
    await from.push(other, '1');
    expect(other.count('PATCH')).toBe(0);
    expect(other.count('MOUNT')).toBe(2);
    expect(from.events.find(({ type }) => type === 'layer-mounted')).toMatchObject({ from: 't/x' });
    expect(other.manifest('1').layers).toEqual(target.manifest('1').layers);
    expect(remembered(from, top)).toHaveLength(2);
    // Both remembered: neither asks for a mount again.
    other.requests.length = 0;
    await from.push(other, '1');
    expect(other.count('MOUNT')).toBe(0);
  });

  it.each([
    'ERR_REGISTRY_DENIED',
    'ERR_REGISTRY_REFUSED',
    'ERR_REGISTRY_NOT_FOUND',
    'ERR_REGISTRY_UNSUPPORTED',
    'ERR_REGISTRY_INVALID',
    'ERR_REGISTRY_LIMIT',
    'ERR_REGISTRY_UNAVAILABLE',
  ] as const)('uploads where a mount ends in %s, and asks no other registry for one', async (code) => {
    await using from = await PushStore.open(image);
    await from.push(new FakeTarget(NAME), '1');
    const other = new FakeTarget('localhost:5000/other');
    other.meddle = (request) => {
      if (request.startsWith('MOUNT')) throw new LayerstackError(code, 'no');
    };
    await from.push(other, '1');
    expect(other.count('MOUNT')).toBe(2);
    expect(other.count('PATCH')).toBe(2);
    await from.store.images.tag({ repository: 'localhost:6000/x', tag: '1' }, image.id);
    const elsewhere = new FakeTarget('localhost:6000/x');
    await from.push(elsewhere, '1');
    expect(elsewhere.count('MOUNT')).toBe(0);
  });

  it('with credentials that may send but not look', async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    target.meddle = (request) => {
      if (request.startsWith('HEAD')) throw new LayerstackError('ERR_REGISTRY_DENIED', 'pull is not allowed');
    };
    for (const tag of ['1', '1']) await from.push(target, tag);
    expect(target.count('PATCH')).toBe(4);
    expect(target.manifest('1').layers).toHaveLength(2);
  });

  it('goes on after a broken connection where it broke', async () => {
    await using from = await PushStore.open(image);
    for (const breakAfter of [0, 1, 100_001, 400_000]) {
      const target = new FakeTarget(NAME);
      rmSync(join(from.store.path, 'image/overlay2/distribution'), { recursive: true, force: true });
      target.breakAfter = breakAfter;
      await from.push(target, '1', { maxConcurrentUploads: 1 });
      const { layers } = target.manifest('1');
      expect(layers.map(({ digest }) => inflated(target, digest))).toEqual([base.diffId, top.diffId]);
    }
  });

  it('sends a layer that is twice in an image once, and an image without layers', async () => {
    const twice = imageOf([top, base, top], { tags: [`${NAME}:twice`] });
    const none = imageOf([], { tags: [`${NAME}:none`] });
    await using from = await PushStore.open(twice, none);
    const target = new FakeTarget(NAME);
    await from.push(target, 'twice');
    expect(target.count('PATCH')).toBe(2);
    const { layers } = target.manifest('twice');
    expect(layers).toHaveLength(3);
    expect(layers[0]).toEqual(layers[2]);
    await from.push(target, 'none');
    expect(target.manifest('none').layers).toEqual([]);
  });

  it('sends no more layers at once than it may', async () => {
    const layers = Array.from({ length: 7 }, (_, index) => layerOf({ [`f${index}`]: String(index) }));
    await using from = await PushStore.open(imageOf(layers, { tags: [`${NAME}:1`] }));
    const target = new FakeTarget(NAME);
    let now = 0;
    let most = 0;
    target.meddle = async (request) => {
      if (request !== 'PATCH blob') return;
      most = Math.max(most, ++now);
      await sleep(20);
      now--;
    };
    await from.push(target, '1', { maxConcurrentUploads: 3 });
    expect(most).toBe(3);
    expect(from.types().filter((type) => type === 'layer-waiting')).toHaveLength(4);
  });

  it('all tags: each image, what they share once', async () => {
    const other = imageOf([base], { tags: [`${NAME}:base`, 'unrelated:1'] });
    await using from = await PushStore.open(image, other);
    const target = new FakeTarget(NAME);
    const { images } = await from.push(target, '', { allTags: true });
    expect(images.map(({ reference }) => reference)).toEqual([`${NAME}:1`, `${NAME}:2`, `${NAME}:base`]);
    expect([...target.manifests.keys()].sort()).toEqual(['1', '2', 'base']);
    expect(target.count('PATCH')).toBe(2);
    await expect(from.push(target, '1', { allTags: true })).rejects.toMatchObject({
      code: 'ERR_REFERENCE_INVALID',
    });
    await expect(from.push(new FakeTarget('localhost:5000/no'), '', { allTags: true })).rejects.toMatchObject(
      {
        code: 'ERR_IMAGE_NOT_FOUND',
      },
    );
  });

  it('in one request for each blob, with its size', async () => {
    await using from = await PushStore.open(image);
    const streamed = new FakeTarget(NAME);
    const { images } = await from.push(streamed, '1');
    rmSync(join(from.store.path, 'image/overlay2/distribution'), { recursive: true });
    const whole = new FakeTarget(NAME);
    expect((await from.push(whole, '1', { monolithic: true })).images).toEqual(images);
    expect(whole.count('PATCH')).toBe(0);
  });

  it('pushes from a store that is read-only, and notes nothing', async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    Object.defineProperty(from.store.root, 'readOnly', { value: true });
    await from.push(target, '1');
    expect(target.manifest('1').layers).toHaveLength(2);
    expect(readdirSync(join(from.store.path, 'image/overlay2'))).not.toContain('distribution');
  });
});

describe('the form of what is pushed', () => {
  it('OCI with gzip', async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    await from.push(target, '1', { format: 'oci' });
    expect(target.manifests.get('1')?.mediaType).toBe(MEDIA_TYPES.ociManifest);
    const { config, layers } = target.manifest('1');
    expect(config.mediaType).toBe(MEDIA_TYPES.ociConfig);
    expect(layers.map(({ mediaType }) => mediaType)).toEqual(Array(2).fill(MEDIA_TYPES.ociLayerGzip));
  });

  it('of another format than what the tag names, which is replaced', async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    for (const format of ['docker', 'oci', 'docker'] as const) {
      await from.push(target, '1', { format });
      expect(target.manifests.get('1')?.mediaType).toBe(
        format === 'oci' ? MEDIA_TYPES.ociManifest : MEDIA_TYPES.dockerManifest,
      );
    }
    target.manifests.set('1', {
      bytes: Buffer.from('{"schemaVersion":1}'),
      mediaType: 'application/vnd.docker.distribution.manifest.v1+prettyjws',
    });
    await from.push(target, '1');
    expect(target.manifests.get('1')?.mediaType).toBe(MEDIA_TYPES.dockerManifest);
  });

  it('zstd, remembered apart from gzip', async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    await from.push(target, '1', { compression: 'zstd' });
    const { layers, mediaType } = target.manifest('1');
    expect(mediaType).toBe(MEDIA_TYPES.ociManifest);
    expect(layers.map((layer) => layer.mediaType)).toEqual(Array(2).fill(MEDIA_TYPES.ociLayerZstd));
    expect(await ofZstd(target.blobs.get(layers[0]?.digest as Digest))).toBe(base.diffId);

    target.requests.length = 0;
    await from.push(target, '1', { compression: 'zstd' });
    expect(target.count('PATCH') + target.count('PUT')).toBe(0);

    // A docker manifest must not name them as gzip, whatever is remembered.
    await from.push(target, '2');
    expect(target.manifest('2').layers.map(({ digest }) => inflated(target, digest))).toEqual([
      base.diffId,
      top.diffId,
    ]);
    target.requests.length = 0;
    await from.push(target, '2');
    expect(target.count('PATCH') + target.count('PUT')).toBe(0);
    expect(target.manifest('1').layers.map((layer) => layer.mediaType)).toEqual(
      Array(2).fill(MEDIA_TYPES.ociLayerZstd),
    );
  });

  it('by level; smaller for a higher one', async () => {
    const text = layerOf({ text: Array.from({ length: 20_000 }, (_, n) => `line ${n * 7919}`).join('\n') });
    await using from = await PushStore.open(imageOf([text], { tags: [`${NAME}:1`] }));
    const sizes: number[] = [];
    for (const compressionLevel of [1, 9]) {
      const target = new FakeTarget(NAME);
      await from.push(target, '1', { compressionLevel });
      sizes.push(target.manifest('1').layers[0]?.size ?? 0);
    }
    expect(sizes[1]).toBeLessThan(sizes[0] ?? 0);
  });

  it('refuses what there is not, before anything is asked', async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    const refused = (options: Parameters<PushStore['push']>[2], code: string) =>
      expect(from.push(target, '1', options)).rejects.toMatchObject({ code });
    await refused({ compression: 'zstd', format: 'docker' }, 'ERR_INVALID_ARGUMENT');
    await refused({ compressionLevel: 10 }, 'ERR_INVALID_ARGUMENT');
    await refused({ compression: 'zstd', compressionLevel: 20 }, 'ERR_INVALID_ARGUMENT');
    await refused({ maxConcurrentUploads: 0 }, 'ERR_INVALID_ARGUMENT');
    Object.defineProperty(from.store.root, 'caps', { value: { ...from.store.root.caps, zstd: 'js' } });
    await refused({ compression: 'zstd' }, 'ERR_COMPRESSION_UNSUPPORTED');
    await expect(from.push(target, 'nope')).rejects.toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND' });
    expect(target.requests).toEqual([]);
  });

  it('as it was pulled, where that was kept', async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    const blobs = new Map(
      [base, top].map((layer) => gzipSync(layer.tar, { level: 2 })).map((bytes) => [digestOf(bytes), bytes]),
    );
    const layers = [...blobs].map(([digest, bytes]) => ({
      ...{ mediaType: MEDIA_TYPES.ociLayerGzip, digest, size: bytes.length },
    }));
    const document = {
      schemaVersion: 2,
      config: { mediaType: MEDIA_TYPES.ociConfig, digest: image.id, size: image.config.length },
      layers,
      annotations: { kept: 'yes' },
    };
    const manifest = { mediaType: MEDIA_TYPES.ociManifest, bytes: Buffer.from(JSON.stringify(document)) };
    from.originals = {
      find: () =>
        Promise.resolve({
          manifest,
          layers,
          open: ({ digest }, at) => chunksOf((blobs.get(digest) ?? Buffer.alloc(0)).subarray(at), 999),
        }),
    };
    target.breakAfter = 5000;
    const { images } = await from.push(target, '1');
    expect(images[0]?.digest).toBe(digestOf(manifest.bytes));
    expect(target.manifests.get('1')).toEqual(manifest);
    for (const [digest, bytes] of blobs) expect(target.blobs.get(digest)?.equals(bytes)).toBe(true);
    target.requests.length = 0;
    await from.push(target, '1');
    expect(target.requests.every((request) => request.startsWith('HEAD '))).toBe(true);
    // Asked for in a form, it is made in that form.
    await from.push(target, '1', { format: 'docker' });
    expect(target.manifests.get('1')?.mediaType).toBe(MEDIA_TYPES.dockerManifest);
  });
});

describe('a push that fails', () => {
  const expectNothing = async (from: PushStore, target: FakeTarget, images: TestImage): Promise<void> => {
    expect(target.manifests.size).toBe(0);
    expect((await from.store.images.references()).get(images.id)?.sort()).toEqual([...images.tags].sort());
    await from.store.expectClean();
  };

  it('names the layer that has no tar-split', async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    const chain = hexOf(image.chain[1] as Digest);
    rmSync(join(from.store.path, 'image/overlay2/layerdb/sha256', chain, 'tar-split.json.gz'));
    await expect(from.push(target, '1')).rejects.toMatchObject({
      code: 'ERR_STORE_CORRUPT',
      layer: top.diffId,
      message: expect.stringContaining('tar-split') as string,
    });
    await expectNothing(from, target, image);
  });

  it('names the file that was changed behind the back of the store', async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    const [layer] = image.chain;
    const { cacheId } = await from.store.layers.get(layer as never);
    writeFileSync(join(from.store.path, 'overlay2', cacheId ?? '', 'diff/etc/base'), 'evil');
    await expect(from.push(target, '1')).rejects.toMatchObject({
      code: 'ERR_STORE_CORRUPT',
      layer: base.diffId,
      member: 'etc/base',
    });
    expect(target.cancelled).toBeGreaterThan(0);
    await expectNothing(from, target, image);
  });

  it('stops the other layers, and says what was first', async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    let uploads = 0;
    target.meddle = async (request, signal) => {
      if (request === 'PATCH blob' && ++uploads === 2)
        throw new LayerstackError('ERR_REGISTRY_REFUSED', 'quota exceeded');
      if (request === 'BYTES') await sleep(60_000, undefined, { signal, ref: false });
    };
    await expect(from.push(target, '1')).rejects.toThrow('quota exceeded');
    await expectNothing(from, target, image);
  });

  it('is stopped by its signal at once, and cancels its uploads', async () => {
    await using from = await PushStore.open(image);
    const target = new FakeTarget(NAME);
    const abort = new AbortController();
    let stopped = 0;
    target.meddle = async (request, signal) => {
      if (request !== 'BYTES') return;
      setTimeout(() => {
        stopped = performance.now();
        abort.abort();
      }, 20);
      await sleep(60_000, undefined, { signal, ref: false });
    };
    await expect(from.push(target, '1', { signal: abort.signal })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    });
    expect(performance.now() - stopped).toBeLessThan(1000);
    expect(target.cancelled).toBeGreaterThan(0);
    await expectNothing(from, target, image);
    await expect(from.push(target, '1', { signal: abort.signal })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    });
  });
});
