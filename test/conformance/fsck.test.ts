/** fsck finds no problems in dockerd's stores, and dockerd can use a store that fsck has repaired. */
import { readdirSync, readFileSync, readlinkSync, rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Dockerd } from '../support/dockerd.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { run } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

describe.runIf(havePeers('dockerd', 'docker'))('fsck of a store of dockerd', () => {
  let scratch: string;
  let root: string;
  let docker: Dockerd;

  beforeAll(async () => {
    scratch = makeScratch('fsck');
    root = join(scratch, 'root');
    docker = await Dockerd.start(root);
    const base = tar([
      { name: 'etc/', type: 'directory' },
      { name: 'etc/base', content: 'base' },
    ]);
    await docker.dockerRun(['import', '-', 'base:1'], { input: base });
    const context = tar([
      { name: 'Dockerfile', content: 'FROM base:1\nCOPY one /one\nCOPY two /two\nLABEL a=b\n' },
      { name: 'one', content: '1' },
      { name: 'two', content: '2' },
    ]);
    await docker.dockerRun(['build', '-q', '-t', 'app:1', '-'], { input: context });
    await docker.docker('create', '--name', 'box', 'app:1', '/x');
    await docker.docker('create', '--name', 'gone', 'app:1', '/x');
    await docker.dockerRun(['cp', '-', 'box:/etc'], { input: tar([{ name: 'new', content: 'new' }]) });
    await docker.docker('commit', 'box', 'made:1');
    await docker.docker('rm', 'gone');
    await docker.docker('rmi', 'made:1');
  });

  afterAll(async () => {
    await docker.stop();
    await dropScratch(scratch);
  });

  test('finds nothing, neither beside the running daemon nor after it', async () => {
    const running = await new LayerstackCli(root, '--read-only').try(['fsck', '--deep']);
    expect([running.status, running.stdout, running.stderr]).toEqual([0, '', '']);
    const orphans = await new LayerstackCli(root).try(['prune', '--orphans', '-n']);
    expect([orphans.status, orphans.stdout]).toEqual([0, 'Total that would be reclaimed: 0B\n']);
    const refused = await new LayerstackCli(root).try(['prune', '--orphans', '--force']);
    expect([refused.status, refused.stderr]).toEqual([
      1,
      expect.stringContaining('ERR_STORE_LOCKED') as string,
    ]);
    await docker.stop();
    const stopped = await new LayerstackCli(root).try(['fsck', '--deep', '--repair']);
    expect([stopped.status, stopped.stdout, stopped.stderr]).toEqual([0, '', '']);
  });

  test("its orphans are named, and removed only if they cannot hold anybody's work", async () => {
    const cli = new LayerstackCli(root);
    expect(await cli.run('prune', '--orphans', '-n')).toBe('Total that would be reclaimed: 0B');
    // A container that lost its entry, and a layer that lost its own, with all that names them.
    const copy = join(scratch, 'copy');
    await run('cp', ['-a', root, copy]);
    const mounts = join(copy, 'image/overlay2/layerdb/mounts');
    const [key = ''] = readdirSync(mounts);
    const [mountId, initId] = ['mount-id', 'init-id'].map((file) =>
      readFileSync(join(mounts, key, file), 'utf8'),
    );
    const parent = readFileSync(join(mounts, key, 'parent'), 'utf8').replace('sha256:', '');
    const layer = join(copy, 'image/overlay2/layerdb/sha256', parent);
    const cacheId = readFileSync(join(layer, 'cache-id'), 'utf8');
    rmSync(layer, { recursive: true });
    rmSync(join(mounts, key), { recursive: true });
    rmSync(join(copy, 'containers', key), { recursive: true });
    const other = new LayerstackCli(copy);
    const states = async (...options: string[]): Promise<Record<string, string>> => {
      const lines = await other.run('prune', '--orphans', '--format', 'json', ...options);
      const orphans = lines
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, string>);
      return Object.fromEntries(
        orphans.map(({ id, kind, state, removed }) => [id, `${kind} ${removed ? 'removed' : state}`]),
      );
    };
    const [rw = '', init = ''] = [mountId, initId];
    // The image lacks the layer, so nothing that may be it is removed.
    const stays = { [rw]: 'writable forced', [init]: 'init needed', [cacheId]: 'layer needed' };
    expect(await states()).toEqual(stays);
    await other.run('rmi', '-f', 'app:1');
    expect(await states()).toEqual(stays);
    const gone = { [rw]: 'writable removed', [init]: 'init removed', [cacheId]: 'layer removed' };
    expect(await states('--force')).toEqual(gone);
    // The images of the build's steps still lack the layer; nothing else is wrong.
    const left = (await other.try(['fsck', '--deep'])).stdout.trim().split('\n');
    expect(left.filter((line) => !line.includes(parent))).toEqual([]);
  });

  test('damage is reported with exit 1, and dockerd can use the repaired store', async () => {
    const cli = new LayerstackCli(root);
    const links = join(root, 'overlay2/l');
    for (const link of readdirSync(links)) {
      if (!readlinkSync(join(links, link)).includes('-init')) rmSync(join(links, link));
    }
    const layers = join(root, 'image/overlay2/layerdb/sha256');
    const child =
      readdirSync(layers).find((name) => readdirSync(join(layers, name)).includes('parent')) ?? '';
    truncateSync(join(layers, child, 'size'));
    rmSync(join(layers, child, 'parent'));
    const cacheId = readFileSync(join(layers, child, 'cache-id'), 'utf8');
    truncateSync(join(root, 'overlay2', cacheId, 'lower'));

    const found = await cli.try(['fsck']);
    expect(found.status).toBe(1);
    expect(found.stdout).toMatch(/^error: overlay2\/l\/[A-Z2-7]{26}: the short name of layer sha256:/m);
    expect(found.stderr).toMatch(/^layerstack: ERR_STORE_CORRUPT: \d+ problems in .*: see above\n$/);
    const json = await cli.try(['fsck', '--format', 'json']);
    const [finding] = json.stdout
      .split('\n')
      .map((line) => JSON.parse(line || '{}') as Record<string, unknown>);
    expect(Object.keys(finding ?? {})).toEqual(['code', 'severity', 'path', 'message', 'advice', 'repaired']);

    const repaired = await cli.try(['fsck', '--repair']);
    expect([repaired.status, repaired.stderr]).toEqual([0, '']);
    expect(repaired.stdout.split('\n').filter((line) => line && !/^(?:repaired|note): /.test(line))).toEqual(
      [],
    );
    const clean = await cli.try(['fsck', '--deep']);
    expect([clean.status, clean.stdout]).toEqual([0, '']);

    docker = await Dockerd.start(root);
    expect((await docker.docker('images', '--format', '{{.Repository}}')).split('\n').sort()).toEqual([
      'app',
      'base',
    ]);
    expect(await docker.docker('diff', 'box')).toBe('C /etc\nA /etc/new');
    const { bytes } = await docker.dockerRun(['export', 'box']);
    expect(bytes.toString('latin1')).toContain('etc/new');
    const saved = await docker.dockerRun(['save', 'app:1', 'base:1']);
    expect(saved.bytes.length).toBeGreaterThan(10_000);
  });
});
