/**
 * Pushes that are stopped while their registry drops connections, or says nothing: they end all the same, and
 * soon.
 */
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { rejection } from '../support/errors.ts';
import { HttpServer, type Answer } from '../support/http-server.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { testClient } from '../support/registry-client.ts';
import { PushStore } from '../support/push-store.ts';

const layers = [
  layerOf({ 'usr/big': randomBytes(3_000_000).toString('latin1') }),
  layerOf({ 'etc/top': randomBytes(200_000).toString('hex') }),
];

/**
 * A registry that takes everything, but for what `fault` does to some requests. True: it has dealt with one.
 */
function faulty(fault: (...args: Parameters<Answer>) => boolean): Answer {
  return (asked, response) => {
    const { method, path, request } = asked;
    if (path !== '/v2/' && fault(asked, response)) return;
    if (path === '/v2/') response.end();
    else if (method === 'HEAD') response.writeHead(404).end();
    else if (method === 'POST') response.writeHead(202, { location: '/upload' }).end();
    else {
      const status = { PATCH: 202, PUT: 503 }[method] ?? 204;
      request.resume().on('end', () => response.writeHead(status, { location: '/upload' }).end());
    }
  };
}

const drops =
  (...methods: string[]): Parameters<typeof faulty>[0] =>
  ({ method, request }) =>
    methods.includes(method) && Boolean(request.socket.resetAndDestroy());
const saysNothing =
  (...methods: string[]): Parameters<typeof faulty>[0] =>
  ({ method }) =>
    methods.includes(method);

describe('a push whose signal fires ends within a second, connections included', () => {
  it.each([
    ['drops every connection', drops('HEAD', 'POST', 'PATCH', 'PUT', 'GET', 'DELETE')],
    ['drops uploads', drops('PATCH')],
    ['drops what ends an upload', drops('PUT', 'GET')],
    ['drops what deletes an upload', drops('DELETE')],
    ['says nothing', saysNothing('HEAD', 'POST', 'PATCH', 'PUT', 'GET', 'DELETE')],
    ['says nothing to uploads', saysNothing('PATCH')],
    ['says nothing to what ends an upload', saysNothing('PUT')],
    ['says nothing to what deletes one', saysNothing('DELETE')],
    ['says nothing to uploads, nor to what deletes them', saysNothing('PATCH', 'DELETE')],
  ])('even if the registry %s', async (_, fault) => {
    await using server = await HttpServer.start(faulty(fault));
    for (const monolithic of [false, true]) {
      await using from = await PushStore.open(imageOf(layers, { tags: [`${server.host}/x:1`] }));
      const client = testClient(`${server.host}/x`, { retry: { pauseMs: 300 } });
      const abort = new AbortController();
      let aborted = 0;
      setTimeout(() => {
        aborted = performance.now();
        abort.abort();
      }, 400);
      const pushing = from.push(client, '1', { signal: abort.signal, monolithic });
      expect(await rejection(pushing)).toMatchObject({ code: 'ERR_ABORTED' });
      await client.close();
      expect(performance.now() - aborted).toBeLessThan(1000);
    }
  });
});
