/**
 * `images/create?fromSrc=URL`: files of the internet, which here is behind a proxy, and addresses that are
 * out of reach.
 */
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { ImageInspect } from '../../src/image/store.ts';
import { ForwardProxy } from '../support/forward-proxy.ts';
import { HttpServer } from '../support/http-server.ts';
import { tar } from '../support/tar.ts';
import { TestService, type Answer } from '../support/test-service.ts';

const rootfs = gzipSync(tar([{ name: 'etc/x', content: 'of the internet' }]));

let service: TestService;
let server: HttpServer;
let proxy: ForwardProxy;

const create = (source: string, more = ''): Promise<Answer> =>
  service.post(`/images/create?fromSrc=${encodeURIComponent(source)}${more}`);
const message = (answer: Answer): string => answer.json<{ message: string }>().message;
const port = (): number => Number(server.host.split(':')[1]);

beforeAll(async () => {
  service = await TestService.start();
  server = await HttpServer.start((asked, response) => {
    const [path = '', query = ''] = asked.path.split('?');
    if (path === '/rootfs.tgz') response.end(rootfs);
    else if (path === '/to') response.writeHead(302, { location: decodeURIComponent(query) }).end();
    else if (path === '/status') response.writeHead(Number(query)).end('<b>sorry</b>');
    else if (path === '/short')
      response
        .writeHead(200, { 'content-length': rootfs.length })
        .write(rootfs.subarray(0, 50), () => response.destroy());
    else response.writeHead(404).end('404 page not found');
  });
  proxy = await ForwardProxy.start({ hosts: { 'files.example:80': port(), 'other.example:8080': port() } });
  vi.stubEnv('HTTP_PROXY', proxy.url());
  vi.stubEnv('NO_PROXY', '');
});
afterEach(() => {
  server.asked.length = 0;
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await proxy.stop();
  await server.stop();
  await service[Symbol.asyncDispose]();
});

describe('images/create of a URL', () => {
  it.each([
    ['', 'http://files.example/rootfs.tgz'],
    ['without a scheme', 'files.example/rootfs.tgz'],
    ['with a port', 'http://other.example:8080/rootfs.tgz'],
    ['that redirects elsewhere', 'http://files.example/to?http%3A%2F%2Fother.example%3A8080%2Frootfs.tgz'],
    ['that redirects by a path', 'http://files.example/to?%2Frootfs.tgz'],
  ])('imports a file %s', async (_, url) => {
    const answer = await create(url, '&repo=web&tag=1');
    const lines = answer.lines();
    const image = (await service.get('/v1.41/images/web:1/json')).json<ImageInspect>();
    expect([answer.status, lines.at(-1)]).toEqual([200, { status: image.Id }]);
    expect(lines[0]?.['status']).toMatch(/^Downloading from http:\/\/(files|other)\.example/);
    expect(lines).toContainEqual(expect.objectContaining({ status: 'Importing' }));
    expect(image.Comment).toMatch(/^Imported from http:\/\/(files|other)\.example/);
    await service.send('DELETE', '/images/web:1');
  });

  it('does not reveal the query of a signed URL', async () => {
    const answer = await create('http://files.example/rootfs.tgz?signature=secret', '&repo=web:2');
    expect(answer.status).toBe(200);
    const image = await service.get('/v1.41/images/web:2/json');
    expect(answer.text + image.text).not.toContain('secret');
    expect(server.log).toEqual(['GET /rootfs.tgz?signature=secret']);
  });

  it.each([
    [404, '/missing.tar'],
    [404, '/status?410'],
    [400, '/status?400'],
    [401, '/status?401'],
    [503, '/status?500'],
    [502, '/status?204'],
  ])('answers %i if the server does not have the file at %s', async (status, path) => {
    const answer = await create(`http://files.example${path}`);
    expect([answer.status, server.log]).toEqual([status, [`GET ${path}`]]);
    expect(message(answer)).toContain('the server answers');
  });

  it.each([
    ['%2Fdata%2Ffile.tar'],
    ['http://'],
    ['ftp://files.example/rootfs.tgz'],
    ['file:///etc/passwd'],
    ['http://files.example:99999/'],
    ['http://user:secret@files.example/rootfs.tgz'],
  ])('answers 400 for %s, without a request to a server', async (url) => {
    const answer = await create(url);
    expect([answer.status, server.log]).toEqual([400, []]);
    expect(message(answer)).not.toContain('secret');
  });

  it.each([
    ['this machine', () => `http://127.0.0.1:${port()}/rootfs.tgz`],
    ['this machine by its name', () => `localhost:${port()}/rootfs.tgz`],
    ['this machine in other digits', () => `http://0x7f.1:${port()}/rootfs.tgz`],
    ['this machine in IPv6', () => `http://[::ffff:127.0.0.1]:${port()}/rootfs.tgz`],
    ['a private network', () => 'http://10.0.0.1/rootfs.tgz'],
    ['a cloud machine’s metadata', () => 'http://169.254.169.254/latest/meta-data'],
    ['this machine, by a redirect', () => `http://files.example/to?http://127.0.0.1:${port()}/rootfs.tgz`],
  ])('answers 404 for %s', async (_, url) => {
    const answer = await create(url());
    expect(answer.status).toBe(404);
    expect(message(answer)).toContain('only files of the internet are fetched');
    expect(server.log.filter((line) => line.includes('rootfs'))).toEqual(
      url().includes('/to?') ? [`GET /to?http://127.0.0.1:${port()}/rootfs.tgz`] : [],
    );
  });

  it('answers 404 for a host that does not exist', async () => {
    vi.stubEnv('HTTP_PROXY', '');
    try {
      const answer = await create('http://no-such-host.invalid/rootfs.tgz');
      expect([answer.status, message(answer)]).toEqual([404, expect.stringContaining('no such host')]);
    } finally {
      vi.stubEnv('HTTP_PROXY', proxy.url());
    }
  });

  it('stops after a limit of redirects', async () => {
    server.answer = ((answer) => (asked, response) =>
      asked.path === '/round'
        ? response.writeHead(302, { location: '/round' }).end()
        : answer(asked, response))(server.answer);
    const answer = await create('http://files.example/round');
    expect([answer.status, server.asked.length]).toEqual([502, 11]);
  });

  it('makes no image of a truncated file', async () => {
    const answer = await create('http://files.example/short', '&repo=web:3');
    expect(answer.lines().at(-1)).toHaveProperty('error');
    expect((await service.get('/images/web:3/json')).status).toBe(404);
  });

  it.each(['&changes=FLY', '&platform=macos', '&repo=UPPER'])(
    'sends no request if the query has %s',
    async (query) => {
      const answer = await create('http://files.example/rootfs.tgz', query);
      expect([answer.status, server.log]).toEqual([400, []]);
    },
  );
});
