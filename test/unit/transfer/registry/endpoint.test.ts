/** Requests as they go: redirects, sending again, tokens, stalls, aborts. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../../../../src/core/descriptor.ts';
import { digestOf } from '../../../../src/core/digest.ts';
import type { LogFacts, Logger } from '../../../../src/system/log.ts';
import { fixedCredentials } from '../../../../src/transfer/registry/auth/credentials.ts';
import type { RepositoryClient } from '../../../../src/transfer/registry/client.ts';
import { rejection } from '../../../support/errors.ts';
import { HttpServer } from '../../../support/http-server.ts';
import { drain, testClient, type TestAccess } from '../../../support/registry-client.ts';

const blob = Buffer.from('the bytes of a blob');
const digest = digestOf(blob);
const wanted = { digest, size: blob.length };
const BLOB = `/v2/a/b/blobs/${digest}`;
const MANIFEST = '/v2/a/b/manifests/1';

let server: HttpServer;
const clients: RepositoryClient[] = [];

beforeEach(async () => {
  server = await HttpServer.start();
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await server.stop();
});

function open(access?: TestAccess, name = `${server.host}/a/b`): RepositoryClient {
  const client = testClient(name, access);
  clients.push(client);
  return client;
}

describe('redirects', () => {
  it('are followed to where the bytes are, relative ones too', async () => {
    server.answer = ({ path }, response) => {
      if (path === BLOB) response.writeHead(307, { location: '/elsewhere?sig=1' }).end();
      else if (path === '/elsewhere?sig=1') response.writeHead(302, { location: 'here' }).end();
      else response.end(path === '/here' ? blob : '');
    };
    const { body } = await open().openBlob(wanted);
    expect(await drain(body)).toEqual(blob);
    expect(server.log).toEqual([`GET ${BLOB}`, 'GET /elsewhere?sig=1', 'GET /here']);
  });

  it('to another origin do not get the credentials, nor does what that redirects back to', async () => {
    const other = await HttpServer.start();
    other.answer = (_, response) => response.writeHead(307, { location: `${server.url}/back` }).end();
    server.answer = ({ path, headers }, response) => {
      if (path === '/v2/') response.end();
      else if (path === '/back') response.end(blob);
      else if (headers.authorization === undefined)
        response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
      else response.writeHead(307, { location: `${other.url}/cdn` }).end();
    };
    const credentials = fixedCredentials(server.host, { username: 'bob', password: 'hunter2' });
    const { body } = await open({ credentials }).openBlob(wanted);
    expect(await drain(body)).toEqual(blob);
    expect(other.asked.filter(({ path }) => path === '/cdn')).toMatchObject([{ method: 'GET' }]);
    for (const { path, headers } of [...other.asked, ...server.asked])
      if (path !== BLOB) expect(headers.authorization).toBeUndefined();
    expect(server.asked.filter(({ path }) => path === BLOB).at(-1)?.headers.authorization).toMatch(/^Basic /);
    await other.stop();
  });

  it('in a loop end', async () => {
    server.answer = ({ path }, response) => {
      if (path === '/v2/') response.end();
      else response.writeHead(302, { location: `${path}?token=s3cret` }).end();
    };
    const error = await rejection(open().fetchManifest('1'));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_INVALID', registry: server.host });
    expect(error.message).toMatch(/redirects more than 10 times, at last to .*REDACTED.*misconfigured/);
    expect(server.log).toHaveLength(11);
  });

  it.each(['', 'http://[', 'ftp://x/', 'file:///etc/passwd', 'http://u:p@localhost/'])(
    'to %j are refused',
    async (location) => {
      server.answer = ({ path }, response) => {
        if (path === '/v2/') response.end();
        else response.writeHead(307, { location }).end();
      };
      const error = await rejection(open().fetchManifest('1'));
      expect(error.code).toBe('ERR_REGISTRY_INVALID');
      expect(error.message).not.toContain('u:p');
    },
  );

  it.each([
    ...[
      'http://10.0.0.1/x',
      'https://192.168.0.1/x',
      'http://169.254.169.254/x',
      'http://[::ffff:10.0.0.1]/x',
    ],
    ...['http://[2002:a00:1::]/x', 'https://[fd00::1]/x', 'http://100.64.0.1/x', 'http://255.255.255.255/x'],
  ])('to %s are not followed, whatever was asked for', async (location) => {
    server.answer = ({ path }, response) =>
      path === '/v2/' ? response.end() : response.writeHead(307, { location }).end();
    const client = open({ retry: { pauseMs: 1, attempts: 6 } });
    const works = [
      () => client.openBlob(wanted),
      () => client.fetchManifest('1'),
      () => client.hasBlob(digest),
      () => client.pushManifest('1', MEDIA_TYPES.ociManifest, Buffer.from('{}')),
      () => client.deleteManifest(digest),
      () => client.tags()[Symbol.asyncIterator]().next(),
    ];
    for (const work of works)
      expect(await rejection(work())).toMatchObject({
        code: 'ERR_REGISTRY_INVALID',
        message: expect.stringContaining('sends us to') as string,
      });
    expect(server.log).toHaveLength(works.length);
  });

  it('of a DELETE do not leave the registry', async () => {
    await using other = await HttpServer.start();
    server.answer = ({ path }, response) =>
      path === '/v2/'
        ? response.end()
        : response.writeHead(307, { location: `${other.url}/containers/x` }).end();
    for (const reference of [digest, 'latest'])
      expect((await rejection(open().deleteManifest(reference))).message).toMatch(
        /Only the registry itself is asked to delete/,
      );
    expect(other.asked).toEqual([]);
  });

  it('whose target denies access are asked for anew: a signature has run out', async () => {
    const other = await HttpServer.start((asked, response) =>
      asked.path === '/signed?sig=2' ? response.end(blob) : response.writeHead(403).end(),
    );
    server.answer = ({ path, count }, response) => {
      if (path === '/v2/') response.end();
      else response.writeHead(307, { location: `${other.url}/signed?sig=${String(count)}` }).end();
    };
    expect(await drain((await open().openBlob(wanted)).body)).toEqual(blob);
    await other.stop();
  });
});

describe('a request is sent again', () => {
  it.each([408, 429, 500, 502, 503, 504])('after %s', async (status) => {
    server.answer = ({ path, count }, response) => {
      if (path === BLOB && count < 3) response.writeHead(status, { 'retry-after': '0' }).end('x');
      else response.end(blob);
    };
    expect(await drain((await open().openBlob(wanted)).body)).toEqual(blob);
    expect(server.log).toEqual(Array(3).fill(`GET ${BLOB}`));
  });

  it('after a broken connection', async () => {
    server.answer = ({ path, count, request }, response) => {
      if (path === BLOB && count < 3) request.socket.resetAndDestroy();
      else response.end(blob);
    };
    expect(await drain((await open().openBlob(wanted)).body)).toEqual(blob);
  });

  it('whose small answer breaks off', async () => {
    const tags = '{"name":"a/b","tags":["1"]}';
    server.answer = ({ path, count, request }, response) => {
      if (path === '/v2/') return response.end();
      if (count > 2) return response.end(tags);
      response.writeHead(200, { 'content-length': tags.length });
      response.write(tags.slice(0, 5), () => request.socket.destroy());
      return undefined;
    };
    for await (const tag of open().tags()) expect(tag).toBe('1');
    expect(server.log).toHaveLength(3);
  });

  it('a bounded number of times, and says what happened', async () => {
    server.answer = ({ path }, response) => {
      if (path === '/v2/') response.end();
      else response.writeHead(503).end('upstream down\n');
    };
    const error = await rejection(open({ retry: { pauseMs: 1, attempts: 4 } }).openBlob(wanted));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNAVAILABLE', status: 503, retryable: true, digest });
    expect(error.message).toContain(`blob ${digest} of ${server.host}/a/b`);
    expect(error.message).toContain('(upstream down)');
    expect(server.log).toHaveLength(4);
  });

  it('not where the registry asks for more patience than there is', async () => {
    server.answer = ({ path }, response) => {
      if (path === '/v2/') response.end();
      else response.writeHead(429, { 'retry-after': '3600' }).end();
    };
    const error = await rejection(open().fetchManifest('1'));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_LIMIT', status: 429, retryAfterMs: 3_600_000 });
    expect(error.message).toContain('in 3600 s');
    expect(server.log).toHaveLength(1);
  });

  it.each([400, 404, 405])('not after %s', async (status) => {
    server.answer = ({ path }, response) => {
      if (path === '/v2/') response.end();
      else response.writeHead(status).end();
    };
    await rejection(open().fetchManifest('1'));
    expect(server.log).toHaveLength(1);
  });

  it('not where no server listens', async () => {
    const { host } = server;
    await server.stop();
    const error = await rejection(open({}, `${host}/a/b`).fetchManifest('1'));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNAVAILABLE', registry: host, retryable: false });
    expect(error.message).toMatch(/no server listens.*is it running/);
  });
});

describe('credentials', () => {
  const credentials = () => fixedCredentials(server.host, { username: 'bob', password: 'hunter2' });

  it('are sent when they are asked for, once', async () => {
    server.answer = ({ path, headers }, response) => {
      if (path !== '/v2/' && headers.authorization === undefined)
        response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
      else response.end(blob);
    };
    const client = open({ credentials: credentials() });
    await drain((await client.openBlob(wanted)).body);
    await drain((await client.openBlob(wanted)).body);
    expect(server.log).toHaveLength(3);
  });

  it('that have expired in the middle are renewed', async () => {
    const valid = { token: '' };
    server.answer = ({ path, headers, count }, response) => {
      if (path === '/v2/') return response.end();
      if (path.startsWith('/token')) {
        valid.token = `token-${String(count)}-${path.length}`;
        return response.end(JSON.stringify({ token: valid.token, expires_in: 300 }));
      }
      if (headers.authorization === `Bearer ${valid.token}` && valid.token !== '') return response.end(blob);
      const challenge = `Bearer realm="${server.url}/token",service="s",scope="repository:a/b:pull"`;
      return response.writeHead(401, { 'www-authenticate': challenge }).end();
    };
    const client = open({ credentials: credentials() });
    await drain((await client.openBlob(wanted)).body);
    valid.token = 'another, before its time';
    await drain((await client.openBlob(wanted)).body);
    expect(server.log.filter((line) => line.startsWith('GET /token'))).toHaveLength(2);
  });

  it.each([
    'http://10.0.0.1/token',
    'https://192.168.0.1/token',
    'http://169.254.169.254/t',
    'https://[fd00::1]/t',
  ])('do not go to a token server at %s, nor is it asked without them', async (realm) => {
    server.answer = ({ path }, response) =>
      path === '/v2/'
        ? response.end()
        : response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="s"` }).end();
    for (const access of [{}, { credentials: credentials() }]) {
      const error = await rejection(open(access).fetchManifest('1'));
      expect(error.code).toMatch(/^ERR_REGISTRY_(INVALID|DENIED)$/);
      expect(error.message).toMatch(
        /sends us to .*"allow"|which is not encrypted: the credentials are not sent/,
      );
    }
  });

  it('that are refused end it, and are in no message and no record', async () => {
    const records: unknown[] = [];
    const record = (message: string, facts?: LogFacts) => records.push([message, facts]);
    const log: Logger = { debug: record, info: record, warn: record, error: record };
    server.answer = ({ path }, response) => {
      if (path === '/v2/') return response.end();
      return response
        .writeHead(401, { 'www-authenticate': 'Basic realm="r"' })
        .end('{"errors":[{"code":"UNAUTHORIZED","message":"bob:hunter2 is wrong"}]}');
    };
    const error = await rejection(open({ credentials: credentials(), log }).fetchManifest('1'));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_DENIED', registry: server.host });
    expect(error.message).toMatch(/as user "bob".*layerstack login/);
    const all = JSON.stringify([error.message, error, String(error.cause), error.stack, records]);
    expect(all).not.toContain('hunter2');
    expect(all).not.toContain(Buffer.from('bob:hunter2').toString('base64'));
  });
});

describe('a server that repeats what it was sent', () => {
  it.each([
    ['a debugging page', 500, (sent: string) => `<pre>Authorization: ${sent}</pre>`],
    ['one long line that a message cuts', 400, (sent: string) => `${'x'.repeat(285)}Authorization: ${sent}`],
    [
      'an error of its own',
      404,
      (sent: string) => JSON.stringify({ errors: [{ code: 'UNKNOWN', message: `with ${sent}` }] }),
    ],
  ])('gives nothing away: %s', async (_, status, page) => {
    // Too short to look like a secret.
    const secret = Buffer.from('bob:pw').toString('base64');
    server.answer = ({ path, headers: { authorization } }, response) => {
      if (path === '/v2/') return response.end();
      if (authorization === undefined)
        return response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
      return response.writeHead(status).end(page(authorization));
    };
    const credentials = fixedCredentials(server.host, { username: 'bob', password: 'pw' });
    const { message } = await rejection(open({ credentials }).fetchManifest('1'));
    expect(message).toContain(String(status));
    expect(message).not.toContain(secret.slice(0, 6));
  });
});

describe('a registry that stalls', () => {
  const timeouts = { connectMs: 5000, headersMs: 200, stallMs: 200 };

  it('before it answers is given up', async () => {
    server.answer = ({ path }, response) => (path === '/v2/' ? response.end() : undefined);
    const error = await rejection(open({ timeouts }).fetchManifest('1'));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNAVAILABLE', retryable: true, registry: server.host });
    expect(error.message).toMatch(/does not answer in time/);
    expect(server.log).toHaveLength(2);
  });

  it('within a body is given up', async () => {
    server.answer = ({ path }, response) => {
      if (path === '/v2/') return response.end();
      return response.writeHead(200, { 'content-length': blob.length }).write(blob.subarray(0, 5));
    };
    const { body } = await open({ timeouts }).openBlob(wanted);
    const error = await rejection(drain(body));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNAVAILABLE', retryable: true, digest });
    expect(error.message).toContain('stalls');
  });

  it('is not one whose reader is slow', async () => {
    const large = Buffer.alloc(8_000_000, 'x');
    server.answer = ({ path }, response) => (path === '/v2/' ? response.end() : response.end(large));
    const { body } = await open({ timeouts }).openBlob({ digest: digestOf(large), size: large.length });
    let size = 0;
    for await (const chunk of body) {
      if (size === 0) await sleep(500);
      size += chunk.length;
    }
    expect(size).toBe(large.length);
  });
});

describe('an AbortSignal', () => {
  it.each(['before the answer', 'in a pause', 'within a body', 'before it begins'])(
    '%s stops at once',
    async (when) => {
      server.answer = ({ path }, response) => {
        if (path === '/v2/') return response.end();
        if (when === 'in a pause') return response.writeHead(503, { 'retry-after': '30' }).end();
        if (when === 'within a body') return response.writeHead(200).write('x');
        return undefined;
      };
      const abort = new AbortController();
      const reason = new Error('enough');
      if (when === 'before it begins') abort.abort(reason);
      else setTimeout(() => abort.abort(reason), 150);
      let aborted = 0;
      abort.signal.addEventListener('abort', () => (aborted = performance.now()));
      const work = async () => {
        const { body } = await open().openBlob(wanted, { signal: abort.signal });
        await drain(body);
      };
      expect(await rejection(work())).toMatchObject({ code: 'ERR_ABORTED', cause: reason });
      // Bounded generously: it is to be at once, not after a time limit.
      if (aborted > 0) expect(performance.now() - aborted).toBeLessThan(1000);
    },
  );
});

describe('a server that is not a registry', () => {
  it('by its protocol is named so', async () => {
    const { createServer } = await import('node:net');
    const raw = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.resume();
      socket.write('SSH-2.0-OpenSSH_9.2\r\n');
    });
    await new Promise<void>((resolve) => raw.listen(0, '127.0.0.1', resolve));
    const { port } = raw.address() as { port: number };
    const error = await rejection(open({}, `localhost:${String(port)}/x`).fetchManifest('1'));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_INVALID', registry: `localhost:${String(port)}` });
    expect(error.message).toMatch(/does not answer in HTTP/);
    await Promise.all(clients.splice(0).map((client) => client.close()));
    await new Promise((resolve) => raw.close(resolve));
  });

  it('refuses a name in words that are passed on', async () => {
    server.answer = ({ path }, response) => {
      if (path === '/v2/') return response.end();
      const body = '{"errors":[{"code":"NAME_INVALID","message":"invalid repository name"}]}';
      return response.writeHead(400, { 'content-type': MEDIA_TYPES.ociManifest }).end(body);
    };
    const error = await rejection(open().fetchManifest('1'));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_REFUSED', status: 400 });
    expect(error.message).toMatch(/NAME_INVALID: invalid repository name.*use another/);
    expect(server.log).toEqual([`GET ${MANIFEST}`]);
  });
});

describe('a blob', () => {
  it.each([
    ['shorter', blob.subarray(1)],
    ['longer', Buffer.concat([blob, blob])],
  ])('that is announced %s than its descriptor says is refused', async (_, bytes) => {
    server.answer = ({ path }, response) =>
      path === '/v2/'
        ? response.end()
        : response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
    const error = await rejection(open().openBlob(wanted));
    expect(error).toMatchObject({
      code: 'ERR_DIGEST_MISMATCH',
      expected: blob.length,
      found: bytes.length,
      digest,
    });
  });

  it('that is a web page is named so', async () => {
    server.answer = ({ path }, response) =>
      path === '/v2/'
        ? response.end()
        : response.writeHead(200, { 'content-type': 'text/html', 'content-length': 6 }).end('<html>');
    const error = await rejection(open().openBlob(wanted));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_INVALID' });
    expect(error.message).toMatch(/web page of 6 bytes/);
  });

  it('is read from an offset on, from its beginning where the server knows no ranges', async () => {
    server.answer = ({ path, headers, count }, response) => {
      if (path === '/v2/') return response.end();
      expect(headers.range).toBe('bytes=4-');
      if (count === 1) return response.end(blob);
      const range = `bytes 4-${String(blob.length - 1)}/${String(blob.length)}`;
      return response.writeHead(206, { 'content-range': range }).end(blob.subarray(4));
    };
    const client = open();
    const whole = await client.openBlob(wanted, { offset: 4 });
    expect(whole.start).toBe(0);
    expect(await drain(whole.body)).toEqual(blob);
    const rest = await client.openBlob(wanted, { offset: 4 });
    expect(rest).toMatchObject({ start: 4, total: blob.length });
    expect(await drain(rest.body)).toEqual(blob.subarray(4));
  });

  it.each(['bytes 9-18/19', undefined, 'bytes x-y/z', 'bytes 4-18/20'])(
    'from another offset than the requested one is refused (%s)',
    async (range) => {
      server.answer = ({ path }, response) => {
        if (path === '/v2/') return response.end();
        return response.writeHead(206, range === undefined ? {} : { 'content-range': range }).end('x');
      };
      expect((await rejection(open().openBlob(wanted, { offset: 4 }))).code).toMatch(
        /^ERR_(REGISTRY_INVALID|DIGEST_MISMATCH)$/,
      );
    },
  );
});
