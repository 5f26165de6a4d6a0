/**
 * Layers that try to reach out of their directory, or to exhaust what they may use. `apply` checks after each
 * that the directory beside the layer is untouched.
 */
import { lstatSync, readFileSync, readdirSync, statSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { native } from '../../src/system/native.ts';
import { apply, refused } from '../support/applied.ts';
import { tar } from '../support/tar.ts';

describe('names', () => {
  it('zip slip: a name that climbs out of the layer is refused', async () => {
    for (const name of [
      '../x',
      '../../canary/file',
      'a/../../x',
      '/../x',
      'a/b/../../../x',
      '..',
      './..',
      '../canary/.wh.file',
    ])
      for (const type of ['file', 'directory', 'symlink', 'fifo'])
        expect(await refused(tar([{ name, type, linkname: 'x' }])), name).toMatchObject({
          code: 'ERR_LAYER_ESCAPE',
          member: name,
        });
  });

  it('zip slip by a PAX, GNU or sparse name is refused', async () => {
    for (const item of [
      { name: 'a', pax: { path: '../x' } },
      { name: `../${'x'.repeat(120)}`, format: 'gnu' as const },
      {
        name: 'a',
        content: 'x',
        pax: { 'GNU.sparse.map': '0,1', 'GNU.sparse.numblocks': '1', 'GNU.sparse.name': '../x' },
      },
    ])
      expect((await refused(tar([item]))).code).toBe('ERR_LAYER_ESCAPE');
  });

  it('a name that stays inside despite `..`, and an absolute name, resolve inside', async () => {
    const { diff } = await apply(
      tar([
        { name: 'a/b/../c', content: 'inside' },
        { name: '/etc/passwd', content: 'absolute' },
        { name: '//x/./y', content: 'slashes' },
      ]),
    );
    expect(readFileSync(join(diff, 'a/c'), 'utf8')).toBe('inside');
    expect(existsSync(join(diff, 'a/b'))).toBe(false);
    expect(readFileSync(join(diff, 'etc/passwd'), 'utf8')).toBe('absolute');
    expect(readFileSync(join(diff, 'x/y'), 'utf8')).toBe('slashes');
  });

  it('a NUL in a sparse name is refused: it would be another name to the kernel', async () => {
    const pax = { 'GNU.sparse.map': '0,1', 'GNU.sparse.numblocks': '1', 'GNU.sparse.name': 'a\0b' };
    expect((await refused(tar([{ name: 'a', content: 'x', pax }]))).code).toBe('ERR_LAYER_INVALID');
  });
});

describe('links', () => {
  it('symlink parent: a file through an absolute link lands inside the layer', async () => {
    const { diff, split } = await apply(
      tar([
        { name: 'etc/', type: 'directory' },
        { name: 'out', type: 'symlink', linkname: '/etc' },
        { name: 'out/passwd', content: 'mine' },
        { name: 'out/sub/deep', content: 'made' },
      ]),
    );
    expect(readFileSync(join(diff, 'etc/passwd'), 'utf8')).toBe('mine');
    expect(readFileSync(join(diff, 'etc/sub/deep'), 'utf8')).toBe('made');
    // Found at another path than its name: carried raw.
    expect(split.some((entry) => entry.name === 'out/passwd')).toBe(false);
  });

  it('symlink parent: `..` stops at the root of the layer', async () => {
    const { diff } = await apply(
      tar([
        { name: 'canary/', type: 'directory' },
        { name: 'a/up', type: 'symlink', linkname: '../../../../canary' },
        { name: 'a/up/file', content: 'inside' },
        { name: 'a/up/.wh.other' },
        { name: 'a/up/.wh..wh..opq' },
      ]),
    );
    expect(readFileSync(join(diff, 'canary/file'), 'utf8')).toBe('inside');
    expect(statSync(join(diff, 'canary/other')).isCharacterDevice()).toBe(true);
  });

  it('a chain of links, and a link to a link, are followed inside', async () => {
    const { diff } = await apply(
      tar([
        { name: 'real/dir/', type: 'directory' },
        { name: 'one', type: 'symlink', linkname: '/two/.' },
        { name: 'two', type: 'symlink', linkname: 'real/../three' },
        { name: 'three', type: 'symlink', linkname: './real//dir' },
        { name: 'one/f', content: 'x' },
      ]),
    );
    expect(readdirSync(join(diff, 'real/dir'))).toEqual(['f']);
  });

  it('a loop of links, a dangling link and a file as parent are refused', async () => {
    const loop = [
      { name: 'a', type: 'symlink', linkname: 'b' },
      { name: 'b', type: 'symlink', linkname: 'a' },
      { name: 'a/x', content: 'x' },
    ];
    expect(await refused(tar(loop))).toMatchObject({ code: 'ERR_LAYER_INVALID', member: 'a/x' });
    const dangling = [{ name: 'a', type: 'symlink', linkname: '/nowhere' }, { name: 'a/x' }];
    expect((await refused(tar(dangling))).code).toBe('ERR_LAYER_INVALID');
    expect((await refused(tar([{ name: 'a', content: 'x' }, { name: 'a/x' }]))).code).toBe(
      'ERR_LAYER_INVALID',
    );
  });

  it('a member that replaces a symlink replaces the link, not what it points to', async () => {
    const { diff } = await apply(
      tar([
        { name: 'target', content: 'kept' },
        { name: 'l', type: 'symlink', linkname: 'target' },
        { name: 'l', content: 'new' },
        { name: 'd', type: 'symlink', linkname: '/etc' },
        { name: 'd/', type: 'directory' },
        { name: 'd/f', content: 'x' },
      ]),
    );
    expect(readFileSync(join(diff, 'target'), 'utf8')).toBe('kept');
    expect(readFileSync(join(diff, 'l'), 'utf8')).toBe('new');
    expect(lstatSync(join(diff, 'd')).isDirectory()).toBe(true);
  });

  it('symlink parent swap: a directory that has become a link is not used by its old name', async () => {
    const { diff } = await apply(
      tar([
        { name: 'd/', type: 'directory' },
        { name: 'd/before', content: 'x' },
        { name: 'd', type: 'symlink', linkname: '../canary' },
        { name: 'canary/', type: 'directory' },
        { name: 'd/file', content: 'inside' },
      ]),
    );
    expect(readFileSync(join(diff, 'canary/file'), 'utf8')).toBe('inside');
  });

  it('hard links: a target that climbs out is refused, one through a link stays inside', async () => {
    for (const linkname of ['../canary/file', '/../x', 'a/../../x'])
      expect(await refused(tar([{ name: 'h', type: 'hardlink', linkname }])), linkname).toMatchObject({
        code: 'ERR_LAYER_ESCAPE',
        member: 'h',
      });
    const through = [
      { name: 'out', type: 'symlink', linkname: '/' },
      { name: 'h', type: 'hardlink', linkname: 'out/etc/passwd' },
    ];
    expect((await refused(tar(through))).code).toBe('ERR_LAYER_INVALID');
    const { diff } = await apply(
      tar([
        { name: 'etc/passwd', content: 'own' },
        { name: 'out', type: 'symlink', linkname: '/../..' },
        { name: 'h', type: 'hardlink', linkname: 'out/etc/passwd' },
      ]),
    );
    expect(readFileSync(join(diff, 'h'), 'utf8')).toBe('own');
  });

  it('metadata through a link: a hard link to a symlink does not change the file that it points to', async () => {
    const before = statSync('/etc/hostname');
    await apply(
      tar([
        { name: 's', type: 'symlink', linkname: '/etc/hostname', uid: 77 },
        {
          name: 'h',
          type: 'hardlink',
          linkname: 's',
          mode: 0o777,
          uid: 77,
          mtime: 5,
          xattrs: { 'trusted.x': 'y' },
        },
      ]),
    );
    const after = statSync('/etc/hostname');
    expect([after.mode, after.uid, after.mtimeMs]).toEqual([before.mode, before.uid, before.mtimeMs]);
    expect(await native.getXattr('/etc/hostname', 'trusted.x')).toBeNull();
  });
});

describe('bounds', () => {
  it('of members, bytes, paths and PAX records', async () => {
    const files = Array.from({ length: 11 }, (_, i) => ({ name: `f${i}`, content: 'x'.repeat(1000) }));
    expect(await refused(tar(files), { maxEntries: 10 })).toMatchObject({
      code: 'ERR_LIMIT_EXCEEDED',
      limit: 10,
    });
    await apply(tar(files), { maxEntries: 11 });
    const size = tar(files).length;
    expect((await refused(tar(files), { maxBytes: size - 1 })).code).toBe('ERR_LIMIT_EXCEEDED');
    await apply(tar(files), { maxBytes: size });
    expect((await refused(tar([{ name: 'd/'.repeat(60) + 'f' }]), { maxPathBytes: 100 })).code).toBe(
      'ERR_LIMIT_EXCEEDED',
    );
    expect(
      (await refused(tar([{ name: 's', type: 'symlink', linkname: 'x'.repeat(101) }]), { maxPathBytes: 100 }))
        .code,
    ).toBe('ERR_LIMIT_EXCEEDED');
    expect(
      (await refused(tar([{ name: 'f', pax: { comment: 'x'.repeat(5000) } }]), { maxPaxBytes: 4096 })).code,
    ).toBe('ERR_LIMIT_EXCEEDED');
  });

  it('an extended header that claims to be huge is refused before it is read', async () => {
    for (const type of ['x', 'g', 'L', 'K'])
      expect((await refused(tar([{ name: 'x', type, size: 2 ** 33 - 1 }]))).code, type).toBe(
        'ERR_LIMIT_EXCEEDED',
      );
  });

  it('a path that links make longer than the kernel allows is refused', async () => {
    const deep = `${'n'.repeat(200)}/`.repeat(15);
    const items = Array.from({ length: 3 }, (_, i) => [
      { name: `${i === 0 ? '' : `l${i - 1}/`}${deep}end/`, type: 'directory' },
      { name: `l${i}`, type: 'symlink', linkname: `${i === 0 ? '' : `l${i - 1}/`}${deep}end` },
    ]).flat();
    expect((await refused(tar(items))).code).toBe('ERR_LIMIT_EXCEEDED');
  });

  it('a name component that is too long for any file system is refused as bad input, with the member', async () => {
    await expect(apply(tar([{ name: 'x'.repeat(256) }]))).rejects.toMatchObject({
      code: 'ERR_LAYER_INVALID',
      member: 'x'.repeat(256),
    });
  });
});

describe('metadata as dockerd leaves it', () => {
  it('the mode of the header wins over that of an access ACL, as by chmod after it', async () => {
    // user::rw- user:1:rwx group::r-- mask::rwx other::r--: setting it makes the mode 0674.
    const entry = (tag: number, perm: number, id = 0xffffffff): Buffer => {
      const bytes = Buffer.alloc(8);
      bytes.writeUInt16LE(tag, 0);
      bytes.writeUInt16LE(perm, 2);
      bytes.writeUInt32LE(id, 4);
      return bytes;
    };
    const version = Buffer.from([2, 0, 0, 0]);
    const list = [entry(1, 6), entry(2, 7, 1), entry(4, 4), entry(16, 7), entry(32, 4)];
    const xattrs = { 'system.posix_acl_access': Buffer.concat([version, ...list]) };
    const { diff } = await apply(
      tar([
        { name: 'f', mode: 0o644, xattrs },
        { name: 'd/', type: 'directory', mode: 0o700, xattrs },
        { name: 'p', type: 'fifo', mode: 0o600, xattrs },
      ]),
    );
    expect(statSync(join(diff, 'f')).mode & 0o7777).toBe(0o644);
    expect(statSync(join(diff, 'd')).mode & 0o7777).toBe(0o700);
    expect(statSync(join(diff, 'p')).mode & 0o7777).toBe(0o600);
  });

  it("a missing parent is root's, also below a setgid directory", async () => {
    const { diff } = await apply(
      tar([{ name: 'd/', type: 'directory', mode: 0o2755, gid: 50 }, { name: 'd/missing/f' }]),
    );
    const made = statSync(join(diff, 'd/missing'));
    expect([made.uid, made.gid, made.mode & 0o7777]).toEqual([0, 0, 0o2755]);
    expect(statSync(join(diff, 'd/missing/f')).gid).toBe(0);
  });

  it('a global header may have any name, which does not count as a repeated entry', async () => {
    const { split } = await apply(
      tar([
        { global: { comment: 'x' }, name: './a' },
        { name: 'a', content: 'x' },
        { global: { comment: 'x' }, name: '../up' },
      ]),
    );
    expect(split.filter((entry) => entry.type === 1).map((entry) => entry.name)).toEqual(['./a']);
  });
});

describe('memory', () => {
  it('a warning keeps only as much of a name as a file system would accept', async () => {
    const { warnings } = await apply(
      tar([{ name: 'f', xattrs: { [`trusted.overlay.${'x'.repeat(100_000)}`]: 'y' } }]),
    );
    expect(warnings[0]?.message.length).toBeLessThan(400);
  });
});
