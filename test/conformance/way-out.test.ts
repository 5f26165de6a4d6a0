/**
 * The output of a store: archives that docker, podman, skopeo and umoci read with the same image id, and the
 * changes and commits that dockerd makes of the same container.
 */
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { goJson } from '../../src/core/go-json.ts';
import { applyChanges } from '../../src/dockerfile/changes.ts';
import { dockerContainerConfig, EMPTY_CONTAINER_CONFIG } from '../../src/image/container-config.ts';
import { Dockerd } from '../support/dockerd.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { describeFailure, must } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';
import { compareTrees, dumpTree, mapTree, type Tree } from '../support/tree.ts';
import { CHANGE_CASES } from './support/change-cases.ts';
import { fixtures } from './support/fixtures.ts';

const IMAGE = 'fx/whole:1';

describe.runIf(havePeers('dockerd', 'docker', 'podman', 'skopeo', 'umoci', 'tar'))('the way out', () => {
  let scratch: string;
  let ours: LayerstackCli;
  let id: string;
  let archive: string;
  let daemon: Dockerd;

  beforeAll(async () => {
    scratch = makeScratch('way-out');
    ours = new LayerstackCli(join(scratch, 'ours'));
    await ours.run('load', '-i', fixtures().whole);
    id = String((await ours.inspect(IMAGE))['Id']);
    archive = join(scratch, 'saved.tar');
    await ours.run('save', '-o', archive, IMAGE);
    daemon = await Dockerd.start(join(scratch, 'theirs'));
  });

  afterAll(async () => {
    await daemon.stop();
    await dropScratch(scratch);
  });

  test('dockerd loads what save writes, and saves the same layers', async () => {
    expect(await daemon.docker('load', '-q', '-i', archive)).toBe(`Loaded image: ${IMAGE}`);
    const [theirs, mine] = [await daemon.inspect(IMAGE), await ours.inspect(IMAGE)];
    expect(theirs['Id']).toBe(id);
    for (const key of ['Config', 'RootFS', 'Created', 'Architecture', 'Size'])
      expect(theirs[key], key).toEqual(mine[key]);
    const again = new LayerstackCli(join(scratch, 'again'));
    const { bytes } = await daemon.dockerRun(['save', IMAGE]);
    const loaded = await again.try(['load', '-q'], { input: bytes });
    expect(loaded.status, describeFailure(loaded)).toBe(0);
    const resaved = join(scratch, 'resaved.tar');
    await again.run('save', '-o', resaved, IMAGE);
    expect(readFileSync(resaved).equals(readFileSync(archive))).toBe(true);
  });

  test('podman loads both formats with the same image id', async () => {
    const oci = join(scratch, 'podman-oci.tar');
    await ours.run('save', '--format', 'oci', '-o', oci, IMAGE);
    for (const [at, file] of [archive, oci].entries()) {
      const storage = ['--root', join(scratch, `storage${at}`), '--runroot', join(scratch, `run${at}`)];
      const podman = (...args: string[]) =>
        must('podman', [...storage, '--storage-driver', 'overlay', ...args]);
      await podman('load', '-q', '-i', file);
      expect((await podman('images', '-q', '--no-trunc')).trim()).toBe(id);
      expect(await podman('images', '--format', '{{.Repository}}:{{.Tag}}')).toMatch(/(^|\/)fx\/whole:1\n$/);
    }
  });

  test('skopeo reads both formats, and umoci unpacks the OCI layout', async () => {
    const oci = join(scratch, 'skopeo-oci.tar');
    await ours.run('save', '--format', 'oci', '-o', oci, IMAGE);
    const layout = join(scratch, 'layout');
    const policy = ['--insecure-policy', '--tmpdir', scratch];
    for (const source of [`docker-archive:${archive}`, `oci-archive:${oci}:1`, `oci-archive:${archive}:1`]) {
      const manifest = JSON.parse(await must('skopeo', [...policy, 'inspect', '--raw', source])) as {
        config: { digest: string };
      };
      expect(manifest.config.digest, source).toBe(id);
    }
    await must('mkdir', ['-p', layout]);
    await must('tar', ['-C', layout, '-xf', oci]);
    const bundle = join(scratch, 'bundle');
    await must('umoci', ['unpack', '--image', `${layout}:1`, bundle]);
    expect(readdirSync(join(bundle, 'rootfs')).length).toBeGreaterThan(0);
  });

  test('diff, commit and history are those of dockerd on the same container', async () => {
    const work =
      'echo new > /new; mkdir -p /made/deep; echo x > /made/deep/x; rm -rf /data; mkdir /data; ' +
      'chmod 700 /etc; ln /new /linked; mkfifo /pipe; ln -s nowhere /soft';
    await daemon.docker('load', '-q', '-i', archive);
    await daemon.docker('run', '--name', 'box', '--user', '0', '--network', 'none', IMAGE, work);
    const commit = [
      'commit',
      '-a',
      'A <a@b>',
      '-m',
      'why',
      '-c',
      'ENV X=$PATH:y',
      '-c',
      'CMD ["run"]',
      'box',
    ];
    const theirDiff = (await daemon.docker('diff', 'box')).split('\n').sort();
    expect(theirDiff).toEqual(expect.arrayContaining(['A /made/deep/x', 'D /data/links', 'C /etc']));
    const theirId = await daemon.docker(...commit);
    await daemon.stop();
    const root = new LayerstackCli(daemon.root);
    expect((await root.run('diff', 'box')).split('\n').sort()).toEqual(theirDiff);
    const ourId = await root.run(...commit);
    const config = (image: string): Record<string, unknown> =>
      JSON.parse(
        readFileSync(join(daemon.root, 'image/overlay2/imagedb/content/sha256', image.slice(7)), 'utf8'),
      ) as Record<string, unknown>;
    const [mine, theirs] = [config(ourId), config(theirId)];
    const history = (image: Record<string, unknown>) =>
      (image['history'] as Record<string, unknown>[]).map((entry, at, all) =>
        at === all.length - 1 ? { ...entry, created: 'now' } : entry,
      );
    expect(history(mine)).toEqual(history(theirs));
    for (const key of ['architecture', 'author', 'config', 'container', 'container_config', 'os'])
      expect(goJson(mine[key]), key).toBe(goJson(theirs[key]));
    daemon = await Dockerd.start(daemon.root);
    expect(
      await daemon.docker('run', '--rm', '--user', '0', '--network', 'none', ourId, 'cat /made/deep/x'),
    ).toBe('x');
    expect((await daemon.inspect(ourId))['Parent']).toBe((await daemon.inspect(IMAGE))['Id']);
    await daemon.docker('rm', 'box');
  });

  test('export and diff are those of dockerd on the same container, times to the second', async () => {
    const work =
      'echo new > /new; rm -rf /data; ln /new /linked; mkfifo /pipe; mkdir -p /srv/empty; ' +
      'chmod 4711 /new; chown 12:34 /linked; touch -d @1000000000 /old';
    await daemon.docker('load', '-q', '-i', archive);
    await daemon.docker('run', '--name', 'out', '--user', '0', '--network', 'none', IMAGE, work);
    const tree = async (name: string): Promise<Tree> => {
      const folder = join(scratch, name);
      mkdirSync(folder);
      await must('tar', [
        '-C',
        folder,
        '--numeric-owner',
        '--xattrs',
        '--xattrs-include=*',
        '-xpf',
        `${folder}.tar`,
      ]);
      // GNU tar drops the fractions of seconds in docker's tar, which has no xattrs except capabilities.
      return mapTree(await dumpTree(folder), (entry) =>
        entry.path === '.' ? undefined : { ...entry, mtime: entry.mtime.slice(0, -9) },
      );
    };
    await daemon.docker('export', '-o', join(scratch, 'their-export.tar'), 'out');
    await daemon.stop();
    const root = new LayerstackCli(daemon.root);
    await root.run('export', '-o', join(scratch, 'our-export.tar'), 'out');
    expect(compareTrees(await tree('our-export'), await tree('their-export'))).toEqual([]);
    daemon = await Dockerd.start(daemon.root);
    // In the other direction: docker imports our export.
    const imported = await daemon.docker('import', '-c', 'CMD ["/bin/sh"]', join(scratch, 'our-export.tar'));
    expect(imported).toMatch(/^sha256:[0-9a-f]{64}$/);
    await daemon.docker('rm', 'out');
  });

  test.each(CHANGE_CASES.map((changes) => [changes]))('changes %j', async (changes) => {
    const args = ['import', ...changes.flatMap((change) => ['-c', change]), join(scratch, 'empty.tar')];
    await must('sh', ['-c', 'head -c 1024 /dev/zero > "$1"', 'sh', join(scratch, 'empty.tar')]);
    const ran = await daemon.try(...args);
    const mine = (): unknown =>
      JSON.parse(goJson(dockerContainerConfig(applyChanges(EMPTY_CONTAINER_CONFIG, changes))));
    if (ran.status !== 0) {
      expect(ran.stderr).toMatch(/^Error response from daemon/);
      expect(mine).toThrow();
      return;
    }
    const image = ran.stdout.trim().slice(7);
    const path = join(daemon.root, 'image/overlay2/imagedb/content/sha256', image);
    expect(mine()).toEqual((JSON.parse(readFileSync(path, 'utf8')) as { config: unknown }).config);
  });

  test('dockerd loads an image of a base and a directory: the layers of the base are shared, the tree is the directory', async () => {
    const directory = join(scratch, 'directory');
    const make =
      'mkdir -p "$1/opt/app/deep" && cd "$1" && echo app > opt/app/run && chmod 4755 opt/app/run && ln opt/app/run opt/app/deep/same &&' +
      'ln -s /etc/passwd link && mknod zero c 1 5 && mkfifo pipe && truncate -s 8M sparse && echo end >> sparse &&' +
      'chown -hR 4711:4712 . && setcap cap_net_raw+ep opt/app/run && setfattr -n user.colour -v blue opt/app &&' +
      'touch -hd @1000000000.5 link pipe opt/app';
    await must('sh', ['-c', make, 'sh', directory]);
    await daemon.docker('load', '-q', '-i', archive);
    const overlays = (): number => readdirSync(join(daemon.root, 'overlay2')).length;
    const before = overlays();
    const added = await ours.run('import', '--base', IMAGE, '-c', 'ENV ADDED=1', directory, 'fx/added:1');
    const saved = join(scratch, 'added.tar');
    await ours.run('save', '-o', saved, 'fx/added:1');
    expect(await daemon.docker('load', '-q', '-i', saved)).toBe('Loaded image: fx/added:1');
    expect(overlays()).toBe(before + 1);
    const [theirs, mine] = [await daemon.inspect('fx/added:1'), await ours.inspect('fx/added:1')];
    expect(theirs['Id']).toBe(added);
    for (const key of ['Config', 'RootFS', 'Created', 'Architecture', 'Size'])
      expect(theirs[key], key).toEqual(mine[key]);
    const layersOf = (image: Record<string, unknown>): string[] =>
      (image['RootFS'] as { Layers: string[] }).Layers;
    expect(layersOf(theirs).slice(0, -1)).toEqual(layersOf(await daemon.inspect(IMAGE)));
    const { UpperDir } = (theirs['GraphDriver'] as { Data: { UpperDir: string } }).Data;
    const tree = async (path: string): Promise<Tree> =>
      mapTree(await dumpTree(path), (entry) => (entry.path === '.' ? undefined : entry));
    expect(compareTrees(await tree(UpperDir), await tree(directory))).toEqual([]);
  });

  test('an import has the config that dockerd gives it', async () => {
    const layer = join(scratch, 'layer.tar');
    await must('sh', ['-c', 'cat > "$1"', 'sh', layer], { input: tar([{ name: 'x', content: 'x' }]) });
    const theirs = await daemon.inspect(
      await daemon.docker('import', '-m', 'hello', '-c', 'CMD ["x"]', layer),
    );
    const mine = await ours.inspect(await ours.run('import', '-m', 'hello', '-c', 'CMD ["x"]', layer));
    for (const key of [
      'Comment',
      'Config',
      'ContainerConfig',
      'Architecture',
      'Os',
      'RootFS',
      'Parent',
      'Size',
    ])
      expect(mine[key], key).toEqual(theirs[key]);
  });
});
