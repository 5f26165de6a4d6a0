/**
 * `POST /build`: builds an image from the context in the body, as docker's classic builder does. Mirrors
 * `moby/moby: api/server/router/build/build_routes.go` (postBuild) at v20.10. If the client disconnects, the
 * command of RUN ends. If it reads slowly, the command waits for it.
 */
import { Readable } from 'node:stream';
import type { BuildEvent } from '../../../build/options.ts';
import { buildOptionsOf } from '../build-query.ts';
import type { Route, ServiceContext } from '../context.ts';
import { buildCredentials } from '../registry-credentials.ts';
import type { ApiRequest } from '../request.ts';
import { JsonStream } from '../stream.ts';
import { PullProgress } from '../transfer-progress.ts';

export const imageBuildRoutes: readonly Route[] = [{ method: 'POST', pattern: '/build', handle: buildImage }];

async function buildImage(request: ApiRequest, { store, log }: ServiceContext): Promise<void> {
  const { query, body, signal } = request;
  const stream = new JsonStream(request);
  const isQuiet = query.flag('q');
  try {
    const { imageId } = await store.images.build(Readable.from(body, { objectMode: false }), {
      ...buildOptionsOf(query),
      credentials: buildCredentials(request, log),
      signal,
      drained: () => stream.drained(),
      onProgress: isQuiet ? undefined : showIn(stream),
    });
    if (isQuiet) stream.text(`${imageId}\n`);
    await stream.end();
  } catch (error) {
    await stream.fail(error);
  }
}

function showIn(stream: JsonStream): (event: BuildEvent) => void {
  const pulls = new PullProgress(stream);
  return (event) => {
    if (event.type === 'stream') stream.text(event.text);
    else if (event.type === 'built') stream.built(event.id);
    else pulls.show(event);
  };
}
