/**
 * One server that speaks the registry API (https://HOST/v2/, the OCI distribution spec): which of https and http it is,
 * and requests to it with redirects followed.
 */
import { registryError, refusalError, type Subject } from './error.ts';
import {
  discard,
  header,
  readBody,
  type HttpRequest,
  type HttpResponse,
  type Transport,
} from './transport.ts';

export interface ApiRequest extends HttpRequest {
  readonly subject: Subject;
  /** Statuses that are an answer; every other one is thrown as an error. */
  readonly accept: readonly number[];
}

const MAX_ERROR_BYTES = 64 * 1024;
const MAX_REDIRECTS = 10;
const REDIRECTS = [301, 302, 303, 307, 308];

export class Endpoint {
  readonly #transport: Transport;
  readonly #bases: readonly URL[];
  #base: Promise<URL> | undefined;

  /** @param bases URLs of the server, ending in `/v2/`; the first one that answers is used. */
  constructor(transport: Transport, bases: readonly URL[]) {
    this.#transport = transport;
    this.#bases = bases;
  }

  /** Sends a request; `target` is relative to `/v2/`, or what a Location header said. */
  async send(target: string | URL, request: ApiRequest): Promise<HttpResponse> {
    const url = typeof target === 'string' ? new URL(target, await this.#resolved(request.signal)) : target;
    const response = await this.#followed(url, request);
    if (request.accept.includes(response.status)) return response;
    throw await this.#refusal(response, request);
  }

  async #followed(start: URL, request: ApiRequest): Promise<HttpResponse> {
    let url = start;
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const response = await this.#transport.exchange(url, request);
      const location = header(response, 'location');
      const follow = REDIRECTS.includes(response.status) && location !== undefined;
      if (!follow || (request.method !== 'GET' && request.method !== 'HEAD')) return response;
      discard(response.body);
      url = new URL(location, url);
    }
    throw registryError(
      'ERR_REGISTRY_INVALID',
      request.subject,
      `${request.subject.registry} redirects more than ${String(MAX_REDIRECTS)} times; its storage is misconfigured`,
    );
  }

  async #refusal(response: HttpResponse, { subject, signal }: ApiRequest): Promise<Error> {
    const body = (await readBody(response, MAX_ERROR_BYTES, signal)) ?? Buffer.alloc(0);
    return refusalError(
      { status: response.status, contentType: header(response, 'content-type'), body },
      subject,
    );
  }

  #resolved(signal: AbortSignal | undefined): Promise<URL> {
    this.#base ??= this.#probe(signal).catch((error: unknown) => {
      this.#base = undefined;
      throw error;
    });
    return this.#base;
  }

  async #probe(signal: AbortSignal | undefined): Promise<URL> {
    let failure: unknown;
    for (const base of this.#bases) {
      try {
        discard((await this.#transport.exchange(base, { method: 'GET', signal })).body);
        return base;
      } catch (error) {
        if (signal?.aborted) throw error;
        failure = error;
      }
    }
    throw failure;
  }
}
