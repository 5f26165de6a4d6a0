/** Packed images go to a registry, and come from one, as extracted ones do. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { holdSettling } from '../support/held-settling.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { Registry } from '../support/registry.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { compareTrees, dumpTree, mapTree, type Tree } from '../support/tree.ts';
import { fixtures } from './support/fixtures.ts';

const IMAGE = 'fx/whole:1';

/** `TAG: digest: sha256:… size: N`. */
const pushedDigest = (text: string): string =>
  /: digest: (sha256:[0-9a-f]{64}) size: \d+/.exec(text)?.[1] ?? text;

/** The paths that creation makes or touches; their times are those of the creation. */
const OF_CREATION = /^(?:\.|\.dockerenv|dev.*|etc|etc\/(?:hostname|hosts|mtab|resolv\.conf)|proc|sys)$/;

/** Returns the root file system of a new container. */
async function rootfsOf(store: LayerstackCli, image: string): Promise<Tree> {
  const id = await store.run('create', image);
  const path = await store.run('mount', id);
  try {
    const tree = await dumpTree(path);
    return mapTree(tree, (entry) => (OF_CREATION.test(entry.path) ? { ...entry, mtime: '' } : entry));
  } finally {
    await store.run('rm', '--force', id);
  }
}

describe.runIf(havePeers('docker-registry', 'skopeo'))('a registry and packed images', () => {
  let scratch: string;
  let registry: Registry;
  let classic: LayerstackCli;
  let name: string;

  beforeAll(async () => {
    scratch = makeScratch('packed-registry');
    registry = await Registry.start();
    name = `${registry.host}/t/packed:1`;
    classic = new LayerstackCli(join(scratch, 'classic'));
    await classic.run('load', '-i', fixtures().whole);
  });

  afterAll(async () => {
    await registry.stop();
    await dropScratch(scratch);
  });

  test('a push sends the blobs and the manifest that a push of the extracted image sends', async () => {
    const packed = new LayerstackCli(join(scratch, 'pushing'));
    await packed.run('load', '--packed', '-i', fixtures().whole);
    await packed.run('tag', IMAGE, name);
    const digest = pushedDigest(await packed.run('push', name));
    const other = `${registry.host}/t/extracted:1`;
    await classic.run('tag', IMAGE, other);
    expect(digest).toMatch(/^sha256:/);
    expect(digest).toBe(pushedDigest(await classic.run('push', other)));
    await must('skopeo', ['inspect', '--tls-verify=false', `docker://${name}`]);
  });

  test('a pull with --packed stores tars, whose containers equal those of a load', async () => {
    const pulling = new LayerstackCli(join(scratch, 'pulling'));
    await pulling.run('pull', '--packed', name);
    expect(await pulling.run('images', '--format', '{{.Form}}')).toBe('packed');
    expect(compareTrees(await rootfsOf(pulling, name), await rootfsOf(classic, IMAGE))).toEqual([]);
    await pulling.run('settle', name);
    expect(await pulling.run('fsck', '--deep')).toBe('');
    expect(compareTrees(await rootfsOf(pulling, name), await rootfsOf(classic, IMAGE))).toEqual([]);
  });

  test('a pull with form auto returns a packed image, and settles it in the background', async () => {
    using settling = holdSettling();
    const root = join(scratch, 'auto');
    const pulling = await Layerstack.open({ root });
    try {
      await pulling.registry.pull(name, { form: 'auto' });
      await settling.begun;
      expect((await pulling.images.list())[0]?.Form).toBe('packed');
      settling.release();
    } finally {
      await pulling.close();
    }
    const settled = new LayerstackCli(root);
    expect(await settled.run('images', '--format', '{{.Form}}')).not.toBe('packed');
    expect(await settled.run('fsck')).toBe('');
    expect(compareTrees(await rootfsOf(settled, name), await rootfsOf(classic, IMAGE))).toEqual([]);
  });
});
