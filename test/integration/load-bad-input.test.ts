/** Archives that must be refused: one clear error that names the archive, and a store as it was. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hexOf } from '../../src/core/digest.ts';
import { LayerstackError, type ErrorCode } from '../../src/core/errors.ts';
import type { LoadOptions } from '../../src/transfer/archive/load.ts';
import type { ArchiveSource } from '../../src/transfer/archive/source.ts';
import { docker25Archive, dockerArchive, ociArchive, v1Archive } from '../support/archives.ts';
import { imageOf, layerFrom, layerOf } from '../support/images.ts';
import { dumpStore, storeChanges } from '../support/store-dump.ts';
import { tar, type TarItem, type TarMember } from '../support/tar.ts';
import type { Tree } from '../support/tree.ts';
import { ALL_WAYS, chunksOf, LoadStore, WAYS, type Way } from '../support/load-store.ts';

const base = layerOf({ base: 'base'.repeat(1000) });
const top = layerOf({ top: 'top' });
const image = imageOf([base, top], { tags: ['bad:1'] });
/** One for each reader: a file's ranges, a stream, a folder. */
const READERS = ['file', 'chunks', 'folder'] as const satisfies readonly Way[];

let store: LoadStore;
let before: Tree;

beforeEach(async () => {
  store = await LoadStore.open();
  await store.load(
    await WAYS.file(store, dockerArchive([imageOf([layerOf({ kept: 'kept' })], { tags: ['kept:1'] })])),
  );
  before = await dumpStore(store.path);
});
afterEach(() => store.close());

/** The load fails so, and changes nothing. */
async function refused(
  source: ArchiveSource,
  code: ErrorCode,
  message: RegExp,
  options: LoadOptions = {},
): Promise<LayerstackError> {
  const error: unknown = await store.load(source, options).then(
    () => new Error('was loaded'),
    (reason: unknown) => reason,
  );
  if (!LayerstackError.is(error)) throw error;
  expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
  if (typeof source === 'string' && code !== 'ERR_ABORTED') expect(error.message).toContain(source);
  await store.expectClean();
  expect(await storeChanges(store.path, before)).toEqual([]);
  return error;
}

/** The items with one changed by its name; throws where there is none. */
function change(
  items: readonly TarItem[],
  name: string | RegExp,
  edit: (member: TarMember) => TarItem,
): TarItem[] {
  let found = false;
  const changed = items.map((item) => {
    if (!('name' in item) || 'global' in item) return item;
    const fits = typeof name === 'string' ? item.name === name : name.test(String(item.name));
    if (!fits) return item;
    found = true;
    return edit(item as TarMember);
  });
  if (!found) throw new Error(`no member ${String(name)}`);
  return changed;
}

function drop(items: readonly TarItem[], name: RegExp): TarItem[] {
  return items.filter((item) => !('name' in item && name.test(String(item.name))));
}

function flip(content: TarMember['content'], at: number): Buffer {
  const bytes = Buffer.from(content ?? '');
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes;
}

function contentOf(item: TarItem | undefined): string | Uint8Array {
  return item !== undefined && 'content' in item ? (item.content ?? '') : '';
}

function withManifest(edit: (item: Record<string, unknown>) => unknown): TarItem[] {
  return change(dockerArchive([image]), 'manifest.json', (member) => ({
    ...member,
    content: JSON.stringify((JSON.parse(String(member.content)) as Record<string, unknown>[]).map(edit)),
  }));
}

describe('wrong content', () => {
  it.each(ALL_WAYS)('a flipped byte in a layer of a docker-archive (%s)', async (way) => {
    const items = change(dockerArchive([image]), /layer\.tar$/, (member) =>
      'linkname' in member ? member : { ...member, content: flip(member.content, 600) },
    );
    const error = await refused(await WAYS[way](store, items), 'ERR_DIGEST_MISMATCH', /layer .*layer\.tar/);
    expect(error.layer).toMatch(/layer\.tar$/);
  });

  it.each(READERS)('a flipped byte anywhere in the blobs of an OCI archive (%s)', async (way) => {
    const oci = ociArchive([image]);
    for (const items of [oci, docker25Archive([image])]) {
      const used = items.filter(
        (item): item is TarMember => 'name' in item && /blobs\/sha256\/./.test(String(item.name)),
      );
      for (const { name, content = '' } of used) {
        // The image's OCI manifest is beside the point where manifest.json is read.
        const beside = /nothing names|"schemaVersion"/.test(String(content));
        if (items !== oci && beside) continue;
        const broken = change(items, String(name), (member) => ({
          ...member,
          content: flip(member.content, Math.floor(member.content?.length ?? 0) - 10),
        }));
        const source = await WAYS[way](store, broken);
        const error = await store.load(source).catch((reason: unknown) => reason as LayerstackError);
        expect(error).toBeInstanceOf(LayerstackError);
        expect(['ERR_DIGEST_MISMATCH', 'ERR_LAYER_INVALID', 'ERR_LAYER_TRUNCATED']).toContain(
          (error as LayerstackError).code,
        );
        expect((error as LayerstackError).message).toContain(String(name));
      }
    }
    await store.expectClean();
    expect(await storeChanges(store.path, before)).toEqual([]);
  });

  it('a config that is not what its name says', async () => {
    const items = change(dockerArchive([image]), `${hexOf(image.id)}.json`, (member) => ({
      ...member,
      content: String(member.content).replace('amd64', 'arm64'),
    }));
    for (const way of READERS)
      await refused(await WAYS[way](store, items), 'ERR_DIGEST_MISMATCH', /not the one in its name/);
  });

  it('a config that is not JSON, or no config', async () => {
    for (const [content, message] of [
      ['not JSON at all', /not JSON/],
      ['{"rootfs":', /not JSON/],
      ['', /not JSON/],
      ['{}', /rootfs/],
      ['{"os":"windows","rootfs":{"type":"layers","diff_ids":[]}}', /windows/],
    ] as const)
      for (const way of READERS) {
        const items = [
          { name: 'config', content },
          {
            name: 'manifest.json',
            content: JSON.stringify([{ Config: 'config', RepoTags: null, Layers: [] }]),
          },
        ];
        await refused(await WAYS[way](store, items), 'ERR_CONFIG_INVALID', message);
      }
  });

  it('another number of layers than DiffIDs', async () => {
    const items = withManifest((item) => ({ ...item, Layers: (item['Layers'] as string[]).slice(1) }));
    for (const way of READERS)
      await refused(await WAYS[way](store, items), 'ERR_LAYER_COUNT', /1 layers.*has 2/);
  });

  it('a layer that is no tar', async () => {
    const notTar = [
      { bytes: Buffer.from('no tar'), codes: ['ERR_LAYER_TRUNCATED', 'ERR_LAYER_INVALID'] },
      { bytes: Buffer.alloc(2000, 'x'), codes: ['ERR_LAYER_INVALID'] },
      { bytes: gzipSync('no tar'), codes: ['ERR_LAYER_TRUNCATED'] },
      { bytes: Buffer.concat([gzipSync(base.tar), Buffer.from('more')]), codes: ['ERR_LAYER_INVALID'] },
    ];
    for (const { bytes, codes } of notTar)
      for (const way of READERS) {
        const source = await WAYS[way](store, dockerArchive([imageOf([layerFrom(bytes)])]));
        const error = await store.load(source).catch((reason: unknown) => reason as LayerstackError);
        expect(codes).toContain((error as LayerstackError).code);
        expect((error as LayerstackError).message).toMatch(/layer.*layer\.tar/);
        await store.expectClean();
      }
  });

  it('a layer by xz says what to do', async () => {
    const items = dockerArchive([image], { compress: () => Buffer.from('\xfd7zXZ\0 and more', 'latin1') });
    for (const way of READERS)
      await refused(
        await WAYS[way](store, items),
        'ERR_COMPRESSION_UNSUPPORTED',
        /xz is not supported.*gzip or zstd/,
      );
  });
});

describe('manifests that lie', () => {
  it.each([
    ['/etc/passwd', /absolute/],
    ['../../etc/passwd', /climbs/],
    ['a/../../b', /climbs/],
    ['', /empty name|no file for a layer, and the store does not have/],
    ['missing/layer.tar', /does not have/],
  ])('naming the member %j', async (name, message) => {
    for (const key of ['Config', 'Layers'])
      for (const way of READERS) {
        const items = withManifest((item) => ({ ...item, [key]: key === 'Config' ? name : [name, name] }));
        await refused(await WAYS[way](store, items), 'ERR_ARCHIVE_MEMBER', message);
      }
  });

  it('links out of the archive, into nothing and in circles', async () => {
    for (const linkname of ['/etc/passwd', '../../../../etc/passwd', 'nothing', 'layer.tar', '../b/loop'])
      for (const way of ['file', 'pipe', 'folder'] as const) {
        const items = [
          ...change(dockerArchive([image]), /layer\.tar$/, ({ name }) => ({
            name,
            type: 'symlink',
            linkname,
          })),
          { name: 'b/loop', type: 'symlink', linkname: '../b/loop2' },
          { name: 'b/loop2', type: 'symlink', linkname: 'loop' },
        ];
        await refused(await WAYS[way](store, items), 'ERR_ARCHIVE_MEMBER', /does not have/);
      }
  });

  it.each([
    ['UPPER:1', /upper-case/],
    ['no-tag', /must be NAME:TAG/],
    [`a@sha256:${'0'.repeat(64)}`, /must be NAME:TAG/],
    ['a:1:2', /invalid reference/],
    ['', /invalid reference/],
  ])('an invalid name %j is found before anything is published', async (tag, message) => {
    for (const way of READERS)
      await refused(
        await WAYS[way](
          store,
          withManifest((item) => ({ ...item, RepoTags: ['good:1', tag] })),
        ),
        'ERR_REFERENCE_INVALID',
        message,
      );
  });

  it('an invalid name in an OCI index', async () => {
    await refused(
      await WAYS.file(store, ociArchive([{ ...image, tags: ['a/UPPER:1'] }])),
      'ERR_REFERENCE_INVALID',
      /index\.json.*upper-case/,
    );
  });

  it('a manifest that names nothing, or is none', async () => {
    for (const [content, message] of [
      ['[]', /names no image/],
      ['null', /names no image/],
      ['{}', /not an array/],
      ['[{"Layers":[]}]', /Config/],
      ['broken', /not JSON/],
      ['[', /not JSON/],
    ] as const)
      for (const way of READERS)
        await refused(
          await WAYS[way](store, [{ name: 'manifest.json', content }]),
          'ERR_MANIFEST_INVALID',
          message,
        );
    for (const index of [{}, { schemaVersion: 2, manifests: [] }])
      await refused(
        await WAYS.file(store, [{ name: 'index.json', content: JSON.stringify(index) }]),
        'ERR_MANIFEST_INVALID',
        /index\.json/,
      );
    await refused(
      await WAYS.file(store, [{ name: 'repositories', content: '{}' }]),
      'ERR_MANIFEST_INVALID',
      /names no image/,
    );
  });

  it('documents of two meanings', async () => {
    const manifestType = 'application/vnd.oci.image.manifest.v1+json';
    for (const items of [
      ociArchive([image], { manifest: (document) => ({ ...document, manifests: [] }) }),
      ociArchive([image], {
        manifest: (document) => ({ ...document, mediaType: manifestType.replace('manifest', 'index') }),
      }),
      ociArchive([image], { manifest: (document) => ({ ...document, mediaType: 'application/x-other' }) }),
      ociArchive([image], { index: (document) => ({ ...document, layers: [] }) }),
    ])
      await refused(await WAYS.file(store, items), 'ERR_MANIFEST_INVALID', /index|manifest/);
  });

  it('sizes that differ', async () => {
    const items = ociArchive([image], {
      manifest: (document) => ({
        ...document,
        layers: (document['layers'] as { size: number }[]).map((layer) => ({
          ...layer,
          size: layer.size + 1,
        })),
      }),
    });
    for (const way of READERS)
      await refused(await WAYS[way](store, items), 'ERR_DIGEST_MISMATCH', /bytes, but/);
  });

  it('a parent of another history', async () => {
    const parent = imageOf([top]);
    const child = imageOf([base, top, top], { parent });
    await refused(await WAYS.file(store, dockerArchive([parent, child])), 'ERR_MANIFEST_INVALID', /parent/);
  });

  it('first-format layers in a circle, or without their parent', async () => {
    const items = v1Archive(image);
    const ids = items.flatMap((item) =>
      'name' in item ? (/^(\w+)\/json$/.exec(String(item.name))?.[1] ?? []) : [],
    );
    const circle = change(items, `${String(ids[0])}/json`, (member) => ({
      ...member,
      content: JSON.stringify({ ...(JSON.parse(String(member.content)) as object), parent: ids[1] }),
    }));
    await refused(await WAYS.file(store, circle), 'ERR_MANIFEST_INVALID', /its own ancestor/);
    const orphan = drop(items, new RegExp(`^${String(ids[0])}`));
    for (const way of READERS)
      await refused(await WAYS[way](store, orphan), 'ERR_ARCHIVE_MEMBER', /does not have/);
  });
});

describe('broken archives', () => {
  const items = dockerArchive([image], { withoutRepositories: true });
  const whole = tar(items);
  /** Where the content of the last member that is needed ends. */
  const needed =
    tar(items.slice(0, -1), { endBlocks: 0 }).length + 512 + Number(contentOf(items.at(-1)).length);

  it('cut off anywhere', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: needed - 1 }), async (length) => {
        const cut = whole.subarray(0, length);
        const path = join(store.scratch(), 'cut.tar');
        await writeFile(path, cut);
        for (const source of [path, chunksOf(cut, 5000)]) {
          const error = await store.load(source).catch((reason: unknown) => reason as LayerstackError);
          expect((error as LayerstackError).code).toBe(
            length < 512 ? 'ERR_ARCHIVE_INVALID' : 'ERR_ARCHIVE_TRUNCATED',
          );
        }
      }),
      { numRuns: 25 },
    );
    for (let count = 1; count < items.length; count++) {
      const path = join(store.scratch(), 'cut.tar');
      const cut = tar(items.slice(0, count), { endBlocks: 0 });
      await writeFile(path, cut);
      for (const source of [path, chunksOf(cut, 5000)])
        await refused(source, 'ERR_ARCHIVE_TRUNCATED', /cut off/);
    }
    await store.expectClean();
  });

  it('cut off while compressed', async () => {
    const packed = gzipSync(whole);
    for (const length of [30, packed.length - 200, packed.length - 4])
      await refused(chunksOf(packed.subarray(0, length), 100), 'ERR_ARCHIVE_TRUNCATED', /ends early/);
    await refused(chunksOf(flip(packed, packed.length - 6), 100), 'ERR_ARCHIVE_INVALID', /the archive/);
  });

  it('with a damaged header', async () => {
    const broken = [...items.slice(0, 3), { name: 'x', checksum: 1 }, ...items.slice(3)];
    for (const way of ['file', 'chunks', 'gzip pipe'] as const)
      await refused(await WAYS[way](store, broken), 'ERR_ARCHIVE_INVALID', /header/);
  });

  it('of other kinds say what was found', async () => {
    for (const [bytes, message] of [
      ['', /is empty/],
      ['PK\x03\x04 and so on', /zip/],
      ['{"a":1}', /JSON document/],
      ['FROM busybox\n', /text that begins with "FROM busybox/],
      ['\x7fELF\x01\xff', /program/],
    ] as const) {
      const path = join(store.scratch(), 'other');
      await writeFile(path, bytes, 'latin1');
      await refused(path, 'ERR_ARCHIVE_INVALID', message);
      await refused(Readable.from([Buffer.from(bytes, 'latin1')]), 'ERR_ARCHIVE_INVALID', message);
    }
    for (const way of READERS) {
      await refused(
        await WAYS[way](store, [
          { name: 'etc/passwd', content: 'root' },
          { name: 'bin/sh', content: 'sh' },
        ]),
        'ERR_ARCHIVE_INVALID',
        /root file system.*use import/,
      );
      await refused(
        await WAYS[way](store, [{ name: 'notes', content: 'x' }]),
        'ERR_ARCHIVE_INVALID',
        /it has 'notes'/,
      );
    }
    await refused(join(store.scratch(), 'nowhere'), 'ERR_INVALID_ARGUMENT', /no such archive/);
  });

  it('by bzip2 as a whole', async () => {
    await refused(
      Readable.from([Buffer.concat([Buffer.from('BZh91AY&SY'), Buffer.alloc(600)])]),
      'ERR_COMPRESSION_UNSUPPORTED',
      /bzip2 is not supported/,
    );
  });

  it('a root file system on a pipe is not read to its end', async () => {
    let read = 0;
    const endless = (function* () {
      for (;;) {
        read++;
        yield tar([{ name: `usr/bin/${String(read)}`, content: 'x' }, { name: `etc/${String(read)}` }], {
          endBlocks: 0,
        });
      }
    })();
    await refused(Readable.from(endless), 'ERR_ARCHIVE_INVALID', /use import/);
    expect(read).toBeLessThan(200);
  });
});

describe('bounds', () => {
  const zeros = 256 * 1024 * 1024;
  const bomb = () => {
    const header = tar([{ name: 'zeros', size: zeros }], { endBlocks: 0 });
    return gzipSync(Buffer.concat([header, Buffer.alloc(zeros + 1024)]));
  };

  it('zeros in a small gzip stop early', async () => {
    const items = dockerArchive([image], { compress: bomb });
    for (const way of ['file', 'pipe', 'gzip pipe'] as const)
      await refused(
        await WAYS[way](store, items),
        'ERR_LIMIT_EXCEEDED',
        /more than 1000000 bytes.*--max-bytes/,
        {
          maxBytes: 1_000_000,
        },
      );
    await refused(Readable.from([bomb()]), 'ERR_LIMIT_EXCEEDED', /--max-bytes/, { maxBytes: 1_000_000 });
  });

  it('counts all layers together', async () => {
    const size = base.tar.length + top.tar.length;
    for (const way of ['file', 'folder'] as const)
      await refused(await WAYS[way](store, dockerArchive([image])), 'ERR_LIMIT_EXCEEDED', /more than/, {
        maxBytes: size - 1,
      });
    await using other = await LoadStore.open();
    await other.load(await WAYS.file(other, dockerArchive([image])), { maxBytes: size });
  });

  it('JSON members', async () => {
    const content = `{"x":"${'x'.repeat(9 * 1024 * 1024)}"}`;
    for (const way of ['file', 'pipe', 'folder'] as const)
      await refused(
        await WAYS[way](store, [{ name: 'manifest.json', content }]),
        'ERR_LIMIT_EXCEEDED',
        /manifest\.json/,
      );
    const many = Array.from({ length: 6 }, (_, index) => ({
      name: `${String(index)}.json`,
      content: content.slice(0, 7 * 1024 * 1024),
    }));
    await refused(await WAYS.pipe(store, many), 'ERR_LIMIT_EXCEEDED', /bytes of JSON/);
  });
});

describe('stopped half-way', () => {
  async function aborted(source: ArchiveSource, after: number): Promise<void> {
    const abort = new AbortController();
    setTimeout(() => abort.abort(new Error('enough')), after);
    const error = await refused(source, 'ERR_ABORTED', /aborted/, { signal: abort.signal });
    expect(error.cause).toMatchObject({ message: 'enough' });
  }

  it('while a pipe has nothing to say', async () => {
    await aborted(new PassThrough(), 20);
    const pipe = new PassThrough();
    pipe.write(tar(dockerArchive([image])).subarray(0, 6000));
    await aborted(pipe, 50);
    expect(pipe.destroyed).toBe(true);
    const silent = (async function* () {
      yield tar(dockerArchive([image])).subarray(0, 6000);
      await new Promise(() => undefined);
    })();
    await aborted(silent, 50);
  });

  it('before it begins, and while layers are staged', async () => {
    await refused(await WAYS.file(store, dockerArchive([image])), 'ERR_ABORTED', /aborted/, {
      signal: AbortSignal.abort(),
    });
    const large = imageOf([layerOf([{ name: 'large', content: Buffer.alloc(64 * 1024 * 1024, 1) }])]);
    for (const way of ['file', 'pipe', 'gzip pipe'] as const) {
      const source = await WAYS[way](store, dockerArchive([large]));
      const abort = new AbortController();
      const onProgress: LoadOptions['onProgress'] = (event) => {
        if (event.type === 'layer-start') setTimeout(() => abort.abort(), 3);
      };
      await refused(source, 'ERR_ABORTED', /aborted/, { signal: abort.signal, onProgress });
    }
  });

  it('by an error of the source', async () => {
    const broken = (async function* () {
      yield tar(dockerArchive([image])).subarray(0, 6000);
      throw await Promise.resolve(new Error('the line went dead'));
    })();
    await expect(store.load(broken)).rejects.toThrow('the line went dead');
    await store.expectClean();
  });
});
