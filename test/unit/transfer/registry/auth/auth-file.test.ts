import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  credentialsIn,
  helperFor,
  readAuthFile,
} from '../../../../../src/transfer/registry/auth/auth-file.ts';
import { codeOf, rejection } from '../../../../support/errors.ts';
import { dropScratch, makeScratch } from '../../../../support/scratch.ts';

const HUB = 'https://index.docker.io/v1/';
const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** A file with this text, read. */
async function file(text: string) {
  const directory = makeScratch('auth-file');
  onTestFinished(() => dropScratch(directory));
  writeFileSync(join(directory, 'config.json'), text);
  const read = await readAuthFile(join(directory, 'config.json'));
  if (!read) throw new Error('not there');
  return read;
}

const auths = (entries: object) => file(JSON.stringify({ auths: entries }));

describe('entries', () => {
  it.each<[string, object, object | undefined]>([
    ['auth', { auth: base64('u:p') }, { username: 'u', password: 'p' }],
    ['a password with colons', { auth: base64('u:p:q') }, { username: 'u', password: 'p:q' }],
    ['a padded password', { auth: base64('u:p\0\0') }, { username: 'u', password: 'p' }],
    ['UTF-8', { auth: base64('ü:pässwörd') }, { username: 'ü', password: 'pässwörd' }],
    ['plain fields', { username: 'u', password: 'p' }, { username: 'u', password: 'p' }],
    ['auth before plain fields', { username: 'x', auth: base64('u:p') }, { username: 'u', password: 'p' }],
    ['an identity token', { auth: base64('u:'), identitytoken: 't' }, { username: 'u', identityToken: 't' }],
    ['a registry token', { registrytoken: 't' }, { registryToken: 't' }],
    ['what a helper leaves', {}, undefined],
    ['fields of any case', { Auth: base64('u:p') }, { username: 'u', password: 'p' }],
  ])('%s', async (_, entry, expected) => {
    expect(credentialsIn(await auths({ 'localhost:5000': entry }), 'localhost:5000')).toEqual(expected);
  });

  it.each([
    ['no base64', { auth: '!!!!' }],
    ['no colon', { auth: base64('secret') }],
    ['another type', { auth: 7 }],
    ['another alphabet', { auth: '__8=' }],
  ])('%s is an error that names the file and quotes no secret', async (_, entry) => {
    const read = await auths({ 'localhost:5000': entry, 'other:1': { auth: base64('u:p') } });
    const failed = (): unknown => credentialsIn(read, 'localhost:5000');
    expect(codeOf(failed)).toBe('ERR_CREDENTIALS_INVALID');
    expect(failed).toThrow(/config\.json: auths\["localhost:5000"\]/);
    expect(failed).not.toThrow(/secret/);
    expect(credentialsIn(read, 'other:1')).toEqual({ username: 'u', password: 'p' });
  });
});

describe('keys', () => {
  const entry = { username: 'u', password: 'p' };

  it.each([
    ['localhost:5000', 'localhost:5000'],
    ['https://localhost:5000', 'localhost:5000'],
    ['http://localhost:5000', 'localhost:5000'],
    ['https://localhost:5000/v1/', 'localhost:5000'],
    ['https://localhost:5000/anything', 'localhost:5000'],
    ['localhost:5000/v2/', 'localhost:5000'],
    [HUB, HUB],
    ['index.docker.io', HUB],
    ['docker.io', HUB],
    ['registry-1.docker.io', HUB],
    ['https://index.docker.io/v2/', HUB],
  ])('%s is found for %s', async (key, wanted) => {
    expect(credentialsIn(await auths({ [key]: entry }), wanted)).toEqual(entry);
  });

  it.each([
    ['localhost:5001', 'localhost:5000'],
    ['localhost', 'localhost:5000'],
    ['localhost:5000.example.com', 'localhost:5000'],
    ['https://localhost:5000@evil.example', 'localhost:5000'],
    // podman's, for a part of the registry only
    ['localhost:5000/team', 'localhost:5000'],
    ['docker.io.example', HUB],
    ['__proto__', 'constructor'],
  ])('%s is not found for %s', async (key, wanted) => {
    expect(credentialsIn(await auths({ [key]: entry }), wanted)).toBeUndefined();
  });

  it('prefers the exact one', async () => {
    const read = await auths({ 'https://r': { username: 'a', password: 'p' }, r: entry });
    expect(credentialsIn(read, 'r')).toEqual(entry);
  });

  it('finds the helper of a registry, else the general one', async () => {
    const read = await file(
      JSON.stringify({ credHelpers: { 'https://gcr.io': 'gcr', 'docker.io': 'hub' }, credsStore: 'all' }),
    );
    expect(helperFor(read, 'gcr.io')).toBe('gcr');
    expect(helperFor(read, HUB)).toBe('hub');
    expect(helperFor(read, 'localhost:5000')).toBe('all');
    expect(helperFor(await file('{"credsStore":""}'), 'r')).toBeUndefined();
  });
});

describe('the file', () => {
  it('may be missing or empty', async () => {
    expect(await readAuthFile('/nonexistent/config.json')).toBeUndefined();
    expect(credentialsIn(await file(''), 'r')).toBeUndefined();
    expect((await readAuthFile('/dev/null'))?.auths.size).toBe(0);
  });

  it.each([
    ['no JSON', '{"auths":{"r":{"auth":"c2VjcmV0OnNlY3JldA=="'],
    ['another type', '{"auths":["c2VjcmV0OnNlY3JldA=="]}'],
    ['no object', '"c2VjcmV0OnNlY3JldA=="'],
    ['too deep', `{"auths":${'['.repeat(200)}${']'.repeat(200)}}`],
    ['too large', `{"auths":{}}${' '.repeat(1024 * 1024)}`],
  ])('%s: an error that names it and quotes no secret', async (_, text) => {
    const error = await rejection(file(text));
    expect(error).toMatchObject({
      code: 'ERR_CREDENTIALS_INVALID',
      path: expect.stringContaining('config.json') as string,
    });
    expect(`${error.message}${String(error.cause)}`).not.toContain('c2Vj');
  });

  it('that is a directory is an error', async () => {
    const directory = makeScratch('auth-file');
    onTestFinished(() => dropScratch(directory));
    mkdirSync(join(directory, 'config.json'));
    const error = await rejection(readAuthFile(join(directory, 'config.json')));
    expect(error.message).toMatch(/config\.json cannot be read \(EISDIR\)/);
  });
});
