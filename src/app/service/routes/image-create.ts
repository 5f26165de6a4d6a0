/**
 * `POST /images/create`: pulls an image from a registry (`fromImage`), or imports one from a root file system
 * in the body (`fromSrc=-`) or on the internet (`fromSrc=URL`). Mirrors `moby/moby:
 * api/server/router/image/image_routes.go` and `daemon/images/image_{pull,import}.go`.
 */
import { LayerstackError } from '../../../core/errors.ts';
import { isDigest } from '../../../core/digest.ts';
import { formatReference, parseReference, type Reference } from '../../../core/reference.ts';
import type { Route, ServiceContext } from '../context.ts';
import type { WebFile } from '../../../transfer/registry/web-file.ts';
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
  if (source === '-') return importImage(request, service, source, () => request.body);
  const file = await service.store.registry.webFile(source);
  await importImage(request, service, file.shown, (stream) => downloaded(file, stream, request.signal));
}

async function pullImage(request: ApiRequest, { store, log }: ServiceContext, image: string): Promise<void> {
  const { query, signal } = request;
  const reference = pulledReference(image, query);
  const stream = new JsonStream(request);
  try {
    await store.registry.pull(formatReference(reference), {
      allTags: reference.tag === undefined && reference.digest === undefined,
      platform: query.text('platform'),
      credentials: requestCredentials(request, reference, log),
      signal,
      onProgress: new PullProgress(stream).show,
    });
    await stream.end();
  } catch (error) {
    // Registries also deny access to images that do not exist, and the API's reference has only 404 for both.
    const isHidden = !stream.begun && LayerstackError.is(error, 'ERR_REGISTRY_DENIED');
    await stream.fail(isHidden ? new HttpError(404, error.message, { cause: error }) : error);
  }
}

/** `tag` may be a digest, and overrides the tag in `fromImage`. */
function pulledReference(image: string, query: Query): Reference {
  const given = parseReference(image);
  const tag = query.text('tag');
  if (tag === undefined) return given;
  const { repository } = given;
  return parseReference(isDigest(tag) ? `${repository}@${tag}` : `${repository}:${tag}`);
}

async function importImage(
  request: ApiRequest,
  { store }: ServiceContext,
  source: string,
  open: (stream: JsonStream) => AsyncIterable<Uint8Array>,
): Promise<void> {
  const { query, signal } = request;
  const stream = new JsonStream(request);
  try {
    const id = await store.images.import(open(stream), {
      reference: newReference(query),
      message: query.text('message') ?? `Imported from ${source}`,
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

/**
 * Yields the bytes of a file, and sends progress to docker's client. The download starts with the first read.
 */
async function* downloaded(
  file: WebFile,
  stream: JsonStream,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  await using opened = await file.open(signal);
  stream.status(`Downloading from ${file.shown}`);
  let current = 0;
  for await (const piece of opened.bytes) {
    current += piece.length;
    stream.progress('', 'Importing', { current, total: opened.size });
    yield piece;
  }
}
