/**
 * pull from a real registry: images that docker, podman and skopeo have pushed, compared with a pull by
 * dockerd.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Dockerd } from '../support/dockerd.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { Registry } from '../support/registry.ts';
import { dropScratch, makeScratch, unmountBelow } from '../support/scratch.ts';
import { compareTrees, mapTree, type Tree } from '../support/tree.ts';
import { fixtures } from './support/fixtures.ts';
import { layerDifferences, shapeOf } from './support/store-shape.ts';

const NEEDED = ['dockerd', 'docker', 'docker-registry', 'podman', 'skopeo', 'python3'];

interface Manifest {
  readonly mediaType?: string;
  readonly config?: { readonly digest: string };
  readonly layers?: readonly { readonly mediaType: string }[];
  readonly manifests?: readonly object[];
}

describe.runIf(havePeers(...NEEDED))('pull', () => {
  let scratch: string;
  let registry: Registry;
  /** podman does not push zstd if it knows a gzip blob of the same layer. */
  let zstdRegistry: Registry;
  /** The data-root of a dockerd that has pulled what docker pushed. */
  let theirs: string;
  let name: string;

  const skopeo = (...args: string[]) =>
    must('skopeo', ['--insecure-policy', '--tmpdir', scratch, ...args], { env: { TMPDIR: scratch } });
  const named = (tag: string) => (tag === 'zstd' ? `${zstdRegistry.host}/fx/whole:zstd` : `${name}:${tag}`);
  const raw = async (tag: string) =>
    JSON.parse(await skopeo('inspect', '--raw', '--tls-verify=false', `docker://${named(tag)}`)) as Manifest;

  beforeAll(async () => {
    scratch = makeScratch('pull');
    theirs = join(scratch, 'theirs');
    registry = await Registry.start();
    zstdRegistry = await Registry.start();
    name = `${registry.host}/fx/whole`;
    const daemon = await Dockerd.start(join(scratch, 'pusher'));
    try {
      await daemon.docker('load', '-i', fixtures().whole);
      await daemon.docker('tag', 'fx/whole:1', `${name}:docker`);
      await daemon.docker('push', `${name}:docker`);
    } finally {
      await daemon.stop();
    }
    const puller = await Dockerd.start(theirs);
    try {
      await puller.docker('pull', `${name}:docker`);
    } finally {
      await puller.stop();
    }
    const storage = ['--root', join(scratch, 'storage'), '--runroot', join(scratch, 'run')];
    const podman = (...args: string[]) =>
      must('podman', [...storage, '--storage-driver', 'overlay', ...args]);
    await podman('load', '-q', '-i', fixtures().whole);
    const push = ['push', '-q', '--tls-verify=false', '--remove-signatures'];
    await podman(...push, '--format', 'oci', 'fx/whole:1', `docker://${name}:podman-oci`);
    await podman(...push, '--format', 'v2s2', 'fx/whole:1', `docker://${name}:podman-v2s2`);
    await podman(
      ...push,
      '--compression-format',
      'zstd',
      '--format',
      'oci',
      'fx/whole:1',
      `docker://${named('zstd')}`,
    );
    await podman('manifest', 'create', 'several');
    await podman('manifest', 'add', '--tls-verify=false', 'several', `docker://${name}:docker`);
    await podman(
      'manifest',
      'push',
      '-q',
      '--tls-verify=false',
      '--all',
      'several',
      `docker://${name}:index`,
    );
    const copy = ['copy', '-q', '--src-tls-verify=false', '--dest-tls-verify=false'];
    await skopeo(...copy, '--format', 'oci', `docker://${name}:docker`, `docker://${name}:skopeo-oci`);
    await unmountBelow(scratch);
  });

  afterAll(async () => {
    await registry.stop();
    await zstdRegistry.stop();
    await unmountBelow(scratch);
    await dropScratch(scratch);
  });

  const store = (tag: string) => new LayerstackCli(join(scratch, `ours-${tag}`));

  test.each([
    ['docker', /docker\..*manifest\.v2/, /tar\.gzip$/],
    ['podman-v2s2', /docker\..*manifest\.v2/, /tar\.gzip$/],
    ['podman-oci', /oci\..*manifest/, /tar\+gzip$/],
    ['skopeo-oci', /oci\..*manifest/, /tar\+gzip$/],
    ['zstd', /oci\..*manifest/, /tar\+zstd$/],
  ])('an image that %s has pushed is the same, file by file', async (tag, manifestType, layerType) => {
    const manifest = await raw(tag);
    expect(manifest.mediaType ?? 'oci..manifest').toMatch(manifestType);
    for (const layer of manifest.layers ?? []) expect(layer.mediaType).toMatch(layerType);
    const ours = store(tag);
    await ours.run('pull', named(tag));
    expect((await ours.inspect(named(tag)))['Id']).toBe(manifest.config?.digest);
    expect(await layerDifferences(ours.root, theirs)).toEqual([]);
  });

  test('an index yields the image of this machine, under the digest of the index', async () => {
    const index = await raw('index');
    expect(index.manifests).toHaveLength(1);
    const ours = store('index');
    const printed = await ours.run('pull', `${name}:index`);
    const [, digest = ''] = /^Digest: (\S+)$/m.exec(printed) ?? [];
    expect(await ours.inspect(`${name}@${digest}`)).toMatchObject({
      Id: (await raw('docker')).config?.digest,
      RepoDigests: [`${name}@${digest}`],
    });
  });

  test('the store is the one that a pull of dockerd makes', async () => {
    const ours = store('same');
    await ours.run('pull', `${name}:docker`);
    const folders =
      /^image\/overlay2\/(layerdb\/(mounts|tmp)|imagedb\/metadata)(\/|$)|^overlay2\/backingFsBlockDev$/;
    const required = (tree: Tree) => mapTree(tree, (entry) => (folders.test(entry.path) ? undefined : entry));
    const [mine, other] = [required(await shapeOf(ours.root)), required(await shapeOf(theirs))];
    expect([...mine.keys()].filter((path) => path.includes('/distribution/')).length).toBeGreaterThan(4);
    expect(compareTrees(mine, other)).toEqual([]);
  });

  test('dockerd uses the store: names, digests, and layers that it need not pull', async () => {
    const ours = store('theirs-now');
    await ours.run('pull', `${name}:docker`);
    const listed = await ours.run('images', '--digests', '--no-trunc');
    const daemon = await Dockerd.start(ours.root);
    try {
      const lines = (text: string) => text.split('\n').map((line) => line.split(/ {2,}/).slice(0, 4));
      expect(lines(await daemon.docker('images', '--digests', '--no-trunc'))).toEqual(lines(listed));
      expect(await daemon.docker('pull', `${name}:docker`)).toMatch(/Status: Image is up to date/);
      await daemon.docker('rmi', '-f', `${name}:docker`);
      expect(await daemon.docker('images', '-aq')).toBe('');
    } finally {
      await daemon.stop();
    }
  });

  test('layerstack uses what dockerd has pulled', async () => {
    const root = join(scratch, 'back');
    const daemon = await Dockerd.start(root);
    try {
      await daemon.docker('pull', `${name}:docker`);
    } finally {
      await daemon.stop();
    }
    const printed = await new LayerstackCli(root).run('pull', `${name}:docker`);
    expect(printed).toMatch(/Status: Image is up to date/);
  });

  test('all tags', async () => {
    const ours = store('all');
    const printed = await ours.run('pull', '-a', name);
    for (const tag of ['docker', 'podman-v2s2', 'podman-oci', 'skopeo-oci', 'index'])
      expect(printed).toContain(`${tag}: Pulling from fx/whole`);
    expect(printed.split('\n').slice(-2)).toEqual([`Status: Downloaded newer image for ${name}`, name]);
  });
});
