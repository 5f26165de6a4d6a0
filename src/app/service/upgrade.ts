/**
 * Connections that switch from HTTP/1.1 to another protocol: the streams of a container, or gRPC. Node passes
 * the connection of every request that asks for another protocol to the listeners of 'upgrade'. Other routes
 * must answer such requests (`curl --http2`) as if they had not asked. So the route decides here whether a
 * request counts as an upgrade.
 */
import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Returns a message class that reports an upgrade only if `isWanted` agrees. */
export function upgradableMessages(isWanted: (message: IncomingMessage) => boolean): typeof IncomingMessage {
  /** A field of the class would be initialised too late: Node's constructor already assigns `upgrade`. */
  const asking = new WeakSet<IncomingMessage>();
  return class extends IncomingMessage {
    get upgrade(): boolean {
      return asking.has(this) && isWanted(this);
    }

    set upgrade(asked: boolean | null) {
      if (asked === true) asking.add(this);
    }
  };
}

/** A connection that a route took over. */
export interface Upgraded {
  readonly socket: Socket;
  /** The bytes that the client sent right after its request. */
  readonly head: Buffer;
}

/**
 * Creates an HTTP/1.1 answer to a request that asks for another protocol. The connection ends with the
 * answer.
 */
export function plainAnswer(incoming: IncomingMessage): ServerResponse {
  const { socket } = incoming;
  const response = new ServerResponse(incoming);
  response.shouldKeepAlive = false;
  response.assignSocket(socket);
  response.once('finish', () => {
    response.detachSocket(socket);
    socket.end();
  });
  return response;
}

/** Announces the new protocol, in docker's words. From then on the connection is raw. */
export function switchProtocols(
  response: ServerResponse,
  { socket, head }: Upgraded,
  protocol: string,
  headers: Readonly<Record<string, string>> = {},
): Socket {
  const all = { ...response.getHeaders(), Connection: 'Upgrade', Upgrade: protocol, ...headers };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${String(value)}\r\n`);
  response.statusCode = 101;
  response.detachSocket(socket);
  socket.write(`HTTP/1.1 101 UPGRADED\r\n${lines.join('')}\r\n`);
  if (head.length > 0) socket.unshift(head);
  return socket;
}

/** Discards the client's bytes, and closes the connection when the client has ended its side. */
export function readPast(socket: Socket): void {
  socket.on('error', () => undefined);
  socket.once('end', () => socket.destroy());
  socket.resume();
}
