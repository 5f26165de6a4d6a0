/**
 * Sockets that systemd opened for this process (sd_listen_fds(3)): `LISTEN_FDS` descriptors from 3 on, for
 * the process `LISTEN_PID`, named in `LISTEN_FDNAMES`. systemd creates them with the mode and group of the
 * .socket unit, and removes them.
 */
import { LayerstackError } from '../../core/errors.ts';
import { native } from '../../system/native.ts';

export interface InheritedSocket {
  readonly fd: number;
  /** FileDescriptorName of its .socket unit. */
  readonly name: string;
  readonly family: 'unix' | 'inet' | 'inet6';
}

const FIRST_FD = 3;
const MAX_SOCKETS = 64;

/**
 * Returns the sockets passed to this process, or none if it was started otherwise. Deletes the variables, so
 * that a child process does not use these sockets too. A second call finds none.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT if a descriptor is not a listening stream socket, or
 *   if other machines reach it.
 */
export function takeInheritedSockets(env: NodeJS.ProcessEnv, pid = process.pid): InheritedSocket[] {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) Reflect.deleteProperty(env, name);
  if (LISTEN_PID !== String(pid) || LISTEN_FDS === undefined) return [];
  const count = /^\d{1,9}$/.test(LISTEN_FDS) ? Number(LISTEN_FDS) : -1;
  if (count < 0 || count > MAX_SOCKETS)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `LISTEN_FDS=${LISTEN_FDS}: expected a number up to ${MAX_SOCKETS}`,
      { limit: MAX_SOCKETS },
    );
  const names = LISTEN_FDNAMES?.split(':') ?? [];
  return Array.from({ length: count }, (_, index) =>
    describe(FIRST_FD + index, names[index] ?? `LISTEN_FD_${FIRST_FD + index}`),
  );
}

function describe(fd: number, name: string): InheritedSocket {
  const socket = native.describeSocket(fd);
  if (socket?.stream !== true || !socket.listening || socket.family === 'other')
    throw refused(
      fd,
      name,
      'is not a listening stream socket: use ListenStream= and Accept=no in the .socket unit',
    );
  if (socket.family !== 'unix' && !socket.loopback)
    throw refused(
      fd,
      name,
      'is open to other machines, and the API gives each of its clients root on this one: use ListenStream=/run/layerstack.sock',
    );
  return { fd, name, family: socket.family };
}

function refused(fd: number, name: string, why: string): LayerstackError {
  return new LayerstackError('ERR_INVALID_ARGUMENT', `descriptor ${fd} (${name}) ${why}`);
}
