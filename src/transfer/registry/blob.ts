/** Reads blobs from a registry: whether they exist, and their bytes from an offset. */
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
  /** Offset in the blob where the body begins: 0 where the server ignored the requested offset. */
  readonly start: number;
  /** Bytes of the whole blob, where the server gives them; they then equal the descriptor's size. */
  readonly total: number | undefined;
  /** Rejects with an error of kind `unavailable` and `retryable: true` when the connection breaks. */
  readonly body: AsyncIterable<Uint8Array>;
  /**
   * Reports wrong bytes: a mirror that sent them is not asked again. Returns true if another source may have
   * better bytes.
   */
  distrust(): boolean;
}

export type BlobOptions = RequestOptions & {
  /** Offset of the first wanted byte. Default 0. */
  readonly offset?: number | undefined;
};

/** Opens a blob's bytes from one server. */
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
        `${endpoint.label} sends bytes from ${String(start)} on instead of from ${String(offset)}`,
      ),
    );
  if (total !== size && (total !== undefined || isPage(response)))
    refuse(otherSize(subject, size, total, response));
  return { start, total, body: endpoint.read(response, { signal, subject }) };
}

/**
 * Returns the bytes of a blob; undefined where the server has the blob but does not give its size.
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

/** Returns the part of the blob that a response holds. */
function rangeOf(response: HttpResponse): { readonly start: number; readonly total: number | undefined } {
  const length = sizeOf(response);
  if (response.status !== 206) return { start: 0, total: length };
  const [, first, total] =
    /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15}|\*)$/.exec(header(response, 'content-range') ?? '') ?? [];
  // Without the header the position of this part is unknown.
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
    `${subject.registry} sends ${sent.filter((part) => part !== '').join(' of ')} instead of ${String(expected)} bytes; ` +
      (page ? 'does a login page or a proxy answer in its place?' : 'the blob there is damaged'),
    { expected, found },
  );
}

/** Returns whether the response is a web page: a login page, or a proxy's. */
function isPage(response: HttpResponse): boolean {
  return contentType(response) === 'text/html';
}
