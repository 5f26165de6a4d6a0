/** The service's information about itself, and its events, over a socket. */
import { once } from 'node:events';
import { symlinkSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { API_VERSION, MIN_API_VERSION } from '../../src/app/service/version.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { tar } from '../support/tar.ts';
import { TestService, type Answer } from '../support/test-service.ts';

const base = imageOf([layerOf({ 'etc/base': 'base' })], { tags: ['base:1'], config: { Labels: { k: 'v' } } });
const app = imageOf([...base.layers, layerOf({ run: '12345' })], { tags: ['app:1'] });

let service: TestService;

beforeAll(async () => {
  service = await TestService.start();
  await service.post('/images/load', { body: tar(dockerArchive([base, app])) });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

const message = (answer: Answer): string => answer.json<{ message: string }>().message;
const filters = (value: unknown): string => `filters=${encodeURIComponent(JSON.stringify(value))}`;
type Json = Record<string, unknown>;

describe('version', () => {
  it('has the fields that docker version shows', async () => {
    const document = (await service.get('/version')).json<Json>();
    expect(document).toMatchObject({
      Platform: { Name: 'layerstack' },
      ApiVersion: API_VERSION,
      MinAPIVersion: MIN_API_VERSION,
      Os: 'linux',
      Arch: expect.stringMatching(/^[a-z0-9]+$/) as string,
      Version: expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
    });
    const [engine] = document['Components'] as Json[];
    expect(engine).toMatchObject({
      Name: 'Engine',
      Version: document['Version'],
      Details: { ApiVersion: API_VERSION, KernelVersion: document['KernelVersion'], Experimental: 'false' },
    });
  });
});

describe('info', () => {
  it('has the fields that docker info shows', async () => {
    await service.store.containers.create('base:1', { name: 'idle' });
    await service.store.containers.create('base:1', { name: 'held' });
    const mount = await service.store.containers.mount('held');
    const document = (await service.get('/info')).json<Json>();
    expect(document).toMatchObject({
      Containers: 2,
      ContainersRunning: 1,
      ContainersPaused: 0,
      ContainersStopped: 1,
      Images: 2,
      Driver: 'overlay2',
      OSType: 'linux',
      DockerRootDir: service.store.root,
      Swarm: { LocalNodeState: 'inactive' },
      NEventsListener: 0,
    });
    expect(Object.fromEntries(document['DriverStatus'] as [string, string][])).toMatchObject({
      'Supports d_type': 'true',
      userxattr: 'false',
    });
    expect(document['Warnings']).toEqual([expect.stringMatching(/runs no containers/) as string]);
    expect((await service.get('/info')).json<Json>()['ID']).toBe(document['ID']);
    await mount.unmount();
    for (const name of ['idle', 'held']) await service.store.containers.remove(name);
  });
});

describe('system/df', () => {
  it('counts images and containers, and has empty volumes and build cache', async () => {
    const { id } = await service.store.containers.create('app:1', { name: 'used' });
    await service.store.containers.putArchive(
      'used',
      '/',
      Readable.from([tar([{ name: 'f', content: '123' }])]),
    );
    const document = (await service.get('/system/df')).json<Json & { Images: Json[]; Containers: Json[] }>();
    expect(document).toMatchObject({ LayersSize: 9, Volumes: [], BuildCache: [] });
    expect((await service.get('/v1.41/system/df')).json()).toMatchObject({ BuilderSize: 0 });
    const rows = document.Images.map((row) => [row['Id'], row['Size'], row['SharedSize'], row['Containers']]);
    expect(rows).toEqual(
      expect.arrayContaining([
        [app.id, 9, 4, 1],
        [base.id, 4, 4, 0],
      ]),
    );
    expect(document.Containers).toMatchObject([{ Id: id, Names: ['/used'], SizeRw: 3, SizeRootFs: 12 }]);
    const usage = await service.store.usage();
    expect(document.LayersSize).toBe(usage.LayersSize);
    await service.store.containers.remove('used');
  });

  it('has the requested types', async () => {
    expect(Object.keys((await service.get('/system/df?type=image')).json<Json>())).toEqual([
      'LayersSize',
      'Images',
    ]);
    expect(Object.keys((await service.get('/system/df?type=container&type=volume')).json<Json>())).toEqual([
      'Containers',
      'Volumes',
    ]);
    expect((await service.get('/system/df?type=ghosts')).status).toBe(400);
  });
});

describe('objects that a store never has', () => {
  it.each([
    ['/volumes', { Volumes: [], Warnings: [] }],
    ['/plugins', []],
  ])('%s is empty', async (path, value) => {
    const answer = await service.get(path);
    expect([answer.status, answer.json()]).toEqual([200, value]);
  });

  it.each([
    ['/networks/prune', { NetworksDeleted: null }],
    ['/volumes/prune', { VolumesDeleted: [], SpaceReclaimed: 0 }],
    ['/build/prune', { CachesDeleted: null, SpaceReclaimed: 0 }],
  ])('%s succeeds, so that docker system prune continues with the images', async (path, value) => {
    const answer = await service.post(path);
    expect([answer.status, answer.json()]).toEqual([200, value]);
  });

  it.each(['/networks/x', '/volumes/x', '/plugins/x/y/json'])('%s is not found', async (path) => {
    expect((await service.get(path)).status).toBe(404);
  });

  it.each([
    '/plugins/pull',
    '/swarm/init',
    '/services/create',
    '/secrets/create',
    '/containers/x/update',
    '/build/cancel',
  ])('%s is refused with the purpose of layerstack', async (path) => {
    const answer = await service.post(path);
    expect(answer.status).toBe(501);
    expect(message(answer)).toMatch(
      /^layerstack does not (have|take|change|build) .*layerstack keeps images/,
    );
  });
});

describe('/layerstack/v1/fsck', () => {
  it('sends findings as JSON lines, and at the end the number of problems', async () => {
    const fsck = async (json?: unknown): Promise<Json[]> => {
      const answer = await service.post('/layerstack/v1/fsck', json === undefined ? {} : { json });
      expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/json']);
      return answer.text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Json);
    };
    expect(await fsck()).toEqual([{ Wrong: 0 }]);
    const dangling = join(service.store.root, 'overlay2/l', 'A'.repeat(26));
    symlinkSync('../gone/diff', dangling);
    const finding = { Code: 'link-dangling', Severity: 'warning', Path: `overlay2/l/${'A'.repeat(26)}` };
    expect(await fsck({ Deep: true })).toMatchObject([{ ...finding, Repaired: false }, { Wrong: 1 }]);
    expect(await fsck({ Repair: true })).toMatchObject([
      { ...finding, Repaired: true, Advice: '' },
      { Wrong: 0 },
    ]);
    expect(await fsck({ Deep: true })).toEqual([{ Wrong: 0 }]);
  });
});

describe('events', () => {
  const now = (): string => (Date.now() / 1000).toFixed(3);
  const past = async (query: string): Promise<Json[]> => {
    await sleep(5);
    const answer = await service.get(`/events?until=${now()}&${query}`);
    return answer.text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Json);
  };
  const told = (events: readonly Json[]): string[] =>
    events.map(
      ({ Type, Action, Actor }) => `${String(Type)} ${String(Action)} ${(Actor as { ID: string }).ID}`,
    );
  const next = async (events: IncomingMessage): Promise<Json> => {
    const [chunk] = (await once(events, 'data')) as [Buffer];
    return JSON.parse(chunk.toString()) as Json;
  };

  it('come in the order and with the words of docker', async () => {
    const since = now();
    const { store } = service;
    await store.images.tag('base:1', 'other:1');
    await store.images.save('other:1').resume().toArray();
    await store.images.remove('other:1');
    const container = await store.containers.create('base:1', { name: 'c1', labels: { l: 'x' } });
    const mount = await store.containers.mount(container);
    await mount.unmount();
    await store.containers.putArchive(container, '/', Readable.from([tar([{ name: 'f', content: 'x' }])]));
    (await store.containers.getArchive(container, '/f')).tar.destroy();
    await store.containers.export(container).toArray();
    const image = await store.containers.commit(container, { reference: 'made:1', message: 'why' });
    await store.containers.rename(container, 'c2');
    await store.containers.remove('c2');
    const imported = await store.images.import(Readable.from([tar([{ name: 'i', content: 'i' }])]));
    await store.images.remove('made:1');
    await store.containers.prune();
    await store.images.prune();
    const events = await past(`since=${since}`);
    expect(told(events)).toEqual([
      `image tag ${base.id}`,
      `image save ${base.id}`,
      `image untag ${base.id}`,
      `container create ${container.id}`,
      `container mount ${container.id}`,
      `container unmount ${container.id}`,
      `container extract-to-dir ${container.id}`,
      `container archive-path ${container.id}`,
      `container export ${container.id}`,
      `image tag ${image}`,
      `container commit ${container.id}`,
      `container rename ${container.id}`,
      `container destroy ${container.id}`,
      `image import ${imported}`,
      `image untag ${image}`,
      `image delete ${image}`,
      'container prune ',
      `image delete ${imported}`,
      'image prune ',
    ]);
    const attributes = events.map(({ Actor }) => (Actor as { Attributes: unknown }).Attributes);
    const labels = { k: 'v', l: 'x', image: 'base:1' };
    expect(attributes.slice(0, 4)).toEqual([
      { k: 'v', name: 'other:1' },
      { k: 'v', name: base.id },
      { k: 'v', name: base.id },
      { ...labels, name: 'c1' },
    ]);
    expect(attributes[10]).toEqual({
      ...labels,
      name: 'c1',
      comment: 'why',
      imageID: image,
      imageRef: 'made:1',
    });
    expect(attributes[11]).toEqual({ ...labels, name: 'c2', oldName: '/c1' });
    expect(attributes.slice(14, 17)).toEqual([
      { k: 'v', l: 'x', name: image },
      { name: image },
      { reclaimed: '0' },
    ]);
  });

  it('come while they happen, and match the filters', async () => {
    const events = await service.open(
      'GET',
      `/events?${filters({ type: { container: true }, event: ['create'] })}`,
    );
    expect(events.statusCode).toBe(200);
    expect(service.events.readers).toBe(1);
    const first = next(events);
    await service.store.images.tag('base:1', 'again:1');
    const { id } = await service.store.containers.create('base:1', { name: 'live' });
    expect(await first).toMatchObject({
      status: 'create',
      id,
      from: 'base:1',
      Type: 'container',
      Action: 'create',
      scope: 'local',
    });
    events.destroy();
    await service.store.containers.remove('live');
    await service.api.drained();
    expect(service.events.readers).toBe(0);
  });

  it('end at until', async () => {
    const started = Date.now();
    const answer = await service.get(`/events?until=${((started + 300) / 1000).toFixed(3)}&since=${now()}`);
    expect(answer.status).toBe(200);
    expect(Date.now() - started).toBeGreaterThanOrEqual(290);
  });

  it('have nanoseconds from which a client can continue', async () => {
    await service.store.images.tag('base:1', 'a1:1');
    await service.store.images.tag('base:1', 'a2:1');
    await sleep(5);
    const lines = (await service.get(`/events?since=0.5&until=${now()}`)).text.trim().split('\n').slice(-2);
    const [first, second] = lines.map((line) => /"timeNano":(\d{19})\b/.exec(line)?.[1] ?? '');
    const from = (time = ''): string => `${time.slice(0, 10)}.${time.slice(10)}`;
    const both = await past(`since=${from(first)}`);
    expect(both).toHaveLength(2);
    expect(await past(`since=${from(second)}`)).toHaveLength(1);
  });

  it.each([
    ['since=20&until=10', '`since` time (20) cannot be after `until` time (10)'],
    ['since=soon', /^since "soon" is not a time/],
    ['filters=zz', /^invalid filter: not JSON/],
  ])('refuse %s', async (query, words) => {
    const answer = await service.get(`/events?${query}`);
    expect(answer.status).toBe(400);
    expect(message(answer)).toMatch(words);
  });

  it('accept dates', async () => {
    const since = new Date(Date.now() - 3_600_000).toISOString();
    expect((await past(`since=${since}`)).length).toBeGreaterThan(3);
    expect(await past(`since=${new Date().toISOString()}`)).toEqual([]);
  });
});
