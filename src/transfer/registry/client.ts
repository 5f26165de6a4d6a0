/**
 * One repository of a registry. This is the first slice: interface as agreed; http and https to the origin, anonymous.
 * Refined so far against the agreed interface: `openBlob` also gives `distrust()`, to be called when the bytes turn out to be
 * wrong, so that this source (a mirror) is not asked again; `access.timeouts` shortens the time limits (for tests).
 * Tags, referrers, deletion, mirrors, credentials, retries, resumed uploads, TLS files and proxies come below this interface.
 */
import type { Descriptor } from '../../core/descriptor.ts';
import { MAX_MANIFEST_BYTES, MEDIA_TYPES, parseManifest } from '../../core/descriptor.ts';
import { digestOf, isDigest, type Digest } from '../../core/digest.ts';
import { abortError } from '../../core/abort.ts';
import type { Logger } from '../../system/log.ts';
import { isLoopback, locateRepository } from './address.ts';
import type { CredentialSource } from './auth/credentials.ts';
import { Endpoint } from './endpoint.ts';
import { connectionError, registryError, type Subject } from './error.ts';
import { redactUrl } from './redact.ts';
import type { RegistrySettings } from './settings.ts';
import { discard, header, readBody, Transport, type HttpResponse, type Timeouts } from './transport.ts';

/** What a client of any repository needs. */
export interface RegistryAccess {
  readonly settings: RegistrySettings;
  readonly credentials: CredentialSource | undefined;
  readonly log: Logger;
  readonly timeouts?: Partial<Timeouts>;
}

export interface RequestOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface ManifestOptions extends RequestOptions {
  /** Media types that are wanted; default: manifests and indexes of docker and OCI. */
  readonly accept?: readonly string[];
}

/** A manifest or index whose digest is verified, and whose media type fits the document. */
export interface FetchedManifest {
  readonly bytes: Uint8Array;
  readonly mediaType: string;
  readonly digest: Digest;
}

/** The bytes of a blob as they come: NOT verified. */
export interface OpenedBlob {
  /** Where in the blob the body begins: 0 where the server ignored the offset. */
  readonly start: number;
  /** Bytes of the whole blob, where the server says. */
  readonly total: number | undefined;
  /** Rejects with an error of kind `unavailable` and `retryable: true` when the connection breaks. */
  readonly body: AsyncIterable<Uint8Array>;
  /** The bytes are wrong: where they came from a mirror, it is not asked again. */
  distrust(): void;
}

export interface UploadOptions extends RequestOptions {
  /** Bytes of the blob, where they are known. */
  readonly size?: number | undefined;
  /** In one PUT instead of PATCH and PUT; `digest` is then asked before the source is read. */
  readonly monolithic?: boolean | undefined;
  /** Bytes sent so far. */
  onProgress?(bytes: number): void;
}

const ACCEPTED = [
  MEDIA_TYPES.ociIndex,
  MEDIA_TYPES.dockerIndex,
  MEDIA_TYPES.ociManifest,
  MEDIA_TYPES.dockerManifest,
];

/** @throws {@link LayerstackError} ERR_REFERENCE_INVALID. */
export function openRepository(repository: string, access: RegistryAccess): RepositoryClient {
  return new RepositoryClient(repository, access);
}

export class RepositoryClient implements AsyncDisposable {
  readonly repository: string;
  readonly #path: string;
  readonly #registry: string;
  readonly #transport: Transport;
  readonly #origin: Endpoint;

  constructor(repository: string, access: RegistryAccess) {
    const { registry, path } = locateRepository(repository);
    this.repository = repository;
    this.#path = path;
    this.#registry = registry.host;
    this.#transport = new Transport({ timeouts: access.timeouts });
    const insecure = isLoopback(registry.host) || access.settings.hosts.get(registry.host)?.insecure;
    const schemes = insecure ? ['https', 'http'] : ['https'];
    this.#origin = new Endpoint(
      this.#transport,
      schemes.map((scheme) => new URL(`${scheme}://${registry.apiHost}/v2/`)),
    );
  }

  /**
   * A manifest or index.
   * @throws {@link LayerstackError} ERR_REGISTRY_NOT_FOUND, ERR_REGISTRY_INVALID, ERR_DIGEST_MISMATCH, ERR_MANIFEST_INVALID,
   *   ERR_LIMIT_EXCEEDED and what every request throws.
   */
  async fetchManifest(tagOrDigest: string, options: ManifestOptions = {}): Promise<FetchedManifest> {
    const subject = this.#manifest(tagOrDigest);
    const response = await this.#origin.send(`${this.#path}/manifests/${tagOrDigest}`, {
      method: 'GET',
      headers: { accept: (options.accept ?? ACCEPTED).join(', ') },
      signal: options.signal,
      subject,
      accept: [200],
    });
    const bytes = await readBody(response, MAX_MANIFEST_BYTES, options.signal);
    if (bytes === undefined)
      throw registryError(
        'ERR_LIMIT_EXCEEDED',
        subject,
        `${this.#registry} sends more than ${String(MAX_MANIFEST_BYTES)} bytes; a manifest may not have more`,
        { limit: MAX_MANIFEST_BYTES },
      );
    const digest = digestOf(bytes);
    if (isDigest(tagOrDigest) && tagOrDigest !== digest)
      throw registryError('ERR_DIGEST_MISMATCH', subject, `${this.#registry} sends another document`, {
        expected: tagOrDigest,
        found: digest,
      });
    const document = parseManifest(bytes, subject.what);
    const mediaType = header(response, 'content-type')?.split(';')[0]?.trim() ?? document.mediaType ?? '';
    return { bytes, mediaType, digest };
  }

  /** What the registry says about a manifest, unverified; undefined where it has none. */
  async headManifest(
    tagOrDigest: string,
    options: ManifestOptions = {},
  ): Promise<{ mediaType: string; digest: Digest; size: number } | undefined> {
    const subject = this.#manifest(tagOrDigest);
    const response = await this.#origin.send(`${this.#path}/manifests/${tagOrDigest}`, {
      method: 'HEAD',
      headers: { accept: (options.accept ?? ACCEPTED).join(', ') },
      signal: options.signal,
      subject,
      accept: [200, 404],
    });
    discard(response.body);
    if (response.status === 404) return undefined;
    const digest = header(response, 'docker-content-digest');
    if (digest === undefined || !isDigest(digest)) {
      const fetched = await this.fetchManifest(tagOrDigest, options);
      return { mediaType: fetched.mediaType, digest: fetched.digest, size: fetched.bytes.length };
    }
    return { mediaType: header(response, 'content-type') ?? '', digest, size: sizeOf(response) ?? 0 };
  }

  /**
   * The blob's bytes from `offset` on.
   * @throws {@link LayerstackError} ERR_REGISTRY_NOT_FOUND, ERR_DIGEST_MISMATCH where the server announces another size.
   */
  async openBlob(
    { digest, size }: Pick<Descriptor, 'digest' | 'size' | 'urls'>,
    options: RequestOptions & { readonly offset?: number | undefined } = {},
  ): Promise<OpenedBlob> {
    const { offset = 0, signal } = options;
    const subject = this.#blob(digest);
    const response = await this.#origin.send(`${this.#path}/blobs/${digest}`, {
      method: 'GET',
      headers: offset > 0 ? { range: `bytes=${String(offset)}-` } : {},
      signal,
      subject,
      accept: [200, 206],
    });
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(header(response, 'content-range') ?? '');
    const start = response.status === 206 ? Number(range?.[1] ?? offset) : 0;
    const length = sizeOf(response);
    const total = length === undefined ? undefined : start + length;
    if (start > offset || (total !== undefined && total !== size)) {
      discard(response.body);
      throw registryError('ERR_DIGEST_MISMATCH', subject, `${this.#registry} sends other bytes`, {
        expected: size,
        found: total,
      });
    }
    return { start, total, body: bodyOf(response, signal), distrust: () => undefined };
  }

  /** Bytes of a blob; undefined where the registry does not have it. */
  async hasBlob(digest: Digest, options: RequestOptions = {}): Promise<number | undefined> {
    const response = await this.#origin.send(`${this.#path}/blobs/${digest}`, {
      method: 'HEAD',
      signal: options.signal,
      subject: this.#blob(digest),
      accept: [200, 404],
    });
    discard(response.body);
    return response.status === 404 ? undefined : (sizeOf(response) ?? 0);
  }

  /** Makes a blob of another repository (in familiar form) of this registry one of this repository; false: it is to be uploaded. */
  async mountBlob(digest: Digest, from: string, options: RequestOptions = {}): Promise<boolean> {
    const source = locateRepository(from);
    if (source.registry.host !== this.#registry) return false;
    const query = new URLSearchParams({ mount: digest, from: source.path }).toString();
    const response = await this.#origin.send(`${this.#path}/blobs/uploads/?${query}`, {
      method: 'POST',
      headers: { 'content-length': '0' },
      signal: options.signal,
      subject: this.#blob(digest),
      accept: [201, 202],
    });
    discard(response.body);
    if (response.status === 201) return true;
    await this.#origin.send(this.#location(response, this.#blob(digest)), {
      method: 'DELETE',
      signal: options.signal,
      subject: this.#blob(digest),
      accept: [204, 404, 405],
    });
    return false;
  }

  /**
   * Uploads a blob whose digest is known when its source has ended.
   * @param source the bytes from an offset on; may be asked again after a broken connection
   */
  async uploadBlob(
    source: (from: number) => AsyncIterable<Uint8Array>,
    digest: () => Digest,
    options: UploadOptions = {},
  ): Promise<void> {
    const { signal, size } = options;
    const subject: Subject = {
      what: `upload to ${this.repository}`,
      registry: this.#registry,
      repository: this.repository,
    };
    const started = await this.#origin.send(`${this.#path}/blobs/uploads/`, {
      method: 'POST',
      headers: { 'content-length': '0' },
      signal,
      subject,
      accept: [202],
    });
    discard(started.body);
    const patched = await this.#origin.send(this.#location(started, subject), {
      method: 'PATCH',
      headers: {
        'content-type': 'application/octet-stream',
        ...(size !== undefined && { 'content-length': String(size) }),
      },
      body: counted(source(0), options.onProgress?.bind(options)),
      signal,
      subject,
      accept: [202, 204],
    });
    discard(patched.body);
    const location = this.#location(patched, subject);
    location.searchParams.set('digest', digest());
    const put = await this.#origin.send(location, {
      method: 'PUT',
      headers: { 'content-length': '0' },
      signal,
      subject: this.#blob(digest()),
      accept: [201, 204],
    });
    discard(put.body);
  }

  /** Uploads a manifest or index; its blobs have to be there. Resolves with its digest. */
  async pushManifest(
    tagOrDigest: string,
    mediaType: string,
    bytes: Uint8Array,
    options: RequestOptions = {},
  ): Promise<Digest> {
    const response = await this.#origin.send(`${this.#path}/manifests/${tagOrDigest}`, {
      method: 'PUT',
      headers: { 'content-type': mediaType },
      body: bytes,
      signal: options.signal,
      subject: this.#manifest(tagOrDigest),
      accept: [200, 201],
    });
    discard(response.body);
    return digestOf(bytes);
  }

  close(): Promise<void> {
    return this.#transport.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #manifest(tagOrDigest: string): Subject {
    const reference = `${this.repository}${isDigest(tagOrDigest) ? '@' : ':'}${tagOrDigest}`;
    return {
      what: `manifest ${reference}`,
      registry: this.#registry,
      repository: this.repository,
      reference,
      ...(isDigest(tagOrDigest) && { digest: tagOrDigest }),
    };
  }

  #blob(digest: Digest): Subject {
    return {
      what: `blob ${digest} of ${this.repository}`,
      registry: this.#registry,
      repository: this.repository,
      digest,
    };
  }

  #location(response: HttpResponse, subject: Subject): URL {
    const location = header(response, 'location');
    if (location === undefined)
      throw registryError('ERR_REGISTRY_INVALID', subject, `${this.#registry} does not say where to upload`);
    return new URL(location, response.url);
  }
}

function sizeOf(response: HttpResponse): number | undefined {
  const length = header(response, 'content-length');
  return length !== undefined && /^\d{1,15}$/.test(length) ? Number(length) : undefined;
}

async function* bodyOf(
  { url, body }: HttpResponse,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* body as AsyncIterable<Uint8Array>;
  } catch (error) {
    if (signal?.aborted) throw abortError(signal);
    throw connectionError(error, redactUrl(url));
  } finally {
    discard(body);
  }
}

async function* counted(
  source: AsyncIterable<Uint8Array>,
  onProgress: ((bytes: number) => void) | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  let sent = 0;
  for await (const chunk of source) {
    yield chunk;
    onProgress?.((sent += chunk.length));
  }
}
