/**
 * `POST /images/create`: an image from a registry (`fromImage`), or of a root file system in the body (`fromSrc=-`).
 * Mirrors `moby/moby: api/server/router/image/image_routes.go` and `daemon/images/image_import.go`.
 */
import type { Route, ServiceContext } from '../context.ts';
import { newReference } from '../references.ts';
import type { ApiRequest } from '../request.ts';
import { HttpError } from '../status.ts';
import { JsonStream } from '../stream.ts';

export const imageCreateRoutes: readonly Route[] = [
  { method: 'POST', pattern: '/images/create', handle: createImage },
];

async function createImage(request: ApiRequest, service: ServiceContext): Promise<void> {
  const { query } = request;
  const source = query.text('fromSrc');
  if (source === undefined) throw new HttpError(400, 'the query has neither fromImage nor fromSrc');
  if (source !== '-')
    throw new HttpError(
      501,
      `layerstack does not fetch ${source}: send the tar as the body, with fromSrc=- (curl -fsSL URL | docker import -)`,
    );
  await importImage(request, service);
}

async function importImage(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { query, body, signal } = request;
  const stream = new JsonStream(request);
  try {
    const id = await store.import(body, {
      reference: newReference(query),
      message: query.text('message') ?? 'Imported from -',
      changes: query.all('changes'),
      platform: query.text('platform'),
      signal,
    });
    stream.status(id);
    await stream.end();
  } catch (error) {
    await stream.fail(error);
  }
}
