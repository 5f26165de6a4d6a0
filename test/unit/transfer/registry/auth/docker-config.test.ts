import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { DockerConfig } from '../../../../../src/transfer/registry/auth/docker-config.ts';
import { rejection } from '../../../../support/errors.ts';
import { dropScratch, makeScratch } from '../../../../support/scratch.ts';

const USER = { username: 'u', password: 'p:"\\ü' };
const KEY = 'localhost:5000';
const HUB = 'https://index.docker.io/v1/';

/** A home with a credential helper `fake` that keeps what it is given in files, and logs what it is asked. */
function home() {
  const directory = makeScratch('docker-config');
  onTestFinished(() => dropScratch(directory));
  const bin = join(directory, 'bin');
  const kept = join(directory, 'kept');
  mkdirSync(bin);
  mkdirSync(kept);
  const helper = (name: string, script: string): void => {
    writeFileSync(join(bin, `docker-credential-${name}`), `#!${process.execPath}\n${script}`);
    chmodSync(join(bin, `docker-credential-${name}`), 0o755);
  };
  helper(
    'fake',
    `const fs = require('node:fs');
     const [verb, input] = [process.argv[2], fs.readFileSync(0, 'utf8')];
     const file = (server) => ${JSON.stringify(kept)} + '/' + encodeURIComponent(server);
     fs.appendFileSync(${JSON.stringify(join(directory, 'log'))}, verb + ' ' + input + '\\n');
     const missing = () => { console.log('credentials not found in native keychain'); process.exit(1); };
     if (verb === 'store') fs.writeFileSync(file(JSON.parse(input).ServerURL), input);
     else if (verb === 'list') console.log(JSON.stringify(Object.fromEntries(
       fs.readdirSync(${JSON.stringify(kept)}).map((name) => [decodeURIComponent(name), 'u']))));
     else if (!fs.existsSync(file(input))) missing();
     else if (verb === 'get') console.log(fs.readFileSync(file(input), 'utf8'));
     else fs.unlinkSync(file(input));`,
  );
  const env = { HOME: directory, PATH: bin, XDG_RUNTIME_DIR: join(directory, 'run') };
  const path = join(directory, '.docker/config.json');
  return {
    env,
    path,
    helper,
    directory,
    config: new DockerConfig(env),
    log: () => readFileSync(join(directory, 'log'), 'utf8').trim().split('\n'),
    write(text: string | object, to = path): void {
      mkdirSync(dirname(to), { recursive: true });
      writeFileSync(to, typeof text === 'string' ? text : JSON.stringify(text));
    },
    text: () => readFileSync(path, 'utf8'),
  };
}

const entry = (username: string) => ({ auth: Buffer.from(`${username}:p`).toString('base64') });

describe('where credentials are looked for', () => {
  it('in $DOCKER_CONFIG, else in the home directory', async () => {
    const { env, directory, write } = home();
    write({ auths: { [KEY]: entry('home') } });
    write({ auths: { [KEY]: entry('other') } }, join(directory, 'x/config.json'));
    expect(await new DockerConfig(env).get(KEY)).toMatchObject({ username: 'home' });
    expect(await new DockerConfig({ ...env, DOCKER_CONFIG: join(directory, 'x') }).get(KEY)).toMatchObject({
      username: 'other',
    });
  });

  it("then in podman's files", async () => {
    const { env, directory, write, config } = home();
    expect(await config.get(KEY)).toBeUndefined();
    write({ auths: { [KEY]: entry('user') } }, join(directory, '.config/containers/auth.json'));
    expect(await config.get(KEY)).toMatchObject({ username: 'user' });
    write({ auths: { [KEY]: entry('runtime') } }, join(directory, 'run/containers/auth.json'));
    expect(await config.get(KEY)).toMatchObject({ username: 'runtime' });
    write({ auths: { [KEY]: entry('own') } }, join(directory, 'own.json'));
    const own = new DockerConfig({ ...env, REGISTRY_AUTH_FILE: join(directory, 'own.json') });
    expect(await own.get(KEY)).toMatchObject({ username: 'own' });
    write({ auths: { [KEY]: {} } });
    expect(await config.get(KEY)).toMatchObject({ username: 'runtime' });
    write({ auths: { [KEY]: entry('docker') } });
    expect(await own.get(KEY)).toMatchObject({ username: 'docker' });
  });

  it('with the helper of the registry', async () => {
    const { config, write, log } = home();
    write({ credHelpers: { [KEY]: 'fake' }, auths: { 'other:1': entry('file') } });
    await config.store(KEY, USER);
    expect(await config.get(KEY)).toEqual(USER);
    expect(await config.get('other:1')).toMatchObject({ username: 'file' });
    expect(log()).toHaveLength(2);
  });

  it('in the file if the helper has none', async () => {
    const { config, write } = home();
    write({ credsStore: 'fake', auths: { [KEY]: entry('file') } });
    expect(await config.get(KEY)).toMatchObject({ username: 'file' });
    expect(await config.get('other:1')).toBeUndefined();
  });
});

describe('login', () => {
  it("writes docker's file, for its owner only", async () => {
    const { config, path, text } = home();
    expect(await config.store(KEY, USER)).toEqual({ path, helper: undefined });
    const auth = Buffer.from(`u:${USER.password}`).toString('base64');
    expect(text()).toBe(`{\n\t"auths": {\n\t\t"${KEY}": {\n\t\t\t"auth": "${auth}"\n\t\t}\n\t}\n}`);
    expect(statSync(path).mode & 0o7777).toBe(0o600);
    expect(statSync(dirname(path)).mode & 0o7777).toBe(0o700);
    expect(readdirSync(dirname(path))).toEqual(['config.json']);
    expect(await config.get(KEY)).toEqual(USER);
  });

  it('keeps unknown members, and the order', async () => {
    const { config, write, text, path } = home();
    write(
      '{"psFormat":"x","auths":{"a":{"auth":"YTpi","email":"e"}},"__proto__":{"x":[1,null]},"plugins":{"p":{"k":"v"}}}',
    );
    chmodSync(path, 0o644);
    await config.store(KEY, { username: 'u', identityToken: 't' });
    expect(text()).toMatch(
      /^\{\n\t"psFormat": "x",\n\t"auths": \{\n\t\t"a": \{\n\t\t\t"auth": "YTpi",\n\t\t\t"email": "e"/,
    );
    expect(text()).toMatch(/"__proto__": \{\n\t\t"x": \[\n\t\t\t1,\n\t\t\tnull\n\t\t\]\n\t\},\n\t"plugins"/);
    expect(JSON.parse(text())).toMatchObject({
      auths: { [KEY]: { auth: Buffer.from('u:').toString('base64'), identitytoken: 't' } },
    });
    expect(statSync(path).mode & 0o7777).toBe(0o600);
    expect(await config.get(KEY)).toEqual({ username: 'u', identityToken: 't' });
  });

  it('replaces other spellings of the registry', async () => {
    const { config, write, text } = home();
    write({
      auths: { [`https://${KEY}/v1/`]: entry('old'), [`${KEY}/team`]: entry('podman'), 'x:1': entry('x') },
    });
    await config.store(KEY, USER);
    expect(Object.keys((JSON.parse(text()) as { auths: object }).auths)).toEqual([`${KEY}/team`, 'x:1', KEY]);
  });

  it('follows a link to the file', async () => {
    const { config, path, directory, write } = home();
    write({ auths: {} }, join(directory, 'dotfiles/docker.json'));
    mkdirSync(dirname(path));
    symlinkSync('../dotfiles/docker.json', path);
    await config.store(KEY, USER);
    expect(readFileSync(join(directory, 'dotfiles/docker.json'), 'utf8')).toContain(KEY);
    expect(await config.get(KEY)).toEqual(USER);
  });

  it('loses no other login that is written at the same time', async () => {
    const { config, text } = home();
    await Promise.all(Array.from({ length: 20 }, (_, i) => config.store(`host${String(i)}:1`, USER)));
    expect(Object.keys((JSON.parse(text()) as { auths: object }).auths)).toHaveLength(20);
  });

  it('gives the credentials to the helper, and leaves a mark', async () => {
    const { config, write, text, path, log } = home();
    write({ credsStore: 'fake' });
    expect(await config.store(KEY, USER)).toEqual({ path, helper: 'fake' });
    expect(JSON.parse(text())).toEqual({ credsStore: 'fake', auths: { [KEY]: {} } });
    expect(log()).toEqual([
      `store ${JSON.stringify({ ServerURL: KEY, Username: 'u', Secret: USER.password })}`,
    ]);
    await config.store(HUB, { username: 'u', identityToken: 't' });
    expect(log()[1]).toBe(`store ${JSON.stringify({ ServerURL: HUB, Username: '<token>', Secret: 't' })}`);
    expect(await config.get(HUB)).toEqual({ identityToken: 't' });
  });

  it('does not overwrite a file that it cannot read', async () => {
    const { config, write, text } = home();
    write('{"auths":');
    expect((await rejection(config.store(KEY, USER))).code).toBe('ERR_CREDENTIALS_INVALID');
    expect(text()).toBe('{"auths":');
  });
});

describe('logout', () => {
  it('removes every spelling, and says whether there was one', async () => {
    const { config, write, text } = home();
    expect(await config.erase(KEY)).toBe(false);
    const auths = { [KEY]: entry('a'), [`https://${KEY}`]: entry('b'), 'x:1': entry('x') };
    write({ auths, other: 1 });
    expect(await config.erase(KEY)).toBe(true);
    expect(JSON.parse(text())).toEqual({ auths: { 'x:1': entry('x') }, other: 1 });
    const before = text();
    expect(await config.erase(KEY)).toBe(false);
    expect(text()).toBe(before);
  });

  it('has the helper forget', async () => {
    const { config, write, log } = home();
    write({ credsStore: 'fake' });
    await config.store(`https://${KEY}`, USER);
    expect(await config.erase(KEY)).toBe(true);
    expect(log().slice(1)).toEqual(['list ', `erase https://${KEY}`]);
    expect(await config.get(KEY)).toBeUndefined();
    expect(await config.erase(KEY)).toBe(false);
  });

  it('works with a helper that cannot list', async () => {
    const { config, write, helper } = home();
    helper(
      'cloud',
      'console.log("this helper keeps no list"); process.exit(process.argv[2] === "list" ? 1 : 0)',
    );
    write({ credHelpers: { [KEY]: 'cloud' } });
    expect(await config.erase(KEY)).toBe(false);
  });
});

describe('helpers that misbehave', () => {
  it.each([
    [
      'fails',
      'console.log("the keyring is locked"); process.exit(2)',
      /docker-credential-bad \(.*config\.json\) get fails with status 2: the keyring is locked/,
    ],
    ['fails on stderr', 'console.error("boom"); process.exit(1)', /status 1: boom/],
    ['says nothing', 'process.exit(1)', /get fails with status 1$/],
    ['dies', 'process.kill(process.pid, "SIGKILL")', /get fails with status null/],
    ['prints no JSON', 'console.log("c2VjcmV0")', /the answer of docker-credential-bad get: not JSON$/],
    ['leaves the secret out', 'console.log(JSON.stringify({Username:"u"}))', /Secret is missing/],
    [
      'never stops printing',
      'const w = () => process.stdout.write("x".repeat(65536), w); w()',
      /prints more than 1048576 bytes/,
    ],
    ['repeats a secret', 'console.log(JSON.stringify({Secret:"c2VjcmV0"})); process.exit(1)', /REDACTED/],
  ])('%s', async (_, script, message) => {
    const { config, write, helper } = home();
    helper('bad', script);
    write({ credsStore: 'bad' });
    const error = await rejection(config.get(KEY));
    expect(error.code).toBe('ERR_CREDENTIALS_INVALID');
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain('c2Vj');
  });

  it.each([
    'credentials not found in native keychain',
    'no credentials server URL',
    'no credentials username',
  ])('"%s" means that credentials are absent', async (text) => {
    const { config, write, helper } = home();
    helper('empty', `console.log(${JSON.stringify(text)}); process.exit(1)`);
    write({ credsStore: 'empty' });
    expect(await config.get(KEY)).toBeUndefined();
  });

  it('that is not installed is named', async () => {
    const { config, write } = home();
    write({ credsStore: 'desktop' });
    expect((await rejection(config.get(KEY))).message).toMatch(
      /docker-credential-desktop \(.*config\.json\) is not on PATH: install it, or remove it from the file/,
    );
  });

  it.each(['../../bin/x', '/bin/sh', 'a\0b'])('called %j is not run', async (name) => {
    const { config, write } = home();
    write({ credsStore: name });
    expect((await rejection(config.get(KEY))).message).toMatch(/is not the name of a program/);
  });

  it('in the working directory is not run', async () => {
    const { env, write, helper, directory } = home();
    helper('here', `require('node:fs').writeFileSync(${JSON.stringify(join(directory, 'ran'))}, '')`);
    write({ credsStore: 'here' });
    const before = process.cwd();
    onTestFinished(() => process.chdir(before));
    process.chdir(join(directory, 'bin'));
    for (const PATH of ['', ':', '.', './', '::relative'])
      expect((await rejection(new DockerConfig({ ...env, PATH }).get(KEY))).message).toMatch(
        /is not on PATH/,
      );
    expect(existsSync(join(directory, 'ran'))).toBe(false);
  });

  it('that never ends is stopped with the request', async () => {
    const { config, write, helper, directory } = home();
    helper(
      'slow',
      `require('node:fs').writeFileSync(${JSON.stringify(join(directory, 'pid'))}, String(process.pid)); setInterval(() => {}, 1000)`,
    );
    write({ credsStore: 'slow' });
    const abort = new AbortController();
    const got = rejection(config.get(KEY, abort.signal));
    while (!existsSync(join(directory, 'pid'))) await new Promise((resolve) => setTimeout(resolve, 10));
    abort.abort();
    expect((await got).code).toBe('ERR_ABORTED');
    const pid = Number(readFileSync(join(directory, 'pid'), 'utf8'));
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
  });
});
