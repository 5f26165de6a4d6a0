/**
 * The verbs that list and remove, by docker and by layerstack on two copies of one store, verb by verb: their
 * output, their refusals, and the state on disk.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Dockerd } from '../support/dockerd.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { mustRun, type Ran } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

const BASE = tar([
  { name: 'etc/', type: 'directory' },
  { name: 'etc/base', content: 'base' },
]);
const DOCKERFILE = `FROM base:1
LABEL team=x stage=test
COPY one two /data/
ENV X=1
`;

async function build(daemon: Dockerd, ...args: string[]): Promise<void> {
  const context = tar([
    { name: 'Dockerfile', content: DOCKERFILE },
    { name: 'one', content: '1' },
    { name: 'two', content: '22' },
  ]);
  await daemon.dockerRun(['build', '-q', ...args, '-'], { input: context });
}

async function fill(daemon: Dockerd): Promise<void> {
  await daemon.dockerRun(['import', '-', 'base:1'], { input: BASE });
  await build(daemon, '-t', 'app:1');
  await build(daemon, '-t', 'app:2', '-t', 'host.example:5000/other/app:1', '--label', 'k=v');
  await build(daemon, '--label', 'without=name');
  await daemon.docker('tag', 'app:1', 'third/x:9');
  await daemon.dockerRun(['import', '-', 'used:1'], { input: tar([{ name: 'used', content: 'u' }]) });
  await daemon.dockerRun(['import', '-', 'free:1'], { input: tar([{ name: 'free', content: 'f' }]) });
  await daemon.dockerRun(['import', '--change', 'LABEL loose=1', '-'], {
    input: tar([{ name: 'l', content: 'l' }]),
  });
  await daemon.docker('create', '--name', 'stopped', 'used:1', '/x');
}

/** The ids of all images, the layers and the names in a store. */
function contents(root: string): unknown {
  const image = join(root, 'image/overlay2');
  const cacheIds = readdirSync(join(image, 'layerdb/sha256')).map((chain) =>
    readFileSync(join(image, 'layerdb/sha256', chain, 'cache-id'), 'utf8'),
  );
  const overlays = readdirSync(join(root, 'overlay2')).filter((name) => /^[0-9a-f]{64}$/.test(name));
  return {
    names: readFileSync(join(image, 'repositories.json'), 'utf8'),
    images: readdirSync(join(image, 'imagedb/content/sha256')).sort(),
    metadata: readdirSync(join(image, 'imagedb/metadata/sha256')).sort(),
    layers: readdirSync(join(image, 'layerdb/sha256')).sort(),
    cacheIds: cacheIds.sort(),
    overlays: overlays.sort(),
    links: readdirSync(join(root, 'overlay2/l')).length,
  };
}

/** The two programs do not run in the same second. */
function ageless(table: string): string {
  return table
    .replace(/(?:\d+ (?:seconds?|minutes)|About a minute|Less than a second) ago +/g, 'AGE ')
    .replace(/ {2,}/g, ' ');
}

/** Returns an error without the name of the program. */
function refusal({ stderr }: Ran): string {
  return stderr.trim().replace(/^Error response from daemon: |^Error: |^layerstack: ERR_[A-Z_]+: /gm, '');
}

describe.runIf(havePeers('dockerd', 'docker'))('docker and layerstack on copies of one store', () => {
  let scratch: string;
  let docker: Dockerd;
  let layerstack: LayerstackCli;

  beforeAll(async () => {
    scratch = makeScratch('housekeeping');
    const original = await Dockerd.start(join(scratch, 'docker'));
    await fill(original);
    await original.stop();
    await mustRun('cp', ['-a', join(scratch, 'docker'), join(scratch, 'layerstack')]);
    docker = await Dockerd.start(join(scratch, 'docker'));
    layerstack = new LayerstackCli(join(scratch, 'layerstack'));
  });

  afterAll(async () => {
    await docker.stop();
    await dropScratch(scratch);
  });

  /** Runs the verb on both; docker's spelling of it may differ. */
  async function both(args: string[], dockers = args): Promise<{ readonly theirs: Ran; readonly ours: Ran }> {
    return { theirs: await docker.try(...dockers), ours: await layerstack.try(args) };
  }

  async function expectSame(args: string[], dockers = args): Promise<void> {
    const { theirs, ours } = await both(args, dockers);
    // Lists of one second, and the findings of prune, have no order.
    const isOrdered = args[0] === 'rmi' || args[0] === 'history';
    const lines = (text: string): string[] => ageless(text).split('\n');
    if (isOrdered) expect(lines(ours.stdout)).toEqual(lines(theirs.stdout));
    else expect(lines(ours.stdout).sort()).toEqual(lines(theirs.stdout).sort());
    expect(refusal(ours)).toBe(refusal(theirs));
    expect(ours.status).toBe(theirs.status);
    expect(contents(layerstack.root)).toEqual(contents(docker.root));
  }

  const idOf = async (name: string): Promise<string> => (await layerstack.inspect(name))['Id'] as string;

  test.each([
    ['-a'],
    ['-q'],
    ['-aq', '--no-trunc'],
    ['--digests'],
    ['--filter', 'dangling=true'],
    ['--filter', 'dangling=false'],
    ['--filter', 'label=team'],
    ['--filter', 'label=k=v', '--filter', 'label=team=x'],
    ['--filter', 'label=k=w'],
    ['--filter', 'before=app:1'],
    ['--filter', 'since=app:1'],
    ['--filter', 'since=base:1', '--filter', 'before=app:2'],
    ['--filter', 'reference=a*'],
    ['--filter', 'reference=*/*:1'],
    ['--filter', 'reference=*/*/*', '--filter', 'reference=app:[!a]'],
    ['--filter', 'reference=app:[2-9]'],
    ['app'],
    ['app:1'],
    ['-a', 'nothing*'],
  ])('images %s %s %s %s', async (...args) => {
    await expectSame(['images', ...args]);
  });

  test.each([['app:2'], ['--no-trunc', 'app:2'], ['-q', 'app:1'], ['base:1']])(
    'history %s %s',
    async (...args) => {
      await expectSame(['history', ...args]);
    },
  );

  test('inspect of an image, except its paths', async () => {
    for (const name of ['app:1', 'app:2', 'base:1', 'used:1']) {
      const theirs = await docker.inspect(name);
      const there = JSON.stringify(theirs).replaceAll(docker.root, layerstack.root);
      expect(await layerstack.inspect(name)).toEqual(JSON.parse(there));
    }
  });

  test('inspect of a container, except its paths', async () => {
    const there = JSON.stringify(await docker.inspect('stopped')).replaceAll(docker.root, layerstack.root);
    expect(await layerstack.inspect('stopped')).toEqual(JSON.parse(there));
  });

  test('df counts images and containers alike', async () => {
    const format = (text: string): unknown[] =>
      text
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, string>)
        .filter(({ Type }) => Type === 'Images' || Type === 'Containers')
        .map(({ Type, TotalCount, Active, Size }) => ({ Type, TotalCount, Active, Size }));
    expect(format(await layerstack.run('df', '--format', 'json'))).toEqual(
      format(await docker.docker('system', 'df', '--format', '{{json .}}')),
    );
  });

  test('tag, also over another name', async () => {
    await expectSame(['tag', 'free:1', 'moved']);
    await expectSame(['tag', 'base:1', 'moved:latest']);
    await expectSame(['tag', (await idOf('free:1')).slice(7, 19), 'short/one:x']);
    await expectSame(['rmi', 'short/one:x', 'moved']);
  });

  test('rmi refuses an image in use, in the same words', async () => {
    await expectSame(['rmi', 'used:1']);
    await expectSame(['rmi', (await idOf('used:1')).slice(7, 19)]);
    await expectSame(['rmi', await idOf('base:1')]);
    await expectSame(['rmi', '-f', await idOf('base:1')]);
    await expectSame(['rmi', await idOf('app:2')]);
    const { theirs, ours } = await both(['rmi', 'no/such:1']);
    expect([ours.status, ours.stdout]).toEqual([theirs.status, theirs.stdout]);
    const forced = await both(['rmi', '-f', 'no/such:1']);
    expect(forced.ours.status).toBe(forced.theirs.status);
  });

  test('rmi continues after a refusal', async () => {
    await expectSame(['tag', 'free:1', 'extra:1']);
    await expectSame(['rmi', 'used:1', 'extra:1']);
  });

  test('rmi removes a name, the name of an image with children, and an image with its parents', async () => {
    await expectSame(['rmi', 'third/x:9']);
    await expectSame(['rmi', 'base:1']);
    await expectSame(['tag', await baseId(), 'base:1']);
    await expectSame(['rmi', '-f', await idOf('app:2')]);
    await expectSame(['rmi', '--no-prune', 'free:1']);
  });

  test('prune removes images without a tag, as docker image prune', async () => {
    const theirs = await docker.docker('image', 'prune', '-f', '--filter', 'label=nobody');
    expect(await layerstack.run('prune', '-f', '--filter', 'label=nobody')).toBe(theirs);
    await expectSame(
      ['prune', '-f', '--filter', 'label=without'],
      ['image', 'prune', '-f', '--filter', 'label=without'],
    );
    await expectSame(['prune', '-f'], ['image', 'prune', '-f']);
  });

  test('prune -a removes images that no container uses', async () => {
    await expectSame(
      ['prune', '-f', '-a', '--filter', 'label!=team'],
      ['image', 'prune', '-fa', '--filter', 'label!=team'],
    );
    await expectSame(['prune', '-f', '-a'], ['image', 'prune', '-f', '-a']);
  });

  test('force removes an image in use, and its layers are removed with the container', async () => {
    await expectSame(['rmi', '-f', 'used:1']);
    await expectSame(['rm', 'stopped']);
  });

  async function baseId(): Promise<string> {
    const { stdout } = await docker.try('images', '-a', '-q', '--no-trunc', '--filter', 'before=app:1');
    const ids = new Set(stdout.trim().split('\n'));
    for (const id of ids)
      if ((await docker.inspect(id))['Parent'] === '' && (await layersOf(id)) === 1) return id;
    throw new Error('base is gone');
  }

  async function layersOf(id: string): Promise<number> {
    const { Layers } = (await docker.inspect(id))['RootFS'] as { Layers: string[] };
    return Layers.length;
  }
});
