/**
 * Images that layerstack has loaded, seen by a dockerd started on the same root, beside a dockerd that has
 * loaded the same archives itself; then the changes of that dockerd, seen by layerstack.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Dockerd } from '../support/dockerd.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { dumpTree } from '../support/tree.ts';
import { fixtures } from './support/fixtures.ts';

const IMAGES = ['fx/whole:1', 'fx/whole:second', 'fx/deep:125'];

describe.runIf(havePeers('dockerd', 'docker', 'runc'))('dockerd on a root that layerstack has filled', () => {
  let scratch: string;
  let ours: Dockerd;
  let theirs: Dockerd;
  let layerstack: LayerstackCli;
  let printed: string[];
  let inspected: Record<string, unknown>[];

  beforeAll(async () => {
    scratch = makeScratch('takeover');
    layerstack = new LayerstackCli(join(scratch, 'ours'));
    printed = [
      await layerstack.run('load', '-i', fixtures().whole),
      await layerstack.run('load', '-i', fixtures().deep),
    ];
    inspected = await Promise.all(IMAGES.map((image) => layerstack.inspect(image)));
    theirs = await Dockerd.start(join(scratch, 'theirs'));
    await theirs.docker('load', '-i', fixtures().whole);
    await theirs.docker('load', '-i', fixtures().deep);
    ours = await Dockerd.start(layerstack.root);
  });

  afterAll(async () => {
    await ours.stop();
    await theirs.stop();
    await dropScratch(scratch);
  });

  const both = async (...args: string[]) =>
    [await ours.docker(...args), await theirs.docker(...args)] as const;

  test('load prints the lines of docker load', () => {
    expect(printed.join('\n').split('\n').sort()).toEqual(
      IMAGES.map((image) => `Loaded image: ${image}`).sort(),
    );
  });

  test('docker images lists the same', async () => {
    const format = '{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}} {{.CreatedAt}}';
    const [mine, reference] = await both('images', '--no-trunc', '-a', '--format', format);
    expect(mine.split('\n').sort()).toEqual(reference.split('\n').sort());
    expect(mine.split('\n')).toHaveLength(IMAGES.length);
  });

  test.each(IMAGES)('docker inspect %s says the same, apart from where the layers lie', async (image) => {
    const { GraphDriver: mine, ...rest } = await ours.inspect(image);
    const { GraphDriver: reference, ...expected } = await theirs.inspect(image);
    expect(rest).toEqual(expected);
    const shape = (driver: unknown) =>
      JSON.stringify(driver).replace(/\/[^":]*\/overlay2\/[0-9a-f]{64}/g, '<layer>');
    expect(shape(mine)).toBe(shape(reference));
  });

  test.each(IMAGES)('layerstack inspect %s is what dockerd says on this root', async (image) => {
    expect(inspected[IMAGES.indexOf(image)]).toEqual(await ours.inspect(image));
  });

  test.each(IMAGES)('docker history %s says the same', async (image) => {
    const [mine, reference] = await both('history', '--no-trunc', '--human=false', image);
    expect(mine).toBe(reference);
  });

  test.each(IMAGES)('docker run %s prints the same', async (image) => {
    const [mine, reference] = await both('run', '--rm', '--network', 'none', image);
    expect(mine).toBe(reference);
    expect(mine).not.toBe('');
  });

  test.each(IMAGES)('docker save %s writes the same archive, byte for byte', async (image) => {
    const sums = [];
    for (const daemon of [ours, theirs]) {
      const file = join(scratch, 'saved.tar');
      await daemon.docker('save', '-o', file, image);
      sums.push((await must('sha256sum', [file])).slice(0, 64));
    }
    expect(sums[0]).toBe(sums[1]);
  });

  test('docker commit, tag and rmi work, and layerstack reads the result', async () => {
    await ours.docker(
      'run',
      '--name',
      'work',
      '--network',
      'none',
      '-u',
      '0',
      'fx/whole:1',
      'echo new > /data/new; rm /data/plain',
    );
    const committed = await ours.docker('commit', 'work', 'fx/committed:1');
    await ours.docker('rm', 'work');
    await ours.docker('tag', 'fx/deep:125', 'fx/renamed');
    await ours.docker('rmi', 'fx/deep:125', 'fx/whole:second');
    const listed = await ours.docker('images', '-q', '--no-trunc');
    const told = await ours.inspect('fx/committed:1');
    await ours.stop();

    expect((await layerstack.run('images', '-q', '--no-trunc')).split('\n').sort()).toEqual(
      listed.split('\n').sort(),
    );
    expect(await layerstack.inspect('fx/committed:1')).toEqual(told);
    expect(told['Id']).toBe(committed);
    const gone = await layerstack.try(['inspect', 'fx/deep:125']);
    expect(gone.status).toBe(1);
    expect(gone.stderr).toContain('ERR_IMAGE_NOT_FOUND');

    const container = await layerstack.run('create', 'fx/committed:1');
    const merged = await layerstack.run('mount', container);
    try {
      expect(readFileSync(join(merged, 'data/new'), 'utf8')).toBe('new\n');
      expect(existsSync(join(merged, 'data/plain'))).toBe(false);
      expect((await dumpTree(join(merged, 'data/opaque'))).size).toBe(2);
    } finally {
      await layerstack.run('unmount', container);
      await layerstack.run('rm', container);
    }

    ours = await Dockerd.start(layerstack.root);
    expect(await ours.docker('run', '--rm', '--network', 'none', 'fx/committed:1', 'cat /data/new')).toBe(
      'new',
    );
    await ours.docker('rmi', '-f', 'fx/committed:1', 'fx/whole:1', 'fx/renamed');
    expect(await ours.docker('images', '-aq')).toBe('');
    const [layers] = await Promise.all([dumpTree(join(layerstack.root, 'image/overlay2/layerdb/sha256'))]);
    expect([...layers.keys()]).toEqual(['.']);
  });

  test('the images can be loaded again into a store that dockerd has emptied', async () => {
    await ours.stop();
    mkdirSync(join(scratch, 'again'));
    expect(await layerstack.run('load', '-i', fixtures().whole)).toContain('fx/whole:1');
    ours = await Dockerd.start(layerstack.root);
    expect(await ours.docker('run', '--rm', '--network', 'none', 'fx/whole:1', 'cat /data/again')).toBe(
      'second',
    );
  });
});
