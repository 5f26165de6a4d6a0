import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { digestOf, type ImageID } from '../../../src/core/digest.ts';
import { formatReference, parseReference } from '../../../src/core/reference.ts';
import { parseReferences } from '../../../src/image/references.ts';

const A = digestOf('a') as ImageID;
const B = digestOf('b') as ImageID;
const DIGEST = digestOf('manifest');
const read = (text: string): ReturnType<typeof parseReferences> =>
  parseReferences(Buffer.from(text), '/store/repositories.json');
const roundTrip = (text: string): string => read(text).serialize();

describe('repositories.json', () => {
  it('without a file is empty', () => {
    expect(parseReferences(undefined, 'x').serialize()).toBe('{"Repositories":{}}');
  });

  it('comes back byte for byte as dockerd wrote it', () => {
    const text =
      `{"Repositories":{"localhost:5055/repo/base":{"localhost:5055/repo/base:1":"${A}",` +
      `"localhost:5055/repo/base@${DIGEST}":"${A}"},"t/a":{"t/a:1":"${B}"}}}`;
    expect(roundTrip(text)).toBe(text);
  });

  it('has its keys in the order of their bytes', () => {
    const references = parseReferences(undefined, 'x');
    for (const name of ['b', 'a-b', 'a/c', 'a.b', 'a', 'a_b', 'localhost:1/a', 'b:2', 'b:10', 'b:A', 'b:_']) {
      references.set(parseReference(name), A);
    }
    const { Repositories } = JSON.parse(references.serialize()) as { Repositories: Record<string, object> };
    expect(Object.keys(Repositories)).toEqual(['a', 'a-b', 'a.b', 'a/c', 'a_b', 'b', 'localhost:1/a']);
    expect(Object.keys(Repositories['b'] ?? {})).toEqual(['b:10', 'b:2', 'b:A', 'b:_', 'b:latest']);
  });

  it('is the same whatever the order of the changes', () => {
    const names = fc.uniqueArray(fc.stringMatching(/^[a-z0-9]{1,5}(:[A-Za-z0-9_]{1,5})?$/), { minLength: 1 });
    fc.assert(
      fc.property(names, (list) => {
        const forward = parseReferences(undefined, 'x');
        const backward = parseReferences(undefined, 'x');
        for (const name of list) forward.set(parseReference(name), A);
        for (const name of list.toReversed()) backward.set(parseReference(name), A);
        expect(forward.serialize()).toBe(backward.serialize());
        expect(roundTrip(forward.serialize())).toBe(forward.serialize());
      }),
    );
  });

  it('is read as leniently as dockerd reads it', () => {
    expect(roundTrip(`{"repositories":{"a":{"a:1":"${A}"}},"more":1} trailing {`)).toBe(
      `{"Repositories":{"a":{"a:1":"${A}"}}}`,
    );
    expect(roundTrip('{}')).toBe('{"Repositories":{}}');
    expect(roundTrip('{"Repositories":null}')).toBe('{"Repositories":{}}');
  });

  it('keeps what it does not understand', () => {
    const text =
      `{"Repositories":{"\\u003ca\\u003e":{"":""},"UPPER":{"UPPER:1":"${A}"},"__proto__":{"x":"no digest"},` +
      `"docker.io/library/x":{"docker.io/library/x:1":"${A}"},"nothing":null}}`;
    expect(roundTrip(text)).toBe(text);
    const references = read(text);
    references.set(parseReference('zz:1'), B);
    expect(references.serialize()).toBe(text.replace(/}}$/, `,"zz":{"zz:1":"${B}"}}}`));
  });

  it.each([
    '',
    '{',
    '{"Repositories":{"a":{"a:1":"sha',
    '[]',
    'null',
    '{"Repositories":{"a":{"a:1":7}}}',
    '\0\0\0',
  ])('is corrupt as %j, and the error has the path and the way out', (text) => {
    expect(() => read(text)).toThrow(
      expect.objectContaining({
        code: 'ERR_STORE_CORRUPT',
        path: '/store/repositories.json',
        message: expect.stringMatching(/^\/store\/repositories\.json: .*fsck --repair/) as string,
      }),
    );
  });
});

describe('a reference', () => {
  it('is found in familiar form, with latest where it has no tag', () => {
    const references = read(`{"Repositories":{"a":{"a:latest":"${A}","a@${DIGEST}":"${B}"}}}`);
    expect(references.get(parseReference('docker.io/library/a'))).toBe(A);
    expect(references.get(parseReference('a:1'))).toBeUndefined();
    expect(references.get(parseReference('b'))).toBeUndefined();
    expect(references.get(parseReference(`a@${DIGEST}`))).toBe(B);
    expect(references.get(parseReference(`a:whatever@${DIGEST}`))).toBe(B);
  });

  it('under a key that is not familiar is listed but not found, as with dockerd', () => {
    const references = read(`{"Repositories":{"docker.io/library/x":{"docker.io/library/x:1":"${A}"}}}`);
    expect(references.get(parseReference('x:1'))).toBeUndefined();
    expect(references.byImage().get(A)?.map(formatReference)).toEqual(['x:1']);
  });

  it('can be moved, and the old image is returned', () => {
    const references = parseReferences(undefined, 'x');
    expect(references.set(parseReference('a'), A)).toBeUndefined();
    expect(references.set(parseReference('a:latest'), A)).toBe(A);
    expect(references.set(parseReference('a'), B)).toBe(A);
    expect(references.get(parseReference('a'))).toBe(B);
  });

  it('by digest is stored without its tag, and never moves', () => {
    const references = parseReferences(undefined, 'x');
    references.set(parseReference(`a:1@${DIGEST}`), A);
    references.set(parseReference(`a@${DIGEST}`), A);
    expect(references.serialize()).toBe(`{"Repositories":{"a":{"a@${DIGEST}":"${A}"}}}`);
    expect(() => references.set(parseReference(`a@${DIGEST}`), B)).toThrow(
      expect.objectContaining({ code: 'ERR_REFERENCE_CONFLICT', kind: 'conflict', id: A }),
    );
    expect(references.get(parseReference(`a@${DIGEST}`))).toBe(A);
  });

  it('is listed in the order of whole names', () => {
    const references = parseReferences(undefined, 'x');
    for (const name of ['localhost/z', 'a.io/x', 'zebra', 'u/x', 'alpine:2', 'alpine']) {
      references.set(parseReference(name), A);
    }
    expect(references.byImage().get(A)?.map(formatReference)).toEqual([
      'a.io/x:latest',
      'alpine:2',
      'alpine:latest',
      'zebra:latest',
      'u/x:latest',
      'localhost/z:latest',
    ]);
  });
});
