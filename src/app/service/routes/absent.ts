/**
 * What a store never has, answered as by a dockerd that has none: plugins, a build cache. Pruning that is
 * done at once, so that `docker system prune` gets to the images.
 */
import type { Route } from '../context.ts';
import { sendJson } from '../respond.ts';
import { HttpError } from '../status.ts';

const empty = (pattern: string, value: unknown, method = 'GET'): Route => ({
  method,
  pattern,
  handle: (request) => {
    sendJson(request, 200, value);
    return Promise.resolve();
  },
});

/** `docker inspect NAME` looks for one of each, and goes on where there is none. */
const missing = (pattern: string, say: (name: string) => string): Route => ({
  method: 'GET',
  pattern,
  handle: (request) => Promise.reject(new HttpError(404, say(request.param('name')))),
});

export const absentRoutes: readonly Route[] = [
  empty('/plugins', []),
  missing('/plugins/{name...}/json', (name) => `plugin "${name}" not found`),
  empty('/build/prune', { CachesDeleted: null, SpaceReclaimed: 0 }, 'POST'),
];
