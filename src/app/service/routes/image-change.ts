/** Tags and removes images. Mirrors `moby/moby: api/server/router/image/image_routes.go` at v28. */
import type { Route, ServiceContext } from '../context.ts';
import { booleanFilter } from '../query.ts';
import { newReference } from '../references.ts';
import type { ApiRequest } from '../request.ts';
import { sendEmpty, sendJson } from '../respond.ts';
import { HttpError } from '../status.ts';

export const imageChangeRoutes: readonly Route[] = [
  { method: 'POST', pattern: '/images/{name...}/tag', handle: tagImage },
  { method: 'DELETE', pattern: '/images/{name...}', handle: removeImage },
  { method: 'POST', pattern: '/images/prune', handle: pruneImages },
];

async function tagImage(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const reference = newReference(request.query);
  if (reference === undefined) throw new HttpError(400, 'the query has no repo: ?repo=NAME[&tag=TAG]');
  await store.images.tag(request.param('name'), reference);
  sendEmpty(request, 201);
}

async function removeImage(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { query } = request;
  if (query.has('platforms'))
    throw new HttpError(501, 'an image in layerstack has one platform: remove the image, without platforms');
  const records = await store.images.remove(request.param('name'), {
    force: query.flag('force'),
    noPrune: query.flag('noprune'),
  });
  sendJson(request, 200, records);
}

async function pruneImages(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const filters = request.query.filters(['dangling', 'label', 'label!', 'until']);
  const result = await store.images.prune({
    all: booleanFilter(filters, 'dangling') === false,
    filters: {
      label: filters.get('label'),
      notLabel: filters.get('label!'),
      until: filters.get('until'),
    },
  });
  const { ImagesDeleted, SpaceReclaimed } = result;
  sendJson(request, 200, {
    ImagesDeleted: ImagesDeleted.length === 0 ? null : ImagesDeleted,
    SpaceReclaimed,
  });
}
