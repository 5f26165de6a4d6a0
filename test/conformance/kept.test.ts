/**
 * An image from a real registry keeps its bytes in save and push, and in OCI layouts that skopeo and umoci
 * read.
 */
import { randomBytes } from 'node:crypto';
import { createWriteStream, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digestOf } from '../../src/core/digest.ts';
import { Layerstack } from '../../src/index.ts';
import { layerOf } from '../support/images.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { Registry } from '../support/registry.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { writeOciLayout } from './support/archive.ts';

const PLAIN = '--tls-verify=false';

describe.runIf(havePeers('docker-registry', 'skopeo', 'umoci', 'tar'))('images as they came', () => {
  let scratch: string;
  let registry: Registry;
  let other: Registry;
  let store: Layerstack;

  const skopeo = async (...args: string[]) => (await must('skopeo', args)).trim();
  const digestIn = (where: string, ...options: string[]) =>
    skopeo('inspect', ...options, '--format', '{{.Digest}}', where);
  const remote = (host: string, tag = '1') => `docker://${host}/team/app:${tag}`;

  beforeAll(async () => {
    scratch = makeScratch('kept');
    [registry, other] = await Promise.all([Registry.start(), Registry.start()]);
    const layers = [
      layerOf({ 'etc/motd': 'hello' }).tar,
      layerOf({ big: randomBytes(2_000_000).toString('hex') }).tar,
    ];
    writeOciLayout(join(scratch, 'source'), layers, '1');
    await skopeo('copy', '--dest-tls-verify=false', `oci:${scratch}/source:1`, remote(registry.host));
    // Of docker's types, and compressed by another program than ours.
    await skopeo(
      'copy',
      '--dest-tls-verify=false',
      '-f',
      'v2s2',
      `oci:${scratch}/source:1`,
      remote(registry.host, 'docker'),
    );
    store = await Layerstack.open({ root: join(scratch, 'store') });
  });

  afterAll(async () => {
    await store.close();
    await Promise.all([registry.stop(), other.stop()]);
    await dropScratch(scratch);
  });

  it.each(['1', 'docker'])('%s: saved and pushed with the same manifest and blobs', async (tag) => {
    const name = `${registry.host}/team/app:${tag}`;
    const { images } = await store.registry.pull(name, { keepBlobs: true });
    const digest = await digestIn(remote(registry.host, tag), PLAIN);
    expect(images[0]?.digest).toBe(digest);

    const archive = join(scratch, `${tag}.tar`);
    await pipeline(store.images.save(name, { format: 'oci' }), createWriteStream(archive));
    const folder = join(scratch, `saved-${tag}`);
    mkdirSync(folder);
    await must('tar', ['-xf', archive, '-C', folder]);
    // By its tag containers/image finds manifests of OCI's types only.
    expect(await digestIn(`oci:${folder}`)).toBe(digest);
    for (const blob of readdirSync(join(folder, 'blobs/sha256')))
      expect(digestOf(readFileSync(join(folder, 'blobs/sha256', blob)))).toBe(`sha256:${blob}`);

    await store.images.tag(name, `${other.host}/team/app:${tag}`);
    const pushed = await store.registry.push(`${other.host}/team/app:${tag}`);
    expect(pushed.images[0]?.digest).toBe(digest);
    expect(await digestIn(remote(other.host, tag), PLAIN)).toBe(digest);
    const config = await skopeo('inspect', PLAIN, '--config', '--raw', remote(other.host, tag));
    expect(digestOf(config)).toBe(images[0]?.id);
  });

  it('a layout is read by skopeo, and unpacked by umoci', async () => {
    const layout = join(scratch, 'layout');
    await store.registry.pullLayout(`${registry.host}/team/app:1`, layout);
    await store.registry.pullLayout(`${registry.host}/team/app:docker`, layout);
    const digest = await digestIn(remote(registry.host), PLAIN);
    expect(await digestIn(`oci:${layout}:1`)).toBe(digest);
    await skopeo('copy', '--dest-tls-verify=false', `oci:${layout}:1`, remote(other.host, 'copy'));
    expect(await digestIn(remote(other.host, 'copy'), PLAIN)).toBe(digest);
    expect((await must('umoci', ['ls', '--layout', layout])).split('\n').sort()).toEqual(['', '1', 'docker']);
    await must('umoci', ['unpack', '--image', `${layout}:1`, join(scratch, 'bundle')]);
    expect(readFileSync(join(scratch, 'bundle/rootfs/etc/motd'), 'utf8')).toBe('hello');
    const loaded = await store.images.load(layout);
    expect(loaded.images.length).toBeGreaterThan(0);
  });
});
