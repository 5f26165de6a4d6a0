/**
 * The facts about each connection besides its bytes: the process at the other end, the traffic that was
 * counted already, and whether a request is being answered on it. The kernel names the process (SO_PEERCRED)
 * when it connects, because a client that has disconnected cannot be identified. The number of connections
 * has a limit. Beyond it the service closes idle connections, the longest idle first, so that a client cannot
 * lock others out with connections that it does not use.
 */
import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { native, type PeerCredentials } from '../../system/native.ts';

interface Connection {
  readonly local: boolean;
  readonly peer: PeerCredentials | undefined;
  /** How many requests of the connection are being answered. */
  answers: number;
  read: number;
  written: number;
}

/** Bytes of a request and of its answer on the wire. */
export interface Traffic {
  readonly received: number;
  readonly sent: number;
}

/** The connections of one server. */
interface Room {
  readonly open: Set<Socket>;
  /** Connections on which no request is being answered, the longest idle first. */
  readonly idle: Set<Socket>;
  /** How many connections each process has. */
  readonly ofProcess: Map<number, number>;
}

/** The connections of all servers of the service. */
export class Connections {
  readonly #known = new WeakMap<Socket, Connection>();
  readonly #rooms: Room[] = [];
  #limit: number;
  #refused = 0;

  /**
   * @param limit - how many connections may be open at once on each server; one process may have three
   *   quarters of them
   */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Remembers every connection that `server` accepts. `local`: over a unix socket. */
  track(server: Server, local: boolean): void {
    const room: Room = { open: new Set(), idle: new Set(), ofProcess: new Map() };
    this.#rooms.push(room);
    server.on('connection', (socket: Socket) => this.#enter(room, socket, local));
    const follow = ({ socket }: { socket: Socket }, answer: ServerResponse): void => {
      this.#begin(room, socket);
      answer.once('close', () => this.#end(room, socket));
    };
    for (const event of ['request', 'checkContinue'] as const) server.on(event, follow);
    // An upgraded connection counts as in use until it closes.
    server.on('upgrade', ({ socket }) => this.#begin(room, socket));
  }

  #enter(room: Room, socket: Socket, local: boolean): void {
    const peer = local ? peerOf(socket) : undefined;
    const { ofProcess } = room;
    this.#known.set(socket, { local, peer, answers: 0, read: 0, written: 0 });
    room.open.add(socket);
    room.idle.add(socket);
    if (peer) ofProcess.set(peer.pid, (ofProcess.get(peer.pid) ?? 0) + 1);
    socket.once('close', () => this.#leave(room, socket));
    if (peer && (ofProcess.get(peer.pid) ?? 0) > this.#limit - Math.floor(this.#limit / 4))
      this.#closeIdle(room, peer.pid);
    this.#makeRoom(room);
  }

  #leave(room: Room, socket: Socket): void {
    if (!room.open.delete(socket)) return;
    room.idle.delete(socket);
    const peer = this.peer(socket);
    if (!peer) return;
    const left = (room.ofProcess.get(peer.pid) ?? 0) - 1;
    if (left > 0) room.ofProcess.set(peer.pid, left);
    else room.ofProcess.delete(peer.pid);
  }

  #begin(room: Room, socket: Socket): void {
    const connection = this.#known.get(socket);
    if (connection) connection.answers++;
    room.idle.delete(socket);
  }

  #end(room: Room, socket: Socket): void {
    const connection = this.#known.get(socket);
    // Added last: the set is ordered by idle time.
    if (connection && --connection.answers === 0 && room.open.has(socket)) room.idle.add(socket);
  }

  #makeRoom(room: Room): void {
    while (room.open.size > this.#limit && this.#closeIdle(room));
  }

  /**
   * Closes the longest idle connection, of one process or of all. If all others are in use, that is the
   * newest one.
   */
  #closeIdle(room: Room, pid?: number): boolean {
    for (const socket of room.idle) {
      if (pid !== undefined && this.peer(socket)?.pid !== pid) continue;
      this.#leave(room, socket);
      this.#refused++;
      socket.destroy();
      return true;
    }
    return false;
  }

  set limit(limit: number) {
    this.#limit = limit;
    for (const room of this.#rooms) this.#makeRoom(room);
  }

  /** How many connections are open. */
  get open(): number {
    return this.#rooms.reduce((sum, { open }) => sum + open.size, 0);
  }

  /** How many connections were closed because there were too many. */
  get refused(): number {
    return this.#refused;
  }

  /** Whether the connection came over a unix socket. */
  isLocal(socket: Socket): boolean {
    return this.#known.get(socket)?.local === true;
  }

  /** The credentials of the process at the other end; undefined over TCP. */
  peer(socket: Socket): PeerCredentials | undefined {
    return this.#known.get(socket)?.peer;
  }

  /** Bytes that went over the connection since the last call for it. */
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

/** Reads the descriptor from Node's internals, because no public API returns it. */
function peerOf(socket: Socket): PeerCredentials | undefined {
  const { _handle: handle } = socket as Socket & { readonly _handle?: { readonly fd?: number } | null };
  const fd = handle?.fd;
  return typeof fd === 'number' && fd >= 0 ? (native.peerCredentials(fd) ?? undefined) : undefined;
}
