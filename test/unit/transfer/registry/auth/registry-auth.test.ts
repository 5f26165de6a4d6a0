import { describe, expect, it } from 'vitest';
import { parseRegistryAuth } from '../../../../../src/transfer/registry/auth/registry-auth.ts';
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
