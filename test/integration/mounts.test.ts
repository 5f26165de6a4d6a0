import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { mountOverlay, mountState, unmount } from '../../src/system/mounts.ts';
import { call, native, type MountMethod, type OverlayMount } from '../../src/system/native.ts';
import { scratch } from '../support/overlay.ts';

/**
 * A store's overlay2 directory (in memory) with `count` layers. Each has a file with its number as the name,
 * and its number in the file `top`.
 */
function layers(count: number): { root: string; target: string; lowers: string[] } {
  const root = scratch();
  execFileSync('mount', ['-t', 'tmpfs', 'none', root]);
  mkdirSync(join(root, 'l'));
  const lowers: string[] = [];
  for (let i = 0; i < count; i++) {
    const link = String(i).padStart(26, 'A');
    mkdirSync(join(root, `id${i}/diff`), { recursive: true });
    writeFileSync(join(root, `id${i}/diff/f${i}`), '');
    writeFileSync(join(root, `id${i}/diff/top`), String(i));
    symlinkSync(`../id${i}/diff`, join(root, 'l', link));
    lowers.push(`l/${link}`);
  }
  for (const name of ['upper', 'work', 'merged']) mkdirSync(join(root, name));
  return { root, target: join(root, 'merged'), lowers };
}

const writable = { upper: 'upper', work: 'work', options: ['index=off'] };
const openFds = (): number => readdirSync('/proc/self/fd').length;

/** How many lowers of 28 bytes fit one page with the options used here. */
const PAGE_FIT = Math.floor((4095 - 'index=off,lowerdir=,upperdir=upper,workdir=work'.length + 1) / 29);

describe.each<[MountMethod, number]>([
  ['fsconfig', 500],
  ['mount', PAGE_FIT],
  ['flat', 1],
])('the method %s takes %i lowers', (method, most) => {
  test.each([1, 2, 127, 128, 129, 500].filter((count) => count <= most))('%i lowers', async (count) => {
    const store = layers(count);
    await mountOverlay({ ...store, ...writable, method });
    expect(await mountState(store.target)).toBe('overlay');
    expect(readdirSync(store.target)).toHaveLength(count + 1);
    expect(readFileSync(join(store.target, 'top'), 'utf8')).toBe('0');
    writeFileSync(join(store.target, 'top'), 'mine');
    expect(readFileSync(join(store.root, 'upper/top'), 'utf8')).toBe('mine');
    expect(await unmount(store.target)).toBe(true);
    expect(await mountState(store.target)).toBe('none');
  });

  test.each(
    [...new Set([most, 2, 127, 128, 129, 500, 501])].filter((count) => count > most || count === most),
  )('%i lowers: as many as fit, or an error that says how many do', async (count) => {
    const store = layers(count);
    const mounted = mountOverlay({ ...store, ...writable, method });
    if (count === most) {
      await mounted;
      expect(readdirSync(store.target)).toHaveLength(count + 1);
    } else {
      await expect(mounted).rejects.toMatchObject({
        code: 'ERR_LAYER_DEPTH',
        limit: most,
        path: store.target,
      });
      expect(await mountState(store.target)).toBe('none');
    }
  });
});

describe('read-only', () => {
  test.each<[MountMethod, number]>([
    ['fsconfig', 1],
    ['fsconfig', 2],
    ['fsconfig', 129],
    ['mount', 1],
    ['mount', 2],
    ['mount', 128],
    ['flat', 1],
  ])('%s, %i lowers without an upper', async (method, count) => {
    const store = layers(count);
    await mountOverlay({ ...store, options: [], readOnly: true, method });
    expect(readdirSync(store.target)).toHaveLength(count + 1);
    expect(() => writeFileSync(join(store.target, 'x'), '')).toThrow(/EROFS/);
    expect(await unmount(store.target)).toBe(true);
  });

  test.each<MountMethod>(['fsconfig', 'mount', 'flat'])(
    '%s with an upper shows it and changes nothing',
    async (method) => {
      const store = layers(1);
      writeFileSync(join(store.root, 'upper/mine'), '');
      await mountOverlay({ ...store, ...writable, readOnly: true, method });
      expect(readdirSync(store.target)).toContain('mine');
      expect(() => writeFileSync(join(store.target, 'x'), '')).toThrow(/EROFS/);
    },
  );

  test('a whiteout of a single layer is not shown', async () => {
    const store = layers(1);
    await native.makeNode(join(store.root, 'id0/diff/gone'), 0o020000, 0, 0);
    await mountOverlay({ ...store, options: [], readOnly: true, method: 'fsconfig' });
    expect(readdirSync(store.target).sort()).toEqual(['f0', 'top']);
  });
});

describe('failures', () => {
  const failing = async (change: Partial<OverlayMount>): Promise<unknown> => {
    const store = layers(2);
    const error: unknown = await mountOverlay({ ...store, ...writable, method: 'fsconfig', ...change }).catch(
      (reason: unknown) => reason,
    );
    expect(await mountState(store.target)).toBe('none');
    return error;
  };

  test('name the lower that is missing', async () => {
    expect(await failing({ lowers: ['id0/diff', 'l/GONE'] })).toMatchObject({
      code: 'ENOENT',
      syscall: 'fsconfig',
      path: expect.stringMatching(/\/l\/GONE$/) as string,
    });
  });

  test("carry the kernel's own words", async () => {
    expect(await failing({ options: ['colour=blue'] })).toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining("Unknown parameter 'colour'") as string,
    });
  });

  test.each(['a:b', 'a,b', 'a\\b', ''])("refuse the name '%s', which options cannot carry", async (name) => {
    expect(await failing({ lowers: [name] })).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
  });

  test('refuse an overlay without lowers', async () => {
    expect(await failing({ lowers: [] })).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
  });

  test('have the stack of the caller', async () => {
    const error = (await failing({ target: '/nonexistent/target' })) as Error;
    expect(error).toMatchObject({ code: 'ENOENT', syscall: 'move_mount', path: '/nonexistent/target' });
    expect(error.stack).toContain('mounts.ts');
  });
});

describe('unmount and state', () => {
  test('of a path without a mount, and of a missing path', async () => {
    const dir = scratch();
    expect(await unmount(dir)).toBe(false);
    expect(await unmount(join(dir, 'gone'))).toBe(false);
    expect(await mountState(dir)).toBe('none');
    expect(await mountState(join(dir, 'gone/deeper'))).toBe('none');
  });

  test('a busy mount is unmounted only if detached', async () => {
    const store = layers(2);
    await mountOverlay({ ...store, ...writable, method: 'fsconfig' });
    const child = execFileSync('sh', ['-c', 'sleep 30 >/dev/null 2>&1 & echo $!'], { cwd: store.target });
    try {
      await expect(unmount(store.target)).rejects.toMatchObject({
        code: 'EBUSY',
        syscall: 'umount2',
        path: store.target,
      });
      expect(await unmount(store.target, { detach: true })).toBe(true);
      expect(await mountState(store.target)).toBe('none');
    } finally {
      process.kill(Number(String(child)));
    }
  });

  test('a link to a mount is not followed', async () => {
    const store = layers(2);
    await mountOverlay({ ...store, ...writable, method: 'mount' });
    const link = join(store.root, 'link');
    symlinkSync(store.target, link);
    expect(await mountState(link)).toBe('none');
    expect(await unmount(link)).toBe(false);
    expect(await mountState(store.target)).toBe('overlay');
  });

  test('another file system is not taken for an overlay', async () => {
    const dir = scratch();
    execFileSync('mount', ['-t', 'tmpfs', 'none', dir]);
    expect(await mountState(dir)).toBe('other');
    expect(await mountState(`${dir}/`)).toBe('other');
  });
});

describe('the process', () => {
  test('keeps its directory and umask, and holds no file system', async () => {
    const outer = scratch();
    execFileSync('mount', ['-t', 'tmpfs', 'none', outer]);
    for (const name of ['a', 'b', 'upper', 'work', 'merged']) mkdirSync(join(outer, name));
    const cwd = process.cwd();
    const umask = process.umask(0o077);
    try {
      const mount = { root: outer, target: join(outer, 'merged'), lowers: ['a', 'b'], ...writable };
      for (const method of ['fsconfig', 'mount'] as const) {
        await mountOverlay({ ...mount, method });
        await unmount(mount.target);
      }
      await call(native.batch(outer, [{ op: 'mkdir', path: 'made', mode: 0o755 }]));
      expect(process.umask()).toBe(0o077);
    } finally {
      process.umask(umask);
    }
    expect(process.cwd()).toBe(cwd);
    expect(String(execFileSync('stat', ['-c', '%a', join(outer, 'made')]))).toBe('755\n');
    // Busy if a thread of ours were still in it.
    execFileSync('umount', [outer]);
  });

  test('leaks no fd, whatever fails', async () => {
    const store = layers(3);
    const mount = { ...store, ...writable };
    await native.probe(store.root);
    const before = openFds();
    for (let i = 0; i < 25; i++) {
      await mountOverlay({ ...mount, method: i % 2 ? 'mount' : 'fsconfig' });
      await unmount(store.target);
      await mountOverlay({ ...mount, lowers: ['l/GONE'], method: 'fsconfig' }).catch(() => undefined);
      await mountOverlay({ ...mount, target: '/nonexistent', method: 'fsconfig' }).catch(() => undefined);
      await native.probe(store.root);
      await native.flatten(store.root, store.lowers, 'flat');
      await native.flatten(store.root, store.lowers, 'flat').catch(() => undefined);
      await native.populateInit(store.root, store.lowers, 'upper');
      await native.populateInit(store.root, store.lowers, 'upper').catch(() => undefined);
      await native.removeTree(store.root, 'flat');
      rmSync(join(store.root, 'upper'), { recursive: true });
      mkdirSync(join(store.root, 'upper'));
    }
    expect(openFds()).toBe(before);
  });
});

describe('probe', () => {
  test('finds the features of this kernel and leaves nothing', async () => {
    const dir = scratch();
    const probe = await native.probe(dir);
    expect(probe).toMatchObject({ uid: 0, sysAdmin: true, dType: true, trustedXattr: true, overlay: true });
    expect(readdirSync(dir)).toEqual([]);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(dir);
  });

  test('names the file system, and says where the directory is missing', async () => {
    const dir = scratch();
    execFileSync('mount', ['-t', 'tmpfs', 'none', dir]);
    expect((await native.probe(dir)).fsType).toBe('tmpfs');
    await expect(call(native.probe(join(dir, 'gone')))).rejects.toMatchObject({
      code: 'ENOENT',
      syscall: 'mkdtemp',
    });
  });

  test('an overlay cannot hold an upper', async () => {
    const store = layers(2);
    await mountOverlay({ ...store, ...writable, method: 'fsconfig' });
    const probe = await native.probe(store.target);
    expect(probe).toMatchObject({ fsType: 'overlayfs', overlay: false, multipleLowers: false });
  });
});
