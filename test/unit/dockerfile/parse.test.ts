/** Dockerfiles that are made to take long: their parts are read in one pass. */
import { expect, test } from 'vitest';
import { parseDockerfile, splitFlags } from '../../../src/dockerfile/parse.ts';
import { trimSpace } from '../../../src/dockerfile/words.ts';

test('flags end at the first word without dashes, or at two dashes alone', () => {
  expect(splitFlags(' --a=1 --b="2 3"  x --c', '\\')).toEqual({
    flags: ['--a=1', '--b="2 3"'],
    rest: 'x --c',
  });
  expect(splitFlags('--a -- --c', '\\')).toEqual({ flags: ['--a'], rest: '--c' });
});

test('white space is taken off both ends, and stays in the middle', () => {
  expect(trimSpace('\u00a0\t a \u3000 b\u2028 \r')).toBe('a \u3000 b');
  expect(trimSpace(' \t')).toBe('');
});

test('a directive has a value, without the white space around it', () => {
  expect(parseDockerfile('# syntax =  a b \nFROM x').syntax).toBe('a b');
  expect(parseDockerfile('#escape=\nFROM x').escape).toBe('\\');
});

// Each of these takes minutes where a part of the text is read again from each of its places.
test.each([
  ['flags', `RUN ${'--a \\\n'.repeat(200_000)} x`],
  ['white space between words', `RUN ${`a${' '.repeat(60_000)}\\\n`.repeat(60)}a`],
  ['carriage returns', `RUN ${`a${'\r'.repeat(60_000)}b\\\n`.repeat(60)}`],
])('%s take linear time', (_, text) => {
  expect(parseDockerfile(text).instructions).toHaveLength(1);
});

test('a directive takes linear time', () => {
  const text = `#escape=${' '.repeat(60_000)}x\u2028x`;
  expect(() => parseDockerfile(text)).toThrow('invalid escape token');
});
