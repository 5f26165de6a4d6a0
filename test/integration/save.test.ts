/** Archives out: byte for byte what came in, verified, deterministic, and loadable. */
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  fstatSync,
  read,
  writeSync,
  constants,
  existsSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  mkdirSync,
  renameSync,
} from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { digestOf, hexOf, type Digest } from '../../src/core/digest.ts';
import type { ProgressEvent } from '../../src/core/progress.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerFrom, layerOf, type TestImage } from '../support/images.ts';
import { CLI, LayerstackCli } from '../support/layerstack-cli.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

/** Bytes of a pipe, as soon as there are some. */
async function readSome(fd: number, into: Buffer): Promise<number> {
  for (;;) {
    try {
      return (await promisify(read)(fd, into, 0, into.length, null)).bytesRead;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      await sleep(1);
    }
  }
}

let scratch: string;
let store: Layerstack;

beforeEach(async () => {
  scratch = makeScratch('save');
  store = await Layerstack.open({ root: join(scratch, 'store') });
});

afterEach(async () => {
  await store.close();
  await dropScratch(scratch);
});

const base = layerOf({ 'etc/passwd': 'root', 'bin/sh': 'x'.repeat(100_000) });
const top = layerOf([
  { name: 'etc/', type: 'directory' },
  { name: 'etc/.wh.passwd' },
  { name: 'new', content: 'new' },
]);
const other = layerFrom(tar([{ name: 'odd', content: 'odd' }], { trailing: Buffer.alloc(3000, 7) }));
const first = imageOf([base, top], { tags: ['u/first:1', 'u/first:latest'] });
const second = imageOf([base, other], { tags: ['localhost:5000/second:2'] });

const load = (...images: TestImage[]) => store.images.load(Readable.from([tar(dockerArchive(images))]));

/** Members of an archive by name. */
function unpack(archive: Buffer): Map<string, Buffer> {
  const folder = join(scratch, `unpacked-${readdirSync(scratch).length}`);
  mkdirSync(folder);
  execFileSync('tar', ['-C', folder, '-x'], { input: archive });
  const names = execFileSync('tar', ['-t'], { input: archive }).toString().trimEnd().split('\n');
  return new Map(
    names.map((name) => [name, name.endsWith('/') ? Buffer.alloc(0) : readFileSync(join(folder, name))]),
  );
}

const blob = (digest: Digest): string => `blobs/sha256/${hexOf(digest)}`;
const json = (bytes: Buffer | undefined): unknown => JSON.parse(String(bytes));

describe('save', () => {
  test('writes the layout of docker >= 25: every blob once, sorted, named by its digest', async () => {
    await load(first, second);
    const members = unpack(await buffer(store.images.save(['u/first:1', 'localhost:5000/second:2'])));
    const names = [...members.keys()];
    expect(names).toEqual([
      ...['blobs/', 'blobs/sha256/'],
      ...names.filter((name) => /^blobs\/sha256\/./.test(name)).sort(),
      ...['index.json', 'manifest.json', 'oci-layout', 'repositories'],
    ]);
    expect(names).toHaveLength(2 + 3 + 2 + 2 + 4);
    for (const [name, bytes] of members)
      if (/^blobs\/sha256\/./.test(name)) expect(blob(digestOf(bytes))).toBe(name);
    for (const { tar: bytes, diffId } of [base, top, other]) expect(members.get(blob(diffId))).toEqual(bytes);
    expect(members.get(blob(first.id))).toEqual(first.config);

    const source = (layer: typeof base): unknown => ({
      mediaType: 'application/vnd.oci.image.layer.v1.tar',
      size: layer.tar.length,
      digest: layer.diffId,
    });
    expect(json(members.get('manifest.json'))).toEqual([
      {
        Config: blob(first.id),
        RepoTags: ['u/first:1'],
        Layers: [blob(base.diffId), blob(top.diffId)],
        LayerSources: { [base.diffId]: source(base), [top.diffId]: source(top) },
      },
      {
        Config: blob(second.id),
        RepoTags: ['localhost:5000/second:2'],
        Layers: [blob(base.diffId), blob(other.diffId)],
        LayerSources: { [base.diffId]: source(base), [other.diffId]: source(other) },
      },
    ]);
    expect(members.get('repositories')?.toString()).toBe(
      `{"localhost:5000/second":{"2":"${hexOf(other.diffId)}"},"u/first":{"1":"${hexOf(top.diffId)}"}}\n`,
    );
    expect(members.get('oci-layout')?.toString()).toBe('{"imageLayoutVersion": "1.0.0"}');
    const index = json(members.get('index.json')) as {
      manifests: { digest: Digest; annotations: unknown }[];
    };
    expect(index.manifests.map(({ annotations }) => annotations)).toEqual([
      { 'io.containerd.image.name': 'docker.io/u/first:1', 'org.opencontainers.image.ref.name': '1' },
      { 'io.containerd.image.name': 'localhost:5000/second:2', 'org.opencontainers.image.ref.name': '2' },
    ]);
    expect(json(members.get(blob(index.manifests[0]?.digest as Digest)))).toMatchObject({
      config: { digest: first.id, size: first.config.length },
      layers: [{ digest: base.diffId }, { digest: top.diffId }],
    });
  });

  test('as OCI layout leaves the documents of docker out', async () => {
    await load(first);
    const members = unpack(await buffer(store.images.save('u/first:1', { format: 'oci' })));
    expect([...members.keys()].filter((name) => !name.startsWith('blobs/'))).toEqual([
      'index.json',
      'oci-layout',
    ]);
  });

  test('gives the same bytes every time, with the times of the images', async () => {
    await load(first, second);
    const names = ['u/first', 'localhost:5000/second'];
    const archive = await buffer(store.images.save(names));
    expect((await buffer(store.images.save(names))).equals(archive)).toBe(true);
    const listing = execFileSync('tar', ['--utc', '--full-time', '-tv'], { input: archive }).toString();
    expect(listing).toMatch(new RegExp(`2024-01-02 03:04:05 ${blob(base.diffId)}`));
    expect(listing).toMatch(/1970-01-01 00:00:00 manifest.json/);
    expect(listing.split('\n').filter((line) => line && !line.includes(' 0/0 '))).toEqual([]);
  });

  test('takes all tags of a repository, and none of an id', async () => {
    await load(first);
    const tags = async (name: string): Promise<unknown> =>
      (json(unpack(await buffer(store.images.save(name))).get('manifest.json')) as { RepoTags: unknown }[])[0]
        ?.RepoTags;
    expect(await tags('u/first')).toEqual(['u/first:1', 'u/first:latest']);
    expect(await tags('u/first:latest')).toEqual(['u/first:latest']);
    expect(await tags(first.id)).toBeNull();
    expect(await tags(hexOf(first.id).slice(0, 12))).toBeNull();
    const both = unpack(await buffer(store.images.save([first.id, 'u/first:1', 'docker.io/u/first:1'])));
    expect(json(both.get('manifest.json'))).toMatchObject([{ RepoTags: ['u/first:1'] }]);
  });

  test('loaded elsewhere gives the same images, names and parents', async () => {
    const child = imageOf([base, top, other], {
      tags: ['child:1'],
      parent: first,
      document: {
        history: [
          ...Array.from({ length: 3 }, (_, i) => ({
            created_by: `step ${i}`,
            created: '2024-01-02T03:04:05Z',
          })),
        ],
      },
    });
    await load(first, child);
    const archive = await buffer(store.images.save(['u/first:1', 'child:1']));
    expect(json(unpack(archive).get('manifest.json'))).toMatchObject([{}, { Parent: first.id }]);
    const elsewhere = await Layerstack.open({ root: join(scratch, 'elsewhere') });
    try {
      const { images } = await elsewhere.images.load(Readable.from([archive]));
      expect(images).toMatchObject([
        { id: first.id, references: ['u/first:1'] },
        { id: child.id, references: ['child:1'] },
      ]);
      expect((await elsewhere.images.inspect('child:1')).Parent).toBe(first.id);
      const again = await buffer(elsewhere.images.save(['u/first:1', 'child:1']));
      expect(again.equals(archive)).toBe(true);
    } finally {
      await elsewhere.close();
    }
  });

  test('tells progress, layer by layer', async () => {
    await load(first);
    const events: ProgressEvent[] = [];
    await buffer(store.images.save('u/first:1', { onProgress: (event) => events.push(event) }));
    const done = events.filter((event) => event.type === 'layer-done');
    expect(done).toHaveLength(2);
    expect(done).toContainEqual({
      type: 'layer-done',
      diffId: base.diffId,
      current: base.tar.length,
      total: base.tar.length,
    });
  });

  test('works on a root that is open read-only', async () => {
    await load(first);
    const reader = await Layerstack.open({ root: store.root, readOnly: true });
    try {
      expect(unpack(await buffer(reader.images.save('u/first:1'))).get(blob(base.diffId))).toEqual(base.tar);
    } finally {
      await reader.close();
    }
  });

  test('follows links of the layer itself, as old daemons stored files through them', async () => {
    await load(first);
    const diff = diffOf('bin/sh');
    renameSync(join(diff, 'bin'), join(diff, 'real'));
    symlinkSync('real', join(diff, 'bin'));
    expect(unpack(await buffer(store.images.save('u/first:1'))).get(blob(base.diffId))).toEqual(base.tar);
  });

  /** The layer directory that has this file. */
  function diffOf(file: string): string {
    const overlay2 = join(store.root, 'overlay2');
    const id = readdirSync(overlay2).find((name) =>
      statSync(join(overlay2, name, 'diff', file), { throwIfNoEntry: false }),
    );
    if (id === undefined) throw new Error(`no layer has ${file}`);
    return join(overlay2, id, 'diff');
  }

  const tarSplitOf = (chain: Digest | undefined): string =>
    join(store.root, 'image/overlay2/layerdb/sha256', hexOf(chain as Digest), 'tar-split.json.gz');

  describe('fails with the file that was changed behind the store:', () => {
    test.each([
      ['other content', (path: string) => writeFileSync(path, 'y'.repeat(100_000))],
      ['another length', (path: string) => writeFileSync(path, 'short')],
      ['gone', (path: string) => rmSync(path)],
      [
        'a directory in its place',
        (path: string) => {
          rmSync(path);
          mkdirSync(path);
        },
      ],
      [
        'a link that leads out of the layer',
        (path: string) => {
          rmSync(path);
          symlinkSync('/etc/passwd', path);
        },
      ],
    ])('%s', async (_name, change) => {
      await load(first);
      change(join(diffOf('bin/sh'), 'bin/sh'));
      await expect(buffer(store.images.save('u/first:1'))).rejects.toMatchObject({
        code: 'ERR_STORE_CORRUPT',
        member: 'bin/sh',
        layer: base.diffId,
      });
    });
  });

  test('fails where the tar-split was changed, though every file has its CRC', async () => {
    await load(first);
    const path = tarSplitOf(first.chain[0]);
    const lines = gunzipSync(readFileSync(path)).toString().split('\n');
    const at = lines.findIndex((line) => line.includes('"type":2'));
    const entry = JSON.parse(lines[at] ?? '') as { payload: string };
    const bytes = Buffer.from(entry.payload, 'base64');
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    lines[at] = JSON.stringify({ ...entry, payload: bytes.toString('base64') });
    writeFileSync(path, gzipSync(lines.join('\n')));
    await expect(buffer(store.images.save('u/first:1'))).rejects.toMatchObject({
      code: 'ERR_STORE_CORRUPT',
      layer: base.diffId,
      expected: base.diffId,
    });
  });

  test('fails where there is no tar-split', async () => {
    await load(first);
    rmSync(tarSplitOf(first.chain[1]));
    await expect(buffer(store.images.save('u/first:1'))).rejects.toMatchObject({
      code: 'ERR_STORE_CORRUPT',
      layer: top.diffId,
    });
  });

  test('fails before the first byte for images that are not there, or by no name', async () => {
    await load(first, second);
    const fails = async (names: string[]): Promise<unknown> => {
      let bytes = 0;
      const stream = store.images.save(names).on('data', (chunk: Buffer) => (bytes += chunk.length));
      const error = await new Promise<{ code: string }>((resolve) => stream.on('error', resolve));
      expect(bytes).toBe(0);
      return error.code;
    };
    expect(await fails(['nobody:1'])).toBe('ERR_IMAGE_NOT_FOUND');
    expect(await fails(['u/first:nine'])).toBe('ERR_IMAGE_NOT_FOUND');
    expect(await fails(['u/first:1', 'UPPER'])).toBe('ERR_REFERENCE_INVALID');
    expect(await fails([])).toBe('ERR_INVALID_ARGUMENT');
  });

  test('stops at a signal', async () => {
    await load(first);
    const abort = new AbortController();
    const stream = store.images.save('u/first:1', { signal: abort.signal });
    await once(stream, 'readable');
    abort.abort();
    await expect(buffer(stream)).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  });

  test('saves an image without layers', async () => {
    const nothing = imageOf([], { tags: ['nothing:1'] });
    await load(nothing);
    const archive = await buffer(store.images.save('nothing:1'));
    const elsewhere = await Layerstack.open({ root: join(scratch, 'elsewhere') });
    try {
      expect((await elsewhere.images.load(Readable.from([archive]))).images).toMatchObject([
        { id: nothing.id },
      ]);
    } finally {
      await elsewhere.close();
    }
  });
});

describe('saveTo', () => {
  // Larger than all the memory that a layer goes through, and than the largest pipe.
  const large = imageOf([base, layerOf({ big: randomBytes(4_500_000).toString('hex') })], {
    tags: ['large:1'],
  });

  test('writes the archive that save gives to a file', async () => {
    await load(first, second, large);
    const file = join(scratch, 'out.tar');
    const fd = openSync(file, 'w');
    const events: ProgressEvent[] = [];
    try {
      await store.images.saveTo(fd, ['u/first', 'localhost:5000/second:2', 'large:1'], {
        onProgress: (event) => events.push(event),
      });
    } finally {
      closeSync(fd);
    }
    const expected = await buffer(store.images.save(['u/first', 'localhost:5000/second:2', 'large:1']));
    expect(readFileSync(file).equals(expected)).toBe(true);
    const done = events.filter(({ type }) => type === 'layer-done');
    expect(done).toHaveLength(4);
    for (const event of done) expect(event).toMatchObject({ current: (event as { total?: number }).total });
  });

  const made: number[] = [];
  afterEach(() => {
    for (const fd of made.splice(0)) closeSync(fd);
  });

  /** A pipe with a reader, which does not block, as Node makes its own stdout; or the writer does. */
  function pipe({ blocks = false } = {}): { readonly writer: number; readonly reader: number } {
    const path = join(scratch, `pipe-${made.length}`);
    execFileSync('mkfifo', [path]);
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(path, constants.O_WRONLY | (blocks ? 0 : constants.O_NONBLOCK));
    made.push(reader, writer);
    return { reader, writer };
  }

  test.each([{ blocks: false }, { blocks: true }])('waits for the reader of a pipe: %o', async (options) => {
    await load(large);
    const expected = await buffer(store.images.save('large:1'));
    const { reader, writer } = pipe(options);
    const saved = store.images.saveTo(writer, 'large:1');
    await sleep(200); // several times the patience of a write
    const received: Buffer[] = [];
    for (let left = expected.length; left > 0;) {
      const chunk = Buffer.alloc(100_000);
      const count = await readSome(reader, chunk);
      received.push(chunk.subarray(0, count));
      left -= count;
    }
    await saved;
    expect(Buffer.concat(received).equals(expected)).toBe(true);
  });

  test.each([{ blocks: false }, { blocks: true }])(
    'stops at a signal while nobody reads, and holds up nobody else: %o',
    async (options) => {
      await load(large);
      const abort = new AbortController();
      // More than there are threads in the native pool.
      const pipes = Array.from({ length: 12 }, () => pipe(options));
      const saved = Promise.allSettled(
        pipes.map(({ writer }) => store.images.saveTo(writer, 'large:1', { signal: abort.signal })),
      );
      await sleep(300);
      expect(await store.images.list()).toHaveLength(1);
      const container = await store.containers.create('large:1');
      expect(await store.containers.diff(container)).toEqual([]);
      abort.abort();
      for (const result of await saved)
        expect(result).toMatchObject({ status: 'rejected', reason: { code: 'ERR_ABORTED' } });
    },
  );

  test('stops at a signal before a layer, too', async () => {
    await load(first);
    const { writer } = pipe();
    expect(() => {
      for (;;) writeSync(writer, Buffer.alloc(4096));
    }).toThrow('EAGAIN');
    const abort = new AbortController();
    const saved = store.images.saveTo(writer, 'u/first:1', { signal: abort.signal });
    setTimeout(() => abort.abort(), 100);
    await expect(saved).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  });

  test('a worker that ends does not let it write into the next file with that number', async () => {
    await load(large);
    const { reader } = pipe();
    const worker = new Worker(new URL('../fixtures/save-to.mjs', import.meta.url), {
      workerData: { root: store.root, image: 'large:1', path: join(scratch, 'pipe-0') },
    });
    const [fd] = (await once(worker, 'message')) as [number];
    // It is full soon after its first byte, which a busy machine may be slow to send.
    await readSome(reader, Buffer.alloc(1));
    await sleep(100);
    await worker.terminate();
    const others = Array.from({ length: 40 }, (_, index) => openSync(join(scratch, `other-${index}`), 'w'));
    made.push(...others);
    expect(others).toContain(fd);
    await readSome(reader, Buffer.alloc(1 << 20));
    await sleep(200);
    for (const other of others) expect(fstatSync(other).size).toBe(0);
  });

  test('names the file that was changed, and rejects as write(2) does', async () => {
    await load(large);
    const { reader, writer } = pipe();
    const saved = store.images.saveTo(writer, 'large:1');
    setTimeout(() => closeSync(made.splice(made.indexOf(reader), 1)[0] ?? -1), 100);
    await expect(saved).rejects.toMatchObject({ code: 'EPIPE', syscall: 'write' });
    await expect(store.images.saveTo(1 << 20, 'large:1')).rejects.toMatchObject({ code: 'EBADF' });
    await expect(store.images.saveTo(-1, 'large:1')).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
    await expect(store.images.saveTo(1, 'nobody:1')).rejects.toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND' });

    const [diff] = readdirSync(join(store.root, 'overlay2')).filter((name) =>
      existsSync(join(store.root, 'overlay2', name, 'diff/big')),
    );
    writeFileSync(join(store.root, 'overlay2', String(diff), 'diff/big'), Buffer.alloc(9_000_000));
    const fd = openSync(join(scratch, 'out.tar'), 'w');
    await expect(store.images.saveTo(fd, 'large:1')).rejects.toMatchObject({
      code: 'ERR_STORE_CORRUPT',
      member: 'big',
    });
    closeSync(fd);
  });
});

describe('layerstack save', () => {
  test('writes to stdout and to a file, which appears when it is complete', async () => {
    await load(first);
    const cli = new LayerstackCli(store.root);
    const expected = await buffer(store.images.save('u/first:1'));
    const piped = await cli.try(['save', 'u/first:1']);
    expect({ status: piped.status, stderr: piped.stderr }).toEqual({ status: 0, stderr: '' });
    expect(piped.bytes.equals(expected)).toBe(true);
    const file = join(scratch, 'out', 'first.tar');
    mkdirSync(join(scratch, 'out'));
    await cli.run('save', '-o', file, 'u/first:1');
    expect(readFileSync(file).equals(expected)).toBe(true);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const failed = await cli.try(['save', '-o', join(scratch, 'out/none.tar'), 'nobody']);
    expect(failed.status).toBe(1);
    expect(failed.stderr).toMatch(/^layerstack: ERR_IMAGE_NOT_FOUND: .*\n$/);
    expect(readdirSync(join(scratch, 'out'))).toEqual(['first.tar']);
  });

  test('writes into a device, a pipe or an open file, which stays what it is', async () => {
    await load(first);
    const cli = new LayerstackCli(store.root);
    const expected = await buffer(store.images.save('u/first:1'));
    const at = (name: string): string => join(scratch, name);
    execFileSync('mknod', [at('null'), 'c', '1', '3']);
    await cli.run('save', '-o', at('null'), 'u/first:1');
    expect(lstatSync(at('null')).isCharacterDevice()).toBe(true);
    execFileSync('mknod', [at('full'), 'c', '1', '7']);
    expect((await cli.try(['save', '-o', at('full'), 'u/first:1'])).stderr).toBe(
      `layerstack: ERR_NO_SPACE: no space left for ${at('full')}: the file system (or its inode table) is full\n`,
    );

    execFileSync('mkfifo', [at('pipe')]);
    expect((await cli.try(['save', '-o', at('pipe'), 'u/first:1'])).stderr).toBe(
      `layerstack: ERR_INVALID_ARGUMENT: ${at('pipe')} is a FIFO without a reader: start the reader first\n`,
    );
    const reader = openSync(at('pipe'), constants.O_RDONLY | constants.O_NONBLOCK);
    const received = buffer(new Socket({ fd: reader }));
    await cli.run('save', '-o', at('pipe'), 'u/first:1');
    expect((await received).equals(expected)).toBe(true);
    expect(lstatSync(at('pipe')).isFIFO()).toBe(true);

    const script =
      'printf head > "$1/app" && "$2" "$3" --root "$4" save -o /dev/stdout u/first:1 >> "$1/app"';
    execFileSync('sh', ['-c', script, 'sh', scratch, process.execPath, CLI, store.root]);
    expect(readFileSync(at('app')).equals(Buffer.concat([Buffer.from('head'), expected]))).toBe(true);
    expect(lstatSync('/dev/stdout').isSymbolicLink()).toBe(true);
    expect((await cli.try(['save', '-o', scratch, 'u/first:1'])).stderr).toBe(
      `layerstack: ERR_INVALID_ARGUMENT: ${scratch} is a directory\n`,
    );
  });

  test('replaces a link that somebody has put there, and not what it leads to', async () => {
    await load(first);
    const [link, target] = [join(scratch, 'link.tar'), join(scratch, 'target')];
    writeFileSync(target, 'precious');
    symlinkSync('target', link);
    await new LayerstackCli(store.root).run('save', '-o', link, 'u/first:1');
    expect(readFileSync(target, 'utf8')).toBe('precious');
    expect(lstatSync(link).isFile()).toBe(true);
  });

  test('fails with one line when the reader goes away', async () => {
    const large = imageOf([layerOf({ big: 'x'.repeat(20_000_000) })], { tags: ['large:1'] });
    await load(large);
    const argv = new LayerstackCli(store.root).argv('save', 'large:1');
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
    const said = buffer(child.stderr);
    await once(child.stdout, 'data');
    child.stdout.destroy();
    const [status] = (await once(child, 'exit')) as [number];
    expect(status).toBe(1);
    expect((await said).toString()).toMatch(/^layerstack: ERR_ABORTED: the reader of stdout went away.*\n$/);
  });
});
