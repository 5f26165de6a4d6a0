/**
 * Layers whose bytes are not where their tar-split would look for them: replaced, repeated, linked away.
 * `apply` puts each together again and compares it with its DiffID; here it is checked what the directory
 * holds and what dockerd will find in the tar-split.
 */
import { lstatSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { apply, noise, type Applied } from '../support/applied.ts';
import { tar, type TarItem } from '../support/tar.ts';

const text = (applied: Applied, path: string) => readFileSync(join(applied.diff, path), 'utf8');
const names = (applied: Applied) =>
  applied.split.filter((entry) => entry.type === 1).map((entry) => entry.name);
const sized = (applied: Applied) =>
  applied.split.filter((entry) => entry.size !== undefined).map((entry) => entry.name);

describe('the tar-split of an ordinary layer', () => {
  it("has dockerd's entries in dockerd's order", async () => {
    const { split } = await apply(
      tar([
        { name: './', type: 'directory' },
        { name: './a/', type: 'directory' },
        { name: './a/f', content: 'hello' },
        { name: './a/empty' },
        { name: './h', type: 'hardlink', linkname: './a/f' },
        { name: './a/.wh.gone' },
      ]),
    );
    expect(split.map(({ type, name, size }) => (type === 2 ? '-' : `${name}:${size ?? 0}`))).toEqual([
      '-',
      './:0',
      '-',
      './a/:0',
      '-',
      './a/f:5',
      '-',
      './a/empty:0',
      '-',
      './h:0',
      '-',
      './a/.wh.gone:0',
      '-',
    ]);
    expect(split.map((entry) => entry.position)).toEqual(split.map((_, i) => i));
    const segments = split
      .filter((entry) => entry.type === 2)
      .map((entry) => Buffer.from(entry.payload ?? '', 'base64').length);
    expect(segments).toEqual([512, 512, 512, 507 + 512, 512, 512, 1024]);
  });

  it('a PAX header is in one segment with the header that it belongs to', async () => {
    const { split } = await apply(tar([{ name: 'f', content: 'x', xattrs: { 'user.a': 'b' } }]));
    expect(split.map((entry) => entry.type)).toEqual([2, 1, 2]);
    expect(Buffer.from(split[0]?.payload ?? '', 'base64').length).toBe(1536);
  });
});

describe('payloads that cannot be read back at their name', () => {
  it('a size on a link or directory does not stand for bytes', async () => {
    const applied = await apply(
      tar([
        { name: 'f', content: 'x' },
        { name: 'h', type: 'hardlink', linkname: 'f', size: 100 },
        { name: 's', type: 'symlink', linkname: 'f', size: 100 },
        { name: 'd/', type: 'directory', size: 100 },
      ]),
    );
    expect(sized(applied)).toEqual(['f']);
    expect(names(applied)).toEqual(['f', 'h', 's', 'd/']);
  });

  it('content of a whiteout or of the root entry is kept in the tar-split', async () => {
    const applied = await apply(
      tar([
        { name: '.wh.x', content: noise(1000) },
        { name: 'd/.wh..wh..opq', content: 'y' },
        { name: '.', content: 'z' },
      ]),
    );
    expect(sized(applied)).toEqual([]);
  });

  it('repeated names have one entry, and the last member counts', async () => {
    const applied = await apply(
      tar([
        { name: 'x', content: 'first' },
        { name: './x', content: 'second' },
        { name: '/x', content: 'third!' },
        { name: 'd/', type: 'directory', mtime: 1 },
        { name: 'd', type: 'directory', mode: 0o700, mtime: 2 },
        { global: { a: 'b' } },
        { global: { a: 'c' } },
      ]),
    );
    expect(text(applied, 'x')).toBe('third!');
    expect(applied.contentSize).toBe(6);
    expect(sized(applied)).toEqual([]);
    expect(names(applied)).toEqual(['d/', 'pax_global_header']);
    expect(lstatSync(join(applied.diff, 'd')).mode & 0o777).toBe(0o700);
  });

  it('a replaced file stays in the tar', async () => {
    for (const replacement of [
      { name: 'x/', type: 'directory' },
      { name: 'x', type: 'symlink', linkname: 'y' },
      { name: 'x', type: 'fifo' },
      { name: 'x' },
      { name: 'x', type: 'hardlink', linkname: 'y' },
    ]) {
      const applied = await apply(
        tar([{ name: 'x', content: noise(2_000_000) }, { name: 'y', content: 'other' }, replacement]),
      );
      expect(sized(applied), JSON.stringify(replacement)).toEqual(['y']);
    }
  });

  it('a directory replaced with all below it, and made again, and replaced again', async () => {
    const items: TarItem[] = [
      { name: 'd/a/one', content: 'one' },
      { name: 'd/two', content: 'two' },
      { name: 'keep', content: 'keep' },
      { name: 'd', content: 'now a file' },
      { name: 'd/', type: 'directory' },
      { name: 'd/two', content: 'two again' },
      { name: 'd/three', content: 'three' },
      { name: 'd', type: 'symlink', linkname: 'keep' },
      { name: 'd/', type: 'directory' },
      { name: 'd/four', content: 'four' },
    ];
    const applied = await apply(tar(items));
    expect(readdirSync(join(applied.diff, 'd'))).toEqual(['four']);
    expect(sized(applied)).toEqual(['keep', 'd/four']);
    expect(applied.contentSize).toBe(8);
  });

  it('a file replaced by another of its name, then linked, then replaced again', async () => {
    const applied = await apply(
      tar([
        { name: 'x', content: 'first' },
        { name: 'link', type: 'hardlink', linkname: 'x' },
        { name: 'x', content: 'second' },
        { name: 'link2', type: 'hardlink', linkname: 'x' },
        { name: 'x', content: 'third' },
      ]),
    );
    expect([text(applied, 'link'), text(applied, 'link2'), text(applied, 'x')]).toEqual([
      'first',
      'second',
      'third',
    ]);
    expect(applied.contentSize).toBe(16);
  });

  it('a file replaced through a link', async () => {
    const applied = await apply(
      tar([
        { name: 'd/x', content: 'by its name' },
        { name: 'l', type: 'symlink', linkname: 'd' },
        { name: 'l/x', content: 'by the link' },
        { name: 'l/y', content: 'new by the link' },
        { name: 'd/y', content: 'then by its name' },
        { name: 'd', content: 'gone' },
      ]),
    );
    expect(text(applied, 'd')).toBe('gone');
    expect(sized(applied)).toEqual(['d']);
  });

  it('a directory that becomes a link to another with the same names', async () => {
    const applied = await apply(
      tar([
        { name: 'a/f', content: 'of a' },
        { name: 'b/f', content: 'of b' },
        { name: 'a', type: 'symlink', linkname: 'b' },
      ]),
    );
    expect(text(applied, 'a/f')).toBe('of b');
    expect(sized(applied)).toEqual(['b/f']);
  });

  it('a hard link that replaces the directory of its target is refused', async () => {
    await expect(
      apply(
        tar([
          { name: 'd/x', content: 'x' },
          { name: 'd', type: 'hardlink', linkname: 'd/x' },
        ]),
      ),
    ).rejects.toMatchObject({ code: 'ERR_LAYER_INVALID', member: 'd' });
  });

  it('an empty directory or file is replaced like any other', async () => {
    const applied = await apply(
      tar([
        { name: 'd/', type: 'directory' },
        { name: 'd', content: 'x' },
        { name: 'e' },
        { name: 'e/', type: 'directory' },
      ]),
    );
    expect(text(applied, 'd')).toBe('x');
    expect(lstatSync(join(applied.diff, 'e')).isDirectory()).toBe(true);
  });
});
