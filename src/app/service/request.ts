/**
 * A request as a route sees it: the matched parts of the path, the query, a body that is bounded or streamed,
 * and a signal that fires when the client disconnects or the service stops. The work of a route must end soon
 * after that signal.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { readGo, type GoType } from '../../core/go-read.ts';
import { decode, parseJson, type Decoder } from '../../core/json.ts';
import type { RequestBody } from './body.ts';
import { Query } from './query.ts';
import { HttpError } from './status.ts';
import { switchProtocols, type Upgraded } from './upgrade.ts';
import { compareVersions } from './version.ts';

/** Limit of a JSON body. The config of a container has some kilobytes. */
export const MAX_JSON = 1024 * 1024;

export interface RequestParts {
  readonly id: string;
  readonly incoming: IncomingMessage;
  readonly response: ServerResponse;
  readonly body: RequestBody;
  readonly signal: AbortSignal;
  /** Present if the client asks for another protocol and the route supports one. */
  readonly upgraded?: Upgraded | undefined;
}

/** The parts of a request's URL, as the router parsed them. */
export interface RequestTarget {
  /** Decoded, without the version. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** e.g. `1.41` */
  readonly version: string;
  readonly params: Readonly<Record<string, string>>;
}

export class ApiRequest {
  /** Identifies the request in logs, and to its client (X-Request-Id). */
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly version: string;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  readonly headers: IncomingHttpHeaders;
  readonly body: RequestBody;
  /** Fires when the client disconnects before it has the complete answer, or when the service stops. */
  readonly signal: AbortSignal;
  readonly incoming: IncomingMessage;
  readonly response: ServerResponse;
  readonly #upgraded: Upgraded | undefined;
  #tookOver = false;

  constructor({ id, incoming, response, body, signal, upgraded }: RequestParts, target: RequestTarget) {
    this.id = id;
    this.method = incoming.method ?? 'GET';
    this.path = target.path;
    this.version = target.version;
    this.params = target.params;
    this.query = new Query(target.query);
    this.headers = incoming.headers;
    this.body = body;
    this.signal = signal;
    this.incoming = incoming;
    this.response = response;
    this.#upgraded = upgraded;
  }

  /** Whether the client asks for another protocol, and the route supports one. */
  get asksToUpgrade(): boolean {
    return this.#upgraded !== undefined;
  }

  get tookOver(): boolean {
    return this.#tookOver;
  }

  /** Switches the connection to `protocol`. The connection ends when the route has returned. */
  takeOver(protocol: string, headers?: Readonly<Record<string, string>>): Socket {
    if (this.#upgraded === undefined) throw new Error('the client has not asked for another protocol');
    this.#tookOver = true;
    return switchProtocols(this.response, this.#upgraded, protocol, headers);
  }

  /** Whether the request uses this version of the API or a newer one. */
  since(version: string): boolean {
    return compareVersions(this.version, version) >= 0;
  }

  /** Returns the part of the path that `{name}` of the route's pattern matched. */
  param(name: string): string {
    const value = this.params[name];
    if (value === undefined) throw new Error(`the route has no {${name}}`);
    return value;
  }

  /** The value of a header; undefined if it is missing or empty. */
  header(name: string): string | undefined {
    const value = this.headers[name];
    return (Array.isArray(value) ? value[0] : value) || undefined;
  }

  /**
   * Returns the bytes of a JSON body; empty if the request has no body.
   * @throws {@link HttpError} 400 for another content type, 413 for a body that is too large
   */
  async jsonBytes(maxBytes = MAX_JSON): Promise<Uint8Array> {
    if (!this.body.announced) return new Uint8Array();
    const type = this.header('content-type') ?? '';
    if (!/^application\/json\s*(?:;|$)/i.test(type))
      throw new HttpError(400, `unsupported Content-Type header (${type}): must be 'application/json'`);
    return this.body.bytes(maxBytes);
  }

  /**
   * Returns the JSON body; undefined if the request has none. If dockerd decodes the body into a Go type,
   * `type` is that type.
   * @throws {@link HttpError} as {@link jsonBytes}
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT when the decoder or the type refuses it
   */
  async optionalJson<T>(decoder: Decoder<T>, type?: GoType): Promise<T | undefined> {
    const bytes = await this.jsonBytes();
    if (bytes.length === 0) return undefined;
    const source = { what: 'the request body', code: 'ERR_INVALID_ARGUMENT', maxBytes: MAX_JSON } as const;
    const value = type === undefined ? parseJson(bytes, source) : readGo(type, bytes, source);
    return decode(decoder, value, source);
  }

  /** As {@link optionalJson}, but refuses a missing body. */
  async json<T>(decoder: Decoder<T>, type?: GoType): Promise<T> {
    const value = await this.optionalJson(decoder, type);
    if (value === undefined) throw new HttpError(400, 'invalid JSON: got EOF while reading request body');
    return value;
  }
}
