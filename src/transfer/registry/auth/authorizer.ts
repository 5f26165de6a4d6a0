/**
 * Makes the `Authorization` header for the requests to one registry endpoint. It sends no credentials before
 * the registry asks. The registry's challenge then decides: Basic, or Bearer with tokens of its token server.
 * Tokens are kept for each set of scopes until shortly before they expire. A token is fetched once, however
 * many requests wait for it.
 *
 * A request is sent with {@link Authorizer.header}. After a 401, pass the challenge to
 * {@link Authorizer.challenged} and send the request again, once. A second 401, or a 403, is final:
 * {@link Authorizer.denied} names the user that was tried.
 */
import { LayerstackError } from '../../../core/errors.ts';
import { SingleFlight } from '../../../core/single-flight.ts';
import { parseChallenges, type Challenge } from './challenge.ts';
import { basicAuth, credentialsKey, type Credentials, type CredentialSource } from './credentials.ts';
import { hideSecrets } from './secrets.ts';
import type { RawRequest } from './raw-request.ts';
import { parseRealm, requestToken, type TokenRealm } from './token.ts';

export type { RawRequest, RawResponse } from './raw-request.ts';

/** A permission for a request, as token servers spell it: `repository:library/alpine:pull,push`. */
export type Scope = `repository:${string}:${string}` | 'registry:catalog:*';

export interface AuthorizerOptions {
  /** `HOST[:PORT]`; the key for looking up credentials, and the name in messages. */
  readonly registry: string;
  /** Undefined: stay anonymous. */
  readonly credentials: CredentialSource | undefined;
  readonly request: RawRequest;
  /** Returns whether credentials may go to this `HOST[:PORT]` unencrypted. Default: never. */
  readonly insecure?: ((host: string) => boolean) | undefined;
  /** Ask token servers for a refresh token as well ({@link Authorizer.refreshToken}). Default false. */
  readonly offline?: boolean | undefined;
  /** Returns the milliseconds of a monotonic clock. Default: `performance.now`. */
  readonly now?: (() => number) | undefined;
}

interface Token {
  readonly value: string;
  readonly scopes: readonly string[];
  /** When the token stops being used, by {@link AuthorizerOptions.now}. */
  readonly until: number;
}

/**
 * A token is not used in the last tenth of its life, at most this long, because requests take time to arrive.
 */
const MARGIN_MS = 10_000;
/** Maximum sets of scopes with a token; a pull has one, a push with mounts has some. */
const MAX_TOKENS = 128;
/** Maximum scopes taken from a challenge. */
const MAX_SCOPES = 16;

export class Authorizer {
  readonly #options: AuthorizerOptions;
  readonly #now: () => number;
  readonly #tokens = new Map<string, Token>();
  readonly #flights = new SingleFlight<string>();
  readonly #lookups = new SingleFlight<Credentials | undefined>();
  #credentials: { readonly found: Credentials | undefined } | undefined;
  #realm: TokenRealm | undefined;
  #fixed: string | undefined;
  #refreshToken: string | undefined;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** The last refresh token that a token server gave. */
  get refreshToken(): string | undefined {
    return this.#refreshToken;
  }

  /**
   * Returns the value of the Authorization header for these scopes; undefined: send no header. Fetches a new
   * token where the old one has expired.
   * @throws {@link LayerstackError} as {@link challenged}.
   */
  async header(scopes: readonly Scope[], signal?: AbortSignal): Promise<string | undefined> {
    if (this.#fixed !== undefined) return this.#fixed;
    if (!this.#realm) return undefined;
    const token = this.#valid(scopes) ?? (await this.#fetch(this.#realm, scopes, scopes, signal));
    return `Bearer ${token}`;
  }

  /**
   * Handles the challenge of a 401. Returns true if the request should be sent again, once. `refused` is the
   * header that was sent; if many requests are refused with one token, only the first fetches a new one.
   * @throws {@link LayerstackError} ERR_REGISTRY_DENIED without credentials or with refused ones;
   *   ERR_REGISTRY_INVALID for an invalid challenge or an invalid response of a token server;
   *   ERR_REGISTRY_UNAVAILABLE, ERR_CREDENTIALS_INVALID, ERR_ABORTED.
   */
  async challenged(
    wwwAuthenticate: string | readonly string[] | undefined,
    scopes: readonly Scope[],
    signal?: AbortSignal,
    refused?: string,
  ): Promise<boolean> {
    const challenges = parseChallenges(wwwAuthenticate);
    const bearer = challenges.find(({ scheme, params }) => scheme === 'bearer' && params.has('realm'));
    if (bearer) return this.#bearer(bearer, scopes, signal, refused);
    if (challenges.some(({ scheme }) => scheme === 'basic')) return this.#basic(signal, refused);
    const schemes = challenges.map(({ scheme }) => scheme.slice(0, 40)).join(', ');
    throw new LayerstackError(
      'ERR_REGISTRY_INVALID',
      `registry ${this.#options.registry} asks for a login ` +
        (schemes === '' ? 'without saying how' : `by ${schemes}; only Basic and Bearer are supported`),
    );
  }

  /** Removes the credentials and tokens that were sent from a text; debugging pages repeat them. */
  hide(text: string): string {
    let clean = text;
    for (const { value } of this.#tokens.values()) clean = clean.replaceAll(value, 'REDACTED');
    return hideSecrets(clean, this.#credentials?.found);
  }

  /** Returns the error of a request that stays refused; `said` is the registry's own message. */
  denied(scopes: readonly Scope[], said = ''): LayerstackError {
    const { registry } = this.#options;
    const credentials = this.#credentials?.found;
    const who = credentials ? `as ${describe(credentials)}` : 'without a login';
    const what = scopes.length === 0 ? '' : ` (${scopes.join(' ')})`;
    const words = said === '' ? '' : `: ${this.hide(said)}`;
    return new LayerstackError(
      'ERR_REGISTRY_DENIED',
      `registry ${registry} denies access ${who}${what}${words}. ` +
        (credentials
          ? `Check the name and the rights, or log in as another user (layerstack login ${registry})`
          : `Check the name, or log in (layerstack login ${registry})`),
    );
  }

  async #basic(signal: AbortSignal | undefined, refused: string | undefined): Promise<boolean> {
    const { registry } = this.#options;
    const credentials = await this.#lookUp(signal);
    if (credentials?.registryToken !== undefined)
      return this.#useFixed(`Bearer ${credentials.registryToken}`, refused);
    if (credentials?.password === undefined) {
      throw new LayerstackError(
        'ERR_REGISTRY_DENIED',
        credentials?.identityToken === undefined
          ? `registry ${registry} asks for a user name and password: log in (layerstack login ${registry})`
          : `registry ${registry} asks for a user name and password, and the stored login has a token only: ` +
              `log in again (layerstack login ${registry})`,
      );
    }
    return this.#useFixed(`Basic ${basicAuth(credentials)}`, refused);
  }

  /** Sends this header from now on. */
  #useFixed(header: string, refused: string | undefined): boolean {
    if (refused === header) throw this.denied([]);
    this.#fixed = header;
    return true;
  }

  async #bearer(
    { params }: Challenge,
    scopes: readonly Scope[],
    signal: AbortSignal | undefined,
    refused: string | undefined,
  ): Promise<boolean> {
    const { registry } = this.#options;
    const credentials = await this.#lookUp(signal);
    if (credentials?.registryToken !== undefined)
      return this.#useFixed(`Bearer ${credentials.registryToken}`, refused);
    const realm = parseRealm(registry, params.get('realm') ?? '', params.get('service'));
    this.#realm = realm;
    this.#fixed = undefined;
    const current = this.#tokens.get(keyOf(scopes));
    if (
      current &&
      refused !== undefined &&
      refused !== `Bearer ${current.value}` &&
      this.#now() < current.until
    )
      return true;
    const asked = (params.get('scope') ?? '').split(' ', MAX_SCOPES).filter((scope) => scope !== '');
    await this.#fetch(realm, scopes, union(scopes, asked), signal);
    return true;
  }

  /** Returns a valid token for these scopes, fetched for exactly them or for more. */
  #valid(scopes: readonly string[]): string | undefined {
    const now = this.#now();
    const exact = this.#tokens.get(keyOf(scopes));
    if (exact && now < exact.until) return exact.value;
    for (const token of this.#tokens.values())
      if (now < token.until && scopes.every((scope) => covers(token.scopes, scope))) return token.value;
    return undefined;
  }

  /** Fetches a token for `asked` and keeps it for `scopes`. */
  #fetch(
    realm: TokenRealm,
    scopes: readonly string[],
    asked: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<string> {
    const { registry, insecure = (): boolean => false, offline = false, request } = this.#options;
    const key = keyOf(scopes);
    return this.#flights.run(
      key,
      async (shared) => {
        const credentials = await this.#lookUp(shared);
        const start = this.#now();
        const { token, lifetimeMs, refreshToken } = await requestToken({
          registry,
          realm,
          scopes: asked,
          credentials: this.#rotated(credentials),
          offline,
          insecure,
          request,
          signal: shared,
        });
        if (refreshToken !== undefined) this.#refreshToken = refreshToken;
        const until = start + lifetimeMs - Math.min(MARGIN_MS, lifetimeMs / 10);
        this.#keep(key, { value: token, scopes, until });
        return token;
      },
      signal,
    );
  }

  /** Replaces the identity token by the newer one, if the server gave one. */
  #rotated(credentials: Credentials | undefined): Credentials | undefined {
    if (credentials?.identityToken === undefined || this.#refreshToken === undefined) return credentials;
    return { ...credentials, identityToken: this.#refreshToken };
  }

  #keep(key: string, token: Token): void {
    this.#tokens.delete(key);
    this.#tokens.set(key, token);
    for (const oldest of this.#tokens.keys()) {
      if (this.#tokens.size <= MAX_TOKENS) break;
      this.#tokens.delete(oldest);
    }
  }

  async #lookUp(signal: AbortSignal | undefined): Promise<Credentials | undefined> {
    if (this.#credentials) return this.#credentials.found;
    const { credentials: source, registry } = this.#options;
    const found = await this.#lookups.run(
      'credentials',
      async (shared) => source?.get(credentialsKey(registry), shared),
      signal,
    );
    this.#credentials = { found };
    return found;
  }
}

function describe({ username, identityToken, registryToken }: Credentials): string {
  if (username !== undefined && username !== '') return `user ${JSON.stringify(username)}`;
  return registryToken === undefined && identityToken === undefined
    ? 'a user without a name'
    : 'the bearer of a token';
}

function keyOf(scopes: readonly string[]): string {
  return [...scopes].sort().join(' ');
}

function union(a: readonly string[], b: readonly string[]): string[] {
  return [...a, ...b.filter((scope) => !a.some((own) => covers([own], scope)))];
}

/** Returns whether one of the scopes is for the same resource and includes all the actions. */
function covers(scopes: readonly string[], wanted: string): boolean {
  const { resource, actions } = parts(wanted);
  return scopes.some((scope) => {
    const own = parts(scope);
    return own.resource === resource && actions.every((action) => own.actions.includes(action));
  });
}

function parts(scope: string): { resource: string; actions: readonly string[] } {
  const colon = scope.lastIndexOf(':');
  return { resource: scope.slice(0, colon), actions: scope.slice(colon + 1).split(',') };
}
