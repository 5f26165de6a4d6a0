import { execFile, execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { call, native, type BatchStep } from '../../src/system/native.ts';
import { scratch } from '../support/overlay.ts';

const addon = fileURLToPath(new URL('../../build/Release/layerstack.node', import.meta.url));
const workers = fileURLToPath(new URL('../fixtures/workers.mjs', import.meta.url));

const batch = (root: string, ...steps: BatchStep[]): Promise<void> => call(native.batch(root, steps));
const mode = (path: string): string => (lstatSync(path).mode & 0o7777).toString(8);
const openFds = (): number => readdirSync('/proc/self/fd').length;

describe('stampFiles', () => {
  test('returns inode, change time and size as stat does, for a link those of the link', async () => {
    const root = scratch();
    writeFileSync(join(root, 'a'), 'some text');
    mkdirSync(join(root, 'd'));
    symlinkSync('a', join(root, 'link'));
    symlinkSync('nowhere', join(root, 'dangling'));
    const of = (name: string): number[] => {
      const { ino, ctimeMs, size } = lstatSync(join(root, name));
      return [ino, ctimeMs, size];
    };
    const missing = [NaN, NaN, NaN];
    const stamps = await call(native.stampFiles(root, ['a', 'missing', 'd', 'link', 'dangling']));
    expect([...stamps]).toEqual([...of('a'), ...missing, ...of('d'), ...of('link'), ...of('dangling')]);
    expect([...(await call(native.stampFiles(join(root, 'missing'), ['a'])))]).toEqual(missing);
    await expect(call(native.stampFiles(root, ['a/b']))).rejects.toMatchObject({
      code: 'ENOTDIR',
      syscall: 'stat',
      path: join(root, 'a/b'),
    });
  });
});

describe('batch', () => {
  test('does every kind of step', async () => {
    const root = scratch();
    await batch(
      root,
      { op: 'mkdir', path: 'a', mode: 0o710 },
      { op: 'mkdir', path: 'a/b', mode: 0o755 },
      { op: 'mkdir', path: 'a/b', mode: 0o700, exist: true },
      { op: 'write', path: 'a/b/text', data: 'héllo', mode: 0o644 },
      { op: 'write', path: 'a/b/bytes', data: Uint8Array.of(0, 255, 1), mode: 0o600, sync: true },
      { op: 'write', path: 'a/b/empty', data: new Uint8Array(), mode: 0o4711 },
      { op: 'symlink', path: 'a/link', target: '../somewhere' },
      { op: 'rename', from: 'a/b/text', to: 'renamed' },
      { op: 'chown', path: 'a/link', uid: 7, gid: 8 },
      { op: 'mkdir', path: 'gone', mode: 0o700 },
      { op: 'rmdir', path: 'gone' },
      { op: 'unlink', path: 'a/b/empty' },
      { op: 'unlink', path: 'a/b/empty', missing: true },
      { op: 'rmdir', path: 'gone/deeper', missing: true },
      { op: 'fsync', path: 'a/b/bytes' },
      { op: 'fsync', path: 'a' },
      { op: 'syncfs', path: '.' },
    );
    expect([mode(join(root, 'a')), mode(join(root, 'a/b')), mode(join(root, 'renamed'))]).toEqual([
      '710',
      '755',
      '644',
    ]);
    expect(readFileSync(join(root, 'renamed'), 'utf8')).toBe('héllo');
    expect([...readFileSync(join(root, 'a/b/bytes'))]).toEqual([0, 255, 1]);
    expect(readlinkSync(join(root, 'a/link'))).toBe('../somewhere');
    expect(lstatSync(join(root, 'a/link'))).toMatchObject({ uid: 7, gid: 8 });
    expect(readdirSync(join(root, 'a/b'))).toEqual(['bytes']);
    expect(readdirSync(root).sort()).toEqual(['a', 'renamed']);
  });

  test('modes are exact below a setgid directory with a default ACL', async () => {
    const root = scratch();
    mkdirSync(join(root, 'shared'));
    execFileSync('chmod', ['2775', join(root, 'shared')]);
    // user::r--, group::r--, other::--- as the default of everything made there.
    const entry = (tag: number, bits: number): number[] => [tag, 0, bits, 0, 255, 255, 255, 255];
    const acl = Uint8Array.from([2, 0, 0, 0, ...entry(1, 4), ...entry(4, 4), ...entry(32, 0)]);
    await native.setXattr(join(root, 'shared'), 'system.posix_acl_default', acl);
    await batch(
      root,
      { op: 'mkdir', path: 'shared/dir', mode: 0o755 },
      { op: 'write', path: 'shared/file', data: '', mode: 0o644 },
      { op: 'replace', path: 'shared/replaced', data: '', mode: 0o666 },
    );
    expect(['dir', 'file', 'replaced'].map((name) => mode(join(root, 'shared', name)))).toEqual([
      '755',
      '644',
      '666',
    ]);
  });

  test('stops at the first error, which has syscall and full path, and undoes nothing', async () => {
    const root = scratch();
    const failed = batch(
      root,
      { op: 'mkdir', path: 'a', mode: 0o700 },
      { op: 'mkdir', path: 'a', mode: 0o700 },
      { op: 'mkdir', path: 'b', mode: 0o700 },
    );
    await expect(failed).rejects.toMatchObject({
      errno: -17,
      code: 'EEXIST',
      syscall: 'mkdir',
      path: join(root, 'a'),
      message: `EEXIST: file already exists, mkdir '${join(root, 'a')}'`,
    });
    await expect(failed).rejects.toHaveProperty('stack', expect.stringContaining('files.test.ts'));
    expect(readdirSync(root)).toEqual(['a']);
  });

  test.each<[BatchStep, string, string]>([
    [{ op: 'write', path: 'file', data: '', mode: 0o600 }, 'EEXIST', 'open'],
    [{ op: 'write', path: 'gone/x', data: '', mode: 0o600 }, 'ENOENT', 'open'],
    [{ op: 'write', path: 'file/x', data: '', mode: 0o600 }, 'ENOTDIR', 'open'],
    [{ op: 'write', path: 'dangling', data: '', mode: 0o600 }, 'EEXIST', 'open'],
    [{ op: 'mkdir', path: 'file', mode: 0o700 }, 'EEXIST', 'mkdir'],
    [{ op: 'mkdir', path: '..', mode: 0o700, exist: true }, 'EINVAL', 'open'],
    [{ op: 'symlink', path: 'file', target: 'x' }, 'EEXIST', 'symlink'],
    [{ op: 'rename', from: 'gone', to: 'x' }, 'ENOENT', 'rename'],
    [{ op: 'rename', from: 'file', to: 'other', noReplace: true }, 'EEXIST', 'rename'],
    [{ op: 'unlink', path: 'gone' }, 'ENOENT', 'unlink'],
    [{ op: 'unlink', path: 'dir', missing: true }, 'EISDIR', 'unlink'],
    [{ op: 'rmdir', path: 'dir' }, 'ENOTEMPTY', 'rmdir'],
    [{ op: 'chown', path: 'gone', uid: 0, gid: 0 }, 'ENOENT', 'chown'],
    [{ op: 'fsync', path: 'gone' }, 'ENOENT', 'open'],
    [{ op: 'replace', path: 'dir', data: '', mode: 0o600 }, 'EISDIR', 'rename'],
  ])('%o fails with %s of %s', async (step, code, syscall) => {
    const root = scratch();
    mkdirSync(join(root, 'dir/inner'), { recursive: true });
    writeFileSync(join(root, 'file'), 'kept');
    writeFileSync(join(root, 'other'), '');
    symlinkSync('nowhere', join(root, 'dangling'));
    await expect(batch(root, step)).rejects.toMatchObject({ code, syscall });
    expect(readdirSync(root).sort()).toEqual(['dangling', 'dir', 'file', 'other']);
    expect(readFileSync(join(root, 'file'), 'utf8')).toBe('kept');
  });

  test('replace puts a new file in the place of the old one at once', async () => {
    const root = scratch();
    writeFileSync(join(root, 'target'), 'old');
    const old = statSync(join(root, 'target')).ino;
    await batch(root, { op: 'replace', path: 'target', data: 'new', mode: 0o640 });
    expect(readFileSync(join(root, 'target'), 'utf8')).toBe('new');
    expect(mode(join(root, 'target'))).toBe('640');
    expect(statSync(join(root, 'target')).ino).not.toBe(old);
    expect(readdirSync(root)).toEqual(['target']);
  });

  test('exchange swaps two directories atomically, whatever they contain', async () => {
    const root = scratch();
    for (const name of ['a', 'b/c']) {
      mkdirSync(join(root, name), { recursive: true });
      writeFileSync(join(root, name, name.replace('/', '-')), '');
    }
    await batch(root, { op: 'exchange', from: 'a', to: 'b/c', via: 'b/via' });
    expect(readdirSync(join(root, 'a'))).toEqual(['b-c']);
    expect(readdirSync(join(root, 'b/c'))).toEqual(['a']);
    expect(readdirSync(join(root, 'b'))).toEqual(['c']);
    await expect(batch(root, { op: 'exchange', from: 'a', to: 'none', via: 'via' })).rejects.toMatchObject({
      code: 'ENOENT',
      syscall: 'rename',
      path: join(root, 'a'),
    });
  });

  test('a full file system leaves the old file and no temporary one', async () => {
    const root = scratch();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', root]);
    writeFileSync(join(root, 'target'), 'old');
    const data = 'x'.repeat(1 << 20);
    await expect(batch(root, { op: 'replace', path: 'target', data, mode: 0o600 })).rejects.toMatchObject({
      code: 'ENOSPC',
      syscall: 'write',
      path: join(root, 'target'),
    });
    expect(readdirSync(root)).toEqual(['target']);
    expect(readFileSync(join(root, 'target'), 'utf8')).toBe('old');
  });

  test('resolves a name afresh after it was renamed or removed', async () => {
    const root = scratch();
    mkdirSync(join(root, 'a'));
    mkdirSync(join(root, 'b'));
    await batch(
      root,
      { op: 'write', path: 'a/1', data: '', mode: 0o600 },
      { op: 'write', path: 'b/2', data: '', mode: 0o600 },
      { op: 'rename', from: 'b', to: 'c' },
      { op: 'mkdir', path: 'b', mode: 0o700 },
      { op: 'write', path: 'b/3', data: '', mode: 0o600 },
    );
    expect(['a', 'b', 'c'].map((name) => readdirSync(join(root, name)))).toEqual([['1'], ['3'], ['2']]);
  });

  test.each([
    { op: 'mkdir', path: 'link', mode: 0o700, exist: true } as const,
    { op: 'mkdir', path: 'link/x', mode: 0o700 } as const,
    { op: 'write', path: 'link/x', data: '', mode: 0o600 } as const,
    { op: 'replace', path: 'd/link/x', data: '', mode: 0o600 } as const,
    { op: 'unlink', path: 'd/link/inside', missing: true } as const,
    { op: 'rename', from: 'link/inside', to: 'stolen' } as const,
    { op: 'fsync', path: 'link' } as const,
  ])('names a link on the way, and does nothing: %j', async (step) => {
    const root = scratch();
    const elsewhere = scratch();
    writeFileSync(join(elsewhere, 'inside'), '');
    mkdirSync(join(root, 'd'));
    symlinkSync(elsewhere, join(root, 'link'));
    symlinkSync(elsewhere, join(root, 'd/link'));
    const error = await batch(root, step).then(
      () => undefined,
      (caught: unknown) => caught,
    );
    expect(error).toMatchObject({ code: 'ERR_STORE_CORRUPT', found: 'a symbolic link' });
    expect([join(root, 'link'), join(root, 'd/link')]).toContain((error as { path: string }).path);
    expect(readdirSync(elsewhere)).toEqual(['inside']);
    expect(readdirSync(root).sort()).toEqual(['d', 'link']);
  });

  test('names a file in the place of a directory', async () => {
    const root = scratch();
    writeFileSync(join(root, 'file'), 'kept');
    await expect(batch(root, { op: 'mkdir', path: 'file', mode: 0o700, exist: true })).rejects.toMatchObject({
      code: 'ERR_STORE_CORRUPT',
      expected: 'a directory',
      path: join(root, 'file'),
    });
    expect(readFileSync(join(root, 'file'), 'utf8')).toBe('kept');
  });

  test('names a missing root', async () => {
    const root = join(scratch(), 'gone');
    await expect(batch(root)).rejects.toMatchObject({ code: 'ENOENT', syscall: 'open', path: root });
  });

  test('rejects a malformed step before it does anything', async () => {
    const root = scratch();
    const steps = [
      { op: 'mkdir', path: 'a', mode: 0o700 },
      { op: 'mkdirs', path: 'b' },
    ] as unknown as BatchStep[];
    expect(() => native.batch(root, steps)).toThrow(/unknown batch step 'mkdirs'/);
    expect(readdirSync(root)).toEqual([]);
  });

  test('link gives a file another name, and follows no link', async () => {
    const root = scratch();
    await batch(
      root,
      { op: 'mkdir', path: 'd', mode: 0o700 },
      { op: 'write', path: 'd/file', data: 'text', mode: 0o600 },
      { op: 'symlink', path: 'to-file', target: 'd/file' },
      { op: 'link', path: 'other', target: 'd/file' },
      { op: 'link', path: 'd/link', target: 'to-file' },
    );
    expect(statSync(join(root, 'other')).ino).toBe(statSync(join(root, 'd/file')).ino);
    expect(readlinkSync(join(root, 'd/link'))).toBe('d/file');
    for (const [path, target, code] of [
      ['other', 'd/file', 'EEXIST'],
      ['x', 'gone', 'ENOENT'],
      ['gone/x', 'other', 'ENOENT'],
    ] as const)
      await expect(batch(root, { op: 'link', path, target })).rejects.toMatchObject({ code });
  });

  test('a directory that is removed and made again is not confused with the old one', async () => {
    const root = scratch();
    await batch(
      root,
      { op: 'mkdir', path: 'a', mode: 0o700 },
      { op: 'mkdir', path: 'a/b', mode: 0o700 },
      { op: 'write', path: 'a/b/old', data: '', mode: 0o600 },
      { op: 'rename', from: 'a', to: 'c' },
      { op: 'mkdir', path: 'a', mode: 0o700 },
      { op: 'mkdir', path: 'a/b', mode: 0o700 },
      { op: 'write', path: 'a/b/new', data: '', mode: 0o600 },
      { op: 'unlink', path: 'a/b/new' },
      { op: 'rmdir', path: 'a/b' },
      { op: 'mkdir', path: 'a/b', mode: 0o700 },
      { op: 'write', path: 'a/b/third', data: '', mode: 0o600 },
      { op: 'removeTree', path: 'c' },
      { op: 'mkdir', path: 'c', mode: 0o700 },
      { op: 'write', path: 'c/fourth', data: '', mode: 0o600 },
    );
    expect(readdirSync(join(root, 'a/b'))).toEqual(['third']);
    expect(readdirSync(join(root, 'c'))).toEqual(['fourth']);
  });

  test('together: both are done before the next step, and either can fail it', async () => {
    const root = scratch();
    const made = (path: string): BatchStep => ({ op: 'mkdir', path, mode: 0o700 });
    await batch(
      root,
      { op: 'together', first: [made('a'), made('a/b')], second: [made('c'), made('c/d')] },
      { op: 'rename', from: 'a/b', to: 'c/d/b' },
    );
    expect(readdirSync(join(root, 'c/d'))).toEqual(['b']);
    for (const [first, second] of [
      [[made('no/x')], [made('e')]],
      [[made('f')], [made('no/x')]],
      [[made('no/x')], [made('no/y')]],
    ] as const)
      await expect(
        batch(
          root,
          made(`g${first.length}${readdirSync(root).length}`),
          { op: 'together', first, second },
          made('h'),
        ),
      ).rejects.toMatchObject({ code: 'ENOENT', step: 1, path: join(root, 'no/x') });
    expect(readdirSync(root).sort()).toEqual(expect.arrayContaining(['e', 'f']));
    expect(existsSync(join(root, 'h'))).toBe(false);
  });

  test('together does not deadlock with more batches than threads', async () => {
    const root = scratch();
    await Promise.all(
      Array.from({ length: 100 }, (_, index) =>
        batch(root, {
          op: 'together',
          first: [{ op: 'mkdir', path: `a${index}`, mode: 0o700 }],
          second: [{ op: 'mkdir', path: `b${index}`, mode: 0o700 }],
        }),
      ),
    );
    expect(readdirSync(root)).toHaveLength(200);
  });
});

describe('attributes and nodes', () => {
  test('can be set, read and listed; a missing one is null', async () => {
    const file = join(scratch(), 'file');
    writeFileSync(file, '');
    const value = Uint8Array.from({ length: 2000 }, (_, i) => i % 256);
    await native.setXattr(file, 'trusted.long', value);
    await native.setXattr(file, 'user.empty', new Uint8Array());
    expect(Buffer.from((await native.getXattr(file, 'trusted.long')) ?? [])).toEqual(Buffer.from(value));
    expect(await native.getXattr(file, 'user.empty')).toHaveLength(0);
    expect(await native.getXattr(file, 'user.gone')).toBeNull();
    expect((await native.listXattrs(file)).sort()).toEqual(['trusted.long', 'user.empty']);
    const script = 'import os, sys; print(os.getxattr(sys.argv[1], "trusted.long").hex())';
    expect(String(execFileSync('python3', ['-c', script, file])).trim()).toBe(
      Buffer.from(value).toString('hex'),
    );
  });

  test('are those of a link, not of its target', async () => {
    const dir = scratch();
    writeFileSync(join(dir, 'file'), '');
    symlinkSync('file', join(dir, 'link'));
    await native.setXattr(join(dir, 'link'), 'trusted.mark', Buffer.from('link'));
    expect(await native.getXattr(join(dir, 'file'), 'trusted.mark')).toBeNull();
    await expect(
      call(native.setXattr(join(dir, 'link'), 'user.mark', Buffer.from('x'))),
    ).rejects.toMatchObject({
      code: 'EPERM',
      syscall: 'lsetxattr',
      path: join(dir, 'link'),
    });
  });

  test('makeNode makes devices with the exact mode', async () => {
    const dir = scratch();
    await native.makeNode(join(dir, 'null'), 0o020666, 1, 3);
    await native.makeNode(join(dir, 'whiteout'), 0o020000, 0, 0);
    expect(String(execFileSync('stat', ['-c', '%A %t:%T', join(dir, 'null'), join(dir, 'whiteout')]))).toBe(
      'crw-rw-rw- 1:3\nc--------- 0:0\n',
    );
    await expect(call(native.makeNode(join(dir, 'null'), 0o010644, 0, 0))).rejects.toMatchObject({
      code: 'EEXIST',
    });
  });
});

describe('readFileInRoot', () => {
  test('reads at most the allowed bytes', async () => {
    const root = scratch();
    writeFileSync(join(root, 'file'), 'x'.repeat(100_000));
    expect(await native.readFileInRoot(root, 'file', 100_000)).toHaveLength(100_000);
    await expect(call(native.readFileInRoot(root, 'file', 99_999))).rejects.toMatchObject({
      code: 'ERR_LIMIT_EXCEEDED',
      limit: 99_999,
      path: join(root, 'file'),
    });
  });

  test('opens no fifo and no device', async () => {
    const root = scratch();
    execFileSync('mkfifo', [join(root, 'fifo')]);
    await native.makeNode(join(root, 'zero'), 0o020666, 1, 5);
    for (const name of ['fifo', 'zero', '.']) expect(await native.readFileInRoot(root, name, 10)).toBeNull();
  });
});

describe('removeTree', () => {
  test('removes files, links, nodes and directories, and counts them', async () => {
    const root = scratch();
    execFileSync(
      'sh',
      ['-c', 'mkdir -p t/a/b/c && touch t/1 t/a/2 t/a/b/3 && ln -s /etc t/l && mkfifo t/a/f'],
      {
        cwd: root,
      },
    );
    expect(await native.removeTree(root, 't')).toBe(9);
    expect(await native.removeTree(root, 't')).toBe(0);
    expect(await native.removeTree(root, 'no/where')).toBe(0);
    writeFileSync(join(root, 'file'), '');
    expect(await native.removeTree(root, 'file')).toBe(1);
    expect(readdirSync(root)).toEqual([]);
  });

  test('removes a wide directory', async () => {
    const root = scratch();
    execFileSync('mount', ['-t', 'tmpfs', 'none', root]);
    execFileSync(
      'sh',
      ['-c', 'mkdir w && cd w && seq 1 30000 | xargs touch && seq -f d%g 1 2000 | xargs mkdir'],
      {
        cwd: root,
      },
    );
    expect(await native.removeTree(root, 'w')).toBe(32_001);
  });

  test('removes a nesting deeper than any path and than its limit of fds', async () => {
    const root = scratch();
    mkdirSync(join(root, 'top'));
    // Built from the inside out, as no path leads down so far.
    const inner = join(root, 'inner');
    const outer = join(root, 'outer');
    mkdirSync(inner);
    writeFileSync(join(inner, 'file'), '');
    for (let i = 0; i < 3000; i++) {
      mkdirSync(outer);
      renameSync(inner, join(outer, 'd'));
      renameSync(outer, inner);
    }
    renameSync(inner, join(root, 'top/d'));
    const before = openFds();
    expect(await native.removeTree(root, 'top')).toBe(3003);
    expect(openFds()).toBe(before);
    expect(readdirSync(root)).toEqual([]);
  });

  test.each([
    ['another file system', ['-t', 'tmpfs', 'none']],
    ['a bind mount of the same one', ['--bind']],
  ])('stops at %s with EBUSY and leaves its content', async (_, args) => {
    const root = scratch();
    mkdirSync(join(root, 'precious'));
    mkdirSync(join(root, 't/a/mnt'), { recursive: true });
    execFileSync('mount', [
      ...args,
      ...(args.length === 1 ? [join(root, 'precious')] : []),
      join(root, 't/a/mnt'),
    ]);
    writeFileSync(join(root, 't/a/mnt/kept'), '');
    await expect(call(native.removeTree(root, 't'))).rejects.toMatchObject({
      code: 'EBUSY',
      syscall: 'rmdir',
      path: join(root, 't/a/mnt'),
    });
    await expect(call(native.removeTree(root, 't/a/mnt'))).rejects.toMatchObject({ code: 'EBUSY' });
    expect(existsSync(join(root, 't/a/mnt/kept'))).toBe(true);
  });

  test('names an entry that cannot be removed', async () => {
    const root = scratch();
    mkdirSync(join(root, 't/a'), { recursive: true });
    writeFileSync(join(root, 't/a/fixed'), '');
    execFileSync('chattr', ['+i', join(root, 't/a/fixed')]);
    try {
      await expect(call(native.removeTree(root, 't'))).rejects.toMatchObject({
        code: 'EPERM',
        syscall: 'unlink',
        path: join(root, 't/a/fixed'),
      });
    } finally {
      execFileSync('chattr', ['-i', join(root, 't/a/fixed')]);
    }
  });

  test('four at once on one tree all succeed', async () => {
    const root = scratch();
    execFileSync(
      'sh',
      ['-c', 'for d in $(seq 1 30); do mkdir -p t/$d/x/y; touch t/$d/x/y/$(seq -s " t/$d/x/" 1 30); done'],
      {
        cwd: root,
      },
    );
    const counts = await Promise.all([1, 2, 3, 4].map(() => native.removeTree(root, 't')));
    expect(counts.reduce((a, b) => a + b)).toBeGreaterThan(100);
    expect(existsSync(join(root, 't'))).toBe(false);
  });

  test.each(['', '.', '..', 'a/..'])("refuses '%s'", async (path) => {
    const root = scratch();
    mkdirSync(join(root, 'a'));
    await expect(call(native.removeTree(root, path))).rejects.toMatchObject({ code: 'EINVAL' });
    expect(readdirSync(root)).toEqual(['a']);
  });
});

describe('the process', () => {
  test('leaks no fd over a hundred operations, failing ones too', async () => {
    const root = scratch();
    await batch(root, { op: 'mkdir', path: 'a', mode: 0o700 });
    const before = openFds();
    for (let i = 0; i < 20; i++) {
      await batch(
        root,
        { op: 'write', path: 'a/f', data: '', mode: 0o600 },
        { op: 'rename', from: 'a/f', to: 'f' },
      );
      await batch(root, { op: 'replace', path: 'a', data: '', mode: 0o600 }).catch(() => undefined);
      await batch(root, { op: 'rename', from: 'gone', to: 'a/x' }).catch(() => undefined);
      await native.readFileInRoot(root, 'f', 10);
      await native.removeTree(root, 'a/none');
      rmSync(join(root, 'f'));
    }
    expect(openFds()).toBe(before);
  });

  test('work is rejected if no thread can be started, and the process lives', async () => {
    const home = scratch();
    chmodSync(home, 0o777);
    const fixture = join(home, 'no-threads.mjs');
    copyFileSync(fileURLToPath(new URL('../fixtures/no-threads.mjs', import.meta.url)), fixture);
    copyFileSync(addon, join(home, 'layerstack.node'));
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [fixture, join(home, 'layerstack.node'), home],
      { uid: 54321, gid: 54321, timeout: 30_000 },
    );
    expect(stdout).toBe('EAGAIN\n'.repeat(4));
  });

  test('workers may end while native work is under way', async () => {
    const root = scratch();
    const { stdout } = await promisify(execFile)(process.execPath, [workers, addon, root], {
      timeout: 60_000,
    });
    expect(stdout).toBe('done\n');
  });
});
