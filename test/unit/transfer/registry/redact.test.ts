import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { redactUrl } from '../../../../src/transfer/registry/redact.ts';

describe('a URL as it may be shown', () => {
  it.each([
    ['https://bob:hunter2@proxy.example:3128/', 'https://proxy.example:3128/'],
    [
      'https://cdn.example/x?X-Amz-Signature=abc&Expires=9',
      'https://cdn.example/x?X-Amz-Signature=REDACTED&Expires=REDACTED',
    ],
    [
      'http://r/v2/x/blobs/uploads/1?_state=abc&digest=sha256:1',
      'http://r/v2/x/blobs/uploads/1?_state=REDACTED&digest=sha256%3A1',
    ],
    ['http://r/x#access_token=abc', 'http://r/x'],
    ['not a url with secret', 'a malformed URL'],
  ])('%s', (url, shown) => {
    expect(redactUrl(url)).toBe(shown);
  });

  it('shows no secret, wherever it is', () => {
    const secret = 'S3cr3tS3cr3t';
    fc.assert(
      fc.property(fc.constantFrom('user', 'password', 'query', 'hash'), fc.webUrl(), (place, text) => {
        const url = new URL(text);
        if (place === 'user') url.username = secret;
        if (place === 'password') url.password = secret;
        if (place === 'query') url.searchParams.set('sig', secret);
        if (place === 'hash') url.hash = secret;
        expect(redactUrl(url)).not.toContain(secret);
      }),
    );
  });
});
