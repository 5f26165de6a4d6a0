import { describe, expect, it } from 'vitest';
import { globToRegExp } from '../../../src/core/glob.ts';

describe('a pattern', () => {
  it.each([
    ['a*', 'abc', true],
    ['a*', 'a/b', false],
    ['*/*', 'a/b', true],
    ['a?c', 'abc', true],
    ['a?c', 'a/c', false],
    ['[a-c]x', 'bx', true],
    ['[^a-c]x', 'bx', false],
    ['[^a-c]x', 'dx', true],
    ['[\\]a]', ']', true],
    ['[a[&]', '&', true],
    ['\\*', '*', true],
    ['\\*', 'a', false],
    ['a.c', 'abc', false],
    ['(a|b)+$', '(a|b)+$', true],
    ['é?', 'éü', true],
    ['', '', true],
    ['abc', 'xabc', false],
  ])('%s on %s: %s', (pattern, text, fits) => {
    expect(globToRegExp(pattern).test(text)).toBe(fits);
  });

  it.each(['[', '[a', '[]', 'a\\', '[z-a]'])('%s is malformed', (pattern) => {
    expect(() => globToRegExp(pattern)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }));
  });
});
