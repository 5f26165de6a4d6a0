/**
 * Lists the contents of a registry. A repository's tags come page by page (`Link: <…>; rel="next"`, RFC
 * 8288). The manifests that refer to another one (signatures, SBOMs) come from the referrers API of OCI 1.1.
 * Where a registry lacks that API, they come from the index that clients keep under the tag `sha256-HEX`.
 */
import { MEDIA_TYPES, parseManifest, type Descriptor, type Index } from '../../core/descriptor.ts';
import type { Digest } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import * as json from '../../core/json.ts';
import type { Endpoint } from './endpoint.ts';
import { registryError, type Subject } from './error.ts';
import { parseLinks } from './link.ts';
import { contentType, fetchManifest, type RequestOptions } from './manifest.ts';
import type { Repository } from './repository.ts';
import type { HttpResponse } from './transport.ts';

const PAGE_SIZE = 1000;
const MAX_PAGE_BYTES = 4 * 1024 * 1024;
const MAX_PAGES = 10_000;
const MAX_REFERRERS = 10_000;
/** More tags than the largest repositories have. */
const MAX_TAGS = 1_000_000;

const tagList = json.object({ tags: json.withDefault(json.array(json.string), []) });

/**
 * Yields the tags of a repository, in the registry's order.
 * @throws {@link LayerstackError} ERR_REGISTRY_NOT_FOUND and others.
 */
export async function* listTags(
  endpoint: Endpoint,
  repository: Repository,
  options: RequestOptions,
): AsyncGenerator<string, void, undefined> {
  const subject = repository.subject(`tags of ${repository.name}`, endpoint.label);
  const first = `${repository.path}/tags/list?n=${String(PAGE_SIZE)}`;
  let listed = 0;
  const list = { first, accept: 'application/json', subject };
  for await (const { bytes } of pages(endpoint, repository, list, options)) {
    const { tags } = json.decodeJson(tagList, bytes, source(subject));
    if ((listed += tags.length) > MAX_TAGS) throw tooMany(subject, MAX_TAGS);
    yield* tags;
  }
}

/**
 * Returns an index of the manifests that name this one as their subject. It is empty where nothing refers to
 * it.
 */
export async function listReferrers(
  endpoint: Endpoint,
  repository: Repository,
  digest: Digest,
  options: RequestOptions,
): Promise<Index> {
  // The digest is not a fact of the subject: unlike a blob or a manifest, the response cannot be verified by
  // it.
  const subject = repository.subject(`referrers of ${repository.name}@${digest}`, endpoint.label);
  const manifests: Descriptor[] = [];
  try {
    const first = `${repository.path}/referrers/${digest}`;
    const list = { first, accept: MEDIA_TYPES.ociIndex, subject };
    for await (const { bytes, type } of pages(endpoint, repository, list, options)) {
      const document = parseManifest(bytes, subject.what);
      if (document.kind !== 'index' || !['', 'application/json', MEDIA_TYPES.ociIndex].includes(type))
        throw registryError(
          'ERR_REGISTRY_INVALID',
          subject,
          `${endpoint.label} does not send an index of them`,
        );
      manifests.push(...document.manifests);
      if (manifests.length > MAX_REFERRERS) throw tooMany(subject, MAX_REFERRERS);
    }
  } catch (error) {
    if (!isMissing(error)) throw error;
    return taggedReferrers(endpoint, repository, digest, options);
  }
  return { mediaType: MEDIA_TYPES.ociIndex, manifests };
}

/**
 * Returns the index under the tag that stands for the digest. Clients keep it where the registry has no
 * referrers API.
 */
async function taggedReferrers(
  endpoint: Endpoint,
  repository: Repository,
  digest: Digest,
  options: RequestOptions,
): Promise<Index> {
  const tag = digest.replace(':', '-');
  try {
    const { bytes } = await fetchManifest(endpoint, repository, tag, options);
    const document = parseManifest(bytes, `manifest ${repository.name}:${tag}`);
    if (document.kind === 'index') return { mediaType: MEDIA_TYPES.ociIndex, manifests: document.manifests };
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  return { mediaType: MEDIA_TYPES.ociIndex, manifests: [] };
}

/** A list that a registry sends in pages. */
interface PagedList {
  /** The path of the first page. */
  readonly first: string;
  /** The media type. */
  readonly accept: string;
  readonly subject: Subject;
}

async function* pages(
  endpoint: Endpoint,
  repository: Repository,
  { first, accept, subject }: PagedList,
  { signal }: RequestOptions,
): AsyncGenerator<{ readonly bytes: Buffer; readonly type: string }, void, undefined> {
  let next: string | URL | undefined = first;
  const seen = new Set<string>();
  while (next !== undefined) {
    const request = {
      method: 'GET',
      headers: { accept },
      scopes: [repository.scope('pull')],
      signal,
      subject,
      accept: [200],
    } as const;
    const { response, bytes } = await endpoint.ask(next, request, MAX_PAGE_BYTES);
    if (bytes === undefined)
      throw registryError(
        'ERR_LIMIT_EXCEEDED',
        subject,
        `${endpoint.label} sends a page of more than ${String(MAX_PAGE_BYTES)} bytes`,
        { limit: MAX_PAGE_BYTES },
      );
    yield { bytes, type: contentType(response) };
    next = nextPage(response, subject);
    if (next === undefined) return;
    if (seen.has(next.href))
      throw registryError(
        'ERR_REGISTRY_INVALID',
        subject,
        `${endpoint.label} sends the same page again and again`,
      );
    if (seen.add(next.href).size > MAX_PAGES) throw tooMany(subject, MAX_PAGES);
  }
}

/** Returns the URL of the next page, which must be on the same server. */
function nextPage({ headers, url: page }: HttpResponse, subject: Subject): URL | undefined {
  const resolved = (text: string): URL | undefined =>
    URL.canParse(text, page.href) ? new URL(text, page) : undefined;
  const next = parseLinks(headers['link']).find(
    ({ rel, anchor }) =>
      rel.includes('next') && (anchor === undefined || resolved(anchor)?.href === page.href),
  );
  if (!next) return undefined;
  const url = resolved(next.target);
  if (url?.host === page.host) {
    url.protocol = page.protocol;
    return url;
  }
  throw registryError(
    'ERR_REGISTRY_INVALID',
    subject,
    `${subject.registry} names a next page on another server`,
  );
}

function tooMany(subject: Subject, limit: number): LayerstackError {
  return registryError(
    'ERR_LIMIT_EXCEEDED',
    subject,
    `${subject.registry} lists more than ${String(limit)} of them`,
    {
      limit,
    },
  );
}

function source(subject: Subject): json.JsonSource {
  const { registry, repository } = subject;
  return {
    what: subject.what,
    code: 'ERR_REGISTRY_INVALID',
    maxBytes: MAX_PAGE_BYTES,
    facts: { registry, repository },
  };
}

/**
 * Returns whether the registry lacks the API. Distribution before 3.0 answers 404 for an unknown path, others
 * answer 405 or say that it is not supported.
 */
function isMissing(error: unknown): boolean {
  return (
    LayerstackError.is(error) &&
    (error.code === 'ERR_REGISTRY_NOT_FOUND' || error.code === 'ERR_REGISTRY_UNSUPPORTED')
  );
}
