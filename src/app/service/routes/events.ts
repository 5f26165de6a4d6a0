/**
 * `GET /events`: streams events as JSON documents. Mirrors `moby/moby:
 * api/server/router/system/system_routes.go` (getEvents) at v20.10. Times may also be dates, which docker's
 * client converts to seconds itself.
 */
import { unixNanoseconds } from '../../../core/time.ts';
import { parseTimestamp } from '../../../core/timestamp.ts';
import { EVENT_FILTERS, EventFilter } from '../../event-filter.ts';
import type { Route, ServiceContext } from '../context.ts';
import { sendJsonLines } from '../json-lines.ts';
import type { Query } from '../query.ts';
import type { ApiRequest } from '../request.ts';
import { HttpError } from '../status.ts';

export const eventRoutes: readonly Route[] = [
  { method: 'GET', pattern: '/events', endless: true, handle: sendEvents },
];

async function sendEvents(request: ApiRequest, { events }: ServiceContext): Promise<void> {
  const { query } = request;
  const [since, until] = [timeOf(query, 'since'), timeOf(query, 'until')];
  if (since !== undefined && until !== undefined && until < since)
    throw new HttpError(
      400,
      `\`since\` time (${query.text('since') ?? ''}) cannot be after \`until\` time (${query.text('until') ?? ''})`,
    );
  const filter = new EventFilter(query.filters(EVENT_FILTERS));
  await sendJsonLines(request, events.subscribe({ since, until, filter, signal: request.signal }));
}

/**
 * Returns a time; undefined if it is missing or `0`. docker's client sends seconds since 1970, and 0 for
 * none.
 */
function timeOf(query: Query, name: 'since' | 'until'): bigint | undefined {
  const text = query.text(name);
  if (text === undefined || text === '0') return undefined;
  return unixNanoseconds(parseTimestamp(name, text));
}
