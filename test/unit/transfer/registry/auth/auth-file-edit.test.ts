/**
 * What a login that was killed has left beside config.json goes with the next change, whatever it is, and is
 * not written through.
 */
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { defaultLogger } from '../../../../../src/system/log.ts';
import { removeAuth, writeAuth } from '../../../../../src/transfer/registry/auth/auth-file-edit.ts';
import { dropScratch, makeScratch } from '../../../../support/scratch.ts';

let scratch: string;
let directory: string;
let path: string;
beforeEach(() => {
  scratch = makeScratch('auth-edit');
  directory = join(scratch, 'docker');
  path = join(directory, 'config.json');
  mkdirSync(directory);
  writeFileSync(path, '{"auths":{"old.example":{"auth":"eDp5"}}}');
});
afterEach(() => dropScratch(scratch));

const left = (): string => join(directory, '.tmp-config.json');

it.each([
  ['a file', () => writeFileSync(left(), 'a password', { mode: 0o644 })],
  ['a link', () => symlinkSync(join(scratch, 'elsewhere'), left())],
])('%s', async (_, leave) => {
  leave();
  await writeAuth(path, 'new.example', { auth: 'dTpw' }, { log: defaultLogger });
  expect(readdirSync(directory)).toEqual(['config.json']);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  leave();
  expect(await removeAuth(path, 'old.example', { log: defaultLogger })).toBe(true);
  expect(readdirSync(directory)).toEqual(['config.json']);
  expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({ auths: { 'new.example': { auth: 'dTpw' } } });
  expect(readdirSync(scratch)).toEqual(['docker']);
});
