/**
 * Logins that docker, podman, skopeo and we share: each reads what the others have written, against a
 * registry with htpasswd and against one with a token server, which also lets tokens run out in the middle of
 * the work.
 */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { digestOf, type Digest } from '../../src/core/digest.ts';
import { defaultLogger } from '../../src/system/log.ts';
import { DockerConfig } from '../../src/transfer/registry/auth/docker-config.ts';
import { fixedCredentials, type CredentialSource } from '../../src/transfer/registry/auth/credentials.ts';
import { openRepository, type RepositoryClient } from '../../src/transfer/registry/client.ts';
import { defaultSettings } from '../../src/transfer/registry/settings.ts';
import { Dockerd } from '../support/dockerd.ts';
import { rejection } from '../support/errors.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must, run } from '../support/process.ts';
import { Registry } from '../support/registry.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { layerOf } from '../support/images.ts';
import { TokenServer, type TokenServerOptions } from '../support/token-server.ts';
import { writeOciLayout } from './support/archive.ts';

const USERS = { bob: 'p:w ü"\\', eve: 'other' };
const PLAIN = ['--tls-verify=false'];

let scratch: string;
let home: string;
let env: Record<string, string>;
const configPath = () => join(home, '.docker/config.json');

beforeAll(async () => {
  scratch = makeScratch('login');
  writeOciLayout(join(scratch, 'image'), [layerOf({ 'etc/motd': 'hello' }).tar], '1');
});
afterAll(() => dropScratch(scratch));

beforeEach(() => {
  home = join(scratch, 'home');
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home);
  env = {
    HOME: home,
    XDG_RUNTIME_DIR: join(home, 'run'),
    DOCKER_CONFIG: join(home, '.docker'),
  };
});

const cli = (...args: string[]) => new LayerstackCli(join(scratch, 'store')).try(args, { env });

/** `layerstack login` with the password on stdin. */
const login = (host: string, user: string, password: string) =>
  new LayerstackCli(join(scratch, 'store')).try(['login', '-u', user, '--password-stdin', host], {
    env,
    input: `${password}\n`,
  });

const open = (repository: string, credentials?: CredentialSource): RepositoryClient =>
  openRepository(repository, { settings: defaultSettings('none'), credentials, log: defaultLogger });

/** Returns the content of this user's own files. */
const ours = () => new DockerConfig(env);

/** Puts the image of the test into a registry. */
const seed = (host: string, name = 'team/app:1', user = `bob:${USERS.bob}`) =>
  must('skopeo', [
    ...['copy', '--dest-tls-verify=false', '--dest-creds', user],
    ...[`oci:${join(scratch, 'image')}:1`, `docker://${host}/${name}`],
  ]);

/** Returns whether skopeo and podman can log in with the same files. */
async function peersMay(host: string, user: string | undefined): Promise<void> {
  const skopeo = await run('skopeo', ['inspect', ...PLAIN, `docker://${host}/team/app:1`], {
    env,
  });
  expect(skopeo.status === 0, skopeo.stderr).toBe(user !== undefined);
  const podman = await run('podman', ['login', '--get-login', host], { env });
  expect(podman.stdout.trim() || undefined).toBe(user);
}

describe.runIf(havePeers('docker-registry', 'htpasswd', 'skopeo', 'podman'))('with htpasswd', () => {
  let registry: Registry;

  beforeAll(async () => {
    registry = await Registry.start({ users: USERS });
    await seed(registry.host);
  });
  afterAll(() => registry.stop());

  it("logs in, with docker's words, and the login works for other programs", async () => {
    await peersMay(registry.host, undefined);
    const ran = await login(registry.host, 'bob', USERS.bob);
    expect(ran.stdout).toBe('Login Succeeded\n');
    expect(ran.stderr).toBe(
      `WARNING! Your password will be stored unencrypted in ${configPath()}.\n` +
        'Configure a credential helper to remove this warning. See\n' +
        'https://docs.docker.com/engine/reference/commandline/login/#credentials-store\n\n',
    );
    expect(ran.status).toBe(0);
    expect(statSync(configPath()).mode & 0o777).toBe(0o600);
    expect(existsSync(join(scratch, 'store'))).toBe(false);
    await peersMay(registry.host, 'bob');

    await using client = open(`${registry.host}/team/app`, ours());
    expect((await client.fetchManifest('1')).bytes.length).toBeGreaterThan(0);

    const again = await cli('login', registry.host);
    expect(again.stderr).toBe('Authenticating with existing credentials...\n');
    expect(again.stdout).toBe('Login Succeeded\n');
  });

  it('succeeds although the sync of the directory fails after it, and so does logout', async () => {
    const faulty = (...args: string[]) =>
      run(
        'strace',
        [
          ...['-f', '-qq', '-o', '/dev/null', '-e', 'trace=fsync', '-e', 'inject=fsync:error=EIO:when=2'],
          ...[process.execPath, ...new LayerstackCli(join(scratch, 'store')).argv(...args)],
        ],
        { env, input: `${USERS.bob}\n` },
      );
    const done = 'layerstack: done, but a power cut may undo the change of ';
    const inside = await faulty('login', '-u', 'bob', '--password-stdin', registry.host);
    expect(inside.stderr).toContain(done + configPath());
    expect([inside.stdout, inside.status]).toEqual(['Login Succeeded\n', 0]);
    await peersMay(registry.host, 'bob');
    const outside = await faulty('logout', registry.host);
    expect(outside.stderr).toContain(done + configPath());
    expect(outside.status).toBe(0);
    await peersMay(registry.host, undefined);
  });

  it('warns of -p', async () => {
    const ran = await cli('login', '-u', 'bob', '-p', USERS.bob, `http://${registry.host}/v2/`);
    expect(ran.stderr).toMatch(
      /^WARNING! Using --password via the CLI is insecure\. Use --password-stdin\.\n/,
    );
    expect(ran.status).toBe(0);
    expect(Object.keys((JSON.parse(readFileSync(configPath(), 'utf8')) as { auths: object }).auths)).toEqual([
      registry.host,
    ]);
  });

  it('with a wrong password fails, and keeps the stored login', async () => {
    await login(registry.host, 'bob', USERS.bob);
    const before = readFileSync(configPath(), 'utf8');
    const ran = await login(registry.host, 'bob', 'hunter2');
    expect(ran.status).toBe(1);
    expect(ran.stdout).toBe('');
    expect(ran.stderr).toMatch(/^layerstack: ERR_REGISTRY_DENIED: login at localhost:\d+: .* as user "bob"/);
    expect(ran.stderr).not.toContain('hunter2');
    expect(readFileSync(configPath(), 'utf8')).toBe(before);
  });

  it('without a terminal a stored wrong login is reported, and no other is asked for', async () => {
    const auth = Buffer.from('bob:hunter2').toString('base64');
    mkdirSync(join(home, '.docker'));
    writeFileSync(configPath(), JSON.stringify({ auths: { [registry.host]: { auth } } }));
    const ran = await cli('login', registry.host);
    expect(ran.status).toBe(1);
    expect(ran.stderr).toMatch(
      /^Authenticating with existing credentials\.\.\.\nlayerstack: ERR_REGISTRY_DENIED/,
    );
  });

  it.each([
    [['login', '--password-stdin'], /Must provide --username with --password-stdin/],
    [['login', '-u', 'bob', '-p', 'x', '--password-stdin'], /mutually exclusive/],
    [['login', '-u', 'bob'], /Cannot perform an interactive login from a non TTY device/],
    [['login', '-u', 'bob', '--password-stdin'], /the password is empty/],
  ])('%j is misuse', async (args, message) => {
    const ran = await cli(...args, registry.host);
    expect(ran.status).toBe(2);
    expect(ran.stderr).toMatch(message);
  });

  it('refuses a name that is not a registry', async () => {
    for (const name of ['a/b', 'user@host', 'a b', 'x..', '[::1', 'host:port']) {
      const ran = await login(name, 'bob', 'x');
      expect(ran.stderr, name).toMatch(/ERR_INVALID_ARGUMENT: .* is not a registry: give HOST\[:PORT\]/);
      expect(ran.status).toBe(1);
    }
  });

  it('logs out, also for other programs', async () => {
    await login(registry.host, 'bob', USERS.bob);
    expect((await cli('logout', registry.host)).stdout).toBe(
      `Removing login credentials for ${registry.host}\n`,
    );
    await peersMay(registry.host, undefined);
    expect((await cli('logout', registry.host)).stdout).toBe(`Not logged in to ${registry.host}\n`);
    expect((await cli('logout')).stdout).toBe('Not logged in to https://index.docker.io/v1/\n');
    await using client = open(`${registry.host}/team/app`, ours());
    const error = await rejection(client.fetchManifest('1'));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_DENIED', registry: registry.host });
    expect(error.message).toMatch(/asks for a user name and password: log in \(layerstack login localhost/);
  });

  it.each(['podman', 'skopeo'])('reads logins that %s has written, in both files', async (program) => {
    const files = [configPath(), join(env['XDG_RUNTIME_DIR'] ?? '', 'containers/auth.json')];
    for (const file of files) {
      rmSync(configPath(), { force: true });
      mkdirSync(join(file, '..'), { recursive: true });
      await must(
        program,
        ['login', ...PLAIN, '--authfile', file, '-u', 'bob', '--password-stdin', registry.host],
        {
          env,
          input: USERS.bob,
        },
      );
      await using client = open(`${registry.host}/team/app`, ours());
      expect((await client.headManifest('1'))?.size).toBeGreaterThan(0);
      await must(program, ['logout', '--authfile', file, registry.host], { env });
      expect(await ours().get(registry.host)).toBeUndefined();
    }
  });

  it('forgets at once a name that the registry does not know', async () => {
    await using client = open(
      `${registry.host}/team/app`,
      fixedCredentials(registry.host, { username: 'mallory', password: 'x' }),
    );
    expect((await rejection(client.fetchManifest('1'))).message).toMatch(/denies access as user "mallory"/);
  });
});

const tokenPeers = havePeers('docker-registry', 'openssl', 'skopeo');

/** A registry with these settings of its token server, with the test's image in it. */
async function withTokens(options: TokenServerOptions) {
  const tokens = await TokenServer.start({ users: USERS, ...options });
  const registry = await Registry.start({ token: tokens.registryOptions });
  await seed(registry.host);
  tokens.requests.length = 0;
  return {
    tokens,
    registry,
    async stop(): Promise<void> {
      await registry.stop();
      await tokens.stop();
    },
  };
}

const bob = (host: string) => fixedCredentials(host, { username: 'bob', password: USERS.bob });

/** All bytes of a blob. */
async function read(client: RepositoryClient, digest: Digest, size: number): Promise<Buffer> {
  const { body } = await client.openBlob({ digest, size });
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe.runIf(tokenPeers)('with a token server', () => {
  let site: Awaited<ReturnType<typeof withTokens>> | undefined;
  afterEach(async () => {
    await site?.stop();
    site = undefined;
  });

  it.each([
    ['ES256', 'x5c'],
    ['ES256', 'kid'],
    ['RS256', 'x5c'],
    ['RS256', 'kid'],
  ] as const)('the registry takes its tokens by %s and %s', async (algorithm, keyHint) => {
    site = await withTokens({ algorithm, keyHint });
    const { registry, tokens } = site;
    await using anonymous = open(`${registry.host}/team/app`);
    await anonymous.fetchManifest('1');
    await using client = open(`${registry.host}/team/app`, bob(registry.host));
    await client.fetchManifest('1');
    expect(tokens.requests.map(({ grant, user, scopes }) => [grant, user, ...scopes])).toEqual([
      ['anonymous', undefined, 'repository:team/app:pull'],
      ['basic', 'bob', 'repository:team/app:pull'],
    ]);
    expect(tokens.requests[1]).toMatchObject({ account: 'bob', service: tokens.service, offline: false });
  });

  it('login keeps an identity token in place of the password', async () => {
    site = await withTokens({ rotate: false });
    const { registry, tokens } = site;
    const ran = await login(registry.host, 'bob', USERS.bob);
    expect(ran.stdout).toBe('Login Succeeded\n');
    expect(ran.stderr).toBe('');
    const { auths } = JSON.parse(readFileSync(configPath(), 'utf8')) as {
      auths: Record<string, Record<string, string>>;
    };
    expect(auths[registry.host]).toEqual({
      auth: Buffer.from('bob:').toString('base64'),
      identitytoken: expect.stringMatching(/^refresh-/) as string,
    });
    tokens.requests.length = 0;
    await using client = open(`${registry.host}/team/app`, ours());
    await client.fetchManifest('1');
    expect(tokens.requests).toMatchObject([
      { method: 'POST', grant: 'refresh_token', user: 'bob', status: 200 },
    ]);
    await must('skopeo', ['inspect', ...PLAIN, `docker://${registry.host}/team/app:1`], { env });
    expect((await cli('login', registry.host)).stdout).toBe('Login Succeeded\n');

    tokens.revoke();
    await using late = open(`${registry.host}/team/app`, ours());
    const error = await rejection(late.fetchManifest('1'));
    expect(error.code).toBe('ERR_REGISTRY_DENIED');
    expect(error.message).toMatch(/refuses the stored identity token: log in again/);
    expect(error.message).not.toMatch(/refresh-/);
  });

  it('the password is posted to a token server that answers POST only', async () => {
    site = await withTokens({});
    await site.stop();
    const tokens = await TokenServer.start({ users: USERS, postOnly: true });
    const registry = await Registry.start({ token: tokens.registryOptions });
    site = { tokens, registry, stop: () => registry.stop().then(() => tokens.stop()) };
    await using client = open(`${registry.host}/team/app`, bob(registry.host));
    expect((await rejection(client.fetchManifest('1'))).code).toBe('ERR_REGISTRY_NOT_FOUND');
    expect(tokens.requests.map(({ grant, status }) => [grant, status])).toEqual([
      ['basic', 405],
      ['password', 200],
    ]);
  });

  it('identity tokens that are valid once are replaced by their successors', async () => {
    site = await withTokens({ rotate: true, acceptedSeconds: 1 });
    const { registry, tokens } = site;
    await login(registry.host, 'bob', USERS.bob);
    await using client = open(`${registry.host}/team/app`, ours());
    for (let i = 0; i < 3; i++) {
      await client.fetchManifest('1');
      await sleep(1100);
    }
    expect(tokens.requests.filter(({ status }) => status !== 200)).toEqual([]);
    expect(tokens.requests.filter(({ grant }) => grant === 'refresh_token').length).toBeGreaterThan(1);
  });

  it('tokens that expire in the middle of a pull are fetched anew', async () => {
    // The server announces an hour, but the registry accepts tokens for two seconds: only its 401 shows it.
    site = await withTokens({ acceptedSeconds: 2, announcedSeconds: 3600 });
    const { registry, tokens } = site;
    await using client = open(`${registry.host}/team/app`, bob(registry.host));
    const { bytes } = await client.fetchManifest('1');
    const { config, layers } = JSON.parse(Buffer.from(bytes).toString()) as {
      config: { digest: Digest; size: number };
      layers: { digest: Digest; size: number }[];
    };
    for (const { digest, size } of [config, ...layers]) {
      await sleep(3100);
      expect(digestOf(await read(client, digest, size))).toBe(digest);
    }
    expect(tokens.requests.length).toBeGreaterThan(1);
    // Many at once: one token for all of them.
    await sleep(3100);
    tokens.requests.length = 0;
    await Promise.all(Array.from({ length: 8 }, () => client.fetchManifest('1')));
    expect(tokens.requests).toHaveLength(1);
  });

  it('and in the middle of a push', async () => {
    site = await withTokens({ acceptedSeconds: 2, announcedSeconds: 3600 });
    const { registry } = site;
    await using client = open(`${registry.host}/team/other`, bob(registry.host));
    const blob = randomBytes(3_000_000);
    const hash = createHash('sha256');
    await client.uploadBlob(
      async function* (from) {
        for (let at = from; at < blob.length; at += 1_000_000) {
          const chunk = blob.subarray(at, at + 1_000_000);
          hash.update(chunk);
          yield chunk;
          await sleep(1600);
        }
      },
      () => digestOf(blob),
    );
    await sleep(3100);
    expect(await client.hasBlob(digestOf(blob))).toBe(blob.length);
  });

  it('a mount asks for both repositories at once', async () => {
    site = await withTokens({});
    const { registry, tokens } = site;
    await using client = open(`${registry.host}/other/copy`, bob(registry.host));
    await using source = open(`${registry.host}/team/app`, bob(registry.host));
    const { layers } = JSON.parse(Buffer.from((await source.fetchManifest('1')).bytes).toString()) as {
      layers: { digest: Digest; size: number }[];
    };
    const [layer] = layers;
    if (!layer) throw new Error('no layer');
    tokens.requests.length = 0;
    expect(await client.mountBlob(layer.digest, `${registry.host}/team/app`)).toBe(true);
    expect(tokens.requests.at(-1)?.scopes).toEqual([
      'repository:other/copy:pull,push',
      'repository:team/app:pull',
    ]);
    expect(await client.hasBlob(layer.digest)).toBe(layer.size);
  });

  it('a user without the right gets an error that names the user and the repository', async () => {
    site = await withTokens({
      grants: (user, _type, name) =>
        user === 'bob' ? ['pull', 'push', 'delete'] : name === 'public/app' ? ['pull'] : [],
    });
    const { registry } = site;
    await seed(registry.host, 'public/app:1');
    await using free = open(`${registry.host}/public/app`);
    await free.fetchManifest('1');
    await using anonymous = open(`${registry.host}/team/app`);
    const refused = await rejection(anonymous.fetchManifest('1'));
    expect(refused).toMatchObject({ code: 'ERR_REGISTRY_DENIED', registry: registry.host });
    expect(refused.message).toMatch(
      /team\/app:1: .*denies access without a login .*layerstack login localhost/,
    );
    await using eve = open(
      `${registry.host}/team/app`,
      fixedCredentials(registry.host, { username: 'eve', password: USERS.eve }),
    );
    expect((await rejection(eve.fetchManifest('1'))).message).toMatch(/denies access as user "eve"/);
  });
});

describe.runIf(havePeers('docker-registry', 'htpasswd', 'openssl', 'dockerd', 'docker'))(
  "with docker's client",
  () => {
    let daemon: Dockerd;
    beforeAll(async () => {
      daemon = await Dockerd.start(join(scratch, 'docker'));
    });
    afterAll(() => daemon.stop());

    it('docker uses a login of layerstack, and layerstack one of docker', async () => {
      const tokens = await TokenServer.start({ users: USERS });
      const withToken = await Registry.start({ token: tokens.registryOptions });
      const withPassword = await Registry.start({ users: USERS });
      try {
        for (const { host } of [withToken, withPassword]) {
          await seed(host);
          rmSync(join(home, '.docker'), { recursive: true, force: true });
          expect((await login(host, 'bob', USERS.bob)).status).toBe(0);
          await daemon.dockerRun(['pull', '-q', `${host}/team/app:1`], { env });

          rmSync(join(home, '.docker'), { recursive: true, force: true });
          const docker = ['-H', daemon.host, 'login', '-u', 'bob', '--password-stdin', host];
          await must('docker', docker, { env, input: USERS.bob });
          await using client = open(`${host}/team/app`, ours());
          expect((await client.headManifest('1'))?.size).toBeGreaterThan(0);
          expect((await cli('logout', host)).stdout).toBe(`Removing login credentials for ${host}\n`);
          expect(await ours().get(host)).toBeUndefined();
        }
      } finally {
        await withToken.stop();
        await withPassword.stop();
        await tokens.stop();
      }
    });
  },
);
