/** The forms of variables in a word. */
import { describe, expect, test } from 'vitest';
import { WordBudget } from '../../../src/dockerfile/word-budget.ts';
import { expandWord } from '../../../src/dockerfile/words.ts';

const variables = new Map([
  ['path', 'usr/local/lib.tar.gz'],
  ['empty', ''],
  ['star', 'a*b*c'],
]);

describe('variables', () => {
  test.each([
    ['${path#*/}', 'local/lib.tar.gz'],
    ['${path##*/}', 'lib.tar.gz'],
    ['${path%.*}', 'usr/local/lib.tar'],
    ['${path%%.*}', 'usr/local/lib'],
    ['${path#?sr}', '/local/lib.tar.gz'],
    ['${path#nothing}', 'usr/local/lib.tar.gz'],
    ['${path/\\//:}', 'usr:local/lib.tar.gz'],
    ['${path//\\//:}', 'usr:local:lib.tar.gz'],
    ['${star//\\*/-}', 'a-b-c'],
    ['${star/a*b/x}', 'x*c'],
    ['${missing-x}${empty-x}', 'x'],
    ['${missing:-x}${empty:-x}', 'xx'],
    ['${missing+x}${empty+x}', 'x'],
    ['${missing:+x}${empty:+x}|', '|'],
    ['${empty?no}|', '|'],
  ])('%s becomes %j', (word, expected) => {
    expect(expandWord(word, { variables, escape: '\\', budget: new WordBudget() })).toBe(expected);
  });

  test.each([
    ['${missing?gone}', 'missing: gone'],
    ['${empty:?gone}', 'empty: gone'],
    ['${path:#x}', 'unsupported modifier'],
    ['${path/x}', 'a "/" is missing'],
    ['${}', 'bad substitution'],
  ])('%s is refused', (word, why) => {
    expect(() => expandWord(word, { variables, escape: '\\', budget: new WordBudget() })).toThrow(why);
  });

  const expand = (word: string, values: ReadonlyMap<string, string>, budget = new WordBudget()): string =>
    expandWord(word, { variables: values, escape: '\\', budget });

  test('a long value may have a pattern, which takes linear time', () => {
    const long = new Map([['long', 'a'.repeat(100_000)]]);
    expect(expand('${long##*b*c}', long)).toBe('a'.repeat(100_000));
  });

  test.each([
    ['patterns', '${long//*b/x}', 'a'.repeat(1000)],
    ['values', '$long'.repeat(20), 'a'.repeat(10_000)],
    ['replacements', '${long//a/$long}', 'a'.repeat(450)],
  ])('the %s of a file have one bound together', (_, word, value) => {
    const budget = new WordBudget();
    const long = new Map([['long', value]]);
    const all = (): void => {
      for (let count = 0; count < 40; count++) expand(word, long, budget);
    };
    expect(all).toThrow('the variables of the file take too much work');
    expect(() => expand(word, long)).not.toThrow();
  });

  test('variables in variables have a bound', () => {
    const nested = (depth: number): string => '${a:-'.repeat(depth) + 'x' + '}'.repeat(depth);
    expect(expand(nested(100), new Map())).toBe('x');
    expect(() => expand(nested(100_000), new Map())).toThrow('nested more than 100 deep');
  });
});
