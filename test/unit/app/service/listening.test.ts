/**
 * Where the service may listen, by what is written down: hosts, groups, settings, variables of systemd,
 * browsers.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { takeInheritedSockets } from '../../../../src/app/service/activation.ts';
import { groupId } from '../../../../src/app/service/groups.ts';
import { formatHost, parseHost } from '../../../../src/app/service/hosts.ts';
import { refuseBrowsers } from '../../../../src/app/service/loopback-guard.ts';
import { readServiceSettings } from '../../../../src/app/service/settings.ts';
import { codeOf, rejection } from '../../../support/errors.ts';

async function file(text: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'layerstack-listening-'));
  onTestFinished(() => rm(directory, { recursive: true }));
  await writeFile(join(directory, 'file'), text);
  return join(directory, 'file');
}

describe('hosts', () => {
  it.each(['unix:///run/layerstack.sock', 'tcp://127.0.0.1:2375', 'tcp://[::1]:0', 'fd://', 'fd://name'])(
    'are parsed: %s',
    (text) => expect(formatHost(parseHost(text))).toBe(text),
  );
  it.each([
    ...[
      '',
      '/run/sock',
      'unix://',
      'unix://run/sock',
      'unix:///run/',
      'tcp://',
      'tcp://127.0.0.1',
      'npipe:////./pipe/x',
    ],
    ...[
      'tcp://127.0.0.1:65536',
      'tcp://10.0.0.1:1',
      'tcp://[::]:1',
      'tcp://127.evil.example:1',
      'tcp://[::ffff:10.0.0.1]:1',
    ],
  ])('are refused: %j', (text) => expect(codeOf(() => parseHost(text))).toBe('ERR_INVALID_ARGUMENT'));
});

describe('groups', () => {
  it('are found by name and number', async () => {
    const database = await file('root:x:0:\nbroken\ndocker:x:999:me\n');
    expect(await groupId('docker', database)).toBe(999);
    expect(await groupId('123', database)).toBe(123);
    for (const none of ['nobody', '4294967295', ''])
      expect((await rejection(groupId(none, database))).code).toBe('ERR_USER_NOT_FOUND');
  });
});

describe('settings', () => {
  it('are parsed strictly; a default file may be missing', async () => {
    expect(await readServiceSettings(await file('{"logLevel":"debug","maxConnections":5}'))).toMatchObject({
      logLevel: 'debug',
      maxConnections: 5,
    });
    for (const text of ['', '[]', '{"loglevel":"debug"}', '{"logLevel":"loud"}', '{"maxConnections":0}'])
      expect((await rejection(readServiceSettings(await file(text)))).code).toBe('ERR_INVALID_ARGUMENT');
    expect(await readServiceSettings('/nonexistent/serve.json', {})).toEqual({});
    await expect(readServiceSettings('/nonexistent/serve.json')).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('systemd', () => {
  it('does not pass sockets to another process, and its variables are removed', () => {
    const env: NodeJS.ProcessEnv = { LISTEN_PID: '1', LISTEN_FDS: '1', LISTEN_FDNAMES: 'a', KEPT: '1' };
    expect(takeInheritedSockets(env, 2)).toEqual([]);
    expect(env).toEqual({ KEPT: '1' });
    expect(takeInheritedSockets({ LISTEN_PID: '2' }, 2)).toEqual([]);
    for (const count of ['-1', 'x', '65', '1e9'])
      expect(codeOf(() => takeInheritedSockets({ LISTEN_PID: '2', LISTEN_FDS: count }, 2))).toBe(
        'ERR_INVALID_ARGUMENT',
      );
  });
});

describe('a loopback port', () => {
  it('answers clients that name it, and no web pages', () => {
    for (const host of ['localhost', 'localhost:2375', '127.0.0.1:2375', '[::1]:2375'])
      expect(() => refuseBrowsers({ headers: { host } })).not.toThrow();
    for (const headers of [
      {},
      { host: 'evil.example' },
      { host: '127.0.0.1.evil.example:2375' },
      { host: 'localhost', origin: 'https://evil.example' },
      { host: 'localhost', origin: 'null' },
    ])
      expect(() => refuseBrowsers({ headers })).toThrow(expect.objectContaining({ status: 403 }) as Error);
  });
});
