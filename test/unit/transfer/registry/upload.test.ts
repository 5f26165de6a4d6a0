/** Uploads to a registry in memory that resumes them, as the distribution spec has it, and to broken ones. */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestOf } from '../../../../src/core/digest.ts';
import type { RepositoryClient, UploadOptions } from '../../../../src/transfer/registry/client.ts';
import { rejection } from '../../../support/errors.ts';
import { HttpServer, type Answer } from '../../../support/http-server.ts';
import { drain, testClient } from '../../../support/registry-client.ts';

const CHUNK = 64 * 1024;
const blob = Buffer.alloc(40 * CHUNK, 'the bytes of a layer ');
const digest = digestOf(blob);
const UPLOADS = '/v2/a/b/blobs/uploads/';

let server: HttpServer;
let client: RepositoryClient;
/** What the registry has of the upload, and of blobs. */
let arrived: Buffer;
let kept: Map<string, Buffer>;
let froms: number[];

beforeEach(async () => {
  [arrived, kept, froms] = [Buffer.alloc(0), new Map(), []];
  server = await HttpServer.start(registry());
  client = testClient(`${server.host}/a/b`);
});
afterEach(async () => {
  await client.close();
  await server.stop();
});

/**
 * A registry that keeps what arrives of a PATCH, also of one that breaks off. `cuts`: after how many bytes
 * each PATCH is cut. The session's URL changes with every answer, and is relative, with a query.
 */
function registry(cuts: number[] = []): Answer {
  let state = 0;
  return async ({ method, path, request, headers }, response) => {
    const next = () => ({ location: `session?_state=${String(++state)}` });
    if (path === '/v2/') return response.end();
    if (method === 'POST') {
      state = 0;
      return response.writeHead(202, { location: `${UPLOADS}session?_state=0` }).end();
    }
    if (path.startsWith(`/v2/a/b/blobs/sha256:`)) {
      const found = kept.get(path.slice('/v2/a/b/blobs/'.length));
      return response.writeHead(found ? 200 : 404, found ? { 'content-length': found.length } : {}).end();
    }
    const url = new URL(path, 'http://x');
    expect(Number(url.searchParams.get('_state'))).toBe(state);
    if (method === 'GET')
      return response
        .writeHead(204, { ...next(), range: `0-${String(Math.max(0, arrived.length - 1))}` })
        .end();
    if (method === 'DELETE') {
      arrived = Buffer.alloc(0);
      return response.writeHead(204).end();
    }
    const expected = headers['content-range'];
    if (expected !== undefined) expect(expected).toBe(`${String(arrived.length)}-${String(blob.length - 1)}`);
    const cut = method === 'PATCH' ? cuts.shift() : undefined;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      arrived = Buffer.concat([arrived, chunk]);
      if (cut === undefined || arrived.length < cut) continue;
      request.socket.resetAndDestroy();
      return undefined;
    }
    if (method === 'PATCH') return response.writeHead(202, next()).end();
    const wanted = url.searchParams.get('digest') ?? '';
    if (`sha256:${createHash('sha256').update(arrived).digest('hex')}` !== wanted)
      return response.writeHead(400).end('{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}');
    kept.set(wanted, arrived);
    return response.writeHead(201, { location: `/v2/a/b/blobs/${wanted}` }).end();
  };
}

async function* source(from: number): AsyncGenerator<Uint8Array> {
  froms.push(from);
  for (let at = from; at < blob.length; at += CHUNK) yield blob.subarray(at, at + CHUNK);
}

const upload = (options: UploadOptions = {}, bytes = source) =>
  client.uploadBlob(bytes, () => digest, options);
const methods = () => server.log.map((line) => line.split(' ')[0]);

describe('an upload', () => {
  it.each<[string, UploadOptions, string[]]>([
    ['of known size', { size: blob.length }, ['POST', 'PATCH', 'PUT']],
    ['of unknown size', {}, ['POST', 'PATCH', 'PUT']],
    ['in one request', { size: blob.length, monolithic: true }, ['POST', 'PUT']],
  ])('%s', async (_, options, expected) => {
    const progress: number[] = [];
    await upload({ ...options, onProgress: (bytes) => progress.push(bytes) });
    expect(kept.get(digest)?.equals(blob)).toBe(true);
    expect(methods()).toEqual(expected);
    expect(progress.at(-1)).toBe(blob.length);
    const carrier = server.asked.find(
      ({ method }) => method === (options.monolithic === true ? 'PUT' : 'PATCH'),
    );
    expect(carrier?.headers['content-length']).toBe(
      options.size === undefined ? undefined : String(options.size),
    );
  });

  it('of no bytes', async () => {
    const empty = digestOf('');
    await client.uploadBlob(
      async function* () {
        // no bytes
      },
      () => empty,
      { size: 0 },
    );
    expect(kept.get(empty)?.length).toBe(0);
  });

  it('that is interrupted continues where the registry has stopped', async () => {
    server.answer = registry([5 * CHUNK, 20 * CHUNK]);
    await upload({ size: blob.length });
    expect(kept.get(digest)?.equals(blob)).toBe(true);
    expect(methods()).toEqual(['POST', 'PATCH', 'GET', 'PATCH', 'GET', 'PATCH', 'PUT']);
    expect(froms).toHaveLength(3);
    expect(froms[1]).toBeGreaterThanOrEqual(5 * CHUNK);
    expect(froms[2]).toBeGreaterThan(froms[1] ?? 0);
  });

  it('that makes some progress each time is not given up', async () => {
    server.answer = registry(Array.from({ length: 12 }, (_, at) => (at + 1) * 3 * CHUNK));
    await upload({ size: blob.length });
    expect(kept.get(digest)?.equals(blob)).toBe(true);
  });

  it('begins again if the registry claims more bytes than were sent', async () => {
    const honest = registry([5 * CHUNK]);
    server.answer = (asked, response) => {
      if (asked.method !== 'GET' || asked.path === '/v2/') return honest(asked, response);
      return response.writeHead(204, { location: asked.path, range: '0-999999999999' }).end();
    };
    await upload({ size: blob.length });
    expect(froms).toEqual([0, 0]);
    expect(kept.get(digest)?.equals(blob)).toBe(true);
  });

  it('begins again if its session has expired', async () => {
    let broken = false;
    const own = registry([2 * CHUNK]);
    server.answer = (asked, response) => {
      if (asked.method !== 'GET' || broken || asked.path === '/v2/') return own(asked, response);
      broken = true;
      arrived = Buffer.alloc(0);
      return response.writeHead(404).end('{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}');
    };
    // The session that is asked for anew has its first state again.
    server.answer = restarting(server.answer);
    await upload({ size: blob.length });
    expect(kept.get(digest)?.equals(blob)).toBe(true);
    expect(froms).toEqual([0, 0]);
  });

  it('whose last answer is lost does not count as failed', async () => {
    const own = registry();
    server.answer = async (asked, response) => {
      if (asked.method !== 'PUT') return own(asked, response);
      if (asked.count > 1) return response.writeHead(404).end('{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}');
      await own(
        asked,
        Object.assign(Object.create(response) as typeof response, {
          writeHead: () => ({ end: () => undefined }),
        }),
      );
      asked.request.socket.resetAndDestroy();
      return undefined;
    };
    await upload();
    expect(methods()).toEqual(['POST', 'PATCH', 'PUT', 'PUT', 'HEAD']);
  });

  it('to a registry that never takes it is given up, and deleted there', async () => {
    server.answer = ({ method, path, request }, response) => {
      if (path === '/v2/') return response.end();
      if (method === 'POST') return response.writeHead(202, { location: `${UPLOADS}s` }).end();
      if (method === 'PATCH') return request.socket.resetAndDestroy();
      return response.writeHead(method === 'GET' ? 204 : 202, { range: '0-0' }).end();
    };
    const error = await rejection(upload({ size: blob.length }));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNAVAILABLE', registry: server.host });
    expect(error.message).toContain(`upload to ${server.host}/a/b`);
    expect(methods().filter((method) => method === 'PATCH')).toHaveLength(6);
    await client.close();
    expect(methods().at(-1)).toBe('DELETE');
  });

  it('of bytes that change on the way is refused', async () => {
    const error = await rejection(client.uploadBlob(source, () => digestOf('other')));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_REFUSED', status: 400, digest: digestOf('other') });
    expect(kept.size).toBe(0);
  });

  it('whose source fails ends with the source’s error, and is deleted', async () => {
    const broken = new Error('the layer is damaged');
    const failing = async function* () {
      yield blob.subarray(0, CHUNK);
      throw broken;
    };
    for (const monolithic of [false, true])
      await expect(upload({ monolithic }, failing)).rejects.toBe(broken);
    await client.close();
    expect(methods().filter((method) => method === 'DELETE')).toHaveLength(2);
    expect(kept.size).toBe(0);
  });

  it('whose source has another size than announced is not sent again', async () => {
    const error = await rejection(upload({ size: blob.length + 1 }));
    expect(error.message).toMatch(/does not have the announced number of bytes/);
    expect(froms).toEqual([0]);
  });

  it('that is aborted ends at once, and is deleted', async () => {
    const abort = new AbortController();
    const slow = async function* () {
      yield blob.subarray(0, CHUNK);
      abort.abort(new Error('enough'));
      await sleep(60_000, undefined, { ref: false });
    };
    const error = await rejection(upload({ signal: abort.signal }, slow));
    expect(error).toMatchObject({ code: 'ERR_ABORTED', cause: { message: 'enough' } });
    await client.close();
    expect(methods().at(-1)).toBe('DELETE');
  });

  it.each([undefined, 'http://[', 'ftp://x/y'])('without a session (%s) is refused', async (location) => {
    server.answer = ({ path }, response) =>
      path === '/v2/'
        ? response.end()
        : response.writeHead(202, location === undefined ? {} : { location }).end();
    expect(await rejection(upload())).toMatchObject({
      code: 'ERR_REGISTRY_INVALID',
      message: expect.stringContaining('Location') as string,
    });
  });
});

describe('an upload that the registry sends elsewhere', () => {
  const NEVER = [
    ...[
      'http://10.0.0.1/x',
      'http://169.254.169.254/latest',
      'http://[::ffff:192.168.0.1]/x',
      'https://[fd00::1]/x',
    ],
    ...[
      'http://100.64.0.1:2375/containers/x',
      'http://[64:ff9b::a00:1]/x',
      'https://224.0.0.1/x',
      'http://[fe80::1]/x',
    ],
  ];

  it('goes to its storage, but nothing is deleted there', async () => {
    await using storage = await HttpServer.start(registry());
    server.answer = ({ path }, response) =>
      path === '/v2/'
        ? response.end()
        : response.writeHead(202, { location: `${storage.url}${UPLOADS}session?_state=0` }).end();
    await upload();
    expect(storage.log.map((line) => line.split(' ')[0])).toEqual(['PATCH', 'PUT']);
    const failing = async function* () {
      yield blob.subarray(0, CHUNK);
      throw new Error('the layer is damaged');
    };
    for (const options of [{}, { monolithic: true }, { size: blob.length }])
      await expect(upload(options, failing)).rejects.toThrow('the layer is damaged');
    expect(await client.mountBlob(digest, `${server.host}/c/d`)).toBe(false);
    await client.close();
    expect(storage.log.filter((line) => line.startsWith('DELETE'))).toEqual([]);
  });

  it.each(NEVER)('to %s is refused at once, before anything is sent', async (location) => {
    server.answer = ({ path }, response) =>
      path === '/v2/' ? response.end() : response.writeHead(202, { location }).end();
    for (const options of [{}, { size: blob.length }, { size: blob.length, monolithic: true }]) {
      const error = await rejection(upload(options));
      expect(error).toMatchObject({ code: 'ERR_REGISTRY_INVALID', registry: server.host });
      expect(error.message).toMatch(/sends us to .*where the registry itself is not.*"allow"/);
    }
    expect(froms).toEqual([]);
    expect(methods()).toEqual(['POST', 'POST', 'POST']);
  });

  it('does not continue at another place that a later answer names', async () => {
    const own = registry();
    server.answer = (asked, response) =>
      asked.method === 'PATCH'
        ? response.writeHead(202, { location: 'http://10.0.0.1/v2/x' }).end()
        : own(asked, response);
    expect((await rejection(upload())).message).toMatch(/sends us to http:\/\/10\.0\.0\.1/);
    expect(methods()).toEqual(['POST', 'PATCH']);
  });
});

/** A session that is opened again begins with its first state. */
function restarting(answer: Answer): Answer {
  let opened = 0;
  let current = answer;
  return (asked, response) => {
    if (asked.method === 'POST' && ++opened > 1) current = registry();
    return current(asked, response);
  };
}

describe('a mount', () => {
  const other = () => `${server.host}/c/d`;

  it('of a blob of the same registry needs no bytes', async () => {
    server.answer = ({ path }, response) =>
      path === '/v2/'
        ? response.end()
        : response.writeHead(201, { location: `/v2/a/b/blobs/${digest}` }).end();
    expect(await client.mountBlob(digest, other())).toBe(true);
    expect(server.log).toEqual([
      `POST ${UPLOADS}?${new URLSearchParams({ mount: digest, from: 'c/d' }).toString()}`,
    ]);
  });

  it('that the registry does not support is false, and the upload that it opened instead is deleted', async () => {
    expect(await client.mountBlob(digest, other())).toBe(false);
    await client.close();
    expect(methods()).toEqual(['POST', 'DELETE']);
  });

  it.each([200, 204, 400, 401, 403, 404, 405, 409, 416, 429, 500, 501, 503])(
    'that is answered with %i is false, and not requested again',
    async (status) => {
      server.answer = ({ path }, response) =>
        path === '/v2/'
          ? response.end()
          : response.writeHead(status, { 'retry-after': '1', 'www-authenticate': 'Basic realm="r"' }).end();
      const mounted = client.mountBlob(digest, other());
      if (status === 401) expect((await rejection(mounted)).code).toBe('ERR_REGISTRY_DENIED');
      else expect(await mounted).toBe(false);
      expect(methods()).toEqual(['POST']);
    },
  );

  it('whose upload is not deleted in time delays no caller', async () => {
    server.answer = ({ path, method }, response) => {
      if (path === '/v2/') return response.end();
      if (method === 'POST') return response.writeHead(202, { location: `${UPLOADS}s` }).end();
      return undefined;
    };
    expect(await client.mountBlob(digest, other())).toBe(false);
    const start = performance.now();
    await client.close();
    expect(performance.now() - start).toBeLessThan(1500);
    expect(methods()).toEqual(['POST', 'DELETE']);
  });

  it('from another registry is not requested', async () => {
    expect(await client.mountBlob(digest, 'elsewhere.example/c/d')).toBe(false);
    expect(server.asked).toEqual([]);
  });
});

describe('a manifest', () => {
  const bytes = Buffer.from('{}');

  it('is put under its tag, and sent again after a temporary error', async () => {
    const received: Buffer[] = [];
    server.answer = async ({ path, count, request }, response) => {
      if (path === '/v2/') return response.end();
      received.push(await drain(request as AsyncIterable<Buffer>));
      return response.writeHead(count === 1 ? 503 : 201, { 'retry-after': '0' }).end();
    };
    expect(await client.pushManifest('1', 'application/x', bytes)).toBe(digestOf(bytes));
    expect(received).toEqual([bytes, bytes]);
    expect(server.asked.at(-1)?.headers['content-type']).toBe('application/x');
  });

  it('with another digest than its name is not sent', async () => {
    expect(await rejection(client.pushManifest(digest, 'application/x', bytes))).toMatchObject({
      code: 'ERR_DIGEST_MISMATCH',
    });
    expect(server.asked).toEqual([]);
  });

  it('that the registry received differently is an error', async () => {
    server.answer = ({ path }, response) =>
      path === '/v2/' ? response.end() : response.writeHead(201, { 'docker-content-digest': digest }).end();
    expect(await rejection(client.pushManifest('1', 'application/x', bytes))).toMatchObject({
      code: 'ERR_DIGEST_MISMATCH',
      found: digest,
    });
  });
});
