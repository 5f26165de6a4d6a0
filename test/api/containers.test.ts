/** The container routes, as the API reference has them, over a socket. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { mountsBelow } from '../support/scratch.ts';
import { tar, type TarItem } from '../support/tar.ts';
import { TestService, type Answer } from '../support/test-service.ts';

const base = imageOf([layerOf({ 'etc/base': 'base', 'etc/other': 'other' })], {
  tags: ['base:1'],
  config: {
    Labels: { from: 'image' },
    Env: ['A=1', 'B=2'],
    Cmd: ['/run'],
    User: '7',
    ExposedPorts: { '80/tcp': {} },
  },
});
const child = imageOf([...base.layers, layerOf({ 'etc/child': 'child' })], {
  tags: ['child:1'],
  parent: base,
});
const blank = imageOf([layerOf({ blank: '' })], {
  tags: ['blank:1'],
  config: { Entrypoint: [''], Cmd: null },
});
const silent = imageOf([layerOf({ nothing: '' })], { tags: ['silent:1'], config: { Cmd: null } });

let service: TestService;

beforeAll(async () => {
  service = await TestService.start();
  await service.post('/images/load', { body: tar(dockerArchive([base, child, silent, blank])) });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

const message = (answer: Answer): string => answer.json<{ message: string }>().message;
const filters = (value: unknown): string => `filters=${encodeURIComponent(JSON.stringify(value))}`;
const create = (name: string, config: object = {}): Promise<Answer> =>
  service.post(`/containers/create?name=${name}`, { json: { Image: 'base:1', ...config } });
const remove = (...names: string[]): Promise<Answer[]> =>
  Promise.all(names.map((name) => service.send('DELETE', `/containers/${name}?force=1`)));
interface Row {
  readonly Id: string;
  readonly Names: string[];
  readonly [field: string]: unknown;
}
const list = async (query: string): Promise<string[]> =>
  (await service.get(`/containers/json?${query}`)).json<Row[]>().map(({ Names }) => Names.join());

describe('containers/create', () => {
  it('makes a container with the merged config of image and request', async () => {
    const answer = await create('merged', {
      Env: ['B=own', 'C=3'],
      Labels: { own: 'yes' },
      Entrypoint: ['/bin/x'],
      HostConfig: { Memory: 67108864, NetworkMode: 'default' },
    });
    expect(answer.status).toBe(201);
    const { Id, Warnings } = answer.json<{ Id: string; Warnings: string[] }>();
    expect(Id).toMatch(/^[0-9a-f]{64}$/);
    expect(Warnings).toEqual([]);
    const inspected = (await service.get(`/v1.41/containers/${Id.slice(0, 12)}/json`)).json<Row>();
    expect(inspected).toMatchObject({
      Id,
      Name: '/merged',
      Path: '/bin/x',
      Args: [],
      Image: base.id,
      Config: {
        Image: 'base:1',
        Hostname: Id.slice(0, 12),
        User: '7',
        Env: ['B=own', 'C=3', 'A=1'],
        Cmd: null,
        Entrypoint: ['/bin/x'],
        Labels: { from: 'image', own: 'yes' },
        ExposedPorts: { '80/tcp': {} },
      },
      HostConfig: { Memory: 67108864, MemorySwap: 134217728, NetworkMode: 'none', Runtime: 'runc' },
      State: { Status: 'created', Running: false },
    });
    expect(inspected).not.toHaveProperty('SizeRw');
    await remove('merged');
  });

  it('hides no paths from a privileged container, unless the request lists them', async () => {
    const host = async (name: string, HostConfig: object): Promise<unknown> => {
      await create(name, { HostConfig });
      const { HostConfig: kept } = (await service.get(`/containers/${name}/json`)).json<Row>();
      await remove(name);
      return kept;
    };
    const { MaskedPaths, ReadonlyPaths } = (await host('usual', {})) as Record<string, string[]>;
    expect(MaskedPaths).toContain('/proc/kcore');
    expect(ReadonlyPaths).toContain('/proc/sys');
    expect(await host('free', { Privileged: true, MaskedPaths: null })).toMatchObject({
      Privileged: true,
      MaskedPaths: null,
      ReadonlyPaths: null,
      SecurityOpt: ['label=disable'],
    });
    expect(
      await host('some', { Privileged: true, MaskedPaths: ['/x'], SecurityOpt: ['label=a'] }),
    ).toMatchObject({
      MaskedPaths: ['/x'],
      ReadonlyPaths: null,
      SecurityOpt: ['label=a'],
    });
    expect(await host('empty', { MaskedPaths: [], PidMode: 'host' })).toMatchObject({
      MaskedPaths: [],
      SecurityOpt: ['label=disable'],
    });
  });

  it('keeps annotations, and shows them in the versions of the API that have them', async () => {
    await create('annotated', { HostConfig: { Annotations: { 'org.example.key': 'value' } } });
    const shown = async (version: string): Promise<unknown> =>
      (await service.get(`/${version}/containers/annotated/json`)).json<{ HostConfig: Row }>().HostConfig[
        'Annotations'
      ];
    expect(await shown('v1.51')).toEqual({ 'org.example.key': 'value' });
    expect(await shown('v1.43')).toEqual({ 'org.example.key': 'value' });
    expect(await shown('v1.42')).toBeUndefined();
    await remove('annotated');
  });

  it('warns of the keys of the host config that it does not honour', async () => {
    const HostConfig = {
      Binds: ['/a:/b', 'data:/c'],
      Memory: 64 * 1024 * 1024,
      NetworkMode: 'mine',
      PortBindings: { '80/tcp': [{ HostPort: '8080' }] },
    };
    const { Warnings } = (await create('warned', { HostConfig })).json<{ Warnings: string[] }>();
    expect(Warnings).toEqual([
      expect.stringMatching(
        /^NetworkMode: layerstack does no networking: the network mine is not used; use the network host/,
      ),
      expect.stringMatching(/^PortBindings: layerstack does no networking: no ports are published; /),
      'Binds: the volume data has no directory; give the absolute path of a directory',
    ]);
    await remove('warned');
  });

  it.each([
    ['', {}, 400, 'Config cannot be empty in order to create a container'],
    ['', { Image: 'no/such' }, 404, 'No such image: no/such:latest'],
    [
      '',
      { Image: 'base:1', WorkingDir: 'rel' },
      400,
      "the working directory 'rel' is invalid, it needs to be an absolute path",
    ],
    ['', { Image: 'base:1', Env: ['=x'] }, 400, 'invalid environment variable: =x'],
    [
      '',
      { Image: 'base:1', HostConfig: { RestartPolicy: { Name: 'bad' } } },
      400,
      "invalid restart policy 'bad'",
    ],
    ['', { Image: 'silent:1' }, 400, 'No command specified'],
    ['', { Image: 'base:1', Entrypoint: [''], Cmd: [] }, 400, 'No command specified'],
    [
      '?name=-c',
      { Image: 'base:1' },
      400,
      'Invalid container name (-c), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed',
    ],
    [
      '?platform=linux/s390x',
      { Image: 'base:1' },
      404,
      'image with reference base:1 was found but its platform (linux/amd64) does not match the specified platform (linux/s390x)',
    ],
    ['', { Image: 'base:1', Labels: 3 }, 400, 'the request body: Labels is a number, not an object'],
    [
      '',
      { Image: 'base:1', HostConfig: { PortBindings: { '80/tcp': [{ HostPort: 8080 }] } } },
      400,
      'the request body: HostConfig.PortBindings["80/tcp"][0].HostPort is a number, not a string',
    ],
    [
      '',
      { Image: 'base:1', NetworkingConfig: { EndpointsConfig: { none: { IPPrefixLen: 1.5 } } } },
      400,
      'the request body: NetworkingConfig.EndpointsConfig["none"].IPPrefixLen is 1.5, not a whole number in plain digits',
    ],
    ['', { Image: 'base:1', StopSignal: 'SIGNOTHING' }, 400, 'Invalid signal: SIGNOTHING'],
    [
      '',
      { Image: 'base:1', Healthcheck: { StartInterval: 1 } },
      400,
      'StartInterval in Healthcheck cannot be less than 1ms',
    ],
    ['', { Image: 'blank:1' }, 400, 'No command specified'],
  ])('refuses %s %j in docker words', async (query, json, status, words) => {
    const answer = await service.post(`/containers/create${query}`, { json });
    expect([message(answer), answer.status]).toEqual([words, status]);
  });

  it('refuses a name that is taken, naming its owner', async () => {
    const { Id } = (await create('taken')).json<Row>();
    const answer = await create('taken');
    expect(answer.status).toBe(409);
    expect(message(answer)).toBe(
      `Conflict. The container name "/taken" is already in use by container "${Id}". You have to remove (or rename) ` +
        'that container to be able to reuse that name.',
    );
    await remove('taken');
  });

  it('accepts the platform of the image, and refuses a request without a body', async () => {
    const fine = await service.post('/containers/create?name=plat&platform=linux/amd64', {
      json: { Image: 'base:1' },
    });
    expect(fine.status).toBe(201);
    expect((await service.post('/containers/create')).status).toBe(400);
    await remove('plat');
  });
});

describe('containers/json', () => {
  beforeAll(async () => {
    await create('one', { Labels: { stage: 'test' } });
    await sleep(5);
    await create('two', { Image: 'child:1', Cmd: ['sh', '-c', 'echo a b'] });
    await sleep(5);
    await create('three', { Image: base.id.slice(7, 19) });
  });
  afterAll(() => remove('one', 'two', 'three'));

  it('has the rows of docker ps', async () => {
    const [three, two] = (await service.get('/containers/json?all=1')).json<Row[]>();
    expect(two).toEqual({
      Id: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      Names: ['/two'],
      Image: 'child:1',
      ImageID: child.id,
      Command: "sh -c 'echo a b'",
      Created: expect.any(Number) as number,
      Ports: [],
      Labels: {},
      State: 'created',
      Status: 'Created',
      HostConfig: { NetworkMode: 'none' },
      NetworkSettings: { Networks: { none: expect.any(Object) as object } },
      Mounts: [],
    });
    expect(three).toMatchObject({ Image: base.id.slice(7, 19), ImageID: base.id });
  });

  it.each([
    ['', []],
    ['all=true', ['/three', '/two', '/one']],
    ['all=0', []],
    ['limit=2', ['/three', '/two']],
    ['limit=-1&all=1', ['/three', '/two', '/one']],
    [filters({ status: ['created'] }), ['/three', '/two', '/one']],
    [filters({ status: ['exited', 'paused'] }), []],
    [`all=1&${filters({ name: ['t'] })}`, ['/three', '/two']],
    [`all=1&${filters({ name: ['^t.*e$', 'one'] })}`, ['/three', '/one']],
    [`all=1&${filters({ name: ['/one'] })}`, ['/one']],
    [`all=1&${filters({ name: ['('] })}`, []],
    [`all=1&${filters({ name: { one: true, two: false } })}`, ['/one']],
    [`all=1&${filters({ label: ['stage=test', 'from'] })}`, ['/one']],
    [`all=1&${filters({ label: ['stage=live'] })}`, []],
    [`all=1&${filters({ ancestor: ['child:1'] })}`, ['/two']],
    [`all=1&${filters({ ancestor: ['base'] })}`, []],
    [`all=1&${filters({ ancestor: ['base:1'] })}`, ['/three', '/two', '/one']],
    [`all=1&${filters({ before: ['two'] })}`, ['/one']],
    [`all=1&${filters({ since: ['one'] })}`, ['/three', '/two']],
    [`all=1&${filters({ since: ['one'], before: ['three'] })}`, ['/two']],
    [`all=1&${filters({ exited: ['0'] })}`, []],
    [`all=1&${filters({ health: ['none'] })}`, ['/three', '/two', '/one']],
    [`all=1&${filters({ health: ['healthy'] })}`, []],
    [`all=1&${filters({ network: ['none'] })}`, ['/three', '/two', '/one']],
    [`all=1&${filters({ network: ['bridge'] })}`, []],
    [`all=1&${filters({ volume: ['v'] })}`, []],
    [`all=1&${filters({ expose: ['79-81'] })}`, ['/three', '/one']],
    [`all=1&${filters({ expose: ['80/udp'] })}`, []],
    [`all=1&${filters({ publish: ['80'] })}`, []],
    [`all=1&${filters({ 'is-task': ['true'] })}`, []],
  ])('%s', async (query, names) => {
    expect(await list(query)).toEqual(names);
  });

  it('finds by the beginning of an id', async () => {
    const { Id } = (await service.get('/containers/one/json')).json<Row>();
    expect(await list(`all=1&${filters({ id: [Id.slice(0, 10)] })}`)).toEqual(['/one']);
  });

  it.each([
    [filters({ status: ['foo'] }), 400, "Invalid filter 'status=foo'"],
    [filters({ health: ['foo'] }), 400, "Invalid filter 'health=foo'"],
    [filters({ exited: ['foo'] }), 400, "Invalid filter 'exited=foo'"],
    [filters({ before: ['nobody'] }), 404, 'No such container: nobody'],
    [filters({ publish: ['x'] }), 400, 'invalid port: "x"'],
    ['limit=foo', 400, 'limit="foo" is not a whole number'],
  ])('refuses %s', async (query, status, words) => {
    const answer = await service.get(`/containers/json?${query}`);
    expect([message(answer), answer.status]).toEqual([words, status]);
  });

  it.each([
    ['name', '^(a+)+$'],
    ['name', '(a|a)*!$'],
    ['id', '(([0-9a-f])+.)+!'],
    ['name', '(.*)*(.*)*(.*)*!'],
  ])(
    '%s=%s, an expression with exponential backtracking, delays no other client, even 40 at once (ReDoS)',
    async (filter, pattern) => {
      const name = `${'a'.repeat(200)}b`;
      await create(name);
      const query = `all=1&${filters({ [filter]: Array<string>(20).fill(pattern) })}`;
      let longest = 0;
      let before = performance.now();
      const watch = setInterval(() => {
        longest = Math.max(longest, performance.now() - before);
        before = performance.now();
      }, 1);
      const answers = await Promise.all(
        Array.from({ length: 40 }, () => service.get(`/containers/json?${query}`)),
      );
      clearInterval(watch);
      for (const answer of answers) expect([answer.status, answer.json()]).toEqual([200, []]);
      expect(longest).toBeLessThan(400);
      await remove(name);
    },
  );

  it.each([
    ['name', 'a'.repeat(5000)],
    ['name', '((a{100}){100}){100}'],
  ])('refuses %s=%s, which is too large', async (filter, pattern) => {
    const answer = await service.get(`/containers/json?all=1&${filters({ [filter]: [pattern] })}`);
    expect([answer.status, message(answer)]).toEqual([400, expect.stringMatching(/is too large/)]);
  });

  it('lists a mounted container as one in use', async () => {
    const mount = await service.store.containers.mount('one');
    const [row] = (await service.get('/containers/json')).json<Row[]>();
    expect(row).toMatchObject({ Names: ['/one'], State: 'created', Status: 'Created (mounted)' });
    expect((await service.send('DELETE', '/containers/one')).status).toBe(409);
    await mount.unmount();
  });

  it('counts sizes on request', async () => {
    await service.store.containers.putArchive(
      'one',
      '/',
      Readable.from([tar([{ name: 'new', content: '12345' }])]),
    );
    const rows = (await service.get('/containers/json?all=1&size=1')).json<Row[]>();
    expect(rows.map(({ SizeRw, SizeRootFs }) => [SizeRw, SizeRootFs])).toEqual([
      [undefined, 9],
      [undefined, 14],
      [5, 14],
    ]);
    const one = (await service.get('/containers/one/json?size=true')).json<Row>();
    expect(one).toMatchObject({ SizeRw: 5, SizeRootFs: 14 });
  });

  it('shows the id of an image whose name was moved to another image', async () => {
    await service.post('/images/base:1/tag?repo=moving&tag=1');
    await create('mover', { Image: 'moving:1' });
    await service.post('/images/child:1/tag?repo=moving&tag=1');
    const [row] = (await service.get('/containers/json?limit=1')).json<Row[]>();
    expect(row).toMatchObject({ Names: ['/mover'], Image: base.id });
    await remove('mover');
    await service.send('DELETE', '/images/moving:1');
  });
});

describe('containers/{id}', () => {
  it.each([
    'GET /json',
    'GET /changes',
    'GET /export',
    'GET /archive?path=/',
    'DELETE ',
    'POST /rename?name=ok',
  ])('%s of one that does not exist', async (line) => {
    const [method = '', path = ''] = line.split(' ');
    const answer = await service.send(method, `/containers/nobody${path}`);
    expect([message(answer), answer.status]).toEqual(['No such container: nobody', 404]);
  });

  it('is renamed', async () => {
    await create('old');
    await create('other');
    expect((await service.post('/containers/old/rename?name=new')).status).toBe(204);
    expect((await service.get('/containers/new/json')).json<Row>()).toMatchObject({ Name: '/new' });
    expect((await service.get('/containers/old/json')).status).toBe(404);
    for (const [query, status, words] of [
      ['', 400, 'Neither old nor new names may be empty'],
      ['?name=new', 400, 'Renaming a container with the same name as its current name'],
      [
        '?name=-',
        400,
        'Error when allocating new name: Invalid container name (/-), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed',
      ],
      [
        '?name=other',
        409,
        /^Error when allocating new name: Conflict\. The container name "\/other" is already in use by container "[0-9a-f]{64}"/,
      ],
    ] as const) {
      const answer = await service.post(`/containers/new/rename${query}`);
      expect(answer.status).toBe(status);
      expect(message(answer)).toMatch(words);
    }
    await remove('new', 'other');
    expect((await create('old')).status).toBe(201);
    await remove('old');
  });

  it('is removed with 204, and a second time with 404', async () => {
    await create('gone');
    const answer = await service.send('DELETE', '/containers/gone?v=1');
    expect([answer.status, answer.text]).toEqual([204, '']);
    expect((await service.send('DELETE', '/containers/gone')).status).toBe(404);
  });

  it('is removed although it is mounted, by force', async () => {
    await create('held');
    await service.store.containers.mount('held');
    expect((await service.send('DELETE', '/containers/held?force=true')).status).toBe(204);
    expect(mountsBelow(service.store.root)).toEqual([]);
  });
});

describe('containers/prune', () => {
  it('removes the containers that match and are not in use', async () => {
    await create('kept', { Labels: { keep: 'yes' } });
    await create('mounted');
    const { Id } = (await create('idle')).json<Row>();
    await service.store.containers.putArchive(
      'idle',
      '/',
      Readable.from([tar([{ name: 'f', content: '123' }])]),
    );
    const mount = await service.store.containers.mount('mounted');
    const none = await service.post(`/containers/prune?${filters({ until: ['1h'] })}`);
    expect(none.json()).toEqual({ ContainersDeleted: null, SpaceReclaimed: 0 });
    const answer = await service.post(`/containers/prune?${filters({ 'label!': ['keep'] })}`);
    expect(answer.json()).toEqual({ ContainersDeleted: [Id], SpaceReclaimed: 3 });
    await mount.unmount();
    expect((await list('all=1')).sort()).toEqual(['/kept', '/mounted']);
    await remove('kept', 'mounted');
  });

  it.each([
    [filters({ foo: ['x'] }), 400],
    [filters({ until: ['zz'] }), 400],
    [filters({ until: ['1h', '2h'] }), 400],
  ])('refuses %s', async (query, status) => {
    expect((await service.post(`/containers/prune?${query}`)).status).toBe(status);
  });
});

describe('containers/{id}/archive', () => {
  const at = (path: string, more = ''): string =>
    `/containers/files/archive?path=${encodeURIComponent(path)}${more}`;
  const statOf = (answer: Answer): unknown =>
    JSON.parse(Buffer.from(String(answer.headers['x-docker-container-path-stat']), 'base64').toString());

  beforeAll(() => create('files'));
  afterAll(() => remove('files'));

  it('describes the file at a path', async () => {
    const answer = await service.send('HEAD', at('/etc/base'));
    expect([answer.status, answer.text]).toEqual([200, '']);
    expect(statOf(answer)).toMatchObject({ name: 'base', size: 4, mode: 0o644, linkTarget: '' });
    expect(statOf(await service.send('HEAD', at('etc')))).toMatchObject({
      name: 'etc',
      mode: 2 ** 31 + 0o755,
    });
    expect((await service.send('HEAD', at('/none'))).status).toBe(404);
  });

  it('sends a path as a tar, and extracts a tar', async () => {
    const put = await service.send('PUT', at('/etc'), { body: tar([{ name: 'new', content: 'made' }]) });
    expect([put.status, put.text]).toEqual([200, '']);
    const got = await service.get(at('/etc/new'));
    expect([got.status, got.headers['content-type']]).toEqual([200, 'application/x-tar']);
    expect(statOf(got)).toMatchObject({ name: 'new', size: 4 });
    expect(got.bytes.subarray(0, 3).toString()).toBe('new');
    expect(got.bytes.subarray(512, 516).toString()).toBe('made');
    expect((await service.get('/containers/files/changes')).json()).toEqual([
      { Path: '/etc', Kind: 0 },
      { Path: '/etc/new', Kind: 1 },
    ]);
  });

  it('extracts a compressed tar, with the requested owner of its files', async () => {
    const body = gzipSync(tar([{ name: 'owned', content: 'x', uid: 5, gid: 6 }]));
    expect((await service.send('PUT', at('/', '&copyUIDGID=1'), { body })).status).toBe(200);
    const { tar: own } = await service.store.containers.getArchive('files', '/owned');
    const head = ((await own.toArray()) as Buffer[])[0]?.subarray(108, 124).toString();
    expect(head).toBe('0000007\u00000000000\u0000');
  });

  it('lets a directory and another file replace each other only if the request allows it', async () => {
    const body = tar([{ name: 'etc', content: 'a file' }]);
    const answer = await service.send('PUT', at('/', '&noOverwriteDirNonDir=true'), { body });
    expect(answer.status).toBe(400);
  });

  it.each([
    ['GET', '', '', 400, 'bad parameter: path cannot be empty'],
    ['GET', '/none', '', 404, 'Could not find the file /none in container files'],
    ['PUT', '/none', '', 404, 'Could not find the file /none in container files'],
  ])('%s %s', async (method, path, body, status, words) => {
    const answer = await service.send(method, at(path), { body });
    expect([message(answer), answer.status]).toEqual([words, status]);
  });

  it('refuses bytes that are not a tar, and a path that is not a directory', async () => {
    expect((await service.send('PUT', at('/etc'), { body: 'x'.repeat(600) })).status).toBe(400);
    expect((await service.send('PUT', at('/etc/base'), { body: tar([]) })).status).toBe(400);
    expect(mountsBelow(service.store.root)).toEqual([]);
  });

  it.each<[string, TarItem]>([
    ['a link to nothing', { name: 'bad', type: 'symlink', linkname: '' }],
    ['a capability that is none', { name: 'bad', xattrs: { 'security.capability': 'x' } }],
    ['too large an attribute', { name: 'bad', xattrs: { 'user.x': 'x'.repeat(65537) } }],
    ['a removal in the form of overlayfs', { name: 'bad', type: 'char' }],
  ])('answers %s in a tar with 400 and the name of the member', async (_, item) => {
    const answer = await service.send('PUT', at('/etc'), { body: tar([item]) });
    expect(answer.status).toBe(400);
    expect(message(answer)).toContain("'bad'");
  });

  it('sends links that lead to themselves, and replaces them', async () => {
    const links: TarItem[] = [
      { name: 'self', type: 'symlink', linkname: 'self' },
      { name: 'ping', type: 'symlink', linkname: '/loops/pong' },
      { name: 'pong', type: 'symlink', linkname: 'ping' },
      { name: 'below', type: 'symlink', linkname: 'below/x' },
    ];
    const body = tar([
      { name: 'loops/', type: 'directory' },
      ...links.map((link) => ({ ...link, name: `loops/${String((link as { name: string }).name)}` })),
    ]);
    expect((await service.send('PUT', at('/'), { body })).status).toBe(200);
    for (const name of ['self', 'ping', 'pong', 'below']) {
      const path = `/loops/${name}`;
      const head = await service.send('HEAD', at(path));
      expect(head.status).toBe(200);
      expect(statOf(head)).toMatchObject({ name, mode: 2 ** 27 + 0o777, linkTarget: path });
      const got = await service.get(at(path));
      expect([got.status, got.bytes[156]]).toEqual([200, '2'.charCodeAt(0)]);
      expect((await service.send('HEAD', at(`${path}/`))).status).toBe(400);
    }
    for (const name of ['self', 'ping', 'pong', 'below']) {
      const path = `/loops/${name}`;
      const file = tar([{ name, content: 'x' }]);
      expect((await service.send('PUT', at('/loops'), { body: file })).status).toBe(200);
      expect(statOf(await service.send('HEAD', at(path)))).toMatchObject({ name, size: 1, mode: 0o644 });
    }
  });

  it('leaves no mount when the client disconnects in the middle', async () => {
    const big = Buffer.alloc(8 << 20, 'x');
    await service.send('PUT', at('/'), { body: tar([{ name: 'big', content: big }]) });
    const answer = await service.open('GET', at('/'));
    await new Promise((resolve) => answer.once('data', resolve));
    answer.destroy();
    await service.api.drained();
    for (let tries = 0; tries < 100 && mountsBelow(service.store.root).length > 0; tries++) await sleep(20);
    expect(mountsBelow(service.store.root)).toEqual([]);
  });

  it('exports the whole root file system', async () => {
    const answer = await service.get('/containers/files/export');
    expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/x-tar']);
    expect(answer.text).toContain('etc/base');
    expect(answer.text).toContain('ustar');
    expect((await service.get('/containers/json')).json()).toEqual([]);
  });
});

describe('/layerstack/v1', () => {
  beforeAll(() => create('own'));
  afterAll(() => remove('own'));
  const post = (path: string, json?: unknown): Promise<Answer> =>
    service.post(`/layerstack/v1/containers/own/${path}`, json === undefined ? {} : { json });

  it('mounts, counts and unmounts', async () => {
    const { Path, ReadOnly } = (await post('mount')).json<{ Path: string; ReadOnly: boolean }>();
    expect(ReadOnly).toBe(false);
    expect(readFileSync(join(Path, 'etc/base'), 'utf8')).toBe('base');
    writeFileSync(join(Path, 'written'), 'w');
    expect((await post('mount', { ReadOnly: true })).json()).toEqual({ Path, ReadOnly: false });
    expect((await post('unmount')).json()).toEqual({ Uses: 1 });
    expect((await post('unmount', { Force: false })).json()).toEqual({ Uses: 0 });
    expect(mountsBelow(service.store.root)).toEqual([]);
    expect((await service.get('/containers/own/changes')).json()).toEqual([{ Path: '/written', Kind: 1 }]);
  });

  it('keeps a read-only mount read-only', async () => {
    expect((await post('mount', { ReadOnly: true })).json()).toMatchObject({ ReadOnly: true });
    expect((await post('mount')).status).toBe(409);
    expect((await post('unmount', { Force: true })).json()).toEqual({ Uses: 0 });
  });

  it('writes a bundle, which stays mounted', async () => {
    const directory = join(service.scratch, 'bundle');
    mkdirSync(directory);
    const { Path, Spec } = (
      await post('bundle', { Directory: directory, Cmd: ['/x'], Env: ['Z=1'], User: '3' })
    ).json<{
      Path: string;
      Spec: { process: { args: string[]; env: string[]; user: object } };
    }>();
    expect(Path).toBe(directory);
    expect(Spec.process).toMatchObject({ args: ['/x'], user: { uid: 3 } });
    expect(Spec.process.env).toContain('Z=1');
    expect(JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8'))).toEqual(Spec);
    expect(mountsBelow(service.store.root)).toHaveLength(1);
    expect((await post('unmount')).json()).toEqual({ Uses: 0 });
  });

  it.each([
    ['bundle', {}, 'the request body: Directory is missing, not a string'],
    ['bundle', { Directory: 'rel' }, 'the request body: Directory must be an absolute path, not "rel"'],
    [
      'mount',
      { Readonly: true },
      'the request body: the document has an unknown key "Readonly"; it may have ReadOnly',
    ],
    ['mount', { ReadOnly: 1 }, 'the request body: ReadOnly is a number, not true or false'],
  ])('refuses %s %j', async (path, json, words) => {
    const answer = await post(path, json);
    expect([message(answer), answer.status]).toEqual([words, 400]);
  });

  it('answers 404 for a container that does not exist', async () => {
    expect((await service.post('/layerstack/v1/containers/nobody/mount')).status).toBe(404);
  });
});
