/**
 * Pushes to distribution's registry: docker, podman and skopeo then pull the same image, and layerstack and a
 * dockerd on the same root understand each other's records of it.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/core/digest.ts';
import { Dockerd } from '../support/dockerd.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { describeFailure, must, type Ran } from '../support/process.ts';
import { Registry } from '../support/registry.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { TokenServer } from '../support/token-server.ts';
import { compareTrees, dumpTree, mapTree, type Tree, type TreeEntry } from '../support/tree.ts';
import { fixtures } from './support/fixtures.ts';

const USERS = { bob: 'se<cret', eve: 'other' };
const POLICY = ['--insecure-policy'];
const NO_TLS = '--src-tls-verify=false';

interface Manifest {
  readonly mediaType: string;
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly mediaType: string; readonly digest: string; readonly size: number }[];
}

/** `TAG: digest: sha256:… size: N` of docker's and our push. */
const pushedDigest = (text: string): string =>
  /: digest: (sha256:[0-9a-f]{64}) size: \d+/.exec(text)?.[1] ?? text;

/** Requests of the registry's log that send something. */
const sent = (registry: Registry): string[] =>
  registry
    .log()
    .split('\n')
    .flatMap((line) => /"((?:POST|PATCH|PUT) [^ ?"]+)/.exec(line)?.[1] ?? []);

describe.runIf(havePeers('dockerd', 'docker', 'podman', 'skopeo', 'umoci', 'docker-registry'))('push', () => {
  let scratch: string;
  let registry: Registry;
  let ours: LayerstackCli;
  let id: string;
  let diffIds: string[];

  beforeAll(async () => {
    scratch = makeScratch('push');
    registry = await Registry.start();
    ours = new LayerstackCli(join(scratch, 'ours'));
    await ours.run('load', '-i', fixtures().whole);
    const document = await ours.inspect('fx/whole:1');
    id = String(document['Id']);
    diffIds = (document['RootFS'] as { Layers: string[] }).Layers;
  });

  afterAll(async () => {
    await registry.stop();
    await dropScratch(scratch);
  });

  /** Names the fixture and pushes it. */
  async function push(name: string, ...options: string[]): Promise<Ran> {
    await ours.run('tag', 'fx/whole:1', name);
    const ran = await ours.try(['push', ...options, name]);
    expect(ran.status, describeFailure(ran)).toBe(0);
    return ran;
  }

  async function manifest(name: string): Promise<Manifest> {
    const inspect = ['inspect', '--tls-verify=false', '--raw', `docker://${name}`];
    return JSON.parse(await must('skopeo', [...POLICY, ...inspect])) as Manifest;
  }

  test("prints docker's lines, and a second time sends nothing", async () => {
    const name = `${registry.host}/t/lines:1`;
    const first = await push(name);
    const layers = diffIds.map((diffId) => diffId.slice(7, 19));
    const lines = (status: string): string[] => layers.map((layer) => `${layer}: ${status}`);
    expect(first.stdout.split('\n')).toEqual([
      `The push refers to repository [${registry.host}/t/lines]`,
      expect.stringMatching(/^1: digest: sha256:[0-9a-f]{64} size: \d+$/),
      '',
    ]);
    expect(first.stderr.split('\n')).toEqual(
      expect.arrayContaining([...lines('Preparing'), ...lines('Pushed')]),
    );
    const before = sent(registry).length;
    const second = await push(name);
    expect(second.stdout).toBe(first.stdout);
    expect(second.stderr.split('\n')).toEqual(expect.arrayContaining(lines('Layer already exists')));
    expect(sent(registry).slice(before)).toEqual([]);
    expect((await push(name, '-q')).stdout).toBe(`${name}\n`);
    const events = (await push(name, '--format', 'json')).stdout.trimEnd().split('\n');
    const types = events.map((line) => (JSON.parse(line) as { type: string }).type);
    // More layers than may be sent at once: one waits.
    expect(types.filter((type) => type !== 'layer-waiting')).toEqual([
      'pushing',
      ...Array<string>(layers.length).fill('layer-preparing'),
      ...Array<string>(layers.length).fill('layer-exists'),
      'pushed',
    ]);
    expect(await ours.run('images', '--digests', '--no-trunc', `${registry.host}/t/lines`)).toContain(
      pushedDigest(first.stdout),
    );
  });

  test('docker pulls the same image and the same trees', async () => {
    const name = `${registry.host}/t/docker:1`;
    const digest = pushedDigest((await push(name)).stdout);
    const daemon = await Dockerd.start(join(scratch, 'docker'));
    try {
      expect(await daemon.docker('pull', name)).toContain(`Digest: ${digest}`);
      expect((await daemon.inspect(name))['Id']).toBe(id);
    } finally {
      await daemon.stop();
    }
    const layerdb = 'image/overlay2/layerdb/sha256';
    const content = async (root: string, chain: string): Promise<Tree> => {
      const cacheId = readFileSync(join(root, layerdb, chain, 'cache-id'), 'utf8');
      const tree = await dumpTree(join(root, 'overlay2', cacheId, 'diff'));
      // The directory itself and whiteouts have no time in the tar, so they have the time of the extraction.
      const timeless = ({ path, rdev }: TreeEntry): boolean => path === '.' || rdev === '0:0';
      return mapTree(tree, (entry) => (timeless(entry) ? { ...entry, mtime: '' } : entry));
    };
    const chains = readdirSync(join(scratch, 'docker', layerdb));
    expect(chains).toHaveLength(diffIds.length);
    for (const chain of chains) {
      const [mine, theirs] = [await content(ours.root, chain), await content(join(scratch, 'docker'), chain)];
      expect(compareTrees(mine, theirs)).toEqual([]);
    }
  });

  test('podman and skopeo pull the same image, of either format', async () => {
    const storage = ['--root', join(scratch, 'storage'), '--runroot', join(scratch, 'run')];
    const podman = (...args: string[]) =>
      must('podman', [...storage, '--storage-driver', 'overlay', ...args]);
    for (const [tag, options, type] of [
      ['docker', [], 'application/vnd.docker.image.rootfs.diff.tar.gzip'],
      ['oci', ['--format', 'oci'], 'application/vnd.oci.image.layer.v1.tar+gzip'],
      ['zstd', ['--compression', 'zstd'], 'application/vnd.oci.image.layer.v1.tar+zstd'],
    ] as const) {
      const name = `${registry.host}/t/${tag}:${tag}`;
      await push(name, ...options);
      expect((await podman('pull', '-q', '--tls-verify=false', name)).trim()).toBe(id.replace('sha256:', ''));
      const copy = join(scratch, `copy-${tag}`);
      await must('skopeo', [...POLICY, 'copy', '-q', NO_TLS, `docker://${name}`, `dir:${copy}`]);
      const { config, layers } = JSON.parse(readFileSync(join(copy, 'manifest.json'), 'utf8')) as Manifest;
      expect(config.digest).toBe(id);
      expect(layers.map(({ mediaType }) => mediaType)).toEqual(diffIds.map(() => type));
      if (tag === 'zstd') continue;
      const blobs = layers.map(({ digest }) => readFileSync(join(copy, digest.replace('sha256:', ''))));
      expect(blobs.map((blob) => digestOf(gunzipSync(blob)))).toEqual(diffIds);
    }
  });

  // A store remembers which blobs its layers are: each encoder has one of its own.
  describe.each(['libdeflate', 'zlib'])("gzip of %s's", (encoder) => {
    let other: LayerstackCli;
    const storage = () => [
      '--root',
      join(scratch, `s-${encoder}`),
      '--runroot',
      join(scratch, `r-${encoder}`),
    ];
    const podman = (...args: string[]) =>
      must('podman', [...storage(), '--storage-driver', 'overlay', ...args]);

    beforeAll(() => {
      other = new LayerstackCli(join(scratch, `store-${encoder}`));
    });

    async function pushTo(name: string, image: string): Promise<string[]> {
      await other.run('tag', image, name);
      const ran = await other.try(['push', '-q', name], { env: { LAYERSTACK_CAPS: `gzip=${encoder}` } });
      expect(ran.status, describeFailure(ran)).toBe(0);
      return (await manifest(name)).layers.map(({ digest }) => digest);
    }

    test('is read by podman, skopeo and umoci', async () => {
      await other.run('load', '-q', '-i', fixtures().whole);
      const name = `${registry.host}/gzip/${encoder}:1`;
      const blobs = await pushTo(name, 'fx/whole:1');
      expect((await podman('pull', '-q', '--tls-verify=false', name)).trim()).toBe(id.replace('sha256:', ''));
      const layout = join(scratch, `layout-${encoder}`);
      await must('skopeo', [...POLICY, 'copy', '-q', NO_TLS, `docker://${name}`, `oci:${layout}:it`]);
      const bytes = blobs.map((digest) => readFileSync(join(layout, 'blobs', digest.replace(':', '/'))));
      expect(bytes.map((blob) => digestOf(gunzipSync(blob)))).toEqual(diffIds);
      const tree = join(scratch, `tree-${encoder}`);
      await must('umoci', ['raw', 'unpack', '--image', `${layout}:it`, tree]);
      expect(readdirSync(tree)).not.toEqual([]);
    });

    test("of program code is not larger than podman's", async () => {
      // Some MiB that compress by half, as the layers of most images do.
      const root = join(scratch, `code-${encoder}`);
      mkdirSync(root);
      writeFileSync(join(root, 'code'), readFileSync(process.execPath).subarray(0, 24 << 20));
      const archive = join(scratch, `code-${encoder}.tar`);
      await other.run('import', root, 'code:1');
      await other.run('save', '-o', archive, 'code:1');
      const loaded = (await podman('load', '-q', '-i', archive)).trim().replace('Loaded image: ', '');
      const [mine, theirs] = ['mine', 'theirs'].map((who) => `${registry.host}/${who}/${encoder}:1`);
      await pushTo(String(mine), 'code:1');
      await podman('push', '-q', '--tls-verify=false', loaded, String(theirs));
      const size = async (name: string) => (await manifest(name)).layers[0]?.size ?? NaN;
      expect(await size(String(mine))).toBeLessThanOrEqual(await size(String(theirs)));
    });
  });

  test('a tag can be moved between manifests of both formats', async () => {
    const name = `${registry.host}/t/either:1`;
    const types: string[] = [];
    for (const options of [[], ['--compression', 'zstd'], ['--format', 'oci'], []]) {
      await push(name, ...options);
      types.push((await manifest(name)).mediaType);
    }
    const [docker, oci] = [
      'application/vnd.docker.distribution.manifest.v2+json',
      'application/vnd.oci.image.manifest.v1+json',
    ];
    expect(types).toEqual([docker, oci, oci, docker]);
  });

  test('layers are mounted from another repository of the registry', async () => {
    await push(`${registry.host}/mount/from:1`);
    const before = sent(registry).length;
    const { stderr } = await push(`${registry.host}/mount/to:1`);
    for (const diffId of diffIds) expect(stderr).toContain(`${diffId.slice(7, 19)}: Mounted from `);
    const patched = sent(registry)
      .slice(before)
      .filter((request) => request.startsWith('PATCH'));
    expect(patched).toEqual([]);
    expect(await manifest(`${registry.host}/mount/to:1`)).toEqual(
      await manifest(`${registry.host}/mount/from:1`),
    );
  });

  test('all tags', async () => {
    const repository = `${registry.host}/t/all`;
    await ours.run('tag', 'fx/whole:1', `${repository}:a`);
    await ours.run('tag', 'fx/whole:second', `${repository}:b`);
    const text = await ours.run('push', '-a', repository);
    expect(text).toMatch(/^a: digest: /m);
    expect(text).toMatch(/^b: digest: /m);
    for (const tag of ['a', 'b']) expect((await manifest(`${repository}:${tag}`)).layers).not.toEqual([]);
  });

  test('layerstack knows the blobs that dockerd has pushed from this root, and dockerd those of layerstack', async () => {
    const root = join(scratch, 'shared');
    const mine = new LayerstackCli(root);
    await mine.run('load', '-i', fixtures().whole);
    const names = ['theirs', 'mine'].map((name) => `${registry.host}/shared/${name}:1`) as [string, string];
    for (const name of names) await mine.run('tag', 'fx/whole:1', name);
    const digest = pushedDigest(await mine.run('push', names[1]));

    const daemon = await Dockerd.start(root);
    try {
      const again = await daemon.docker('push', names[1]);
      expect(pushedDigest(again)).toBe(digest);
      for (const diffId of diffIds) expect(again).toContain(`${diffId.slice(7, 19)}: Layer already exists`);
      const theirs = pushedDigest(await daemon.docker('push', names[0]));
      expect(theirs).toBe(digest);
    } finally {
      await daemon.stop();
    }
    const before = sent(registry).length;
    expect(pushedDigest(await mine.run('push', names[0]))).toBe(digest);
    expect(sent(registry).slice(before)).toEqual([]);
  });

  test('an image that dockerd has pushed gets the same manifest from layerstack', async () => {
    const root = join(scratch, 'dockers');
    const name = `${registry.host}/dockers/x:1`;
    const daemon = await Dockerd.start(root);
    let digest: string;
    try {
      await daemon.docker('load', '-q', '-i', fixtures().whole);
      await daemon.docker('tag', 'fx/whole:1', name);
      digest = pushedDigest(await daemon.docker('push', name));
    } finally {
      await daemon.stop();
    }
    const before = sent(registry).length;
    expect(pushedDigest(await new LayerstackCli(root).run('push', name))).toBe(digest);
    expect(sent(registry).slice(before)).toEqual([]);
  });

  describe.each(['htpasswd', 'token'])('with %s authentication', (kind) => {
    let guarded: Registry;
    let tokens: TokenServer | undefined;

    beforeAll(async () => {
      tokens = kind === 'token' ? await TokenServer.start({ users: { bob: USERS.bob } }) : undefined;
      guarded = await Registry.start(tokens ? { token: tokens.registryOptions } : { users: USERS });
    });

    afterAll(async () => {
      await guarded.stop();
      await tokens?.stop();
    });

    /** The environment of a logged-in user. */
    function as(user: keyof typeof USERS, password: string): Record<string, string> {
      const directory = join(scratch, `${kind}-${user}-${password.length}`);
      mkdirSync(directory, { recursive: true });
      const auth = Buffer.from(`${user}:${password}`).toString('base64');
      const config = { auths: { [guarded.host]: { auth } } };
      writeFileSync(join(directory, 'config.json'), JSON.stringify(config), { mode: 0o600 });
      return { DOCKER_CONFIG: directory, HOME: directory };
    }

    test('pushes, mounts, and remembers the login of a push, as dockerd does', async () => {
      const root = join(scratch, `guarded-${kind}`);
      const mine = new LayerstackCli(root);
      await mine.run('load', '-i', fixtures().whole);
      const env = as('bob', USERS.bob);
      const names = ['a', 'b'].map((name) => `${guarded.host}/team/${name}:1`) as [string, string];
      for (const name of names) {
        await mine.run('tag', 'fx/whole:1', name);
        const ran = await mine.try(['push', name], { env });
        expect(ran.status, describeFailure(ran)).toBe(0);
        if (name === names[1]) expect(ran.stderr).toContain('Mounted from team/a');
      }
      const metadata = join(root, 'image/overlay2/distribution/v2metadata-by-diffid/sha256');
      const remembered = () => diffIds.map((diffId) => readFileSync(join(metadata, diffId.slice(7)), 'utf8'));
      const before = remembered();
      const daemon = await Dockerd.start(root);
      try {
        const { stdout } = await daemon.dockerRun(['push', names[1]], { env });
        expect(stdout).toContain(`${diffIds[0]?.slice(7, 19)}: Layer already exists`);
      } finally {
        await daemon.stop();
      }
      // With another HMAC dockerd would have added an entry of its own.
      expect(remembered()).toEqual(before);
    });

    test('names the refused user, and sends nothing to the registry', async () => {
      const name = `${guarded.host}/team/refused:1`;
      await ours.run('tag', 'fx/whole:1', name);
      for (const env of [as('bob', 'wrong'), { DOCKER_CONFIG: scratch, HOME: scratch }]) {
        const ran = await ours.try(['push', name], { env });
        expect(ran.status).toBe(1);
        expect(ran.stderr).toMatch(/ERR_REGISTRY_DENIED: .*team\/refused/);
        expect(ran.stderr).not.toContain('wrong');
      }
      const repositories = join(guarded.storage, 'docker/registry/v2/repositories/team');
      expect(readdirSync(repositories)).not.toContain('refused');
    });
  });
});
