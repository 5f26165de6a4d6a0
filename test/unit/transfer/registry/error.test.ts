import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { refusalError, wordsOf } from '../../../../src/transfer/registry/error.ts';

const subject = {
  what: 'manifest localhost:5000/x:1',
  registry: 'localhost:5000',
  repository: 'localhost:5000/x',
};
const errors = (...list: unknown[]) => Buffer.from(JSON.stringify({ errors: list }));
const refusal = (status: number, body: Uint8Array = Buffer.alloc(0), retryAfterMs?: number) =>
  refusalError({ status, body, retryAfterMs }, subject);

describe('an answer that says no', () => {
  it.each([
    [404, 'ERR_REGISTRY_NOT_FOUND', undefined],
    [403, 'ERR_REGISTRY_DENIED', undefined],
    [400, 'ERR_REGISTRY_REFUSED', undefined],
    [405, 'ERR_REGISTRY_UNSUPPORTED', undefined],
    [408, 'ERR_REGISTRY_UNAVAILABLE', true],
    [429, 'ERR_REGISTRY_LIMIT', true],
    [500, 'ERR_REGISTRY_UNAVAILABLE', true],
    [503, 'ERR_REGISTRY_UNAVAILABLE', true],
    [302, 'ERR_REGISTRY_INVALID', undefined],
  ])('by %s', (status, code, retryable) => {
    const error = refusal(status);
    expect(error).toMatchObject({ code, status, registry: 'localhost:5000', repository: 'localhost:5000/x' });
    expect(error.retryable).toBe(retryable);
    expect(
      error.message.startsWith(`manifest localhost:5000/x:1: localhost:5000 answers ${String(status)}`),
    ).toBe(true);
  });

  it("quotes the registry's own words", () => {
    const body = errors({ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown', detail: { Tag: '1' } });
    expect(refusal(404, body).message).toContain('(MANIFEST_UNKNOWN: manifest unknown)');
  });

  it('goes by those words where they say more than the status', () => {
    expect(refusal(404, errors({ code: 'NAME_INVALID', message: 'invalid repository name' }))).toMatchObject({
      code: 'ERR_REGISTRY_REFUSED',
      message: expect.stringContaining('does not accept this name') as string,
    });
  });

  it('says when to come again', () => {
    const error = refusal(429, Buffer.alloc(0), 90_000);
    expect(error.retryAfterMs).toBe(90_000);
    expect(error.message).toContain('in 90 s');
  });
});

describe('the words of a body', () => {
  it.each([
    ['a page', '<html>\n<body>secret page</body>', '<html>'],
    ['text', 'upstream timed out\nmore', 'upstream timed out'],
    ['no errors', '{"errors":[]}', '{"errors":[]}'],
    ['errors that are none', '{"errors":[null,7,{"code":1}]}', '{"errors":[null,7,{"code":1}]}'],
    ['several errors', '{"errors":[{"code":"A"},null,{"message":"b"}]}', 'A; b'],
    ['null', 'null', 'null'],
    ['terminal control', 'a\u001b[2Jb', 'a [2Jb'],
  ])('of %s', (_, body, words) => {
    expect(wordsOf(Buffer.from(body))).toBe(words);
  });

  it('are one short line without control characters, whatever comes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4000 }), (body) => {
        const words = wordsOf(body);
        expect(words.length).toBeLessThanOrEqual(301);
        // eslint-disable-next-line no-control-regex -- control characters are the point
        expect(words).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
      }),
    );
  });
});
