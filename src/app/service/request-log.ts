/**
 * A log line and some metrics for each request. The log has the path without its query, and no headers,
 * because these may hold secrets (X-Registry-Auth). Metrics are labelled with the pattern of the route, so
 * their number is bounded.
 */
import type { Logger } from '../../system/log.ts';
import type { Connections } from './connections.ts';
import type { Metrics } from './metrics.ts';
import type { RequestEnd } from './server.ts';
import { messageOf } from './status.ts';

const MAX_PATH = 512;
/** Requests that clients and probes send all the time. */
const QUIET = new Set(['/_ping', '/metrics', '/healthz']);

/** Returns the function to call when a request has ended. */
export function requestLog(
  log: Logger,
  metrics: Metrics,
  connections: Connections,
): (end: RequestEnd) => void {
  const requests = metrics.counter(
    'layerstack_http_requests_total',
    'Requests that have ended, by route, method and status ("aborted": the client disconnected).',
    ['route', 'method', 'status'],
  );
  const seconds = metrics.histogram(
    'layerstack_http_request_duration_seconds',
    'From the headers of a request to the end of its answer.',
    ['route', 'method'],
  );
  const received = metrics.counter('layerstack_http_received_bytes_total', 'Bytes of requests.');
  const sent = metrics.counter('layerstack_http_sent_bytes_total', 'Bytes of answers.');
  return (end) => {
    const route = end.pattern ?? 'none';
    const traffic = connections.traffic(end.socket);
    requests.add(1, route, end.method, end.aborted ? 'aborted' : String(end.status));
    seconds.observe(end.durationMs / 1000, route, end.method);
    received.add(traffic.received);
    sent.add(traffic.sent);
    const writes = end.method !== 'GET' && end.method !== 'HEAD';
    const peer = writes ? connections.peer(end.socket) : undefined;
    log[levelOf(end)]('request', {
      id: end.id,
      method: end.method,
      path: (end.path.split('?')[0] ?? '').slice(0, MAX_PATH),
      status: end.status,
      durationMs: Math.round(end.durationMs * 10) / 10,
      received: traffic.received,
      sent: traffic.sent,
      ...(end.aborted && { aborted: true }),
      ...(end.error !== undefined && { error: messageOf(end.error) }),
      ...(peer && { pid: peer.pid, uid: peer.uid, gid: peer.gid }),
    });
  };
}

function levelOf({ pattern, status, aborted }: RequestEnd): 'debug' | 'info' | 'warn' {
  if (status >= 500 && status !== 501) return 'warn';
  return pattern !== undefined && QUIET.has(pattern) && !aborted ? 'debug' : 'info';
}
