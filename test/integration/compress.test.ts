/** Layers as registries keep them: the same bytes every time, one ordinary stream, verified. */
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digestOf } from '../../src/core/digest.ts';
import type { CompressedLayer, CompressOptions } from '../../src/layer/compress.ts';
import type { Layer } from '../../src/layer/store.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerFrom, layerOf, type TestLayer } from '../support/images.ts';
import { tar } from '../support/tar.ts';
import { chunksOf, LoadStore } from '../support/load-store.ts';

let store: LoadStore;

beforeAll(async () => {
  store = await LoadStore.open();
});
afterAll(() => store.close());

/** The layer, in the store. */
async function put(layer: TestLayer): Promise<Layer> {
  const image = imageOf([layer]);
  await store.load(chunksOf(tar(dockerArchive([image])), 1 << 16));
  return store.layers.get(image.chain[0] as never);
}

async function read(compressed: CompressedLayer, from = 0): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of compressed.read(from)) parts.push(part);
  return Buffer.concat(parts);
}

const compress = (layer: Layer, options: CompressOptions = { compression: 'gzip' }) =>
  store.layers.compressed(layer, options);

const noise = (length: number, seed: number): string => {
  let state = seed;
  return String.fromCharCode(
    ...Array.from({ length }, () => 32 + (((state = (state * 1103515245 + 12345) & 0x7fffffff) >> 16) % 90)),
  );
};

describe('a compressed layer', () => {
  it('inflates to the tar it was made from, whatever that is', async () => {
    const file = fc.record({
      name: fc.stringMatching(/^[a-z]{1,8}$/),
      length: fc.oneof(fc.nat(2000), fc.nat(60_000)),
      times: fc.integer({ min: 1, max: 20 }),
      seed: fc.nat(),
    });
    const files = fc.uniqueArray(file, { selector: ({ name }) => name, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(files, fc.integer({ min: 1, max: 9 }), fc.nat(3000), async (list, level, trailing) => {
        const items = list.map(({ name, length, times, seed }) => ({
          name,
          content: noise(length, seed).repeat(times),
        }));
        const layer = layerFrom(tar(items, { trailing: Buffer.alloc(trailing, 7) }));
        const compressed = compress(await put(layer), { compression: 'gzip', level });
        const bytes = await read(compressed);
        expect(digestOf(gunzipSync(bytes))).toBe(layer.diffId);
        expect(compressed.blob).toEqual({ digest: digestOf(bytes), size: bytes.length });
        const from = Math.floor(bytes.length / 3);
        expect((await read(compressed, from)).equals(bytes.subarray(from))).toBe(true);
      }),
      { numRuns: 15 },
    );
  });

  it('is one stream that gzip and zstd take, the same beside others', async () => {
    const layer = layerOf({ big: noise(100_000, 5).repeat(40) });
    const stored = await put(layer);
    for (const compression of ['gzip', 'zstd'] as const) {
      const all = await Promise.all(Array.from({ length: 4 }, () => read(compress(stored, { compression }))));
      for (const bytes of all) expect(bytes.equals(all[0] as Buffer)).toBe(true);
      const options = { input: all[0], maxBuffer: 1 << 26 };
      expect(digestOf(execFileSync(compression, ['-dc'], options))).toBe(layer.diffId);
    }
  });

  it('says how far it is, and its digest only at its end', async () => {
    const layer = layerOf({ big: noise(50_000, 9).repeat(40) });
    const seen: number[] = [];
    const compressed = compress(await put(layer), {
      compression: 'gzip',
      onProgress: (bytes) => seen.push(bytes),
    });
    expect(() => compressed.blob).toThrow(expect.objectContaining({ code: 'ERR_INTERNAL' }) as Error);
    await read(compressed);
    expect(seen.at(-1)).toBe(layer.tar.length);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  it('ends with the file that has changed, and with its signal', async () => {
    const layer = layerOf({ first: noise(60_000, 1).repeat(20), second: 'second' });
    const stored = await put(layer);
    const abort = new AbortController();
    const aborted = compress(stored, { compression: 'gzip', signal: abort.signal });
    await expect(
      (async () => {
        for await (const part of aborted.read()) {
          void part;
          abort.abort();
        }
      })(),
    ).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    writeFileSync(join(store.path, 'overlay2', stored.cacheId ?? '', 'diff/second'), 'SECOND');
    await expect(read(compress(stored))).rejects.toMatchObject({
      code: 'ERR_STORE_CORRUPT',
      layer: layer.diffId,
      member: 'second',
    });
    rmSync(join(store.path, 'overlay2', stored.cacheId ?? '', 'diff/second'));
    await expect(read(compress(stored))).rejects.toMatchObject({ member: 'second' });
  });
});
