/**
 * `listChanges` against what `docker diff` does, in a slow way: both merged views are mounted and walked as a
 * whole.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  type BigIntStats,
} from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseChanges } from '../../src/rwlayer/changes.ts';
import { mountOverlay, unmount } from '../../src/system/mounts.ts';
import { call, native } from '../../src/system/native.ts';
import { edits, make, type Edit } from '../support/edits.ts';
import { build, directories, scratch, type DirectoryNode } from '../support/overlay.ts';

const NAMES = ['a', 'b', 'c'];
/** `setfacl -d -m u:1:rwx` (linux/posix_acl_xattr.h): version, then tag, permissions and id of each entry. */
const DEFAULT_ACL = `0x02000000${'01000700ffffffff'}${'0200070001000000'}${'04000500ffffffff'}${'10000700ffffffff'}${'20000500ffffffff'}`;
const OPTIONS = { method: 'fsconfig', options: ['index=off', 'redirect_dir=off', 'metacopy=off'] } as const;

/** What docker finds by comparing everything (moby/go-archive: changes.go), sorted. */
async function walkBoth(now: string, before: string): Promise<string[]> {
  const found: string[] = [];
  const walk = async (path: string, seenBefore: boolean): Promise<void> => {
    const names = new Set(readdirSync(join(now, path)));
    if (seenBefore) for (const name of readdirSync(join(before, path))) names.add(name);
    for (const name of [...names].sort()) {
      const child = `${path}/${name}`;
      const a = lstatSync(join(now, child), { throwIfNoEntry: false, bigint: true });
      const b = seenBefore
        ? lstatSync(join(before, child), { throwIfNoEntry: false, bigint: true })
        : undefined;
      if (!a && !b) continue;
      if (!a) {
        found.push(`D ${child}`);
        continue;
      }
      const at = found.length;
      if (!b) found.push(`A ${child}`);
      else if (
        differ(a, b) ||
        (await capability(join(now, child))) !== (await capability(join(before, child)))
      )
        found.push(`C ${child}`);
      if (!a.isDirectory()) continue;
      const listed = found.length > at;
      await walk(child, b?.isDirectory() ?? false);
      if (!listed && found.length > at) found.splice(at, 0, `C ${child}`);
    }
  };
  await walk('', true);
  return found;
}

function differ(a: BigIntStats, b: BigIntStats): boolean {
  if (a.mode !== b.mode || a.uid !== b.uid || a.gid !== b.gid || a.rdev !== b.rdev) return true;
  if (a.isDirectory()) return false;
  if (a.size !== b.size) return true;
  const [x, y] = [a.mtimeNs, b.mtimeNs];
  const second = 1_000_000_000n;
  return x / second !== y / second || (x !== y && x % second !== 0n && y % second !== 0n);
}

async function capability(path: string): Promise<string> {
  return Buffer.from((await native.getXattr(path, 'security.capability')) ?? []).toString('hex');
}

/** Two layers, an init layer and an empty RW layer on top, mounted. */
async function container(base: DirectoryNode, second: readonly Edit[], init: readonly Edit[]) {
  const root = scratch();
  await build(join(root, 'base'), base);
  for (const name of ['second', 'init', 'upper', 'work', 'now', 'before']) mkdirSync(join(root, name));
  const target = join(root, 'now');
  await mountOverlay({ root, target, lowers: ['base'], upper: 'second', work: 'work', ...OPTIONS });
  await make(target, second);
  await unmount(target);
  await mountOverlay({ root, target, lowers: ['second', 'base'], upper: 'init', work: 'work', ...OPTIONS });
  await make(target, init);
  await unmount(target);
  const lowers = ['init', 'second', 'base'];
  await mountOverlay({ root, target, lowers, upper: 'upper', work: 'work', ...OPTIONS });
  await mountOverlay({ root, target: join(root, 'before'), lowers, readOnly: true, ...OPTIONS });
  return {
    root,
    now: target,
    list: () => listed(root, lowers),
    async model() {
      // A fresh mount: what the other one has cached of the layers below does not matter.
      return walkBoth(target, join(root, 'before'));
    },
  };
}

async function listed(root: string, lowers: readonly string[]): Promise<string[]> {
  const changes = parseChanges(await call(native.listChanges(root, 'upper', lowers)));
  return changes.map(({ kind, path }) => `${kind} ${path}`);
}

const EMPTY: DirectoryNode = { kind: 'dir', mode: 0o755, gid: 0, opaque: false, xattr: false, children: {} };
const directory = (children: DirectoryNode['children']): DirectoryNode => ({ ...EMPTY, children });
const file = { kind: 'file', content: 'one', mode: 0o644, uid: 0 } as const;

describe('changes', () => {
  test('are those of a full walk, after any edits on a mounted container', async () => {
    const some = (length: number) => fc.array(edits(NAMES, 3), { maxLength: length });
    await fc.assert(
      fc.asyncProperty(
        directories(NAMES, 2),
        some(6),
        some(3),
        some(14),
        async (base, second, init, edited) => {
          const it = await container(base, second, init);
          await make(it.now, edited);
          expect(await it.list()).toEqual(await it.model());
        },
      ),
      { numRuns: 120 },
    );
  }, 300_000);

  test('are those of a full walk, for any upper directory', async () => {
    await fc.assert(
      fc.asyncProperty(
        directories(NAMES, 2),
        directories(NAMES, 2),
        directories(NAMES, 2),
        async (base, second, upper) => {
          const root = scratch();
          await build(join(root, 'base'), base);
          await build(join(root, 'second'), second);
          // overlayfs merges the roots of all layers.
          await build(join(root, 'upper'), { ...upper, opaque: false });
          for (const name of ['now', 'before', 'nothing']) mkdirSync(join(root, name));
          const lowers = ['second', 'base'];
          const views: [string, string[]][] = [
            ['now', ['upper', ...lowers]],
            ['before', lowers],
          ];
          for (const [name, stack] of views)
            await mountOverlay({ root, target: join(root, name), lowers: stack, readOnly: true, ...OPTIONS });
          expect(await listed(root, lowers)).toEqual(await walkBoth(join(root, 'now'), join(root, 'before')));
        },
      ),
      { numRuns: 120 },
    );
  }, 300_000);

  test('list a directory wherever its content changed, and one deletion for a whole directory', async () => {
    const base = directory({
      d: directory({ x: file, e: directory({ y: file }) }),
      gone: directory({ z: file }),
    });
    const it = await container(base, [], []);
    writeFileSync(join(it.now, 'd/e/new'), '');
    rmSync(join(it.now, 'gone'), { recursive: true });
    expect(await it.list()).toEqual(['C /d', 'C /d/e', 'A /d/e/new', 'D /gone']);
  });

  test('see through a directory that was deleted and made again', async () => {
    const it = await container(directory({ d: directory({ x: file, y: file }) }), [], []);
    rmSync(join(it.now, 'd'), { recursive: true });
    mkdirSync(join(it.now, 'd'));
    writeFileSync(join(it.now, 'd/x'), 'other');
    expect(await it.list()).toEqual(['C /d', 'C /d/x', 'D /d/y']);
  });

  test('show a file that became a directory, and the reverse', async () => {
    const it = await container(directory({ f: file, d: directory({ x: file }) }), [], []);
    rmSync(join(it.now, 'f'));
    mkdirSync(join(it.now, 'f'));
    writeFileSync(join(it.now, 'f/inner'), '');
    rmSync(join(it.now, 'd'), { recursive: true });
    symlinkSync('f', join(it.now, 'd'));
    expect(await it.list()).toEqual(['C /d', 'C /f', 'A /f/inner']);
  });

  test('leave out entries that were made and removed, files that were only opened, and the init layer', async () => {
    const init: Edit[] = [{ op: 'write', path: 'b', text: 'hosts' }];
    const it = await container(directory({ a: file }), [], init);
    execFileSync('sh', ['-c', ': >> a; echo 1 > tmp; rm tmp'], { cwd: it.now });
    expect(await it.list()).toEqual([]);
    expect(await it.model()).toEqual([]);
  });

  test('refuse a redirected directory by name', async () => {
    const root = scratch();
    await build(join(root, 'base'), directory({ d: directory({ x: file }) }));
    for (const name of ['upper', 'work', 'now']) mkdirSync(join(root, name));
    const target = join(root, 'now');
    const options = ['redirect_dir=on'];
    await mountOverlay({
      root,
      target,
      lowers: ['base'],
      upper: 'upper',
      work: 'work',
      method: 'fsconfig',
      options,
    });
    renameSync(join(target, 'd'), join(target, 'moved'));
    await expect(call(native.listChanges(root, 'upper', ['base']))).rejects.toMatchObject({
      code: 'ERR_UPPER_UNSUPPORTED',
      member: '/moved',
    });
  });

  test('refuse a file of which the upper has only the metadata, however many attributes it has', async () => {
    const root = scratch();
    await build(join(root, 'base'), directory({ x: file }));
    for (const name of ['upper', 'work', 'now']) mkdirSync(join(root, name));
    const target = join(root, 'now');
    const options = ['metacopy=on', 'redirect_dir=on'];
    await mountOverlay({
      root,
      target,
      lowers: ['base'],
      upper: 'upper',
      work: 'work',
      method: 'fsconfig',
      options,
    });
    chmodSync(join(target, 'x'), 0o600);
    for (const letter of ['a', 'b', 'c'])
      await native.setXattr(join(root, 'upper/x'), `user.${letter.repeat(150)}`, Buffer.from('1'));
    await expect(call(native.listChanges(root, 'upper', ['base']))).rejects.toMatchObject({
      code: 'ERR_UPPER_UNSUPPORTED',
      member: '/x',
    });
  });

  test('are listed while the container makes, replaces and removes entries', async () => {
    const it = await container(directory({}), [], []);
    // As /var/log/journal has: every entry gets attributes, which are asked for in a second call.
    execFileSync('setfattr', ['-n', 'system.posix_acl_default', '-v', DEFAULT_ACL, it.now]);
    mkdirSync(join(it.now, 'a'));
    for (let i = 0; i < 2000; i++) writeFileSync(join(it.now, 'a', `f${i}`), '');
    // The trap runs once the command in hand has ended: killed, the shell would leave one that still makes
    // entries.
    const turns =
      "trap 'exit' TERM; while :; do mkdir -p x/y; rm -r x; : >x; rm x; ln -s a x; rm x; : >a/z; rm a/z; mkdir a/z; rmdir a/z; done";
    const churn = spawn('sh', ['-c', turns], { cwd: it.now, stdio: 'ignore' });
    const ended = once(churn, 'exit');
    try {
      for (let round = 0; round < 60; round++) {
        const found = await it.list();
        const steady = found.filter((line) => !/^A \/(x(\/y)?|a\/z)$/.test(line));
        expect(steady.length).toBe(2001);
      }
    } finally {
      churn.kill('SIGTERM');
      await ended;
    }
    for (const left of ['x', 'a/z']) rmSync(join(it.now, left), { recursive: true, force: true });
    expect((await it.list()).length).toBe(2001);
  });

  test('cost nothing for untouched files of the lower layers', async () => {
    const many = Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`f${i}`, file]));
    const it = await container(directory({ many: directory(many) }), [], []);
    writeFileSync(join(it.now, 'many/new'), '');
    expect(await it.list()).toEqual(['C /many', 'A /many/new']);
    // The directory below is never listed: its access time, set back, stays.
    execFileSync('touch', ['-a', '-d', '@1000', join(it.root, 'base/many')]);
    await it.list();
    expect(lstatSync(join(it.root, 'base/many')).atimeMs).toBe(1_000_000);
  });
});
