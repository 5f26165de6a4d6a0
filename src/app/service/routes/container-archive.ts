/**
 * `containers/{id}/archive`: the requests of `docker cp`. Mirrors `moby/moby:
 * api/server/router/container/copy.go` and daemon/archive.go at v20.10, including the texts.
 */
import { containerPath } from '../../../container/copy-path.ts';
import type { PathStat } from '../../../container/path-stat.ts';
import { LayerstackError } from '../../../core/errors.ts';
import { goJson } from '../../../core/go-json.ts';
import type { Route, ServiceContext } from '../context.ts';
import type { ApiRequest } from '../request.ts';
import { sendEmpty, sendTar } from '../respond.ts';
import { HttpError } from '../status.ts';
import { containerOf } from './container-name.ts';

const STAT_HEADER = 'X-Docker-Container-Path-Stat';

export const containerArchiveRoutes: readonly Route[] = [
  { method: 'HEAD', pattern: '/containers/{name}/archive', handle: statPath },
  { method: 'GET', pattern: '/containers/{name}/archive', handle: getArchive },
  { method: 'PUT', pattern: '/containers/{name}/archive', handle: putArchive },
];

async function statPath(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const path = pathOf(request);
  const container = await containerOf(request, store);
  const stat = await explained(
    request,
    store.containers.statPath(container, path, { signal: request.signal }),
  );
  setStat(request, stat);
  sendEmpty(request, 200);
}

async function getArchive(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const path = pathOf(request);
  const container = await containerOf(request, store);
  const { stat, tar } = await explained(
    request,
    store.containers.getArchive(container, path, { signal: request.signal }),
  );
  setStat(request, stat);
  await sendTar(request, tar);
}

async function putArchive(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const path = pathOf(request);
  const { body, query, signal } = request;
  const container = await containerOf(request, store);
  const options = {
    noOverwriteDirNonDir: query.flag('noOverwriteDirNonDir'),
    copyUIDGID: query.flag('copyUIDGID'),
    signal,
  };
  await explained(request, store.containers.putArchive(container, path, body, options));
  sendEmpty(request, 200);
}

function pathOf({ query }: ApiRequest): string {
  const path = query.text('path');
  if (path === undefined) throw new HttpError(400, 'bad parameter: path cannot be empty');
  return path;
}

function setStat({ response }: ApiRequest, { name, size, mode, mtime, linkTarget }: PathStat): void {
  const document = goJson({ name, size, mode, mtime, linkTarget });
  response.setHeader(STAT_HEADER, Buffer.from(document).toString('base64'));
}

/** Converts errors about a path that does not exist, or is not a directory, to docker's texts. */
async function explained<T>(request: ApiRequest, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!LayerstackError.is(error)) throw error;
    if (error.code === 'ERR_PATH_NOT_FOUND')
      throw new HttpError(
        404,
        `Could not find the file ${pathOf(request)} in container ${request.param('name')}`,
        { cause: error },
      );
    if (
      error.code === 'ERR_PATH_TYPE' &&
      request.method === 'PUT' &&
      error.path === containerPath(pathOf(request))
    )
      throw new HttpError(400, 'extraction point is not a directory', { cause: error });
    throw error;
  }
}
