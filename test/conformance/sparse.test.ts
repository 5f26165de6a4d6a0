/**
 * A layer with a sparse member, as a commit makes it of a file with large holes: dockerd on the same root
 * reassembles its tar, and dockerd, podman and GNU tar read the file's content correctly. Their limits are in
 * docs/docker-differences.md: they fill the holes, and from then on cannot save that layer.
 */
import { existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Layerstack } from '../../src/index.ts';
import { dockerArchive } from '../support/archives.ts';
import { Dockerd } from '../support/dockerd.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

const SIZE = 300 * 1024 ** 2;

describe.runIf(havePeers('dockerd', 'docker', 'podman', 'tar'))('a layer with a sparse member', () => {
  let scratch: string;
  let saved: string;

  beforeAll(async () => {
    scratch = makeScratch('sparse');
    saved = join(scratch, 'saved.tar');
    await using store = await Layerstack.open({ root: join(scratch, 'root') });
    const archive = join(scratch, 'base.tar');
    writeFileSync(archive, tar(dockerArchive([imageOf([layerOf({ etc: '' })], { tags: ['base:1'] })])));
    await store.images.load(archive);
    const container = await store.containers.create('base:1', { name: 'work' });
    {
      await using mount = await store.containers.mount(container);
      writeFileSync(join(mount.path, 'sparse'), 'begins');
      truncateSync(join(mount.path, 'sparse'), SIZE);
    }
    await store.containers.commit(container, { reference: 'sparse:1' });
    writeFileSync(saved, Buffer.concat(await store.images.save(['sparse:1']).toArray()));
    expect(statSync(saved).size).toBeLessThan(1024 ** 2);
  });

  afterAll(() => dropScratch(scratch));

  function expectContent(overlay: string): void {
    const files = readdirSync(overlay)
      .map((id) => join(overlay, id, 'diff/sparse'))
      .filter((path) => existsSync(path));
    expect(files).toHaveLength(1);
    const content = readFileSync(files[0] ?? '');
    expect(content.length).toBe(SIZE);
    expect(content.subarray(0, 6).toString()).toBe('begins');
    expect(content.subarray(6).equals(Buffer.alloc(SIZE - 6))).toBe(true);
  }

  test('is reassembled by a dockerd on the same root', { timeout: 120_000 }, async () => {
    const daemon = await Dockerd.start(join(scratch, 'root'));
    try {
      const theirs = join(scratch, 'theirs.tar');
      await daemon.docker('save', '-o', theirs, 'sparse:1');
      expect(statSync(theirs).size).toBeLessThan(1024 ** 2);
    } finally {
      await daemon.stop();
    }
  });

  test('is read correctly by dockerd and podman', { timeout: 120_000 }, async () => {
    const daemon = await Dockerd.start(join(scratch, 'docker'));
    try {
      await daemon.docker('load', '-i', saved);
      expectContent(join(scratch, 'docker/overlay2'));
    } finally {
      await daemon.stop();
    }
    const [root, run] = [join(scratch, 'podman'), join(scratch, 'podman-run')];
    await must('podman', [
      '--root',
      root,
      '--runroot',
      run,
      '--storage-driver',
      'overlay',
      'load',
      '-i',
      saved,
    ]);
    expectContent(join(root, 'overlay'));
  });
});
