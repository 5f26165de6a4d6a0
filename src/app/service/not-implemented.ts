/**
 * Requests of docker's API that this service does not implement: everything that needs a running container,
 * BuildKit, plugins, a swarm or Docker Hub's search. The answer is one sentence that says what layerstack is
 * for, so that the user of a client does not just see "page not found". The paths are those of the API
 * reference.
 */
import { HttpError } from './status.ts';

export const RUN =
  'to run one: layerstack create --name NAME IMAGE, layerstack bundle NAME DIR, runc run -b DIR NAME';
export const BUILD = 'to build with the classic builder, which it has, set DOCKER_BUILDKIT=0';

const PURPOSE =
  'layerstack keeps images and the file systems of containers, and hands those to a runtime (runc, crun, Firecracker)';

/** Methods, path, the missing operation, and an alternative. */
const KNOWN: readonly (readonly [methods: string, path: RegExp, what: string, instead?: string])[] = [
  ['POST', /^\/containers\/[^/]+\/(?:update|copy)$/, 'change how containers run'],
  ['GET', /^\/containers\/[^/]+\/attach\/ws$/, 'run containers', RUN],
  ['POST', /^\/build\/.+$/, 'build images with BuildKit', BUILD],
  ['GET', /^\/images\/search$/, 'search registries'],
  ['POST DELETE GET', /^\/plugins(?:\/.*)?$/, 'have plugins'],
  ['POST DELETE GET', /^\/(?:swarm|nodes|services|tasks|secrets|configs)(?:\/.*)?$/, 'take part in swarms'],
];

/** Says in one sentence what layerstack does not do, and what to use instead. */
export function notDone(what: string, instead?: string): HttpError {
  return new HttpError(
    501,
    `layerstack does not ${what}: ${PURPOSE}${instead === undefined ? '' : `; ${instead}`}`,
  );
}

/**
 * Returns the error for a request that docker's API has and this service does not implement; undefined for
 * any other one.
 */
export function notImplemented(method: string, path: string): HttpError | undefined {
  const known = KNOWN.find(([methods, pattern]) => methods.split(' ').includes(method) && pattern.test(path));
  return known && notDone(known[2], known[3]);
}
