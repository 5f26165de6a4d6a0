/**
 * Patterns of .dockerignore and of COPY, as moby matches them (pkg/fileutils/fileutils_test.go at v20.10).
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ignoreRule, parseIgnoreRules } from '../../../src/build/context/ignore-rules.ts';
import { call, native } from '../../../src/system/native.ts';

/** Returns whether the rules leave a file at `path`. */
async function isLeft(path: string, rules: readonly string[]): Promise<boolean> {
  const root = mkdtempSync(join(tmpdir(), 'layerstack-rules-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), '');
  const found = await call(native.matchPaths(root, path.replace(/[*?[\]\\]/g, '\\$&'), rules));
  return found.length > 0;
}

describe('patterns', () => {
  it.each([
    ['**', 'file', true],
    ['**/', 'file', true],
    ['**', 'dir/file', true],
    ['**/**', 'dir/file', true],
    ['dir/**', 'dir/file', true],
    ['dir/**', 'dir/dir2/file', true],
    ['**/dir', 'dir/file', true],
    ['**/dir2/*', 'dir/dir2/file', true],
    ['**/dir2/**', 'dir/dir2/dir2/file', true],
    ['**file', 'dir/dir/file', true],
    ['**/file', 'dir/dir/file', true],
    ['**/file*', 'dir/dir/file.txt', true],
    ['**/file*txt', 'dir/dir/file.txt', true],
    ['**/file*.txt*', 'dir/dir/file.txt', true],
    ['**/**/*.txt', 'dir/dir/file.txt', true],
    ['**/**/*.txt2', 'dir/dir/file.txt', false],
    ['**/*.txt', 'file.txt', true],
    ['**/**/*.txt', 'file.txt', true],
    ['a**/*.txt', 'a/file.txt', true],
    ['a**/*.txt', 'a/dir/dir/file.txt', true],
    ['a/*.txt', 'a/dir/file.txt', false],
    ['a/*.txt', 'a/file.txt', true],
    ['a/*.txt**', 'a/file.txt', true],
    ['a[b-d]e', 'ae', false],
    ['a[b-d]e', 'ace', true],
    ['a[b-d]e', 'aae', false],
    ['a[^b-d]e', 'aze', true],
    ['.*', '.foo', true],
    ['.*', 'foo', false],
    ['abc.def', 'abcdef', false],
    ['abc?def', 'abcZdef', true],
    ['abc?def', 'abcdef', false],
    ['a\\\\', 'a\\', true],
    ['a\\*b', 'a*b', true],
    ['**/foo/bar', 'foo/bar', true],
    ['**/foo/bar', 'dir/dir2/foo/bar', true],
    ['abc/**', 'abc', false],
    ['abc/**', 'abc/def/ghi', true],
    ['**/.foo', 'bar.foo', false],
    ['a(b)c/def', 'a(b)c/def', true],
    ['a.|)$(}+{bc', 'a.|)$(}+{bc', true],
    [
      'dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl',
      'dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl',
      true,
    ],
    ['dist/*.whl', 'dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl', true],
    ['?', 'é', true],
    ['[à-ü]', 'é', true],
  ])('%s and the path %s: %s', async (pattern, path, matches) => {
    expect(await isLeft(path, [ignoreRule(pattern, 'here')])).toBe(!matches);
  });

  it.each([
    [['notes', '!notes/README.md'], 'notes/README.md', true],
    [['notes/README.md', '!notes'], 'notes/README.md', true],
    [['notes', '!notes/README.md', 'notes/*.md'], 'notes/README.md', false],
    [['*.md', '!README*.md', 'README-secret.md'], 'README-secret.md', false],
    [['*', '!a'], 'a/b', true],
  ])('the last of %j that matches decides', async (rules, path, left) => {
    expect(await isLeft(path, rules)).toBe(left);
  });

  it('take time that is linear in the path, whatever the pattern is', async () => {
    const rules = [`${'*a'.repeat(60)}x`, `${'**/a'.repeat(60)}x`];
    expect(await isLeft('a'.repeat(250), rules)).toBe(true);
  });
});

describe('a .dockerignore', () => {
  it('has comments, blank lines and a byte order mark, and clean patterns', () => {
    const text = '\ufeff# comment\n\n /a/b/ \n!./c/../d\r\n./\n  # not a comment\n/\n';
    expect(parseIgnoreRules(text, '.dockerignore')).toEqual(['a/b', '!d', '.', '# not a comment', '/']);
  });

  it.each([
    ['a\n!\n', '.dockerignore, line 2: write a pattern after the "!"'],
    ['[', '.dockerignore, line 1: "[" is not a pattern'],
    ['a\\', '.dockerignore, line 1: "a\\\\" is not a pattern'],
  ])('refuses %j with its line', (text, message) => {
    expect(() => parseIgnoreRules(text, '.dockerignore')).toThrow(message);
  });
});
