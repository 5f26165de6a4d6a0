import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { extract } from 'tar-stream';
import { expect, test } from 'vitest';
import { packTar, type TarMember } from '../../../src/transfer/archive/tar-writer.ts';

const file = (name: string, bytes: Buffer, size = bytes.length): TarMember => ({
  name,
  mtime: 1_700_000_000,
  content: { size, open: () => Readable.from([bytes]) },
});

test('a tar is read as it was written', async () => {
  const members = [
    { name: 'd/', mtime: 0 },
    file('d/empty', Buffer.alloc(0)),
    file('d/block', Buffer.alloc(512, 1)),
    file('d/odd', Buffer.from('odd')),
  ];
  const bytes = await buffer(packTar(members));
  expect(bytes.length).toBe(512 * (4 + 1 + 1 + 2));
  const seen: unknown[] = [];
  const reader = extract();
  reader.on('entry', (header, stream, next) => {
    void buffer(stream).then((content) => {
      seen.push([header.name, header.type, header.mode, header.mtime?.getTime(), content.length]);
      next();
    });
  });
  reader.end(bytes);
  await new Promise<void>((resolve) => reader.on('finish', () => resolve()));
  expect(seen).toEqual([
    ['d/', 'directory', 0o755, 0, 0],
    ['d/empty', 'file', 0o644, 1_700_000_000_000, 0],
    ['d/block', 'file', 0o644, 1_700_000_000_000, 512],
    ['d/odd', 'file', 0o644, 1_700_000_000_000, 3],
  ]);
});

test('sizes of 8 GiB and more are in base 256', async () => {
  const size = 9 * 1024 ** 3;
  const [header] = await packTar([file('x', Buffer.alloc(0), size)])
    .next()
    .then(({ value }) => [value as Buffer]);
  expect(header?.[124]).toBe(0x80);
  expect(header?.readBigUInt64BE(128)).toBe(BigInt(size));
});

test.each([2, 4])('a content of 3 bytes that was announced as %i is an error', async (size) => {
  await expect(buffer(packTar([file('x', Buffer.from('odd'), size)]))).rejects.toMatchObject({
    code: 'ERR_INTERNAL',
  });
});
