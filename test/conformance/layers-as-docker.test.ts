/**
 * Odd and missing layers, loaded by dockerd and by layerstack: an entry for the layer's root, and archives
 * that leave out a layer which the store has.
 */
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Layerstack } from '../../src/index.ts';
import { Dockerd } from '../support/dockerd.ts';
import { imageOf, layerOf, type TestImage } from '../support/images.ts';
import { havePeers } from '../support/peers.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

const base = layerOf({ 'etc/base': 'base' });
const ROOT_NAMES = ['/', '//', '/.', '/x/..', '.', './'];

/** Returns an archive whose manifest names the layers like this. */
function archive(image: TestImage, paths: readonly (string | null)[], members: readonly string[]): Buffer {
  return tar([
    { name: 'config.json', content: image.config },
    ...image.layers.flatMap((layer, index) => {
      const name = paths[index] ?? '';
      return members.includes(name) ? [{ name, content: layer.tar }] : [];
    }),
    {
      name: 'manifest.json',
      content: JSON.stringify([{ Config: 'config.json', RepoTags: image.tags, Layers: paths }]),
    },
  ]);
}

describe.runIf(havePeers('dockerd', 'docker'))('docker load and layerstack load', () => {
  let scratch: string;
  let store: Layerstack;
  let dockerd: Dockerd;

  beforeAll(async () => {
    scratch = makeScratch('layers-as-docker');
    store = await Layerstack.open({ root: join(scratch, 'ours') });
    dockerd = await Dockerd.start(join(scratch, 'theirs'));
  });

  afterAll(async () => {
    await store.close();
    await dockerd.stop();
    await dropScratch(scratch);
  });

  /** Returns which of the two accepted it. */
  async function load(bytes: Buffer): Promise<{ ours: boolean; theirs: boolean }> {
    const ours = await store.images.load(Readable.from([bytes])).then(
      () => true,
      () => false,
    );
    const theirs = await dockerd.dockerRun(['load'], { input: bytes }).then(
      () => true,
      () => false,
    );
    return { ours, theirs };
  }

  const upper = ({ GraphDriver }: { GraphDriver: { Data: Readonly<Record<string, string>> | null } }) => {
    const { uid, gid, mode, mtimeMs } = lstatSync(GraphDriver.Data?.['UpperDir'] ?? '');
    const dated = mtimeMs === 1_000_000;
    return { uid, gid, mode: mode & 0o7777, dated };
  };

  test.each(ROOT_NAMES)("an entry '%s' makes the same root of the layer", async (name) => {
    const layer = layerOf([
      { name: 'a', content: name },
      { name, type: 'directory', mode: 0o1750, uid: 7, gid: 8, mtime: 1000 },
    ]);
    const image = imageOf([layer], { tags: ['root:1'] });
    expect(await load(archive(image, ['l.tar'], ['l.tar']))).toEqual({ ours: true, theirs: true });
    const theirs = upper((await dockerd.inspect('root:1')) as never);
    expect(upper(await store.images.inspect('root:1'))).toEqual(theirs);
    expect(theirs.dated).toBe(name.startsWith('/'));
  });

  test.each(['file', 'symlink'] as const)("a %s '/' is refused", async (type) => {
    const member = type === 'file' ? { content: 'x' } : { type, linkname: 'x' };
    const image = imageOf([layerOf([{ name: '/', ...member }])], { tags: ['odd:1'] });
    expect(await load(archive(image, ['l.tar'], ['l.tar']))).toEqual({ ours: false, theirs: false });
  });

  test('accept an archive without a layer only if they have the layer', async () => {
    const cases: (readonly [paths: (string | null)[], members: string[]])[] = [
      [['', 'top'], ['top']],
      [[null, 'top'], ['top']],
      [['blank_1', 'top'], ['top']],
    ];
    const child = (index: number): TestImage =>
      imageOf([base, layerOf({ top: String(index) })], { tags: [`child:${String(index)}`] });
    for (const [index, [paths, members]] of cases.entries())
      expect(await load(archive(child(index), paths, members))).toEqual({ ours: false, theirs: false });
    await load(archive(imageOf([base], { tags: ['base:1'] }), ['base'], ['base']));
    for (const [index, [paths, members]] of cases.entries())
      expect(await load(archive(child(index), paths, members))).toEqual({ ours: true, theirs: true });
    // The store has all layers now.
    expect(await load(archive(child(0), ['', ''], []))).toEqual({ ours: true, theirs: true });
  });
});
