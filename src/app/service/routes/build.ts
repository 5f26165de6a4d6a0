/**
 * Requests for BuildKit. docker's client (23 and later) builds with BuildKit even if `_ping` names another
 * builder: buildx asks `POST /grpc` for a gRPC connection, and if that fails it starts a container of
 * moby/buildkit to build in. So the connection succeeds, and every call on it fails at once with status 12
 * (unimplemented) and an alternative. Mirrors `moby/moby: api/server/router/grpc/grpc_routes.go` at v28.
 */
import { once } from 'node:events';
import { constants, createServer } from 'node:http2';
import type { Route } from '../context.ts';
import { BUILD, notDone } from '../not-implemented.ts';
import type { ApiRequest } from '../request.ts';
import { readPast } from '../upgrade.ts';

const [OK, UNIMPLEMENTED] = ['0', '12'];

/** Calls about the build cache get the answer of an empty cache: no message, or a message without members. */
const ANSWERS: ReadonlyMap<string, Buffer> = new Map([
  ['/moby.buildkit.v1.Control/Prune', Buffer.alloc(0)],
  ['/moby.buildkit.v1.Control/DiskUsage', Buffer.alloc(5)],
]);

/** A client opens a handful of streams; more would be an attempt to fill memory. */
const MAX_STREAMS = 100;

export const buildRoutes: readonly Route[] = [
  { method: 'POST', pattern: '/grpc', endless: true, upgrades: true, handle: refuseCalls },
  { method: 'POST', pattern: '/session', endless: true, upgrades: true, handle: holdSession },
];

/**
 * Holds the connection idle. A builder would call the client on it, but this service has no builder. Clients
 * without buildx open it before they ask for the build, and they show the answer to the build.
 */
async function holdSession(request: ApiRequest): Promise<void> {
  if (!request.asksToUpgrade) throw refusal();
  const { signal } = request;
  readPast(request.takeOver('h2c'));
  await aborted(signal);
}

/** Resolves when the client disconnects or the service stops. */
async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort');
}

const refusal = (): Error => notDone('build images with BuildKit', BUILD);

async function refuseCalls(request: ApiRequest): Promise<void> {
  if (!request.asksToUpgrade) throw refusal();
  const { message } = refusal();
  const server = createServer({ settings: { maxConcurrentStreams: MAX_STREAMS } });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined);
    const answer = ANSWERS.get(String(headers[constants.HTTP2_HEADER_PATH]));
    const head = {
      [constants.HTTP2_HEADER_STATUS]: 200,
      [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc',
    };
    if (answer === undefined) {
      stream.respond(
        {
          ...head,
          'grpc-status': UNIMPLEMENTED,
          'grpc-message': message.replace(/[^\x20-\x24\x26-\x7e]/g, encodeURIComponent),
        },
        { endStream: true },
      );
      return;
    }
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': OK }));
    stream.respond(head, { waitForTrailers: true });
    stream.end(answer);
  });
  server.on('sessionError', () => undefined);
  const { signal } = request;
  const socket = request.takeOver('h2c');
  server.emit('connection', socket);
  await aborted(signal);
  socket.destroy();
}
