/**
 * The JavaScript faces of native/codec on real streams: Decoder against other compressors, and
 * LayerAssembler.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { call, native, type Decoder } from '../../src/system/native.ts';
import { zstdStored } from '../support/zstd.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'layerstack-codec-'));
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

/** Bytes that compress somewhat: random words, repeated. */
function sample(size: number): Buffer {
  const words = Array.from({ length: 64 }, () => randomBytes(200));
  const parts: Buffer[] = [];
  for (let length = 0; length < size; length += 200)
    parts.push(words[(length * 7919) % 64] ?? Buffer.alloc(0));
  return Buffer.concat(parts).subarray(0, size);
}

/** All output of `decoder` for `input`, given in pieces; and the largest chunk that came. */
async function decodeAll(decoder: Decoder, input: Uint8Array, piece: number) {
  const chunks: Uint8Array[] = [];
  const take = async (bytes: Uint8Array | null) => {
    let answer = await call(decoder.decode(bytes));
    chunks.push(answer.chunk);
    while (answer.more) {
      answer = await call(decoder.decode(undefined));
      chunks.push(answer.chunk);
    }
  };
  for (let at = 0; at < input.length; at += piece) await take(input.subarray(at, at + piece));
  await take(null);
  return { output: Buffer.concat(chunks), largest: Math.max(...chunks.map((chunk) => chunk.length)) };
}

type Encode = (data: Uint8Array) => Buffer;

/** Ways to make zstd: by hand always, and by the command line where it is installed. */
function zstdEncoders(): [string, Encode][] {
  const encoders: [string, Encode][] = [['stored', zstdStored]];
  if (spawnSync('zstd', ['--version']).status !== 0) return encoders;
  for (const flags of [['-1'], ['-19'], ['-3', '--long=27'], ['--no-check']]) {
    const encode: Encode = (data) =>
      execFileSync('zstd', ['-q', '-c', ...flags], { input: data, maxBuffer: 1 << 28 });
    encoders.push([`zstd ${flags.join(' ')}`, encode]);
  }
  return encoders;
}

describe('sniffCompression', () => {
  it('recognises the output of real compressors', () => {
    expect(native.sniffCompression(gzipSync('x'))).toBe('gzip');
    expect(native.sniffCompression(Buffer.from('etc/passwd'))).toBe('none');
    expect(native.sniffCompression(new Uint8Array())).toBe('none');
    expect(native.sniffCompression(Buffer.from('BZh9'))).toBe('bzip2');
    expect(native.sniffCompression(Buffer.from('fd377a585a00', 'hex'))).toBe('xz');
    expect(() => native.sniffCompression('text' as unknown as Uint8Array)).toThrow(TypeError);
  });
});

describe('Decoder', () => {
  it.each([1, 6, 9])('inflates what node:zlib wrote at level %i', async (level) => {
    const data = sample(5_000_000);
    const { output } = await decodeAll(new native.Decoder('gzip'), gzipSync(data, { level }), 65_536);
    expect(output.equals(data)).toBe(true);
  });

  it('is made for gzip or zstd only', () => {
    expect(() => new native.Decoder('xz' as 'gzip')).toThrow(TypeError);
  });

  it('inflates several members, given in any pieces', async () => {
    const input = Buffer.concat([gzipSync('one '), gzipSync(''), gzipSync('two')]);
    for (const piece of [1, 10, 1000]) {
      const { output } = await decodeAll(new native.Decoder('gzip'), input, piece);
      expect(output.toString()).toBe('one two');
    }
  });

  it.each(zstdEncoders())('decodes zstd frames: %s', async (_name, encode) => {
    const data = sample(3_000_000);
    const input = Buffer.concat([encode(data), encode(Buffer.from('tail'))]);
    const { output } = await decodeAll(new native.Decoder('zstd'), input, 100_000);
    expect(output.equals(Buffer.concat([data, Buffer.from('tail')]))).toBe(true);
    await expect(decodeAll(new native.Decoder('zstd'), input.subarray(0, -1), 100_000)).rejects.toMatchObject(
      { code: 'ERR_LAYER_TRUNCATED' },
    );
  });

  it('yields a bomb in bounded chunks, in bounded memory', async () => {
    const bomb = gzipSync(Buffer.alloc(200_000_000));
    const decoder = new native.Decoder('gzip');
    const before = process.memoryUsage().rss;
    let total = 0;
    let answer = await call(decoder.decode(bomb));
    for (let round = 0; answer.more; round++) {
      expect(answer.chunk.length).toBeLessThanOrEqual(1 << 20);
      total += answer.chunk.length;
      if (round === 30) expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000);
      answer = await call(decoder.decode(undefined));
    }
    expect(total + answer.chunk.length).toBe(200_000_000);
  });

  it('names the fault, also at later calls', async () => {
    const whole = gzipSync(sample(100_000));
    const decode = (input: Uint8Array) => decodeAll(new native.Decoder('gzip'), input, 10_000);
    await expect(decode(whole.subarray(0, -1))).rejects.toMatchObject({ code: 'ERR_LAYER_TRUNCATED' });
    await expect(decode(new Uint8Array())).rejects.toMatchObject({ code: 'ERR_LAYER_TRUNCATED' });
    await expect(decode(Buffer.concat([whole, Buffer.from('garbage')]))).rejects.toMatchObject({
      code: 'ERR_LAYER_INVALID',
      name: 'LayerstackError',
    });
    const decoder = new native.Decoder('gzip');
    await expect(call(decoder.decode(Buffer.from('no gzip')))).rejects.toMatchObject({
      code: 'ERR_LAYER_INVALID',
    });
    await expect(call(decoder.decode(whole))).rejects.toMatchObject({ code: 'ERR_LAYER_INVALID' });
  });

  it('answers concurrent calls in their order', async () => {
    const data = sample(300_000);
    const input = gzipSync(data);
    const decoder = new native.Decoder('gzip');
    const answers = [];
    for (let at = 0; at < input.length; at += 1000) answers.push(decoder.decode(input.slice(at, at + 1000)));
    answers.push(decoder.decode(null));
    const chunks = (await Promise.all(answers)).map((answer) => answer.chunk);
    expect(Buffer.concat(chunks).equals(data)).toBe(true);
  });

  it('survives being dropped while it works, and bytes that change after the call', async () => {
    const input = gzipSync(sample(2_000_000));
    const work = Array.from({ length: 50 }, () => {
      const copy = Buffer.from(input);
      const promise = new native.Decoder('gzip').decode(copy);
      copy.fill(0);
      return promise;
    });
    for (const { chunk } of await Promise.all(work)) expect(chunk.length).toBe(256 << 10);
  });
});

describe('LayerAssembler', () => {
  const content = Buffer.from('123456789');
  const crc = Buffer.from('b90956c775a41001', 'hex').toString('base64');

  function layer(name: string): { diff: string; tarSplit: string } {
    const diff = join(dir, 'diff');
    const tarSplit = join(dir, 'tar-split.json.gz');
    mkdirSync(join(diff, 'etc'), { recursive: true });
    writeFileSync(join(diff, 'etc/file'), content);
    const lines = [
      { type: 2, payload: Buffer.from('header').toString('base64'), position: 0 },
      { type: 1, name, size: content.length, payload: crc, position: 1 },
      { type: 2, payload: Buffer.alloc(1_500_000, 'z').toString('base64'), position: 2 },
    ];
    writeFileSync(tarSplit, gzipSync(lines.map((line) => JSON.stringify(line) + '\n').join('')));
    return { diff, tarSplit };
  }

  async function assemble(from: { diff: string; tarSplit: string }): Promise<Buffer> {
    const assembler = new native.LayerAssembler(from);
    const chunks: Uint8Array[] = [];
    for (;;) {
      const chunk = await call(assembler.read());
      if (chunk === null) break;
      expect(chunk.length).toBeLessThanOrEqual(1 << 20);
      chunks.push(chunk);
    }
    expect(await assembler.read()).toBeNull();
    assembler.close();
    return Buffer.concat(chunks);
  }

  it('rebuilds the tar', async () => {
    const tar = await assemble(layer('./etc/file'));
    expect(tar.equals(Buffer.concat([Buffer.from('header123456789'), Buffer.alloc(1_500_000, 'z')]))).toBe(
      true,
    );
  });

  it('names the member that has changed', async () => {
    const from = layer('etc/file');
    writeFileSync(join(from.diff, 'etc/file'), '12345678X');
    await expect(assemble(from)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT', member: 'etc/file' });
  });

  it('follows no link out of the layer', async () => {
    const from = layer('out/file');
    mkdirSync(join(dir, 'outside'));
    writeFileSync(join(dir, 'outside/file'), content);
    symlinkSync('../outside', join(from.diff, 'out'));
    await expect(assemble(from)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT', member: 'out/file' });
  });

  it('rejects with the system error where its files are missing', async () => {
    const from = { ...layer('etc/file'), tarSplit: join(dir, 'none') };
    await expect(assemble(from)).rejects.toMatchObject({
      code: 'ENOENT',
      syscall: 'open',
      path: from.tarSplit,
    });
  });

  it('ends at close, even with calls under way', async () => {
    const from = layer('etc/file');
    const assembler = new native.LayerAssembler(from);
    const reads = [assembler.read(), assembler.read()];
    assembler.close();
    reads.push(assembler.read());
    const [first, second, third] = await Promise.all(reads);
    expect(first?.length).toBe(256 << 10);
    expect(second?.length).toBe(256 << 10);
    expect(third).toBeNull();
  });
});
