/**
 * Finds the route for a request's method and URL. As in dockerd (moby/moby: api/server/server.go,
 * middleware/version.go) the path may begin with a version and is decoded before it is matched; a path that
 * exists only for another method is not found. A path with doubled slashes or dots is redirected to the clean
 * path (gorilla/mux: mux.go), whatever the method.
 */
import { posix } from 'node:path';
import type { Route } from './context.ts';
import { notImplemented } from './not-implemented.ts';
import type { RequestTarget } from './request.ts';
import { HttpError, Redirect } from './status.ts';
import { API_VERSION, compareVersions, MIN_API_VERSION } from './version.ts';

interface Compiled {
  readonly route: Route;
  readonly path: RegExp;
}

export interface Match {
  readonly route: Route;
  readonly target: RequestTarget;
}

export class Router {
  readonly #routes: readonly Compiled[];

  constructor(routes: readonly Route[]) {
    this.#routes = routes.map((route) => ({ route, path: compilePattern(route.pattern) }));
  }

  /**
   * @param url - from the request line: the path with its query
   * @throws {@link Redirect} for a path that is not clean
   * @throws {@link HttpError} 400 for a malformed URL or an unsupported version, 501 for a request of
   *   docker's API that this service does not implement, 404 for anything else
   */
  match(method: string, url: string): Match {
    const target = parseTarget(url);
    const found = this.#find(method, target) ?? notImplemented(method, target.path);
    // A path that no version of the API has does not exist, whatever version the request names.
    if (found === undefined) throw new HttpError(404, 'page not found');
    checkVersion(target.version);
    if (found instanceof HttpError) throw found;
    return found;
  }

  /** As {@link match}; undefined if no route matches. */
  find(method: string, url: string): Match | undefined {
    try {
      return this.match(method, url);
    } catch {
      return undefined;
    }
  }

  #find(method: string, { path, query, version }: Omit<RequestTarget, 'params'>): Match | undefined {
    for (const { route, path: pattern } of this.#routes) {
      if (route.method !== method) continue;
      const groups = pattern.exec(path)?.groups;
      if (groups !== undefined) return { route, target: { path, query, version, params: { ...groups } } };
    }
    return undefined;
  }
}

/** Compiles a pattern to an expression over the whole path, with a group for each of its names. */
export function compilePattern(pattern: string): RegExp {
  const source = pattern.replace(/\{(\w+)(\.\.\.)?\}|[^{}]+/g, (literal, name?: string, rest?: string) => {
    if (name === undefined) return literal.replace(/[.*+?^$()|[\]\\]/g, '\\$&');
    return rest === undefined ? `(?<${name}>[^/]+)` : `(?<${name}>.+)`;
  });
  // The empty group ensures that a match always has groups.
  return new RegExp(`^${source}(?<_>)$`, 's');
}

function parseTarget(url: string): Omit<RequestTarget, 'params'> {
  // Requests in the form for a proxy have the whole URL.
  const target = url.replace(/^https?:\/\/[^/?#]*/i, '');
  const [, raw = '', search = ''] = /^([^?]*)\??([^]*)$/.exec(target) ?? [];
  let decoded: string;
  try {
    decoded = decodeURIComponent(raw);
  } catch {
    throw new HttpError(400, 'the URL has a malformed escape');
  }
  if (!decoded.startsWith('/') || decoded.includes('\0'))
    throw new HttpError(
      400,
      'the path of the URL is not valid: it must begin with / and not contain a NUL byte',
    );
  const clean = posix.normalize(decoded);
  if (clean !== decoded)
    throw new Redirect(encodeURI(clean).replace(/[?#]/g, encodeURIComponent) + target.slice(raw.length));
  const [, version, rest] = /^\/v(\d+(?:\.\d+)*)(\/[^]*)$/.exec(decoded) ?? [];
  if (version === undefined || rest === undefined)
    return { path: decoded, query: new URLSearchParams(search), version: API_VERSION };
  return { path: rest, query: new URLSearchParams(search), version };
}

function checkVersion(version: string): void {
  if (compareVersions(version, MIN_API_VERSION) < 0)
    throw new HttpError(
      400,
      `client version ${version} is too old. Minimum supported API version is ${MIN_API_VERSION}, please upgrade your client to a newer version`,
    );
  if (compareVersions(version, API_VERSION) > 0)
    throw new HttpError(
      400,
      `client version ${version} is too new. Maximum supported API version is ${API_VERSION}`,
    );
}
