import { readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { hexOf, topChainId, type ChainID } from '../../../src/core/digest.ts';
import { Catalog } from '../../../src/image/catalog.ts';
import type { ImageConfig } from '../../../src/image/config.ts';
import { ImageDb } from '../../../src/image/imagedb.ts';
import { FakeLayers, imageConfig, testRoot, type TestRoot } from './support.ts';

interface TestCatalog extends TestRoot {
  readonly layers: FakeLayers;
  readonly db: ImageDb;
  readonly base: ImageConfig;
  readonly child: ImageConfig;
  readonly file: string;
  open(): Catalog;
}

/** A catalog of two images whose files changed long enough ago to be kept. */
async function testCatalog(): Promise<TestCatalog> {
  const opened = await testRoot();
  const layers = new FakeLayers();
  const db = new ImageDb(opened.root);
  const [base, child] = [imageConfig(layers.add(1), { author: 'x' }), imageConfig(layers.add(1, 2))] as const;
  await opened.root.changes.commit([db.contentStep(base.id, base.raw)]);
  await opened.root.changes.commit([
    db.metadataStep(child.id, 'parent', base.id),
    db.contentStep(child.id, child.raw),
  ]);
  for (const config of [base, child]) await layers.publish(opened.root, config.diffIds);
  return {
    ...opened,
    layers,
    db,
    base,
    child,
    file: `${opened.path}/layerstack/image-catalog.json`,
    open: () => new Catalog(opened.root, layers.store, db),
  };
}

/** Lets all changes so far be long ago. */
function settle(): void {
  vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 5000);
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe('the catalog of images', () => {
  it('reads configs and layers once, and then only changed ones', async () => {
    const { open, layers, base, child, db, root } = await testCatalog();
    const facts = [
      expect.objectContaining({ id: base.id, size: 1, parent: null }),
      expect.objectContaining({ id: child.id, size: 3, parent: base.id }),
    ];
    settle();
    expect(await open().entries()).toEqual(expect.arrayContaining(facts));
    const cold = layers.reads;
    expect(cold).toBeGreaterThan(0);
    expect(await open().entries()).toEqual(expect.arrayContaining(facts));
    expect(layers.reads).toBe(cold);

    await root.changes.commit([db.metadataStep(base.id, 'parent', child.id)]);
    const entries = await open().entries();
    expect(entries.find(({ id }) => id === base.id)?.parent).toBe(child.id);
    expect(layers.reads).toBe(cold + 1);
  });

  it('does not keep entries that changed just now, since a second change would have the same time', async () => {
    const { open, layers } = await testCatalog();
    await open().entries();
    const cold = layers.reads;
    await open().entries();
    expect(layers.reads).toBe(2 * cold);
  });

  it('notices a config that was damaged in place, even with its old modification time', async () => {
    const { open, path, base, child, warnings } = await testCatalog();
    settle();
    await open().entries();
    const content = `${path}/image/overlay2/imagedb/content/sha256/${hexOf(base.id)}`;
    const bytes = await readFile(content);
    bytes[bytes.length - 5] = 0x20;
    await writeFile(content, bytes);
    await utimes(content, 0, 0);
    expect((await open().entries()).map(({ id }) => id)).toEqual([child.id]);
    expect(warnings).toEqual(['an image is skipped']);
  });

  it('notices a missing layer, image or catalog', async () => {
    const { open, layers, root, path, base, child, file } = await testCatalog();
    settle();
    await open().entries();
    await layers.unpublish(root, topChainId(child.diffIds) as ChainID);
    expect((await open().entries()).map(({ id }) => id)).toEqual([base.id]);
    await rm(`${path}/image/overlay2/imagedb/content/sha256/${hexOf(base.id)}`);
    expect(await open().entries()).toEqual([]);
    await rm(file);
    expect(await open().entries()).toEqual([]);
  });

  it.each(['', '{"version":1,"ima', '{"version":3,"images":[]}'])(
    'starts again if it holds %j',
    async (text) => {
      const { open, file } = await testCatalog();
      await writeFile(file, text);
      expect(await open().entries()).toHaveLength(2);
      settle();
      expect(await open().entries()).toHaveLength(2);
      expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({ version: 2 });
    },
  );

  it('is not written by a read-only store', async () => {
    const { path, layers, db } = await testCatalog();
    const { root } = await testRoot({ path, readOnly: true });
    settle();
    expect(await new Catalog(root, layers.store, db).entries()).toHaveLength(2);
    await expect(readFile(`${path}/layerstack/image-catalog.json`)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
