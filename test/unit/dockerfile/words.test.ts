/** The forms of variables in a word. */
import { describe, expect, test } from 'vitest';
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
    expect(expandWord(word, variables, '\\')).toBe(expected);
  });

  test.each([
    ['${missing?gone}', 'missing: gone'],
    ['${empty:?gone}', 'empty: gone'],
    ['${path:#x}', 'unsupported modifier'],
    ['${path/x}', 'a "/" is missing'],
    ['${}', 'bad substitution'],
  ])('%s is refused', (word, why) => {
    expect(() => expandWord(word, variables, '\\')).toThrow(why);
  });

  test('a value that would take a pattern too long is refused', () => {
    const long = new Map([['long', 'a'.repeat(20_000)]]);
    expect(() => expandWord('${long##*b*c}', long, '\\')).toThrow('too long for a pattern');
  });
});
