/** Reads go to the mirrors in their order, then to the registry; nothing else does. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../../../../src/core/descriptor.ts';
import { digestOf } from '../../../../src/core/digest.ts';
import type { RepositoryClient } from '../../../../src/transfer/registry/client.ts';
import type { CredentialSource } from '../../../../src/transfer/registry/auth/credentials.ts';
import { rejection } from '../../../support/errors.ts';
import { HttpServer, type Answer } from '../../../support/http-server.ts';
import { drain, testClient } from '../../../support/registry-client.ts';

const blob = Buffer.from('the bytes of a blob');
const wanted = { digest: digestOf(blob), size: blob.length };
const manifest = Buffer.from(
  JSON.stringify({ schemaVersion: 2, config: { mediaType: 'x', ...wanted }, layers: [] }),
);

let first: HttpServer;
let second: HttpServer;
let origin: HttpServer;
let client: RepositoryClient;

const has: Answer = ({ path }, response) => {
  if (path.includes('/manifests/'))
    response.writeHead(200, { 'content-type': MEDIA_TYPES.ociManifest }).end(manifest);
  else response.end(path.includes('/blobs/') ? blob : '{"tags":["t"]}');
};
const answers =
  (status: number): Answer =>
  ({ path }, response) =>
    path === '/v2/' ? response.end() : response.writeHead(status, { 'retry-after': '0' }).end();

beforeEach(async () => {
  [first, second, origin] = await Promise.all([
    HttpServer.start(has),
    HttpServer.start(has),
    HttpServer.start(has),
  ]);
  client = open();
});
afterEach(async () => {
  await client.close();
  await Promise.all([first.stop(), second.stop(), origin.stop()]);
});

function open(credentials?: CredentialSource): RepositoryClient {
  const mirrors = [new URL(`${first.url}/`), new URL(`${second.url}/prefix/`)];
  return testClient(`${origin.host}/a/b`, { hosts: { [origin.host]: { mirrors } }, credentials });
}

const read = async () => drain((await client.openBlob(wanted)).body);
const counts = () => [first, second, origin].map(({ log }) => log.length);

describe('mirrors', () => {
  it('come first, in their order', async () => {
    expect(await read()).toEqual(blob);
    await client.fetchManifest('1');
    await client.headManifest('1');
    expect(counts()).toEqual([4, 0, 0]);
  });

  it.each([400, 403, 404, 429, 500])('that answer %s are skipped', async (status) => {
    first.answer = answers(status);
    expect(await read()).toEqual(blob);
    expect(second.log).toEqual([`GET /prefix/v2/a/b/blobs/${wanted.digest}`]);
    expect(origin.log).toEqual([]);
  });

  it('that all fail leave it to the registry', async () => {
    first.answer = answers(404);
    await second.stop();
    expect(await read()).toEqual(blob);
    expect(origin.log).toHaveLength(1);
  });

  it('that lack an object are asked for the next one, broken ones are not', async () => {
    first.answer = answers(404);
    second.answer = answers(500);
    await read();
    await read();
    // Out of order: tried twice, then left out.
    expect(counts()).toEqual([2, 2, 2]);
  });

  it('that close the connection are not asked again', async () => {
    first.answer = ({ path, request }, response) => {
      if (path === '/v2/') return response.end();
      response.writeHead(200, { 'content-length': blob.length });
      response.write(blob.subarray(0, 4), () => request.socket.destroy());
      return undefined;
    };
    expect(await rejection(read())).toMatchObject({ code: 'ERR_REGISTRY_UNAVAILABLE', retryable: true });
    expect(await read()).toEqual(blob);
    expect(counts()).toEqual([1, 1, 0]);
  });

  it('that sent bad bytes are not asked again', async () => {
    (await client.openBlob(wanted)).distrust();
    await read();
    expect(counts()).toEqual([1, 1, 0]);
  });

  it('that send another document than the requested one are not trusted', async () => {
    first.answer = (asked, response) =>
      asked.path === '/v2/'
        ? response.end()
        : response.writeHead(200, { 'content-type': MEDIA_TYPES.ociManifest }).end('{}');
    expect((await client.fetchManifest(digestOf(manifest))).bytes).toEqual(manifest);
    expect(counts()).toEqual([1, 1, 0]);
  });

  it('that announce another size are not trusted', async () => {
    first.answer = (_, response) => response.end(`${blob.toString()} and more`);
    expect(await read()).toEqual(blob);
  });

  it("never decide the outcome: the error is the registry's own", async () => {
    for (const server of [first, second]) server.answer = answers(500);
    origin.answer = answers(404);
    const error = await rejection(client.fetchManifest('1'));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_NOT_FOUND', registry: origin.host });
    expect(await client.headManifest('1')).toBeUndefined();
  });

  it('are asked neither for facts that only the registry has, nor to write', async () => {
    const { digest } = wanted;
    await client.hasBlob(digest);
    await client.headManifest('1', { origin: true });
    for await (const tag of client.tags({ origin: true })) expect(tag).toBe('t');
    await client.mountBlob(digest, `${origin.host}/c/d`).catch(() => false);
    await client.pushManifest('1', MEDIA_TYPES.ociManifest, manifest);
    await client.deleteManifest(digest);
    expect(counts().slice(0, 2)).toEqual([0, 0]);
    expect(origin.log.map((line) => line.split(' ')[0])).toEqual(
      expect.arrayContaining(['HEAD', 'GET', 'POST', 'PUT', 'DELETE']),
    );
  });

  it.each<[string, Answer, string[], number[]]>([
    ['the first that lists them', has, ['t'], [1, 0, 0]],
    ['the next where one has them not', answers(404), ['t'], [1, 1, 0]],
    ['the next where one is out of order', answers(500), ['t'], [2, 1, 0]],
    ['the next where one lists none', (_, response) => response.end('{"tags":null}'), ['t'], [1, 1, 0]],
    [
      'the next where one breaks off at its second page',
      ({ path }, response) =>
        path.includes('last=')
          ? response.writeHead(500).end()
          : response.writeHead(200, { link: '<list?last=a>; rel="next"' }).end('{"tags":["a"]}'),
      ['t'],
      [3, 1, 0],
    ],
  ])('list the tags of a pull: %s', async (_, answer, expected, asked) => {
    first.answer = (one, response) => (one.path === '/v2/' ? response.end() : answer(one, response));
    origin.answer = answers(404);
    const tags: string[] = [];
    for await (const tag of client.tags()) tags.push(tag);
    expect(tags).toEqual(expected);
    expect(counts()).toEqual(asked);
    expect(second.log.every((line) => line === 'GET /prefix/v2/a/b/tags/list?n=1000')).toBe(true);
  });

  it('that list nothing leave the tags of a pull to the registry, and its own error', async () => {
    for (const server of [first, second]) server.answer = answers(404);
    const tags: string[] = [];
    for await (const tag of client.tags()) tags.push(tag);
    expect(tags).toEqual(['t']);
    expect(counts()).toEqual([1, 1, 1]);
    origin.answer = answers(404);
    expect(await rejection(client.tags()[Symbol.asyncIterator]().next())).toMatchObject({
      code: 'ERR_REGISTRY_NOT_FOUND',
      registry: origin.host,
    });
  });

  it("never see the registry's credentials, and have their own", async () => {
    const asksForLogin =
      (next: Answer): Answer =>
      (asked, response) =>
        asked.headers.authorization === undefined
          ? response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end()
          : next(asked, response);
    for (const server of [first, second, origin]) server.answer = asksForLogin(has);
    const looked: string[] = [];
    await client.close();
    client = open({
      get: (host) => {
        looked.push(host);
        if (host === second.host) return Promise.resolve({ username: 'mirror', password: 'm' });
        if (host === origin.host) return Promise.resolve({ username: 'bob', password: 'hunter2' });
        return Promise.resolve(undefined);
      },
    });
    expect(await read()).toEqual(blob);
    expect(looked).toEqual([first.host, second.host]);
    expect(first.asked.every(({ headers }) => headers.authorization === undefined)).toBe(true);
    expect(second.asked.at(-1)?.headers.authorization).toBe(
      `Basic ${Buffer.from('mirror:m').toString('base64')}`,
    );
    expect(origin.asked).toEqual([]);
  });

  it('are skipped at once when the caller aborts', async () => {
    first.answer = () => undefined;
    const error = await rejection(client.openBlob(wanted, { signal: AbortSignal.timeout(100) }));
    expect(error.code).toBe('ERR_ABORTED');
    expect(counts()).toEqual([1, 0, 0]);
  });
});
