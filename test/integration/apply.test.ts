/** What the members of a layer become in its directory: the rules that dockerd applies them by. */
import { lstatSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { call, native } from '../../src/system/native.ts';
import { apply, refused, sha256 } from '../support/applied.ts';
import { tar } from '../support/tar.ts';

const stat = (dir: string, path: string) => lstatSync(join(dir, path), { bigint: true });
const mode = (dir: string, path: string) => Number(stat(dir, path).mode & 0o7777n);
const text = (dir: string, path: string) => readFileSync(join(dir, path), 'utf8');
const isWhiteout = (dir: string, path: string) => {
  const status = stat(dir, path);
  return status.isCharacterDevice() && status.rdev === 0n;
};

describe('kinds of members', () => {
  it('files, directories, links, devices and fifos are made with owner, mode and times', async () => {
    const bytes = tar([
      { name: 'd/', type: 'directory', mode: 0o1750, uid: 7, gid: 8, mtime: 1000 },
      { name: 'd/f', content: 'hello', mode: 0o4711, uid: 1, gid: 2, mtime: 2000 },
      { name: 'd/s', type: 'symlink', linkname: '../nowhere', uid: 3, gid: 4, mtime: 3000 },
      { name: 'd/h', type: 'hardlink', linkname: 'd/f', mode: 0o4711, uid: 1, gid: 2, mtime: 2000 },
      { name: 'c', type: 'char', devmajor: 1, devminor: 3, mode: 0o666 },
      { name: 'b', type: 'block', devmajor: 300, devminor: 70000, mode: 0o660, gid: 6 },
      { name: 'p', type: 'fifo', mode: 0o622 },
    ]);
    const { diff, diffId, entries, contentSize } = await apply(bytes);
    expect(diffId).toBe(sha256(bytes));
    expect(entries).toBe(7);
    expect(contentSize).toBe(5 + '../nowhere'.length);
    expect(mode(diff, 'd')).toBe(0o1750);
    expect(stat(diff, 'd')).toMatchObject({ uid: 7n, gid: 8n, mtimeNs: 1_000_000_000_000n });
    expect(text(diff, 'd/f')).toBe('hello');
    expect(mode(diff, 'd/f')).toBe(0o4711);
    expect(stat(diff, 'd/f')).toMatchObject({ uid: 1n, gid: 2n, nlink: 2n, mtimeNs: 2_000_000_000_000n });
    expect(stat(diff, 'd/h').ino).toBe(stat(diff, 'd/f').ino);
    expect(readlinkSync(join(diff, 'd/s'))).toBe('../nowhere');
    expect(stat(diff, 'd/s')).toMatchObject({ uid: 3n, gid: 4n, mtimeNs: 3_000_000_000_000n });
    expect(stat(diff, 'c').isCharacterDevice()).toBe(true);
    expect(stat(diff, 'c').rdev).toBe(0x103n);
    expect(mode(diff, 'c')).toBe(0o666);
    expect(stat(diff, 'b').isBlockDevice()).toBe(true);
    expect(stat(diff, 'b').gid).toBe(6n);
    expect(stat(diff, 'p').isFIFO()).toBe(true);
    expect(mode(diff, 'p')).toBe(0o622);
  });

  it.each(['/', '//', '/.', '/x/..'])("a directory '%s' is the layer's own", async (name) => {
    const bytes = tar([
      { name, type: 'directory', mode: 0o2750, uid: 7, gid: 8, mtime: 1000 },
      { name: 'after', content: 'x' },
    ]);
    const { diff, diffId } = await apply(bytes);
    expect(diffId).toBe(sha256(bytes));
    expect(mode(diff, '.')).toBe(0o2750);
    expect(stat(diff, '.')).toMatchObject({ uid: 7n, gid: 8n, mtimeNs: 1_000_000_000_000n });
    expect(stat(diff, 'after')).toMatchObject({ uid: 0n, gid: 0n });
  });

  it.each(['.', './', '', 'x/..'])("a directory '%s' is ignored", async (name) => {
    const { diff } = await apply(
      tar([
        { name: 'before', content: 'x' },
        { name, type: 'directory', mode: 0o700, uid: 7, gid: 8, mtime: 1000 },
      ]),
    );
    expect(mode(diff, '.')).toBe(0o755);
    expect(stat(diff, '.')).toMatchObject({ uid: 0n, gid: 0n });
  });

  it.each(['file', 'symlink', 'hardlink', 'fifo'] as const)("a %s '/' is refused", async (type) => {
    const member = type === 'file' ? { content: 'x' } : { type, linkname: 'x' };
    const error = await refused(tar([{ name: '/', ...member }]));
    expect(error).toMatchObject({ code: 'ERR_LAYER_INVALID' });
    expect(error.message).toContain('is the root of the layer');
  });

  it('modes are exact whatever the umask of the process', async () => {
    const before = process.umask(0o077);
    try {
      const { diff } = await apply(
        tar([
          { name: 'a/b', content: 'x', mode: 0o666 },
          { name: 'd/', type: 'directory', mode: 0o777 },
        ]),
      );
      expect(mode(diff, 'a')).toBe(0o755);
      expect(mode(diff, 'a/b')).toBe(0o666);
      expect(mode(diff, 'd')).toBe(0o777);
    } finally {
      process.umask(before);
    }
  });

  it('a setgid directory does not pass its group or its bit on to new entries', async () => {
    const { diff } = await apply(
      tar([
        { name: 'd/', type: 'directory', mode: 0o2775, gid: 50 },
        { name: 'd/sub/', type: 'directory', mode: 0o755 },
        { name: 'd/f', content: 'x' },
        { name: 'd/s', type: 'symlink', linkname: 'f' },
      ]),
    );
    expect(mode(diff, 'd')).toBe(0o2775);
    expect(mode(diff, 'd/sub')).toBe(0o755);
    for (const path of ['d/sub', 'd/f', 'd/s']) expect(stat(diff, path).gid, path).toBe(0n);
  });

  it('a default ACL of a directory does not change the modes below it', async () => {
    // Version 2; user::rwx, group::r-x, other::---.
    const acl = Buffer.from('0200000001000700ffffffff04000500ffffffff20000000ffffffff', 'hex');
    const { diff } = await apply(
      tar([
        { name: 'd/', type: 'directory', xattrs: { 'system.posix_acl_default': acl } },
        { name: 'd/f', content: 'x', mode: 0o666 },
        { name: 'd/sub/', type: 'directory', mode: 0o777 },
      ]),
    );
    expect(mode(diff, 'd/f')).toBe(0o666);
    expect(mode(diff, 'd/sub')).toBe(0o777);
  });

  it('missing parents are made 0755 and root-owned', async () => {
    const { diff } = await apply(tar([{ name: 'a/b/c', content: 'x', uid: 9 }]));
    expect(mode(diff, 'a/b')).toBe(0o755);
    expect(stat(diff, 'a/b').uid).toBe(0n);
  });

  it('the root entry is ignored', async () => {
    const { diff, entries } = await apply(
      tar([
        { name: './', type: 'directory', mode: 0o700, uid: 5 },
        { name: './f', content: 'x' },
      ]),
    );
    expect(mode(diff, '.')).toBe(0o755);
    expect(stat(diff, '.').uid).toBe(0n);
    expect(entries).toBe(2);
  });

  it('a v7 name that ends in a slash is a directory', async () => {
    const { diff } = await apply(tar([{ name: 'old/', type: '\0', format: 'v7', mode: 0o755 }]));
    expect(stat(diff, 'old').isDirectory()).toBe(true);
  });

  it('contiguous files, unknown types, and ids and device numbers out of range are refused', async () => {
    expect(await refused(tar([{ name: 'x', type: 'contiguous' }]))).toMatchObject({
      code: 'ERR_LAYER_INVALID',
      member: 'x',
    });
    expect((await refused(tar([{ name: 'x', type: 'V' }]))).code).toBe('ERR_LAYER_INVALID');
    expect((await refused(tar([{ name: 'x', type: 'char', devmajor: 4096 }]))).code).toBe(
      'ERR_LAYER_INVALID',
    );
    expect((await refused(tar([{ name: 'x', uid: 2 ** 32 - 1 }]))).code).toBe('ERR_LAYER_INVALID');
    expect((await refused(tar([{ name: 'x', pax: { gid: '-1' } }]))).code).toBe('ERR_LAYER_INVALID');
  });
});

describe('names and numbers', () => {
  it('long, non-UTF-8 and PAX names arrive as they are', async () => {
    const long = `${'n'.repeat(180)}/${'m'.repeat(200)}`;
    const latin = Buffer.from('caf\xe9', 'latin1');
    const { diff, split } = await apply(
      tar([
        { name: long, content: 'pax' },
        { name: `gnu/${long}`, content: 'gnu', format: 'gnu' },
        { name: `gnu/link`, type: 'symlink', linkname: 'l'.repeat(300), format: 'gnu' },
        { name: latin, content: 'latin' },
        { name: 'ignored', content: 'utf', pax: { path: 'né/ü' } },
      ]),
    );
    expect(text(diff, long)).toBe('pax');
    expect(text(diff, `gnu/${long}`)).toBe('gnu');
    expect(readlinkSync(join(diff, 'gnu/link'))).toBe('l'.repeat(300));
    expect(text(diff, 'né/ü')).toBe('utf');
    expect(readdirSync(diff, { encoding: 'buffer' }).some((name) => name.equals(latin))).toBe(true);
    expect(split.find((entry) => entry.name_raw !== undefined)?.name_raw).toBe(latin.toString('base64'));
  });

  it('base-256 numbers, nanoseconds and the PAX size count', async () => {
    const { diff } = await apply(
      tar([
        { name: 'a', content: '12345', base256: ['size', 'mtime', 'uid'], uid: 3_000_000, mtime: 5 },
        { name: 'b', content: 'abc', size: 0, pax: { size: '3', mtime: '1234567890.123456789' } },
        { name: 'c', content: 'x' },
      ]),
    );
    expect(text(diff, 'a')).toBe('12345');
    expect(stat(diff, 'a')).toMatchObject({ uid: 3_000_000n, mtimeNs: 5_000_000_000n });
    expect(text(diff, 'b')).toBe('abc');
    expect(stat(diff, 'b').mtimeNs).toBe(1_234_567_890_123_456_789n);
    expect(text(diff, 'c')).toBe('x');
  });

  it('times before 1970 become 1970, and atime is never before mtime', async () => {
    const { diff } = await apply(
      tar([
        { name: 'old', mtime: -5 },
        { name: 'pax', pax: { mtime: '-0.5' } },
        { name: 'link', type: 'symlink', linkname: 'x', mtime: -5 },
        { name: 'read', pax: { mtime: '100', atime: '50' } },
        { name: 'later', pax: { mtime: '100', atime: '150.25' } },
      ]),
    );
    for (const path of ['old', 'pax', 'link']) expect(stat(diff, path).mtimeNs, path).toBe(0n);
    expect(stat(diff, 'read').atimeNs).toBe(100_000_000_000n);
    expect(stat(diff, 'later').atimeNs).toBe(150_250_000_000n);
  });

  it('directories have the times of their headers, even if many are open at once', async () => {
    const names = Array.from({ length: 200 }, (_, i) => `d${i}`);
    const { diff } = await apply(
      tar([
        ...names.map((name, i) => ({ name: `${name}/`, type: 'directory', mtime: 1000 + i })),
        ...names.map((name) => ({ name: `${name}/sub/f`, content: 'x' })),
        ...names.map((name) => ({ name: `${name}/.wh.gone` })),
        { name: 'd0/s', type: 'symlink', linkname: 'x' },
        { name: 'd1/h', type: 'hardlink', linkname: 'd2/sub/f' },
      ]),
    );
    names.forEach((name, i) =>
      expect(stat(diff, name).mtimeNs, name).toBe(BigInt(1000 + i) * 1_000_000_000n),
    );
  });

  it('a PAX global header applies to no member, and has a file entry of its own', async () => {
    const { diff, split } = await apply(
      tar([{ global: { comment: 'x', mtime: '5' } }, { name: 'f', content: 'x', mtime: 7 }]),
    );
    expect(stat(diff, 'f').mtimeNs).toBe(7_000_000_000n);
    expect(split.filter((entry) => entry.type === 1).map((entry) => entry.name)).toEqual([
      'pax_global_header',
      'f',
    ]);
  });

  it('malformed PAX records are refused', async () => {
    for (const record of [
      '5 a=b\n',
      '9 path=a',
      '99999 path=x\n',
      '7 pathx\n',
      '6 =xx\n',
      'x path=a\n',
      '12 path=a\0b\n\n',
    ]) {
      const bytes = tar([{ name: 'x', type: 'x', content: record }, { name: 'f' }]);
      expect((await refused(bytes)).code, JSON.stringify(record)).toBe('ERR_LAYER_INVALID');
    }
    for (const pax of [{ size: '1x' }, { mtime: '1.x' }, { uid: '' + 2 ** 70 }, { size: '-1' }])
      expect((await refused(tar([{ name: 'f', pax }]))).code, JSON.stringify(pax)).toBe('ERR_LAYER_INVALID');
  });

  it('a wrong checksum is refused, a signed one is not', async () => {
    expect((await refused(tar([{ name: 'f', checksum: 1 }]))).code).toBe('ERR_LAYER_INVALID');
    let signed = 0;
    const probe = tar([{ name: Buffer.from('\xff', 'latin1') }]).subarray(0, 512);
    probe.forEach((byte, i) => (signed += i >= 148 && i < 156 ? 32 : byte > 127 ? byte - 256 : byte));
    await apply(tar([{ name: Buffer.from('\xff', 'latin1'), checksum: signed }]));
  });
});

describe('extended attributes', () => {
  it('are applied after the owner: capabilities and setuid bits survive', async () => {
    const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
    const { diff, warnings } = await apply(
      tar([
        {
          name: 'ping',
          content: 'elf',
          mode: 0o4755,
          uid: 1000,
          gid: 1000,
          xattrs: {
            'security.capability': capability,
            'user.note': 'hi',
            'trusted.mine': Buffer.from([0, 1, 2]),
          },
        },
      ]),
    );
    const path = join(diff, 'ping');
    expect(mode(diff, 'ping')).toBe(0o4755);
    expect(Buffer.from((await native.getXattr(path, 'security.capability')) ?? [])).toEqual(capability);
    expect(Buffer.from((await native.getXattr(path, 'user.note')) ?? [])).toEqual(Buffer.from('hi'));
    expect(Buffer.from((await native.getXattr(path, 'trusted.mine')) ?? [])).toEqual(Buffer.from([0, 1, 2]));
    expect(warnings).toEqual([]);
  });

  it('are applied to directories, links and devices too', async () => {
    const xattrs = { 'trusted.mine': 'v' };
    const { diff } = await apply(
      tar([
        { name: 'd/', type: 'directory', xattrs },
        { name: 'd/s', type: 'symlink', linkname: '/etc/passwd', xattrs },
        { name: 'd/p', type: 'fifo', xattrs },
      ]),
    );
    for (const path of ['d', 'd/s', 'd/p'])
      expect(
        Buffer.from((await native.getXattr(join(diff, path), 'trusted.mine')) ?? []).toString(),
        path,
      ).toBe('v');
    expect(await native.getXattr('/etc/passwd', 'trusted.mine')).toBeNull();
  });

  it("overlayfs's own are dropped with a warning", async () => {
    const { diff, warnings, warningCount } = await apply(
      tar([
        {
          name: 'd/',
          type: 'directory',
          xattrs: {
            'trusted.overlay.opaque': 'y',
            'trusted.overlay.redirect': '/etc',
            'user.overlay.opaque': 'y',
          },
        },
      ]),
    );
    expect(await native.listXattrs(join(diff, 'd'))).toEqual([]);
    expect(warningCount).toBe(3);
    expect(warnings[0]).toMatchObject({ code: 'WARN_XATTR_DROPPED', member: 'd/' });
  });

  it('that may not be set are left out with a warning', async () => {
    const { warnings } = await apply(
      tar([
        { name: 's', type: 'symlink', linkname: 'x', xattrs: { 'user.note': 'no user attributes on links' } },
      ]),
    );
    expect(warnings).toMatchObject([{ code: 'WARN_XATTR_DENIED', member: 's' }]);
  });
});

describe('whiteouts', () => {
  it('become 0:0 devices without mode, with the ids of their header', async () => {
    const { diff, contentSize } = await apply(tar([{ name: 'a/.wh.gone', uid: 3, gid: 4, mode: 0o644 }]));
    expect(isWhiteout(diff, 'a/gone')).toBe(true);
    expect(mode(diff, 'a/gone')).toBe(0);
    expect(stat(diff, 'a/gone')).toMatchObject({ uid: 3n, gid: 4n });
    expect(contentSize).toBe(0);
  });

  it('an opaque marker marks its directory in either order, and is not created', async () => {
    for (const order of [0, 1]) {
      const marker = { name: 'd/.wh..wh..opq' };
      const file = { name: 'd/f', content: 'x' };
      const { diff } = await apply(tar(order === 0 ? [marker, file] : [file, marker]));
      expect(readdirSync(join(diff, 'd'))).toEqual(['f']);
      expect(
        Buffer.from((await native.getXattr(join(diff, 'd'), 'trusted.overlay.opaque')) ?? []).toString(),
      ).toBe('y');
    }
    const { diff } = await apply(tar([{ name: '.wh..wh..opq' }]));
    expect(Buffer.from((await native.getXattr(diff, 'trusted.overlay.opaque')) ?? []).toString()).toBe('y');
  });

  it('a whiteout of a member of the same layer is refused; a member after its whiteout wins', async () => {
    expect(await refused(tar([{ name: 'x' }, { name: '.wh.x' }]))).toMatchObject({
      code: 'ERR_LAYER_INVALID',
      member: '.wh.x',
    });
    expect((await refused(tar([{ name: '.wh.x' }, { name: '.wh.x' }]))).code).toBe('ERR_LAYER_INVALID');
    const { diff } = await apply(tar([{ name: '.wh.x' }, { name: 'x', content: 'back' }]));
    expect(text(diff, 'x')).toBe('back');
  });

  it('whiteouts without a name are refused', async () => {
    for (const name of ['.wh.', '.wh..', '.wh...', 'd/.wh..'])
      expect((await refused(tar([{ name }]))).code, name).toBe('ERR_LAYER_INVALID');
  });

  it('AUFS metadata is treated as dockerd treats it', async () => {
    const { diff } = await apply(
      tar([
        { name: '.wh..wh.plnk/', type: 'directory' },
        { name: '.wh..wh.aufs' },
        { name: 'd/.wh.dir/f', content: 'x' },
      ]),
    );
    expect(isWhiteout(diff, '.wh.plnk')).toBe(true);
    expect(isWhiteout(diff, '.wh.aufs')).toBe(true);
    expect(text(diff, 'd/.wh.dir/f')).toBe('x');
  });
});

describe('hard links', () => {
  it("re-apply their header's metadata to the shared inode", async () => {
    const { diff } = await apply(
      tar([
        { name: 'a', content: 'x', mode: 0o600, mtime: 1 },
        { name: 'b', type: 'hardlink', linkname: './/a', mode: 0o4755, uid: 5, mtime: 9 },
      ]),
    );
    expect(mode(diff, 'a')).toBe(0o4755);
    expect(stat(diff, 'a')).toMatchObject({ uid: 5n, mtimeNs: 9_000_000_000n });
  });

  it('link to symlinks themselves', async () => {
    const { diff } = await apply(
      tar([
        { name: 's', type: 'symlink', linkname: '/etc/passwd' },
        { name: 'h', type: 'hardlink', linkname: 's', mode: 0o777 },
      ]),
    );
    expect(readlinkSync(join(diff, 'h'))).toBe('/etc/passwd');
  });

  it('to files outside this layer are refused', async () => {
    for (const linkname of ['missing', 'no/such', '.', 'd'])
      expect(
        await refused(
          tar([
            { name: 'd/', type: 'directory' },
            { name: 'h', type: 'hardlink', linkname },
          ]),
        ),
        linkname,
      ).toMatchObject({ code: 'ERR_LAYER_INVALID', member: 'h' });
    expect(
      (
        await refused(
          tar([
            { name: 'a', content: 'x' },
            { name: 'a', type: 'hardlink', linkname: 'a' },
          ]),
        )
      ).code,
    ).toBe('ERR_LAYER_INVALID');
  });

  it('count once in the content size', async () => {
    const link = { type: 'hardlink', linkname: 'a' };
    const { contentSize } = await apply(
      tar([
        { name: 'a', content: '12345' },
        { name: 'b', ...link },
        { name: 'c', ...link },
      ]),
    );
    expect(contentSize).toBe(5);
  });
});

describe('sparse members', () => {
  const fragments = [
    { at: 512, data: 'A'.repeat(512) },
    { at: 1_000_000, data: 'B'.repeat(1024) },
  ];
  const data = fragments.map((fragment) => fragment.data).join('');
  const size = 2_000_000;
  const expected = Buffer.alloc(size);
  for (const { at, data } of fragments) expected.write(data, at);
  const pairs = fragments.flatMap(({ at, data }) => [at, data.length]);
  const check = async (bytes: Buffer, name = 'sparse') => {
    const { diff, contentSize, split } = await apply(bytes);
    expect(readFileSync(join(diff, name)).equals(expected)).toBe(true);
    expect(stat(diff, name).blocks).toBeLessThan(BigInt(Math.floor(size / 512)));
    expect(contentSize).toBe(size);
    expect(
      split.some((entry) => entry.size !== undefined),
      'carried raw',
    ).toBe(false);
  };

  it('PAX 1.0: the map is in front of the data', async () => {
    const map = Buffer.alloc(512);
    map.write(`2\n${pairs.join('\n')}\n`);
    await check(
      tar([
        {
          name: 'GNUSparseFile.1/sparse',
          content: Buffer.concat([map, Buffer.from(data)]),
          pax: {
            'GNU.sparse.major': '1',
            'GNU.sparse.minor': '0',
            'GNU.sparse.name': 'sparse',
            'GNU.sparse.realsize': `${size}`,
          },
        },
      ]),
    );
  });

  it('PAX 0.1 and 0.0: the map is in the header', async () => {
    await check(
      tar([
        {
          name: 'x',
          content: data,
          pax: {
            'GNU.sparse.map': pairs.join(','),
            'GNU.sparse.numblocks': '2',
            'GNU.sparse.name': 'sparse',
            'GNU.sparse.size': `${size}`,
          },
        },
      ]),
    );
    const pax: [string, string][] = [
      ['GNU.sparse.size', `${size}`],
      ['GNU.sparse.numblocks', '2'],
    ];
    for (const { at, data } of fragments)
      pax.push(['GNU.sparse.offset', `${at}`], ['GNU.sparse.numbytes', `${data.length}`]);
    await check(tar([{ name: 'sparse', content: data, pax }]));
  });

  const octal = (block: Buffer, at: number, value: number) =>
    block.write(`${value.toString(8).padStart(11, '0')}\0`, at);
  it('old GNU, with the map in the header and in an extension block', async () => {
    await check(
      tar([
        {
          name: 'sparse',
          type: 'S',
          format: 'gnu',
          content: data,
          tweak(header) {
            pairs.forEach((value, i) => octal(header, 386 + 12 * i, value));
            octal(header, 483, size);
          },
        },
      ]),
    );
    const extension = Buffer.alloc(512);
    octal(extension, 0, fragments[1]?.at ?? 0);
    octal(extension, 12, fragments[1]?.data.length ?? 0);
    await check(
      tar([
        {
          name: 'sparse',
          type: 'S',
          format: 'gnu',
          content: data,
          extension,
          tweak(header) {
            octal(header, 386, 512);
            octal(header, 398, 512);
            header[482] = 1;
            octal(header, 483, size);
          },
        },
      ]),
    );
  });

  it('maps that do not fit are refused', async () => {
    for (const map of ['0,512', '512,512,0,512', '0,512,256,512', '0,512,1999999,512', '0,-1', '0', 'x,y'])
      expect(
        (
          await refused(
            tar([
              {
                name: 'f',
                content: 'x'.repeat(1024),
                pax: {
                  'GNU.sparse.map': map,
                  'GNU.sparse.numblocks': `${Math.floor(map.split(',').length / 2)}`,
                  'GNU.sparse.size': `${size}`,
                },
              },
            ]),
          )
        ).code,
        map,
      ).toBe('ERR_LAYER_INVALID');
  });

  it('a file larger than the layer may be is refused although it is all holes', async () => {
    const bytes = tar([
      {
        name: 'f',
        content: 'x',
        pax: { 'GNU.sparse.map': '0,1', 'GNU.sparse.numblocks': '1', 'GNU.sparse.size': `${2 ** 40}` },
      },
    ]);
    expect(await refused(bytes)).toMatchObject({ code: 'ERR_LIMIT_EXCEEDED', member: 'f' });
  });
});

describe('an outer archive', () => {
  it('is indexed by its headers', async () => {
    const { mkdtempSync, writeFileSync, openSync, closeSync, rmSync } = await import('node:fs');
    const { tmpdir } = await import('node:os');
    const dir = mkdtempSync(join(tmpdir(), 'layerstack-index-'));
    const index = async (bytes: Uint8Array, max = 100) => {
      writeFileSync(join(dir, 'a.tar'), bytes);
      const fd = openSync(join(dir, 'a.tar'), 'r');
      try {
        return await call(native.indexArchive(fd, max));
      } finally {
        closeSync(fd);
      }
    };
    try {
      const items = [
        { name: 'd/', type: 'directory' },
        { name: `${'long/'.repeat(40)}f`, content: Buffer.alloc(100_000, 1) },
        { name: 's', type: 'symlink', linkname: 'd' },
        { global: { comment: 'x' } },
        { name: 'last', content: 'abc' },
      ];
      const bytes = tar(items);
      const members = await index(bytes);
      expect(members.map(({ name, type, size }) => [name, type, size])).toEqual([
        ['d/', 'directory', 0],
        [`${'long/'.repeat(40)}f`, 'file', 100_000],
        ['s', 'symlink', 0],
        ['last', 'file', 3],
      ]);
      expect(members[2]?.linkname).toBe('d');
      const last = members[3];
      expect(bytes.subarray(last?.offset, (last?.offset ?? 0) + 3).toString()).toBe('abc');
      const offset = members[1]?.offset ?? 0;
      await expect(index(bytes.subarray(0, offset + 50_000))).rejects.toMatchObject({
        code: 'ERR_ARCHIVE_TRUNCATED',
      });
      await expect(index(bytes.subarray(0, 1000))).rejects.toMatchObject({ code: 'ERR_ARCHIVE_TRUNCATED' });
      await expect(index(bytes, 3)).rejects.toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' });
      await expect(index(Buffer.alloc(2048, 'x'))).rejects.toMatchObject({ code: 'ERR_ARCHIVE_INVALID' });
      expect(await index(Buffer.alloc(0))).toEqual([]);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});
