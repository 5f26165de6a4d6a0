/**
 * Thousands of mixed requests, many at once, some by clients that vanish or send garbage, from a seed. When
 * everything is removed again, the service has no more descriptors, mounts, locks, directories or memory than
 * before.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { ServiceProcess, type Reply } from '../support/service-process.ts';
import { tar } from '../support/tar.ts';

const SEED = Number(process.env['LAYERSTACK_SOAK_SEED'] ?? 20_240_229);
const REQUESTS = Number(process.env['LAYERSTACK_SOAK_REQUESTS'] ?? 3000);
const AT_ONCE = 12;
/** After this many requests, code is compiled, and caches and histograms exist. */
const WARM = Math.min(1000, REQUESTS / 2);
const GARBAGE = fileURLToPath(new URL('../fixtures/collect-garbage.mjs', import.meta.url));

const BASE = layerOf({ 'etc/motd': 'hello\n', 'bin/tool': 'x'.repeat(100_000) });
const IMAGES = ['a', 'b', 'c'].map((name) =>
  tar(
    dockerArchive([
      imageOf([BASE, layerOf({ [`srv/${name}`]: name.repeat(300_000) })], { tags: [`soak/${name}:1`] }),
    ]),
  ),
);
const FILES = tar([{ name: 'tmp/written', content: 'written\n' }]);

/** mulberry32: the same numbers for the same seed. */
function numbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

type Pick = (below: number) => number;
type Act = (service: ServiceProcess, pick: Pick) => Promise<Reply | undefined>;

const image = (pick: Pick): string => `soak/${'abc'[pick(3)] ?? 'a'}:${1 + pick(2)}`;
const container = (pick: Pick): string => `box-${pick(6)}`;
const own = '/layerstack/v1/containers';
const json = { 'Content-Type': 'application/json' };

/** A client that disconnects before it has its answer, or before it has sent its request. */
async function vanish(
  service: ServiceProcess,
  path: string,
  body: Uint8Array | undefined,
  afterMs: number,
): Promise<undefined> {
  const sent = request({ socketPath: service.socket, method: body ? 'POST' : 'GET', path, agent: false });
  sent.on('error', () => undefined);
  sent.on('response', (answer) => answer.on('error', () => undefined).resume());
  if (body) {
    sent.setHeader('Content-Length', body.length);
    sent.write(body.subarray(0, body.length >> 1));
  } else sent.end();
  await sleep(afterMs);
  sent.destroy();
}

const ACTS: readonly (readonly [weight: number, act: Act])[] = [
  [8, (service) => service.send('GET', '/_ping')],
  [8, (service) => service.send('GET', '/images/json')],
  [4, (service) => service.send('GET', '/containers/json?all=1')],
  [6, (service, pick) => service.send('GET', `/images/${image(pick)}/json`)],
  [3, (service, pick) => service.send('GET', `/images/${image(pick)}/history`)],
  [3, (service) => service.send('GET', '/info')],
  [2, (service) => service.send('GET', '/system/df')],
  [2, (service) => service.send('GET', '/metrics')],
  [1, (service) => service.send('GET', '/healthz')],
  [8, (service, pick) => service.send('POST', '/images/load?quiet=1', IMAGES[pick(3)])],
  [3, (service, pick) => service.send('GET', `/images/${image(pick)}/get`)],
  [
    4,
    (service, pick) =>
      service.send('POST', `/images/${image(pick)}/tag?repo=soak/${'abc'[pick(3)] ?? ''}&tag=2`),
  ],
  [3, (service, pick) => service.send('DELETE', `/images/${image(pick)}?force=${pick(2)}`)],
  [1, (service) => service.send('POST', '/images/prune')],
  [
    8,
    (service, pick) =>
      service.send(
        'POST',
        `/containers/create?name=${container(pick)}`,
        Buffer.from(JSON.stringify({ Image: image(pick), Cmd: ['/bin/sh'] })),
        json,
      ),
  ],
  [4, (service, pick) => service.send('GET', `/containers/${container(pick)}/json`)],
  [5, (service, pick) => service.send('POST', `${own}/${container(pick)}/mount`)],
  [5, (service, pick) => service.send('POST', `${own}/${container(pick)}/unmount`)],
  [4, (service, pick) => service.send('PUT', `/containers/${container(pick)}/archive?path=/`, FILES)],
  [4, (service, pick) => service.send('GET', `/containers/${container(pick)}/archive?path=/etc`)],
  [3, (service, pick) => service.send('GET', `/containers/${container(pick)}/changes`)],
  [2, (service, pick) => service.send('GET', `/containers/${container(pick)}/export`)],
  [
    2,
    (service, pick) =>
      service.send('POST', `/commit?container=${container(pick)}&repo=soak/a&tag=2`, Buffer.from('{}'), json),
  ],
  [4, (service, pick) => service.send('DELETE', `/containers/${container(pick)}?force=${pick(2)}`)],
  [1, (service) => service.send('GET', `/events?since=1&until=${Math.ceil(Date.now() / 1000)}`)],
  [2, (service, pick) => vanish(service, '/images/load?quiet=1', IMAGES[pick(3)], pick(30))],
  [2, (service, pick) => vanish(service, `/images/${image(pick)}/get`, undefined, pick(20))],
  [1, (service, pick) => vanish(service, `/containers/${container(pick)}/export`, undefined, pick(20))],
  [1, (service, pick) => vanish(service, '/events', undefined, pick(50))],
  [2, (service, pick) => service.send('POST', '/images/load', Buffer.from('no archive'.repeat(pick(100))))],
  [2, (service) => service.send('POST', '/containers/create', Buffer.from('{"Image":'), json)],
  [2, (service, pick) => service.send('GET', `/${'x'.repeat(pick(2000))}%`)],
  [1, (service) => service.send('POST', '/containers/box-1/start')],
];

function choose(pick: Pick): Act {
  let left = pick(ACTS.reduce((sum, [weight]) => sum + weight, 0));
  for (const [weight, act] of ACTS) if ((left -= weight) < 0) return act;
  throw new Error('the weights do not add up');
}

async function soak(service: ServiceProcess, pick: Pick, count: number): Promise<Map<number, number>> {
  const statuses = new Map<number, number>();
  let left = count;
  const client = async (): Promise<void> => {
    while (left-- > 0) {
      const reply = await choose(pick)(service, pick);
      if (!reply) continue;
      statuses.set(reply.status, (statuses.get(reply.status) ?? 0) + 1);
      // Under contention no request may fail for a reason of the service's own.
      if (reply.status >= 500 && reply.status !== 501)
        throw new Error(
          JSON.stringify(await service.logged('request', { id: reply.headers['x-request-id'] })),
        );
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, client));
  return statuses;
}

/** Removes everything that was made, as a user would. */
async function clear(service: ServiceProcess): Promise<void> {
  for (let number = 0; number < 6; number++) {
    await service.send('POST', `${own}/box-${number}/unmount`, Buffer.from('{"Force":true}'), json);
    await service.send('DELETE', `/containers/box-${number}?force=1`);
  }
  const others = JSON.parse((await service.send('GET', '/containers/json?all=1')).text) as {
    readonly Id: string;
  }[];
  for (const { Id } of others) await service.send('DELETE', `/containers/${Id}?force=1`);
  const images = JSON.parse((await service.send('GET', '/images/json?all=1')).text) as {
    readonly Id: string;
  }[];
  for (const { Id } of images) await service.send('DELETE', `/images/${Id}?force=1`);
  await service.send('POST', `/images/prune?filters=${encodeURIComponent('{"dangling":["false"]}')}`);
  // Bytes are deleted in the background.
  const left = (): string[] => [
    ...readdirSync(join(service.root, 'overlay2')),
    ...readdirSync(join(service.root, 'image/overlay2/layerdb/sha256')),
  ];
  await expect.poll(left, { timeout: 30_000 }).toEqual(['l']);
}

/** Returns the open descriptors, without those of the event loop and of our own connections. */
function openFiles(service: ServiceProcess): string[] {
  const directory = `/proc/${service.pid}/fd`;
  return readdirSync(directory).flatMap((fd) => {
    try {
      const target = readlinkSync(join(directory, fd));
      return /^(?:socket|pipe|anon_inode):/.test(target) ? [] : [target];
    } catch {
      return [];
    }
  });
}

async function heap(service: ServiceProcess): Promise<number> {
  const before = service.stderr.length;
  service.child.kill('SIGUSR2');
  for (;;) {
    const line = service.stderr
      .slice(before)
      .split('\n')
      .find((text) => text.endsWith('}'));
    if (line !== undefined) return (JSON.parse(line) as { readonly heapUsed: number }).heapUsed;
    await sleep(20);
  }
}

it(`${REQUESTS} requests of seed ${SEED} leave nothing behind`, { timeout: 900_000 }, async () => {
  const directory = makeScratch('soak');
  onTestFinished(() => dropScratch(directory));
  const service = await ServiceProcess.start(directory, {
    logLevel: 'info',
    env: { NODE_OPTIONS: `--import=${GARBAGE}` },
  });
  onTestFinished(() => service[Symbol.asyncDispose]());
  const pick = numbers(SEED);

  await soak(service, pick, WARM);
  await clear(service);
  const before = { files: openFiles(service), descriptors: service.descriptors(), heap: await heap(service) };
  const statuses = await soak(service, pick, REQUESTS - WARM);
  await clear(service);
  // Enough requests of each kind ran for a meaningful result.
  for (const status of [200, 201, 204, 400, 404, 409, 501])
    expect([status, (statuses.get(status) ?? 0) > 0]).toEqual([status, true]);

  while ((await service.send('GET', '/metrics')).text.includes('in_flight 1\n') === false) await sleep(50);
  await expect
    .poll(() => service.descriptors(), { timeout: 30_000 })
    .toBeLessThanOrEqual(before.descriptors + 3);
  expect(openFiles(service).sort()).toEqual(before.files.sort());
  expect((await heap(service)) - before.heap).toBeLessThan(6e6);
  expect(service.memory('VmHWM')).toBeLessThan(300e6);
  expect(mountsBelow(directory)).toEqual([]);
  const entries = (path: string): string[] => readdirSync(join(service.root, path));
  expect(entries('overlay2/l')).toEqual([]);
  expect(entries('containers')).toEqual([]);
  for (const path of [
    'layerdb/sha256',
    'layerdb/mounts',
    'layerdb/tmp',
    'imagedb/content/sha256',
    'imagedb/metadata/sha256',
  ])
    expect([path, entries(`image/overlay2/${path}`)]).toEqual([path, []]);
  for (const path of ['mounts', 'names', 'flat', 'unused'])
    expect([path, entries(`layerstack/${path}`).filter((name) => !name.startsWith('.'))]).toEqual([path, []]);
  const { pid } = service;
  const locks = readFileSync('/proc/locks', 'utf8')
    .split('\n')
    .filter((line) => line.split(/\s+/)[5] === String(pid));
  // The store's writer lock, the session's and the socket's.
  expect(locks.length).toBeLessThanOrEqual(3);

  expect(await service.stop()).toEqual({ status: 0, signal: null });
  const sessions = entries('layerstack/sessions');
  expect(sessions.map((name) => [name, entries(`layerstack/sessions/${name}`)])).toEqual([]);
  expect(readdirSync(directory)).toEqual(['root']);
});
