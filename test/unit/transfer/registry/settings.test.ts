import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readSettings, settingsOf } from '../../../../src/transfer/registry/settings.ts';
import { rejection } from '../../../support/errors.ts';

let directory: string;
let path: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'layerstack-settings-'));
  path = join(directory, 'registries.json');
});
afterAll(() => rm(directory, { recursive: true }));

async function settingsIn(document: unknown, env: NodeJS.ProcessEnv = {}) {
  await writeFile(path, typeof document === 'string' ? document : JSON.stringify(document));
  return readSettings(path, env);
}

describe('registries.json', () => {
  it('that is missing sets nothing', async () => {
    expect(await readSettings(join(directory, 'missing.json'), {})).toEqual({
      hosts: new Map(),
      certsDirectory: '/etc/docker/certs.d',
      path: join(directory, 'missing.json'),
    });
  });

  it('is read', async () => {
    const { hosts, certsDirectory } = await settingsIn({
      certsDirectory: '/srv/certs',
      registries: {
        'docker.io': { mirrors: ['http://10.0.0.2:5000', 'https://m.example/hub'], timeoutSeconds: 5 },
        'r.example:443': { insecure: true, allow: ['s.example:9000', '[fd00::2]', '10.0.0.1:9000'] },
        '[fd00::1]:5000': { ca: '/ca.pem', certificate: '/c.pem', key: '/k.pem' },
      },
    });
    expect(certsDirectory).toBe('/srv/certs');
    expect(hosts.get('docker.io')).toMatchObject({ timeoutMs: 5000, insecure: undefined });
    expect(hosts.get('docker.io')?.mirrors.map(String)).toEqual([
      'http://10.0.0.2:5000/',
      'https://m.example/hub/',
    ]);
    expect(hosts.get('r.example:443')).toMatchObject({
      insecure: true,
      mirrors: [],
      allow: ['s.example:9000', '[fd00::2]', '10.0.0.1:9000'],
    });
    expect(hosts.get('docker.io')?.allow).toEqual([]);
    expect(hosts.get('[fd00::1]:5000')).toMatchObject({
      ca: '/ca.pem',
      certificate: '/c.pem',
      key: '/k.pem',
    });
  });

  it("says for docker.io what goes for the host of Docker Hub's API", async () => {
    const settings = await settingsIn({ registries: { 'docker.io': { timeoutSeconds: 7 }, r: {} } });
    expect(settingsOf(settings, 'registry-1.docker.io')?.timeoutMs).toBe(7000);
    expect(settingsOf(settings, 'docker.io')?.timeoutMs).toBe(7000);
    expect(settingsOf(settings, 'r')?.timeoutMs).toBeUndefined();
    expect(settingsOf(settings, 'other')).toBeUndefined();
  });

  it('has its directory of certificates overridden by LAYERSTACK_CERTS_DIR', async () => {
    const env = { LAYERSTACK_CERTS_DIR: '/elsewhere' };
    expect((await settingsIn({ certsDirectory: '/srv/certs' }, env)).certsDirectory).toBe('/elsewhere');
  });

  it.each<[string, unknown, RegExp]>([
    ['a misspelt key', { registry: {} }, /unknown key "registry"/],
    ['a key in another case', { Registries: {} }, /unknown key "Registries"/],
    [
      'a misspelt key of a host',
      { registries: { r: { mirror: [] } } },
      /registries\["r"\] has an unknown key "mirror"/,
    ],
    ['a URL for a host', { registries: { 'https://r': {} } }, /registries\["https:\/\/r"\] is not HOST/],
    ['an upper-case host', { registries: { 'R.example': {} } }, /is not HOST/],
    [
      'a mirror without a scheme',
      { registries: { r: { mirrors: ['m:5000'] } } },
      /mirrors\[0\] is not an http/,
    ],
    ['a mirror with a password', { registries: { r: { mirrors: ['https://u:p@m'] } } }, /layerstack login m/],
    [
      'a mirror with a query',
      { registries: { r: { mirrors: ['https://m/?x'] } } },
      /mirrors\[0\] has a query/,
    ],
    [
      'a URL that is allowed',
      { registries: { r: { allow: ['https://s'] } } },
      /allow\[0\] is not HOST\[:PORT\]/,
    ],
    ['all that is allowed', { registries: { r: { allow: ['*'] } } }, /allow\[0\] is not HOST\[:PORT\]/],
    ['a text for a list', { registries: { r: { allow: 's:9000' } } }, /allow is a string/],
    ['a text for a flag', { registries: { r: { insecure: 'yes' } } }, /insecure is a string/],
    [
      'a certificate without a key',
      { registries: { r: { certificate: '/c' } } },
      /one of certificate and key/,
    ],
    ['a relative path', { registries: { r: { ca: 'ca.pem' } } }, /ca is not an absolute path/],
    [
      'no time at all',
      { registries: { r: { timeoutSeconds: 0 } } },
      /timeoutSeconds is not between 1 and 3600/,
    ],
    ['too many mirrors', { registries: { r: { mirrors: Array(17).fill('http://m') } } }, /17 items/],
    ['no JSON', '{', /not JSON/],
    ['a list', [], /is an array/],
    ['nothing', '', /empty/],
    ['too much', JSON.stringify({ x: 'x'.repeat(1024 * 1024) }), /bytes; 1048576 are allowed/],
  ])('with %s is refused, naming the file and the key', async (_, document, message) => {
    const error = await rejection(settingsIn(document));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_SETTINGS', path });
    expect(error.message).toMatch(message);
    expect(error.message.startsWith(`${path}: `)).toBe(true);
  });

  it('that is a directory is refused', async () => {
    const folder = join(directory, 'folder');
    await mkdir(folder);
    expect(await rejection(readSettings(folder, {}))).toMatchObject({ code: 'ERR_REGISTRY_SETTINGS' });
  });
});
