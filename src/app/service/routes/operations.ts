/**
 * Routes for operators: `/metrics` for Prometheus, `/healthz` for the supervisor that restarts the service.
 */
import type { Route } from '../context.ts';
import type { HealthCheck } from '../health.ts';
import type { Metrics } from '../metrics.ts';
import { sendJson } from '../respond.ts';

export function operationRoutes(metrics: Metrics, health: HealthCheck): readonly Route[] {
  return [
    {
      method: 'GET',
      pattern: '/metrics',
      handle: async ({ response }) => {
        const text = await metrics.text();
        response
          .writeHead(200, {
            'Content-Type': 'text/plain; version=0.0.4; charset=utf-8',
            'Content-Length': Buffer.byteLength(text),
          })
          .end(text);
      },
    },
    {
      method: 'GET',
      pattern: '/healthz',
      handle: async (request) => {
        const { healthy, checks } = await health.check();
        sendJson(request, healthy ? 200 : 503, checks);
      },
    },
  ];
}
