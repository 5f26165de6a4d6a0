/**
 * `POST /images/load`: loads the archive from the body without storing it. Mirrors `moby/moby:
 * image/tarexport/load.go`: errors are reported in a stream of status 200, and names are reported before the
 * ids of nameless images.
 */
import type { ProgressEvent } from '../../../core/progress.ts';
import type { Route, ServiceContext } from '../context.ts';
import type { ApiRequest } from '../request.ts';
import { JsonStream } from '../stream.ts';

export const imageLoadRoutes: readonly Route[] = [
  { method: 'POST', pattern: '/images/load', handle: loadImages },
];

async function loadImages(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { query, body, signal } = request;
  const stream = new JsonStream(request);
  const quiet = query.flag('quiet', true);
  try {
    const { images, notices } = await store.images.load(body, {
      signal,
      platform: platformOf(request),
      onProgress: quiet ? undefined : (event) => showLayer(stream, event),
    });
    for (const notice of notices) stream.text(`${notice}\n`);
    for (const { references, id } of images) {
      if (references.length === 0) stream.text(`Loaded image ID: ${id}\n`);
      for (const reference of references) stream.text(`Loaded image: ${reference}\n`);
    }
    await stream.end();
  } catch (error) {
    stream.begin();
    await stream.fail(error);
  }
}

/**
 * Returns the requested platform. Since 1.48 a request may have one, as the JSON of an OCI platform. The
 * default is the host's.
 */
function platformOf(request: ApiRequest): string | undefined {
  return request.since('1.48') ? request.query.platforms('platform')[0] : undefined;
}

function showLayer(stream: JsonStream, event: ProgressEvent): void {
  if (event.type === 'layer-progress' || event.type === 'layer-done')
    stream.progress(shortId(event), 'Loading layer', event);
}

/**
 * Returns the beginning of the layer's DiffID, or of the digest in its member's name, else the member's name.
 */
function shortId({ diffId, member = '' }: { diffId?: string; member?: string }): string {
  const [digits] = /[0-9a-f]{64}/.exec(diffId ?? member) ?? [];
  return digits?.slice(0, 12) ?? member;
}
