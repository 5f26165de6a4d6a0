/**
 * Connections that become something else than HTTP/1.1: what a container reads and writes, or gRPC. Node gives the connection of
 * every request that asks for another protocol to whoever listens for 'upgrade', while requests to other routes (`curl --http2`)
 * are to be answered as if they had not asked. So whether a request has asked depends on its route here.
 */
import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** A message that says that it asks for another protocol only where `isWanted`. */
export function upgradableMessages(isWanted: (message: IncomingMessage) => boolean): typeof IncomingMessage {
  /** A field would come too late: Node's constructor assigns `upgrade` already. */
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

/** A connection that was taken over. */
export interface Upgraded {
  readonly socket: Socket;
  /** What the client had sent behind its request. */
  readonly head: Buffer;
}

/** An answer in HTTP/1.1 to a request that asks for another protocol; the connection ends with it. */
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

/** Says that the protocol is changed, with docker's word for it; from then on the connection is raw. */
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

/** Reads what the client sends and nobody wants, and closes the connection when it has ended its side. */
export function readPast(socket: Socket): void {
  socket.on('error', () => undefined);
  socket.once('end', () => socket.destroy());
  socket.resume();
}
