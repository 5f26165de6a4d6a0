/**
 * What is known of each connection besides its bytes: who is at the other end, as the kernel says (SO_PEERCRED, taken when it
 * connects, since a client that is gone cannot be asked about), and what was counted for it already.
 */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { native, type PeerCredentials } from '../../system/native.ts';

interface Connection {
  readonly local: boolean;
  readonly peer: PeerCredentials | undefined;
  read: number;
  written: number;
}

/** Bytes of a request and of its answer, as they were on the wire. */
export interface Traffic {
  readonly received: number;
  readonly sent: number;
}

/** The connections of all servers of the service. */
export class Connections {
  readonly #known = new WeakMap<Socket, Connection>();
  #open = 0;
  #refused = 0;

  /** Remembers every connection that `server` accepts; `local`: over a unix socket. */
  track(server: Server, local: boolean): void {
    server.on('connection', (socket: Socket) => {
      this.#open++;
      socket.once('close', () => this.#open--);
      this.#known.set(socket, { local, peer: local ? peerOf(socket) : undefined, read: 0, written: 0 });
    });
    server.on('drop', () => this.#refused++);
  }

  /** How many are open. */
  get open(): number {
    return this.#open;
  }

  /** How many were closed at once, since there were too many. */
  get refused(): number {
    return this.#refused;
  }

  /** Whether the connection came over a unix socket. */
  isLocal(socket: Socket): boolean {
    return this.#known.get(socket)?.local === true;
  }

  /** Who is at the other end; undefined over TCP. */
  peer(socket: Socket): PeerCredentials | undefined {
    return this.#known.get(socket)?.peer;
  }

  /** What went over the connection since the last call for it. */
  traffic(socket: Socket): Traffic {
    const connection = this.#known.get(socket);
    if (!connection) return { received: 0, sent: 0 };
    const { bytesRead, bytesWritten } = socket;
    const traffic = { received: bytesRead - connection.read, sent: bytesWritten - connection.written };
    connection.read = bytesRead;
    connection.written = bytesWritten;
    return traffic;
  }
}

/** The descriptor is Node's own; there is no public way to it. */
function peerOf(socket: Socket): PeerCredentials | undefined {
  const { _handle: handle } = socket as Socket & { readonly _handle?: { readonly fd?: number } | null };
  const fd = handle?.fd;
  return typeof fd === 'number' && fd >= 0 ? (native.peerCredentials(fd) ?? undefined) : undefined;
}
