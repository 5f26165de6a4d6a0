/**
 * Asks a token server for one token: may this user have these scopes? The request is docker's: GET with the
 * password in Basic (distribution's token specification), or POST (its OAuth2 form) with a refresh token, or
 * with the password where the server does not support GET.
 *
 * Credentials go only to the origin that the registry's challenge names, and only over https, or to a host
 * that the user marked as insecure. This machine counts as such a host for registries on it. Redirects
 * elsewhere are followed without the credentials.
 */
import { LayerstackError } from '../../../core/errors.ts';
import { redactUrl } from '../redact.ts';
import { basicAuth, type Credentials } from './credentials.ts';
import { headerOf, type RawRequest, type RawResponse } from './raw-request.ts';
import { MAX_ANSWER, readAnswer, type TokenAnswer } from './token-answer.ts';

/** The token server, as the registry's challenge names it. */
export interface TokenRealm {
  readonly url: URL;
  readonly service: string | undefined;
}

export interface TokenQuestion {
  /** The registry's name, for messages. */
  readonly registry: string;
  readonly realm: TokenRealm;
  readonly scopes: readonly string[];
  readonly credentials: Credentials | undefined;
  /** Also ask for a refresh token, as `login` does. */
  readonly offline: boolean;
  /** Returns whether the user allows unencrypted connections to this `HOST[:PORT]`. */
  readonly insecure: (host: string) => boolean;
  readonly request: RawRequest;
  readonly signal?: AbortSignal | undefined;
}

const CLIENT_ID = 'docker';
const MAX_REALM = 4096;
const MAX_REDIRECTS = 5;

/**
 * Parses the realm of a Bearer challenge.
 * @throws {@link LayerstackError} ERR_REGISTRY_INVALID when it is not a http(s) URL, or has user info.
 */
export function parseRealm(registry: string, realm: string, service: string | undefined): TokenRealm {
  const fail = (why: string): never => {
    throw new LayerstackError(
      'ERR_REGISTRY_INVALID',
      `registry ${registry} names a token server that cannot be asked (${JSON.stringify(realm.slice(0, 200))}): ${why}`,
      { registry },
    );
  };
  if (realm.length > MAX_REALM) fail(`its URL has ${realm.length} characters; ${MAX_REALM} are allowed`);
  if (!URL.canParse(realm)) fail('it is not a URL');
  const url = new URL(realm);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') fail('it must begin with https:// or http://');
  if (url.username !== '' || url.password !== '') return { url: fail('it has user info'), service };
  url.hash = '';
  return { url, service };
}

/**
 * Asks for a token; without credentials, for an anonymous one.
 * @throws {@link LayerstackError} ERR_REGISTRY_DENIED when the server refuses, or the credentials would be
 *   sent unencrypted; ERR_REGISTRY_LIMIT, ERR_REGISTRY_UNAVAILABLE, ERR_REGISTRY_INVALID (see
 *   {@link readAnswer}); the errors of `request`.
 */
export async function requestToken(question: TokenQuestion): Promise<TokenAnswer> {
  const { registry, credentials, realm, scopes } = question;
  if (credentials && realm.url.protocol !== 'https:' && !question.insecure(realm.url.host)) {
    throw new LayerstackError(
      'ERR_REGISTRY_DENIED',
      `registry ${registry} names the token server ${redactUrl(realm.url)}, which is not encrypted: the ` +
        `credentials are not sent there. Log out of ${registry}, or allow ${realm.url.host} as an insecure registry`,
      { registry },
    );
  }
  const asked = {
    server: `the token server ${redactUrl(realm.url)} of registry ${registry}`,
    registry,
    scopes,
    credentials,
  };
  if (credentials?.identityToken !== undefined) return readAnswer(asked, await post(question));
  const response = await get(question);
  // Some servers support only the OAuth2 form.
  const postOnly =
    credentials?.password !== undefined && (response.status === 404 || response.status === 405);
  return readAnswer(asked, postOnly ? await post(question) : response);
}

async function get(question: TokenQuestion): Promise<RawResponse> {
  const { realm, scopes, credentials, offline, request, signal } = question;
  let url = new URL(realm.url.href);
  let trusted = true;
  const query = url.searchParams;
  if (realm.service !== undefined) query.set('service', realm.service);
  for (const scope of scopes) query.append('scope', scope);
  if (offline) {
    query.set('offline_token', 'true');
    query.set('client_id', CLIENT_ID);
  }
  if (credentials?.username !== undefined) query.set('account', credentials.username);
  for (let hops = 0; ; hops++) {
    const headers: Record<string, string> = { accept: 'application/json' };
    // Once a redirect has left the origin, the authorization stays off: another server chose the rest of the
    // way.
    trusted &&= url.origin === realm.url.origin;
    if (credentials?.password !== undefined && trusted)
      headers['authorization'] = `Basic ${basicAuth(credentials)}`;
    const response = await request(url, { method: 'GET', headers, signal, maxBytes: MAX_ANSWER });
    if (!isRedirect(response.status)) return response;
    url = redirected(question, url, response, hops);
  }
}

async function post(question: TokenQuestion): Promise<RawResponse> {
  const { realm, scopes, credentials, offline, request, signal } = question;
  const form = new URLSearchParams();
  if (credentials?.identityToken !== undefined) {
    form.set('grant_type', 'refresh_token');
    form.set('refresh_token', credentials.identityToken);
  } else {
    form.set('grant_type', 'password');
    form.set('username', credentials?.username ?? '');
    form.set('password', credentials?.password ?? '');
  }
  if (realm.service !== undefined) form.set('service', realm.service);
  if (scopes.length > 0) form.set('scope', scopes.join(' '));
  form.set('client_id', CLIENT_ID);
  if (offline) form.set('access_type', 'offline');
  const headers = { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' };
  let url = realm.url;
  for (let hops = 0; ; hops++) {
    const response = await request(url, {
      method: 'POST',
      headers,
      body: form.toString(),
      signal,
      maxBytes: MAX_ANSWER,
    });
    if (!isRedirect(response.status)) return response;
    const next = redirected(question, url, response, hops);
    // The credentials are the body of this request, so a redirect to another origin cannot be followed
    // without them.
    if (next.origin !== realm.url.origin || (response.status !== 307 && response.status !== 308))
      throw new LayerstackError(
        'ERR_REGISTRY_DENIED',
        `the token server ${redactUrl(realm.url)} of registry ${question.registry} redirects to ` +
          `${redactUrl(next)}: the credentials are not sent there`,
        { registry: question.registry },
      );
    url = next;
  }
}

function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}

/** Returns the URL of a redirect. */
function redirected(question: TokenQuestion, from: URL, response: RawResponse, hops: number): URL {
  const fail = (why: string): LayerstackError =>
    new LayerstackError(
      'ERR_REGISTRY_INVALID',
      `the token server ${redactUrl(from)} of registry ${question.registry} ${why}`,
      { registry: question.registry },
    );
  if (hops >= MAX_REDIRECTS) throw fail(`redirects more than ${MAX_REDIRECTS} times`);
  const location = headerOf(response, 'location') ?? '';
  if (location === '' || location.length > MAX_REALM || !URL.canParse(location, from.href))
    throw fail('redirects to a text that is not a URL');
  const next = new URL(location, from);
  if (next.protocol !== 'https:' && next.protocol !== 'http:')
    throw fail(`redirects to ${next.protocol}, which is not http`);
  return next;
}
