/**
 * Requests about the process of a container, which never runs here. Statuses are those of dockerd 20.10 and
 * 28.5 for such a container.
 */
import { once } from 'node:events';
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { tar } from '../support/tar.ts';
import { TestService, type Answer } from '../support/test-service.ts';

const image = imageOf([layerOf({ 'etc/base': 'base' })], { tags: ['base:1'], config: { Cmd: ['/run'] } });

let service: TestService;
let id: string;

const message = (answer: Answer): string => answer.json<{ message: string }>().message;
const create = async (name: string, HostConfig = {}): Promise<string> => {
  const answer = await service.post(`/containers/create?name=${name}`, {
    json: { Image: 'base:1', HostConfig },
  });
  return answer.json<{ Id: string }>().Id;
};
const exists = async (name: string): Promise<boolean> =>
  (await service.get(`/containers/${name}/json`)).status === 200;

beforeAll(async () => {
  service = await TestService.start();
  await service.post('/images/load', { body: tar(dockerArchive([image])) });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
});
beforeEach(async () => {
  id = await create('c1');
});
afterEach(async () => {
  await service.send('DELETE', '/containers/c1?force=1');
});

/** Returns the bytes of an upgraded connection, from its head on. */
async function upgrade(path: string, protocol: string): Promise<{ socket: Socket; head: string }> {
  const socket = await service.connect();
  socket.on('error', () => undefined);
  socket.write(
    `POST ${path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`,
  );
  let got = Buffer.alloc(0);
  while (!got.includes('\r\n\r\n')) {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) await once(socket, 'readable');
    else got = Buffer.concat([got, chunk]);
  }
  const end = got.indexOf('\r\n\r\n') + 4;
  // The bytes behind it belong to the other protocol.
  if (end < got.length) socket.unshift(got.subarray(end));
  return { socket, head: got.toString('latin1', 0, end) };
}

describe('a container that does not run', () => {
  const isNot = (): string => `Container ${id} is not running`;

  it('answers stop with 304', async () => {
    for (const query of ['', '?t=5', '?signal=KILL']) {
      const answer = await service.post(`/containers/c1/stop${query}`);
      expect([answer.status, answer.text]).toEqual([304, '']);
    }
    expect((await service.post('/containers/c1/stop?t=soon')).status).toBe(400);
  });

  it('answers kill, pause, resize and top with 409 in docker words', async () => {
    for (const [method, path, words] of [
      ['POST', 'kill', `Cannot kill container: c1: ${isNot()}`],
      ['POST', 'kill?signal=RTMIN%2B3', `Cannot kill container: c1: ${isNot()}`],
      ['POST', 'pause', isNot()],
      ['POST', 'unpause', `Container ${id} is not paused`],
      ['POST', 'resize?h=24&w=80', isNot()],
      ['GET', 'top', isNot()],
    ] as const) {
      const answer = await service.send(method, `/containers/c1/${path}`);
      expect([path, answer.status, message(answer)]).toEqual([path, 409, words]);
    }
    for (const path of [
      'kill?signal=FOO',
      'kill?signal=0',
      'resize?h=a&w=1',
      'resize?h=1',
      'wait?condition=never',
    ])
      expect([path, (await service.post(`/containers/c1/${path}`)).status]).toEqual([path, 400]);
  });

  it('runs no command, and the answer names an alternative', async () => {
    const answer = await service.post('/containers/c1/exec', { json: { Cmd: ['ls'] } });
    expect([answer.status, message(answer)]).toEqual([
      409,
      expect.stringMatching(new RegExp(`^${isNot()}: layerstack does not run containers: .*runc run`)),
    ]);
    const none = await service.post('/containers/c1/exec', { json: {} });
    expect([none.status, message(none)]).toEqual([400, 'No exec command specified']);
    const instance = await service.get('/exec/abc/json');
    expect([instance.status, message(instance)]).toEqual([404, 'No such exec instance: abc']);
  });

  it('is not started, and the answer names an alternative', async () => {
    for (const action of ['start', 'restart']) {
      const answer = await service.post(`/containers/c1/${action}`);
      expect([answer.status, message(answer)]).toEqual([
        501,
        expect.stringMatching(
          /^layerstack does not run containers: .*layerstack bundle NAME DIR, runc run -b DIR NAME$/,
        ),
      ]);
    }
    expect(await exists('c1')).toBe(true);
  });

  it('has empty logs and statistics, and wait returns at once', async () => {
    expect((await service.get('/containers/c1/logs')).status).toBe(400);
    for (const query of ['stdout=1', 'stderr=1&follow=1']) {
      const answer = await service.get(`/containers/c1/logs?${query}`);
      expect([answer.status, answer.text]).toEqual([200, '']);
    }
    const stats = (await service.get('/containers/c1/stats?stream=0')).json<Record<string, unknown>>();
    expect(stats).toMatchObject({
      id,
      name: '/c1',
      read: '0001-01-01T00:00:00Z',
      pids_stats: {},
      memory_stats: {},
    });
    expect((await service.post('/containers/c1/wait')).json()).toEqual({ StatusCode: 0 });
    expect((await service.post('/v1.41/containers/c1/wait')).json()).toEqual({ Error: null, StatusCode: 0 });
  });

  it('is 404 in docker words if it does not exist', async () => {
    for (const [method, path] of [
      ['POST', 'start'],
      ['POST', 'stop'],
      ['POST', 'pause'],
      ['POST', 'wait'],
      ['POST', 'attach'],
      ['POST', 'restart'],
      ['GET', 'top'],
      ['GET', 'logs?stdout=1'],
      ['GET', 'stats'],
    ] as const) {
      const answer = await service.send(method, `/containers/nobody/${path}`);
      expect([path, answer.status, message(answer)]).toEqual([path, 404, 'No such container: nobody']);
    }
  });
});

describe('docker run', () => {
  it.each([
    ['--rm', true, false],
    ['without', false, true],
  ])('%s leaves the container in the state that docker leaves it in', async (_, AutoRemove, stays) => {
    await create('run', { AutoRemove });
    const { socket, head } = await upgrade('/containers/run/attach?stream=1&stdout=1&stdin=1', 'tcp');
    expect(head).toMatch(/^HTTP\/1\.1 101 UPGRADED\r\n/);
    expect(head).toMatch(/^Upgrade: tcp\r$/m);
    expect(head).toMatch(/^Content-Type: application\/vnd\.docker\.raw-stream\r$/m);
    // Input that was typed before the container runs is discarded.
    socket.write('GET / HTTP/1.1\r\n\r\n');
    const condition = AutoRemove ? 'removed' : 'next-exit';
    const waiting = await service.open('POST', `/containers/run/wait?condition=${condition}`);
    expect(waiting.statusCode).toBe(200);
    expect((await service.post('/containers/run/start')).status).toBe(501);
    expect(await exists('run')).toBe(stays);
    if (stays) {
      waiting.destroy();
      socket.destroy();
      // The container exists.
      await expect.poll(() => service.api.active).toBe(0);
    } else {
      expect(JSON.parse(String((await waiting.toArray()).join('')))).toEqual({ StatusCode: 0 });
      // No data will ever come.
      if (!socket.readableEnded) await once(socket.resume(), 'end');
    }
    socket.destroy();
    await service.send('DELETE', '/containers/run');
    await expect.poll(() => service.api.active).toBe(0);
  });

  it('ends a waiting request when its client disconnects or the service stops', async () => {
    const own = await TestService.start();
    await own.post('/images/load', { body: tar(dockerArchive([image])) });
    expect((await own.post('/containers/create?name=ww', { json: { Image: 'base:1' } })).status).toBe(201);
    const gone = await own.open('POST', '/containers/ww/wait?condition=removed');
    expect(gone.statusCode).toBe(200);
    await expect.poll(() => own.api.active).toBe(1);
    gone.destroy();
    await expect.poll(() => own.api.active).toBe(0);
    const kept = await own.open('POST', '/containers/ww/wait?condition=removed');
    kept.on('error', () => undefined);
    own.api.refuse('stopping');
    await expect.poll(() => own.api.active).toBe(0);
    await own[Symbol.asyncDispose]();
  });
});

describe('a request for another protocol', () => {
  it('is answered in HTTP/1.1 on routes without another protocol (curl --http2)', async () => {
    const asks =
      'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n';
    const ping = await service.raw(`GET /_ping HTTP/1.1\r\nHost: x\r\n${asks}\r\n`, 'OK');
    expect(ping).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    const body = JSON.stringify({ Name: 'asked' });
    const made = await service.raw(
      `POST /volumes/create HTTP/1.1\r\nHost: x\r\n${asks}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      '"Scope"',
    );
    expect(made).toMatch(/^HTTP\/1\.1 201 /);
  });

  it('that is wrong is answered in HTTP, and the connection ends', async () => {
    const answer = await service.raw(
      'POST /containers/nobody/attach?stream=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n',
    );
    expect(answer).toMatch(/^HTTP\/1\.1 404 Not Found\r\n/);
    expect(answer).toContain('No such container: nobody');
    const refused = await service.raw(
      'POST /containers/c1/attach HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n',
    );
    expect(refused).toMatch(/^HTTP\/1\.1 400 /);
  });
});

describe('BuildKit', () => {
  /** The end of one gRPC call: its status and message. */
  async function call(session: ClientHttp2Session, path: string): Promise<Record<string, unknown>> {
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const ends: Record<string, unknown> = {};
    stream.on('response', (headers) => Object.assign(ends, headers));
    stream.on('trailers', (trailers) => Object.assign(ends, trailers));
    stream.resume().end(Buffer.alloc(5));
    await once(stream, 'close');
    return ends;
  }

  it('is refused call by call, at once and with an alternative, so that buildx starts no builder of its own', async () => {
    const { socket, head } = await upgrade('/grpc', 'h2c');
    expect(head).toMatch(/^HTTP\/1\.1 101 UPGRADED\r\n/);
    expect(head).toMatch(/^Upgrade: h2c\r$/m);
    const session = connectHttp2('http://docker', { createConnection: () => socket });
    for (const method of ['Info', 'ListWorkers', 'Solve', 'Session']) {
      const ended = await call(session, `/moby.buildkit.v1.Control/${method}`);
      expect(ended).toMatchObject({
        ':status': 200,
        'content-type': 'application/grpc',
        'grpc-status': '12',
      });
      expect(ended['grpc-message']).toMatch(
        /^layerstack does not build images with BuildKit: .*set DOCKER_BUILDKIT=0/,
      );
    }
    // Its cache is empty, and so can be pruned.
    for (const method of ['Prune', 'DiskUsage'])
      expect(await call(session, `/moby.buildkit.v1.Control/${method}`)).toMatchObject({
        'grpc-status': '0',
      });
    session.destroy();
    await expect.poll(() => service.api.active).toBe(0);
    expect((await service.get('/containers/json?all=1')).json<unknown[]>()).toHaveLength(1);
  });

  it.each(['/grpc', '/session', '/build?version=2', '/build/cancel'])(
    'is refused also without another protocol: %s',
    async (path) => {
      const answer = await service.post(path);
      expect([answer.status, message(answer)]).toEqual([
        501,
        expect.stringMatching(/^layerstack does not build images with BuildKit.*set DOCKER_BUILDKIT=0/),
      ]);
    },
  );

  it('has a silent session, so that clients without buildx read the answer to the build', async () => {
    const { socket, head } = await upgrade('/session', 'h2c');
    expect(head).toMatch(/^HTTP\/1\.1 101 UPGRADED\r\n/);
    const build = await service.post('/build?version=2&session=abc');
    expect([build.status, message(build)]).toEqual([
      501,
      expect.stringMatching(/^layerstack does not build images/),
    ]);
    expect(socket.read()).toBeNull();
    socket.destroy();
    await expect.poll(() => service.api.active).toBe(0);
  });

  it('that sends garbage does not disturb other clients', async () => {
    const { socket } = await upgrade('/grpc', 'h2c');
    socket.write('this is no HTTP/2 preface, but some bytes\r\n\r\n'.repeat(10));
    await once(socket.resume(), 'close');
    expect((await service.get('/_ping')).status).toBe(200);
    await expect.poll(() => service.api.active).toBe(0);
  });
});
