import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { list, mapOf, pointer, readGo, struct, type GoType } from '../../../src/core/go-read.ts';

const source = { what: 'the test', code: 'ERR_CONFIG_INVALID', maxBytes: 1e6 } as const;
const read = (type: GoType, text: string): unknown => readGo(type, Buffer.from(text), source);
const plain = (type: GoType, text: string): unknown => JSON.parse(JSON.stringify(read(type, text)));
const refusal = (type: GoType, text: string): string => {
  try {
    read(type, text);
  } catch (error) {
    expect(error).toMatchObject({ code: 'ERR_CONFIG_INVALID' });
    return (error as Error).message;
  }
  throw new Error(`${text} is accepted`);
};

const INNER = struct({ A: 'string', B: list('int64') });
const OUTER = struct({
  Number: 'int64',
  Small: 'uint16',
  Big: 'uint64',
  Optional: pointer('int64'),
  Flag: 'bool',
  Name: 'string',
  When: 'time',
  Words: 'words',
  Inner: INNER,
  Far: pointer(INNER),
  Map: mapOf(list(INNER)),
  Set: mapOf(struct({})),
});

describe('a document read as Go reads it', () => {
  it.each([
    ['int64', '0', 0],
    ['int64', '-0', 0],
    ['int64', '-9223372036854775808', -(2n ** 63n)],
    ['int64', '9007199254740993', 9007199254740993n],
    ['uint64', '18446744073709551615', 2n ** 64n - 1n],
    ['uint16', '65535', 65535],
  ] as const)('%s %s is %s', (type, text, value) => {
    expect(read(type, text)).toBe(value);
  });

  it.each([
    ['int64', '10.0', 'is 10.0, not a whole number in plain digits'],
    ['int64', '1e2', 'is 1e2, not a whole number in plain digits'],
    ['int64', '1E+2', 'is 1E+2, not a whole number in plain digits'],
    ['int64', '9223372036854775808', 'is 9223372036854775808, which is beyond the range of int64'],
    ['uint16', '65536', 'is 65536, which is beyond the range of uint16'],
    ['uint64', '-0', 'is -0, not a whole number in digits without a sign'],
    ['uint64', '-1', 'is -1, not a whole number in digits without a sign'],
    ['int64', '"1"', 'is a string, not a number'],
    ['string', '1', 'is a number, not a string'],
    ['bool', '0', 'is a number, not true or false'],
    ['time', '"2020-01-01"', 'is not an RFC 3339 time'],
    ['time', '"2020-01-01T00:00:00\\u005a"', 'is not an RFC 3339 time'],
    ['words', '{}', 'is an object, not a string or an array of strings'],
  ] as const)('%s %s is refused', (type, text, why) => {
    expect(refusal(type, text)).toBe(`the test: the document ${why}`);
  });

  it('says where in the document a value is wrong', () => {
    expect(refusal(OUTER, '{"map":{"80/tcp":[{},{"B":[1,2.5]}]}}')).toMatch(
      /: Map\["80\/tcp"\]\[1\]\.B\[1\] is 2\.5, not/,
    );
    expect(refusal(OUTER, '{"Far":[]}')).toMatch(/: Far is an array, not an object/);
    expect(refusal(OUTER, '{"Set":{"a":true}}')).toMatch(/: Set\["a"\] is true, not an object/);
  });

  it('has names in any case, and those of the type come out', () => {
    expect(plain(OUTER, '{"nUMBER":1,"\u212aind":1,"FLAG":true,"ſmall":7}')).toEqual({
      Number: 1,
      Flag: true,
      Small: 7,
    });
  });

  it('reads each of several members of one name: the last counts, a wrong one is wrong, objects and maps are merged', () => {
    expect(plain(OUTER, '{"Number":1,"number":2}')).toEqual({ Number: 2 });
    expect(refusal(OUTER, '{"Number":1.0,"Number":1}')).toMatch(/Number is 1\.0/);
    expect(plain(OUTER, '{"Far":{"A":"x"},"Far":{"B":[1]}}')).toEqual({ Far: { A: 'x', B: [1] } });
    expect(plain(OUTER, '{"Set":{"a":{}},"Set":{"b":null}}')).toEqual({ Set: { a: {}, b: {} } });
    expect(plain(OUTER, '{"Words":["a","b"],"Words":"c"}')).toEqual({ Words: ['c'] });
  });

  it('has null as the zero value, which clears lists, maps and pointers only', () => {
    expect(
      plain(OUTER, '{"Number":3,"Number":null,"Words":["a"],"Words":null,"Optional":1,"Optional":null}'),
    ).toEqual({ Number: 3, Words: null, Optional: null });
    expect(plain(OUTER, '{"Inner":{"A":"x"},"Inner":null,"Far":{"A":"x"},"Far":null}')).toEqual({
      Inner: { A: 'x' },
      Far: null,
    });
    expect(plain(list('string'), '["a",null]')).toEqual(['a', '']);
    expect(plain(list(INNER), '[null]')).toEqual([{}]);
    expect(plain(mapOf('string'), '{"a":null}')).toEqual({ a: '' });
    expect(read(OUTER, 'null')).toEqual({});
  });

  it('takes keys of maps as they are', () => {
    const found = read(mapOf('string'), '{"__proto__":"a","constructor":"b"}') as Record<string, unknown>;
    expect(Object.entries(found)).toEqual([
      ['__proto__', 'a'],
      ['constructor', 'b'],
    ]);
  });

  it('passes over whatever stands in members that it does not know', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), fc.boolean(), (text, spaced) => {
        const written = spaced ? JSON.stringify(JSON.parse(text), undefined, 1) : text;
        expect(plain(OUTER, `{"x" : ${written} ,"Number":1, "y":${written}}`)).toEqual({ Number: 1 });
      }),
    );
  });

  it('gives every string, number and nesting that JSON.parse gives', () => {
    const item = fc.record({
      A: fc.string({ unit: 'binary' }),
      B: fc.array(fc.maxSafeInteger()),
    });
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.array(item)), (map) => {
        expect(plain(OUTER, JSON.stringify({ Map: map }))).toEqual(JSON.parse(JSON.stringify({ Map: map })));
      }),
      { numRuns: 30 },
    );
  });

  it.each(['', '{', '{}x', '{"Number":01}', '\ufeff{}'])('is JSON, which %j is not', (text) => {
    expect(refusal(OUTER, text)).toMatch(/not JSON/);
  });
});
