/** `_ping`: from its headers a client learns the newest version of the API, and which builder it may use. */
import type { Route } from '../context.ts';
import type { ApiRequest } from '../request.ts';

const HEADERS = {
  'Cache-Control': 'no-cache, no-store, must-revalidate',
  Pragma: 'no-cache',
  // Not 2: clients would then open a session, and show its failure instead of the service's message.
  'Builder-Version': '1',
  Swarm: 'inactive',
  'Content-Type': 'text/plain; charset=utf-8',
};

export const pingRoutes: readonly Route[] = [
  { method: 'GET', pattern: '/_ping', handle: (request) => ping(request, 'OK') },
  { method: 'HEAD', pattern: '/_ping', handle: (request) => ping(request, '') },
];

function ping({ response }: ApiRequest, body: string): Promise<void> {
  response.writeHead(200, { ...HEADERS, 'Content-Length': body.length }).end(body);
  return Promise.resolve();
}
