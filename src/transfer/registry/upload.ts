/**
 * Uploads a blob to a registry. POST opens a session, PATCH carries the bytes, and PUT with the digest ends
 * it. The session's state is in its URL, which changes with every response. When a PATCH breaks off, the
 * session says how much has arrived (`Range: 0-LAST`), and the rest follows. If it cannot say, a new session
 * starts from the first byte. An abandoned session is deleted, so that the registry does not keep a partial
 * blob. A running PATCH is ended early before that, because distribution identifies a session only by the URL
 * of its last response. (Distribution can neither resume nor delete a session whose PATCH broke off; it keeps
 * the session until it purges it.) Mirrors opencontainers/distribution-spec: Pushing blobs;
 * distribution/distribution: docs/spec/api.md (Resumable Push).
 */
import { pause, unlessAborted } from '../../core/abort.ts';
import type { Digest } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import type { Scope } from './auth/authorizer.ts';
import { statBlob } from './blob.ts';
import type { ApiRequest, Endpoint } from './endpoint.ts';
import { registryError, type Subject } from './error.ts';
import type { RequestOptions } from './manifest.ts';
import { pauseBefore, type RetryPolicy } from './retry.ts';
import type { Repository } from './repository.ts';
import { discard, header, type HttpResponse } from './transport.ts';

/** Returns the bytes from an offset. May be called again after a broken connection. */
export type UploadSource = (from: number) => AsyncIterable<Uint8Array>;

export interface UploadOptions extends RequestOptions {
  /** Bytes of the blob, where they are known. */
  readonly size?: number | undefined;
  /** Upload in one PUT instead of PATCH and PUT; `digest` is then called before the source is read. */
  readonly monolithic?: boolean | undefined;
  /** Reports the bytes of the blob sent so far. The number falls when some must be sent again. */
  onProgress?(bytes: number): void;
}

/** Registries check the whole blob before they answer the last request. */
const COMMIT_MS = 600_000;
/**
 * Maximum broken connections of one upload, each after some bytes; real ones break a few times in gigabytes.
 */
const MAX_BREAKS = 200;
/** Time limit for deleting an abandoned upload; a caller that stops a push waits for it. */
const CANCEL_MS = 600;
/** The part of that time in which a PATCH may be answered after its body has ended early. */
const END_MS = 300;

/** The place to which a blob is uploaded. */
export interface UploadTarget {
  readonly endpoint: Endpoint;
  readonly repository: Repository;
  readonly retry: RetryPolicy;
}

export class Upload {
  readonly #endpoint: Endpoint;
  readonly #repository: Repository;
  readonly #retry: RetryPolicy;
  readonly #source: UploadSource;
  readonly #digest: () => Digest;
  readonly #options: UploadOptions;
  readonly #scopes: readonly Scope[];
  #session: URL | undefined;
  /** The body of the last PATCH. */
  #body: CountedSource | undefined;
  /** The running PATCH, as a promise that never rejects, and the controller that aborts it. */
  #patching: Promise<unknown> = Promise.resolve();
  readonly #breakOff = new AbortController();

  constructor(
    { endpoint, repository, retry }: UploadTarget,
    source: UploadSource,
    digest: () => Digest,
    options: UploadOptions,
  ) {
    this.#endpoint = endpoint;
    this.#repository = repository;
    this.#retry = retry;
    this.#source = source;
    this.#digest = digest;
    this.#options = options;
    this.#scopes = [repository.scope('pull,push')];
  }

  /**
   * Uploads the blob. Resolves when the registry has it. After an error the caller must call {@link cancel}.
   */
  async run(): Promise<void> {
    let offset = 0;
    let breaks = 0;
    for (let attempt = 1; ; attempt++) {
      try {
        if (this.#options.monolithic === true) await this.#put();
        else await this.#patch(offset);
        break;
      } catch (error) {
        const wait = pauseBefore(error, attempt, this.#retry);
        if (wait === undefined) throw error;
        await pause(wait, this.#options.signal);
        const arrived = this.#options.monolithic === true ? 0 : await this.#arrived();
        // Progress resets the attempts. The limit of breaks stops a registry that takes a byte at a time.
        if (arrived > offset && ++breaks < MAX_BREAKS) attempt = 0;
        offset = arrived;
      }
    }
    if (this.#options.monolithic !== true) await this.#commit();
    this.#session = undefined;
  }

  /** Deletes an unfinished upload at the registry. It waits only a short time, and never rejects. */
  async cancel(): Promise<void> {
    const signal = AbortSignal.timeout(CANCEL_MS);
    const late = setTimeout(() => this.#breakOff.abort(), END_MS);
    await this.#patching;
    clearTimeout(late);
    const session = this.#session;
    this.#session = undefined;
    if (!session) return;
    await deleteSession(this.#endpoint, session, { scopes: this.#scopes, subject: this.#subject() }, signal);
  }

  /** Returns the session's URL. Opens a session where none exists. */
  async #open(): Promise<URL> {
    if (this.#session) return this.#session;
    await this.#send('POST', `${this.#repository.path}/blobs/uploads/`, { accept: [202] });
    return this.#sessionUrl();
  }

  async #patch(offset: number): Promise<void> {
    const { size } = this.#options;
    const session = await this.#open();
    const { signal } = this.#options;
    const body = new CountedSource(this.#source, offset, this.#options.onProgress?.bind(this.#options), {
      gracefully: size === undefined,
      signal,
    });
    this.#body = body;
    const headers = {
      'content-type': 'application/octet-stream',
      ...(size !== undefined && { 'content-length': String(size - offset) }),
      ...(size !== undefined && offset > 0 && { 'content-range': `${String(offset)}-${String(size - 1)}` }),
    };
    const accept = [202, 204, 201];
    const patched = this.#send('PATCH', session, { accept, headers, body, signal: this.#breakOff.signal });
    this.#patching = patched.catch(() => undefined);
    try {
      await (signal ? unlessAborted(signal, patched) : patched);
    } catch (error) {
      throw body.failure ?? error;
    }
    if (body.failure !== undefined) throw body.failure;
  }

  /** Ends the session: the registry checks the digest. */
  async #commit(): Promise<void> {
    const digest = this.#digest();
    const url = this.#sessionUrl();
    url.searchParams.set('digest', digest);
    const headers = { 'content-length': '0' };
    try {
      await this.#send('PUT', url, { accept: [201, 204], headers, headersMs: COMMIT_MS, digest });
    } catch (error) {
      // The response to a first PUT may have been lost before this second one.
      const unknown = LayerstackError.is(error, 'ERR_REGISTRY_NOT_FOUND');
      if (!unknown || !(await this.#exists(digest))) throw error;
    }
  }

  async #put(): Promise<void> {
    const { size } = this.#options;
    const digest = this.#digest();
    await this.cancel();
    const url = await this.#open();
    url.searchParams.set('digest', digest);
    const body = new CountedSource(this.#source, 0, this.#options.onProgress?.bind(this.#options));
    const headers = {
      'content-type': 'application/octet-stream',
      ...(size !== undefined && { 'content-length': String(size) }),
    };
    try {
      await this.#send('PUT', url, { accept: [201, 204], headers, body, headersMs: COMMIT_MS, digest });
    } catch (error) {
      if (body.failure !== undefined) throw body.failure;
      const lost = LayerstackError.is(error) && error.status === undefined && error.retryable === true;
      if (!lost || !(await this.#exists(digest))) throw error;
    }
  }

  async #exists(digest: Digest): Promise<boolean> {
    try {
      await statBlob(this.#endpoint, this.#repository, digest, this.#options);
      return true;
    } catch (error) {
      if (LayerstackError.is(error, 'ERR_REGISTRY_NOT_FOUND')) return false;
      throw error;
    }
  }

  /** Returns how many bytes the session has. Abandons a session that no longer exists or gives no number. */
  async #arrived(): Promise<number> {
    if (!this.#session) return 0;
    try {
      const response = await this.#send('GET', this.#session, { accept: [204, 200, 202] });
      const last = /^(?:bytes=)?0-(\d{1,15})$/.exec(header(response, 'range') ?? '')?.[1];
      // A number beyond the sent bytes is not ours. `0-0` may mean one byte, but distribution answers it for
      // none.
      const arrived = last === undefined ? 0 : Number(last) + 1;
      if (arrived > 1 && arrived <= (this.#body?.given ?? 0)) return arrived;
    } catch (error) {
      if (!LayerstackError.is(error) || error.code === 'ERR_ABORTED') throw error;
    }
    await this.cancel();
    return 0;
  }

  async #send(
    method: 'POST' | 'PATCH' | 'PUT' | 'GET',
    target: string | URL,
    request: {
      readonly accept: readonly number[];
      readonly headers?: Record<string, string>;
      readonly body?: AsyncIterable<Uint8Array>;
      readonly headersMs?: number;
      readonly signal?: AbortSignal | undefined;
      readonly digest?: Digest;
    },
  ): Promise<HttpResponse> {
    const { digest, ...rest } = request;
    const subject = this.#subject(digest);
    const response = await this.#endpoint.send(target, {
      method,
      scopes: this.#scopes,
      signal: this.#options.signal,
      subject,
      ...rest,
    });
    discard(response.body);
    const { status } = response;
    if (status === 202 || header(response, 'location') !== undefined)
      this.#session = this.#endpoint.location(response, subject);
    return response;
  }

  #sessionUrl(): URL {
    if (this.#session) return new URL(this.#session);
    throw registryError('ERR_REGISTRY_INVALID', this.#subject(), 'the upload has no session');
  }

  #subject(digest?: Digest): Subject {
    const { label } = this.#endpoint;
    return digest === undefined
      ? this.#repository.subject(`upload to ${this.#repository.name}`, label)
      : this.#repository.blob(digest, label);
  }
}

/** Deletes an upload at the registry. It waits only a short time, and never rejects. */
export async function deleteSession(
  endpoint: Endpoint,
  session: URL,
  { scopes, subject }: Pick<ApiRequest, 'scopes' | 'subject'>,
  signal = AbortSignal.timeout(CANCEL_MS),
): Promise<void> {
  const request = { method: 'DELETE', scopes, subject, signal, accept: [204, 202, 404] } as const;
  const deleted = endpoint.send(session, request).then(({ body }) => discard(body));
  await deleted.catch(() => undefined);
}

/**
 * A source that counts the bytes taken from it, and keeps its own error apart from the connection's. With
 * `gracefully` it ends like a complete source when it fails or the signal fires: the request is then
 * answered, and the connection stays open.
 */
class CountedSource implements AsyncIterable<Uint8Array> {
  readonly #source: UploadSource;
  readonly #from: number;
  readonly #onProgress: ((bytes: number) => void) | undefined;
  readonly #gracefully: boolean;
  readonly #signal: AbortSignal | undefined;
  /** Offset up to which bytes have been handed out; no later byte can have arrived. */
  given: number;
  /** The error of the source itself. */
  failure: Error | undefined;

  constructor(
    source: UploadSource,
    from: number,
    onProgress: ((bytes: number) => void) | undefined,
    {
      gracefully = false,
      signal,
    }: { readonly gracefully?: boolean; readonly signal?: AbortSignal | undefined } = {},
  ) {
    this.#source = source;
    this.#from = from;
    this.given = from;
    this.#onProgress = onProgress;
    this.#gracefully = gracefully;
    this.#signal = signal;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    let sent = this.#from;
    try {
      for await (const chunk of this.#source(this.#from)) {
        if (this.#gracefully && this.#signal?.aborted) return;
        this.given += chunk.length;
        yield chunk;
        this.#onProgress?.((sent += chunk.length));
      }
    } catch (error) {
      this.failure = error as Error;
      if (!this.#gracefully) throw error;
    }
  }
}
