import { describe, expect, it } from 'vitest';
import { compileExpression } from '../../../src/core/expression.ts';

const found = (pattern: string, text: string): boolean | undefined => compileExpression(pattern)?.(text);

describe('an expression', () => {
  it.each([
    ['', 'a', true],
    ['', '', true],
    ['b', 'abc', true],
    ['^b', 'abc', false],
    ['^/?web', '/web-1', true],
    ['c$', 'abc', true],
    ['^abc$', 'abc', true],
    ['a.c', 'abc', true],
    ['a.c', 'a\nc', false],
    ['(?s)a.c', 'a\nc', true],
    ['a|x|c', 'c', true],
    ['^(?:a|bc)+$', 'abcbca', true],
    ['^(a|bc)+$', 'abcb', false],
    ['^(?P<name>a)(?<other>b)$', 'ab', true],
    ['^a{2,3}$', 'aa', true],
    ['^a{2,3}$', 'aaaa', false],
    ['^a{2}$', 'aa', true],
    ['^a{2,}$', 'aaaaa', true],
    ['^a{0}$', '', true],
    ['a{,2}', 'a{,2}', true],
    ['^a*?b+?c??$', 'aabb', true],
    ['(a*)*$', 'b', true],
    ['^[a-c]+$', 'abcab', true],
    ['^[^a-c]+$', 'xyz', true],
    ['^[^a-c]+$', 'xaz', false],
    ['^[]a-]+$', ']-a', true],
    ['^[\\d_\\-]+$', '1_-', true],
    ['^[[:alpha:][:^alnum:]]+$', 'ab-', true],
    ['^[[:alpha:]]+$', 'ab1', false],
    ['^\\w+\\.\\d\\D\\S$', 'a_.1xy', true],
    ['\\bweb\\b', 'my-web-1', true],
    ['\\bweb\\B', 'web', false],
    ['\\Aa\\z', 'a', true],
    ['(?m)^b$', 'a\nb\nc', true],
    ['(?i)WEB', 'my-Web', true],
    ['(?i:A)b', 'ab', true],
    ['(?i:A)b', 'aB', false],
    ['((?i)a)b', 'AB', false],
    ['(?i)[A-C]', 'b', true],
    ['(?i)a(?-i)b', 'Ab', true],
    ['^\\x61\\x{62}\\143$', 'abc', true],
    ['^\\Qa.b\\E+$', 'a.bb', true],
    ['^\\Qa|b', 'a|b', true],
    ['\\.\\/\\-', './-', true],
    ['é+$', 'xéé', true],
  ])('%s in %j: %s, as in Go', (pattern, text, is) => {
    expect(found(pattern, text)).toBe(is);
  });

  it.each(
    [
      '(',
      ')',
      'a)',
      '[',
      '[a',
      '[z-a]',
      '*',
      '+a',
      'a**',
      'a{2}{3}',
      'a{3,2}',
      'a{1001}',
      '\\',
      '\\1',
      '\\pL',
    ].concat([
      '(?=a)',
      '(?<!a)',
      '(?x)a',
      '[[:nothing:]]',
      '\\x{110000}',
      '(?',
      '('.repeat(1024),
      '['.repeat(1024),
    ]),
  )('%j is malformed', (pattern) => {
    expect(compileExpression(pattern)).toBeUndefined();
  });

  it.each([
    ['(a+)+$', 'a'.repeat(500) + 'b'],
    ['^(a|a)*$', 'a'.repeat(500) + 'b'],
    ['^(([a-z])+.)+[A-Z]([a-z])+$', 'a'.repeat(500)],
    ['(.*)*(.*)*(.*)*x', 'a'.repeat(500)],
    ['(a?){200}a{200}$', 'a'.repeat(199) + 'b'],
  ])('%s, catastrophic in other matchers, ends in linear time', (pattern, text) => {
    const before = performance.now();
    expect(found(pattern, text)).toBe(false);
    expect(performance.now() - before).toBeLessThan(500);
  });

  it.each(['(a{100}){100}', '((((){1000}){1000}){1000}){1000}', 'a'.repeat(65_536), '(a|b|c){1000}'])(
    'is refused when it is too large: %#',
    (pattern) => {
      const before = performance.now();
      expect(() => compileExpression(pattern)).toThrow(
        expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }),
      );
      expect(performance.now() - before).toBeLessThan(500);
    },
  );
});
