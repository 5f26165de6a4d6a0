/** Where layers come from, as dockerd keeps it (docs/store-layout.md). */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { digestOf, type DiffID } from '../../src/core/digest.ts';
import { Distribution, sourceHmac } from '../../src/image/distribution.ts';
import { LoadStore } from '../support/load-store.ts';

const diffId = digestOf('layer') as DiffID;
const source = (text: string, repository = 'docker.io/library/x') => ({
  ...{ digest: digestOf(text), repository, hmac: '' },
});

describe('distribution', () => {
  it('records blobs and their layers, the latest last, at most fifty', async () => {
    await using store = await LoadStore.open();
    const distribution = new Distribution(store.root);
    expect(await distribution.diffId(digestOf('a'))).toBeUndefined();
    expect(await distribution.sources(diffId)).toEqual([]);
    await distribution.add([
      { diffId, source: source('a') },
      { diffId, source: source('b') },
    ]);
    await distribution.add([{ diffId, source: source('a') }]);
    expect(await distribution.sources(diffId)).toEqual([source('b'), source('a')]);
    expect(await distribution.diffId(digestOf('b'))).toBe(diffId);
    for (let number = 0; number < 60; number++)
      await distribution.add([{ diffId, source: source('a', `localhost:5000/${String(number)}`) }]);
    const sources = await distribution.sources(diffId);
    expect([sources.length, sources.at(-1)?.repository]).toEqual([50, 'localhost:5000/59']);
    expect((await readdir(`${store.path}/${store.root.layout.sourcesByDiffId}`)).length).toBe(1);
  });

  it('keeps the entries of several concurrent writers', async () => {
    await using store = await LoadStore.open();
    const writers = Array.from({ length: 8 }, (_, number) =>
      new Distribution(store.root).add([{ diffId, source: source(String(number)) }]),
    );
    await Promise.all(writers);
    expect(await new Distribution(store.root).sources(diffId)).toHaveLength(8);
  });

  it('treats a damaged file as missing', async () => {
    await using store = await LoadStore.open();
    const { layout } = store.root;
    for (const directory of [layout.sourcesByDiffId, layout.diffIdsByDigest])
      await mkdir(layout.at(directory), { recursive: true });
    await writeFile(layout.at(layout.sourcesOf(diffId)), '[{"Digest":');
    await writeFile(layout.at(layout.diffIdByDigest(digestOf('a'))), '');
    const distribution = new Distribution(store.root);
    expect([await distribution.sources(diffId), await distribution.diffId(digestOf('a'))]).toEqual([
      [],
      undefined,
    ]);
    await distribution.add([{ diffId, source: source('a') }]);
    expect(await distribution.sources(diffId)).toEqual([source('a')]);
  });
});

it("signs a push as docker does: the key is the text of the credentials' digest", () => {
  const blob = 'sha256:8278ca83f290bfc70eae8c62323d8df41a3159516667b6ed067c8923f37a6c94' as never;
  // As dockerd 20.10 wrote it for a push without credentials.
  expect(sourceHmac(blob, 'localhost:41707/t/a')).toBe(
    'b1db9469b2666ae0c839a1c4421424313b5a4fb1d7e3c1dd257d302497aadd1e',
  );
  expect(sourceHmac(blob, 'localhost:41707/t/a', { username: 'u', password: '' })).toBe(
    sourceHmac(blob, 'localhost:41707/t/a', { username: 'u' }),
  );
  expect(sourceHmac(blob, 'localhost:41707/t/a', { username: 'u' })).not.toBe(
    sourceHmac(blob, 'localhost:41707/t/a'),
  );
});
