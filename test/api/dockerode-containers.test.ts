/** The container calls of dockerode, as a program that embeds it makes them. */
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { tar } from '../support/tar.ts';
import { TestService } from '../support/test-service.ts';

const base = imageOf([layerOf({ 'etc/base': 'base' })], { tags: ['base:1'], config: { Labels: { k: 'v' } } });

type Options = Readonly<Record<string, unknown>>;

/** The functions of dockerode that are called here; it has no types. */
interface Container {
  readonly id: string;
  inspect(options?: Options): Promise<Options>;
  rename(options: Options): Promise<unknown>;
  remove(options?: Options): Promise<unknown>;
  start(): Promise<unknown>;
  changes(): Promise<unknown>;
  export(): Promise<Readable>;
  commit(options: Options): Promise<unknown>;
  getArchive(options: Options): Promise<Readable>;
  infoArchive(options: Options): Promise<Readable>;
  putArchive(tar: Buffer, options: Options): Promise<unknown>;
}
interface Dockerode {
  createContainer(options: Options): Promise<Container>;
  getContainer(name: string): Container;
  getImage(name: string): Pick<Container, 'inspect' | 'remove'>;
  listContainers(options: Options): Promise<unknown>;
  pruneContainers(): Promise<{ ContainersDeleted: unknown }>;
  getEvents(options: Options): Promise<Readable>;
  version(): Promise<unknown>;
  info(): Promise<unknown>;
  df(): Promise<unknown>;
  listVolumes(): Promise<unknown>;
  listNetworks(): Promise<unknown>;
}
const Docker = createRequire(new URL('./dockerode/', import.meta.url))('dockerode') as new (
  options: Options,
) => Dockerode;

let service: TestService;
let docker: Dockerode;

beforeAll(async () => {
  service = await TestService.start();
  docker = new Docker({ socketPath: service.socket });
  await service.post('/images/load', { body: tar(dockerArchive([base])) });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

describe('dockerode', () => {
  it('creates, finds, inspects, renames and removes containers', async () => {
    const container = await docker.createContainer({
      Image: 'base:1',
      name: 'first',
      Labels: { a: 'b' },
      Cmd: ['/x'],
    });
    expect(container.id).toMatch(/^[0-9a-f]{64}$/);
    const rows = await docker.listContainers({ all: true, filters: { label: ['a=b'] } });
    expect(rows).toMatchObject([{ Id: container.id, Names: ['/first'], Labels: { a: 'b', k: 'v' } }]);
    await container.rename({ name: 'second' });
    expect(await docker.getContainer('second').inspect({ size: true })).toMatchObject({
      Name: '/second',
      Config: { Cmd: ['/x'] },
      SizeRw: 0,
      SizeRootFs: 4,
    });
    await expect(docker.createContainer({ Image: 'base:1', name: 'second' })).rejects.toMatchObject({
      statusCode: 409,
    });
    await container.remove({ force: true });
    await expect(container.inspect()).rejects.toMatchObject({ statusCode: 404 });
  });

  it('copies, compares, exports and commits', async () => {
    const container = await docker.createContainer({ Image: 'base:1', name: 'work' });
    await container.putArchive(tar([{ name: 'made', content: 'made' }]), { path: '/etc' });
    expect(await container.changes()).toEqual([
      { Path: '/etc', Kind: 0 },
      { Path: '/etc/made', Kind: 1 },
    ]);
    const bytes = await buffer(await container.getArchive({ path: '/etc/made' }));
    expect(bytes.subarray(512, 516).toString()).toBe('made');
    const info = await container.infoArchive({ path: '/etc/made' });
    expect(info).toBeInstanceOf(Readable);
    expect((await buffer(await container.export())).toString()).toContain('etc/made');
    const { Id } = (await container.commit({ repo: 'made', tag: '1', comment: 'c' })) as { Id: string };
    expect(await docker.getImage('made:1').inspect()).toMatchObject({ Id, Comment: 'c' });
    await container.remove();
    await docker.getImage('made:1').remove();
  });

  it('says why a container is not started', async () => {
    const container = await docker.createContainer({ Image: 'base:1', name: 'idle' });
    await expect(container.start()).rejects.toMatchObject({
      statusCode: 501,
      message: expect.stringContaining('layerstack keeps images') as string,
    });
    await container.remove();
  });

  it('receives events, prunes, and reads system information', async () => {
    const events = await docker.getEvents({ filters: { type: ['container'] } });
    const heard: string[] = [];
    events.on('data', (chunk: Buffer) => {
      for (const line of chunk.toString().trim().split('\n'))
        heard.push((JSON.parse(line) as { Action: string }).Action);
    });
    await docker.createContainer({ Image: 'base:1', name: 'loose' });
    const { ContainersDeleted } = await docker.pruneContainers();
    expect(ContainersDeleted).toHaveLength(1);
    for (let tries = 0; heard.length < 3 && tries < 100; tries++) await sleep(10);
    expect(heard).toEqual(['create', 'destroy', 'prune']);
    events.destroy();
    expect(await docker.version()).toMatchObject({ Os: 'linux' });
    expect(await docker.info()).toMatchObject({ Driver: 'overlay2', Images: 1, Containers: 0 });
    expect(await docker.df()).toMatchObject({ LayersSize: 4, Containers: [] });
    expect(await docker.listVolumes()).toEqual({ Volumes: [], Warnings: [] });
    expect(await docker.listNetworks()).toMatchObject(['bridge', 'host', 'none'].map((Name) => ({ Name })));
  });
});

describe('tools that only read', () => {
  it('dockviz lists everything and asks for histories, without a version', async () => {
    const images = (await service.get('/images/json?all=1')).json<
      { Id: string; ParentId: string; RepoTags: string[] }[]
    >();
    expect(images).toMatchObject([{ Id: base.id, ParentId: '', RepoTags: ['base:1'] }]);
    const history = (await service.get(`/images/${base.id}/history`)).json<{ Id: string; Size: number }[]>();
    expect(history).toMatchObject([{ Id: base.id, Size: 4 }]);
    expect((await service.get('/containers/json?all=1')).json()).toEqual([]);
  });

  it('dive reads an image by its id, and its archive with manifest, config and layers', async () => {
    const id = base.id.slice(7, 19);
    expect((await service.get(`/v1.24/images/${id}/json`)).json()).toMatchObject({ Id: base.id });
    const answer = await service.get(`/v1.24/images/get?names=${id}`);
    expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/x-tar']);
    const { extract } = await import('tar-stream');
    const files = new Map<string, Buffer>();
    const unpack = extract();
    unpack.on('entry', (header, stream, next) => {
      void buffer(stream).then((bytes) => {
        files.set(header.name, bytes);
        next();
      });
    });
    unpack.end(answer.bytes);
    await new Promise<void>((resolve) => unpack.on('finish', () => resolve()));
    const [manifest] = JSON.parse(files.get('manifest.json')?.toString() ?? '[]') as {
      Config: string;
      Layers: string[];
    }[];
    expect(files.get(manifest?.Config ?? '')?.equals(base.config)).toBe(true);
    expect(
      manifest?.Layers.map((layer) => files.get(layer)?.equals(base.layers[0]?.tar ?? Buffer.alloc(0))),
    ).toEqual([true]);
  });
});
