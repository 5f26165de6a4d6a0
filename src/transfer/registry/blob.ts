/** Blobs as a registry sends them: whether they are there, and their bytes from an offset on. */
import type { Descriptor } from '../../core/descriptor.ts';
import type { Digest } from '../../core/digest.ts';
import type { LayerstackError } from '../../core/errors.ts';
import type { Endpoint } from './endpoint.ts';
import { registryError, type Subject } from './error.ts';
import { contentType, sizeOf, type RequestOptions } from './manifest.ts';
import type { Repository } from './repository.ts';
import { discard, header, type HttpResponse } from './transport.ts';

/** The bytes of a blob as they come: NOT verified. */
export interface OpenedBlob {
  /** Where in the blob the body begins: 0 where the server ignored the offset. */
  readonly start: number;
  /** Bytes of the whole blob, where the server says; then they are those of the descriptor. */
  readonly total: number | undefined;
  /** Rejects with an error of kind `unavailable` and `retryable: true` when the connection breaks. */
  readonly body: AsyncIterable<Uint8Array>;
  /** The bytes are wrong: where they came from a mirror, it is not asked again. True: others may have better ones. */
  distrust(): boolean;
}

export type BlobOptions = RequestOptions & {
  /** The first byte that is wanted. Default 0. */
  readonly offset?: number | undefined;
};

/** A blob's bytes from one server. */
export async function openBlob(
  endpoint: Endpoint,
  repository: Repository,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
  { offset = 0, signal }: BlobOptions,
): Promise<Omit<OpenedBlob, 'distrust'>> {
  const subject = repository.blob(digest, endpoint.label);
  const response = await endpoint.send(`${repository.path}/blobs/${digest}`, {
    method: 'GET',
    headers: offset > 0 ? { range: `bytes=${String(offset)}-` } : {},
    scopes: [repository.scope('pull')],
    signal,
    subject,
    accept: [200, 206],
  });
  const { start, total } = rangeOf(response);
  const refuse = (error: LayerstackError): never => {
    discard(response.body);
    throw error;
  };
  if (start > offset)
    refuse(
      registryError(
        'ERR_REGISTRY_INVALID',
        subject,
        `${endpoint.label} begins at byte ${String(start)} where ${String(offset)} was asked for`,
      ),
    );
  if (total !== size && (total !== undefined || isPage(response)))
    refuse(otherSize(subject, size, total, response));
  return { start, total, body: endpoint.read(response, { signal, subject }) };
}

/**
 * Bytes of a blob; undefined where the server has it but does not say.
 * @throws {@link LayerstackError} ERR_REGISTRY_NOT_FOUND where the server does not have it.
 */
export async function statBlob(
  endpoint: Endpoint,
  repository: Repository,
  digest: Digest,
  { signal }: RequestOptions,
): Promise<number | undefined> {
  const subject = repository.blob(digest, endpoint.label);
  const response = await endpoint.send(`${repository.path}/blobs/${digest}`, {
    method: 'HEAD',
    scopes: [repository.scope('pull')],
    signal,
    subject,
    accept: [200],
  });
  discard(response.body);
  return sizeOf(response);
}

/** Which part of the blob an answer is. */
function rangeOf(response: HttpResponse): { readonly start: number; readonly total: number | undefined } {
  const length = sizeOf(response);
  if (response.status !== 206) return { start: 0, total: length };
  const [, first, total] =
    /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15}|\*)$/.exec(header(response, 'content-range') ?? '') ?? [];
  // Without the header nobody knows what part this is.
  if (first === undefined) return { start: Number.POSITIVE_INFINITY, total: undefined };
  const start = Number(first);
  if (total !== undefined && total !== '*') return { start, total: Number(total) };
  return { start, total: length === undefined ? undefined : start + length };
}

function otherSize(
  subject: Subject,
  expected: number,
  found: number | undefined,
  response: HttpResponse,
): LayerstackError {
  const page = isPage(response);
  const sent = [page ? 'a web page' : '', found === undefined ? '' : `${String(found)} bytes`];
  return registryError(
    page ? 'ERR_REGISTRY_INVALID' : 'ERR_DIGEST_MISMATCH',
    subject,
    `${subject.registry} sends ${sent.filter((part) => part !== '').join(' of ')} where ${String(expected)} bytes should be; ` +
      (page ? 'does a login page or a proxy answer in its place?' : 'the blob there is damaged'),
    { expected, found },
  );
}

/** A login page, or a proxy's. */
function isPage(response: HttpResponse): boolean {
  return contentType(response) === 'text/html';
}
