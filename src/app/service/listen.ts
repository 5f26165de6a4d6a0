/**
 * Opens the sockets that the service listens on. A unix socket has its mode and group before anyone can
 * connect (native/sys/local_socket). A service at PATH holds a lock on `PATH.lock`. So if two services start
 * at once, one is refused, and only the successor of a killed service removes its socket.
 */
import { closeSync, fstatSync } from 'node:fs';
import { lstat, rm, stat, unlink } from 'node:fs/promises';
import { connect, type ListenOptions } from 'node:net';
import { dirname } from 'node:path';
import { isSystemError, LayerstackError, unlessMissing } from '../../core/errors.ts';
import { holdFlock, type FlockHandle } from '../../system/lock.ts';
import { call, native } from '../../system/native.ts';
import type { InheritedSocket } from './activation.ts';
import { formatHost, type Host } from './hosts.ts';

/** For root and the group: each client has the power of root. */
const SOCKET_MODE = 0o660;
const LOCK_MODE = 0o600;
/** Connections that wait for the event loop. The kernel's own bound (net.core.somaxconn) is 4096. */
export const BACKLOG = 4096;
const PROBE_MS = 2000;

/** An opened socket that a server can listen on. */
export interface OpenedSocket {
  /** For log lines. */
  readonly name: string;
  /** The kernel vouches for the credentials of its clients. */
  readonly local: boolean;
  /** For `net.Server.listen`. A descriptor among them then belongs to the server. */
  readonly options: ListenOptions & { readonly fd?: number };
  /** Removes what was created in the file system, after its server is closed. Idempotent. */
  release(): Promise<void>;
}

export interface ListenSettings {
  /** Group of the unix sockets that are created here. Default: the process's. */
  readonly gid?: number | undefined;
  /** Sockets that systemd passed; `fd://` hosts mean these. */
  readonly inherited: readonly InheritedSocket[];
}

/**
 * Opens all `hosts`, or none.
 * @throws {@link LayerstackError} ERR_ADDRESS_IN_USE if another program serves there, or if the path is not a
 *   socket; ERR_INVALID_ARGUMENT for an `fd://` without sockets of systemd, or for a missing directory.
 */
export async function openSockets(
  hosts: readonly Host[],
  settings: ListenSettings,
): Promise<readonly OpenedSocket[]> {
  const opened: OpenedSocket[] = [];
  try {
    for (const host of hosts) {
      if (host.kind === 'fd') opened.push(...inheritedSockets(host, settings.inherited));
      else if (host.kind === 'unix') opened.push(await openUnix(host.path, settings.gid ?? -1));
      else opened.push(tcpSocket(host));
    }
    return opened;
  } catch (error) {
    await closeSockets(opened);
    throw error;
  }
}

/** Closes sockets that no server has taken over. */
export async function closeSockets(sockets: readonly OpenedSocket[]): Promise<void> {
  for (const { options, release } of sockets) {
    if (options.fd !== undefined) closeSync(options.fd);
    await release();
  }
}

const nothing = (): Promise<void> => Promise.resolve();

function tcpSocket(host: Host & { readonly kind: 'tcp' }): OpenedSocket {
  return {
    name: formatHost(host),
    local: false,
    options: { host: host.address, port: host.port },
    release: nothing,
  };
}

function inheritedSockets(
  host: Host & { readonly kind: 'fd' },
  all: readonly InheritedSocket[],
): OpenedSocket[] {
  const found = all.filter(({ name, fd }) => [undefined, name, String(fd)].includes(host.name));
  if (found.length === 0)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `--host ${formatHost(host)}: systemd passed ${all.length === 0 ? 'no sockets' : `only ${all.map(({ name }) => name).join(', ')}`}; ` +
        'start it by its .socket unit (systemctl start layerstack.socket), or name another --host',
    );
  return found.map(({ fd, name, family }) => ({
    name: `fd://${name}`,
    local: family === 'unix',
    options: { fd },
    release: nothing,
  }));
}

async function openUnix(path: string, gid: number): Promise<OpenedSocket> {
  const lock = await lockPath(path);
  try {
    await clearPath(path);
    const fd = await listenUnix(path, gid);
    const made = await unlessMissing(lstat(path, { bigint: true }));
    let released: Promise<void> | undefined;
    const release = async (): Promise<void> => {
      const now = await unlessMissing(lstat(path, { bigint: true }));
      if (now && made && now.ino === made.ino && now.dev === made.dev) await rm(path, { force: true });
      await unlockPath(path, lock);
    };
    return {
      name: `unix://${path}`,
      local: true,
      options: { fd },
      release: () => (released ??= release()),
    };
  } catch (error) {
    await unlockPath(path, lock);
    throw error;
  }
}

async function listenUnix(path: string, gid: number): Promise<number> {
  try {
    return await call(native.listenUnix(path, SOCKET_MODE, gid, BACKLOG));
  } catch (error) {
    if (isSystemError(error, 'EADDRINUSE'))
      throw inUse(path, 'another program has just created a file there');
    throw error;
  }
}

/**
 * Takes `PATH.lock`. Its previous holder may have removed the file meanwhile; a lock on a removed file
 * protects nothing.
 */
async function lockPath(path: string): Promise<FlockHandle> {
  const file = `${path}.lock`;
  for (;;) {
    const lock = await holdFlock(file, true, { create: LOCK_MODE }).catch((error: unknown) => {
      if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) throw error;
      throw new LayerstackError(
        'ERR_INVALID_ARGUMENT',
        `the directory ${dirname(path)} of the socket ${path} does not exist: create it, or name another --host`,
        { path, cause: error },
      );
    });
    if (lock === null) throw inUse(path, 'another layerstack serves there: stop it first');
    const [held, now] = [fstatSync(lock.fd), await unlessMissing(stat(file))];
    if (now && now.ino === held.ino && now.dev === held.dev) return lock;
    await lock.release();
  }
}

async function unlockPath(path: string, lock: FlockHandle): Promise<void> {
  await rm(`${path}.lock`, { force: true });
  await lock.release();
}

/** Removes a socket on which no process listens. Refuses anything else, which may be a user's file. */
async function clearPath(path: string): Promise<void> {
  const found = await unlessMissing(lstat(path));
  if (!found) return;
  if (!found.isSocket()) throw inUse(path, 'it is not a socket: remove it, or name another --host');
  if (await isServed(path)) throw inUse(path, 'another program serves there: stop it first');
  await unlessMissing(unlink(path));
}

/** Whether a program listens there. In doubt (no answer, no access) the answer is yes. */
function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const finish = (served: boolean): void => {
      socket.destroy();
      resolve(served);
    };
    socket.setTimeout(PROBE_MS, () => finish(true));
    socket.once('connect', () => finish(true));
    socket.once('error', (error) => finish(!isSystemError(error, 'ECONNREFUSED', 'ENOENT')));
  });
}

function inUse(path: string, why: string): LayerstackError {
  return new LayerstackError('ERR_ADDRESS_IN_USE', `cannot listen at ${path}: ${why}`, { path });
}
