import { describe, expect, it } from 'vitest';
import { LayerstackError } from '../../../../../src/core/errors.ts';
import { Authorizer, type AuthorizerOptions } from '../../../../../src/transfer/registry/auth/authorizer.ts';
import { fixedCredentials, type Credentials } from '../../../../../src/transfer/registry/auth/credentials.ts';
import type { RawRequest, RawResponse } from '../../../../../src/transfer/registry/auth/raw-request.ts';
import { rejection } from '../../../../support/errors.ts';

const REALM = 'https://tokens.example/token';
const BEARER = `Bearer realm="${REALM}",service="the service"`;
const PULL = 'repository:a/b:pull';
const PUSH = 'repository:a/b:pull,push';
const USER = { username: 'bob', password: 'hunter2:x' };
const BASIC = `Basic ${Buffer.from('bob:hunter2:x').toString('base64')}`;

interface Sent {
  readonly url: URL;
  readonly method: string;
  readonly authorization: string | undefined;
  readonly form: URLSearchParams;
}

const json = (value: unknown, status = 200, headers: Record<string, string> = {}): RawResponse => ({
  status,
  headers,
  body: Buffer.from(JSON.stringify(value)),
});

/** An authorizer whose token server answers by `answer`, with a clock that the test sets. */
function setUp(
  answer: (sent: Sent, count: number) => RawResponse | Promise<RawResponse>,
  credentials?: Credentials,
  options: Partial<AuthorizerOptions> = {},
) {
  const sent: Sent[] = [];
  const clock = { now: 1_000_000 };
  const request: RawRequest = async (url, { method, headers, body }) => {
    const one = {
      url: new URL(url.href),
      method,
      authorization: headers['authorization'],
      form: new URLSearchParams(body),
    };
    sent.push(one);
    return answer(one, sent.length);
  };
  const authorizer = new Authorizer({
    registry: 'registry.example',
    credentials: credentials && fixedCredentials('registry.example', credentials),
    request,
    now: () => clock.now,
    ...options,
  });
  return { authorizer, sent, clock };
}

const tokens = (_: Sent, count: number): RawResponse => json({ token: `t${String(count)}`, expires_in: 100 });

describe('before anything is asked for', () => {
  it('sends nothing, and asks nobody', async () => {
    const { authorizer, sent } = setUp(tokens, undefined, {
      credentials: { get: () => Promise.reject(new Error('looked up')) },
    });
    expect(await authorizer.header([PULL])).toBeUndefined();
    expect(sent).toEqual([]);
  });
});

describe('Basic', () => {
  it('sends user and password from then on', async () => {
    const { authorizer, sent } = setUp(tokens, USER);
    expect(await authorizer.challenged('Basic realm=x', [PULL])).toBe(true);
    expect(await authorizer.header([PULL])).toBe(BASIC);
    expect(sent).toEqual([]);
  });

  it('refused, is not sent again', async () => {
    const { authorizer } = setUp(tokens, USER);
    await authorizer.challenged('Basic realm=x', [PULL]);
    const error = await rejection(authorizer.challenged('Basic realm=x', [PULL], undefined, BASIC));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_DENIED' });
    expect(error.message).toMatch(/registry\.example .*user "bob".*layerstack login registry\.example/);
    expect(error.message).not.toContain('hunter2');
  });

  it.each([
    [undefined, /asks for a user name and password: log in \(layerstack login registry\.example\)/],
    [{ identityToken: 'secret-token' }, /has a token only/],
  ])('without a password is an error that says what to do', async (credentials, message) => {
    const { authorizer } = setUp(tokens, credentials);
    const error = await rejection(authorizer.challenged('Basic realm=x', [PULL]));
    expect(error.code).toBe('ERR_REGISTRY_DENIED');
    expect(error.message).toMatch(message);
  });

  it('is not chosen where there is Bearer', async () => {
    const { authorizer } = setUp(tokens, USER);
    await authorizer.challenged(['Basic realm=x', BEARER], [PULL]);
    expect(await authorizer.header([PULL])).toBe('Bearer t1');
  });
});

describe('Bearer', () => {
  it('asks anonymously as docker does', async () => {
    const { authorizer, sent } = setUp(tokens);
    expect(await authorizer.challenged(BEARER, [PULL])).toBe(true);
    expect(await authorizer.header([PULL])).toBe('Bearer t1');
    expect(sent).toHaveLength(1);
    expect(sent[0]?.url.href).toBe(`${REALM}?service=the+service&scope=repository%3Aa%2Fb%3Apull`);
    expect(sent[0]?.authorization).toBeUndefined();
  });

  it('asks with the password in Basic, and names the account', async () => {
    const { authorizer, sent } = setUp(tokens, USER);
    await authorizer.challenged(BEARER, [PULL, 'repository:c:pull']);
    expect(sent[0]?.method).toBe('GET');
    expect(sent[0]?.authorization).toBe(BASIC);
    expect(sent[0]?.url.searchParams.get('account')).toBe('bob');
    expect(sent[0]?.url.searchParams.getAll('scope')).toEqual([PULL, 'repository:c:pull']);
    expect(sent[0]?.url.href).not.toContain('hunter2');
  });

  it('asks for what the challenge names where the request has no scope of its own', async () => {
    const { authorizer, sent } = setUp(tokens);
    await authorizer.challenged(`${BEARER},scope="registry:catalog:* repository:z:pull"`, []);
    expect(sent[0]?.url.searchParams.getAll('scope')).toEqual(['registry:catalog:*', 'repository:z:pull']);
    expect(await authorizer.header([])).toBe('Bearer t1');
  });

  it('posts the identity token', async () => {
    const { authorizer, sent } = setUp(() => json({ access_token: 't', expires_in: 100 }), {
      username: 'bob',
      identityToken: 'secret-token',
    });
    await authorizer.challenged(BEARER, [PULL, 'repository:c:pull']);
    expect(await authorizer.header([PULL, 'repository:c:pull'])).toBe('Bearer t');
    expect(sent[0]?.method).toBe('POST');
    expect(sent[0]?.authorization).toBeUndefined();
    expect(Object.fromEntries(sent[0]?.form ?? [])).toEqual({
      grant_type: 'refresh_token',
      refresh_token: 'secret-token',
      service: 'the service',
      scope: `${PULL} repository:c:pull`,
      client_id: 'docker',
    });
    expect(sent[0]?.url.href).toBe(REALM);
  });

  it('uses the next identity token where the server gives one', async () => {
    const answer = (_: Sent, count: number): RawResponse =>
      json({ access_token: `t${String(count)}`, refresh_token: `r${String(count)}`, expires_in: 100 });
    const { authorizer, sent, clock } = setUp(answer, { identityToken: 'r0' });
    await authorizer.challenged(BEARER, [PULL]);
    clock.now += 100_000;
    expect(await authorizer.header([PULL])).toBe('Bearer t2');
    expect(sent.map(({ form }) => form.get('refresh_token'))).toEqual(['r0', 'r1']);
  });

  it.each([404, 405])('posts the password where the server answers a GET with %i', async (status) => {
    const { authorizer, sent } = setUp(
      ({ method }) => (method === 'GET' ? json({}, status) : json({ access_token: 't' })),
      USER,
    );
    await authorizer.challenged(BEARER, [PULL]);
    expect(await authorizer.header([PULL])).toBe('Bearer t');
    expect(Object.fromEntries(sent[1]?.form ?? [])).toMatchObject({ grant_type: 'password', ...USER });
  });

  it('sends a registry token as it is', async () => {
    const { authorizer, sent } = setUp(tokens, { registryToken: 'secret-token' });
    await authorizer.challenged(BEARER, [PULL]);
    expect(await authorizer.header([PULL])).toBe('Bearer secret-token');
    expect(sent).toEqual([]);
    const error = await rejection(authorizer.challenged(BEARER, [PULL], undefined, 'Bearer secret-token'));
    expect(error.code).toBe('ERR_REGISTRY_DENIED');
    expect(error.message).not.toContain('secret-token');
  });
});

describe('tokens', () => {
  it('are kept until shortly before they expire', async () => {
    const { authorizer, sent, clock } = setUp(tokens);
    await authorizer.challenged(BEARER, [PULL]);
    clock.now += 89_000;
    expect(await authorizer.header([PULL])).toBe('Bearer t1');
    clock.now += 2_000;
    expect(await authorizer.header([PULL])).toBe('Bearer t2');
    expect(sent).toHaveLength(2);
  });

  it.each([
    ['nothing', {}],
    ['zero', { expires_in: 0 }],
    ['a negative number', { expires_in: -5 }],
  ])('are good for a minute where the server says %s', async (_, fields) => {
    const { authorizer, sent, clock } = setUp(() => json({ token: 't', ...fields }));
    await authorizer.challenged(BEARER, [PULL]);
    clock.now += 53_000;
    await authorizer.header([PULL]);
    expect(sent).toHaveLength(1);
    clock.now += 2_000;
    await authorizer.header([PULL]);
    expect(sent).toHaveLength(2);
  });

  it('have their age by the clock of the server, whatever ours says', async () => {
    const date = 'Mon, 01 Jan 2001 00:01:00 GMT';
    const { authorizer, sent, clock } = setUp(() =>
      json({ token: 't', expires_in: '100', issued_at: '2001-01-01T00:00:00Z' }, 200, { date }),
    );
    await authorizer.challenged(BEARER, [PULL]);
    clock.now += 35_000;
    await authorizer.header([PULL]);
    expect(sent).toHaveLength(1);
    clock.now += 2_000;
    await authorizer.header([PULL]);
    expect(sent).toHaveLength(2);
  });

  it('that allow more serve a request that needs less, not the other way round', async () => {
    const { authorizer, sent } = setUp(tokens);
    await authorizer.challenged(BEARER, [PUSH, 'repository:c:pull']);
    expect(await authorizer.header([PULL])).toBe('Bearer t1');
    expect(await authorizer.header(['repository:c:pull'])).toBe('Bearer t1');
    expect(await authorizer.header([PULL, 'repository:c:push'])).toBe('Bearer t2');
    expect(sent).toHaveLength(2);
  });

  it('refused in the middle are fetched anew, once for all requests', async () => {
    const { authorizer, sent } = setUp(tokens);
    await authorizer.challenged(BEARER, [PULL]);
    const again = [1, 2, 3].map(() => authorizer.challenged(BEARER, [PULL], undefined, 'Bearer t1'));
    expect(await Promise.all(again)).toEqual([true, true, true]);
    // One that comes late, with the token that was already replaced.
    expect(await authorizer.challenged(BEARER, [PULL], undefined, 'Bearer t1')).toBe(true);
    expect(await authorizer.header([PULL])).toBe('Bearer t2');
    expect(sent).toHaveLength(2);
  });

  it('are fetched once for many who wait; who goes does not take it from the others', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const { authorizer, sent } = setUp(async (_, count) => {
      if (count > 1) await held;
      return tokens(_, count);
    });
    await authorizer.challenged(BEARER, [PULL]);
    const abort = new AbortController();
    const first = authorizer.header([PUSH], abort.signal);
    const others = [1, 2].map(() => authorizer.header([PUSH]));
    abort.abort();
    expect((await rejection(first)).code).toBe('ERR_ABORTED');
    release();
    expect(await Promise.all(others)).toEqual(['Bearer t2', 'Bearer t2']);
    expect(sent).toHaveLength(2);
  });

  it('are kept for a bounded number of scopes', async () => {
    const { authorizer, sent } = setUp(tokens);
    await authorizer.challenged(BEARER, [PULL]);
    for (let i = 0; i < 300; i++) await authorizer.header([`repository:r${String(i)}:pull`]);
    expect(sent).toHaveLength(301);
    await authorizer.header(['repository:r299:pull']);
    expect(sent).toHaveLength(301);
    await authorizer.header([PULL]);
    expect(sent).toHaveLength(302);
  });

  it('of a failed fetch are asked for again', async () => {
    const { authorizer } = setUp((sent, count) => (count === 1 ? json({}, 503) : tokens(sent, count)));
    expect(await rejection(authorizer.challenged(BEARER, [PULL]))).toMatchObject({
      code: 'ERR_REGISTRY_UNAVAILABLE',
      retryable: true,
      status: 503,
    });
    expect(await authorizer.challenged(BEARER, [PULL])).toBe(true);
  });
});

describe('credentials stay where they belong', () => {
  it.each([
    'http://tokens.example/token',
    'http://127.0.0.1.example/',
    'http://10.0.0.1/',
    'http://localhost.example/',
  ])('not over %s, which is not encrypted', async (realm) => {
    for (const credentials of [USER, { identityToken: 'secret-token' }]) {
      const { authorizer, sent } = setUp(tokens, credentials);
      const error = await rejection(authorizer.challenged(`Bearer realm="${realm}"`, [PULL]));
      expect(error.code).toBe('ERR_REGISTRY_DENIED');
      expect(error.message).toMatch(/which is not encrypted: the credentials are not sent there/);
      expect(sent).toEqual([]);
    }
    const { authorizer } = setUp(tokens);
    expect(await authorizer.challenged(`Bearer realm="${realm}"`, [PULL])).toBe(true);
  });

  it.each(['http://localhost:5001/t', 'http://127.0.0.1:1/t', 'http://[::1]:1/t', 'http://tokens.example/t'])(
    'over %s only where that is allowed',
    async (realm) => {
      const { host } = new URL(realm);
      const allowed = setUp(tokens, USER, { insecure: (asked) => asked === host });
      await allowed.authorizer.challenged(`Bearer realm="${realm}"`, [PULL]);
      expect(allowed.sent[0]?.authorization).toBe(BASIC);
      const { authorizer, sent } = setUp(tokens, USER);
      expect((await rejection(authorizer.challenged(`Bearer realm="${realm}"`, [PULL]))).message).toMatch(
        /which is not encrypted: the credentials are not sent there/,
      );
      expect(sent).toEqual([]);
    },
  );

  it('CVE-2020-15157: not to where the token server redirects, nor back from there', async () => {
    const hops = ['https://evil.example/', `${REALM}/again`];
    const { authorizer, sent } = setUp(
      (one, count) => (count <= 2 ? json({}, 307, { location: hops[count - 1] ?? '' }) : tokens(one, count)),
      USER,
    );
    await authorizer.challenged(BEARER, [PULL]);
    expect(sent.map(({ authorization }) => authorization)).toEqual([BASIC, undefined, undefined]);
  });

  it('but to another path of the same origin', async () => {
    const { authorizer, sent } = setUp(
      (one, count) => (count === 1 ? json({}, 302, { location: '/other?x=1' }) : tokens(one, count)),
      USER,
    );
    await authorizer.challenged(BEARER, [PULL]);
    expect(sent[1]?.url.href).toBe('https://tokens.example/other?x=1');
    expect(sent[1]?.authorization).toBe(BASIC);
  });

  it.each([
    [307, 'https://evil.example/', false],
    [302, '/other', false],
    [307, '/other', true],
    [308, '/other', true],
  ])('a posted identity token: %i to %s', async (status, location, follows) => {
    const { authorizer, sent } = setUp(
      (one, count) => (count === 1 ? json({}, status, { location }) : tokens(one, count)),
      { identityToken: 'secret-token' },
    );
    const done = authorizer.challenged(BEARER, [PULL]);
    if (follows) expect(await done).toBe(true);
    else expect((await rejection(done)).message).toMatch(/redirects to .*the credentials are not sent there/);
    expect(sent).toHaveLength(follows ? 2 : 1);
  });

  it.each([
    'file:///etc/passwd',
    'javascript:alert(1)',
    'unix:///run/docker.sock',
    '/token',
    'https://',
    'https://bob:pw@tokens.example/',
    `https://tokens.example/${'x'.repeat(5000)}`,
  ])('a realm %s is refused', async (realm) => {
    const { authorizer, sent } = setUp(tokens, USER);
    const error = await rejection(authorizer.challenged(`Bearer realm="${realm}"`, [PULL]));
    expect(error.code).toBe('ERR_REGISTRY_INVALID');
    expect(error.message).toMatch(/^registry registry\.example names a token server that cannot be asked/);
    expect(sent).toEqual([]);
  });

  it.each(['file:///etc/passwd', '', 'https://', 'data:text/plain,x'])(
    'nor is %s followed',
    async (location) => {
      const { authorizer, sent } = setUp(() => json({}, 302, { location }), USER);
      expect((await rejection(authorizer.challenged(BEARER, [PULL]))).code).toBe('ERR_REGISTRY_INVALID');
      expect(sent).toHaveLength(1);
    },
  );

  it('nor a circle', async () => {
    const { authorizer, sent } = setUp(() => json({}, 302, { location: REALM }), USER);
    expect((await rejection(authorizer.challenged(BEARER, [PULL]))).message).toMatch(
      /redirects more than 5 times/,
    );
    expect(sent).toHaveLength(6);
  });
});

describe('what token servers answer', () => {
  const secrets = ['hunter2', 'secret-token', BASIC.slice(6)];
  const echo = `you sent hunter2:x, ${BASIC} and "password": "hunter2:x"`;

  it.each<[string, RawResponse, Credentials | undefined, string, RegExp]>([
    [
      '401, anonymous',
      json({ errors: [{ code: 'UNAUTHORIZED', message: 'no' }] }, 401),
      undefined,
      'DENIED',
      /gives no token for repository:a\/b:pull: UNAUTHORIZED: no; no login for registry\.example is stored/,
    ],
    [
      '401 with a password',
      json({ details: 'incorrect username or password' }, 401),
      USER,
      'DENIED',
      /incorrect username or password; it refuses user "bob" or the password: log in again/,
    ],
    [
      '400 of OAuth2',
      json({ error: 'invalid_grant', error_description: 'gone' }, 400),
      { identityToken: 'x' },
      'DENIED',
      /gone; it refuses the stored identity token/,
    ],
    ['an echo', json({ error_description: echo }, 403), USER, 'DENIED', /REDACTED/],
    ['429', json({}, 429), USER, 'LIMIT', /answers with status 429/],
    ['418', json({}, 418), USER, 'INVALID', /status 418; it may not be a token server/],
    [
      'HTML',
      { status: 200, headers: {}, body: Buffer.from('<html>secret-token') },
      USER,
      'INVALID',
      /the answer of .* not JSON/,
    ],
    ['no token', json({ token: '', access_token: null }), USER, 'INVALID', /answers without a token/],
    [
      'a token that breaks the header',
      json({ token: 'a\r\nx-evil: 1' }),
      USER,
      'INVALID',
      /token is not a token/,
    ],
    [
      'a token that fits no header',
      json({ token: 'a'.repeat(70_000) }),
      USER,
      'INVALID',
      /token is not a token/,
    ],
    ['a number as token', json({ token: 7 }), USER, 'INVALID', /token is a number, not a string/],
    [
      'an endless life',
      json({ token: 't', expires_in: 'forever' }),
      USER,
      'INVALID',
      /expires_in is not a number/,
    ],
  ])('%s', async (_, response, credentials, code, message) => {
    const { authorizer } = setUp(() => response, credentials);
    const error = await rejection(authorizer.challenged(BEARER, [PULL]));
    expect(error.code).toBe(`ERR_REGISTRY_${code}`);
    expect(error.message).toMatch(message);
    expect(error).toMatchObject({ registry: 'registry.example' });
    for (const secret of secrets) expect(`${error.message} ${String(error.cause)}`).not.toContain(secret);
  });
});

describe('registries that cannot be logged in to', () => {
  it.each([
    [undefined, /without saying how/],
    ['Negotiate', /by negotiate; only Basic and Bearer are supported/],
    ['Bearer service="x"', /by bearer/],
  ])('%s', async (header, message) => {
    const { authorizer } = setUp(tokens, USER);
    const error = await rejection(authorizer.challenged(header, [PULL]));
    expect(error.code).toBe('ERR_REGISTRY_INVALID');
    expect(error.message).toMatch(message);
  });

  it('a source that fails fails the request, and is asked again', async () => {
    let asked = 0;
    const broken = new LayerstackError('ERR_CREDENTIALS_INVALID', 'config.json is broken');
    const { authorizer } = setUp(tokens, undefined, {
      credentials: { get: () => (asked++ === 0 ? Promise.reject(broken) : Promise.resolve(USER)) },
    });
    expect(await rejection(authorizer.challenged(BEARER, [PULL]))).toBe(broken);
    expect(await authorizer.challenged(BEARER, [PULL])).toBe(true);
  });

  it('says as whom a request was denied', async () => {
    const { authorizer } = setUp(tokens, USER);
    expect(authorizer.denied([PULL]).message).toMatch(
      /denies access without a login \(repository:a\/b:pull\)/,
    );
    await authorizer.challenged(BEARER, [PULL]);
    const { message } = authorizer.denied([PULL], 'insufficient scope for hunter2:x');
    expect(message).toMatch(
      /denies access as user "bob" \(repository:a\/b:pull\): insufficient scope for REDACTED/,
    );
  });
});
