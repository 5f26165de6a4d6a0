/** Pull, push, login and distribution over the socket, against a registry of the test. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dockerArchive } from '../support/archives.ts';
import { noise } from '../support/applied.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { havePeers } from '../support/peers.ts';
import { Registry } from '../support/registry.ts';
import { tar } from '../support/tar.ts';
import { TestService, type Answer } from '../support/test-service.ts';

const USER = { username: 'mason', password: 'brick' };
const image = imageOf([layerOf({ base: 'base' }), layerOf([{ name: 'big', content: noise(3 << 20) }])], {
  tags: ['app:1'],
  config: { Labels: { keep: '' } },
});

const authHeader = (config: object): Record<string, string> => ({
  'X-Registry-Auth': Buffer.from(JSON.stringify(config)).toString('base64url'),
});
const message = (answer: Answer): string => answer.json<{ message: string }>().message;
const statuses = (answer: Answer): string[] =>
  answer.lines().map(({ id, status }) => [id, status].filter((part) => part !== undefined).join(': '));

/** Returns the final bytes by layer. Checks that the bytes rise, and never exceed a constant total. */
function finished(answer: Answer, status: string): Map<string, number> {
  const ends = new Map<string, number>();
  const totals = new Map<string, number>();
  for (const line of answer.lines().filter((each) => each['status'] === status)) {
    const { current = 0, total } = line['progressDetail'] as { current?: number; total: number };
    const id = line['id'] as string;
    expect(totals.get(id) ?? total).toBe(total);
    expect(current).toBeGreaterThanOrEqual(ends.get(id) ?? 0);
    expect(current).toBeLessThanOrEqual(total);
    totals.set(id, total);
    ends.set(id, current);
  }
  return ends;
}

describe.runIf(havePeers('docker-registry'))('registries', () => {
  let service: TestService;
  let open: Registry;
  let closed: Registry;

  beforeAll(async () => {
    [service, open, closed] = await Promise.all([
      TestService.start(),
      Registry.start(),
      Registry.start({ users: { [USER.username]: USER.password } }),
    ]);
    await service.post('/images/load', { body: tar(dockerArchive([image])) });
    for (const { host } of [open, closed])
      await service.post(`/images/app:1/tag?repo=${host}/team/app&tag=1`);
  });
  afterAll(async () => {
    await service[Symbol.asyncDispose]();
    await Promise.all([open.stop(), closed.stop()]);
  });

  it('bytes and totals of a push and a pull are those of the layers', async () => {
    const layers = ['a', 'b'].map((name) => layerOf({ [name]: randomBytes(2_000_000).toString('hex') }));
    await service.post('/images/load', { body: tar(dockerArchive([imageOf(layers, { tags: ['big:1'] })])) });
    const name = `${open.host}/team/big`;
    await service.post(`/images/big:1/tag?repo=${name}&tag=1`);
    const pushed = await service.post(`/images/${name}/push?tag=1`, { headers: authHeader({}) });
    const tars = new Map(layers.map(({ diffId, tar: bytes }) => [diffId.slice(7, 19), bytes.length]));
    expect(finished(pushed, 'Pushing')).toEqual(tars);

    await service.send('DELETE', '/images/big:1?force=1');
    await service.send('DELETE', `/images/${name}:1?force=1`);
    const pulled = await service.post(`/images/create?fromImage=${name}&tag=1`, { headers: authHeader({}) });
    const accept = { Accept: 'application/vnd.docker.distribution.manifest.v2+json' };
    const answer = await fetch(`http://${open.host}/v2/team/big/manifests/1`, { headers: accept });
    const manifest = (await answer.json()) as { layers: { digest: string; size: number }[] };
    const blobs = new Map(manifest.layers.map(({ digest, size }) => [digest.slice(7, 19), size]));
    expect(finished(pulled, 'Extracting')).toEqual(blobs);
    for (const [id, total] of finished(pulled, 'Downloading'))
      expect(total).toBeLessThanOrEqual(blobs.get(id) ?? 0);
    await service.send('DELETE', `/images/${name}:1?force=1`);
  });

  it("a push and a pull send docker's lines", async () => {
    const name = `${open.host}/team/app`;
    const pushed = await service.post(`/images/${name}/push?tag=1`, { headers: authHeader({}) });
    expect(pushed.status).toBe(200);
    const lines = pushed.lines();
    expect(lines[0]).toEqual({ status: `The push refers to repository [${name}]` });
    for (const { diffId } of image.layers) {
      const id = diffId.slice(7, 19);
      expect(lines).toContainEqual({ status: 'Preparing', progressDetail: {}, id });
      expect(lines).toContainEqual({ status: 'Pushed', progressDetail: {}, id });
    }
    const aux = lines.at(-1)?.['aux'] as { Tag: string; Digest: string; Size: number };
    expect(aux).toMatchObject({ Tag: '1', Digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) as string });
    expect(lines.at(-2)).toEqual({ status: `1: digest: ${aux.Digest} size: ${aux.Size}` });

    const again = await service.post(`/images/${name}:1/push`);
    expect(statuses(again)).toContain(`${image.layers[0]?.diffId.slice(7, 19)}: Layer already exists`);

    await service.send('DELETE', `/images/${image.id}?force=1`);
    const pulled = await service.post(`/images/create?fromImage=${name}&tag=1`, { headers: authHeader({}) });
    const said = statuses(pulled);
    expect(said[0]).toBe('1: Pulling from team/app');
    expect(said.filter((line) => line.endsWith(': Pull complete'))).toHaveLength(2);
    expect(said.filter((line) => line.endsWith(': Download complete'))).toHaveLength(2);
    expect(said.slice(-2)).toEqual([`Digest: ${aux.Digest}`, `Status: Downloaded newer image for ${name}:1`]);
    const next = await service.post(`/images/create?fromImage=${name}&tag=${aux.Digest}`);
    expect(statuses(next).at(-1)).toMatch(/^Status: .* for localhost:\d+\/team\/app@sha256:/);
    expect((await service.get(`/images/${name}:1/json`)).json<{ Id: string }>().Id).toBe(image.id);
    const fresh = await service.post(`/images/create?fromImage=${name}:1`);
    expect(statuses(fresh).at(-1)).toBe(`Status: Image is up to date for ${name}:1`);
  });

  it('prune removes the digest that a push left together with its tag, once', async () => {
    const other = imageOf([layerOf({ other: 'other' })], { tags: [`${open.host}/other:1`] });
    await service.post('/images/load', { body: tar(dockerArchive([other])) });
    await service.post(`/images/${open.host}/other/push?tag=1`);
    const { RepoDigests } = (await service.get(`/images/${other.id}/json`)).json<{ RepoDigests: string[] }>();
    expect(RepoDigests).toHaveLength(1);
    const query = `filters=${encodeURIComponent('{"dangling":["false"],"label!":["keep"]}')}`;
    const pruned = await service.post(`/images/prune?${query}`);
    const records = pruned.json<{ ImagesDeleted: Record<string, string>[] }>().ImagesDeleted;
    const said = records.flatMap((record) => Object.values(record));
    expect(said).toEqual([...new Set(said)]);
    expect(said).toEqual(
      expect.arrayContaining([`${open.host}/other:1`, ...RepoDigests, other.id, ...other.chain]),
    );
  });

  it('distribution describes a manifest', async () => {
    const answer = await service.get(`/distribution/${open.host}/team/app:1/json`);
    expect(answer.status).toBe(200);
    expect(answer.json()).toEqual({
      Descriptor: {
        mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
        digest: expect.stringMatching(/^sha256:/) as string,
        size: expect.any(Number) as number,
      },
      Platforms: [{ architecture: 'amd64', os: 'linux' }],
    });
    expect((await service.get(`/distribution/${open.host}/team/nothing:1/json`)).status).toBe(404);
  });

  it('a missing image is answered with a status, before any line of progress', async () => {
    for (const query of [
      `fromImage=${open.host}/team/app&tag=none`,
      `fromImage=${open.host}/nothing&tag=1`,
    ]) {
      const answer = await service.post(`/images/create?${query}`);
      expect([answer.status, message(answer)]).toEqual([404, expect.stringContaining(open.host)]);
    }
    const push = await service.post(`/images/${open.host}/nothing/push?tag=1`);
    expect(push.status).toBe(404);
  });

  it.each(['linux/foobar', 'foobar', 'a/b/c/d', 'linux/', 'foo/amd64'])(
    'a pull for platform=%s, which is not a platform, is refused before the registry is asked',
    async (platform) => {
      // Without a tag all of them are pulled.
      for (const tag of ['&tag=1', '']) {
        const query = `fromImage=127.0.0.1:1/nothing${tag}&platform=${encodeURIComponent(platform)}`;
        const answer = await service.post(`/images/create?${query}`);
        expect([answer.status, message(answer)]).toEqual([400, expect.stringMatching(/^invalid platform/)]);
      }
    },
  );

  it('auth checks credentials', async () => {
    const login = (password: string): Promise<Answer> =>
      service.post('/auth', { json: { username: USER.username, password, serveraddress: closed.host } });
    const good = await login(USER.password);
    expect([good.status, good.json()]).toEqual([200, { Status: 'Login Succeeded', IdentityToken: '' }]);
    const bad = await login('straw');
    expect(bad.status).toBe(401);
    expect(bad.text).not.toContain('straw');
    expect((await service.post('/auth', { json: 'x' })).status).toBe(400);
  });

  it('X-Registry-Auth has the only credentials that a request uses', async () => {
    const config = { ...USER, serveraddress: closed.host };
    const pull = (headers?: Record<string, string>): Promise<Answer> =>
      service.post(`/images/create?fromImage=${closed.host}/team/app&tag=1`, { ...(headers && { headers }) });
    await service.post(`/images/create?fromImage=${open.host}/team/app&tag=1`);
    await service.post(`/images/${open.host}/team/app:1/tag?repo=${closed.host}/team/app&tag=1`);
    const anonymous = await service.post(`/images/${closed.host}/team/app/push?tag=1`);
    expect(anonymous.text).toMatch(/"(?:message|error)"/);
    const pushed = await service.post(`/images/${closed.host}/team/app/push?tag=1`, {
      headers: authHeader(config),
    });
    expect(pushed.lines().at(-1)).toHaveProperty('aux.Tag', '1');
    expect((await pull()).status).toBe(404);
    expect((await pull({ 'X-Registry-Auth': '%%%' })).status).toBe(404);
    const denied = await pull(authHeader({ ...config, password: 'straw' }));
    expect(denied.status).toBe(404);
    expect(denied.text).not.toContain('straw');
    const allowed = await pull(authHeader(config));
    expect([allowed.status, statuses(allowed).at(-1)]).toEqual([
      200,
      expect.stringMatching(/^Status: /) as string,
    ]);
  });
});
