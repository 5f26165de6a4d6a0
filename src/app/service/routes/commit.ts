/**
 * `POST /commit`: creates an image from a container. Mirrors `moby/moby:
 * api/server/router/container/container_routes.go` (postCommit) at v28. `pause` has no effect, because
 * nothing runs here that could be paused.
 */
import type * as json from '../../../core/json.ts';
import { decodeContainerConfig, type ContainerConfig } from '../../../image/container-config.ts';
import { CONTAINER_CONFIG } from '../../../image/docker-types.ts';
import type { Route, ServiceContext } from '../context.ts';
import { newReference } from '../references.ts';
import type { ApiRequest } from '../request.ts';
import { sendJson } from '../respond.ts';
import { HttpError } from '../status.ts';
import { findContainer } from './container-name.ts';

export const commitRoutes: readonly Route[] = [{ method: 'POST', pattern: '/commit', handle: commit }];

/** As in dockerd, a body without any field of a config counts as no config. */
const decodeConfig: json.Decoder<ContainerConfig | undefined> = (value, path) =>
  Object.keys(value as object).length === 0 ? undefined : decodeContainerConfig(value, path);

async function commit(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { query, signal } = request;
  const container = query.text('container');
  if (container === undefined) throw new HttpError(400, 'the query does not name a container: ?container=ID');
  const reference = newReference(query);
  const config = await request.optionalJson(decodeConfig, CONTAINER_CONFIG);
  const id = await store.containers.commit(await findContainer(container, store), {
    reference,
    author: query.text('author'),
    message: query.text('comment'),
    config,
    changes: query.all('changes'),
    signal,
  });
  sendJson(request, 201, { Id: id });
}
