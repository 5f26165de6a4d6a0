/**
 * Reads an image: its configuration, its history and its bytes. Mirrors `moby/moby:
 * api/server/router/image/image_routes.go` at v28.
 */
import type { ImageInspect } from '../../../image/store.ts';
import { ZERO_TIME } from '../../../core/time.ts';
import type { Route, ServiceContext } from '../context.ts';
import { requireRequestPlatform } from '../image-platform.ts';
import type { ApiRequest } from '../request.ts';
import { sendJson, sendTar } from '../respond.ts';

export const imageReadRoutes: readonly Route[] = [
  { method: 'GET', pattern: '/images/get', handle: saveImages },
  { method: 'GET', pattern: '/images/{name...}/get', handle: saveImages },
  { method: 'GET', pattern: '/images/{name...}/json', handle: inspectImage },
  { method: 'GET', pattern: '/images/{name...}/history', handle: showHistory },
];

async function saveImages(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { params, query, signal } = request;
  const names = params['name'] === undefined ? query.all('names') : [params['name']];
  await requireRequestPlatform(request, '1.48', store, names);
  await sendTar(request, store.images.save(names, { signal }));
}

async function showHistory(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const name = request.param('name');
  await requireRequestPlatform(request, '1.48', store, [name]);
  sendJson(request, 200, await store.images.history(name));
}

async function inspectImage(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const name = request.param('name');
  await requireRequestPlatform(request, '1.49', store, [name]);
  sendJson(request, 200, inspectFields(await store.images.inspect(name), request));
}

/** Members of a config that only containers use. Answers omit them since 1.50. */
const OF_CONTAINERS: ReadonlySet<string> = new Set([
  'Hostname',
  'Domainname',
  'AttachStdin',
  'AttachStdout',
  'AttachStderr',
  'Tty',
  'OpenStdin',
  'StdinOnce',
  'Image',
  'NetworkDisabled',
  'MacAddress',
  'StopTimeout',
]);

/** Converts the fields to the API version of the request. */
function inspectFields(image: ImageInspect, request: ApiRequest): Record<string, unknown> {
  const { Config } = image;
  return {
    ...image,
    ...(request.since('1.44') && {
      Created: image.Created === ZERO_TIME ? undefined : image.Created,
      VirtualSize: undefined,
    }),
    ...(request.since('1.45') && { Container: undefined, ContainerConfig: undefined }),
    ...(request.since('1.50') &&
      Config !== null && {
        Config: Object.fromEntries(Object.entries(Config).filter(([name]) => !OF_CONTAINERS.has(name))),
      }),
  };
}
