/**
 * Attacks on other clients by connections that are valid HTTP, and the leftovers of a client that
 * disconnects.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Route } from '../../src/app/service/context.ts';
import { sendEmpty, sendJson } from '../../src/app/service/respond.ts';
import { ROUTES } from '../../src/app/service/routes/index.ts';
import * as json from '../../src/core/json.ts';
import { TestService } from '../support/test-service.ts';

const MIB = 1 << 20;
const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;

let running = 0;
let most = 0;

const TEST_ROUTES: readonly Route[] = [
  {
    method: 'GET',
    pattern: '/test/slow',
    handle: async (request) => {
      most = Math.max(most, ++running);
      await sleep(20);
      running--;
      sendEmpty(request, 204);
    },
  },
  {
    method: 'GET',
    pattern: '/test/half',
    handle: async ({ response }) => {
      response.writeHead(200, { 'Content-Length': 8 });
      response.write('half');
      await sleep(200);
      response.end('full');
    },
  },
  {
    method: 'POST',
    pattern: '/test/json',
    handle: async (request) => sendJson(request, 200, await request.json(json.unknown)),
  },
  {
    method: 'POST',
    pattern: '/test/bodiless',
    handle: (request) => Promise.resolve(sendEmpty(request, 204)),
  },
];

let service: TestService;

beforeAll(async () => {
  service = await TestService.start({ routes: [...TEST_ROUTES, ...ROUTES] });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

describe('requests sent without waiting for answers (pipelining)', () => {
  it('are handled one at a time', async () => {
    most = 0;
    await service.raw(
      get('/test/slow').repeat(5) + 'GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
    );
    expect(most).toBe(1);
  });

  it('leave nothing running when their client goes', async () => {
    const socket = await service.connect();
    socket.write(get('/events').repeat(10));
    await expect.poll(() => service.events.readers).toBeGreaterThan(0);
    socket.destroy();
    await expect.poll(() => service.events.readers, { timeout: 5000 }).toBe(0);
    await expect.poll(() => service.api.active, { timeout: 5000 }).toBe(0);
  });

  it('end the connection when there are too many', async () => {
    const answer = await service.raw(get('/events').repeat(1000));
    // Empty, unless the first request came in a packet of its own.
    expect(answer.split('HTTP/1.1 ').length).toBeLessThanOrEqual(2);
    await expect.poll(() => service.api.active, { timeout: 5000 }).toBe(0);
  });
});

it('bytes that are not a request are not answered inside another answer (response splitting)', async () => {
  const answer = await service.raw(`${get('/test/half')}garbage\r\n\r\n`);
  expect(answer.split('HTTP/1.1').length).toBe(2);
});

it('an unread body behind Expect does not swallow the next request (Expect desync)', async () => {
  const head =
    'POST /test/bodiless HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\nExpect: 100-continue\r\n\r\n';
  const answer = await service.raw(head, '\r\n\r\n');
  expect(answer).toMatch(/^HTTP\/1\.1 204 /);
  expect(answer).toMatch(/^connection: close/im);
});

it('a document in chunks of one byte takes no more memory than its bytes', async () => {
  const text = JSON.stringify('x'.repeat(MIB / 2));
  const body = [...text].map((character) => `1\r\n${character}\r\n`).join('');
  const head =
    'POST /test/json HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n';
  const before = process.memoryUsage.rss();
  let peak = 0;
  const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 5);
  const answer = await service.raw(`${head}${body}0\r\n\r\n`, '"\n');
  clearInterval(watch);
  expect(answer).toContain(text);
  // A list of the chunks takes 180 MiB.
  expect(peak - before).toBeLessThan(100 * MIB);
});
