/** The rules for every request: versions, headers, errors, limits. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { API_VERSION, MIN_API_VERSION } from '../../src/app/service/version.ts';
import { TestService } from '../support/test-service.ts';

let service: TestService;

beforeAll(async () => {
  service = await TestService.start();
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

describe('_ping', () => {
  it('sends the headers that docker needs, with and without a version', async () => {
    for (const path of ['/_ping', '/v1.22/_ping', '/v1.24/_ping', `/v${API_VERSION}/_ping`]) {
      const answer = await service.get(path);
      expect([answer.status, answer.text]).toEqual([200, 'OK']);
      expect(answer.headers).toMatchObject({
        'api-version': API_VERSION,
        'builder-version': '1',
        'cache-control': 'no-cache, no-store, must-revalidate',
        'content-length': '2',
        'content-type': 'text/plain; charset=utf-8',
        'docker-experimental': 'false',
        ostype: 'linux',
        pragma: 'no-cache',
        swarm: 'inactive',
      });
      expect(answer.headers.server).toMatch(/^layerstack\/\d+\.\d+\.\d+ \(linux\)$/);
    }
  });

  it('answers HEAD with the same headers and no body', async () => {
    const answer = await service.send('HEAD', '/_ping');
    expect([answer.status, answer.text]).toEqual([200, '']);
    expect(answer.headers).toMatchObject({ 'api-version': API_VERSION, 'content-length': '0' });
  });
});

describe('versions', () => {
  it.each(['1.21', '1.9', '1', '0.1'])('refuses %s as too old, in docker words', async (version) => {
    const answer = await service.get(`/v${version}/_ping`);
    expect(answer.status).toBe(400);
    expect(answer.json()).toEqual({
      message: `client version ${version} is too old. Minimum supported API version is ${MIN_API_VERSION}, please upgrade your client to a newer version`,
    });
  });

  it('refuses one that is too new also on routes that it does not implement', async () => {
    expect((await service.get('/v9.9/swarm')).status).toBe(400);
  });

  it.each(['1.52', '1.100', '2.0'])('refuses %s as too new, in docker words', async (version) => {
    const answer = await service.get(`/v${version}/images/json`);
    expect(answer.status).toBe(400);
    expect(answer.json()).toEqual({
      message: `client version ${version} is too new. Maximum supported API version is ${API_VERSION}`,
    });
  });
});

describe('paths', () => {
  it.each([
    ['GET', '/'],
    ['GET', '/v1.41'],
    ['GET', '/nothing/of/the/kind'],
    ['PATCH', '/images/json'],
    ['HEAD', '/images/json'],
    ['GET', '/v1.x/images/json'],
    ['GET', '/v6.0.0/libpod/images/x/exists'],
    ['GET', '/v0.1/nothing'],
  ])('does not find %s %s', async (method, path) => {
    const answer = await service.send(method, path);
    expect(answer.status).toBe(404);
    if (method !== 'HEAD') expect(answer.json()).toEqual({ message: 'page not found' });
  });

  it.each([
    ['GET', '//images/json', '/images/json'],
    ['GET', '/v1.41//images/json?filters=//', '/v1.41/images/json?filters=//'],
    ['POST', '//containers/create', '/containers/create'],
    ['HEAD', '/images//../_ping', '/_ping'],
    ['DELETE', '/images/a%2F%2Fb', '/images/a/b'],
    ['GET', '/images/./json/', '/images/json/'],
    ['PUT', '//evil.example/%2e%2e/a%20b%3Fc%23d%0D%0Ae', '/a%20b%3Fc%23d%0D%0Ae'],
    ['GET', '/..', '/'],
  ])('redirects %s %s, as docker does', async (method, path, location) => {
    const answer = await service.send(method, path);
    expect([answer.status, answer.headers.location, answer.text]).toEqual([301, location, '']);
  });

  it('are found also in an absolute URL, the form of requests to a proxy', async () => {
    expect(
      await service.raw(
        'GET http://docker.example/v1.41/_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
      ),
    ).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('with a malformed escape are answered 400', async () => {
    const answer = await service.get('/images/%zz/json');
    expect([answer.status, answer.json()]).toEqual([400, { message: 'the URL has a malformed escape' }]);
  });

  it.each([
    ['POST', '/v1.41/build?version=2'],
    ['POST', '/session'],
    ['POST', '/grpc'],
    ['POST', '/containers/abc/update'],
    ['POST', '/swarm/init'],
    ['GET', '/images/search?term=alpine'],
    ['POST', '/plugins/pull'],
  ])('that need a process are refused with the purpose of layerstack: %s %s', async (method, path) => {
    const answer = await service.send(method, path);
    expect(answer.status).toBe(501);
    expect(answer.json<{ message: string }>().message).toMatch(
      /^layerstack does not .+: layerstack keeps images/,
    );
  });
});

describe('images/json', () => {
  it('is an empty list in an empty store', async () => {
    const answer = await service.get('/v1.41/images/json');
    expect([answer.status, answer.text]).toEqual([200, '[]\n']);
    expect(answer.headers['content-type']).toBe('application/json');
  });

  it.each(['null', '{}', '{"label":null}', '{"label":[]}', ' null '])(
    'is not filtered by %s',
    async (text) => {
      const query = `filters=${encodeURIComponent(text)}`;
      for (const path of ['/images/json', '/v1.24/images/json', '/containers/json', '/networks', '/volumes'])
        expect([path, (await service.get(`${path}?${query}`)).status]).toEqual([path, 200]);
      for (const path of ['/images/prune', '/containers/prune', '/networks/prune', '/volumes/prune'])
        expect([path, (await service.post(`${path}?${query}`)).status]).toEqual([path, 200]);
    },
  );

  it.each([
    ['not JSON', '{'],
    ['a list', '["dangling"]'],
    ['a text', '"dangling"'],
    ['a list with null', '{"label":[null]}'],
    ['an unknown filter', '{"colour":["red"]}'],
    ['both', '{"dangling":["true","false"]}'],
    ['neither', '{"dangling":["maybe"]}'],
    ['a bad pattern', '{"reference":["["]}'],
  ])('refuses filters that are %s', async (_, filters) => {
    const answer = await service.get(`/images/json?filters=${encodeURIComponent(filters)}`);
    expect(answer.status).toBe(400);
    expect(answer.json<{ message: string }>().message).not.toBe('');
  });
});
