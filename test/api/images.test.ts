/** The image routes, as the API reference has them, over a socket. */
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ImageInspect } from '../../src/image/store.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { tar } from '../support/tar.ts';
import { TestService, type Answer } from '../support/test-service.ts';

const base = imageOf([layerOf({ 'etc/base': 'base' })], { tags: ['base:1'] });
const app = imageOf([...base.layers, layerOf({ 'app/run': 'run' })], {
  tags: ['app:1', 'localhost:5000/team/app:1.0'],
  config: { Labels: { team: 'x' }, Env: ['A=<&>'] },
  parent: base,
});
const nameless = imageOf([layerOf({ loose: 'loose' })]);

let service: TestService;
const load = (...images: Parameters<typeof dockerArchive>[0][number][]): Promise<Answer> =>
  service.post('/images/load', { body: tar(dockerArchive(images)) });
const message = (answer: Answer): string => answer.json<{ message: string }>().message;
const filters = (value: unknown): string => `filters=${encodeURIComponent(JSON.stringify(value))}`;

beforeAll(async () => {
  service = await TestService.start();
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

describe('images/load', () => {
  it('loads the archive in the body and names its images', async () => {
    const answer = await load(base, app);
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.text).toBe(
      ['base:1', 'app:1', 'localhost:5000/team/app:1.0']
        .map((name) => `{"stream":"Loaded image: ${name}\\n"}\r\n`)
        .join(''),
    );
  });

  it('names a nameless image by its id', async () => {
    expect((await load(nameless)).lines()).toEqual([{ stream: `Loaded image ID: ${nameless.id}\n` }]);
  });

  it('reports a name that moves', async () => {
    const other = imageOf([layerOf({ 'etc/base': 'other' })], { tags: ['moves:1'] });
    await load(imageOf([layerOf({ 'etc/base': 'one' })], { tags: ['moves:1'] }));
    const lines = (await load(other)).lines();
    expect(lines).toHaveLength(2);
    expect(lines[0]?.['stream']).toMatch(
      /^The image moves:1 already exists, renaming the old one with ID sha256:[0-9a-f]{64} to empty string\n$/,
    );
    await service.send('DELETE', '/images/moves:1');
    await service.post('/images/prune');
    await load(nameless);
  });

  it('takes a compressed archive in chunks', async () => {
    const image = imageOf([layerOf({ zipped: 'z' })], { tags: ['zipped:1'] });
    const bytes = gzipSync(tar(dockerArchive([image])));
    const body = Readable.from([bytes.subarray(0, 100), bytes.subarray(100)]);
    const answer = await service.post('/images/load?quiet=1', { body });
    expect(answer.lines()).toEqual([{ stream: 'Loaded image: zipped:1\n' }]);
    await service.send('DELETE', '/images/zipped:1');
  });

  it('reports the progress of layers on request', async () => {
    const layer = layerOf({ big: 'x'.repeat(3_000_000) });
    const image = imageOf([layer], { tags: ['big:1'] });
    const answer = await service.post('/images/load?quiet=0', { body: tar(dockerArchive([image])) });
    const lines = answer.lines();
    expect(lines.at(-1)).toEqual({ stream: 'Loaded image: big:1\n' });
    const [last] = lines.slice(-2);
    expect(last).toMatchObject({
      status: 'Loading layer',
      progressDetail: { current: layer.tar.length, total: layer.tar.length },
      id: expect.stringMatching(/^[0-9a-f]{12}$/) as string,
    });
    expect(last?.['progress']).toMatch(/^\[={50}>\] +3\.\d+MB\/3\.\d+MB$/);
    await service.send('DELETE', '/images/big:1');
  });

  it.each([
    ['nothing', ''],
    ['bytes that are not an archive', 'this is not a tar'],
    ['half an archive', tar(dockerArchive([app])).subarray(0, 3000)],
  ])('reports in the stream what is wrong with %s', async (_, body) => {
    const answer = await service.post('/images/load', { body });
    expect(answer.status).toBe(200);
    const [line, ...more] = answer.lines();
    expect(more).toEqual([]);
    const text = (line?.['errorDetail'] as { message: string }).message;
    expect(line).toEqual({ errorDetail: { message: text }, error: text });
    expect(text).not.toBe('');
  });
});

describe('images/json', () => {
  type Row = Record<string, unknown> & { Id: string };
  const list = async (query = '', version = '/v1.41'): Promise<Row[]> =>
    (await service.get(`${version}/images/json${query}`)).json<Row[]>();
  const ids = async (query: string): Promise<string[]> => (await list(query)).map(({ Id }) => Id).sort();

  it('has the fields of each version', async () => {
    const of = (rows: Row[], id: string): Row | undefined => rows.find(({ Id }) => Id === id);
    const [old, v143, v144] = [await list(), await list('', '/v1.43'), await list('', '/v1.44')];
    expect(of(old, app.id)).toEqual({
      Containers: -1,
      Created: 1704164645,
      Id: app.id,
      Labels: { team: 'x' },
      ParentId: base.id,
      RepoDigests: null,
      RepoTags: ['app:1', 'localhost:5000/team/app:1.0'],
      SharedSize: -1,
      Size: 7,
      VirtualSize: 7,
    });
    expect(of(old, nameless.id)).toMatchObject({
      Labels: null,
      RepoDigests: ['<none>@<none>'],
      RepoTags: ['<none>:<none>'],
    });
    expect(of(v143, nameless.id)).toMatchObject({ RepoDigests: [], RepoTags: [], VirtualSize: 5 });
    expect(of(v144, nameless.id)).not.toHaveProperty('VirtualSize');
  });

  it('counts the containers of an image since 1.51, and shared sizes where they are asked for', async () => {
    const container = await service.store.containers.create('app:1');
    const rows = await list('?shared-size=1', '/v1.51');
    expect(rows.find(({ Id }) => Id === app.id)).toMatchObject({ Containers: 1, SharedSize: 4 });
    expect(rows.find(({ Id }) => Id === nameless.id)).toMatchObject({ Containers: 0, SharedSize: 0 });
    expect(await list('?shared-size=1', '/v1.50')).toContainEqual(
      expect.objectContaining({ Id: app.id, Containers: -1, SharedSize: 4 }),
    );
    await service.store.containers.remove(container);
  });

  it('takes filters as lists and as sets', async () => {
    expect(await ids(`?${filters({ dangling: ['true'] })}`)).toEqual([nameless.id]);
    expect(await ids(`?${filters({ dangling: { true: true } })}`)).toEqual([nameless.id]);
    expect(await ids(`?${filters({ dangling: { true: false } })}`)).toHaveLength(3);
    expect(await ids(`?${filters({ label: ['team=x'] })}`)).toEqual([app.id]);
    expect(await ids(`?${filters({ reference: ['localhost:5000/*/app'] })}`)).toEqual([app.id]);
    expect((await service.get(`/images/json?${filters({ since: ['nothing:1'] })}`)).status).toBe(404);
  });

  it('uses the earliest of several times, and the nearest of several images', async () => {
    const made = '2024-01-02T03:04:05Z';
    const until = async (...times: string[]): Promise<number> =>
      (await ids(`?${filters({ until: times })}`)).length;
    expect(await until('1h')).toBe(3);
    expect(await until('2099-01-01', '1h', '2024-01-02T03:04:06Z')).toBe(3);
    expect(await until('1h', made)).toBe(0);
    expect(await until(made, '1h')).toBe(0);
    expect(await until('2000-01-01', '1h')).toBe(0);
    // One of them counts, independent of the others.
    for (const bad of ['abc', '', '-1', '10x', '2024-02-30'])
      for (const times of [[bad], ['1h', bad], [bad, '1h']])
        expect((await service.get(`/images/json?${filters({ until: times })}`)).status).toBe(400);
    const prune = await service.post(`/images/prune?${filters({ until: ['10m', '1h'] })}`);
    expect([prune.status, message(prune)]).toEqual([400, 'more than one until filter specified']);
  });

  it('takes the one filter of old clients', async () => {
    expect((await list('?filter=app', '/v1.40')).map(({ Id }) => Id)).toEqual([app.id]);
    expect(await list('?filter=app')).toHaveLength(3);
  });
});

describe('one image', () => {
  it.each([
    'app:1',
    'localhost:5000/team/app:1.0',
    'localhost:5000%2Fteam%2Fapp%3A1.0',
    app.id,
    app.id.slice(7, 20),
  ])('is found as %s', async (name) => {
    const answer = await service.get(`/v1.41/images/${name}/json`);
    expect(answer.status).toBe(200);
    expect(answer.json<ImageInspect>().Id).toBe(app.id);
    // As dockerd writes it: no escapes of HTML, a newline at the end.
    expect(answer.text).toContain('"A=<&>"');
    expect(answer.text.endsWith('}\n')).toBe(true);
  });

  it('has the fields of each version', async () => {
    const fields = async (version: string): Promise<Record<string, unknown>> =>
      (await service.get(`/v${version}/images/app:1/json`)).json();
    const [v141, v144, v145, v150] = [
      await fields('1.41'),
      await fields('1.44'),
      await fields('1.45'),
      await fields('1.50'),
    ];
    expect(v141).toMatchObject({ VirtualSize: 7, ContainerConfig: {}, Config: { Hostname: '', Image: '' } });
    expect(v144).not.toHaveProperty('VirtualSize');
    expect(v144).toHaveProperty('ContainerConfig');
    expect(v145).not.toHaveProperty('ContainerConfig');
    expect(v145).toHaveProperty('Config.Hostname');
    expect(v150['Config']).toEqual({
      User: '',
      Env: ['A=<&>'],
      Cmd: ['/bin/sh'],
      Volumes: null,
      WorkingDir: '',
      Entrypoint: null,
      OnBuild: null,
      Labels: { team: 'x' },
    });
  });

  it('has a history', async () => {
    const rows = (await service.get('/images/localhost:5000/team/app:1.0/history')).json<
      Record<string, unknown>[]
    >();
    expect(rows.map(({ Id, Tags, Size }) => ({ Id, Tags, Size }))).toEqual([
      { Id: app.id, Tags: ['app:1', 'localhost:5000/team/app:1.0'], Size: 3 },
      { Id: base.id, Tags: ['base:1'], Size: 4 },
    ]);
  });

  it.each([
    ['GET', '/images/nothing:1/json'],
    ['GET', '/images/nothing:1/history'],
    ['GET', '/images/nothing:1/get'],
    ['GET', '/images/get?names=app:1&names=nothing:1'],
    ['POST', '/images/nothing:1/tag?repo=x'],
    ['DELETE', '/images/nothing:1'],
  ])('that does not exist is 404: %s %s', async (method, path) => {
    const answer = await service.send(method, path);
    expect([answer.status, message(answer)]).toEqual([
      404,
      expect.stringContaining('No such image: nothing:1'),
    ]);
  });

  it.each([
    ['GET', '/images/UPPER/json'],
    ['POST', '/images/app:1/tag'],
    ['POST', '/images/app:1/tag?repo=UPPER'],
    ['POST', `/images/app:1/tag?repo=x@sha256:${'0'.repeat(64)}`],
    ['POST', '/images/app:1/tag?repo=x&tag=no/tag'],
    ['GET', '/images/get'],
  ])('cannot have this name: %s %s', async (method, path) => {
    const answer = await service.send(method, path);
    expect(answer.status).toBe(400);
    expect(message(answer)).not.toBe('');
  });
});

describe('tag and delete', () => {
  it('add and remove names', async () => {
    for (const query of ['repo=host:5000/a/b&tag=2', 'repo=host:5000/a/b:3', 'repo=c', 'repo=d:1&tag=2']) {
      const answer = await service.post(`/images/app:1/tag?${query}`);
      expect([answer.status, answer.text]).toEqual([201, '']);
    }
    const image = (await service.get('/images/app:1/json')).json<ImageInspect>();
    expect(image.RepoTags).toEqual(
      expect.arrayContaining(['host:5000/a/b:2', 'host:5000/a/b:3', 'c:latest', 'd:2']),
    );
    for (const name of ['host:5000/a/b:2', 'host:5000/a/b:3', 'c', 'd:2']) {
      const answer = await service.send('DELETE', `/images/${name}`);
      expect([answer.status, answer.json()]).toEqual([
        200,
        [{ Untagged: name.includes(':') ? name : `${name}:latest` }],
      ]);
    }
  });

  it('answer 409 for an image in use, unless forced', async () => {
    const image = imageOf([layerOf({ held: 'h' })], { tags: ['held:1', 'other:1'] });
    await load(image);
    const refused = await service.send('DELETE', `/images/${image.id}`);
    expect([refused.status, message(refused)]).toEqual([
      409,
      expect.stringMatching(/^conflict: unable to delete [0-9a-f]{12} \(must be forced\)/),
    ]);
    const forced = await service.send('DELETE', `/images/${image.id}?force=1`);
    expect(forced.json()).toEqual([
      { Untagged: 'held:1' },
      { Untagged: 'other:1' },
      { Deleted: image.id },
      { Deleted: image.chain[0] },
    ]);
  });
});

describe('images/prune', () => {
  it('deletes dangling images, or with a filter all that no container uses', async () => {
    await load(nameless);
    const none = await service.post(`/images/prune?${filters({ label: ['no=such'] })}`);
    expect(none.json()).toEqual({ ImagesDeleted: null, SpaceReclaimed: 0 });
    const dangling = await service.post('/images/prune');
    expect(dangling.json()).toEqual({
      ImagesDeleted: [{ Deleted: nameless.id }, { Deleted: nameless.chain[0] }],
      SpaceReclaimed: 5,
    });
    await load(imageOf([layerOf({ gone: 'gone' })], { tags: ['gone:1'], config: { Labels: { go: '' } } }));
    const all = await service.post(`/images/prune?${filters({ dangling: ['false'], label: ['go'] })}`);
    expect(all.json<{ SpaceReclaimed: number }>().SpaceReclaimed).toBe(4);
    expect((await service.get('/images/gone:1/json')).status).toBe(404);
    expect((await service.get('/images/app:1/json')).status).toBe(200);
  });

  it('refuses filters that it does not know', async () => {
    expect((await service.post(`/images/prune?${filters({ reference: ['x'] })}`)).status).toBe(400);
  });
});

describe('images/get', () => {
  it('sends an archive that images/load accepts', async () => {
    for (const path of ['/images/get?names=app:1&names=base:1', '/images/localhost:5000/team/app:1.0/get']) {
      const archive = await service.get(path);
      expect([archive.status, archive.headers['content-type']]).toEqual([200, 'application/x-tar']);
      const loaded = await service.post('/images/load', { body: archive.bytes });
      expect(loaded.text).toContain('Loaded image: ');
      expect(loaded.text).not.toContain('error');
    }
  });
});

describe('images/create', () => {
  it('imports the body', async () => {
    const query = new URLSearchParams({ fromSrc: '-', repo: 'imported', tag: '2', message: 'hello' });
    query.append('changes', 'CMD ["/x"]');
    query.append('changes', 'ENV A=1');
    const answer = await service.post(`/images/create?${String(query)}`, {
      body: tar([{ name: 'etc/x', content: 'x' }]),
    });
    expect(answer.status).toBe(200);
    const [line] = answer.lines();
    const image = (await service.get('/v1.41/images/imported:2/json')).json<ImageInspect>();
    expect(line).toEqual({ status: image.Id });
    expect(image).toMatchObject({ Comment: 'hello', Config: { Cmd: ['/x'], Env: ['A=1'] } });
    const untitled = await service.post('/images/create?fromSrc=-&repo=imported:3', {
      body: tar([{ name: 'etc/x', content: 'y' }]),
    });
    expect(untitled.status).toBe(200);
    const third = (await service.get('/images/imported:3/json')).json<ImageInspect>();
    expect(third.Comment).toBe('Imported from -');
  });

  it.each([
    [400, 'fromSrc=-&changes=FLY', 'invalid change'],
    [400, 'fromSrc=-&repo=UPPER', 'invalid reference'],
    [400, 'fromSrc=-&platform=a/b/c/d', 'invalid platform'],
    [400, '', 'neither fromImage nor fromSrc'],
    [400, 'fromSrc=-&platform=%20%20%20', 'is an invalid OS component'],
    [400, 'fromSrc=-&platform=nintendo64', 'unknown operating system or architecture'],
    [400, 'fromSrc=-&platform=macos', 'operating system is not supported'],
    [400, 'fromSrc=-&platform=windows/amd64', 'operating system is not supported'],
    [400, 'fromSrc=-&repo=sha256&tag=x', 'refusing to create an ambiguous tag using digest algorithm'],
  ])('says %i for %s', async (status, query, text) => {
    const answer = await service.post(`/images/create?${query}`, {
      body: tar([{ name: 'x', content: 'x' }]),
    });
    expect([answer.status, message(answer)]).toEqual([status, expect.stringContaining(text)]);
  });
});

describe('commit', () => {
  it('makes an image of a container, with a config merged as docker does', async () => {
    const container = await service.store.containers.create('app:1', { name: 'c1' });
    const query = 'container=c1&repo=committed&tag=1&comment=why&author=me&pause=0&changes=ENV%20B%3D2';
    const plain = await service.post(`/commit?${query}`, { json: null });
    expect(plain.status).toBe(201);
    const image = (await service.get('/v1.41/images/committed:1/json')).json<ImageInspect>();
    expect(plain.json()).toEqual({ Id: image.Id });
    expect(image).toMatchObject({
      Author: 'me',
      Comment: 'why',
      Config: { Cmd: ['/bin/sh'], Env: ['A=<&>', 'B=2'], Labels: { team: 'x' } },
    });

    const none = await service.post(`/commit?${query}`, { json: { Unknown: 1 } });
    expect(none.status).toBe(201);
    const empty = (await service.get('/v1.41/images/committed:1/json')).json<ImageInspect>();
    expect(empty.Config).toEqual(image.Config);

    const json = { Cmd: ['/other'], Env: ['A=3'], Labels: { own: '1' }, WorkingDir: '/w' };
    const own = await service.post('/commit?container=c1&repo=committed:2', { json });
    expect(own.status).toBe(201);
    const merged = (await service.get('/v1.41/images/committed:2/json')).json<ImageInspect>();
    expect(merged.Config).toMatchObject({
      Cmd: ['/other'],
      Env: ['A=3'],
      Hostname: '',
      Labels: { own: '1', team: 'x' },
      WorkingDir: '/w',
    });
    await service.store.containers.remove(container);
  });

  it.each([
    [404, '/commit?container=nothing', null],
    [400, '/commit', null],
    [400, '/commit?container=nothing&repo=UPPER', null],
    [400, '/commit?container=nothing', { Cmd: [1] }],
  ])('says %i for %s', async (status, path, json) => {
    const answer = await service.post(path, { json });
    expect(answer.status).toBe(status);
  });
});

describe('a platform', () => {
  const platform = (architecture: string): string =>
    `platform=${encodeURIComponent(JSON.stringify({ os: 'linux', architecture }))}`;

  it.each([
    ['GET', '/v1.49/images/base:1/json'],
    ['GET', '/v1.48/images/base:1/history'],
    ['GET', '/v1.48/images/base:1/get'],
    ['GET', '/v1.48/images/get?names=base:1'],
    ['POST', '/v1.46/images/base:1/push'],
  ])('other than that of the image is not found: %s %s', async (method, path) => {
    const answer = await service.send(method, `${path}${path.includes('?') ? '&' : '?'}${platform('s390x')}`);
    expect([answer.status, message(answer)]).toEqual([
      404,
      'image with reference base:1 was found but its platform (linux/amd64) does not match the specified platform (linux/s390x)',
    ]);
  });

  it('of the image changes nothing, and older versions of the API ignore any', async () => {
    const plain = await service.get('/images/base:1/json');
    expect((await service.get(`/images/base:1/json?${platform('amd64')}`)).text).toBe(plain.text);
    expect((await service.get(`/v1.47/images/base:1/history?${platform('s390x')}`)).status).toBe(200);
  });

  it('cannot be removed alone', async () => {
    const answer = await service.send('DELETE', `/images/base:1?${platform('amd64').replace('=', 's=')}`);
    expect(answer.status).toBe(501);
    expect((await service.get('/images/base:1/json')).status).toBe(200);
  });
});
