/**
 * Requests that a client sends on one connection without waiting for their answers (pipelining). Node hands out all of them at
 * once, however many there are, and tells nobody when the client of one that waits for its place is gone. Here they are
 * worked on one after the other, as in dockerd, so that what a client can have done at once is bounded by its connections.
 */
import type { Socket } from 'node:net';
import type { ServerResponse } from 'node:http';

/** Requests of one connection, the one that is being answered included; no client of docker sends a second one. */
const MAX_REQUESTS = 16;

export class Pipelines {
  /** Answers of a connection that are not sent to their end, in their order. */
  readonly #lines = new WeakMap<Socket, ServerResponse[]>();

  /**
   * Waits for the answers before this one on its connection. False where the connection is gone: then nobody waits for this
   * one, and it has been told that it is closed. A connection with too many is ended.
   */
  async turn(socket: Socket, response: ServerResponse): Promise<boolean> {
    const line = this.#lines.get(socket) ?? [];
    this.#lines.set(socket, line);
    const before = line.at(-1);
    line.push(response);
    response.once('close', () => line.splice(line.indexOf(response), 1));
    if (line.length > MAX_REQUESTS) socket.destroy();
    if (before) await new Promise((resolve) => before.once('close', resolve));
    if (!socket.destroyed) return true;
    // Node says it only of the answer that has the connection.
    if (response.socket === null) response.emit('close');
    return false;
  }

  /** Whether something is being answered on the connection, or waits for it. */
  isBusy(socket: Socket): boolean {
    return (this.#lines.get(socket)?.length ?? 0) > 0;
  }

  /** Whether bytes put on the connection now would be part of an answer. */
  isAnswering(socket: Socket): boolean {
    return this.#lines.get(socket)?.[0]?.headersSent === true;
  }
}
