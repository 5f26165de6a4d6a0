import { describe, expect, it } from 'vitest';
import { compileGlob } from '../../../src/core/glob.ts';

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
    ['*b', 'ab/b', false],
    ['**a**', 'xax', true],
    ['*ab', 'aab', true],
    ['[^a]b', '/b', true],
    ['[\\\\]', '\\', true],
    ['\\\n', '\n', true],
  ])('%s on %s: %s', (pattern, text, fits) => {
    expect(compileGlob(pattern)(text)).toBe(fits);
  });

  it.each(['[', '[a', '[]', 'a\\', '[z-a]', '[a-]', '[-a]', '[]a]'])('%s is malformed', (pattern) => {
    expect(() => compileGlob(pattern)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }));
  });

  it.each([
    ['many stars', '*a'.repeat(200) + 'b', 'a'.repeat(400)],
    ['a long piece', '*' + 'a'.repeat(200) + 'b', 'a'.repeat(400)],
    ['more than the text has', '*a'.repeat(500) + 'b', 'a'.repeat(400)],
  ])('of %s ends in time that grows with their lengths', (_, pattern, text) => {
    const fits = compileGlob(pattern);
    const before = performance.now();
    expect(fits(text)).toBe(false);
    expect(performance.now() - before).toBeLessThan(200);
  });

  it('that is malformed ends at once, however long it is', () => {
    const before = performance.now();
    expect(() => compileGlob('['.repeat(65_536))).toThrow('more than 1024 characters');
    expect(() => compileGlob('['.repeat(1024))).toThrow('is not a pattern');
    expect(performance.now() - before).toBeLessThan(200);
  });
});
