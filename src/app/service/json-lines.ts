/** Answers of JSON lines. Each document is sent as soon as it exists, and no faster than the client reads. */
import { pipeline } from 'node:stream/promises';
import { goJson } from '../../core/go-json.ts';
import type { ApiRequest } from './request.ts';

/**
 * Answers with the values. The answer begins at once, before the first value exists.
 * @throws the error of `values`; the answer has begun by then
 */
export async function sendJsonLines(
  { response, signal }: Pick<ApiRequest, 'response' | 'signal'>,
  values: AsyncIterable<unknown>,
): Promise<void> {
  response.writeHead(200, { 'Content-Type': 'application/json' });
  response.flushHeaders();
  const lines = async function* (): AsyncGenerator<string, void, undefined> {
    for await (const value of values) yield `${goJson(value)}\n`;
  };
  await pipeline(lines(), response, { signal });
}
