/**
 * Answers: JSON as dockerd writes it (moby/moby: api/server/httputils/httputils.go: without HTML escapes,
 * with a newline at the end), errors as `{"message": …}`, empty answers, and tars. Streams of JSON lines are
 * in stream.ts.
 */
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { goJson } from '../../core/go-json.ts';
import type { ApiRequest } from './request.ts';
import { messageOf, Redirect, statusOf } from './status.ts';

/** Answers with a document. */
export function sendJson({ response }: Pick<ApiRequest, 'response'>, status: number, value: unknown): void {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(`${goJson(value, false)}\n`);
}

/** Answers with a status and no body. */
export function sendEmpty({ response }: Pick<ApiRequest, 'response'>, status: number): void {
  response.writeHead(status).end();
}

/**
 * Answers with the error. If an answer has begun, closes the connection instead, so that the client does not
 * take a truncated answer for a complete one.
 */
export function sendError(request: Pick<ApiRequest, 'response'>, error: unknown): void {
  const { response } = request;
  if (response.headersSent) response.destroy();
  else if (error instanceof Redirect)
    response.writeHead(error.status, { Location: error.location, 'Content-Length': 0 }).end();
  else sendJson(request, statusOf(error), { message: messageOf(error) });
}

/**
 * Answers with a tar, as fast as the client reads it. Waits for the first bytes: an error before them is
 * still answered with its status.
 * @throws the error of `tar`, for {@link sendError}
 */
export async function sendTar({ response, signal }: ApiRequest, tar: Readable): Promise<void> {
  const chunks = tar[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  const bytes = async function* (
    first: IteratorResult<Uint8Array>,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    if (first.done !== true) yield first.value;
    yield* { [Symbol.asyncIterator]: () => chunks };
  };
  try {
    const first = await chunks.next();
    response.writeHead(200, { 'Content-Type': 'application/x-tar' });
    await pipeline(bytes(first), response, { signal });
  } finally {
    // If the client left before the first byte, no pipeline exists that would destroy the tar.
    tar.destroy();
  }
}
