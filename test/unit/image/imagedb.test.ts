import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { digestOf, hexOf, type ImageID } from '../../../src/core/digest.ts';
import { ImageDb } from '../../../src/image/imagedb.ts';
import { Repositories } from '../../../src/image/repositories.ts';
import { testRoot } from './support.ts';

const RAW = Buffer.from('{"any":"bytes"}');
const ID = digestOf(RAW) as ImageID;
const PARENT = digestOf('parent') as ImageID;
const mode = async (path: string): Promise<number> => (await stat(path)).mode & 0o7777;

describe('the image database', () => {
  it('keeps content verbatim, as dockerd lays it out', async () => {
    const { root, path } = await testRoot();
    const db = new ImageDb(root);
    await root.changes.commit([db.metadataStep(ID, 'parent', PARENT), db.contentStep(ID, RAW)]);
    const content = `${path}/image/overlay2/imagedb/content/sha256/${hexOf(ID)}`;
    const metadata = `${path}/image/overlay2/imagedb/metadata/sha256/${hexOf(ID)}`;
    expect(await readFile(content)).toEqual(RAW);
    expect(await readFile(`${metadata}/parent`, 'utf8')).toBe(PARENT);
    expect([await mode(content), await mode(metadata), await mode(`${metadata}/parent`)]).toEqual([
      0o600, 0o700, 0o600,
    ]);
    expect(await db.read(ID)).toEqual(RAW);
    expect(db.readSync(ID)).toEqual(RAW);
    expect(await db.parent(ID)).toBe(PARENT);
  });

  it('has modes that the umask does not change', async () => {
    const { root, path } = await testRoot();
    const umask = process.umask(0o777);
    try {
      await root.changes.commit([new ImageDb(root).contentStep(ID, RAW)]);
    } finally {
      process.umask(umask);
    }
    expect(await mode(`${path}/image/overlay2/imagedb/content/sha256/${hexOf(ID)}`)).toBe(0o600);
  });

  it('makes no metadata directory for an image without metadata, and leaves no temporary files', async () => {
    const { root, path } = await testRoot();
    await root.changes.commit([new ImageDb(root).contentStep(ID, RAW)]);
    expect(await readdir(`${path}/image/overlay2/imagedb/metadata/sha256`)).toEqual([]);
    expect(await readdir(`${path}/image/overlay2/imagedb/content/sha256`)).toEqual([hexOf(ID)]);
  });

  it('finds a changed byte at every read, and is healed by writing again', async () => {
    const { root, path } = await testRoot();
    const db = new ImageDb(root);
    await root.changes.commit([db.contentStep(ID, RAW)]);
    const file = `${path}/image/overlay2/imagedb/content/sha256/${hexOf(ID)}`;
    await writeFile(file, '{"any":"Bytes"}');
    const corrupt = expect.objectContaining({
      code: 'ERR_STORE_CORRUPT',
      kind: 'data-loss',
      path: file,
      expected: ID,
    });
    await expect(db.read(ID)).rejects.toEqual(corrupt);
    expect(() => db.readSync(ID)).toThrow(corrupt as Error);
    await root.changes.commit([db.contentStep(ID, RAW)]);
    expect(await db.read(ID)).toEqual(RAW);
  });

  it('of a missing image and of a missing store is empty', async () => {
    const { root } = await testRoot();
    const { root: nowhere } = await testRoot();
    Object.assign(nowhere.layout, { imageContents: 'no/where', imageMetadatas: 'no/where' });
    for (const db of [new ImageDb(root), new ImageDb(nowhere)]) {
      expect(await db.ids()).toEqual([]);
      expect(await db.built()).toEqual([]);
      expect(await db.read(ID)).toBeUndefined();
      expect(db.readSync(ID)).toBeUndefined();
      expect(await db.parent(ID)).toBeUndefined();
      expect(await db.metadata(ID, 'lastUpdated')).toBeUndefined();
    }
  });

  it('skips names that are not ids, and parents that are not ids', async () => {
    const { root, path } = await testRoot();
    const db = new ImageDb(root);
    await root.changes.commit([db.contentStep(ID, RAW)]);
    await root.changes.commit([db.metadataStep(ID, 'parent', 'x')]);
    for (const name of ['.tmp-abc', 'ABC', hexOf(ID).toUpperCase(), `${hexOf(ID)}0`]) {
      await writeFile(`${path}/image/overlay2/imagedb/content/sha256/${name}`, '');
    }
    expect(await db.ids()).toEqual([ID]);
    expect(await db.parent(ID)).toBeUndefined();
  });

  it('refuses to write where the store is open read-only', async () => {
    const { root } = await testRoot({ readOnly: true });
    const db = new ImageDb(root);
    for (const steps of [[db.contentStep(ID, RAW)], [db.metadataStep(ID, 'parent', PARENT)]])
      await expect(
        new Repositories(root).change((_, { afterNames }) => afterNames.push(...steps)),
      ).rejects.toMatchObject({ code: 'ERR_STORE_READ_ONLY' });
    expect(await db.ids()).toEqual([]);
  });
});
