/**
 * Fetches manifests and indexes from a registry. Each is limited in size, has the requested digest, and is of
 * the one kind that both the Content-Type header and the document give. A document that two readers could
 * take for two things is refused (CVE-2021-41190).
 */
import {
  isIndexType,
  isManifestType,
  MAX_MANIFEST_BYTES,
  MEDIA_TYPES,
  parseManifest,
} from '../../core/descriptor.ts';
import { digestOf, isDigest, type Digest } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import type { Endpoint } from './endpoint.ts';
import { registryError, wordsOf, type Subject } from './error.ts';
import type { Repository } from './repository.ts';
import { discard, header, type HttpResponse } from './transport.ts';

export interface RequestOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface ReadOptions extends RequestOptions {
  /** Asks the registry itself, not its mirrors. Default false. */
  readonly origin?: boolean | undefined;
}

export interface ManifestOptions extends ReadOptions {
  /** Wanted media types; default: manifests and indexes of docker and OCI. */
  readonly accept?: readonly string[] | undefined;
}

/** A manifest or index whose digest is verified, and whose media type fits the document. */
export interface FetchedManifest {
  readonly bytes: Uint8Array;
  readonly mediaType: string;
  readonly digest: Digest;
}

/** A registry's description of a manifest, unverified. */
export interface ManifestHead {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes of the manifest. */
  readonly size: number;
}

const ACCEPTED = [
  MEDIA_TYPES.ociIndex,
  MEDIA_TYPES.dockerIndex,
  MEDIA_TYPES.ociManifest,
  MEDIA_TYPES.dockerManifest,
];

/** Types that do not describe the document; some file servers send no others. */
const NEUTRAL = ['', 'application/json', 'application/octet-stream', 'text/plain'];

export async function fetchManifest(
  endpoint: Endpoint,
  repository: Repository,
  tagOrDigest: string,
  { accept = ACCEPTED, signal }: ManifestOptions,
): Promise<FetchedManifest> {
  const subject = repository.manifest(tagOrDigest, endpoint.label);
  const request = {
    method: 'GET',
    headers: { accept: accept.join(', ') },
    scopes: [repository.scope('pull')],
    signal,
    subject,
    accept: [200],
  } as const;
  const path = repository.manifestPath(tagOrDigest);
  const { response, bytes } = await endpoint.ask(path, request, MAX_MANIFEST_BYTES);
  const type = contentType(response);
  checkType(type, subject);
  if (bytes === undefined) throw tooLong(subject);
  return {
    bytes,
    digest: checkDigest(bytes, tagOrDigest, response, subject),
    mediaType: checkDocument(bytes, type, subject),
  };
}

/** Returns undefined where the registry does not give enough facts; the manifest must then be fetched. */
export async function headManifest(
  endpoint: Endpoint,
  repository: Repository,
  tagOrDigest: string,
  { accept = ACCEPTED, signal }: ManifestOptions,
): Promise<ManifestHead | undefined> {
  const subject = repository.manifest(tagOrDigest, endpoint.label);
  const response = await endpoint.send(repository.manifestPath(tagOrDigest), {
    method: 'HEAD',
    headers: { accept: accept.join(', ') },
    scopes: [repository.scope('pull')],
    signal,
    subject,
    accept: [200],
  });
  discard(response.body);
  const digest = header(response, 'docker-content-digest') ?? '';
  const size = sizeOf(response);
  const mediaType = contentType(response);
  checkType(mediaType, subject);
  if (!isDigest(digest) || size === undefined || NEUTRAL.includes(mediaType)) return undefined;
  if (isDigest(tagOrDigest) && digest !== tagOrDigest) throw otherDigest(subject, tagOrDigest, digest);
  return { digest, size, mediaType };
}

/** Returns the number of bytes that the response announces. */
export function sizeOf(response: HttpResponse): number | undefined {
  const length = header(response, 'content-length');
  return length !== undefined && /^\d{1,15}$/.test(length) ? Number(length) : undefined;
}

/** Returns the media type without its parameters. */
export function contentType(response: HttpResponse): string {
  return (header(response, 'content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

function checkType(type: string, subject: Subject): void {
  if (type.startsWith('application/vnd.docker.distribution.manifest.v1'))
    throw registryError(
      'ERR_MANIFEST_INVALID',
      subject,
      `${subject.registry} has it in docker's schema 1 only, which says neither DiffIDs nor sizes and is not supported; ` +
        'push the image again with docker 1.10 or later',
    );
  if (type === 'text/html') throw notARegistry(subject, 'a web page');
  if (NEUTRAL.includes(type) || isManifestType(type) || isIndexType(type)) return;
  throw registryError(
    'ERR_MANIFEST_INVALID',
    subject,
    `${subject.registry} sends ${JSON.stringify(type.slice(0, 100))}, which is neither an image's manifest nor an index`,
  );
}

function checkDigest(bytes: Uint8Array, asked: string, response: HttpResponse, subject: Subject): Digest {
  const digest = digestOf(bytes);
  if (isDigest(asked) && asked !== digest) throw otherDigest(subject, asked, digest);
  const said = header(response, 'docker-content-digest');
  if (said !== undefined && said !== digest && (isDigest(said) || !/^sha(384|512):[0-9a-f]+$/.test(said)))
    throw otherDigest(subject, said.slice(0, 100), digest);
  return digest;
}

function otherDigest(subject: Subject, expected: string, found: string): LayerstackError {
  return registryError(
    'ERR_DIGEST_MISMATCH',
    subject,
    `${subject.registry} sends a document with the digest ${found} instead of ${expected}; ` +
      'it is damaged, or was changed in transit: do not use it',
    { expected, found },
  );
}

/** Returns the document's media type. */
function checkDocument(bytes: Uint8Array, type: string, subject: Subject): string {
  if (bytes[0] === 0x3c) throw notARegistry(subject, `a web page (${wordsOf(bytes)})`);
  let document;
  try {
    document = parseManifest(bytes, subject.what);
  } catch (error) {
    if (!LayerstackError.is(error)) throw error;
    const why = error.message.slice(subject.what.length + 2);
    throw registryError(error.code, subject, `${subject.registry} does not send a manifest: ${why}`, {
      cause: error,
    });
  }
  const { kind, mediaType = '' } = document;
  const fallback = kind === 'index' ? MEDIA_TYPES.ociIndex : MEDIA_TYPES.ociManifest;
  const found = mediaType === '' ? fallback : mediaType;
  const fits = kind === 'index' ? isIndexType : isManifestType;
  const announced = NEUTRAL.includes(type) ? found : type;
  // Docker's types must be in the document. OCI's may be left out; then only the header gives the type.
  if (fits(announced) && fits(found) && (mediaType === '' || mediaType === announced)) return announced;
  throw registryError(
    'ERR_MANIFEST_INVALID',
    subject,
    `${subject.registry} calls it ${announced}, but the document is ${mediaType === '' ? `an ${kind}` : mediaType}; ` +
      'a document that can be read in two ways is refused',
    { expected: announced, found: mediaType === '' ? kind : mediaType },
  );
}

function notARegistry(subject: Subject, what: string): LayerstackError {
  return registryError(
    'ERR_REGISTRY_INVALID',
    subject,
    `${subject.registry} sends ${what} instead of a manifest; is it a registry, or does a login page or a proxy answer in its place?`,
  );
}

function tooLong(subject: Subject): LayerstackError {
  return registryError(
    'ERR_LIMIT_EXCEEDED',
    subject,
    `${subject.registry} sends more than ${String(MAX_MANIFEST_BYTES)} bytes, which no manifest may have`,
    { limit: MAX_MANIFEST_BYTES },
  );
}
