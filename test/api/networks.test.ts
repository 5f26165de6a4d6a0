/** Networks and volumes are names, for clients that make them before containers (compose). */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { tar } from '../support/tar.ts';
import { TestService, type Answer } from '../support/test-service.ts';

const image = imageOf([layerOf({ 'etc/base': 'base' })], { tags: ['base:1'], config: { Cmd: ['/run'] } });

let service: TestService;

beforeAll(async () => {
  service = await TestService.start();
  await service.post('/images/load', { body: tar(dockerArchive([image])) });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

interface Named {
  readonly Id: string;
  readonly Name: string;
  readonly [field: string]: unknown;
}
const message = (answer: Answer): string => answer.json<{ message: string }>().message;
const filters = (value: unknown): string => `filters=${encodeURIComponent(JSON.stringify(value))}`;
const make = (json: object): Promise<Answer> => service.post('/networks/create', { json });
const names = async (value: unknown): Promise<string[]> =>
  (await service.get(`/networks?${filters(value)}`))
    .json<Named[]>()
    .map(({ Name }) => Name)
    .sort();
const containerNetworks = async (name: string): Promise<string[]> => {
  const { NetworkSettings } = (await service.get(`/containers/${name}/json`)).json<{
    NetworkSettings: { Networks: object };
  }>();
  return Object.keys(NetworkSettings.Networks).sort();
};

describe('networks', () => {
  it('are bridge, host and none, always with the same ids', async () => {
    const [first, second] = [await service.get('/networks'), await service.get('/v1.41/networks')];
    const listed = first.json<Named[]>();
    expect(listed.map(({ Name, Driver, Scope }) => [Name, Driver, Scope])).toEqual([
      ['bridge', 'bridge', 'local'],
      ['host', 'host', 'local'],
      ['none', 'null', 'local'],
    ]);
    expect(second.json<Named[]>().map(({ Id }) => Id)).toEqual(listed.map(({ Id }) => Id));
    // As dockerd 28 and 20.10 have them.
    const fields = [
      'Attachable',
      'ConfigFrom',
      'ConfigOnly',
      'Containers',
      'Created',
      'Driver',
      'EnableIPv6',
      'IPAM',
      'Id',
    ];
    fields.push('Ingress', 'Internal', 'Labels', 'Name', 'Options', 'Scope');
    expect(Object.keys(second.json<Named[]>()[0] ?? {}).sort()).toEqual(fields.sort());
    expect(Object.keys(listed[0] ?? {}).sort()).toEqual([...fields, 'EnableIPv4'].sort());
  });

  it('keep their settings until they are removed, also in the next service', async () => {
    const made = await make({
      Name: 'proj_back',
      CheckDuplicate: true,
      Driver: 'bridge',
      Labels: { 'com.docker.compose.project': 'proj' },
      Options: { o: '1' },
      Internal: true,
      IPAM: { Config: [{ Subnet: '10.9.0.0/16' }] },
    });
    expect(made.status).toBe(201);
    const { Id, Warning } = made.json<{ Id: string; Warning: string }>();
    expect(Id).toMatch(/^[0-9a-f]{64}$/);
    expect(Warning).toMatch(/does no networking/);
    for (const name of ['proj_back', Id, Id.slice(0, 12)])
      expect((await service.get(`/networks/${name}`)).json()).toMatchObject({
        Id,
        Name: 'proj_back',
        Internal: true,
        Labels: { 'com.docker.compose.project': 'proj' },
        Options: { o: '1' },
        IPAM: { Driver: 'default', Config: [{ Subnet: '10.9.0.0/16' }] },
      });
    const other = await Layerstack.open({ root: service.store.root });
    expect(other.networks.list().map(({ Name }) => Name)).toEqual(['proj_back']);
    await other.close();
    expect((await service.send('DELETE', '/networks/proj_back')).status).toBe(204);
    const again = await service.send('DELETE', '/networks/proj_back');
    expect([again.status, message(again)]).toEqual([404, 'network proj_back not found']);
  });

  it('keep no trace of a killed change, once a writer opens the store', async () => {
    await make({ Name: 'before' });
    const [path, left] = ['networks.json', 'networks.json.new'].map((name) =>
      join(service.store.root, 'layerstack', name),
    );
    const kept = readFileSync(path ?? '', 'utf8');
    writeFileSync(left ?? '', '[{"Id":');
    expect(await names({ type: ['custom'] })).toEqual(['before']);
    const other = await Layerstack.open({ root: service.store.root });
    expect(existsSync(left ?? '')).toBe(false);
    expect(readFileSync(path ?? '', 'utf8')).toBe(kept);
    // It does not prevent changes either.
    writeFileSync(left ?? '', '[{"Id":');
    expect((await make({ Name: 'after' })).status).toBe(201);
    expect(existsSync(left ?? '')).toBe(false);
    expect((await service.post('/networks/prune')).json()).toEqual({ NetworksDeleted: ['before', 'after'] });
    await other.close();
  });

  it('with one name are made once, however many requests come at once', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => make({ Name: 'once' })));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, ...Array<number>(9).fill(409)]);
    const refused = answers.find(({ status }) => status === 409);
    expect(refused && message(refused)).toBe('network with name once already exists');
    await service.send('DELETE', '/networks/once');
  });

  it.each([
    [{}, 400, 'invalid name: name is empty'],
    [{ Name: 'host' }, 403, 'operation is not permitted on predefined host network '],
    [{ Name: 'default' }, 403, 'operation is not permitted on predefined default network '],
    [{ Name: 'x', Driver: 'null' }, 403, 'only one instance of "null" network is allowed'],
    [{ Name: 'x', Driver: 'weave' }, 404, 'plugin "weave" not found'],
    [{ Name: 'x', Driver: 'overlay' }, 403, 'This node is not a swarm manager.'],
    [{ Name: 3 }, 400, 'the request body: Name is a number, not a string'],
  ])('are not made of %j', async (body, status, words) => {
    const answer = await make(body);
    expect([answer.status, message(answer)]).toEqual([status, words]);
    expect(await names({ type: ['custom'] })).toEqual([]);
  });

  it('that are built in cannot be removed', async () => {
    for (const name of ['bridge', 'host', 'none']) {
      const answer = await service.send('DELETE', `/networks/${name}`);
      expect([answer.status, message(answer)]).toEqual([
        403,
        `${name} is a pre-defined network and cannot be removed`,
      ]);
    }
  });

  it('are listed by docker filters, and pruned by its own', async () => {
    for (const [Name, Labels] of [
      ['one', { a: 'b' }],
      ['two', { a: 'c' }],
      ['three', {}],
    ] as const)
      await make({ Name, Labels });
    expect(await names({ name: ['^t'] })).toEqual(['three', 'two']);
    expect(await names({ label: ['a'] })).toEqual(['one', 'two']);
    expect(await names({ label: { 'a=b': true } })).toEqual(['one']);
    expect(await names({ type: ['builtin'] })).toEqual(['bridge', 'host', 'none']);
    expect(await names({ driver: ['null'] })).toEqual(['none']);
    expect(await names({ dangling: ['true'] })).toEqual(['one', 'three', 'two']);
    expect((await service.get(`/networks?${filters({ type: ['bad'] })}`)).status).toBe(400);
    expect((await service.get(`/networks?${filters({ colour: ['red'] })}`)).status).toBe(400);
    const pruned = await service.post(`/networks/prune?${filters({ label: ['a'] })}`);
    expect(pruned.json()).toEqual({ NetworksDeleted: ['one', 'two'] });
    expect((await service.post(`/networks/prune?${filters({ until: ['1h'] })}`)).json()).toEqual({
      NetworksDeleted: null,
    });
    expect((await service.post('/networks/prune')).json()).toEqual({ NetworksDeleted: ['three'] });
  });
});

describe('a container', () => {
  it('is in the networks that it was made with or connected to, until it is disconnected', async () => {
    for (const Name of ['front', 'back']) await make({ Name });
    const json = {
      Image: 'base:1',
      HostConfig: { NetworkMode: 'front' },
      NetworkingConfig: { EndpointsConfig: { front: { Aliases: ['web'] } } },
    };
    expect((await service.post('/containers/create?name=web', { json })).status).toBe(201);
    expect(await containerNetworks('web')).toEqual(['front']);
    const [row] = (await service.get(`/containers/json?all=1&${filters({ network: ['front'] })}`)).json<
      Named[]
    >();
    expect(row).toMatchObject({
      Names: ['/web'],
      HostConfig: { NetworkMode: 'front' },
      NetworkSettings: { Networks: { front: { Aliases: ['web'] } } },
    });
    const connect = await service.post('/networks/back/connect', {
      json: { Container: 'web', EndpointConfig: { Aliases: ['w'] } },
    });
    expect([connect.status, connect.text]).toEqual([200, '']);
    expect(await containerNetworks('web')).toEqual(['back', 'front']);
    for (const network of ['front', 'back'])
      expect(
        (await service.post(`/networks/${network}/disconnect`, { json: { Container: 'web' } })).status,
      ).toBe(200);
    expect(await containerNetworks('web')).toEqual(['none']);
    const inspected = (await service.get('/containers/web/json')).json<{
      HostConfig: { NetworkMode: string };
    }>();
    expect(inspected.HostConfig.NetworkMode).toBe('none');
    const again = await service.post('/networks/back/disconnect', { json: { Container: 'web' } });
    expect([again.status, message(again)]).toEqual([
      404,
      expect.stringMatching(/^container [0-9a-f]{64} is not connected to the network back$/),
    ]);
    for (const [network, body, status] of [
      ['nothing', { Container: 'web' }, 404],
      ['back', { Container: 'nobody' }, 404],
      ['back', {}, 400],
      ['host', { Container: 'web' }, 400],
    ] as const)
      expect((await service.post(`/networks/${network}/connect`, { json: body })).status).toBe(status);
    await service.send('DELETE', '/containers/web');
    await service.post('/networks/prune');
  });

  it('shows the volumes and binds that were requested', async () => {
    const HostConfig = {
      Binds: ['data:/data:ro', '/src:/to'],
      Mounts: [{ Type: 'volume', Source: 'more', Target: '/more' }],
    };
    await service.post('/volumes/create', { json: { Name: 'data' } });
    await service.post('/containers/create?name=bound', { json: { Image: 'base:1', HostConfig } });
    const { Mounts } = (await service.get('/containers/bound/json')).json<{ Mounts: object[] }>();
    expect(Mounts).toEqual([
      {
        Type: 'volume',
        Name: 'data',
        Source: '',
        Destination: '/data',
        Driver: 'local',
        Mode: 'ro',
        RW: false,
        Propagation: '',
      },
      { Type: 'bind', Source: '/src', Destination: '/to', Mode: '', RW: true, Propagation: 'rprivate' },
      {
        Type: 'volume',
        Name: 'more',
        Source: '',
        Destination: '/more',
        Driver: 'local',
        Mode: 'z',
        RW: true,
        Propagation: '',
      },
    ]);
    const refused = await service.send('DELETE', '/volumes/data');
    expect([refused.status, message(refused)]).toEqual([
      409,
      expect.stringMatching(/^remove data: volume is in use - \[/),
    ]);
    expect((await service.get(`/volumes?${filters({ dangling: ['true'] })}`)).json()).toEqual({
      Volumes: [],
      Warnings: [],
    });
    await service.send('DELETE', '/containers/bound');
    expect((await service.send('DELETE', '/volumes/data')).status).toBe(204);
  });
});

describe('volumes', () => {
  it('are names, kept until they are removed', async () => {
    const body = { Name: 'proj_data', Labels: { project: 'proj' } };
    const made = await service.post('/volumes/create', { json: body });
    const volume = made.json<Named>();
    expect([made.status, Object.keys(volume).sort()]).toEqual([
      201,
      ['CreatedAt', 'Driver', 'Labels', 'Mountpoint', 'Name', 'Options', 'Scope'],
    ]);
    // Making it again succeeds, and changes nothing.
    expect((await service.post('/volumes/create', { json: { Name: 'proj_data' } })).json()).toEqual(volume);
    expect((await service.get('/volumes/proj_data')).json()).toEqual(volume);
    expect((await service.get(`/volumes?${filters({ label: ['project=proj'] })}`)).json()).toEqual({
      Volumes: [volume],
      Warnings: [],
    });
    expect((await service.get('/system/df')).json<{ Volumes: Named[] }>().Volumes).toEqual([
      { ...volume, UsageData: { RefCount: 0, Size: 0 } },
    ]);
    expect((await service.send('DELETE', '/volumes/proj_data')).status).toBe(204);
    const missing = await service.get('/volumes/proj_data');
    expect([missing.status, message(missing)]).toEqual([404, 'get proj_data: no such volume']);
    expect((await service.send('DELETE', '/volumes/proj_data')).status).toBe(404);
    expect((await service.send('DELETE', '/volumes/proj_data?force=1')).status).toBe(204);
  });

  it('without a given name are pruned, the others only with all', async () => {
    await service.post('/volumes/create', { json: {} });
    await service.post('/volumes/create', { json: { Name: 'named' } });
    const pruned = (await service.post('/volumes/prune')).json<{ VolumesDeleted: string[] }>();
    expect(pruned.VolumesDeleted).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)]);
    expect((await service.post(`/volumes/prune?${filters({ all: ['true'] })}`)).json()).toEqual({
      VolumesDeleted: ['named'],
      SpaceReclaimed: 0,
    });
  });

  it.each([
    [{ Name: 'a/b' }, 400],
    [{ Name: '-a' }, 400],
    [{ Name: 'x', Driver: 'nfs' }, 404],
  ])('are not made of %j', async (json, status) => {
    expect((await service.post('/volumes/create', { json })).status).toBe(status);
  });
});
