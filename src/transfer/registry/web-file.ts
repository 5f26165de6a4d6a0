/**
 * Fetches a file of the internet that a client of the service names by its URL (`docker import URL`), or a
 * Dockerfile (`ADD URL`). Neither may get access to servers that only this machine can reach. So addresses on
 * this machine, on its link and in private networks are out of reach, whatever names or redirects lead there.
 * No credentials are sent.
 * Mirrors moby/moby: builder/remotecontext/remote.go (GetWithStatusError).
 */
import { isSystemError, LayerstackError } from '../../core/errors.ts';
import { PLACES, lookupWithin, type EgressPolicy } from './egress.ts';
import { MAX_REDIRECTS, REDIRECTS } from './endpoint.ts';
import { registryError, wordsOf, type Subject } from './error.ts';
import { namedNetwork, type Network } from './network.ts';
import type { Environment } from './proxy.ts';
import { redactUrl } from './redact.ts';
import type { RegistrySettings } from './settings.ts';
import { discard, header, Transport, type HttpResponse } from './transport.ts';

export interface OpenedWebFile extends AsyncDisposable {
  /** Bytes, where the server gives them. */
  readonly size: number | undefined;
  /** `Last-Modified`, if the server gives it: milliseconds since 1970. */
  readonly modified: number | undefined;
  readonly bytes: AsyncIterable<Uint8Array>;
}

export interface WebAccess {
  readonly settings: RegistrySettings;
  /** The environment with the proxies' variables. Default: the process's. */
  readonly env?: Environment | undefined;
  /** Ends the message for a file out of reach: another way to get it. Default: that of an import. */
  readonly otherwise?: string | undefined;
}

const MAX_ERROR_BYTES = 64 * 1024;

export class WebFile {
  /** The URL without possible secrets. */
  readonly shown: string;
  readonly #url: URL;
  readonly #access: WebAccess;

  /**
   * @param url - without a scheme it counts as http, as in dockerd
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a text that is not a URL of http or https.
   */
  constructor(url: string, access: WebAccess) {
    this.#url = webUrl(url.includes('://') ? url : `http://${url}`, access.otherwise);
    this.#access = access;
    this.shown = redactUrl(this.#url);
  }

  /**
   * Requests the file, which stays open until it is disposed.
   * @throws {@link LayerstackError} ERR_REGISTRY_NOT_FOUND for a file that is missing or out of reach,
   *   ERR_INVALID_ARGUMENT for a request that the server finds malformed; ERR_REGISTRY_DENIED,
   *   ERR_REGISTRY_UNAVAILABLE, ERR_REGISTRY_INVALID, ERR_ABORTED.
   */
  async open(signal?: AbortSignal): Promise<OpenedWebFile> {
    const { settings, env = process.env, otherwise } = this.#access;
    const subject = { what: this.shown, registry: this.#url.host };
    const transport = new Transport({ settings, env, egress: new PublicEgress(otherwise) });
    try {
      const response = await follow(transport, this.#url, subject, signal);
      const size = Number(header(response, 'content-length') ?? NaN);
      const modified = Date.parse(header(response, 'last-modified') ?? '');
      return {
        size: Number.isSafeInteger(size) ? size : undefined,
        modified: Number.isNaN(modified) ? undefined : modified,
        bytes: transport.read(response, { signal, subject }),
        [Symbol.asyncDispose]: () => transport.close(),
      };
    } catch (error) {
      await transport.close();
      if (!LayerstackError.is(error) || !isSystemError(error.cause, 'ENOTFOUND')) throw error;
      throw registryError(
        'ERR_REGISTRY_NOT_FOUND',
        subject,
        `no such host; check the name, or set HTTPS_PROXY`,
      );
    }
  }
}

async function follow(
  transport: Transport,
  start: URL,
  subject: Subject,
  signal: AbortSignal | undefined,
): Promise<HttpResponse> {
  let url = start;
  for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
    const response = await transport.exchange(url, { method: 'GET', signal, subject });
    if (response.status === 200) return response;
    const location = header(response, 'location');
    if (!REDIRECTS.includes(response.status) || location === undefined)
      throw await refusal(transport, response, subject, signal);
    discard(response.body);
    const next = URL.canParse(location, url.href) ? webUrl(new URL(location, url).href) : undefined;
    if (next === undefined || (url.protocol === 'https:' && next.protocol === 'http:'))
      throw registryError(
        'ERR_REGISTRY_INVALID',
        subject,
        `${redactUrl(url)} redirects to ${redactUrl(location)}, which cannot be followed`,
      );
    url = next;
  }
  throw registryError(
    'ERR_REGISTRY_INVALID',
    subject,
    `it is redirected more than ${String(MAX_REDIRECTS)} times, at last to ${redactUrl(url)}`,
  );
}

/** @throws {@link LayerstackError} ERR_INVALID_ARGUMENT */
function webUrl(text: string, otherwise = IMPORT_BODY): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol) || url.hostname === '')
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${JSON.stringify(redactUrl(text))} is not the URL of a file: give http://HOST/PATH or https://HOST/PATH`,
    );
  if (url.username !== '' || url.password !== '')
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${redactUrl(url)} has a user or a password in it, which would not be sent; ${otherwise}`,
    );
  return url;
}

async function refusal(
  transport: Transport,
  response: HttpResponse,
  subject: Subject,
  signal: AbortSignal | undefined,
): Promise<LayerstackError> {
  const { status } = response;
  const body = await transport.readAll(response, { signal, subject }, MAX_ERROR_BYTES);
  const said = wordsOf(body ?? Buffer.alloc(0));
  const code =
    (
      {
        400: 'ERR_INVALID_ARGUMENT',
        401: 'ERR_REGISTRY_DENIED',
        403: 'ERR_REGISTRY_DENIED',
        404: 'ERR_REGISTRY_NOT_FOUND',
        410: 'ERR_REGISTRY_NOT_FOUND',
      } as const
    )[status] ?? (status >= 400 ? 'ERR_REGISTRY_UNAVAILABLE' : 'ERR_REGISTRY_INVALID');
  return registryError(
    code,
    subject,
    `the server answers ${String(status)}${said === '' ? '' : ` (${said})`}`,
    { status },
  );
}

/** Allows only the internet. */
class PublicEgress implements EgressPolicy {
  readonly #otherwise: string;

  constructor(otherwise = IMPORT_BODY) {
    this.#otherwise = otherwise;
  }

  isInsecure(): boolean {
    return false;
  }

  check(url: URL, { subject }: { readonly subject: Subject }): void {
    const network = namedNetwork(url.hostname);
    if (network !== undefined && network !== 'public') throw this.outOfReach(url, network, subject);
  }

  outOfReach(url: URL, network: Network, subject: Subject): LayerstackError {
    return registryError(
      'ERR_REGISTRY_NOT_FOUND',
      subject,
      `${url.host} is ${PLACES[network]}, and only files of the internet are fetched; ${this.#otherwise}`,
    );
  }

  lookup() {
    return lookupWithin((network) => network === 'public');
  }

  connected(): void {
    // `check` and `lookup` have already judged the address.
  }
}

const IMPORT_BODY = 'send the tar as the body, with fromSrc=- (curl -fsSL URL | docker import -)';
