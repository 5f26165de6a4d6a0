/** `layerstack serve` as a service: its sockets, its access rights, its log, and how it ends. */
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { DEFAULT_SETTINGS } from '../../src/app/service/settings.ts';
import { call, native } from '../../src/system/native.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { NotifySocket } from '../support/notify-socket.ts';
import { run } from '../support/process.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { ServiceProcess, type ServeOptions } from '../support/service-process.ts';
import { tar } from '../support/tar.ts';

const ARCHIVE = tar(dockerArchive([imageOf([layerOf({ 'etc/motd': 'hello\n' })], { tags: ['t/a:1'] })]));

let directory: string;

beforeEach(() => {
  directory = makeScratch('serve');
  onTestFinished(() => dropScratch(directory));
});

async function start(options: ServeOptions = {}): Promise<ServiceProcess> {
  const service = await ServiceProcess.start(directory, options);
  onTestFinished(() => service[Symbol.asyncDispose]());
  return service;
}

/** A load whose second half waits for `finish`. */
async function halfLoad(service: ServiceProcess) {
  let finish: () => void = () => undefined;
  const rest = new Promise<void>((resolve) => (finish = resolve));
  const body = async function* (): AsyncGenerator<Uint8Array> {
    yield ARCHIVE.subarray(0, 1024);
    await rest;
    yield ARCHIVE.subarray(1024);
  };
  const answer = service.send('POST', '/images/load?quiet=1', body());
  answer.catch(() => undefined);
  while (!(await service.send('GET', '/metrics')).text.includes('layerstack_http_requests_in_flight 2'))
    await sleep(20);
  return { answer, finish };
}

/** Returns all bytes of a connection until it is closed. */
async function received(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
  if (!socket.closed) await once(socket, 'close');
  return text;
}

describe('connections beyond the limit', () => {
  const LIMIT = 20;
  const MANY = 200;
  const PING = 'GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n';

  /** Connections on which `bytes` were sent. */
  async function flood(at: string | number, bytes: string): Promise<Socket[]> {
    const sockets = Array.from({ length: MANY }, () =>
      typeof at === 'string' ? connect(at) : connect(at, '127.0.0.1'),
    );
    for (const socket of sockets) socket.on('error', () => undefined).resume();
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    for (const socket of sockets) socket.write(bytes);
    onTestFinished(() => sockets.forEach((socket) => socket.destroy()));
    await sleep(200);
    return sockets;
  }

  it.each([
    ['that nothing is sent on', ''],
    ['whose headers do not end', 'GET /_ping HTTP/1.1\r\nHost: x\r\n'],
    ['that are kept after an answer', PING],
    ['that wait for events', 'GET /events HTTP/1.1\r\nHost: x\r\n\r\n'],
  ])('%s do not lock others out', async (_, bytes) => {
    const hosts = ['--host', `unix://${join(directory, 'sock')}`, '--host', 'tcp://127.0.0.1:0'];
    const service = await start({ args: ['--max-connections', String(LIMIT), ...hosts] });
    const { hosts: served } = await service.logged('serving');
    const port = Number(/tcp:\/\/127\.0\.0\.1:(\d+)/.exec(String(served))?.[1]);
    const others = async (): Promise<string[]> => {
      const unix = ['--unix-socket', service.socket, 'http://x/_ping'];
      const answers = [];
      for (const to of [unix, [`http://127.0.0.1:${port}/_ping`], unix])
        answers.push((await run('curl', ['-sS', '-m', '10', ...to])).stdout);
      return answers;
    };
    await flood(service.socket, bytes);
    expect(await others()).toEqual(['OK', 'OK', 'OK']);
    // The peer of a TCP connection is unknown, so connections in use are not closed.
    if (bytes.includes('/events')) return;
    await flood(port, bytes);
    expect(await others()).toEqual(['OK', 'OK', 'OK']);
  });

  it('close the longest idle ones, and never one in use', async () => {
    const service = await start({ args: ['--max-connections', String(LIMIT)] });
    const load = await halfLoad(service);
    const sockets = await flood(service.socket, '');
    const open = sockets.map((socket) => !socket.closed);
    expect(open.slice(0, MANY - LIMIT)).toEqual(Array<boolean>(MANY - LIMIT).fill(false));
    expect(open.at(-1)).toBe(true);
    load.finish();
    expect((await load.answer).text).toContain('Loaded image: t/a:1');
    const { text } = await service.send('GET', '/metrics');
    expect(Number(/^layerstack_http_connections_refused_total (\d+)$/m.exec(text)?.[1])).toBeGreaterThan(
      MANY - LIMIT - 1,
    );
  });
});

describe('its socket', () => {
  it('is for root and the group alone, whatever the umask', async () => {
    const before = process.umask(0o022);
    const service = await start({ args: ['--group', '65534'] }).finally(() => process.umask(before));
    const { mode, uid, gid } = lstatSync(service.socket);
    expect([(mode & 0o7777).toString(8), uid, gid]).toEqual(['660', 0, 65534]);
    expect((await service.send('GET', '/_ping')).text).toBe('OK');
  });

  it('may be one of several, and may be TCP on loopback', async () => {
    const other = join(directory, 'other');
    const hosts = [`unix://${join(directory, 'sock')}`, `unix://${other}`, 'tcp://127.0.0.1:0'];
    const service = await start({ args: hosts.flatMap((host) => ['--host', host]) });
    const { hosts: served } = await service.logged('serving');
    const port = /tcp:\/\/127\.0\.0\.1:(\d+)/.exec(String(served))?.[1] ?? '';
    expect((await fetch(`http://127.0.0.1:${port}/_ping`)).status).toBe(200);
    expect((await fetch(`http://localhost:${port}/_ping`)).status).toBe(200);
    expect(lstatSync(other).isSocket()).toBe(true);
  });

  // A page in root's browser, and a name that was rebound to 127.0.0.1.
  it('on loopback does not answer web pages', async () => {
    const service = await start({ args: ['--host', 'tcp://127.0.0.1:0'] });
    const { hosts } = await service.logged('serving');
    const port = Number(/tcp:\/\/127\.0\.0\.1:(\d+)/.exec(String(hosts))?.[1]);
    const ask = async (headers: readonly string[], target = '/_ping', version = '1.1'): Promise<number> => {
      const socket = connect(port, '127.0.0.1');
      socket.write(
        `GET ${target} HTTP/${version}\r\n${[...headers, 'Connection: close', '', ''].join('\r\n')}`,
      );
      return Number(/^HTTP\/1\.1 (\d+) /.exec(await received(socket))?.[1]);
    };
    const host = `Host: 127.0.0.1:${port}`;
    for (const headers of [[host], ['Host: localhost'], ['Host: LocalHost:1'], ['Host: [::1]:2375']])
      expect([headers, await ask(headers)]).toEqual([headers, 200]);
    expect(await ask([host, 'Sec-Fetch-Site: none'])).toBe(200);
    for (const header of [
      'Origin: https://evil.example',
      `Origin: http://127.0.0.1:${port}`,
      'Origin: null',
      'Sec-Fetch-Site: cross-site',
      'sec-fetch-site: same-site',
      'Sec-Fetch-Site: same-origin',
      'Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site',
    ])
      expect([header, await ask([host, header])]).toEqual([header, 403]);
    for (const wrong of ['Host: evil.example', 'Host: 127.0.0.1.evil.example', 'Host: 128.0.0.1', 'Host:'])
      expect([wrong, await ask([wrong])]).toEqual([wrong, 403]);
    expect(await ask([], '/_ping', '1.0')).toBe(403);
    expect(await ask([host], 'http://evil.example/_ping')).toBe(403);
    expect(await ask(['Host: evil.example'], `http://127.0.0.1:${port}/_ping`)).toBe(200);
    for (const hosts of [[], [host, host], [host, 'Host: evil.example'], ['Host: a b'], ['Host: a/b']])
      expect([hosts, await ask(hosts)]).toEqual([hosts, 400]);
  });

  it.each([
    ['tcp://0.0.0.0:2375', 'gives each of its clients root'],
    ['tcp://:2375', 'gives each of its clients root'],
    ['tcp://[::]:2375', 'gives each of its clients root'],
    ['tcp://example.org:2375', 'gives each of its clients root'],
    ['unix://relative', 'must be absolute'],
    [`unix:///${'x'.repeat(120)}`, 'choose a shorter'],
    ['http://127.0.0.1:1', 'write unix:///run/layerstack.sock'],
    ['fd://', 'systemd passed no sockets'],
  ])('is refused at %s, with the reason', async (host, why) => {
    const ran = await new LayerstackCli(join(directory, 'root')).try(['serve', '--host', host]);
    expect(ran).toMatchObject({ status: 1, stdout: '' });
    expect(ran.stderr).toMatch(/^layerstack: ERR_INVALID_ARGUMENT: /);
    expect(ran.stderr).toContain(why);
    expect(existsSync(join(directory, 'root'))).toBe(false);
  });

  it('belongs to the first service: a second one is refused, and the first one continues', async () => {
    const service = await start();
    const second = await start({ unready: true });
    expect(await second.exited()).toMatchObject({ status: 1 });
    expect(second.stderr).toMatch(/^layerstack: ERR_ADDRESS_IN_USE: .*another layerstack serves there/);
    expect((await service.send('GET', '/_ping')).text).toBe('OK');
  });

  it('is served by one of several services that start at once, and each other one says why it ends', async () => {
    const all = await Promise.all(Array.from({ length: 5 }, () => start({ unready: true })));
    const lost = async (service: ServiceProcess) => (await service.exited()).status;
    const winner = await Promise.any(all.map((service) => service.logged('serving').then(() => service)));
    const losers = all.filter((service) => service !== winner);
    expect(await Promise.all(losers.map(lost))).toEqual([1, 1, 1, 1]);
    for (const { stderr } of losers) expect(stderr).toContain('ERR_ADDRESS_IN_USE');
    expect((await winner.send('GET', '/_ping')).text).toBe('OK');
  });

  it('replaces the socket that a killed service left', async () => {
    const first = await start();
    first.child.kill('SIGKILL');
    await first.exited();
    expect(lstatSync(first.socket).isSocket()).toBe(true);
    const second = await start();
    expect((await second.send('GET', '/_ping')).text).toBe('OK');
    await second.stop();
    expect(readdirSync(directory)).toEqual(['root']);
  });

  it('does not replace a file, a link, or the socket of a program that listens', async () => {
    const path = join(directory, 'sock');
    const refused = async (why: string): Promise<void> => {
      const service = await start({ unready: true });
      expect(await service.exited()).toMatchObject({ status: 1 });
      expect(service.stderr).toContain('ERR_ADDRESS_IN_USE');
      expect(service.stderr).toContain(why);
    };
    writeFileSync(path, 'mine');
    await refused('it is not a socket');
    expect(statSync(path).size).toBe(4);
    renameSync(path, join(directory, 'file'));
    symlinkSync(join(directory, 'file'), path);
    await refused('it is not a socket');
    renameSync(path, join(directory, 'link'));
    const fd = await call(native.listenUnix(path, 0o600, -1, 5));
    const server = createServer().listen({ fd });
    onTestFinished(() => void server.close());
    await refused('another program serves there');
    expect(readdirSync(directory).sort()).toEqual(['file', 'link', 'sock']);
  });

  it('is not removed when another socket has replaced it', async () => {
    const service = await start();
    renameSync(service.socket, join(directory, 'moved'));
    writeFileSync(service.socket, 'mine');
    expect(await service.stop()).toEqual({ status: 0, signal: null });
    expect(statSync(service.socket).size).toBe(4);
  });

  it('needs a group that exists and a directory that exists', async () => {
    const service = await start({ unready: true, args: ['--group', 'no-such-group'] });
    await service.exited();
    expect(service.stderr).toContain('ERR_USER_NOT_FOUND: the group "no-such-group" does not exist');
    const other = await start({ unready: true, args: ['--host', `unix://${directory}/none/sock`] });
    await other.exited();
    expect(other.stderr).toContain(`the directory ${directory}/none of the socket`);
  });
});

describe('its end', () => {
  it('finishes running requests, refuses new ones, closes idle connections, and leaves no file', async () => {
    const service = await start();
    const { answer, finish } = await halfLoad(service);
    const silent = await service.connect();
    const idle = await service.connect();
    idle.write('GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(idle, 'data');
    service.child.kill('SIGTERM');
    await service.logged('stopping');
    expect(await received(idle)).toBe('');
    // This connection was accepted before; its request comes afterwards.
    silent.write('GET /images/json HTTP/1.1\r\nHost: x\r\n\r\n');
    const refusal = await received(silent);
    expect(refusal).toMatch(/^HTTP\/1\.1 503 /);
    expect(refusal).toMatch(/^Connection: close\r$/m);
    expect(refusal).toContain('is stopping');
    await expect(service.connect()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    finish();
    expect(await answer).toMatchObject({ status: 200 });
    expect(await service.exited()).toEqual({ status: 0, signal: null });
    expect(readdirSync(directory)).toEqual(['root']);
    expect(await new LayerstackCli(service.root).run('images', '-q')).not.toBe('');
  });

  it('aborts requests that take too long, and leaves the store as it was', async () => {
    const service = await start({ args: ['--shutdown-timeout', '1'] });
    const { answer } = await halfLoad(service);
    expect(await service.stop()).toEqual({ status: 0, signal: null });
    // Its status was sent before, so that its client sees progress: the error is the last line.
    expect((await answer).text).toMatch(/"errorDetail":\{.*"message":"[^"]*abort/);
    await service.logged('aborting the requests that still run', { requests: 1 });
    expect(readdirSync(join(service.root, 'overlay2'))).toEqual(['l']);
    expect(readdirSync(join(service.root, 'layerstack/sessions'))).toEqual([]);
  });

  it('comes at once with the second signal', async () => {
    const service = await start({ args: ['--shutdown-timeout', '600'] });
    await halfLoad(service);
    service.child.kill('SIGTERM');
    await service.logged('stopping');
    expect(await service.stop()).toEqual({ status: null, signal: 'SIGTERM' });
  });

  it('does not wait for readers of events', async () => {
    const service = await start({ args: ['--shutdown-timeout', '600'] });
    const events = await service.open('GET', '/events');
    events.on('error', () => undefined).resume();
    expect(await service.stop()).toEqual({ status: 0, signal: null });
  });

  it('leaves the mounts of its users in place, and its successor has them', async () => {
    const first = await start();
    expect((await first.send('POST', '/images/load', ARCHIVE)).status).toBe(200);
    const cli = new LayerstackCli(first.root);
    const id = await cli.run('create', '--name', 'build', 't/a:1');
    const mounted = await first.send('POST', '/layerstack/v1/containers/build/mount');
    expect(mounted.status).toBe(200);
    await first.stop();
    const [path] = mountsBelow(directory);
    expect(path).toMatch(/\/merged$/);
    const second = await start();
    expect((await second.send('GET', '/metrics')).text).toContain('layerstack_mounts 1\n');
    expect((await second.send('GET', `/containers/${id}/json`)).status).toBe(200);
    expect((await second.send('POST', '/layerstack/v1/containers/build/unmount')).status).toBe(200);
    expect(mountsBelow(directory)).toEqual([]);
  });
});

describe('its log', () => {
  it('has a line for each request with its id, and for writes the process of the client', async () => {
    const service = await start();
    const listed = await service.send('GET', '/v1.41/images/json?filters=%7B%7D');
    expect(listed.headers['x-request-id']).toMatch(/^[0-9a-f]{12}$/);
    const read = await service.logged('request', { id: listed.headers['x-request-id'] });
    expect(read).toMatchObject({ level: 'info', method: 'GET', path: '/images/json', status: 200 });
    expect(Object.keys(read)).not.toContain('pid');
    expect([read['sent'], read['received'], read['durationMs']].every((value) => Number(value) > 0)).toBe(
      true,
    );
    const { headers } = await service.send('POST', '/images/load', ARCHIVE);
    expect(await service.logged('request', { id: headers['x-request-id'] })).toMatchObject({
      pid: process.pid,
      uid: process.getuid?.(),
      gid: process.getgid?.(),
    });
    const missing = await service.send('DELETE', '/images/none:1');
    expect(await service.logged('request', { id: missing.headers['x-request-id'] })).toMatchObject({
      status: 404,
      error: expect.stringContaining('none') as string,
    });
  });

  it('has no secrets: neither credentials nor queries', async () => {
    const service = await start();
    const secret = Buffer.from(JSON.stringify({ username: 'u', password: 'geheim' })).toString('base64url');
    await service.send('POST', '/auth', Buffer.from('{"password":"geheim"}'), {
      'Content-Type': 'application/json',
    });
    await service.send('GET', '/nothing?password=geheim', undefined, { 'X-Registry-Auth': secret });
    await service.send('POST', '/images/create?fromSrc=http://u:geheim@x', undefined, {
      'X-Registry-Auth': secret,
    });
    await service.logged('request', { path: '/nothing' });
    await service.logged('request', { path: '/images/create' });
    await service.stop();
    expect(JSON.stringify(service.log)).not.toMatch(new RegExp(`geheim|${secret}`));
  });

  it('changes its level and its file at SIGHUP, and keeps its settings if the new ones are wrong', async () => {
    const [config, file] = [join(directory, 'serve.json'), join(directory, 'log')];
    writeFileSync(config, '{"logLevel":"info"}');
    const service = await start({
      args: ['--config', config, '--log-file', file],
      logLevel: null,
      unready: true,
    });
    const logged = async (text: string): Promise<void> => {
      while (!existsSync(file) || !readFileSync(file, 'utf8').includes(text)) await sleep(20);
    };
    await logged('"serving"');
    await service.send('GET', '/_ping');
    renameSync(file, `${file}.1`);
    writeFileSync(config, '{"logLevel":"debug"}');
    service.child.kill('SIGHUP');
    await logged('"settings read again"');
    await service.send('GET', '/_ping');
    await logged('"path":"/_ping"');
    expect(readFileSync(`${file}.1`, 'utf8')).not.toContain('/_ping');
    writeFileSync(config, '{"logLevel":"debug","lgoLevel":"warn"}');
    service.child.kill('SIGHUP');
    await logged('it may have logLevel, maxConnections');
    expect((await service.send('GET', '/_ping')).text).toBe('OK');
  });

  it('starts with the serve.json of docs/service.md, which names every setting with its default', async () => {
    const page = readFileSync(new URL('../../docs/service.md', import.meta.url), 'utf8');
    const example = /```json\n(\{\s+"logLevel"[^`]*)```/.exec(page)?.[1] ?? '';
    const settings = JSON.parse(example) as Record<string, unknown>;
    expect(Object.keys(settings)).toEqual(Object.keys(DEFAULT_SETTINGS));
    for (const [key, value] of Object.entries(DEFAULT_SETTINGS)) {
      expect(settings[key], key).not.toBe(value);
      expect(page).toMatch(new RegExp(`^\\| \`${key}\` +\\| \`${value}\` +\\| `, 'm'));
    }
    const config = join(directory, 'serve.json');
    writeFileSync(config, example);
    const service = await start({ args: ['--config', config], logLevel: null, unready: true });
    while ((await service.send('GET', '/_ping').catch(() => undefined))?.text !== 'OK') await sleep(20);
    await service.stop();
    expect(service.output).not.toContain('"serving"');
    // The level shows which setting is in force: the option overrides the file.
    const louder = await start({ args: ['--config', config], logLevel: 'info' });
    louder.child.kill('SIGHUP');
    while (!louder.output.includes('"settings read again"')) await sleep(20);
    const line = louder.output.split('\n').find((each) => each.includes('"settings read again"')) ?? '';
    expect(JSON.parse(line)).toMatchObject({ ...settings, logLevel: 'info' });
  });

  it('is text on request', async () => {
    const service = await start({ args: ['--log-format', 'text'], unready: true });
    while (!existsSync(service.socket)) await sleep(20);
    await service.send('GET', '/nothing');
    await service.stop();
    expect(service.output).toMatch(/^\S+Z INFO {2}serving version=/m);
    expect(service.output).toMatch(
      /^\S+Z INFO {2}request id=[0-9a-f]{12} method=GET path=\/nothing status=404 /m,
    );
  });

  it.each([
    ['--shutdown-timeout', '-1'],
    ['--max-connections', '0'],
    ['--log-format', 'xml'],
    ['--log-level', 'loud'],
  ])('refuses %s %s', async (option, value) => {
    const ran = await new LayerstackCli(join(directory, 'root')).try(['serve', `${option}=${value}`]);
    expect(ran.status).toBe(2);
    expect(ran.stderr).toContain(option);
  });
});

describe('for systemd', () => {
  /** Passes these listening sockets as systemd does; the shell has the id that the service will have. */
  const activated = (names: string) => [
    ...[
      'sh',
      '-c',
      `LISTEN_PID=$$ LISTEN_FDS=${names.split(':').length} LISTEN_FDNAMES=${names} exec "$0" "$@"`,
    ],
  ];

  async function listening(path: string): Promise<number> {
    const fd = await call(native.listenUnix(path, 0o660, -1, 16));
    onTestFinished(() => closeSync(fd));
    return fd;
  }

  it('answers on the sockets that it is passed, and leaves their files', async () => {
    const [one, two] = [join(directory, 'sock'), join(directory, 'two')];
    const service = await start({
      args: ['--host', 'fd://'],
      under: activated('a:b'),
      descriptors: [await listening(one), await listening(two)],
    });
    expect(await service.logged('serving')).toMatchObject({ hosts: 'fd://a fd://b' });
    expect((await service.send('GET', '/_ping')).text).toBe('OK');
    expect((await run('curl', ['-s', '--unix-socket', two, 'http://x/_ping'])).stdout).toBe('OK');
    await service.send('POST', '/images/load', ARCHIVE);
    expect(await service.logged('request', { path: '/images/load' })).toMatchObject({ pid: process.pid });
    await service.stop();
    expect(readdirSync(directory).sort()).toEqual(['root', 'sock', 'two']);
  });

  it('uses these sockets without an option, and one of them by its name', async () => {
    const [one, two] = [join(directory, 'sock'), join(directory, 'two')];
    const descriptors = [await listening(one), await listening(two)];
    const all = await start({ under: activated('a:b'), descriptors, hostless: true });
    expect(await all.logged('serving')).toMatchObject({ hosts: 'fd://a fd://b' });
    await all.stop();
    const second = await start({ args: ['--host', 'fd://b'], under: activated('a:b'), descriptors });
    expect(await second.logged('serving')).toMatchObject({ hosts: 'fd://b' });
    await second.stop();
    const none = await start({
      args: ['--host', 'fd://c'],
      under: activated('a:b'),
      descriptors,
      unready: true,
    });
    expect(await none.exited()).toMatchObject({ status: 1 });
    expect(none.stderr).toContain('systemd passed only a, b');
  });

  it('refuses descriptors that are not listening sockets, and sockets that other machines reach', async () => {
    const file = openSync('/dev/null', 'r');
    onTestFinished(() => closeSync(file));
    const service = await start({
      args: ['--host', 'fd://'],
      under: activated('a'),
      descriptors: [file],
      unready: true,
    });
    await service.exited();
    expect(service.stderr).toContain('descriptor 3 (a) is not a listening stream socket');
    const server = createServer().listen(0, '0.0.0.0');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { fd } = (server as unknown as { readonly _handle: { readonly fd: number } })._handle;
    const open = await start({
      args: ['--host', 'fd://'],
      under: activated('a'),
      descriptors: [fd],
      unready: true,
    });
    await open.exited();
    expect(open.stderr).toContain('descriptor 3 (a) is open to other machines');
  });

  it('says when it is ready, alive, reading its settings and stopping', async () => {
    await using manager = await NotifySocket.listen(join(directory, 'notify'));
    const service = await start({ env: { NOTIFY_SOCKET: manager.address, WATCHDOG_USEC: '200000' } });
    const ready = await manager.received('READY=1');
    expect(ready.split('\n')).toContain(`STATUS=Serving on unix://${service.socket}`);
    expect(ready.split('\n')).toContain(`MAINPID=${service.pid}`);
    await manager.received('WATCHDOG=1');
    service.child.kill('SIGHUP');
    expect(await manager.received('RELOADING=1')).toMatch(/\nMONOTONIC_USEC=\d+$/);
    while (manager.messages.filter((text) => text.startsWith('READY=1')).length < 2) await sleep(20);
    await service.stop();
    await manager.received('STOPPING=1');
  });

  it('does not report that it is ready when it reads its settings while it stops', async () => {
    await using manager = await NotifySocket.listen(join(directory, 'notify'));
    const service = await start({ env: { NOTIFY_SOCKET: manager.address } });
    await manager.received('READY=1');
    const { answer, finish } = await halfLoad(service);
    service.child.kill('SIGTERM');
    await manager.received('STOPPING=1');
    service.child.kill('SIGHUP');
    await sleep(100);
    finish();
    expect(await answer).toMatchObject({ status: 200 });
    expect(await service.exited()).toEqual({ status: 0, signal: null });
    expect(manager.messages.at(-1)).toMatch(/^STOPPING=1/);
  });

  it('sends no keep-alive message while its event loop hangs', async () => {
    await using manager = await NotifySocket.listen(`@${directory}/notify`);
    const service = await start({ env: { NOTIFY_SOCKET: manager.address, WATCHDOG_USEC: '100000' } });
    await manager.received('WATCHDOG=1');
    service.child.kill('SIGSTOP');
    await sleep(200);
    const count = manager.messages.length;
    await sleep(500);
    expect(manager.messages.length).toBe(count);
    service.child.kill('SIGCONT');
    while (manager.messages.length === count) await sleep(20);
  });

  it('does not notify in the name of another process, and works without its manager', async () => {
    await using manager = await NotifySocket.listen(join(directory, 'notify'));
    const env = { NOTIFY_SOCKET: manager.address, WATCHDOG_USEC: '100000', WATCHDOG_PID: '1' };
    const service = await start({ env });
    await manager.received('READY=1');
    await sleep(300);
    expect(manager.messages.join()).not.toContain('WATCHDOG');
    await service.stop();
    const deaf = await start({ env: { NOTIFY_SOCKET: join(directory, 'nobody') } });
    await deaf.logged('cannot notify the service manager');
    expect((await deaf.send('GET', '/_ping')).text).toBe('OK');
  });
});

describe('for monitoring', () => {
  it('has metrics that Prometheus reads, and their number is bounded', async () => {
    const service = await start();
    await service.send('POST', '/images/load', ARCHIVE);
    for (let number = 0; number < 50; number++) await service.send('GET', `/images/none-${number}/json`);
    for (let number = 0; number < 50; number++) await service.send('GET', `/nothing/${number}`);
    const { headers, text } = await service.send('GET', '/metrics');
    expect(headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    for (const line of text.trimEnd().split('\n'))
      expect(line).toMatch(/^(?:# (?:HELP|TYPE) \w+ .+|\w+(?:\{\w+="[^"]*"(?:,\w+="[^"]*")*\})? [-+.\de]+)$/);
    expect(text).toContain(
      'layerstack_http_requests_total{route="/images/{name...}/json",method="GET",status="404"} 50\n',
    );
    expect(text).toContain('layerstack_http_requests_total{route="none",method="GET",status="404"} 50\n');
    expect(text).toContain(
      'layerstack_operation_phase_duration_seconds_count{operation="load",phase="total"} 1\n',
    );
    for (const phase of ['read', 'stage', 'publish', 'name'])
      expect(text).toContain(
        `layerstack_operation_phase_duration_seconds_count{operation="load",phase="${phase}"} 1\n`,
      );
    for (const [name, value] of Object.entries({ images: 1, layers: 1, containers: 0, mounts: 0 }))
      expect(text).toContain(`layerstack_${name} ${value}\n`);
    expect(text).toContain('layerstack_layers_bytes 6\n');
    expect(text).toMatch(/^layerstack_event_loop_delay_seconds\{percentile="99"\} [\d.e-]+$/m);
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect(text).toContain(
      `layerstack_build_info{version="${version}",node="${process.version}",arch="${process.arch}"} 1\n`,
    );
    expect(text.length).toBeLessThan(100_000);
  });

  it('is healthy while its root can be written', async () => {
    const service = await start();
    expect(await service.send('GET', '/healthz')).toMatchObject({ status: 200, text: '{"store":"ok"}\n' });
    renameSync(service.root, join(directory, 'elsewhere'));
    await sleep(1100);
    const sick = await service.send('GET', '/healthz');
    expect(sick.status).toBe(503);
    expect(sick.text).toContain('ENOENT');
    renameSync(join(directory, 'elsewhere'), service.root);
    await sleep(1100);
    expect((await service.send('GET', '/healthz')).status).toBe(200);
    expect(readdirSync(join(service.root, 'layerstack')).filter((name) => name.startsWith('health'))).toEqual(
      [],
    );
  });
});

describe('with many connections', () => {
  it('keeps a thousand idle ones in a few megabytes, and frees them', async () => {
    const service = await start();
    await service.send('GET', '/_ping');
    const [fds, memory] = [service.descriptors(), service.memory('VmRSS')];
    // The connection of the first request may still be open.
    const few = 5;
    const idle: Socket[] = [];
    for (let batch = 0; batch < 10; batch++)
      idle.push(...(await Promise.all(Array.from({ length: 100 }, () => service.connect()))));
    expect((await service.send('GET', '/_ping')).text).toBe('OK');
    expect(service.descriptors()).toBeGreaterThan(fds + 1000 - few);
    expect(service.memory('VmRSS') - memory).toBeLessThan(60e6);
    for (const socket of idle) socket.destroy();
    while (service.descriptors() > fds + few) await sleep(50);
    expect((await service.send('GET', '/metrics')).text).toContain('layerstack_http_connections 1\n');
  });

  it('closes the longest idle ones beyond the limit, counts them, and continues', async () => {
    const service = await start({ args: ['--max-connections', '10'] });
    const held = await Promise.all(Array.from({ length: 9 }, () => service.connect()));
    await service.send('GET', '/_ping');
    const beyond = await Promise.all(Array.from({ length: 5 }, () => service.connect()));
    await Promise.all(held.slice(0, 4).map((socket) => received(socket)));
    for (const socket of [...held, ...beyond]) socket.destroy();
    await expect
      .poll(async () => (await service.send('GET', '/_ping').catch(() => undefined))?.text)
      .toBe('OK');
    expect((await service.send('GET', '/metrics')).text).toMatch(
      /^layerstack_http_connections_refused_total [4-9]$/m,
    );
  });
});
