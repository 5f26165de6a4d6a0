import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as json from '../../../src/core/json.ts';

const source: json.JsonSource = {
  what: 'the test',
  code: 'ERR_CONFIG_INVALID',
  maxBytes: 1000,
  facts: { id: 'x' },
};
const bytes = (text: string): Uint8Array => Buffer.from(text);
const read = <T>(decoder: json.Decoder<T>, text: string): T => json.decodeJson(decoder, bytes(text), source);
const failure = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    expect(error).toMatchObject({ code: 'ERR_CONFIG_INVALID', id: 'x' });
    return (error as Error).message;
  }
  throw new Error('accepted');
};

describe('parsing', () => {
  it('gives what JSON.parse gives, for every value', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 5 }), (text) => {
        expect(json.parseJson(bytes(text), { ...source, maxBytes: 1e6 })).toEqual(JSON.parse(text));
      }),
    );
  });

  it.each([
    ['', /the test: it is empty/],
    ['{', /the test: not JSON/],
    ['{}x', /not JSON/],
    ['\ufeff{}', /not JSON/],
    ['nul', /not JSON/],
    [`"${'x'.repeat(1000)}"`, /it has 1002 bytes; 1000 are allowed/],
    ['['.repeat(101) + ']'.repeat(101), /nested deeper than 100/],
    ['{"a":'.repeat(101) + '1' + '}'.repeat(101), /nested deeper than 100/],
    // Deep and broken must not reach the parser either.
    ['['.repeat(999), /nested deeper than 100/],
  ])('refuses %j', (text, why) => {
    expect(failure(() => json.parseJson(bytes(text), source))).toMatch(why);
  });

  it('does not count brackets in strings', () => {
    const text = JSON.stringify({ a: '[{"\\'.repeat(150) });
    expect(json.parseJson(bytes(text), { ...source, maxBytes: 1e4 })).toEqual(JSON.parse(text));
  });

  it('replaces invalid UTF-8 as Go does', () => {
    expect(json.parseJson(Buffer.from([0x22, 0xff, 0x22]), source)).toBe('\ufffd');
  });

  it('finds the first of several values', () => {
    const first = (text: string): string => Buffer.from(json.firstValue(bytes(text))).toString();
    expect(first('{"a":"}\\"}"} trailing {')).toBe('{"a":"}\\"}"}');
    expect(first(' [[1],2]{')).toBe(' [[1],2]');
    expect(first('{"a":')).toBe('{"a":');
  });
});

describe('objects', () => {
  const decoder = json.object({ name: json.string, size: json.optional(json.integer) });

  it('keep only their known members', () => {
    expect(read(decoder, '{"name":"a","size":3,"more":1}')).toEqual({ name: 'a', size: 3 });
  });

  it('match names in any case, the last one winning, as Go does', () => {
    expect(read(decoder, '{"NAME":"a","Size":1,"name":"b","SIZE":2}')).toEqual({ name: 'b', size: 2 });
  });

  it('treat null as absent, and keep an earlier value', () => {
    expect(read(decoder, '{"name":"a","size":null}')).toEqual({ name: 'a', size: undefined });
    expect(read(decoder, '{"name":"a","NAME":null}').name).toBe('a');
  });

  it('are read through own members: __proto__ is a key like any other', () => {
    expect(failure(() => read(decoder, '{"__proto__":{"name":"a"}}'))).toMatch(/name is missing/);
    expect(failure(() => read(json.object({ toString: json.string }), '{}'))).toMatch(/toString is missing/);
    const map = read(json.map(json.string), '{"__proto__":"a","constructor":"b"}');
    expect([...map]).toEqual([
      ['__proto__', 'a'],
      ['constructor', 'b'],
    ]);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });

  it('name the place of a fault', () => {
    const nested = json.object({ list: json.array(json.object({ map: json.map(json.boolean) })) });
    expect(failure(() => read(nested, '{"list":[{"map":{}},{"map":{"a b":1}}]}'))).toBe(
      'the test: list[1].map["a b"] is a number, not true or false',
    );
    expect(failure(() => read(nested, '[]'))).toBe('the test: the document is an array, not an object');
    expect(failure(() => read(nested, '{"list":{}}'))).toMatch(/list is an object, not an array/);
  });
});

describe('values', () => {
  it('are of their type', () => {
    expect(failure(() => read(json.string, '1'))).toMatch(/is a number, not a string/);
    expect(failure(() => read(json.boolean, '"true"'))).toMatch(/is a string, not true or false/);
    expect(failure(() => read(json.integer, '"1"'))).toMatch(/is a string, not a number/);
  });

  it.each(['1e400', '9007199254740993', '1.5', '-1e30'])('%s is not an exact whole number', (text) => {
    expect(failure(() => read(json.integer, text))).toMatch(/not a whole number below 2\^53/);
  });

  it('may be bounded or have a default', () => {
    expect(failure(() => read(json.array(json.integer, 2), '[1,2,3]'))).toMatch(/has 3 items; 2 are allowed/);
    expect(read(json.withDefault(json.integer, 7), 'null')).toBe(7);
    expect(read(json.optional(json.integer), 'null')).toBeUndefined();
  });
});
