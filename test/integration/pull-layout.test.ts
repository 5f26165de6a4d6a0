/** Images of all platforms into an OCI layout, without a store. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { MEDIA_TYPES } from '../../src/core/descriptor.ts';
import { digestOf, hexOf, type Digest } from '../../src/core/digest.ts';
import { LayerstackError } from '../../src/core/errors.ts';
import type { ProgressEvent } from '../../src/core/progress.ts';
import { parseReference } from '../../src/core/reference.ts';
import { holdFlock } from '../../src/system/lock.ts';
import { pullLayout, type PullLayoutOptions } from '../../src/transfer/pull/layout.ts';
import { rejection } from '../support/errors.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { FakeRepository, pieces, type DescriptorJson } from '../support/pull-store.ts';

const NAME = 'localhost:5000/t/x';
const shared = layerOf({ shared: randomBytes(1_500_000).toString('base64') });
const amd64 = imageOf([shared, layerOf({ a: 'amd64' })]);
const arm64 = imageOf([shared, layerOf({ a: 'arm64' })], {
  platform: { os: 'linux', architecture: 'arm64' },
});

/** An index of two platforms under the tag `1`, each image alone under `amd64` and `arm64`. */
function multi(): { repository: FakeRepository; index: DescriptorJson; entries: DescriptorJson[] } {
  const repository = new FakeRepository();
  const entries = [amd64, arm64].map((image) => {
    const { architecture } = image.platform;
    return { ...repository.push(image, [architecture]), platform: { os: 'linux', architecture } };
  });
  const document = { schemaVersion: 2, mediaType: MEDIA_TYPES.dockerIndex, manifests: entries };
  return { repository, entries, index: repository.manifest(document, MEDIA_TYPES.dockerIndex, '1') };
}

function scratch(): string {
  const directory = makeScratch('layout');
  onTestFinished(() => dropScratch(directory));
  return join(directory, 'layout');
}

const run = (repository: FakeRepository, directory: string, tag = '1', options: PullLayoutOptions = {}) =>
  pullLayout(repository, parseReference(`${NAME}${tag.includes(':') ? '@' : ':'}${tag}`), directory, options);

const blobs = (directory: string): string[] => readdirSync(join(directory, 'blobs/sha256')).sort();
const indexOf = (directory: string) =>
  JSON.parse(readFileSync(join(directory, 'index.json'), 'utf8')) as {
    manifests: { digest: Digest; annotations?: Record<string, string> }[];
  };

describe('pull into a layout', () => {
  it('fetches the index, the manifests and all blobs, each once and byte for byte', async () => {
    const { repository, index } = multi();
    const directory = scratch();
    const result = await run(repository, directory);
    expect(result).toMatchObject({
      ...{ reference: `${NAME}:1`, digest: index.digest, mediaType: MEDIA_TYPES.dockerIndex, manifests: 2 },
      ...{ blobs: repository.blobs.size, foreign: [] },
      fetchedBytes: [...repository.blobs.values()].reduce((sum, bytes) => sum + bytes.length, 0),
    });
    const documents = [...repository.manifests.values()].map(({ bytes }) => bytes);
    const all = new Map(
      [...repository.blobs.values(), ...documents].map((bytes) => [hexOf(digestOf(bytes)), bytes]),
    );
    expect(blobs(directory)).toEqual([...all.keys()].sort());
    for (const [hex, bytes] of all)
      expect(readFileSync(join(directory, 'blobs/sha256', hex)).equals(bytes)).toBe(true);
    expect(readFileSync(join(directory, 'oci-layout'), 'utf8')).toBe('{"imageLayoutVersion":"1.0.0"}');
    expect(indexOf(directory)).toEqual({
      schemaVersion: 2,
      manifests: [
        {
          ...index,
          annotations: {
            'io.containerd.image.name': `${NAME}:1`,
            'org.opencontainers.image.ref.name': '1',
          },
        },
      ],
    });
    expect(readdirSync(directory).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
    expect([...repository.asked.values()].every((asked) => asked.length === 1)).toBe(true);
  });

  it('a second time fetches no blob, heals a damaged one, and keeps other images', async () => {
    const { repository, entries } = multi();
    const directory = scratch();
    await run(repository, directory);
    repository.asked.clear();
    expect((await run(repository, directory)).fetchedBytes).toBe(0);
    expect(repository.asked.size).toBe(0);
    const [damaged] = repository.blobs.keys();
    if (!damaged) throw new Error('no blob');
    const path = join(directory, 'blobs/sha256', hexOf(damaged));
    const size = readFileSync(path).length;
    writeFileSync(path, Buffer.alloc(size, 7));
    await run(repository, directory);
    expect([...repository.asked.keys()]).toEqual([damaged]);
    expect(digestOf(readFileSync(path))).toBe(damaged);

    await run(repository, directory, 'arm64');
    await run(repository, directory, entries[0]?.digest);
    const tags = indexOf(directory).manifests.map(
      ({ annotations }) => annotations?.['org.opencontainers.image.ref.name'],
    );
    expect(tags).toEqual(['1', 'arm64', undefined]);
    await run(repository, directory, entries[0]?.digest);
    await run(repository, directory, 'arm64');
    expect(indexOf(directory).manifests).toHaveLength(3);
  });

  it('continues an earlier pull, before whose end the image is not visible', async () => {
    const { repository } = multi();
    const directory = scratch();
    const cut = (at: number) => (offset: number, bytes: Buffer) =>
      bytes.length > 1_000_000 && offset < at
        ? { body: pieces(bytes.subarray(offset, at), gone) }
        : undefined;
    const gone = new LayerstackError('ERR_REGISTRY_UNAVAILABLE', 'the registry is gone');
    repository.serve = cut(700_000);
    expect((await rejection(run(repository, directory))).code).toBe('ERR_REGISTRY_UNAVAILABLE');
    expect(existsSync(join(directory, 'index.json'))).toBe(false);
    const left = readdirSync(join(directory, '.layerstack-partial'));
    const sizes = left.map((name) => readFileSync(join(directory, '.layerstack-partial', name)).length);
    expect(sizes).toContain(700_000);
    expect(sizes).not.toContain(0);
    repository.serve = () => undefined;
    repository.asked.clear();
    await run(repository, directory);
    expect([...repository.asked.values()].flat()).toContain(700_000);
    expect(existsSync(join(directory, '.layerstack-partial'))).toBe(false);
    for (const hex of blobs(directory))
      expect(hexOf(digestOf(readFileSync(join(directory, 'blobs/sha256', hex))))).toBe(hex);
  });

  it('fetches a wrong or too long part again', async () => {
    for (const part of [Buffer.alloc(100, 1), Buffer.alloc(9_000_000)]) {
      const { repository } = multi();
      const directory = scratch();
      const [big] = [...repository.blobs].find(([, bytes]) => bytes.length > 1_000_000) ?? [];
      if (!big) throw new Error('no blob');
      mkdirSync(join(directory, '.layerstack-partial'), { recursive: true });
      writeFileSync(join(directory, '.layerstack-partial', hexOf(big)), part);
      await run(repository, directory);
      expect(digestOf(readFileSync(join(directory, 'blobs/sha256', hexOf(big))))).toBe(big);
    }
  });

  it('refuses a wrong blob by name, and the image is not visible', async () => {
    const { repository } = multi();
    const directory = scratch();
    const [digest, bytes] = [...repository.blobs][1] ?? [];
    if (!digest || !bytes) throw new Error('no blob');
    repository.serve = (offset, whole) =>
      whole === bytes ? { body: pieces(Buffer.alloc(bytes.length - offset)) } : undefined;
    expect(await rejection(run(repository, directory))).toMatchObject({
      code: 'ERR_DIGEST_MISMATCH',
      digest,
    });
    expect(existsSync(join(directory, 'index.json'))).toBe(false);
    expect(existsSync(join(directory, 'blobs/sha256', hexOf(digest)))).toBe(false);
  });

  it('leaves out foreign layers, and reports them', async () => {
    const repository = new FakeRepository();
    const foreign = `sha256:${'1'.repeat(64)}`;
    const entry = {
      mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
      digest: foreign,
      size: 9,
      urls: ['https://x/'],
    };
    repository.push(amd64, ['1'], {
      change: (document) => ({ ...document, layers: [entry, ...(document['layers'] as object[])] }),
    });
    const directory = scratch();
    expect((await run(repository, directory)).foreign).toEqual([foreign]);
  });

  it.each([
    [
      'a file in the way',
      (directory: string) => writeFileSync(directory, 'x'),
      /is not a directory: name an OCI layout or a new directory/,
    ],
    [
      'another directory',
      (directory: string) => {
        mkdirSync(directory);
        writeFileSync(join(directory, 'precious'), '');
      },
      /is not empty and not an OCI layout/,
    ],
    [
      'an index that is none',
      (directory: string) => {
        mkdirSync(directory);
        writeFileSync(join(directory, 'oci-layout'), '{}');
        writeFileSync(join(directory, 'index.json'), '[]');
      },
      /index\.json: the document is an array, not an object/,
    ],
  ])('refuses %s, and fetches nothing', async (_, prepare, message) => {
    const { repository } = multi();
    const directory = scratch();
    prepare(directory);
    await expect(run(repository, directory)).rejects.toThrow(message);
    expect(repository.asked.size).toBe(0);
  });

  it('refuses the second of two concurrent pulls', async () => {
    const { repository } = multi();
    const directory = scratch();
    mkdirSync(directory);
    const lock = await holdFlock(directory, true);
    expect((await rejection(run(repository, directory))).code).toBe('ERR_STORE_LOCKED');
    await lock?.release();
    await run(repository, directory);
  });

  it('does not complete a blob from two mirrors with wrong bytes', async () => {
    const { repository } = multi();
    const directory = scratch();
    const wrong = 2;
    repository.serve = (offset, bytes, asked) =>
      asked < wrong
        ? { body: pieces(Buffer.alloc(bytes.length).subarray(offset)), distrust: () => true }
        : undefined;
    await run(repository, directory);
    for (const hex of blobs(directory))
      expect(hexOf(digestOf(readFileSync(join(directory, 'blobs/sha256', hex))))).toBe(hex);
  });

  it('fetches a manifest once that an index names a thousand times', async () => {
    const { repository, entries } = multi();
    const manifests = Array.from({ length: 1000 }, () => entries[0]);
    const document = { schemaVersion: 2, mediaType: MEDIA_TYPES.dockerIndex, manifests };
    repository.manifest(document, MEDIA_TYPES.dockerIndex, 'many');
    const fetch = vi.spyOn(repository, 'fetchManifest');
    expect((await run(repository, scratch(), 'many')).manifests).toBe(1);
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  it('bounds the memory of the documents', async () => {
    const repository = new FakeRepository();
    const entries = Array.from({ length: 20 }, (_, index) =>
      repository.push(amd64, [`m${String(index)}`], {
        change: (document) => ({
          ...document,
          annotations: { index: `${'x'.repeat(3.9e6)}${String(index)}` },
        }),
      }),
    );
    const document = { schemaVersion: 2, mediaType: MEDIA_TYPES.dockerIndex, manifests: entries };
    repository.manifest(document, MEDIA_TYPES.dockerIndex, 'large');
    expect((await rejection(run(repository, scratch(), 'large'))).message).toMatch(/bytes together/);
  });

  it('bounds bytes and nesting', async () => {
    const { repository, index } = multi();
    const directory = scratch();
    expect((await rejection(run(repository, directory, '1', { maxBytes: 1000 }))).code).toBe(
      'ERR_LIMIT_EXCEEDED',
    );
    let inner: DescriptorJson = index;
    for (let i = 0; i < 6; i++) {
      const document = {
        schemaVersion: 2,
        mediaType: MEDIA_TYPES.dockerIndex,
        manifests: [inner],
        annotations: { i: String(i) },
      };
      inner = repository.manifest(document, MEDIA_TYPES.dockerIndex, 'deep');
    }
    expect((await rejection(run(repository, directory, 'deep'))).code).toBe('ERR_LIMIT_EXCEEDED');
    expect(existsSync(join(directory, 'index.json'))).toBe(false);
  });

  it('stops with the signal', async () => {
    const { repository } = multi();
    const directory = scratch();
    const abort = new AbortController();
    const events: ProgressEvent[] = [];
    const onProgress = (event: ProgressEvent): void => {
      events.push(event);
      if (event.type === 'layer-progress') abort.abort();
    };
    const error = await rejection(run(repository, directory, '1', { signal: abort.signal, onProgress }));
    expect(error.code).toBe('ERR_ABORTED');
    expect(existsSync(join(directory, 'index.json'))).toBe(false);
  });
});
