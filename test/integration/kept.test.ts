/** Images that are kept as they were pulled, and go out as they came. */
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract } from 'tar-stream';
import { describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../../src/core/descriptor.ts';
import { digestOf, hexOf, type Digest } from '../../src/core/digest.ts';
import { Distribution } from '../../src/image/distribution.ts';
import { save } from '../../src/transfer/archive/save.ts';
import { push } from '../../src/transfer/push/push.ts';
import { parseReference } from '../../src/core/reference.ts';
import { rejection } from '../support/errors.ts';
import { imageOf, layerOf, type TestImage } from '../support/images.ts';
import { showStoreOnFailure } from '../support/store-dump.ts';
import { FakeRepository, pieces, PullStore } from '../support/pull-store.ts';
import { FakeTarget } from '../support/push-store.ts';

const small = layerOf({ 'etc/base': 'base' });
const big = layerOf({ big: randomBytes(3_000_000).toString('base64') });
const image = imageOf([small, big]);
const NAME = 'localhost:5000/t/x';

/** Compression that nothing here would choose. */
const odd = (bytes: Buffer): Buffer => gzipSync(bytes, { level: 1, memLevel: 3 });

function repositoryOf(...images: TestImage[]): FakeRepository {
  const repository = new FakeRepository();
  images.forEach((each, index) => repository.push(each, [String(index + 1)], { compress: odd }));
  return repository;
}

const kept = (target: PullStore, ...path: string[]) => join(target.store.path, 'layerstack', ...path);
const keptBlobs = (target: PullStore): string[] =>
  existsSync(kept(target, 'blobs/sha256')) ? readdirSync(kept(target, 'blobs/sha256')).sort() : [];
const layerBlobs = (repository: FakeRepository): string[] =>
  [...repository.blobs.keys()]
    .filter((blob) => blob !== image.id)
    .map(hexOf)
    .sort();

/** The members of an archive, by name. */
async function saved(target: PullStore, name = `${NAME}:1`): Promise<Map<string, Buffer>> {
  const members = new Map<string, Buffer>();
  const reader = extract();
  const done = pipeline(Readable.from(save(target.store, [name], { format: 'oci' })), reader);
  // Its error is the archive's, and comes while reading too.
  done.catch(() => undefined);
  for await (const member of reader) {
    const chunks: Buffer[] = [];
    for await (const chunk of member as AsyncIterable<Buffer>) chunks.push(chunk);
    members.set(member.header.name, Buffer.concat(chunks));
  }
  await done;
  return members;
}

interface IndexJson {
  readonly manifests: { mediaType: string; digest: Digest; size: number }[];
}
const indexOf = (members: ReadonlyMap<string, Buffer>) =>
  JSON.parse(String(members.get('index.json'))) as IndexJson;

async function pushed(target: PullStore): Promise<FakeTarget> {
  const registry = new FakeTarget('localhost:5000/t/x');
  const { root, layers, images } = target.store;
  const stores = { root, layers, images, distribution: new Distribution(root), originals: images.originals };
  await push(stores, { client: registry, credentials: undefined }, parseReference(`${NAME}:1`));
  return registry;
}

describe('kept blobs', () => {
  it('are saved and pushed as they came, with their manifest', async () => {
    await using target = await PullStore.open();
    showStoreOnFailure(target.store.path);
    const repository = repositoryOf(image);
    const { images } = await target.pull(repository, '1', { keepBlobs: true });
    const manifest = repository.manifests.get('1');
    expect(keptBlobs(target)).toEqual(layerBlobs(repository));

    const members = await saved(target);
    expect(indexOf(members).manifests).toMatchObject([
      { mediaType: MEDIA_TYPES.dockerManifest, digest: images[0]?.digest, size: manifest?.bytes.length },
    ]);
    for (const [digest, bytes] of repository.blobs)
      expect(members.get(`blobs/sha256/${hexOf(digest)}`)?.equals(bytes)).toBe(true);
    expect(members.get(`blobs/sha256/${hexOf(images[0]?.digest ?? image.id)}`)).toEqual(manifest?.bytes);

    const registry = await pushed(target);
    expect(registry.manifests.get('1')).toMatchObject({ mediaType: MEDIA_TYPES.dockerManifest });
    expect(digestOf(registry.manifests.get('1')?.bytes ?? Buffer.alloc(0))).toBe(images[0]?.digest);
    for (const [digest, bytes] of repository.blobs)
      expect(registry.blobs.get(digest)?.equals(bytes)).toBe(true);
  });

  it('are kept only on request; the manifest is always kept', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf(image);
    const { images } = await target.pull(repository, '1');
    expect(keptBlobs(target)).toEqual([]);
    const path = kept(target, 'manifests', hexOf(image.id), hexOf(images[0]?.digest ?? image.id));
    expect(readFileSync(path)).toEqual(repository.manifests.get('1')?.bytes);
    const members = await saved(target);
    expect(indexOf(members).manifests[0]?.mediaType).toBe(MEDIA_TYPES.ociManifest);
    expect(members.get(`blobs/sha256/${hexOf(big.diffId)}`)?.equals(big.tar)).toBe(true);
  });

  it('are fetched for an existing image, and only the missing ones', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf(image);
    await target.pull(repository, '1');
    repository.asked.clear();
    await target.pull(repository, '1', { keepBlobs: true });
    expect([...repository.asked.values()]).toEqual([[0], [0]]);
    expect(keptBlobs(target)).toEqual(layerBlobs(repository));
    await target.pull(repository, '1', { keepBlobs: true });
    expect([...repository.asked.values()]).toEqual([[0], [0]]);
    const [one = ''] = keptBlobs(target);
    rmSync(kept(target, 'blobs/sha256', one));
    await target.pull(repository, '1', { keepBlobs: true });
    expect([...repository.asked.values()].flat()).toHaveLength(3);
  });

  it('are kept together with an index', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf();
    const entry = repository.push(image, [], { compress: odd });
    const index = repository.manifest(
      {
        schemaVersion: 2,
        mediaType: MEDIA_TYPES.dockerIndex,
        manifests: [{ ...entry, platform: { os: 'linux', architecture: 'amd64' } }],
      },
      MEDIA_TYPES.dockerIndex,
      '1',
    );
    await target.pull(repository, '1', { keepBlobs: true, platform: 'linux/amd64' });
    expect(readdirSync(kept(target, 'manifests', hexOf(image.id))).sort()).toEqual(
      [hexOf(index.digest), hexOf(entry.digest)].sort(),
    );
    expect(indexOf(await saved(target)).manifests[0]?.digest).toBe(entry.digest);
  });

  it('are removed with their image, except for those of another image', async () => {
    await using target = await PullStore.open();
    const other = imageOf([small]);
    const repository = repositoryOf(image, other);
    await target.pull(repository, '1', { keepBlobs: true });
    await target.pull(repository, '2', { keepBlobs: true });
    const users = () => Promise.resolve([]);
    await target.store.images.remove(image.id, users, { force: true });
    expect(readdirSync(kept(target, 'manifests'))).toEqual([hexOf(other.id)]);
    expect(keptBlobs(target)).toEqual([hexOf(digestOf(odd(small.tar)))]);
    await target.store.images.prune(users, { all: true });
    expect(readdirSync(kept(target, 'manifests'))).toEqual([]);
    expect(keptBlobs(target)).toEqual([]);
  });

  it('of images that another program removed, and of failed pulls, are removed by prune', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf(image);
    await target.pull(repository, '1', { keepBlobs: true });
    rmSync(join(target.store.path, 'image/overlay2/imagedb/content/sha256', hexOf(image.id)));
    writeFileSync(kept(target, 'blobs/sha256/.tmp-0-0'), 'left by a crash');
    await target.store.images.prune(() => Promise.resolve([]));
    expect(readdirSync(kept(target, 'manifests'))).toEqual([]);
    expect(keptBlobs(target)).toEqual([]);
  });

  it('stay while a pull archives more', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf(image);
    await target.pull(repository, '1', { keepBlobs: true });
    const { images } = target.store;
    const lease = await images.originals.lease();
    await images.remove(image.id, () => Promise.resolve([]), { force: true });
    expect(keptBlobs(target)).toHaveLength(2);
    lease.commit();
    await lease[Symbol.asyncDispose]();
    await images.prune(() => Promise.resolve([]));
    expect(keptBlobs(target)).toEqual([]);
  });

  it('may be deleted at any time, which costs only speed', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf(image);
    await target.pull(repository, '1', { keepBlobs: true });
    rmSync(kept(target, 'blobs'), { recursive: true });
    expect((await saved(target)).get(`blobs/sha256/${hexOf(big.diffId)}`)?.equals(big.tar)).toBe(true);
    rmSync(kept(target), { recursive: true });
    expect((await saved(target)).get(`blobs/sha256/${hexOf(big.diffId)}`)?.equals(big.tar)).toBe(true);
    await target.pull(repository, '1', { keepBlobs: true });
    expect(keptBlobs(target)).toEqual(layerBlobs(repository));
  });

  it.each([
    [
      'changed',
      (bytes: Buffer) => Buffer.concat([bytes.subarray(0, -9), Buffer.from('x'), bytes.subarray(-8)]),
    ],
    ['emptied to zeros', (bytes: Buffer) => Buffer.alloc(bytes.length)],
  ])('%s on disk are noticed, named and removed; the next save works without them', async (_, damage) => {
    await using target = await PullStore.open();
    const repository = repositoryOf(image);
    await target.pull(repository, '1', { keepBlobs: true });
    const digest = digestOf(odd(big.tar));
    const path = kept(target, 'blobs/sha256', hexOf(digest));
    writeFileSync(path, damage(readFileSync(path)));
    const error = await rejection(saved(target));
    expect(error).toMatchObject({ code: 'ERR_STORE_CORRUPT', digest, path });
    expect(existsSync(path)).toBe(false);
    expect((await saved(target)).get(`blobs/sha256/${hexOf(big.diffId)}`)?.equals(big.tar)).toBe(true);

    writeFileSync(path, damage(odd(big.tar)));
    expect((await rejection(pushed(target))).code).toBe('ERR_STORE_CORRUPT');
    const registry = await pushed(target);
    expect(registry.manifests.get('1')).toBeDefined();
    expect(registry.blobs.has(digest)).toBe(false);
  });

  it('appear with the image in one change', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf(image);
    const { root, images } = target.store;
    const { changes } = root;
    const commit = changes.commit.bind(changes);
    const state = async () => [
      (await images.references()).has(image.id),
      (await images.originals.find(image.id)) !== undefined,
    ];
    const seen: unknown[] = [];
    changes.commit = async () => {
      seen.push(await state());
      throw new Error('killed');
    };
    await expect(target.pull(repository, '1', { keepBlobs: true })).rejects.toThrow('killed');
    expect(await state()).toEqual([false, false]);
    expect(keptBlobs(target)).toEqual([]);
    changes.commit = async (steps) => {
      seen.push(await state());
      await commit(steps);
      seen.push(await state());
    };
    await target.pull(repository, '1', { keepBlobs: true });
    expect(seen).toEqual([
      [false, false],
      [false, false],
      [true, true],
    ]);
  });

  it('are visible as soon as that change is decided, wherever its writer was killed', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf(image);
    await target.pull(repository, '1', { keepBlobs: true });
    const { originals } = target.store.images;
    const manifest = repository.manifests.get('1')?.bytes ?? Buffer.alloc(0);
    const [id, document] = [hexOf(image.id), hexOf(digestOf(manifest))];
    const path = kept(target, 'manifests', id, document);
    // As a change leaves it that was killed before its first file was in its place.
    const pending = kept(target, 'changes/pending');
    const { size, mtimeNs } = statSync(join(target.store.path, 'volumes/metadata.db'), { bigint: true });
    mkdirSync(pending, { recursive: true });
    writeFileSync(join(pending, `dockerd:${String(size)}.${String(mtimeNs)}`), '');
    renameSync(path, join(pending, `write:0:layerstack:manifests:${id}:${document}`));
    rmSync(kept(target, 'manifests'), { recursive: true });

    expect((await originals.find(image.id))?.manifest.bytes).toEqual(manifest);
    expect(await originals.collect()).toBe(true);
    expect(keptBlobs(target)).toEqual(layerBlobs(repository));
    await target.store.root.changes.complete();
    expect(readFileSync(path)).toEqual(manifest);
    expect((await originals.find(image.id))?.manifest.bytes).toEqual(manifest);
  });

  it('replace a planted entry in the place of the manifest', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf(image);
    const manifest = repository.manifests.get('1')?.bytes ?? Buffer.alloc(0);
    const path = kept(target, 'manifests', hexOf(image.id), hexOf(digestOf(manifest)));
    mkdirSync(join(path, 'planted'), { recursive: true });
    await target.pull(repository, '1', { keepBlobs: true });
    expect(readFileSync(path)).toEqual(manifest);
  });

  it('are written once: pulling the same again leaves them as they are, and heals them', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf(image);
    await target.pull(repository, '1', { keepBlobs: true });
    const manifest = repository.manifests.get('1')?.bytes ?? Buffer.alloc(0);
    const path = kept(target, 'manifests', hexOf(image.id), hexOf(digestOf(manifest)));
    const before = statSync(path).ino;
    await target.pull(repository, '1', { keepBlobs: true });
    expect(statSync(path).ino).toBe(before);
    writeFileSync(path, 'damaged');
    await target.pull(repository, '1', { keepBlobs: true });
    expect(readFileSync(path)).toEqual(manifest);
  });

  it('of a manifest that names another blob for an existing layer are refused', async () => {
    await using target = await PullStore.open();
    await target.pull(repositoryOf(image), '1');
    const evil = new FakeRepository('localhost:5000/evil/x');
    const other = evil.blob(odd(layerOf({ evil: 'evil' }).tar), MEDIA_TYPES.dockerLayerGzip);
    evil.push(image, ['1'], {
      change: (document) => ({ ...document, layers: [other, ...(document['layers'] as object[]).slice(1)] }),
    });
    const error = await rejection(target.pull(evil, '1', { keepBlobs: true }));
    expect(error).toMatchObject({
      code: 'ERR_DIGEST_MISMATCH',
      digest: other.digest,
      expected: small.diffId,
    });
    expect(await target.store.images.originals.find(image.id)).toBeUndefined();
  });

  it('of existing layers come from the registry if a mirror has wrong ones', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf(image);
    await target.pull(repository, '1');
    const before = repository.asked.get(digestOf(odd(big.tar)))?.length ?? 0;
    repository.serve = (_, bytes, asked) =>
      asked === before ? { body: pieces(Buffer.alloc(bytes.length)), distrust: () => true } : undefined;
    await target.pull(repository, '1', { keepBlobs: true });
    expect(keptBlobs(target)).toEqual(layerBlobs(repository));
  });

  it('of an image that was loaded are verified to be its layers', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf(image);
    await target.pull(repository, '1');
    rmSync(join(target.store.path, 'image/overlay2/distribution'), { recursive: true });
    await target.pull(repository, '1', { keepBlobs: true });
    expect(await target.store.images.originals.find(image.id)).toBeDefined();
  });

  it('of another size count as missing', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf(image);
    await target.pull(repository, '1', { keepBlobs: true });
    writeFileSync(kept(target, 'blobs/sha256', hexOf(digestOf(odd(big.tar)))), 'short');
    expect((await saved(target)).has(`blobs/sha256/${hexOf(big.diffId)}`)).toBe(true);
  });

  it('that are wrong are not kept, and the store is unchanged', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf(image);
    const digest = digestOf(odd(big.tar));
    repository.blobs.set(digest, Buffer.alloc(odd(big.tar).length, 1));
    expect(['ERR_DIGEST_MISMATCH', 'ERR_LAYER_INVALID']).toContain(
      (await rejection(target.pull(repository, '1', { keepBlobs: true }))).code,
    );
    expect(keptBlobs(target).filter((name) => name === hexOf(digest) || name.startsWith('.tmp'))).toEqual([]);
    expect(await target.store.images.references()).toEqual(new Map());

    const whole = repositoryOf(image);
    await target.pull(whole, '1');
    whole.blobs.set(digest, Buffer.alloc(odd(big.tar).length, 1));
    const error = await rejection(target.pull(whole, '1', { keepBlobs: true }));
    expect(error).toMatchObject({ code: 'ERR_DIGEST_MISMATCH', digest });
    expect(keptBlobs(target).filter((name) => name.startsWith('.tmp') || name === hexOf(digest))).toEqual([]);
  });
});
