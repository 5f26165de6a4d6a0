/**
 * Requests that a client sends on one connection without waiting for their answers (pipelining). Node emits
 * all of them at once, however many there are. It does not say when the client disconnects while a request
 * waits for its turn. This class handles them one after the other, as dockerd does, so that the number of a
 * client's concurrent requests is bounded by its connections.
 */
import type { Socket } from 'node:net';
import type { ServerResponse } from 'node:http';

/**
 * Requests of one connection, including the one that is being answered. docker's clients never send a second
 * one.
 */
const MAX_REQUESTS = 16;

export class Pipelines {
  /** Answers of a connection that are not completely sent yet, in their order. */
  readonly #lines = new WeakMap<Socket, ServerResponse[]>();

  /**
   * Waits for the earlier answers of the connection. Returns false if the connection is closed. Then the
   * client does not wait for this answer, which has emitted 'close'. Closes a connection with too many
   * requests.
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
    // Node emits it only for the answer that has the connection.
    if (response.socket === null) response.emit('close');
    return false;
  }

  /** Whether a request of the connection is being answered, or waits for its turn. */
  isBusy(socket: Socket): boolean {
    return (this.#lines.get(socket)?.length ?? 0) > 0;
  }

  /** Whether bytes that are written to the connection now would become part of an answer. */
  isAnswering(socket: Socket): boolean {
    return this.#lines.get(socket)?.[0]?.headersSent === true;
  }
}
