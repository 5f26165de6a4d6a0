/**
 * Sockets that systemd opened for us (sd_listen_fds(3)): `LISTEN_FDS` many from descriptor 3 on, for the process
 * `LISTEN_PID`, named in `LISTEN_FDNAMES`. systemd made them, with the mode and group of the .socket unit, and removes them.
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
 * The sockets passed to this process, none where it was started otherwise. The variables are deleted, so that no child
 * process takes the sockets for its own; a second call finds none.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where a descriptor is no listening stream socket, or one that
 *   other machines reach.
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
      'is no listening stream socket: use ListenStream= and Accept=no in the .socket unit',
    );
  if (socket.family !== 'unix' && !socket.loopback)
    throw refused(
      fd,
      name,
      'is open to other machines, and the API makes whoever reaches it root on this one: use ListenStream=/run/layerstack.sock',
    );
  return { fd, name, family: socket.family };
}

function refused(fd: number, name: string, why: string): LayerstackError {
  return new LayerstackError('ERR_INVALID_ARGUMENT', `descriptor ${fd} (${name}) ${why}`);
}
