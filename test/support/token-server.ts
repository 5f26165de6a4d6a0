/**
 * A token server for distribution's `token` authentication: GET with Basic (distribution/docs:
 * spec/auth/token.md), POST for OAuth2 (spec/auth/oauth.md). Its tokens are JWTs, signed with ES256 or RS256.
 * They identify their key by certificate (`x5c`) or by libtrust's key id (`kid`).
 */
import { createHash, createPublicKey, randomBytes, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { must } from './process.ts';
import { dropScratch, makeScratch } from './scratch.ts';

/** distribution 2.8 accepts a token for this long after it has expired. */
const REGISTRY_LEEWAY_S = 60;
const MAX_FORM = 64 * 1024;
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

export interface TokenServerOptions {
  /** Users by name, with their passwords. */
  readonly users?: Readonly<Record<string, string>>;
  /**
   * The actions that a user may perform on a resource. Default: users may do everything, others may only
   * pull.
   */
  readonly grants?: (user: string | undefined, type: string, name: string) => readonly string[];
  /** The registry accepts a token for this many seconds, or up to one more. Default 300. */
  readonly acceptedSeconds?: number;
  /** The value of `expires_in`; null omits it. Default: the true value. */
  readonly announcedSeconds?: number | null;
  readonly algorithm?: 'ES256' | 'RS256';
  readonly keyHint?: 'x5c' | 'kid';
  /** Answers only POST. */
  readonly postOnly?: boolean;
  /** A refresh token is valid once: its answer has the next one. */
  readonly rotate?: boolean;
}

/** One request for a token. */
export interface TokenRequest {
  readonly method: string;
  /** `anonymous`, `basic`, `password` or `refresh_token`. */
  readonly grant: string;
  readonly user: string | undefined;
  readonly account: string | undefined;
  readonly service: string | undefined;
  readonly scopes: readonly string[];
  readonly offline: boolean;
  readonly status: number;
}

interface Asked {
  readonly grant: string;
  readonly user: string | undefined;
  readonly valid: boolean;
  readonly fields: URLSearchParams;
}

export class TokenServer implements AsyncDisposable {
  readonly requests: TokenRequest[] = [];
  readonly service = 'layerstack test registry';
  readonly issuer = 'layerstack test issuer';
  readonly realm: string;
  /** The certificate that verifies the tokens: the registry's `rootcertbundle`. */
  readonly rootCertBundle: string;
  readonly #options: TokenServerOptions;
  readonly #server: Server;
  readonly #directory: string;
  readonly #refreshTokens = new Map<string, string>();

  private constructor(options: TokenServerOptions, server: Server, directory: string) {
    this.#options = options;
    this.#server = server;
    this.#directory = directory;
    this.rootCertBundle = join(directory, 'token.crt');
    this.realm = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/token`;
    server.on('request', (request, response) => {
      this.#handle(request, response).catch((error: unknown) => response.destroy(error as Error));
    });
  }

  static async start(options: TokenServerOptions = {}): Promise<TokenServer> {
    const directory = makeScratch('token-server');
    const key =
      options.algorithm === 'RS256'
        ? ['-newkey', 'rsa:2048']
        : ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
    const files = ['-keyout', join(directory, 'token.key'), '-out', join(directory, 'token.crt')];
    await must('openssl', ['req', '-x509', '-days', '2', '-nodes', ...key, '-subj', '/CN=tokens', ...files]);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new TokenServer(options, server, directory);
  }

  /** Options for test/support/registry.ts. */
  get registryOptions() {
    const { realm, service, issuer, rootCertBundle } = this;
    return { realm, service, issuer, rootCertBundle };
  }

  /** Revokes all refresh tokens. */
  revoke(): void {
    this.#refreshTokens.clear();
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await dropScratch(this.#directory);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = request.method === 'POST' ? await this.#post(request) : this.#get(request);
    const refused = this.#options.postOnly === true && request.method !== 'POST' ? 405 : 401;
    const status = asked.valid && refused !== 405 ? 200 : refused;
    const { fields } = asked;
    const scopes = fields.getAll('scope').flatMap((scope) => scope.split(' '));
    const offline = fields.get('offline_token') === 'true' || fields.get('access_type') === 'offline';
    this.requests.push({
      method: request.method ?? '',
      grant: asked.grant,
      user: asked.user,
      account: fields.get('account') ?? undefined,
      service: fields.get('service') ?? undefined,
      scopes,
      offline,
      status,
    });
    response.setHeader('content-type', 'application/json');
    response.statusCode = status;
    response.end(JSON.stringify(status === 200 ? this.#answer(asked, scopes, offline) : REFUSAL));
  }

  #get(request: IncomingMessage): Asked {
    const fields = new URL(request.url ?? '', this.realm).searchParams;
    const { authorization } = request.headers;
    if (authorization === undefined) return { grant: 'anonymous', user: undefined, valid: true, fields };
    const [user = '', password = ''] = Buffer.from(authorization.replace(/^Basic /, ''), 'base64')
      .toString()
      .split(/:(.*)/s);
    return { grant: 'basic', user, valid: this.#options.users?.[user] === password, fields };
  }

  async #post(request: IncomingMessage): Promise<Asked> {
    let text = '';
    for await (const chunk of request as AsyncIterable<Buffer>) {
      text += chunk.toString();
      if (text.length > MAX_FORM) throw new Error('the form is too long');
    }
    const fields = new URLSearchParams(text);
    const grant = fields.get('grant_type') ?? '';
    if (grant === 'refresh_token') {
      const user = this.#refreshTokens.get(fields.get('refresh_token') ?? '');
      if (this.#options.rotate === true) this.#refreshTokens.delete(fields.get('refresh_token') ?? '');
      return { grant, user, valid: user !== undefined, fields };
    }
    const user = fields.get('username') ?? '';
    return { grant, user, valid: this.#options.users?.[user] === fields.get('password'), fields };
  }

  #answer({ user, grant, fields }: Asked, scopes: readonly string[], offline: boolean): object {
    const { acceptedSeconds = 300, announcedSeconds = acceptedSeconds, rotate } = this.#options;
    const now = Math.floor(Date.now() / 1000);
    const token = this.#sign({
      iss: this.issuer,
      sub: user ?? '',
      aud: fields.get('service') ?? '',
      iat: now,
      nbf: now - REGISTRY_LEEWAY_S,
      // Rounded up: a new token must not be expired already.
      exp: Math.ceil(Date.now() / 1000) + acceptedSeconds - REGISTRY_LEEWAY_S,
      jti: randomBytes(8).toString('hex'),
      access: scopes.filter((scope) => scope !== '').map((scope) => this.#granted(user, scope)),
    });
    let refresh: string | undefined;
    if (user !== undefined && (offline || (rotate === true && grant === 'refresh_token'))) {
      refresh = `refresh-${randomBytes(16).toString('hex')}`;
      this.#refreshTokens.set(refresh, user);
    }
    return {
      [grant === 'basic' || grant === 'anonymous' ? 'token' : 'access_token']: token,
      ...(announcedSeconds !== null && { expires_in: announcedSeconds }),
      issued_at: new Date(now * 1000).toISOString(),
      ...(refresh !== undefined && { refresh_token: refresh }),
    };
  }

  #granted(user: string | undefined, scope: string): object {
    const type = scope.slice(0, scope.indexOf(':'));
    const name = scope.slice(type.length + 1, scope.lastIndexOf(':'));
    const wanted = scope.slice(scope.lastIndexOf(':') + 1).split(',');
    const usual = user === undefined ? ['pull'] : ['pull', 'push', 'delete', '*'];
    const granted = this.#options.grants?.(user, type, name) ?? usual;
    return { type, name, actions: wanted.filter((action) => granted.includes(action)) };
  }

  #sign(claims: object): string {
    const { algorithm = 'ES256', keyHint = 'x5c' } = this.#options;
    const certificate = readFileSync(this.rootCertBundle, 'utf8');
    const hint =
      keyHint === 'x5c'
        ? { x5c: [certificate.replace(/-----[^-]+-----|\s/g, '')] }
        : { kid: keyId(certificate) };
    const head = encode({ typ: 'JWT', alg: algorithm, ...hint });
    const text = `${head}.${encode(claims)}`;
    const key = { key: readFileSync(join(this.#directory, 'token.key')), dsaEncoding: 'ieee-p1363' } as const;
    return `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`;
  }
}

const REFUSAL = { errors: [{ code: 'UNAUTHORIZED', message: 'incorrect username or password' }] };

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/** Returns libtrust's id of a public key: 30 bytes of its SHA-256 in base32, in groups of four letters. */
function keyId(certificate: string): string {
  const key = createPublicKey(certificate).export({ type: 'spki', format: 'der' });
  const bits = [...createHash('sha256').update(key).digest().subarray(0, 30)]
    .map((byte) => byte.toString(2).padStart(8, '0'))
    .join('');
  const letters = (bits.match(/.{5}/g) ?? []).map((five) => BASE32.charAt(parseInt(five, 2))).join('');
  return (letters.match(/.{4}/g) ?? []).join(':');
}
