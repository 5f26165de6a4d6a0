/** Requests that no client should send, and the cost of clients that do not read. */
import type { Socket } from 'node:net';
import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Route } from '../../src/app/service/context.ts';
import { sendJson } from '../../src/app/service/respond.ts';
import { ROUTES } from '../../src/app/service/routes/index.ts';
import { JsonStream } from '../../src/app/service/stream.ts';
import * as json from '../../src/core/json.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { tar } from '../support/tar.ts';
import { noise } from '../support/applied.ts';
import { TestService } from '../support/test-service.ts';

const MIB = 1 << 20;

/** Emits an event when `/test/progress` has sent all its progress. */
const told = new EventEmitter();

/** Routes of this test: faulty ones, and streams. */
const TEST_ROUTES: readonly Route[] = [
  { method: 'GET', pattern: '/test/silent', handle: () => Promise.resolve() },
  { method: 'GET', pattern: '/test/throws', handle: () => Promise.reject(new TypeError('a bug')) },
  {
    method: 'POST',
    pattern: '/test/json',
    handle: async (request) => sendJson(request, 200, { got: await request.json(json.unknown) }),
  },
  {
    method: 'GET',
    pattern: '/test/breaks',
    handle: async ({ response }) => {
      response.writeHead(200);
      response.write('half');
      await sleep(10);
      throw new Error('broken off');
    },
  },
  {
    method: 'GET',
    pattern: '/test/progress',
    handle: async (request) => {
      const stream = new JsonStream(request);
      for (let round = 0; round < 200_000 && !request.signal.aborted; round++) {
        stream.progress(`layer${round % 20}`, `state ${round % 5}`);
        if (round % 1000 === 0) await sleep(0);
      }
      stream.status('done');
      told.emit('done');
      await stream.end();
    },
  },
];

let service: TestService;

beforeAll(async () => {
  service = await TestService.start({ routes: [...TEST_ROUTES, ...ROUTES], stallMs: 500 });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

/** Status and body of a raw answer. */
function parse(answer: string): { status: number; message: unknown } {
  const [head = '', body = ''] = answer.split('\r\n\r\n');
  return {
    status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1]),
    message: (JSON.parse(body) as { message: unknown }).message,
  };
}

describe('bytes that are not a request', () => {
  it.each([
    ['no HTTP', 'hello\r\n\r\n', 400],
    ['TLS', Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]), 400],
    ['two lengths', 'POST /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n', 400],
    [
      'a length and chunks (request smuggling)',
      'POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['a bad chunk', 'POST /images/load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 400],
    ['no Host', 'GET /_ping HTTP/1.1\r\n\r\n', 400],
    ['two Hosts', 'GET /_ping HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n', 400],
    ['a bad Host', 'GET /_ping HTTP/1.1\r\nHost: a b\r\n\r\n', 400],
    ['headers without end', `GET /_ping HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(200_000)}`, 431],
  ])('%s', async (_, bytes, status) => {
    const answer = await service.raw(bytes);
    // A load may have begun to answer when its body breaks.
    if (answer !== '') expect(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]).toMatch(new RegExp(`^(${status}|200)$`));
    expect((await service.get('/_ping')).status).toBe(200);
  });

  it('says what is wrong with headers that are too long', async () => {
    const answer = await service.raw(
      `GET /_ping HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(200_000)}\r\n\r\n`,
    );
    expect(parse(answer)).toEqual({
      status: 431,
      message: 'the request has more than 131072 bytes of headers',
    });
  });

  it('says what is wrong with a URL that is too long', async () => {
    const answer = await service.get(`/_ping?${'x'.repeat(70_000)}`);
    expect([answer.status, answer.json()]).toEqual([414, { message: 'the URL has more than 65536 bytes' }]);
  });

  it('refuses expectations other than 100-continue', async () => {
    const answer = await service.send('GET', '/_ping', { headers: { Expect: 'the-moon' } });
    expect(answer.status).toBe(417);
  });
});

describe('JSON bodies', () => {
  it.each([
    [200, 'application/json', '{"a":1}'],
    [200, 'application/json; charset=utf-8', '[]'],
    [400, 'application/json', '{'],
    [400, 'application/json', ''],
    [400, 'text/plain', '{}'],
    [400, 'application/jsonp', '{}'],
    [400, 'application/json', `${'['.repeat(5000)}${']'.repeat(5000)}`],
    [413, 'application/json', `"${'x'.repeat(2 * MIB)}"`],
  ])('%i for %s', async (status, type, body) => {
    const answer = await service.post('/test/json', { headers: { 'Content-Type': type }, body });
    expect(answer.status).toBe(status);
    if (status !== 200) expect(answer.json<{ message: string }>().message).not.toBe('');
  });

  it('are not read to the end when they are too long, and the answer arrives', async () => {
    let sent = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) {
        sent += 65_536;
        yield await Promise.resolve(Buffer.alloc(65_536, 0x20));
        // Bytes after the answer are discarded, at most for some seconds.
        if (sent > 64 * MIB) return;
      }
    }
    const headers = { 'Content-Type': 'application/json' };
    const answer = await service.post('/test/json', { headers, body: endless() });
    expect([answer.status, answer.json<{ message: string }>().message]).toEqual([
      413,
      'the request body is larger than the 1048576 bytes that are allowed here',
    ]);
  });

  it('that stall are abandoned', async () => {
    async function* stalls(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('{');
      await sleep(2000);
    }
    const headers = { 'Content-Type': 'application/json' };
    const answer = await service.post('/test/json', { headers, body: stalls() });
    expect([answer.status, answer.json<{ message: string }>().message]).toEqual([
      408,
      'no bytes of the request body arrived for 0.5 seconds',
    ]);
  });
});

describe('Expect: 100-continue', () => {
  const head = (path: string, length: number): string =>
    `POST ${path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`;

  it('is answered when a route reads the body', async () => {
    const socket = await service.connect();
    let got = '';
    socket.on('data', (chunk: Buffer) => (got += chunk.toString()));
    socket.write(head('/test/json', 2));
    while (!got.includes('\r\n\r\n')) await once(socket, 'data');
    expect(got).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    socket.write('{}');
    while (!got.includes('{"got":{}}')) await once(socket, 'data');
    socket.destroy();
  });

  it('is not answered if no route reads the body: the final answer comes at once, and the connection ends', async () => {
    for (const path of ['/nothing', '/images/create?fromSrc=http://x']) {
      const answer = await service.raw(head(path, 1000));
      expect(answer).toMatch(/^HTTP\/1\.1 (404|501) /);
      expect(answer).toMatch(/^Connection: close\r$/m);
      expect(answer).not.toContain('100 Continue');
    }
  });
});

describe('routes that go wrong', () => {
  it.each(['/test/silent', '/test/throws'])('are answered 500: %s', async (path) => {
    const answer = await service.get(path);
    expect([answer.status, answer.headers['content-type']]).toEqual([500, 'application/json']);
    expect(answer.json()).toHaveProperty('message');
  });

  it('break off their answer, so that it does not look complete', async () => {
    await expect(service.get('/test/breaks')).rejects.toThrow(/aborted/);
    expect((await service.get('/_ping')).status).toBe(200);
  });
});

describe('clients that do not read', () => {
  /** Returns the resident memory after a garbage collection. */
  const memory = (): number => {
    globalThis.gc?.();
    const { rss } = process.memoryUsage();
    return rss;
  };

  /** Sends a request and does not read the answer. */
  async function ask(path: string): Promise<Socket> {
    const socket = await service.connect();
    socket.pause();
    socket.on('error', () => undefined);
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    return socket;
  }

  it('cost little memory, however large the image is, and none after they disconnect', async () => {
    const layer = layerOf([{ name: 'noise', content: Buffer.concat(Array(12).fill(noise(4 * MIB))) }]);
    const body = tar(dockerArchive([imageOf([layer], { tags: ['large:1'] })]));
    await service.post('/images/load', { body });
    await service.get('/images/large:1/get');
    const before = memory();
    const sockets = await Promise.all(Array.from({ length: 20 }, () => ask('/images/large:1/get')));
    await sleep(1500);
    expect(service.api.active).toBe(20);
    // Each holds one piece of 256 KiB, or a few of them, of 48 MiB.
    expect((memory() - before) / MIB).toBeLessThan(20 * 4);
    for (const socket of sockets) socket.destroy();
    for (let waited = 0; service.api.active > 0 && waited < 500; waited++) await sleep(10);
    expect(service.api.active).toBe(0);
    // No part of the image is held any more.
    expect((await service.send('DELETE', '/images/large:1')).status).toBe(200);
  });

  it('get the latest progress when they read again', async () => {
    const done = once(told, 'done');
    const socket = await ask('/test/progress');
    await done;
    let got = '';
    socket.on('data', (chunk: Buffer) => (got += chunk.toString()));
    socket.resume();
    for (let waited = 0; !got.includes('"done"') && waited < 500; waited++) await sleep(10);
    expect(got).toContain('{"status":"done"}');
    // 200,000 lines were sent; at most 20 layers in 5 states waited.
    expect(got.split('\r\n').length).toBeLessThan(50_000);
    socket.destroy();
  });
});

describe('idle connections', () => {
  it('cost almost nothing: 500 of them', async () => {
    const sockets = await Promise.all(Array.from({ length: 500 }, () => service.connect()));
    expect((await service.get('/_ping')).status).toBe(200);
    for (const socket of sockets) socket.destroy();
  });
});

describe('the end of the service', () => {
  it('aborts running work', async () => {
    const own = await TestService.start({ stallMs: 60_000 });
    const socket = await own.connect();
    socket.write('POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n');
    for (let waited = 0; own.api.active !== 1 && waited < 500; waited++) await sleep(10);
    await own.api.abort(new Error('the service ends'));
    expect(own.ended).toEqual([expect.objectContaining({ pattern: '/images/load' })]);
    socket.destroy();
    await own[Symbol.asyncDispose]();
  });
});
