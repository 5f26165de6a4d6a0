/** A tree with every kind of entry and attribute, and the comparison of two trees. */
import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { native } from '../../src/system/native.ts';
import { CAPABILITY } from './edits.ts';
import { snapshot } from './overlay.ts';

/** user::rwx, user:1000:r, group::r-x, mask::r-x, other::r-x, as the kernel has it: tag, permissions, id. */
const ACL = Buffer.from(
  [
    '02000000',
    '01000700ffffffff',
    '02000400e8030000',
    '04000500ffffffff',
    '10000500ffffffff',
    '20000500ffffffff',
  ].join(''),
  'hex',
);

/** Fills a root file system of a test image. `at` gives the path of an entry. */
export async function fillRich(at: (path: string) => string): Promise<void> {
  mkdirSync(at('srv'), { mode: 0o2750 });
  writeFileSync(at('srv/one'), 'shared');
  linkSync(at('srv/one'), at('a hard link'));
  execFileSync('chown', ['4000000000:3999999999', at('srv/one')]);
  await native.setXattr(at('srv/one'), 'security.capability', CAPABILITY);
  await native.setXattr(at('srv'), 'trusted.note', Buffer.from('for the root only'));
  await native.setXattr(at('srv/one'), 'user.long', Buffer.alloc(3000, 7));
  await native.setXattr(at('srv'), 'system.posix_acl_access', ACL);
  await native.setXattr(at('srv'), 'system.posix_acl_default', ACL);
  await native.setXattr(at('house/rebar'), 'system.posix_acl_access', ACL);
  await native.makeNode(at('srv/null'), 0o020666, 1, 3);
  await native.makeNode(at('srv/wide'), 0o060600, 259, 70_000);
  await native.makeNode(at('srv/pipe'), 0o010600, 0, 0);
  symlinkSync('x'.repeat(4095), at('srv/a long link'));
  symlinkSync('one', at('srv/link'));
  writeFileSync(Buffer.concat([Buffer.from(at('srv/')), Buffer.from([0xff, 0x01, 0x0a])]), 'any bytes');
  writeFileSync(at('srv/-before the dot'), '');
  writeFileSync(at('srv/blocks'), Buffer.alloc(3 * 4096, 'b'));
  writeFileSync(at('srv/sparse'), 'begins');
  truncateSync(at('srv/sparse'), 300_000_000);
  writeFileSync(at('srv/sparse'), 'ends', { flag: 'a' });
  execFileSync('touch', ['-d', '1931-07-04 05:06:07.123456789 UTC', at('srv/one'), at('srv')]);
}

/** Returns times with nanoseconds, link counts and inode groups, which {@link snapshot} leaves out. */
export function facts(root: string): string[] {
  const format = '%P %m %U:%G %T@ %n %y %l\\n';
  const lines = execFileSync('find', [root, '-printf', format], { encoding: 'latin1', maxBuffer: 1 << 28 });
  // Overlayfs counts no subdirectories: the links of a directory say nothing.
  return lines
    .split('\n')
    .map((line) => line.replace(/ \d+ d /, ' d '))
    .sort();
}

/** Compares kinds, modes, owners, times, links, contents and all attributes. */
export async function expectSameTree(found: string, wanted: string): Promise<void> {
  expect(facts(found)).toEqual(facts(wanted));
  await expectSameContents(found, wanted);
}

/** {@link expectSameTree} without the times. */
export async function expectSameContents(found: string, wanted: string): Promise<void> {
  const lines = async (root: string): Promise<string[]> =>
    (await snapshot(root)).map((line) => line.replace(/ mtime=-?\d+/, ''));
  expect(await lines(found)).toEqual(await lines(wanted));
  expect(attributes(found)).toBe(attributes(wanted));
}

function attributes(root: string): string {
  const options = ['-R', '-h', '-P', '-d', '-m', '-', '-e', 'hex', '.'];
  return execFileSync('getfattr', options, { cwd: root, encoding: 'latin1' })
    .split('\n\n')
    .map((block) => block.split('\n').sort().join('\n'))
    .sort()
    .join('\n\n');
}
