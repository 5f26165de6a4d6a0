/**
 * Registries on the internet and in a private network that send us elsewhere: in a network namespace, where
 * public addresses are this machine's own, with a name server that changes its mind.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { havePeers } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';

const HERE = fileURLToPath(new URL('..', import.meta.url));
const ADDRESSES = ['93.184.216.34', '93.184.216.35', '10.9.8.7'];

interface Result {
  readonly host: string;
  readonly place: string;
  readonly name: string;
  readonly error: string | null;
  /** `METHOD ADDRESS:PORT/PATH` of what arrived there. */
  readonly elsewhere: readonly string[];
}

describe.runIf(havePeers('ip', 'unshare'))('a registry that sends layerstack elsewhere', () => {
  let results: Result[];

  beforeAll(async () => {
    const work = makeScratch('sent-elsewhere');
    const resolv = join(work, 'resolv.conf');
    writeFileSync(resolv, '');
    const script = [
      'mount --bind "$1" /etc/resolv.conf && ip link set lo up',
      ...ADDRESSES.map((address) => `ip addr add ${address}/32 dev lo`),
      'exec "$2" "$3" "$4"',
    ].join(' && ');
    const node = [process.execPath, join(HERE, 'fixtures/sent-elsewhere.mjs'), join(HERE, '../dist')];
    const args = ['--net', '--mount', 'sh', '-c', script, 'sh', resolv, ...node];
    results = JSON.parse((await mustRun('unshare', args)).stdout) as Result[];
    await dropScratch(work);
  });

  const of = (hosts: readonly string[], names: readonly string[], places: readonly string[]): Result[] =>
    results.filter(
      ({ host, name, place }) => hosts.includes(host) && names.includes(name) && places.includes(place),
    );
  const open = ['registry.example:5000', '93.184.216.34:5000'];
  const inside = ['inside.example:5000', '10.9.8.7:5000'];

  it('on the internet is followed with uploads and downloads', () => {
    for (const { elsewhere, error, name } of of(
      [...open, ...inside],
      ['upload', 'download'],
      ['storage.example', '93.184.216.35'],
    )) {
      expect(error).toBeNull();
      const methods = name === 'upload' ? ['PATCH', 'PUT'] : ['GET'];
      expect(elsewhere).toEqual(methods.map((method) => `${method} 93.184.216.35:9000/x`));
    }
  });

  it('to this machine, by its address or by a name, reaches nothing', () => {
    const found = of([...open, ...inside], ['upload', 'download'], ['127.0.0.1', 'loop.example']);
    expect(found).toHaveLength(16);
    for (const { error, elsewhere, host } of found) {
      expect(error).toContain(`${host} sends us to `);
      expect(error).toContain('which is on this machine, where the registry itself is not');
      expect(elsewhere).toEqual([]);
    }
  });

  it('into a private network is followed only if it is in one itself', () => {
    for (const { error, elsewhere } of of(open, ['upload', 'download'], ['10.9.8.7'])) {
      expect(error).toContain('which is in a private network, where the registry itself is not');
      expect(elsewhere).toEqual([]);
    }
    const found = of(inside, ['upload', 'download'], ['10.9.8.7']);
    expect(found).toHaveLength(4);
    for (const { error, elsewhere } of found) {
      expect(error).toBeNull();
      expect(elsewhere.length).toBeGreaterThan(0);
    }
  });

  it('by a name that later resolves to this machine reaches nothing more', () => {
    for (const host of [...open, ...inside]) {
      const [first, second] = of([host], ['download'], ['rebind.example']);
      expect(first).toMatchObject({ error: null, elsewhere: ['GET 93.184.216.35:9000/x'] });
      expect(second?.error).toContain('which is on this machine');
      const uploads = of([host], ['upload'], ['rebind.example']);
      // The first request goes to the public address; the next one is not sent, or goes there by the same
      // connection.
      for (const line of uploads.flatMap(({ elsewhere }) => elsewhere))
        expect(line).toMatch(/^(PATCH|PUT) 93\.184\.216\.35:9000/);
      expect(uploads[1]?.error).toContain('which is on this machine');
    }
    expect(
      results.flatMap(({ elsewhere }) => elsewhere).filter((line) => line.includes('127.0.0.1')),
    ).toEqual([]);
  });

  it('can neither trigger deletions there, nor get the password to a token server there without encryption', () => {
    const found = results.filter(({ name }) => name === 'delete' || name === 'token');
    expect(found).toHaveLength(56);
    for (const { error, elsewhere } of found) {
      expect(error).toMatch(/Only the registry itself is asked to delete|credentials are not sent there/);
      expect(elsewhere).toEqual([]);
    }
  });
});
