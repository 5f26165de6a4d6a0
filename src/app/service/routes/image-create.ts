/**
 * `POST /images/create`: an image from a registry (`fromImage`), or of a root file system in the body (`fromSrc=-`).
 * Mirrors `moby/moby: api/server/router/image/image_routes.go` and `daemon/images/image_{pull,import}.go`.
 */
import { LayerstackError } from '../../../core/errors.ts';
import { isDigest } from '../../../core/digest.ts';
import { formatReference, parseReference, type Reference } from '../../../core/reference.ts';
import type { Route, ServiceContext } from '../context.ts';
import type { Query } from '../query.ts';
import { newReference } from '../references.ts';
import { requestCredentials } from '../registry-credentials.ts';
import type { ApiRequest } from '../request.ts';
import { HttpError } from '../status.ts';
import { JsonStream } from '../stream.ts';
import { PullProgress } from '../transfer-progress.ts';

export const imageCreateRoutes: readonly Route[] = [
  { method: 'POST', pattern: '/images/create', handle: createImage },
];

async function createImage(request: ApiRequest, service: ServiceContext): Promise<void> {
  const { query } = request;
  const image = query.text('fromImage');
  if (image !== undefined) return pullImage(request, service, image);
  const source = query.text('fromSrc');
  if (source === undefined) throw new HttpError(400, 'the query has neither fromImage nor fromSrc');
  if (source !== '-')
    throw new HttpError(
      501,
      `layerstack does not fetch ${source}: send the tar as the body, with fromSrc=- (curl -fsSL URL | docker import -)`,
    );
  await importImage(request, service);
}

async function pullImage(request: ApiRequest, { store, log }: ServiceContext, image: string): Promise<void> {
  const { query, signal } = request;
  const reference = pulledReference(image, query);
  const stream = new JsonStream(request);
  try {
    await store.pull(formatReference(reference), {
      allTags: reference.tag === undefined && reference.digest === undefined,
      platform: query.text('platform'),
      credentials: requestCredentials(request, reference, log),
      signal,
      onProgress: new PullProgress(stream).show,
    });
    await stream.end();
  } catch (error) {
    // Registries say so of what is not there too, and the API's reference has no other status for it.
    const isHidden = !stream.begun && LayerstackError.is(error) && error.code === 'ERR_REGISTRY_DENIED';
    await stream.fail(isHidden ? new HttpError(404, error.message, { cause: error }) : error);
  }
}

/** `tag` may be a digest, and wins over what `fromImage` has. */
function pulledReference(image: string, query: Query): Reference {
  const given = parseReference(image);
  const tag = query.text('tag');
  if (tag === undefined) return given;
  const { repository } = given;
  return parseReference(isDigest(tag) ? `${repository}@${tag}` : `${repository}:${tag}`);
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
