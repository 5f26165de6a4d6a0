import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hideSecrets } from '../../../../../src/transfer/registry/auth/secrets.ts';

describe('secrets in texts', () => {
  it('of the credentials are hidden in every form that they are sent in', () => {
    const secret = fc.string({ minLength: 1, maxLength: 40 }).filter((text) => !'REDACTED'.includes(text));
    fc.assert(
      fc.property(secret, fc.string(), fc.string(), (password, before, after) => {
        const basic = Buffer.from(`bob:${password}`).toString('base64');
        const text = [before, password, encodeURIComponent(password), basic, after].join(' ');
        const shown = hideSecrets(text, { username: 'bob', password });
        expect(shown.replaceAll('REDACTED', '')).not.toContain(password);
        expect(shown).not.toContain(basic);
      }),
    );
  });

  it.each([
    ['Authorization: Bearer abcdefghijklmnop.qrs', 'Authorization: Bearer REDACTED'],
    ['{"access_token": "abc", "x": 1}', '{"access_token": "REDACTED", "x": 1}'],
    ['grant_type=password&password=abc&x=1', 'grant_type=password&password=REDACTED&x=1'],
    ['asks for a bearer token, or basic auth', 'asks for a bearer token, or basic auth'],
  ])('%s', (text, shown) => {
    expect(hideSecrets(text)).toBe(shown);
  });
});
