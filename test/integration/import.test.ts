/** Root file systems to images. */
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { hostPlatform } from '../../src/core/platform.ts';
import { native } from '../../src/system/native.ts';
import { CAPABILITY } from '../support/edits.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { snapshot } from '../support/overlay.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { dumpStore, storeChanges } from '../support/store-dump.ts';
import { digestOf } from '../../src/core/digest.ts';
import { tar } from '../support/tar.ts';
import { zstdStored } from '../support/zstd.ts';

/** It has no types. */
const tarFs = createRequire(import.meta.url)('tar-fs') as {
  pack(directory: string, options: { readonly strict: boolean }): AsyncIterable<Uint8Array>;
};

let scratch: string;
let store: Layerstack;

beforeEach(async () => {
  scratch = makeScratch('import');
  store = await Layerstack.open({ root: join(scratch, 'store') });
});

afterEach(async () => {
  await store.close();
  await dropScratch(scratch);
});

const plain = tar([
  { name: 'bin/', type: 'directory' },
  { name: 'bin/sh', content: 'shell', mode: 0o755 },
]);
const stream = (bytes: Uint8Array): AsyncIterable<Uint8Array> => Readable.from([bytes]);

function file(name: string, bytes: Uint8Array): string {
  const path = join(scratch, name);
  writeFileSync(path, bytes);
  return path;
}

async function rootfs(): Promise<string> {
  const root = join(scratch, 'rootfs');
  mkdirSync(join(root, 'usr/bin'), { recursive: true });
  symlinkSync('usr/bin', join(root, 'bin'));
  writeFileSync(join(root, 'usr/bin/ping'), 'ping', { mode: 0o755 });
  linkSync(join(root, 'usr/bin/ping'), join(root, 'usr/bin/ping6'));
  await native.setXattr(join(root, 'usr/bin/ping'), 'security.capability', CAPABILITY);
  mkdirSync(join(root, 'dev'));
  await native.makeNode(join(root, 'dev/zero'), 0o020666, 1, 5);
  return root;
}

const below = (lines: string[]): string[] => lines.filter((line) => !line.startsWith('. '));

/** The tree of an image, without what an init layer adds. */
async function treeOf(image: string): Promise<string[]> {
  const [layer] = (await store.images.inspect(image)).GraphDriver.Data
    ? [(await store.images.inspect(image)).GraphDriver.Data?.['UpperDir']]
    : [];
  return below(await snapshot(layer ?? ''));
}

describe('import', () => {
  test('makes an image of a tar, whose bytes are the layer', async () => {
    const id = await store.images.import(file('root.tar', plain), {
      reference: 'own:1',
      message: 'by <hand>',
      changes: ['CMD ["sh"]', 'ENV A=b'],
      sourceDateEpoch: 1_700_000_000,
    });
    expect(await store.images.inspect('own:1')).toMatchObject({
      Id: id,
      Comment: 'by <hand>',
      Created: '2023-11-14T22:13:20Z',
      Architecture: hostPlatform().architecture,
      Os: 'linux',
      Parent: '',
      Config: { Cmd: ['sh'], Env: ['A=b'], Labels: null },
      RootFS: { Layers: [digestOf(plain)] },
    });
  });

  test('gives the same image for a file, a stream, gzip and zstd', async () => {
    const options = { sourceDateEpoch: 0 };
    const id = await store.images.import(file('root.tar', plain), options);
    for (const bytes of [plain, gzipSync(plain), zstdStored(plain)]) {
      expect(await store.images.import(stream(bytes), options)).toBe(id);
      expect(await store.images.import(file('compressed', bytes), options)).toBe(id);
    }
  });

  test('packs a directory with all its content', async () => {
    const root = await rootfs();
    await store.images.import(root, { reference: 'debian:own' });
    expect(await treeOf('debian:own')).toEqual(below(await snapshot(root)));
  });

  test('of a directory agrees with tar-fs, as far as tar-fs goes', async () => {
    const root = await rootfs();
    await store.images.import(root, { reference: 'ours:1' });
    await store.images.import(tarFs.pack(root, { strict: false }), { reference: 'theirs:1' });
    const shared = (lines: string[]): string[] =>
      lines
        .filter((line) => !line.startsWith('dev/zero'))
        .map((line) => line.replace(/ (mtime|security\.capability)=\S+/g, ''));
    expect(shared(await treeOf('ours:1'))).toEqual(shared(await treeOf('theirs:1')));
  });

  test('records the given platform', async () => {
    await store.images.import(stream(plain), { reference: 'a:1', platform: 'linux/arm/v6' });
    expect(await store.images.inspect('a:1')).toMatchObject({ Architecture: 'arm', Variant: 'v6' });
    await expect(store.images.import(stream(plain), { platform: 'windows/amd64' })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
    });
  });

  test('leaves nothing for a source that is not a tar', async () => {
    const before = await dumpStore(store.root);
    const refuses = (source: string | AsyncIterable<Uint8Array>, options = {}) =>
      expect(store.images.import(source, options)).rejects;
    await refuses(join(scratch, 'nothing')).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
    await refuses(stream(Buffer.from('no tar at all'.repeat(100)))).toMatchObject({
      code: 'ERR_LAYER_INVALID',
    });
    await refuses(stream(plain.subarray(0, 700))).toMatchObject({ code: 'ERR_LAYER_TRUNCATED' });
    await refuses(stream(gzipSync(plain).subarray(0, 60))).toMatchObject({ code: 'ERR_LAYER_TRUNCATED' });
    await refuses(stream(execFileSync('xz', ['-c'], { input: plain }))).toMatchObject({
      code: 'ERR_COMPRESSION_UNSUPPORTED',
    });
    await refuses(file('b.tar.bz2', execFileSync('bzip2', ['-c'], { input: plain }))).toMatchObject({
      code: 'ERR_COMPRESSION_UNSUPPORTED',
    });
    await refuses(stream(plain), { changes: ['FROM x'] }).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
    await refuses(stream(plain), { reference: 'A' }).toMatchObject({ code: 'ERR_REFERENCE_INVALID' });
    await refuses(stream(plain), { maxBytes: 1000 }).toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' });
    await refuses(stream(plain), { signal: AbortSignal.abort() }).toMatchObject({ code: 'ERR_ABORTED' });
    expect(await storeChanges(store.root, before)).toEqual([]);
  });

  test('is a verb for files, directories and stdin', async () => {
    const cli = new LayerstackCli(store.root);
    const id = /^sha256:[0-9a-f]{64}\n$/;
    const piped = await cli.try(['import', '-m', 'text', '-c', 'USER a', '-', 'cli:1'], {
      input: gzipSync(plain),
    });
    expect(piped.stderr).toBe('');
    expect(piped.stdout).toMatch(id);
    expect(await store.images.inspect('cli:1')).toMatchObject({ Comment: 'text', Config: { User: 'a' } });
    expect(`${await cli.run('import', await rootfs(), 'cli:2')}\n`).toMatch(id);
    expect(`${await cli.run('import', file('x.tar', plain))}\n`).toMatch(id);
    expect((await cli.try(['import', 'https://example.org/x.tar'])).status).toBe(2);
  });
});
