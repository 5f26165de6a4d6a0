/**
 * `POST /images/{name}/push`. Mirrors `moby/moby: api/server/router/image/image_routes.go` (postImagesPush)
 * at v28.
 */
import { formatReference, parseReference } from '../../../core/reference.ts';
import type { Route, ServiceContext } from '../context.ts';
import { requestCredentials } from '../registry-credentials.ts';
import { requireRequestPlatform } from '../image-platform.ts';
import type { ApiRequest } from '../request.ts';
import { HttpError } from '../status.ts';
import { JsonStream } from '../stream.ts';
import { PushProgress } from '../transfer-progress.ts';

export const imagePushRoutes: readonly Route[] = [
  { method: 'POST', pattern: '/images/{name...}/push', handle: pushImage },
];

async function pushImage(request: ApiRequest, { store, log }: ServiceContext): Promise<void> {
  const { query, signal } = request;
  const named = parseReference(request.param('name'));
  if (named.digest !== undefined) throw new HttpError(400, 'cannot push a digest reference');
  const { repository } = named;
  const tag = query.text('tag') ?? named.tag;
  const reference = formatReference({ repository, ...(tag !== undefined && { tag }) });
  await requireRequestPlatform(request, '1.46', store, [reference]);
  const stream = new JsonStream(request);
  try {
    await store.registry.push(reference, {
      allTags: tag === undefined,
      credentials: requestCredentials(request, named, log),
      signal,
      onProgress: new PushProgress(stream).show,
    });
    await stream.end();
  } catch (error) {
    await stream.fail(error);
  }
}
