/** Archives of a few megabytes that would take gigabytes of memory, or minutes of the event loop. */
import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { digestOf, hexOf } from '../../src/core/digest.ts';
import { dockerArchive } from '../support/archives.ts';
import { rejection } from '../support/errors.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { tar, type TarItem } from '../support/tar.ts';
import { LoadStore } from '../support/load-store.ts';

const MiB = 1 << 20;
let store: LoadStore;
beforeEach(async () => {
  store = await LoadStore.open();
});
afterEach(() => store.close());

async function file(items: readonly TarItem[]): Promise<string> {
  const path = join(store.scratch(), 'hostile.tar');
  await writeFile(path, tar(items));
  return path;
}

/**
 * The kernel's high-water mark of memory only grows, so each test looks at the memory that is kept at its
 * end.
 */
function memory(): number {
  return process.memoryUsage().rss;
}

it(
  'a manifest that names one large config thousands of times reads it once',
  { timeout: 20_000 },
  async () => {
    const layer = layerOf({ a: 'a' });
    const config = Buffer.from(
      JSON.stringify({
        os: 'linux',
        rootfs: { type: 'layers', diff_ids: [layer.diffId] },
        config: { Labels: { pad: randomBytes(3 * MiB).toString('hex') } },
      }),
    );
    const items = Array.from({ length: 20_000 }, (_, n) => ({
      Config: 'c.json',
      RepoTags: [`bomb:${String(n)}`],
      Layers: ['l.tar'],
    }));
    const before = memory();
    const { images } = await store.load(
      await file([
        { name: 'c.json', content: config },
        { name: 'l.tar', content: layer.tar },
        { name: 'manifest.json', content: JSON.stringify(items) },
      ]),
    );
    expect(images[0]?.references).toHaveLength(20_000);
    expect(memory() - before).toBeLessThan(600 * MiB);
  },
);

it('indexes that fan out are refused, not collected', { timeout: 20_000 }, async () => {
  const type = 'application/vnd.oci.image';
  const leaf = { mediaType: `${type}.manifest.v1+json`, digest: digestOf('x'), size: 1 };
  const blobs: TarItem[] = [];
  const blob = (value: unknown): { digest: string; size: number } => {
    const content = JSON.stringify(value);
    const digest = digestOf(content);
    blobs.push({ name: `blobs/sha256/${hexOf(digest)}`, content });
    return { digest, size: Buffer.byteLength(content) };
  };
  const index = (manifests: unknown[]) => ({
    schemaVersion: 2,
    mediaType: `${type}.index.v1+json`,
    manifests,
  });
  const wide = blob(index(new Array(10_000).fill(leaf)));
  const top = index(new Array(900).fill({ mediaType: `${type}.index.v1+json`, ...wide }));
  const source = await file([...blobs, { name: 'index.json', content: JSON.stringify(top) }]);
  const error = await rejection(store.load(source));
  expect(error.code).toBe('ERR_MANIFEST_INVALID');
  expect(error.message).toMatch(/more than 1000 manifests/);
});

it('a chain of thousands of legacy images is refused before it is built', { timeout: 60_000 }, async () => {
  const layer = layerOf({ a: 'a' });
  const items: TarItem[] = [{ name: 'layer.tar', content: layer.tar }];
  for (let n = 0; n < 6000; n++) {
    const parent = n === 0 ? undefined : String(n - 1);
    items.push({ name: `${String(n)}/json`, content: JSON.stringify({ id: String(n), parent }) });
    items.push({ name: `${String(n)}/layer.tar`, type: 'symlink', linkname: '../layer.tar' });
  }
  items.push({ name: 'repositories', content: JSON.stringify({ deep: { chain: '5999' } }) });
  expect((await rejection(store.load(await file(items)))).code).toBe('ERR_LAYER_DEPTH');
});

it('an image deeper than can be mounted is refused before its layers are read', async () => {
  const image = imageOf(new Array(501).fill(layerOf({ a: 'a' })), { tags: ['deep:1'] });
  expect((await rejection(store.load(await file(dockerArchive([image]))))).code).toBe('ERR_LAYER_DEPTH');
  expect(store.counts().read).toBe(0);
});

it('a legacy image with a hundred thousand names is read in bounded time', { timeout: 20_000 }, async () => {
  const layer = layerOf({ a: 'a' });
  const tags = Object.fromEntries(Array.from({ length: 150_000 }, (_, n) => [`t${String(n)}`, 'x']));
  const started = performance.now();
  await store.load(
    await file([
      { name: 'x/json', content: '{"id":"x"}' },
      { name: 'x/layer.tar', content: layer.tar },
      { name: 'repositories', content: JSON.stringify({ many: tags }) },
    ]),
  );
  expect(performance.now() - started).toBeLessThan(15_000);
});

it('a streamed member whose name is longer than any path is refused', async () => {
  const items = [{ name: 'n'.repeat(100_000), content: 'x' }];
  const bytes = gzipSync(tar(items));
  const source = (async function* () {
    yield await Promise.resolve(bytes);
  })();
  expect((await rejection(store.load(source))).code).toBe('ERR_LIMIT_EXCEEDED');
});
