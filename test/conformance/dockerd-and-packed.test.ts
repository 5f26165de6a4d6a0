/** Packed images on a root that dockerd uses too: it does not see them before they are settled. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Dockerd } from '../support/dockerd.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { fixtures } from './support/fixtures.ts';

const IMAGE = 'fx/whole:1';

describe.runIf(havePeers('dockerd', 'docker', 'runc'))('dockerd on a root with packed images', () => {
  let scratch: string;
  let layerstack: LayerstackCli;

  beforeAll(async () => {
    scratch = makeScratch('dockerd-packed');
    layerstack = new LayerstackCli(join(scratch, 'root'));
    await layerstack.run('load', '--packed', '-i', fixtures().whole);
  });

  afterAll(async () => {
    await dropScratch(scratch);
  });

  /** Starts a dockerd on a root for `work`. */
  async function withDockerd<T>(work: (dockerd: Dockerd) => Promise<T>, { root } = layerstack): Promise<T> {
    const dockerd = await Dockerd.start(root);
    try {
      return await work(dockerd);
    } finally {
      await dockerd.stop();
    }
  }

  test('starts, lists none of them, and loads the same archive beside them', async () => {
    const listed = await withDockerd(async (dockerd) => {
      const before = await dockerd.docker('images', '-q');
      await dockerd.docker('load', '-i', fixtures().whole);
      const output = await dockerd.docker('run', '--rm', '--network', 'none', IMAGE);
      await dockerd.docker('rmi', '-f', ...new Set((await dockerd.docker('images', '-q')).split('\n')));
      return { before, output };
    });
    expect(listed.before).toBe('');
    expect(listed.output).not.toBe('');
    expect(await layerstack.run('images', '--format', '{{.Repository}}:{{.Tag}} {{.Form}}')).toContain(
      `${IMAGE} packed`,
    );
  });

  test('runs them when they are settled, and a container that was made before', async () => {
    const id = (await layerstack.run('create', '--name', 'early', IMAGE)).trim();
    await layerstack.run('settle', IMAGE);
    const output = await withDockerd(async (dockerd) => {
      expect(await dockerd.docker('ps', '-aq', '--no-trunc')).toContain(id);
      return [
        await dockerd.docker('run', '--rm', '--network', 'none', IMAGE),
        await dockerd.docker('start', '-a', 'early'),
      ];
    });
    expect(output[0]).not.toBe('');
    expect(output[1]).toBe(output[0]);
  });

  test('extracts their layers under its own short names, and a container that was made before mounts', async () => {
    const other = new LayerstackCli(join(scratch, 'other'));
    await other.run('load', '--packed', '-i', fixtures().whole);
    await other.run('create', '--name', 'early', IMAGE);
    await withDockerd((dockerd) => dockerd.docker('load', '-i', fixtures().whole), other);
    const mounted = (await other.run('mount', 'early')).trim();
    expect(readdirSync(mounted)).not.toEqual([]);
    await other.run('unmount', 'early');
    expect(await other.run('fsck', '--repair')).toContain('repaired: ');
    const output = await withDockerd((dockerd) => dockerd.docker('start', '-a', 'early'), other);
    expect(output).not.toBe('');
  });

  test('after a pack it has neither the image nor its containers, and after a settle it has both again', async () => {
    const third = new LayerstackCli(join(scratch, 'third'));
    await third.run('load', '-i', fixtures().whole);
    const id = (await third.run('create', '--name', 'early', IMAGE)).trim();
    const known = () =>
      withDockerd(
        async (dockerd) => [
          (await dockerd.docker('images', '-aq', '--no-trunc')) === '' ? 'no image' : 'an image',
          await dockerd.docker('ps', '-aq', '--no-trunc'),
        ],
        third,
      );
    expect(await known()).toEqual(['an image', id]);
    await third.run('pack', IMAGE);
    expect(await known()).toEqual(['no image', '']);
    expect(await third.run('containers', '-a', '--format', '{{.Names}}')).toBe('early');
    const files = readdirSync(join(third.root, 'containers', id));
    expect(files).toContain('config.v2.json');
    await third.run('settle', IMAGE);
    expect(await known()).toEqual(['an image', id]);
    expect(await withDockerd(async (dockerd) => dockerd.docker('start', '-a', 'early'), third)).not.toBe('');
  });
});
