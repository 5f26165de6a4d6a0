import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Digest } from '../../../src/core/digest.ts';
import {
  canonicalName,
  formatReference,
  parseReference,
  withDefaultTag,
  type Reference,
} from '../../../src/core/reference.ts';

const DIGEST = `sha256:${'0a'.repeat(32)}` as Digest;

const alnum = fc.stringMatching(/^[a-z0-9]{1,6}$/);
const component = fc
  .tuple(alnum, fc.array(fc.tuple(fc.constantFrom('.', '_', '__', '-', '---'), alnum), { maxLength: 2 }))
  .map(([first, rest]) => first + rest.flat().join(''));
const path = fc.array(component, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
const host = fc.oneof(
  fc.constantFrom(
    'localhost',
    'localhost:5000',
    'ghcr.io',
    'Registry.Example.com:443',
    '[::1]:5000',
    '10.0.0.1:80',
  ),
  fc.tuple(alnum, fc.integer({ min: 1, max: 65535 })).map(([name, port]) => `${name}:${port}`),
);
const tag = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/);
/** Names that keep their meaning in familiar form. */
const repository = fc
  .oneof(
    fc.tuple(host, path).map((parts) => parts.join('/')),
    // Without a registry, the first of several parts must not look like one.
    path.filter((name) => name !== 'sha256' && !/^(?:[^/]*\.[^/]*|localhost)\//.test(name)),
  )
  .map((name) => parseReference(name).repository);
const reference: fc.Arbitrary<Reference> = fc
  .record(
    { repository, tag, digest: fc.constant(DIGEST) },
    { requiredKeys: ['repository'], noNullPrototype: true },
  )
  .map((value) => value as Reference);

function whyInvalid(text: string): string {
  try {
    parseReference(text);
  } catch (error) {
    expect(error).toMatchObject({ code: 'ERR_REFERENCE_INVALID', kind: 'invalid' });
    return (error as Error).message;
  }
  throw new Error(`${text} was accepted`);
}

describe('a reference', () => {
  it('survives format and parse', () => {
    fc.assert(
      fc.property(reference, (value) => {
        expect(parseReference(formatReference(value))).toEqual(value);
      }),
    );
  });

  it('means the same in familiar and in canonical form', () => {
    fc.assert(
      fc.property(reference, (value) => {
        const canonical = { ...value, repository: canonicalName(value.repository) };
        expect(parseReference(formatReference(canonical))).toEqual(value);
        expect(canonicalName(canonical.repository)).toBe(canonical.repository);
      }),
    );
  });

  it('never crashes the parser and never parses to what does not format back', () => {
    const text = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...'aA0.:/@-_[] sha256') }));
    fc.assert(
      fc.property(text, (value) => {
        let parsed: Reference;
        try {
          parsed = parseReference(value);
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_REFERENCE_INVALID' });
          return;
        }
        expect(parseReference(formatReference(parsed))).toEqual(parsed);
      }),
    );
  });

  it.each([
    ['alpine', 'alpine', 'docker.io/library/alpine'],
    ['library/alpine', 'alpine', 'docker.io/library/alpine'],
    ['docker.io/alpine', 'alpine', 'docker.io/library/alpine'],
    ['docker.io/library/alpine', 'alpine', 'docker.io/library/alpine'],
    ['index.docker.io/library/alpine', 'alpine', 'docker.io/library/alpine'],
    ['docker.io/u/x', 'u/x', 'docker.io/u/x'],
    ['library/a/b', 'library/a/b', 'docker.io/library/a/b'],
    ['localhost/x', 'localhost/x', 'localhost/x'],
    ['localhost:5000/x', 'localhost:5000/x', 'localhost:5000/x'],
    ['h:1/library/x', 'h:1/library/x', 'h:1/library/x'],
    ['foo.com/x', 'foo.com/x', 'foo.com/x'],
    ['foo_bar.com/x', 'foo_bar.com/x', 'foo_bar.com/x'],
    ['foo__bar.com/x/y', 'foo__bar.com/x/y', 'foo__bar.com/x/y'],
    ['foo-bar_baz.io/a', 'foo-bar_baz.io/a', 'foo-bar_baz.io/a'],
    ['a__b.c-d--e', 'a__b.c-d--e', 'docker.io/library/a__b.c-d--e'],
  ])('%s is %s, on its registry %s', (text, familiar, canonical) => {
    expect(parseReference(text)).toEqual({ repository: familiar });
    expect(canonicalName(familiar)).toBe(canonical);
  });

  it('tells a port from a tag', () => {
    expect(parseReference('h:5000/x')).toEqual({ repository: 'h:5000/x' });
    expect(parseReference('h:5000/x:1')).toEqual({ repository: 'h:5000/x', tag: '1' });
    expect(parseReference('h:5000')).toEqual({ repository: 'h', tag: '5000' });
  });

  it('may have a tag and a digest', () => {
    expect(parseReference(`x:1@${DIGEST}`)).toEqual({ repository: 'x', tag: '1', digest: DIGEST });
    expect(formatReference({ repository: 'x', tag: '1', digest: DIGEST })).toBe(`x:1@${DIGEST}`);
  });

  it('gets the tag latest only where it has neither tag nor digest', () => {
    expect(withDefaultTag({ repository: 'x' })).toEqual({ repository: 'x', tag: 'latest' });
    expect(withDefaultTag({ repository: 'x', tag: '1' })).toEqual({ repository: 'x', tag: '1' });
    expect(withDefaultTag({ repository: 'x', digest: DIGEST })).toEqual({ repository: 'x', digest: DIGEST });
  });

  it.each([
    ['', /it is empty/],
    ['Alpine', /"Alpine" has upper-case letters/],
    ['Foo/bar', /"Foo" has upper-case letters/],
    ['ghcr.io/Foo/bar', /"Foo" has upper-case letters/],
    ['x:', /tag is empty/],
    [`x:${'t'.repeat(129)}`, /tag has 129 characters; 128 are allowed/],
    ['x:.hidden', /tag "\.hidden"/],
    ['x:a b', /tag "a b"/],
    ['x:a:b', /tag "a:b"/],
    [':tag', /name is missing/],
    ['ab'.repeat(32), /image id/],
    ['sha256:1', /refusing to create an ambiguous tag using digest algorithm as name/],
    ['docker.io/library/sha256', /refusing to create an ambiguous tag using digest algorithm as name/],
    ['x@sha256:12', /64 lower-case hex digits/],
    [`x@sha512:${'0'.repeat(128)}`, /64 lower-case hex digits/],
    ['x@', /64 lower-case hex digits/],
    ['a//b', /empty part/],
    ['/a', /empty part|registry host/],
    ['a/', /empty part/],
    ['-a', /must start and end/],
    ['a..b', /must start and end/],
    ['a___b', /must start and end/],
    ['a b', /characters other than/],
    ['ümlaut', /characters other than/],
    ['a..b.com/x', /not a registry host/],
    ['_foo.com/x', /not a registry host/],
    ['foo_.com/x', /not a registry host/],
    ['foo_bar.COM/x', /not a registry host/],
    ['A_b.c/x', /not a registry host/],
    ['foo_bar:5000/x', /not a registry host/],
    ['foo_bar.com:5000/x', /not a registry host/],
    ['-x.com/y', /not a registry host/],
    ['a:b/c', /not a registry host/],
    ['a\n', /characters other than/],
    [`${'a'.repeat(250)}`, /268 bytes with its registry; 255/],
    ['docker.io/ghcr.io/x', /must not look like a registry host/],
    ['docker.io/localhost/x', /must not look like a registry host/],
  ])('%s is refused', (text, why) => {
    expect(whyInvalid(text)).toMatch(why);
  });

  it('allows names up to 255 bytes with their registry, and tags up to 128', () => {
    const longest = 'a'.repeat(255 - 'docker.io/library/'.length);
    expect(parseReference(longest).repository).toBe(longest);
    expect(parseReference(`x:${'t'.repeat(128)}`).tag).toHaveLength(128);
  });

  it('is refused in time that grows with its length', () => {
    const started = performance.now();
    whyInvalid(`${'a-'.repeat(50_000)}!`);
    whyInvalid(`${'a.'.repeat(50_000)}/x`);
    expect(performance.now() - started).toBeLessThan(1000);
  });
});
