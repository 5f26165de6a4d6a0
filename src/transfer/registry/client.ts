/**
 * A client of one repository of a registry, for pull, push and the commands that inspect registries. It reads
 * manifests, blobs and the tags of a pull from the mirrors in the settings' order, then from the registry
 * itself. All other requests go only to the registry. A mirror never gets the registry's credentials (it has
 * its own, by its own host). A mirror that fails is not asked again.
 */
import type { Descriptor, Index } from '../../core/descriptor.ts';
import { digestOf, isDigest, type Digest } from '../../core/digest.ts';
import { LayerstackError, undefinedIf } from '../../core/errors.ts';
import type { Logger } from '../../system/log.ts';
import { locateRepository } from './address.ts';
import type { CredentialSource } from './auth/credentials.ts';
import { openBlob, statBlob, type BlobOptions, type OpenedBlob } from './blob.ts';
import type { Endpoint } from './endpoint.ts';
import { registryError } from './error.ts';
import { listReferrers, listTags } from './listing.ts';
import {
  fetchManifest,
  headManifest,
  type FetchedManifest,
  type ManifestHead,
  type ManifestOptions,
  type ReadOptions,
  type RequestOptions,
} from './manifest.ts';
import { openMirror, openOrigin } from './open-endpoint.ts';
import type { Environment } from './proxy.ts';
import { Repository } from './repository.ts';
import { DEFAULT_RETRY, type RetryPolicy } from './retry.ts';
import type { RegistrySettings } from './settings.ts';
import { Sources } from './sources.ts';
import { discard, header, type Timeouts } from './transport.ts';
import { deleteSession, Upload, type UploadOptions, type UploadSource } from './upload.ts';

export type { BlobOptions, OpenedBlob } from './blob.ts';
export type { FetchedManifest, ManifestHead, ManifestOptions, RequestOptions } from './manifest.ts';
export type { UploadOptions, UploadSource } from './upload.ts';

/** Settings and services that a client of any repository needs. */
export interface RegistryAccess {
  readonly settings: RegistrySettings;
  readonly credentials: CredentialSource | undefined;
  readonly log: Logger;
  readonly timeouts?: Partial<Timeouts> | undefined;
  readonly retry?: Partial<RetryPolicy> | undefined;
  /** The environment with the proxies' variables. Default: the process's. */
  readonly env?: Environment | undefined;
}

/**
 * Returns a client of the repository (a name without tag and digest). It connects at its first request.
 * @throws {@link LayerstackError} ERR_REFERENCE_INVALID.
 */
export function openRepository(repository: string, access: RegistryAccess): RepositoryClient {
  return new RepositoryClient(repository, access);
}

/**
 * Every method may throw the errors of a request: ERR_REGISTRY_UNAVAILABLE and ERR_REGISTRY_LIMIT after all
 * attempts, ERR_REGISTRY_DENIED, ERR_REGISTRY_NOT_FOUND, ERR_REGISTRY_REFUSED, ERR_REGISTRY_UNSUPPORTED,
 * ERR_REGISTRY_INVALID, ERR_REGISTRY_SETTINGS, ERR_CREDENTIALS_INVALID, ERR_ABORTED. The error names the
 * registry, the repository and the object.
 */
export class RepositoryClient implements AsyncDisposable {
  readonly #repository: Repository;
  readonly #origin: Endpoint;
  readonly #mirrors: readonly Endpoint[];
  readonly #sources: Sources;
  readonly #retry: RetryPolicy;
  readonly #cancelled = new Set<Promise<void>>();

  constructor(repository: string, access: RegistryAccess) {
    const { settings, log, env = process.env } = access;
    this.#repository = new Repository(repository);
    this.#retry = { ...DEFAULT_RETRY, ...access.retry };
    const { registry } = this.#repository;
    this.#origin = openOrigin(registry, { ...access, env, retry: this.#retry });
    this.#mirrors = (settings.hosts.get(registry.host)?.mirrors ?? []).map((url) =>
      openMirror(url, { ...access, env, retry: MIRROR_RETRY(this.#retry) }),
    );
    this.#sources = new Sources(this.#mirrors, this.#origin, log);
  }

  /** The name in familiar form, as `Reference.repository`. */
  get repository(): string {
    return this.#repository.name;
  }

  /**
   * How often and when a request is sent again. A reader that resumes a broken body follows the same policy.
   */
  get retry(): RetryPolicy {
    return this.#retry;
  }

  /**
   * Fetches a manifest or index, and verifies it.
   * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH, ERR_MANIFEST_INVALID, ERR_LIMIT_EXCEEDED,
   *   ERR_REFERENCE_INVALID.
   */
  fetchManifest(tagOrDigest: string, options: ManifestOptions = {}): Promise<FetchedManifest> {
    return this.#sources.read(options, (endpoint) =>
      fetchManifest(endpoint, this.#repository, tagOrDigest, options),
    );
  }

  /**
   * Returns the registry's description of a manifest, unverified; undefined where the manifest does not
   * exist.
   */
  async headManifest(tagOrDigest: string, options: ManifestOptions = {}): Promise<ManifestHead | undefined> {
    const head = await undefinedIf(
      this.#sources.read(options, async (endpoint) => {
        const said = await headManifest(endpoint, this.#repository, tagOrDigest, options);
        if (said) return said;
        const { bytes, ...rest } = await fetchManifest(endpoint, this.#repository, tagOrDigest, options);
        return { ...rest, size: bytes.length };
      }),
      'ERR_REGISTRY_NOT_FOUND',
    );
    return head;
  }

  /**
   * Opens the blob's bytes from `offset`, NOT verified.
   * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH where the server announces another size than the
   *   descriptor's.
   */
  openBlob(blob: Pick<Descriptor, 'digest' | 'size'>, options: BlobOptions = {}): Promise<OpenedBlob> {
    return this.#sources.read(options, async (endpoint) => {
      const opened = await openBlob(endpoint, this.#repository, blob, options);
      return {
        ...opened,
        body: this.#sources.watched(endpoint, opened.body),
        distrust: () => this.#sources.distrust(endpoint),
      };
    });
  }

  /**
   * Returns the bytes of a blob; undefined where the registry itself does not have it, or does not give its
   * size.
   */
  hasBlob(digest: Digest, options: RequestOptions = {}): Promise<number | undefined> {
    return undefinedIf(statBlob(this.#origin, this.#repository, digest, options), 'ERR_REGISTRY_NOT_FOUND');
  }

  /**
   * Mounts a blob of another repository (in familiar form) of the same registry into this repository, without
   * its bytes. Returns false if the registry does not mount it; its answers differ. The blob must then be
   * uploaded.
   */
  async mountBlob(digest: Digest, from: string, { signal }: RequestOptions = {}): Promise<boolean> {
    const { registry, path } = locateRepository(from);
    if (registry.host !== this.#repository.registry.host) return false;
    const subject = this.#repository.blob(digest, this.#origin.label);
    const query = new URLSearchParams({ mount: digest, from: path }).toString();
    const scopes = [this.#repository.scope('pull,push'), `repository:${path}:pull` as const];
    const request = { signal, subject, scopes };
    const response = await this.#origin.send(`${this.#repository.path}/blobs/uploads/?${query}`, {
      ...request,
      method: 'POST',
      headers: { 'content-length': '0' },
      accept: undefined,
    });
    discard(response.body);
    if (response.status === 201) return true;
    // 202: the registry opened an upload instead.
    if (response.status === 202 && header(response, 'location') !== undefined)
      this.#afterwards(deleteSession(this.#origin, this.#origin.location(response, subject), request));
    return false;
  }

  /**
   * Uploads a blob whose digest is known when its source has ended. Resolves when the registry has checked
   * and stored it.
   */
  async uploadBlob(source: UploadSource, digest: () => Digest, options: UploadOptions = {}): Promise<void> {
    const target = { endpoint: this.#origin, repository: this.#repository, retry: this.#retry };
    const upload = new Upload(target, source, digest, options);
    try {
      await upload.run();
    } catch (error) {
      this.#afterwards(upload.cancel());
      throw error;
    }
  }

  /**
   * Uploads a manifest or index, whose blobs must exist there. Resolves with its digest.
   * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH where the bytes do not have the given digest, or the
   *   registry has received other bytes.
   */
  async pushManifest(
    tagOrDigest: string,
    mediaType: string,
    bytes: Uint8Array,
    { signal }: RequestOptions = {},
  ): Promise<Digest> {
    const subject = this.#repository.manifest(tagOrDigest, this.#origin.label);
    const digest = digestOf(bytes);
    const differs = (found: string, who: string) =>
      registryError('ERR_DIGEST_MISMATCH', subject, `${who} ${found}, not ${digest}`, {
        expected: digest,
        found,
      });
    if (isDigest(tagOrDigest) && tagOrDigest !== digest)
      throw differs(tagOrDigest, 'its reference has the digest');
    const response = await this.#origin.send(this.#repository.manifestPath(tagOrDigest), {
      method: 'PUT',
      headers: { 'content-type': mediaType },
      body: bytes,
      scopes: [this.#repository.scope('pull,push')],
      signal,
      subject,
      accept: [200, 201],
    });
    discard(response.body);
    const said = header(response, 'docker-content-digest');
    if (said !== undefined && isDigest(said) && said !== digest) throw differs(said, 'the registry received');
    return digest;
  }

  /**
   * Yields the repository's tags. With `origin` they come from the registry itself, page by page, else from
   * the first source that lists them completely. A mirror that lists none does not have the repository.
   */
  async *tags(options: ReadOptions = {}): AsyncIterable<string> {
    if (options.origin === true) {
      yield* listTags(this.#origin, this.#repository, options);
      return;
    }
    yield* await this.#sources.read(options, async (endpoint) => {
      const listed: string[] = [];
      for await (const tag of listTags(endpoint, this.#repository, options)) listed.push(tag);
      if (listed.length > 0 || endpoint === this.#origin) return listed;
      const subject = this.#repository.subject(`tags of ${this.repository}`, endpoint.label);
      throw registryError('ERR_REGISTRY_NOT_FOUND', subject, `${endpoint.label} lists none`);
    });
  }

  /** Returns the manifests that name this one as their subject: signatures, SBOMs and the like. */
  referrers(digest: Digest, options: RequestOptions = {}): Promise<Index> {
    return listReferrers(this.#origin, this.#repository, digest, options);
  }

  /**
   * Deletes a manifest by its digest, with all its tags, or only a tag where the registry supports that. The
   * bytes stay until the registry collects its garbage.
   * @throws {@link LayerstackError} ERR_REGISTRY_UNSUPPORTED where the registry does not delete.
   */
  async deleteManifest(tagOrDigest: string, { signal }: RequestOptions = {}): Promise<void> {
    const subject = this.#repository.manifest(tagOrDigest, this.#origin.label);
    try {
      const response = await this.#origin.send(this.#repository.manifestPath(tagOrDigest), {
        method: 'DELETE',
        scopes: [this.#repository.scope('delete')],
        signal,
        subject,
        accept: [200, 202, 204],
      });
      discard(response.body);
    } catch (error) {
      if (!LayerstackError.is(error, 'ERR_REGISTRY_UNSUPPORTED')) throw error;
      throw registryError(
        error.code,
        subject,
        `${this.#origin.label} does not delete. Distribution's registry does when it runs with ` +
          'REGISTRY_STORAGE_DELETE_ENABLED=true; the bytes go when its `registry garbage-collect` runs',
        { status: error.status, cause: error },
      );
    }
  }

  /** Stops all requests. It first deletes unfinished uploads, and waits only a short time for that. */
  async close(): Promise<void> {
    await Promise.all(this.#cancelled);
    await Promise.all([this.#origin, ...this.#mirrors].map((endpoint) => endpoint.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Runs a cleanup at the registry, which must not delay the caller or fail its work. */
  #afterwards(work: Promise<void>): void {
    const settled = work
      .catch(() => undefined)
      .finally(() => {
        this.#cancelled.delete(settled);
      });
    this.#cancelled.add(settled);
  }
}

/** A mirror gets fewer attempts, because other sources follow it. */
const MIRROR_RETRY = (retry: RetryPolicy): RetryPolicy => ({
  ...retry,
  attempts: Math.min(2, retry.attempts),
});
