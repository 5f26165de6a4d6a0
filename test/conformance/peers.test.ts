/**
 * Archives that other programs write of one image: loaded, they give the image id that those programs name.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { compareTrees, dumpTree, mapTree, type Tree } from '../support/tree.ts';
import { fixtures } from './support/fixtures.ts';

interface Descriptor {
  readonly digest: string;
}

const blob = (layout: string, digest: string) =>
  JSON.parse(readFileSync(join(layout, 'blobs', digest.replace(':', '/')), 'utf8')) as Record<
    string,
    unknown
  >;

/** The config digest of the only image of an OCI layout folder. */
function imageOfLayout(layout: string): string {
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as { manifests: Descriptor[] };
  const manifest = blob(layout, index.manifests[0]?.digest ?? '') as { config: Descriptor };
  return manifest.config.digest;
}

/** The config digest of the only image of a docker-archive. */
async function imageOfArchive(archive: string): Promise<string> {
  const manifest = JSON.parse(await must('tar', ['-xOf', archive, 'manifest.json'])) as { Config: string }[];
  const config = await must('tar', ['-xOf', archive, manifest[0]?.Config ?? '']);
  return `sha256:${createHash('sha256').update(config).digest('hex')}`;
}

const NEEDED = ['podman', 'buildah', 'skopeo', 'umoci', 'tar', 'gzip', 'zstd'];

describe.runIf(havePeers('dockerd', 'docker', ...NEEDED))('archives of other programs', () => {
  let scratch: string;
  let dockerId: string;
  let storage: string[];

  beforeAll(async () => {
    scratch = makeScratch('peers');
    storage = [
      '--root',
      join(scratch, 'storage'),
      '--runroot',
      join(scratch, 'run'),
      '--storage-driver',
      'overlay',
    ];
    dockerId = await imageOfArchive(fixtures().whole);
    await must('podman', [...storage, 'load', '-q', '-i', fixtures().whole]);
  });

  afterAll(() => dropScratch(scratch));

  /** Loads into a store of its own, and returns the ids and references that `images` then lists. */
  async function load(source: string): Promise<{ id: string; printed: string; root: LayerstackCli }> {
    const root = new LayerstackCli(makeRoot());
    const printed = await root.run('load', '-i', source);
    const ids = new Set((await root.run('images', '-q', '--no-trunc')).split('\n'));
    expect(ids.size).toBe(1);
    const id = [...ids][0] ?? '';
    await expectExactSave(root, id);
    return { id, printed, root };
  }

  /** Checks that save writes the layers and the image byte for byte as they were loaded. */
  async function expectExactSave(root: LayerstackCli, id: string): Promise<void> {
    const folder = makeRoot();
    mkdirSync(folder);
    await root.run('save', '-q', '-o', join(folder, 'saved.tar'), id);
    await must('tar', ['-C', folder, '-xf', join(folder, 'saved.tar')]);
    const names = readdirSync(join(folder, 'blobs/sha256'));
    const { rootfs } = blob(folder, id) as { rootfs: { diff_ids: string[] } };
    for (const digest of [id, ...rootfs.diff_ids]) expect(names).toContain(digest.slice(7));
    const sums = names.map((name) => `${name}  ${join(folder, 'blobs/sha256', name)}\n`).join('');
    await must('sha256sum', ['-c', '--quiet', '-'], { input: sums });
    const again = new LayerstackCli(makeRoot());
    await again.run('load', '-q', '-i', join(folder, 'saved.tar'));
    expect(await again.run('images', '-q', '--no-trunc')).toBe(id);
    rmSync(folder, { recursive: true });
  }

  let roots = 0;
  const makeRoot = () => join(scratch, `root-${String(roots++)}`);

  async function skopeo(from: string, to: string): Promise<void> {
    await must('skopeo', ['--insecure-policy', '--tmpdir', scratch, 'copy', '-q', from, to]);
  }

  test('podman save, docker-archive', async () => {
    const archive = join(scratch, 'podman.tar');
    await must('podman', [
      ...storage,
      'save',
      '-q',
      '--format',
      'docker-archive',
      '-o',
      archive,
      'fx/whole:1',
    ]);
    const { id, printed } = await load(archive);
    expect(id).toBe(dockerId);
    expect(id).toBe(
      `sha256:${(await must('podman', [...storage, 'images', '-q', '--no-trunc', 'fx/whole:1'])).trim().replace('sha256:', '')}`,
    );
    expect(printed).toMatch(/^Loaded image: (localhost\/)?fx\/whole:1$/);
  });

  test('podman save, OCI archive', async () => {
    const archive = join(scratch, 'podman-oci.tar');
    await must('podman', [...storage, 'save', '-q', '--format', 'oci-archive', '-o', archive, 'fx/whole:1']);
    const layout = join(scratch, 'podman-oci');
    mkdirSync(layout);
    await must('tar', ['-C', layout, '-xf', archive]);
    expect((await load(archive)).id).toBe(imageOfLayout(layout));
  });

  test('podman save, OCI folder', async () => {
    const layout = join(scratch, 'podman-dir');
    await must('podman', [...storage, 'save', '-q', '--format', 'oci-dir', '-o', layout, 'fx/whole:1']);
    expect((await load(layout)).id).toBe(imageOfLayout(layout));
  });

  test('an image that buildah commits, pushed as docker-archive and as OCI archive', async () => {
    const container = (await must('buildah', [...storage, 'from', '--pull-never', 'fx/whole:1'])).trim();
    await must('buildah', [...storage, 'config', '--env', 'MADE_BY=buildah', '--cmd', 'true', container]);
    await must('buildah', [...storage, 'copy', '-q', container, fixtures().base, '/added']);
    await must('buildah', [...storage, 'commit', '-q', '--format', 'docker', container, 'fx/buildah:1']);
    const buildahId = (
      await must('buildah', [...storage, 'images', '-q', '--no-trunc', 'fx/buildah:1'])
    ).trim();
    const archive = join(scratch, 'buildah.tar');
    await must('buildah', [
      ...storage,
      'push',
      '-q',
      'fx/buildah:1',
      `docker-archive:${archive}:fx/buildah:1`,
    ]);
    const loaded = await load(archive);
    expect(loaded.id).toBe(await imageOfArchive(archive));
    expect(loaded.id).toBe(buildahId);

    const oci = join(scratch, 'buildah-oci');
    await must('buildah', [...storage, 'push', '-q', '--format', 'oci', 'fx/buildah:1', `oci:${oci}:1`]);
    expect((await load(oci)).id).toBe(imageOfLayout(oci));
  });

  test('skopeo copy, docker-archive', async () => {
    const archive = join(scratch, 'skopeo.tar');
    await skopeo(`docker-archive:${fixtures().deep}`, `docker-archive:${archive}:fx/deep:copied`);
    const { id, printed } = await load(archive);
    expect(id).toBe(await imageOfArchive(fixtures().deep));
    expect(printed).toBe('Loaded image: fx/deep:copied');
  });

  test('skopeo copy, OCI folder and OCI archive, plain, as gzip and as zstd', async () => {
    const layout = join(scratch, 'skopeo-oci');
    await skopeo(`docker-archive:${fixtures().whole}:fx/whole:1`, `oci:${layout}:fx/whole:1`);
    const wanted = imageOfLayout(layout);
    expect((await load(layout)).id).toBe(wanted);
    const archive = join(scratch, 'skopeo-oci.tar');
    await skopeo(`oci:${layout}:fx/whole:1`, `oci-archive:${archive}:fx/whole:1`);
    expect((await load(archive)).id).toBe(wanted);
    await must('gzip', ['-k', archive]);
    expect((await load(`${archive}.gz`)).id).toBe(wanted);
    await must('zstd', ['-q', archive]);
    expect((await load(`${archive}.zst`)).id).toBe(wanted);
    const zstd = join(scratch, 'skopeo-zstd');
    await must('skopeo', [
      ...['--insecure-policy', '--tmpdir', scratch, 'copy', '-q', '--dest-compress-format', 'zstd'],
      ...['--dest-compress', `docker-archive:${fixtures().whole}:fx/whole:1`, `oci:${zstd}:fx/whole:1`],
    ]);
    expect((await load(zstd)).id).toBe(imageOfLayout(zstd));
  });

  test('an image that umoci has changed, and the tree that umoci unpacks from it', async () => {
    const layout = join(scratch, 'umoci');
    await skopeo(`docker-archive:${fixtures().whole}:fx/whole:1`, `oci:${layout}:it`);
    await must('umoci', ['config', '--image', `${layout}:it`, '--config.env', 'MADE_BY=umoci']);
    const bundle = join(scratch, 'bundle');
    await must('umoci', ['unpack', '--image', `${layout}:it`, bundle]);
    await must('sh', ['-c', 'echo more > "$1/rootfs/data/more" && rm "$1/rootfs/data/again"', 'sh', bundle]);
    await must('umoci', ['repack', '--image', `${layout}:it`, bundle]);
    const { id, root } = await load(layout);
    expect(id).toBe(imageOfLayout(layout));

    const unpacked = join(scratch, 'unpacked');
    await must('umoci', ['raw', 'unpack', '--image', `${layout}:it`, unpacked]);
    const container = await root.run('create', id);
    const merged = await root.run('mount', container);
    const mine = asImage(await dumpTree(merged));
    await root.run('unmount', container);
    expect(compareTrees(mine, asImage(await dumpTree(unpacked)))).toEqual([]);
  });
});

/**
 * Returns a tree without the entries of the init layer, and without the root's own metadata, which umoci
 * keeps.
 */
function asImage(tree: Tree): Tree {
  return mapTree(tree, (entry) => {
    if (/^(\.|\.dockerenv|dev(\/.*)?|proc|sys|etc\/(hosts|hostname|resolv\.conf|mtab))$/.test(entry.path))
      return undefined;
    return entry.path === 'etc' ? { ...entry, mtime: '' } : entry;
  });
}
