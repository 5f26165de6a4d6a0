import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { printable } from '../../../src/core/printable.ts';

describe('printable', () => {
  it.each([
    ['ESC', 'a\u001b[2Jb', 'a\\u001b[2Jb'],
    ['the short escapes', '\b\t\n\f\r', '\\b\\t\\n\\f\\r'],
    ['NUL and BEL', '\0\u0007', '\\u0000\\u0007'],
    ['DEL and C1', '\u007f\u009b31m', '\\u007f\\u009b31m'],
    ['directions of writing', '\u202egpj.exe\u2066\u200f\u061c', '\\u202egpj.exe\\u2066\\u200f\\u061c'],
    ['separators of lines', 'a\u2028b\u2029c\u0085', 'a\\u2028b\\u2029c\\u0085'],
    ['zero-width characters', 'al\u200bpi\u200dne\ufeff', 'al\\u200bpi\\u200dne\\ufeff'],
    ['halves of pairs', '\ud800x\udc00', '\\ud800x\\udc00'],
    ['tags beyond U+FFFF', '\u{e0041}', '\\udb40\\udc41'],
  ])('shows %s as an escape', (_, text, shown) => {
    expect(printable(text)).toBe(shown);
  });

  it('leaves every language and every surrogate pair unchanged', () => {
    const text = 'naïve Grüße 日本語 العربية עברית 🎉 "a\\b" \u00a0<>&';
    expect(printable(text)).toBe(text);
  });

  it('does not change the meaning of a JSON document', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
        const shown = printable(JSON.stringify({ [text]: text }));
        expect(JSON.parse(shown)).toEqual({ [text]: text });
        expect(shown).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
      }),
    );
  });
});
