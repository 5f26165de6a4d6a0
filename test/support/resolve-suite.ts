/**
 * The guarantees of path resolution in a root. They hold both with openat2 and with the process's own walk.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { call, native } from '../../src/system/native.ts';
import { scratch } from './overlay.ts';

const swapper = fileURLToPath(new URL('../fixtures/swap.mjs', import.meta.url));

/** Creates `<dir>/outside/secret` beside `<dir>/root`, in which paths are resolved. */
function tree(): { dir: string; root: string } {
  const dir = scratch();
  const root = join(dir, 'root');
  mkdirSync(join(root, 'a/b'), { recursive: true });
  mkdirSync(join(dir, 'outside'));
  writeFileSync(join(dir, 'outside/secret'), 'outside');
  writeFileSync(join(root, 'file'), 'inside');
  writeFileSync(join(root, 'a/file'), 'inside a');
  return { dir, root };
}

async function read(root: string, path: string): Promise<string | null> {
  const bytes = await call(native.readFileInRoot(root, path, 1 << 20));
  return bytes === null ? null : Buffer.from(bytes).toString();
}

export function resolveSuite(): void {
  describe('links', () => {
    test.each([
      ['/file', 'inside'],
      ['/a/file', 'inside a'],
      ['../../../../file', 'inside'],
      ['a/../a/b/../file', 'inside a'],
      ['/../outside/secret', null],
      ['../outside/secret', null],
      ['nowhere', null],
      ['file/below', null],
      ['.', null],
    ])('to %s stay inside', async (target, content) => {
      const { root } = tree();
      symlinkSync(target, join(root, 'a/b/link'));
      symlinkSync('a/b/link', join(root, 'again'));
      expect(await read(root, 'a/b/link')).toBe(
        content === 'inside a' && target.startsWith('a/') ? null : content,
      );
      expect(await read(root, 'again')).toBe(
        content === 'inside a' && target.startsWith('a/') ? null : content,
      );
    });

    test('as directories on the way', async () => {
      const { root } = tree();
      symlinkSync('/a', join(root, 'absolute'));
      symlinkSync('b/..', join(root, 'a/up'));
      symlinkSync('/', join(root, 'a/b/top'));
      expect(await read(root, 'absolute/file')).toBe('inside a');
      expect(await read(root, 'a/up/file')).toBe('inside a');
      expect(await read(root, 'absolute/up/b/top/a/../file')).toBe('inside');
      expect(await read(root, 'a/b/top/../../../file')).toBe('inside');
    });

    test('`..` leaves the directory that a link led to, not the one that holds the link', async () => {
      const { root } = tree();
      symlinkSync('../a/b', join(root, 'jump'));
      expect(await read(root, 'jump/../file')).toBe('inside a');
    });

    test('more than 40 are too many, 40 are not', async () => {
      const { root } = tree();
      symlinkSync('/file', join(root, 'l1'));
      for (let i = 2; i <= 41; i++) symlinkSync(`l${i - 1}`, join(root, `l${i}`));
      expect(await read(root, 'l40')).toBe('inside');
      await expect(read(root, 'l41')).rejects.toMatchObject({ code: 'ELOOP' });
    });

    test('in a circle are an error', async () => {
      const { root } = tree();
      symlinkSync('circle', join(root, 'circle'));
      symlinkSync('pong', join(root, 'ping'));
      symlinkSync('ping/x', join(root, 'pong'));
      await expect(read(root, 'circle')).rejects.toMatchObject({ code: 'ELOOP', path: join(root, 'circle') });
      await expect(read(root, 'ping/x')).rejects.toMatchObject({ code: 'ELOOP' });
    });

    test('of the kernel do not lead outside', async () => {
      const { dir } = tree();
      // Below /proc, `self/cwd` and `self/root` are magic links of the kernel. Read as text, they are paths
      // below the root.
      for (const link of ['self/cwd', 'self/root', 'self/fd/0', 'self/exe']) {
        const found = await read('/proc', `${link}${dir}/outside/secret`).catch((error: unknown) => error);
        expect(found === null || (found as { code?: string }).code === 'ELOOP').toBe(true);
      }
    });
  });

  describe('paths', () => {
    test.each([
      ['file', 'inside'],
      ['/file', 'inside'],
      ['//a///file', 'inside a'],
      ['./a/./file', 'inside a'],
      ['../file', 'inside'],
      ['a/../../../file', 'inside'],
      ['../outside/secret', null],
      ['a/..', null],
      ['', null],
      ['.', null],
      ['file/', null],
      ['file/.', null],
      ['gone/../file', null],
      ['file/../file', null],
    ])('%s', async (path, content) => {
      const { root } = tree();
      expect(await read(root, path)).toBe(content);
    });

    test('that are too long are errors', async () => {
      const { root } = tree();
      await expect(read(root, 'x'.repeat(256))).rejects.toMatchObject({ code: 'ENAMETOOLONG' });
      await expect(read(root, 'a/'.repeat(2100))).rejects.toMatchObject({ code: 'ENAMETOOLONG' });
    });

    test('with a NUL are errors', async () => {
      await expect(read(tree().root, 'file\0/x')).rejects.toMatchObject({ code: 'EINVAL' });
    });
  });

  test('steps of a batch follow no link, and do not leave the root', async () => {
    const { dir, root } = tree();
    symlinkSync(join(dir, 'outside'), join(root, 'evil'));
    symlinkSync('/a/b', join(root, 'good'));
    const write = (path: string): Promise<void> =>
      call(native.batch(root, [{ op: 'write', path, data: 'new', mode: 0o644 }]));
    for (const link of ['evil', 'good'])
      await expect(write(`${link}/planted`)).rejects.toMatchObject({
        code: 'ERR_STORE_CORRUPT',
        path: join(root, link),
      });
    await expect(write('../planted')).rejects.toMatchObject({ code: 'EXDEV' });
    await write('a/b/planted');
    expect(existsSync(join(dir, 'outside/planted'))).toBe(false);
    expect(existsSync(join(dir, 'planted'))).toBe(false);
    expect(readFileSync(join(root, 'a/b/planted'), 'utf8')).toBe('new');
  });

  test('removal does not leave the root', async () => {
    const { dir, root } = tree();
    symlinkSync(dir, join(root, 'evil'));
    symlinkSync('../../outside', join(root, 'a/out'));
    expect(await call(native.removeTree(root, 'evil/outside'))).toBe(0);
    expect(await call(native.removeTree(root, '../outside'))).toBe(0);
    expect(await call(native.removeTree(root, 'a'))).toBe(4);
    expect(readFileSync(join(dir, 'outside/secret'), 'utf8')).toBe('outside');
  });

  test('a directory that is swapped with a link all the time does not lead outside', async () => {
    const { dir, root } = tree();
    mkdirSync(join(root, 'x/deep'), { recursive: true });
    writeFileSync(join(root, 'x/secret'), 'inside');
    writeFileSync(join(root, 'x/deep/secret'), 'inside');
    symlinkSync(join(dir, 'outside'), join(root, 'link'));
    const child = spawn(process.execPath, [swapper, root], { stdio: ['ignore', 'pipe', 'inherit'] });
    const seen = new Set<string | null>();
    try {
      await once(child.stdout, 'data');
      for (const end = Date.now() + 1000; Date.now() < end;) {
        const paths = [
          'x/secret',
          'x/../x/secret',
          'x/deep/../secret',
          'x/deep/../../outside/secret',
          'link/secret',
        ];
        for (const content of await Promise.all(paths.map((path) => read(root, path)))) seen.add(content);
      }
    } finally {
      child.kill('SIGKILL');
    }
    expect([...seen].sort()).toEqual(['inside', null]);
  });
}
