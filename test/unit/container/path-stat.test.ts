import { constants } from 'node:fs';
import { expect, test } from 'vitest';
import { goMode, hasMode, pathStat } from '../../../src/container/path-stat.ts';

// The numbers are those that dockerd 20.10 answers.
test.each([
  ['a directory', constants.S_IFDIR | 0o755, 2147484141],
  ['a link', constants.S_IFLNK | 0o777, 134218239],
  ['a file', constants.S_IFREG | 0o644, 420],
  ['a character device', constants.S_IFCHR | 0o666, 69206454],
  ['a directory with the sticky bit', constants.S_IFDIR | 0o1777, 2148532735],
])('%s has the mode of Go', (_, mode, expected) => {
  expect(goMode(mode)).toBe(expected);
});

test('each bit can be tested', () => {
  const mode = goMode(constants.S_IFCHR | 0o4711);
  expect(hasMode(mode, 'device') && hasMode(mode, 'charDevice') && hasMode(mode, 'setuid')).toBe(true);
  expect(hasMode(mode, 'directory') || hasMode(mode, 'symlink') || hasMode(mode, 'setgid')).toBe(false);
});

test.each([
  [0, 0, '1970-01-01T00:00:00Z'],
  [1, 500, '1970-01-01T00:00:01.0000005Z'],
  [-1, 250_000_000, '1969-12-31T23:59:59.25Z'],
])('%i s and %i ns are %s', (mtimeSeconds, mtimeNanoseconds, mtime) => {
  expect(pathStat('x', { mode: 0, size: 3, mtimeSeconds, mtimeNanoseconds, linkTarget: '/t' })).toEqual({
    name: 'x',
    size: 3,
    mode: 0,
    mtime,
    linkTarget: '/t',
  });
});
