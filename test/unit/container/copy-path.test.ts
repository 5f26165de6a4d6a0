import { describe, expect, test } from 'vitest';
import {
  baseName,
  containerPath,
  keepEnding,
  planCopy,
  splitPath,
  type CopyDestination,
} from '../../../src/container/copy-path.ts';

test.each([
  ['', '/.'],
  ['.', '/.'],
  ['/', '/'],
  ['a', '/a'],
  ['a//b/', '/a/b/'],
  ['a/b/.', '/a/b/.'],
  ['a/b/./', '/a/b/.'],
  ['../../a', '/a'],
  ['a/../b', '/b'],
])('the path %j of a container is %j', (path, expected) => {
  expect(containerPath(path)).toBe(expected);
});

test.each([
  ['', '.'],
  ['/', '/'],
  ['/a/', 'a'],
  ['/a/.', '.'],
])('the base of %j is %j', (path, expected) => {
  expect(baseName(path)).toBe(expected);
});

test.each([
  ['/a/b', '/a', 'b'],
  ['/a/b/', '/a', 'b'],
  ['/a/b/.', '/a/b', '.'],
  ['/', '/', '/'],
])('%j is %j and %j', (path, directory, base) => {
  expect(splitPath(path)).toEqual({ directory, base });
});

test('an ending is kept exactly once', () => {
  expect(keepEnding('/a', 'a/')).toBe('/a/');
  expect(keepEnding('/a/', 'a/')).toBe('/a/');
  expect(keepEnding('/', './')).toBe('/.');
  expect(keepEnding('/a', 'a/.')).toBe('/a/.');
});

describe('where a copy goes', () => {
  const file = { name: 'file', isDirectory: false };
  const directory = { name: 'dir', isDirectory: true };
  const content = { name: '.', isDirectory: true };
  const at = (path: string, kind: CopyDestination['kind']): CopyDestination => ({ path, kind });

  test.each([
    ['a file into a directory', file, at('/d', 'directory'), '/d', 'file'],
    ['a file over a file', file, at('/d/old', 'other'), '/d', 'old'],
    ['a file to a new name', file, at('/d/new', 'missing'), '/d', 'new'],
    ['a directory into a directory', directory, at('/d/', 'directory'), '/d/', 'dir'],
    ['a directory to a new name', directory, at('/d/new/', 'missing'), '/d', 'new'],
    ['the content into a directory', content, at('/d', 'directory'), '/d', '.'],
    ['the content as a new directory', content, at('/d/new', 'missing'), '/d', 'new'],
    ['a directory to new/., whose parent must be there', directory, at('/d/new/.', 'missing'), '/d/new', '.'],
  ])('%s', (_, source, destination, path, name) => {
    expect(planCopy(source, destination)).toEqual({ directory: path, name });
  });

  test.each([
    ['a directory onto a file', directory, at('/d/f', 'other')],
    ['a file to a directory that is not there', file, at('/d/new/', 'missing')],
    ['a file into one that is not there', file, at('/d/new/.', 'missing')],
  ])('%s is refused', (_, source, destination) => {
    expect(() => planCopy(source, destination)).toThrow(
      expect.objectContaining({ code: 'ERR_PATH_TYPE', path: destination.path }) as Error,
    );
  });
});
