/**
 * Objects that a store never has (plugins, a build cache): answers as from a dockerd that has none. A prune
 * of them succeeds at once, so that `docker system prune` continues with the images.
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

/** `docker inspect NAME` looks for an object of each type, and continues after a 404. */
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
