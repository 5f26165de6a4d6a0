/**
 * What dockerd does and this service does not: everything that needs a running container, a builder, networks, volumes,
 * plugins, a swarm or Docker Hub's search. It is answered with one sentence that says what layerstack is for, so that a
 * client's user is not left with "page not found". The paths are those of the API reference.
 */
import { HttpError } from './status.ts';

const PURPOSE =
  'layerstack keeps images and the file systems of containers, and hands those to a runtime (runc, crun, Firecracker)';

/** Methods, the path, and what cannot be done. */
const KNOWN: readonly (readonly [methods: string, path: RegExp, what: string])[] = [
  [
    'POST',
    /^\/containers\/[^/]+\/(?:start|stop|restart|kill|pause|unpause|resize|attach|wait)$/,
    'run containers',
  ],
  ['GET', /^\/containers\/[^/]+\/(?:top|logs|stats|attach\/ws)$/, 'run containers'],
  ['POST', /^\/containers\/[^/]+\/(?:exec|update|copy)$/, 'run or change containers'],
  ['POST GET', /^\/exec(?:\/.+)?$/, 'run commands in containers'],
  ['POST', /^\/(?:build|build\/.+)$/, 'build images'],
  ['POST', /^\/(?:session|grpc)$/, 'build images'],
  ['GET', /^\/images\/search$/, 'search a registry'],
  ['POST DELETE GET', /^\/networks(?:\/.*)?$/, 'make networks'],
  ['POST PUT DELETE GET', /^\/volumes(?:\/.*)?$/, 'keep volumes'],
  ['POST DELETE GET', /^\/plugins(?:\/.*)?$/, 'run plugins'],
  ['POST DELETE GET', /^\/(?:swarm|nodes|services|tasks|secrets|configs)(?:\/.*)?$/, 'be part of a swarm'],
];

/** The error for a request that docker's API has and this service does not; undefined for any other one. */
export function notImplemented(method: string, path: string): HttpError | undefined {
  const known = KNOWN.find(([methods, pattern]) => methods.split(' ').includes(method) && pattern.test(path));
  return known && new HttpError(501, `layerstack does not ${known[2]}: ${PURPOSE}`);
}
