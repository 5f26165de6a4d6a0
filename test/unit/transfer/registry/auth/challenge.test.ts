import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseChallenges } from '../../../../../src/transfer/registry/auth/challenge.ts';

/** The challenges as plain values. */
const read = (header: string | string[] | undefined) =>
  parseChallenges(header).map(({ scheme, params }) => [scheme, Object.fromEntries(params)]);

describe('what registries send', () => {
  it.each<[string, string | string[] | undefined, unknown]>([
    ['nothing', undefined, []],
    ['an empty field', '', []],
    ['distribution', 'Basic realm="Registry Realm"', [['basic', { realm: 'Registry Realm' }]]],
    [
      'Docker Hub',
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull"',
      [
        [
          'bearer',
          {
            realm: 'https://auth.docker.io/token',
            service: 'registry.docker.io',
            scope: 'repository:library/alpine:pull',
          },
        ],
      ],
    ],
    [
      'several challenges in one field',
      'Negotiate, Bearer realm="https://a/t", service="a, b" , Basic realm="x"',
      [
        ['negotiate', {}],
        ['bearer', { realm: 'https://a/t', service: 'a, b' }],
        ['basic', { realm: 'x' }],
      ],
    ],
    [
      'several fields',
      ['Basic realm=x', 'Bearer realm="y"'],
      [
        ['basic', { realm: 'x' }],
        ['bearer', { realm: 'y' }],
      ],
    ],
    [
      'the blob of another scheme',
      'Negotiate YII=, NTLM abc/def+==, Basic realm=x',
      [
        ['negotiate', {}],
        ['ntlm', {}],
        ['basic', { realm: 'x' }],
      ],
    ],
    ['spaces around =', 'Bearer realm = "a" , service\t=\tb', [['bearer', { realm: 'a', service: 'b' }]]],
    ['escapes', 'Bearer realm="a\\"b\\\\c,"', [['bearer', { realm: 'a"b\\c,' }]]],
    ['URLs without quotes', 'Bearer realm=https://a:5/t?x=1', [['bearer', { realm: 'https://a:5/t?x=1' }]]],
    ['names in any case', 'BEARER Realm="a",SERVICE=b', [['bearer', { realm: 'a', service: 'b' }]]],
    ['a parameter twice', 'Bearer realm="a",realm="b"', [['bearer', { realm: 'a' }]]],
    ['a parameter called like a prototype', 'Bearer __proto__="a"', [['bearer', { ['__proto__']: 'a' }]]],
  ])('%s', (_, header, expected) => {
    expect(read(header)).toEqual(expected);
  });
});

describe('hostile fields', () => {
  it.each([
    ['a quote without its end', 'Bearer realm="abc', [['bearer', {}]]],
    ['a quote without its end, then more', 'Bearer a=b, realm="abc, Basic realm=x', [['bearer', { a: 'b' }]]],
    [
      'an empty value',
      'Bearer a=, realm="x"',
      // Read as the blob of RFC 7235's token68, which the grammar prefers.
      [['bearer', { realm: 'x' }]],
    ],
    ['rubbish before a comma', '@@@"x,y" z, Basic realm=x', [['basic', { realm: 'x' }]]],
    ['commas only', ',,, ,', []],
  ])('%s', (_, header, expected) => {
    expect(read(header)).toEqual(expected);
  });

  it('take linear time, and are cut', () => {
    for (const unit of [
      'a',
      ' ',
      ',',
      '"',
      '\\',
      '=',
      'a=',
      'a=b,',
      'a ',
      '""',
      '"\\',
      'a="',
      'Basic a,',
      ' =',
    ]) {
      const start = process.cpuUsage();
      const found = parseChallenges(unit.repeat(5_000_000 / unit.length));
      expect(found.length).toBeLessThanOrEqual(16);
      for (const { params } of found) expect(params.size).toBeLessThanOrEqual(32);
      // Milliseconds; quadratic time would be minutes.
      expect(process.cpuUsage(start).user / 1000).toBeLessThan(5000);
    }
    expect(parseChallenges(Array.from({ length: 10_000 }, () => 'Basic realm=x')).length).toBe(16);
  });

  it('do not throw, and yield only what they contain', () => {
    const pieces = fc.constantFrom(
      'Bearer',
      'Basic',
      ' ',
      ',',
      '=',
      '"',
      '\\',
      'realm',
      'a',
      '\t',
      'é',
      '\u0000',
    );
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 200 }),
      fc.array(pieces, { maxLength: 60 }).map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(fc.array(text, { maxLength: 3 }), (fields) => {
        for (const { scheme, params } of parseChallenges(fields)) {
          expect(scheme).toMatch(/^[^\s,="]+$/);
          for (const [name, value] of params) {
            expect(name).toMatch(/^[^\s,="]+$/);
            const all = fields.join('\n').replaceAll('\\', '');
            expect(all).toContain(value.replaceAll('\\', ''));
          }
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('are read back as they were written', () => {
    const token = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/);
    const value = fc.string({ unit: 'grapheme-ascii', maxLength: 30 });
    const quote = (text: string): string => `"${text.replace(/["\\]/g, '\\$&')}"`;
    const one = fc.record({
      scheme: token,
      params: fc.uniqueArray(fc.tuple(token, value), {
        selector: ([name]) => name,
        minLength: 1,
        maxLength: 5,
      }),
    });
    fc.assert(
      fc.property(fc.array(one, { minLength: 1, maxLength: 4 }), (challenges) => {
        const header = challenges
          .map(
            ({ scheme, params }) =>
              `${scheme} ${params.map(([name, text]) => `${name}=${quote(text)}`).join(',')}`,
          )
          .join(', ');
        expect(read(header)).toEqual(
          challenges.map(({ scheme, params }) => [scheme, Object.fromEntries(params)]),
        );
      }),
    );
  });
});
