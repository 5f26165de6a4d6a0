import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { decompress, sniff } from '../../../src/layer/codec.ts';
import type { Compression } from '../../../src/system/native.ts';

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function all(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** A zstd stream without compression, as the format (RFC 8878) allows: raw and run-length blocks. */
function zstdFrame(blocks: readonly (Buffer | { byte: number; count: number })[]): Buffer {
  const header = Buffer.from('28b52ffd0058', 'hex'); // no content size, a window of 2 MiB
  return Buffer.concat([
    header,
    ...blocks.flatMap((block, index) => {
      const raw = Buffer.isBuffer(block);
      const head = Buffer.alloc(3);
      const size = raw ? block.length : block.count;
      head.writeUIntLE((size << 3) | (raw ? 0 : 2) | (index === blocks.length - 1 ? 1 : 0), 0, 3);
      return [head, raw ? block : Buffer.from([block.byte])];
    }),
  ]);
}

const js = { zstd: 'js' } as const;

describe('decompress', () => {
  const text = Buffer.concat([Buffer.alloc(3 << 20, 'layer '), randomBytes(100_000)]);

  it.each([1000, 65_536, 1 << 24])('inflates gzip, of several members too, in pieces of %i', async (size) => {
    const bytes = Buffer.concat([gzipSync(text.subarray(0, 777)), gzipSync(text.subarray(777))]);
    expect((await all(decompress(pieces(bytes, size), 'gzip', js))).equals(text)).toBe(true);
  });

  it.each([7, 3000, 1 << 24])(
    'decodes zstd in JavaScript, of several frames too, in pieces of %i',
    async (size) => {
      const raw = randomBytes(50_000);
      const frame = zstdFrame([raw, { byte: 0x41, count: 131_072 }, Buffer.from('end')]);
      const expected = Buffer.concat([raw, Buffer.alloc(131_072, 0x41), Buffer.from('end')]);
      const decoded = await all(decompress(pieces(Buffer.concat([frame, frame]), size), 'zstd', js));
      expect(decoded.equals(Buffer.concat([expected, expected]))).toBe(true);
    },
  );

  it('gives the output of a bomb in bounded pieces', async () => {
    const bomb = zstdFrame(Array.from({ length: 4000 }, () => ({ byte: 0, count: 131_072 })));
    let largest = 0;
    let total = 0;
    for await (const chunk of decompress(pieces(bomb, 1 << 20), 'zstd', js)) {
      largest = Math.max(largest, chunk.length);
      total += chunk.length;
    }
    expect(total).toBe(4000 * 131_072);
    expect(largest).toBeLessThanOrEqual(96 << 20);
  });

  it('refuses a window that would not fit', async () => {
    const header = Buffer.from('28b52ffd00a0', 'hex'); // a window of 2 GiB
    const bytes = Buffer.concat([header, zstdFrame([Buffer.from('x'.repeat(100))]).subarray(6)]);
    await expect(all(decompress(pieces(bytes, 1 << 20), 'zstd', js))).rejects.toMatchObject({
      code: 'ERR_LAYER_INVALID',
    });
  });

  it.each([
    ['gzip', gzipSync(text)],
    ['zstd', zstdFrame([randomBytes(5000)])],
  ] as [Compression, Buffer][])('says that %s ends early', async (compression, bytes) => {
    const cut = bytes.subarray(0, bytes.length - 10);
    await expect(all(decompress(pieces(cut, 1000), compression, js))).rejects.toMatchObject({
      code: 'ERR_LAYER_TRUNCATED',
    });
  });

  it.each([
    ['gzip', Buffer.concat([gzipSync(text).subarray(0, 20), Buffer.alloc(5000, 0xff)])],
    ['zstd', Buffer.concat([zstdFrame([Buffer.from('x')]), Buffer.alloc(500, 0xff)])],
  ] as [Compression, Buffer][])('says that %s is malformed', async (compression, bytes) => {
    await expect(all(decompress(pieces(bytes, 1000), compression, js))).rejects.toMatchObject({
      code: 'ERR_LAYER_INVALID',
    });
  });

  it.each(['bzip2', 'xz'] as const)('refuses %s with a way out', async (compression) => {
    await expect(all(decompress(pieces(text, 1000), compression, js))).rejects.toMatchObject({
      code: 'ERR_COMPRESSION_UNSUPPORTED',
      message: expect.stringContaining(`${compression} -dc`) as string,
    });
  });

  it('closes its source when the reader stops', async () => {
    let closed = false;
    const source = async function* (): AsyncGenerator<Uint8Array> {
      try {
        yield* pieces(gzipSync(text), 1000);
      } finally {
        closed = true;
      }
    };
    for await (const chunk of decompress(source(), 'gzip', js)) {
      expect(chunk.length).toBeGreaterThan(0);
      break;
    }
    expect(closed).toBe(true);
  });
});

describe('sniff', () => {
  it.each([
    ['gzip', gzipSync('x')],
    ['zstd', zstdFrame([Buffer.from('x')])],
    ['none', Buffer.from('plain')],
    ['none', Buffer.alloc(0)],
  ] as [Compression, Buffer][])('tells %s and keeps every byte', async (compression, bytes) => {
    const sniffed = await sniff(pieces(bytes, 1));
    expect(sniffed.compression).toBe(compression);
    expect((await all(sniffed.bytes)).equals(bytes)).toBe(true);
  });
});
