/** A service that is killed in the middle of its work, and its successor. */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { dumpStore, storeChanges } from '../support/store-dump.ts';
import { tar } from '../support/tar.ts';

const SMALL = tar(dockerArchive([imageOf([layerOf({ 'etc/motd': 'hello\n' })], { tags: ['t/small:1'] })]));
/** Two layers. The second is so large that its upload still runs when the service dies. */
const LARGE = tar(
  dockerArchive([
    imageOf([layerOf({ 'srv/first': 'first\n' }), layerOf({ 'srv/blob': 'x'.repeat(8 << 20) })], {
      tags: ['t/large:1'],
    }),
  ]),
);

let directory: string;

beforeEach(() => {
  directory = makeScratch('killed');
  onTestFinished(() => dropScratch(directory));
});

async function start(): Promise<ServiceProcess> {
  const service = await ServiceProcess.start(directory);
  onTestFinished(() => service[Symbol.asyncDispose]());
  return service;
}

it('leaves containers and mounts that its successor knows, and nothing else', async () => {
  const first = await start();
  const cli = new LayerstackCli(first.root);
  expect((await first.send('POST', '/images/load', SMALL)).status).toBe(200);
  await cli.run('create', '--name', 'build', 't/small:1');
  expect((await first.send('POST', '/layerstack/v1/containers/build/mount')).status).toBe(200);
  const [merged = ''] = mountsBelow(directory);
  writeFileSync(join(merged, 'written'), 'before');
  const whole = await dumpStore(first.root);
  const directories = readdirSync(join(first.root, 'overlay2')).sort();

  // Half of an upload has arrived, and is being extracted.
  const body = async function* (): AsyncGenerator<Uint8Array> {
    yield LARGE.subarray(0, LARGE.length / 2);
    await sleep(600_000, undefined, { ref: false });
  };
  first.send('POST', '/images/load?quiet=1', body()).catch(() => undefined);
  while (readdirSync(join(first.root, 'overlay2')).length === directories.length) await sleep(10);
  first.child.kill('SIGKILL');
  expect(await first.exited()).toMatchObject({ signal: 'SIGKILL' });
  expect(readdirSync(join(first.root, 'overlay2')).length).toBeGreaterThan(directories.length);

  const second = await start();
  await second.logged('completing the work of a writer that died');
  expect(readdirSync(join(first.root, 'overlay2')).sort()).toEqual(directories);
  expect(await storeChanges(first.root, whole)).toEqual([]);
  expect(readdirSync(join(first.root, 'layerstack/sessions')).length).toBeLessThanOrEqual(1);

  // Meanwhile only the kernel held the mount.
  expect(readFileSync(join(merged, 'written'), 'utf8')).toBe('before');
  writeFileSync(join(merged, 'written'), 'after');
  const listed = JSON.parse((await second.send('GET', '/containers/json?all=1')).text) as {
    readonly Names: string[];
  }[];
  expect(listed.map(({ Names }) => Names)).toEqual([['/build']]);
  expect((await second.send('GET', '/containers/build/changes')).text).toContain('"/written"');
  expect((await second.send('POST', '/layerstack/v1/containers/build/unmount')).status).toBe(200);
  expect(mountsBelow(directory)).toEqual([]);
  expect((await second.send('DELETE', '/containers/build')).status).toBe(204);

  // The image whose load was killed can be loaded now.
  expect((await second.send('POST', '/images/load?quiet=1', LARGE)).text).toContain(
    'Loaded image: t/large:1',
  );
  expect(await second.stop()).toEqual({ status: 0, signal: null });
  expect(readdirSync(directory)).toEqual(['root']);
});

it('unmounts the mounts of operations that died, and leaves those of users', async () => {
  const first = await start();
  const cli = new LayerstackCli(first.root);
  expect((await first.send('POST', '/images/load', LARGE)).status).toBe(200);
  for (const name of ['copied', 'both']) await cli.run('create', '--name', name, 't/large:1');
  expect((await first.send('POST', '/layerstack/v1/containers/both/mount')).status).toBe(200);
  // Clients that read the beginning and no more.
  for (const path of ['copied/archive?path=/srv', 'both/archive?path=/srv', 'both/export'])
    await first.open('GET', `/containers/${path}`);
  expect(mountsBelow(directory)).toHaveLength(2);
  first.child.kill('SIGKILL');
  await first.exited();

  const second = await start();
  expect(mountsBelow(directory)).toHaveLength(1);
  expect((await second.send('DELETE', '/containers/copied')).status).toBe(204);
  expect((await second.send('DELETE', '/containers/both')).status).toBe(409);
  expect(JSON.parse((await second.send('POST', '/layerstack/v1/containers/both/unmount')).text)).toEqual({
    Uses: 0,
  });
  expect(mountsBelow(directory)).toEqual([]);
  await second.stop();
});

it('may be killed again and again: every start cleans up', async () => {
  let clean: readonly string[] | undefined;
  for (let life = 0; life < 4; life++) {
    const service = await start();
    const names = readdirSync(join(service.root, 'overlay2')).sort();
    expect(names).toEqual(clean ?? names);
    clean = names;
    const body = async function* (): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < LARGE.length - 4096; at += 1 << 20) {
        yield LARGE.subarray(at, Math.min(at + (1 << 20), LARGE.length - 4096));
        await sleep(life * 5);
      }
      await sleep(600_000, undefined, { ref: false });
    };
    for (let load = 0; load < 3; load++)
      service.send('POST', '/images/load?quiet=1', body()).catch(() => undefined);
    await sleep(100 + life * 100);
    service.child.kill('SIGKILL');
    await service.exited();
  }
  const last = await start();
  expect(readdirSync(join(last.root, 'overlay2')).sort()).toEqual(clean);
  expect(readdirSync(join(last.root, 'image/overlay2/layerdb/tmp'))).toEqual([]);
  expect(statSync(join(last.root, 'layerstack')).isDirectory()).toBe(true);
  await last.stop();
});
