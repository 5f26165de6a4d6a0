/**
 * `GET /images/json`. Mirrors `moby/moby: api/server/router/image/image_routes.go` (getImagesJSON) at v28.
 */
import type { ImageFilters, ImageSummary } from '../../../image/store.ts';
import type { Route, ServiceContext } from '../context.ts';
import { booleanFilter, type Filters } from '../query.ts';
import type { ApiRequest } from '../request.ts';
import { sendJson } from '../respond.ts';

const FILTERS = ['dangling', 'label', 'before', 'since', 'until', 'reference'] as const;

export const imageListRoutes: readonly Route[] = [
  { method: 'GET', pattern: '/images/json', handle: listImages },
];

async function listImages(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { query } = request;
  const filters = imageFilters(query.filters(FILTERS));
  // Older clients have one pattern here instead of a document of filters.
  const pattern = request.since('1.41') ? undefined : query.text('filter');
  const images = await store.images.list({
    all: query.flag('all'),
    filters: pattern === undefined ? filters : { ...filters, reference: [pattern] },
    sharedSize: query.flag('shared-size'),
  });
  // Before 1.51 the API has no count, which is -1.
  const users = request.since('1.51') ? await containersByImage(store) : undefined;
  sendJson(
    request,
    200,
    images.map((image) =>
      imageSummary({ ...image, Containers: users ? (users.get(image.Id) ?? 0) : -1 }, request),
    ),
  );
}

async function containersByImage(store: ServiceContext['store']): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const { imageId = '' } of await store.containers.list())
    counts.set(imageId, (counts.get(imageId) ?? 0) + 1);
  return counts;
}

/** Converts docker's image filters. */
function imageFilters(filters: Filters): ImageFilters {
  return {
    dangling: booleanFilter(filters, 'dangling'),
    label: filters.get('label'),
    before: filters.get('before'),
    since: filters.get('since'),
    until: filters.get('until'),
    reference: filters.get('reference'),
  };
}

/** Converts the fields to the API version of the request. */
export function imageSummary(image: ImageSummary, request: ApiRequest): Record<string, unknown> {
  const { RepoTags: tags, RepoDigests: digests } = image;
  const nameless = tags.length === 0 && digests.length === 0;
  const names = request.since('1.43')
    ? { RepoDigests: digests, RepoTags: tags }
    : {
        RepoDigests: nameless ? ['<none>@<none>'] : orNull(digests),
        RepoTags: nameless ? ['<none>:<none>'] : orNull(tags),
      };
  return { ...image, ...names, VirtualSize: request.since('1.44') ? undefined : image.VirtualSize };
}

function orNull<T>(list: readonly T[]): readonly T[] | null {
  return list.length === 0 ? null : list;
}
