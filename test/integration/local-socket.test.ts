/** The sockets of native/sys/local_socket, as the kernel sees them. */
import { once } from 'node:events';
import { chmodSync, closeSync, existsSync, fstatSync, lstatSync, openSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { call, native } from '../../src/system/native.ts';
import { NotifySocket } from '../support/notify-socket.ts';
import { scratch } from '../support/overlay.ts';
import { run } from '../support/process.ts';

const NOGROUP = 65534;

test.each([
  [0o000, 0o660],
  [0o077, 0o660],
  [0o022, 0o600],
])('with umask %o a socket of mode %o has that mode and its group', async (umask, mode) => {
  const path = join(scratch(), 'sock');
  const before = process.umask(umask);
  const fd = await call(native.listenUnix(path, mode, NOGROUP, 16)).finally(() => process.umask(before));
  onTestFinished(() => closeSync(fd));
  const { gid, uid, mode: found } = lstatSync(path);
  expect([(found & 0o7777).toString(8), uid, gid]).toEqual([mode.toString(8), process.getuid?.(), NOGROUP]);
  expect(native.describeSocket(fd)).toEqual({
    family: 'unix',
    stream: true,
    listening: true,
    loopback: false,
  });
});

test('a user outside the group cannot connect, and a member of the group can', async () => {
  const directory = scratch();
  chmodSync(directory, 0o755);
  const path = join(directory, 'sock');
  const fd = await call(native.listenUnix(path, 0o660, NOGROUP, 16));
  onTestFinished(() => closeSync(fd));
  const tryAs = (gid: string) =>
    run('setpriv', [
      ...['--reuid', '65534', '--regid', gid, '--clear-groups', '/usr/bin/python3', '-c'],
      `import socket; socket.socket(socket.AF_UNIX).connect(${JSON.stringify(path)})`,
    ]);
  expect((await tryAs('1')).stderr).toContain('Permission denied');
  expect((await tryAs(String(NOGROUP))).status).toBe(0);
});

test('an existing entry at the path stays, and a failure leaves nothing', async () => {
  const directory = scratch();
  const file = join(directory, 'file');
  writeFileSync(file, 'mine');
  await expect(call(native.listenUnix(file, 0o660, -1, 16))).rejects.toMatchObject({
    code: 'EADDRINUSE',
    syscall: 'bind',
  });
  expect(lstatSync(file).isFile()).toBe(true);
  const long = join(directory, 'x'.repeat(108));
  await expect(call(native.listenUnix(long, 0o660, -1, 16))).rejects.toMatchObject({ code: 'ENAMETOOLONG' });
  await expect(call(native.listenUnix('sock', 0o660, -1, 16))).rejects.toMatchObject({ code: 'EINVAL' });
  expect(existsSync(long)).toBe(false);
});

test('descriptors are told apart', async () => {
  const file = openSync('/dev/null', 'r');
  onTestFinished(() => closeSync(file));
  expect(native.describeSocket(file)).toBeNull();
  expect(() => native.describeSocket(9999)).toThrow(
    expect.objectContaining({ code: 'EBADF', syscall: 'getsockopt' }) as Error,
  );
  for (const [address, loopback] of [
    ['127.0.0.1', true],
    ['::1', true],
    ['0.0.0.0', false],
  ] as const) {
    const server = createServer().listen(0, address);
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { fd } = (server as unknown as { readonly _handle: { readonly fd: number } })._handle;
    expect(native.describeSocket(fd)).toMatchObject({ stream: true, listening: true, loopback });
  }
});

test('a connection names its peer process; other descriptors do not', async () => {
  const path = join(scratch(), 'sock');
  const server = createServer().listen(path);
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const client = connect(path);
  const [accepted] = (await once(server, 'connection')) as [
    Socket & { readonly _handle: { readonly fd: number } },
  ];
  onTestFinished(() => void client.destroy());
  expect(native.peerCredentials(accepted._handle.fd)).toEqual({
    pid: process.pid,
    uid: process.getuid?.(),
    gid: process.getgid?.(),
  });
  const file = openSync('/dev/null', 'r');
  onTestFinished(() => closeSync(file));
  expect(fstatSync(file).isCharacterDevice()).toBe(true);
  expect(native.peerCredentials(file)).toBeNull();
  expect(native.peerCredentials(9999)).toBeNull();
});

test.each([
  ['a path', (directory: string) => join(directory, 'notify')],
  ['an abstract name', (directory: string) => `@${directory}/notify`],
])('a datagram reaches %s', async (_, address) => {
  await using receiver = await NotifySocket.listen(address(scratch()));
  expect(native.sendDatagram(receiver.address, 'READY=1\nSTATUS=ü')).toBe(true);
  expect(await receiver.received('READY')).toBe('READY=1\nSTATUS=ü');
});

test('a datagram without a receiver is an error, and a full queue does not block', async () => {
  const directory = scratch();
  expect(() => native.sendDatagram(join(directory, 'none'), 'x')).toThrow(
    expect.objectContaining({ code: 'ENOENT', syscall: 'sendto' }) as Error,
  );
  expect(() => native.sendDatagram('@'.padEnd(200, 'x'), 'x')).toThrow(
    expect.objectContaining({ code: 'ENAMETOOLONG' }) as Error,
  );
});
