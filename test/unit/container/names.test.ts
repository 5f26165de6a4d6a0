import { describe, expect, it } from 'vitest';
import { generateName, parseContainerName, WORDS } from '../../../src/container/names.ts';
import { codeOf } from '../../support/errors.ts';

describe('parseContainerName', () => {
  it.each(['ab', 'A0', 'my_app', 'x.y-z_1', '0abc', `a${'b'.repeat(254)}`])('takes %s', (name) => {
    expect(parseContainerName(name)).toBe(name);
  });

  it("removes the slash of Docker's API", () => {
    expect(parseContainerName('/build')).toBe('build');
  });

  it.each(['', 'a', '_a', '.a', '-a', 'a b', 'a/b', '//ab', 'ä1', 'ab\n', '..', `a${'b'.repeat(255)}`])(
    'refuses %j',
    (name) => {
      expect(codeOf(() => parseContainerName(name))).toBe('ERR_INVALID_ARGUMENT');
    },
  );
});

describe('generateName', () => {
  it("has Docker's form, and a digit from the second attempt on", () => {
    for (let i = 0; i < 200; i++) {
      expect(generateName()).toMatch(/^[a-z]+_[a-z]+$/);
      expect(generateName(1)).toMatch(/^[a-z]+_[a-z]+[0-9]$/);
    }
  });

  it('makes valid names, from lists without repetition', () => {
    for (const words of [WORDS.adjectives, WORDS.nouns]) {
      expect(words.length).toBe(64);
      expect(new Set(words).size).toBe(64);
    }
    const name = generateName(3);
    expect(parseContainerName(name)).toBe(name);
  });
});
