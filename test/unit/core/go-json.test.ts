import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareBytes } from '../../../src/core/bytes.ts';
import { goJson, goString, sortedKeys } from '../../../src/core/go-json.ts';

describe('Go JSON', () => {
  it('escapes what Go escapes', () => {
    expect(goString('<a> & b')).toBe('"\\u003ca\\u003e \\u0026 b"');
    expect(goString('\u2028\u2029')).toBe('"\\u2028\\u2029"');
    expect(goString('"\\/\n\r\t')).toBe('"\\"\\\\/\\n\\r\\t"');
    expect(goString('\b\f\u0000\u001f\u007f')).toBe('"\\u0008\\u000c\\u0000\\u001f\u007f"');
    expect(goString('ü€😀')).toBe('"ü€😀"');
    expect(goString('a\ud800b\udc00')).toBe('"a\ufffdb\ufffd"');
  });

  it('parses back to the same value', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), (value) => {
        expect(JSON.parse(goJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it('has no spaces, keeps the order of members, and leaves undefined ones out', () => {
    expect(goJson({ b: [1, true, null, 'x'], a: undefined, c: new Map([['k', {}]]) })).toBe(
      '{"b":[1,true,null,"x"],"c":{"k":{}}}',
    );
  });

  it('refuses values that JSON does not have', () => {
    expect(() => goJson([undefined])).toThrow(TypeError);
    expect(() => goJson(() => 1)).toThrow(TypeError);
  });
});

describe('the order of keys', () => {
  it('is that of their UTF-8 bytes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (a, b) => {
        expect(Math.sign(compareBytes(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
      }),
    );
  });

  it('puts supplementary characters behind U+FFFF, unlike JavaScript', () => {
    expect([
      ...sortedKeys([
        ['\u{1f600}', 1],
        ['\uffee', 2],
        ['a', 3],
      ]).keys(),
    ]).toEqual(['a', '\uffee', '\u{1f600}']);
  });
});
