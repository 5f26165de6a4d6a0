/**
 * Opens the sockets that the service listens on. A unix socket has its mode and group before anyone can connect
 * (native/sys/local_socket). `PATH.lock` is locked by whoever serves at PATH, so that of two that start at once one is
 * refused, and what a killed one left is taken away by nobody but its successor.
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

/** root and the group: whoever connects can do what root can. */
const SOCKET_MODE = 0o660;
const LOCK_MODE = 0o600;
/** Connections that wait for the event loop; the kernel's own bound (net.core.somaxconn) is 4096. */
export const BACKLOG = 4096;
const PROBE_MS = 2000;

/** A socket that is ready to be listened on. */
export interface OpenedSocket {
  /** For log lines. */
  readonly name: string;
  /** Its clients have credentials that the kernel vouches for. */
  readonly local: boolean;
  /** For `net.Server.listen`; a descriptor among them belongs to the server from then on. */
  readonly options: ListenOptions & { readonly fd?: number };
  /** Once its server is closed: takes away what was made in the file system. Idempotent. */
  release(): Promise<void>;
}

export interface ListenSettings {
  /** Of unix sockets that are made here. Default: the process's. */
  readonly gid?: number | undefined;
  /** What systemd passed; `fd://` hosts mean these. */
  readonly inherited: readonly InheritedSocket[];
}

/**
 * Opens all `hosts`, or none.
 * @throws {@link LayerstackError} ERR_ADDRESS_IN_USE where somebody serves there, or the path is no socket;
 *   ERR_INVALID_ARGUMENT for an `fd://` without sockets of systemd, or a directory that is missing.
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

/** Gives back sockets that no server has taken. */
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
    if (isSystemError(error, 'EADDRINUSE')) throw inUse(path, 'another program has just put something there');
    throw error;
  }
}

/** Takes `PATH.lock`; whoever had it may have removed it meanwhile, and then it locks nothing. */
async function lockPath(path: string): Promise<FlockHandle> {
  const file = `${path}.lock`;
  for (;;) {
    const lock = await holdFlock(file, true, { create: LOCK_MODE }).catch((error: unknown) => {
      if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) throw error;
      throw new LayerstackError(
        'ERR_INVALID_ARGUMENT',
        `there is no directory ${dirname(path)} for the socket ${path}: make it, or name another --host`,
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

/** Takes away a socket that nobody listens on. Nothing else: it would be somebody's file. */
async function clearPath(path: string): Promise<void> {
  const found = await unlessMissing(lstat(path));
  if (!found) return;
  if (!found.isSocket()) throw inUse(path, 'it is no socket: remove it, or name another --host');
  if (await isServed(path)) throw inUse(path, 'another program serves there: stop it first');
  await unlessMissing(unlink(path));
}

/** Whether somebody listens; in doubt (no answer, no access) somebody does. */
function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const settle = (served: boolean): void => {
      socket.destroy();
      resolve(served);
    };
    socket.setTimeout(PROBE_MS, () => settle(true));
    socket.once('connect', () => settle(true));
    socket.once('error', (error) => settle(!isSystemError(error, 'ECONNREFUSED', 'ENOENT')));
  });
}

function inUse(path: string, why: string): LayerstackError {
  return new LayerstackError('ERR_ADDRESS_IN_USE', `cannot listen at ${path}: ${why}`, { path });
}
