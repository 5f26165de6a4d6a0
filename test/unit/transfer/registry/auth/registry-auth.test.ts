import { describe, expect, it } from 'vitest';
import {
  parseRegistryAuth,
  parseRegistryConfig,
} from '../../../../../src/transfer/registry/auth/registry-auth.ts';
import { codeOf } from '../../../../support/errors.ts';

const header = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

describe('X-Registry-Auth', () => {
  it.each<[string, string | undefined, unknown]>([
    ['absent', undefined, undefined],
    ['empty', '', undefined],
    ['of an anonymous client', header({}), { credentials: undefined, serverAddress: '' }],
    [
      'of docker',
      header({ username: 'u', password: 'p', auth: '', email: '', serveraddress: 'localhost:5000' }),
      { credentials: { username: 'u', password: 'p' }, serverAddress: 'localhost:5000' },
    ],
    [
      'of docker with an identity token',
      header({ username: 'u', identitytoken: 't' }),
      { credentials: { username: 'u', identityToken: 't' }, serverAddress: '' },
    ],
    [
      'with a registry token',
      header({ registrytoken: 't' }),
      { credentials: { registryToken: 't' }, serverAddress: '' },
    ],
    [
      'with auth in place of name and password',
      header({ auth: Buffer.from('u:p:q').toString('base64') }),
      { credentials: { username: 'u', password: 'p:q' }, serverAddress: '' },
    ],
    [
      'in the other alphabet of base64, padded',
      Buffer.from(JSON.stringify({ username: 'ÿÿÿ', password: 'ß?>' })).toString('base64'),
      { credentials: { username: 'ÿÿÿ', password: 'ß?>' }, serverAddress: '' },
    ],
  ])('%s', (_, value, expected) => {
    expect(parseRegistryAuth(value)).toEqual(expected);
  });

  it.each([
    ['no base64', '{"password":"hunter2"}'],
    ['no JSON', Buffer.from('hunter2').toString('base64url')],
    ['another type', header({ username: ['hunter2'] })],
    ['no pair in auth', header({ auth: Buffer.from('hunter2').toString('base64') })],
    ['too long', header({ password: 'x'.repeat(200_000) })],
  ])('%s is refused without quoting it', (_, value) => {
    const parse = (): unknown => parseRegistryAuth(value);
    expect(codeOf(parse)).toBe('ERR_INVALID_ARGUMENT');
    expect(parse).not.toThrow(/hunter2/);
  });
});

describe('X-Registry-Config', () => {
  const auth = Buffer.from('u:p').toString('base64');

  it('has credentials for each registry, in any spelling of its name, and for no other', async () => {
    const source = parseRegistryConfig(
      header({
        'https://index.docker.io/v1/': { username: 'hub', password: 'h' },
        'https://registry.example/v2/': { auth },
        'empty.example': {},
      }),
    );
    expect(await source.get('https://index.docker.io/v1/')).toEqual({ username: 'hub', password: 'h' });
    expect(await source.get('registry.example')).toEqual({ username: 'u', password: 'p' });
    expect(await source.get('empty.example')).toBeUndefined();
    expect(await source.get('other.example')).toBeUndefined();
  });

  it('with one malformed entry still serves the others', async () => {
    const source = parseRegistryConfig(header({ 'bad.example': 7, 'good.example': { auth } }));
    expect(await source.get('good.example')).toEqual({ username: 'u', password: 'p' });
    await expect(source.get('bad.example')).rejects.toMatchObject({ code: 'ERR_CREDENTIALS_INVALID' });
  });

  it.each([
    ['not base64', '%%%'],
    ['not JSON', Buffer.from('secret').toString('base64')],
    ['a list', header(['secret'])],
  ])('is refused without a quote: %s', (_, value) => {
    const error = (() => {
      try {
        parseRegistryConfig(value);
        return undefined;
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
    expect(String(error)).not.toContain('secret');
  });
});
