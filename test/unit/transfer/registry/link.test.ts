/** `Link` as RFC 8288 has it, and as servers write it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseLinks } from '../../../../src/transfer/registry/link.ts';

/** `TARGET REL…` of each link. */
const links = (...fields: string[]) =>
  parseLinks(fields).map(({ target, rel }) => [target, ...rel].join(' '));

describe('links', () => {
  it.each<[string, string[], string[]]>([
    [
      'RFC 8288 section 3.5: one link',
      ['<http://example.com/TheBook/chapter2>; rel="previous"; title="previous chapter"'],
      ['http://example.com/TheBook/chapter2 previous'],
    ],
    [
      'section 3.5: several links, encoded titles',
      [
        `</TheBook/chapter2>; rel="previous"; title*=UTF-8'de'letztes%20Kapitel, ` +
          `</TheBook/chapter4>; rel="next"; title*=UTF-8'de'n%c3%a4chstes%20Kapitel`,
      ],
      ['/TheBook/chapter2 previous', '/TheBook/chapter4 next'],
    ],
    [
      'section 3.5: several relations, one of them a URL',
      ['<http://example.org/>; rel="start http://example.net/relation/other"'],
      ['http://example.org/ start http://example.net/relation/other'],
    ],
    ['several fields', ['<a>; rel=prev', '<b>; rel=next, <c>; rel=last'], ['a prev', 'b next', 'c last']],
    ['no quotes, no spaces', ['<a>;rel=next;title=x,<b>;rel=prev'], ['a next', 'b prev']],
    ['spaces and tabs everywhere', [' ,\t< a > ;\t rel \t= "\tnext  prev " , '], ['a next prev']],
    [
      'commas, semicolons and quotes in a target',
      ['</t?a=1,2;b="x",<y>; rel=next'],
      ['/t?a=1,2;b="x",<y next'],
    ],
    ['commas, brackets and quotes in quotes', ['<a>; title="x\\", <b>; rel=prev"; rel=next'], ['a next']],
    ['any order, any case', ['<a>; Title="x"; REL="NEXT"; n=1'], ['a next']],
    ['the first rel counts', ['<a>; rel=prev; rel=next'], ['a prev']],
    [
      'parameters without a value, and empty ones',
      ['<a>; crossorigin; ; rel=next;', '<b>; rel='],
      ['a next', 'b'],
    ],
    ['no parameters', ['<a>, <b>'], ['a', 'b']],
    ['an empty target', ['<>; rel=self'], [' self']],
    [
      'rubbish before and between',
      ['x; rel=next, <a>; rel=next oops, "<b>; rel=next", <c>; rel=next'],
      ['c next'],
    ],
    ['a target without an end', ['<a; rel=next'], []],
    ['a quoted string without an end', ['<a>; rel="next, <b>; rel=next'], ['a']],
    ['nothing', ['', ' , ,'], []],
  ])('%s', (_, fields, expected) => {
    expect(links(...fields)).toEqual(expected);
  });

  it('name the document that they refer to', () => {
    expect(parseLinks('<a>; rel=next; anchor="/b"')).toEqual([{ target: 'a', rel: ['next'], anchor: '/b' }]);
    expect(parseLinks('<a>; rel=next')).toEqual([{ target: 'a', rel: ['next'], anchor: undefined }]);
    expect(parseLinks(undefined)).toEqual([]);
  });

  it('are read back as they were written', () => {
    const target = fc.stringMatching(/^[!-;=?-~]{0,20}$/);
    const text = fc.stringMatching(/^[ -~]{0,20}$/);
    const link = fc.record({
      target,
      title: text,
      rel: fc.constantFrom('next', 'prev', 'x'),
      first: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(fc.array(link, { minLength: 1, maxLength: 4 }), { maxLength: 4 }), (fields) => {
        const written = fields.map((each) =>
          each
            .map(({ target, title, rel, first }) => {
              const params = [`title="${title.replace(/["\\]/g, '\\$&')}"`, `rel="${rel}"`];
              return [`<${target}>`, ...(first ? params : params.reverse())].join('; ');
            })
            .join(', '),
        );
        expect(links(...written)).toEqual(fields.flat().map((each) => `${each.target} ${each.rel}`));
      }),
    );
  });

  it('take linear time, and are cut', () => {
    const start = performance.now();
    for (const text of ['<', '<a>;', '<a>; rel="', '"', ',', '<a>; rel=next,', '<a>; a=\\'])
      parseLinks(Array<string>(20).fill(text.repeat(100_000)));
    expect(performance.now() - start).toBeLessThan(5000);
    expect(parseLinks('<a>;rel=next,'.repeat(100_000)).length).toBeLessThan(10_000);
  });

  it('never throw, and yield only what they contain', () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[<>;,=" \\a-c]{0,40}$/)), (fields) => {
        for (const { target } of parseLinks(fields)) expect(fields.join(' ')).toContain(target);
      }),
    );
  });
});
