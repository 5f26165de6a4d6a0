/** Packed images in a store: what is on disk, and that every use of them equals that of extracted images. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  openSync,
  closeSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StoreFinding } from '../../src/core/store-finding.ts';
import type { FsckOptions } from '../../src/app/fsck.ts';
import { Layerstack } from '../../src/app/layerstack.ts';
import { dockerArchive } from '../support/archives.ts';
import { holdSettling } from '../support/held-settling.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { imageOf, layerFrom, layerOf } from '../support/images.ts';
import { tar } from '../support/tar.ts';
import { compareTrees, type Tree } from '../support/tree.ts';
import { classicTree, NAME, RICH, treeOf, writeArchive } from '../support/packed-layers.ts';

let scratch: string;
let archive: string;
let root: string;
let store: Layerstack;

beforeEach(async () => {
  scratch = makeScratch('packed-store');
  archive = writeArchive(join(scratch, 'rich.tar'), dockerArchive([RICH]));
  root = join(scratch, 'store');
  store = await Layerstack.open({ root });
});

afterEach(async () => {
  await store.close();
  expect(mountsBelow(scratch)).toEqual([]);
  await dropScratch(scratch);
});

const packed = (path = ''): string => join(root, 'layerstack/packed', path);

/** Returns whether an entry of `layers` is a layer, and not files that are being written or deleted. */
const isLayer = (name: string): boolean => !name.startsWith('.tmp-');

/** Returns what fsck finds. */
const findings = async (options: FsckOptions = {}): Promise<StoreFinding[]> => {
  const found: StoreFinding[] = [];
  for await (const finding of store.fsck(options)) found.push(finding);
  return found;
};

/** Returns the tree of a new container of an image. */
async function containerTree(image = NAME): Promise<Tree> {
  await using container = await store.containers.create(image);
  await using mount = await store.containers.mount(container);
  return await treeOf(mount.path);
}

describe('load with form packed', () => {
  it('stores each layer as its tar with an index, and extracts nothing', async () => {
    const { images } = await store.images.load(archive, { form: 'packed' });
    expect(images).toMatchObject([{ references: [NAME], created: true }]);
    const layers = readdirSync(packed('layers'));
    expect(layers).toHaveLength(2);
    for (const layer of layers)
      expect(readdirSync(packed(`layers/${layer}`)).sort()).toEqual(
        expect.arrayContaining(['diff', 'index.erofs', 'layer.tar', 'link', 'size', 'versions']),
      );
    expect(readdirSync(join(root, 'overlay2'))).toEqual(['l']);
    expect(readdirSync(join(root, 'image/overlay2/layerdb/sha256'))).toEqual([]);
    expect(readdirSync(join(root, 'image/overlay2/imagedb/content/sha256'))).toEqual([]);
    expect(existsSync(join(root, 'image/overlay2/repositories.json'))).toBe(false);
  });

  it('gives containers the root file system that extraction gives', async () => {
    await store.images.load(archive, { form: 'packed' });
    expect(compareTrees(await containerTree(), await classicTree(scratch, archive, NAME))).toEqual([]);
  });

  it('lists the image with its form, and the sizes of an extracted one', async () => {
    await store.images.load(archive, { form: 'packed' });
    const [image] = await store.images.list();
    expect(image).toMatchObject({ RepoTags: [NAME], Form: 'packed' });
    await store.images.load(archive);
    const [classic] = await store.images.list();
    expect(classic).toEqual({ ...image, Form: undefined });
  });

  it('removes the image and its files', async () => {
    await store.images.load(archive, { form: 'packed' });
    const deleted = await store.images.remove(NAME);
    expect(deleted.filter((record) => 'Deleted' in record)).toHaveLength(3);
    expect(await store.images.list()).toEqual([]);
    expect(readdirSync(packed('layers')).filter(isLayer)).toEqual([]);
    await store.close(); // waits for the files
    expect(readdirSync(packed('layers'))).toEqual([]);
    expect(readdirSync(join(root, 'layerstack/sessions'))).toEqual([]);
  });

  it('leaves the files of a removed image that cannot be deleted to the next writer', async () => {
    await store.images.load(archive, { form: 'packed' });
    const [layer] = readdirSync(packed('layers')) as [string];
    // The directory with the removed layers cannot be deleted while something is mounted in it.
    const blocker = join(packed('layers'), layer, 'mounted');
    mkdirSync(blocker);
    execFileSync('mount', ['-t', 'tmpfs', 'none', blocker]);
    await store.images.remove(NAME);
    await store.close();
    const left = readdirSync(packed('layers'));
    expect(left).toEqual([expect.stringMatching(/^\.tmp-/)]);
    for (const mount of mountsBelow(packed('layers'))) execFileSync('umount', [mount]);
    await (await Layerstack.open({ root })).close();
    expect(readdirSync(packed('layers'))).toEqual([]);
  });

  it('leaves nothing behind after a layer with another digest', async () => {
    const wrong = { ...RICH, layers: [RICH.layers[0], layerOf({ other: 'x' })] } as typeof RICH;
    const bad = writeArchive(join(scratch, 'bad.tar'), dockerArchive([wrong]));
    await expect(store.images.load(bad, { form: 'packed' })).rejects.toMatchObject({
      code: 'ERR_DIGEST_MISMATCH',
    });
    expect(readdirSync(packed('layers'))).toEqual([]);
    expect(await store.images.list({ all: true })).toEqual([]);
  });
});

it.each([
  ['that is not a tar', Buffer.alloc(2000, 'x'), /ERR_LAYER_INVALID/],
  ['that is cut off', RICH.layers[0]?.tar.subarray(0, 2000) ?? Buffer.alloc(0), /ERR_LAYER_TRUNCATED/],
  ['that is compressed, and not a tar', gzipSync('no tar'), /ERR_LAYER_(?:TRUNCATED|INVALID)/],
  ['whose member climbs', tar([{ name: '../../escaped', content: 'x' }]), /ERR_LAYER_ESCAPE/],
])('refuses to pack a layer %s, and leaves nothing', async (_, bytes, code) => {
  const bad = writeArchive(join(scratch, 'bad.tar'), dockerArchive([imageOf([layerFrom(bytes)])]));
  await expect(store.images.load(bad, { form: 'packed' })).rejects.toMatchObject({
    code: expect.stringMatching(code) as string,
  });
  expect(readdirSync(packed('layers'))).toEqual([]);
  expect(await store.images.list({ all: true })).toEqual([]);
});

/** The DiffIDs of the layers in a directory of packed layers. */
const tarDigests = (): string[] =>
  readdirSync(packed('layers')).map(
    (layer) =>
      `sha256:${createHash('sha256')
        .update(readFileSync(packed(`layers/${layer}/layer.tar`)))
        .digest('hex')}`,
  );

/** Saves an image into a file. */
async function saved(from: Layerstack, name: string): Promise<Buffer> {
  const path = join(scratch, 'saved.tar');
  rmSync(path, { force: true });
  const fd = openSync(path, 'w');
  try {
    await from.images.saveTo(fd, name);
  } finally {
    closeSync(fd);
  }
  return readFileSync(path);
}

describe('a packed image', () => {
  beforeEach(async () => void (await store.images.load(archive, { form: 'packed' })));

  it('has the tars of its layers, byte for byte', () => {
    expect(tarDigests().sort()).toEqual(RICH.layers.map(({ diffId }) => diffId).sort());
  });

  it('is saved, inspected, drawn and counted as an extracted one', async () => {
    const other = await Layerstack.open({ root: join(scratch, 'classic') });
    try {
      await other.images.load(archive);
      expect((await saved(store, NAME)).equals(await saved(other, NAME))).toBe(true);
      expect(await store.images.history(NAME)).toEqual(await other.images.history(NAME));
      expect(await store.images.tree()).toEqual(await other.images.tree());
      const { Images: _, ...usage } = await store.usage();
      const { Images: __, ...expected } = await other.usage();
      expect(usage).toEqual(expected);
      const { GraphDriver, ...facts } = await store.images.inspect(NAME);
      expect(GraphDriver).toEqual({ Name: 'overlay2', Data: null });
      const { GraphDriver: ___, ...classic } = await other.images.inspect(NAME);
      expect(facts).toEqual(classic);
    } finally {
      await other.close();
    }
  });

  it('is the base of commits, which are packed too', async () => {
    await using container = await store.containers.create(NAME);
    const mount = await store.containers.mount(container);
    writeFileSync(join(mount.path, 'new'), 'committed');
    rmSync(join(mount.path, 'twice'));
    expect(await store.containers.diff(container)).toEqual(
      expect.arrayContaining([
        { kind: 'A', path: '/new' },
        { kind: 'D', path: '/twice' },
      ]),
    );
    await mount.unmount();
    await store.containers.commit(container, { reference: 'committed:1' });
    expect(await store.images.list()).toMatchObject([{ Form: 'packed' }, { Form: 'packed' }]);
    const tree = await containerTree('committed:1');
    expect(tree.get('new')).toMatchObject({ path: 'new' });
    expect(tree.has('twice')).toBe(false);
  });

  it('keeps its layers while a container has them, and loses them with it', async () => {
    const container = await store.containers.create(NAME);
    await store.images.remove(NAME, { force: true });
    expect(readdirSync(packed('layers'))).toHaveLength(2);
    const mount = await store.containers.mount(container);
    expect(readFileSync(join(mount.path, 'twice'), 'utf8')).toBe('second, longer');
    await mount.unmount();
    await store.containers.remove(container);
    await store.close();
    expect(readdirSync(packed('layers'))).toEqual([]);
  });

  it('is pruned when nothing uses it', async () => {
    await store.images.prune({ all: true });
    expect(await store.images.list()).toEqual([]);
    await store.close();
    expect(readdirSync(packed('layers'))).toEqual([]);
  });

  it('is not stored twice', async () => {
    const before = readdirSync(packed('layers'));
    const { images } = await store.images.load(archive, { form: 'packed' });
    expect(images).toMatchObject([{ created: false }]);
    expect(readdirSync(packed('layers'))).toEqual(before);
  });

  it('becomes an extracted one when it is loaded without being packed', async () => {
    await store.images.load(archive);
    expect((await store.images.list())[0]?.Form).toBeUndefined();
    expect(readdirSync(packed('layers'))).toEqual([]);
    expect(readdirSync(packed('imagedb/content/sha256'))).toEqual([]);
  });

  it('writes an index anew where a file is not the one that was written', async () => {
    const [layer = ''] = readdirSync(packed('layers'));
    const index = packed(`layers/${layer}/index.erofs`);
    const before = readFileSync(index);
    writeFileSync(index, Buffer.alloc(before.length, 0xff));
    const expected = await classicTree(scratch, archive, NAME);
    expect(compareTrees(await containerTree(), expected)).toEqual([]);
    expect(readFileSync(index).equals(before)).toBe(true);
  });

  it('refuses to mount a tar that was changed', async () => {
    for (const layer of readdirSync(packed('layers')))
      appendFileSync(packed(`layers/${layer}/layer.tar`), 'x');
    await expect(store.containers.create(NAME)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' });
    expect(await store.containers.list()).toEqual([]);
  });
});

describe('settle', () => {
  it('makes what a load without packing makes, and removes the tars', async () => {
    await store.images.load(archive, { form: 'packed' });
    expect(await store.images.settle(NAME)).toBe(true);
    expect(await store.images.settle(NAME)).toBe(false);
    expect((await store.images.list())[0]?.Form).toBeUndefined();
    expect(readdirSync(packed('layers'))).toEqual([]);
    expect(readFileSync(packed('repositories.json'), 'utf8')).toBe('{"Repositories":{}}');
    expect(compareTrees(await containerTree(), await classicTree(scratch, archive, NAME))).toEqual([]);
    const other = join(scratch, 'classic');
    for (const path of ['image/overlay2/repositories.json', 'image/overlay2/imagedb/content/sha256'])
      expect(listing(join(root, path))).toEqual(listing(join(other, path)));
    const layers = 'image/overlay2/layerdb/sha256';
    for (const layer of readdirSync(join(other, layers)))
      for (const file of ['diff', 'size', 'tar-split.json.gz'])
        expect(readFileSync(join(root, layers, layer, file))).toEqual(
          readFileSync(join(other, layers, layer, file)),
        );
  });

  it('takes a signal for many layers, and Node warns of no leak', async () => {
    const image = imageOf(
      Array.from({ length: 12 }, (_, at) => layerOf({ [`layer-${String(at)}`]: 'x' })),
      { tags: ['many:1'] },
    );
    await store.images.load(writeArchive(join(scratch, 'many.tar'), dockerArchive([image])), {
      form: 'packed',
    });
    const warnings: Error[] = [];
    const listen = (warning: Error): number => warnings.push(warning);
    process.on('warning', listen);
    try {
      const { signal } = new AbortController();
      await store.images.settle('many:1', { signal });
      await store.images.pack('many:1', { signal });
    } finally {
      process.off('warning', listen);
    }
    expect(warnings).toEqual([]);
  });

  it('keeps containers working, mounted or not', async () => {
    await store.images.load(archive, { form: 'packed' });
    const container = await store.containers.create(NAME);
    const mount = await store.containers.mount(container);
    writeFileSync(join(mount.path, 'own'), 'x');
    await store.images.settle(NAME);
    expect(readFileSync(join(mount.path, 'twice'), 'utf8')).toBe('second, longer');
    await mount.unmount();
    const again = await store.containers.mount(container);
    expect(readFileSync(join(again.path, 'twice'), 'utf8')).toBe('second, longer');
    expect(readFileSync(join(again.path, 'own'), 'utf8')).toBe('x');
    await again.unmount();
    await store.containers.remove(container);
  });

  it('keeps containers working where another load extracts their layers', async () => {
    await store.images.load(archive, { form: 'packed' });
    const container = await store.containers.create(NAME);
    await store.images.load(archive);
    const mount = await store.containers.mount(container);
    expect(readFileSync(join(mount.path, 'twice'), 'utf8')).toBe('second, longer');
    await mount.unmount();
    const lower = readFileSync(join(root, 'overlay2', container.mountId, 'lower'), 'utf8');
    for (const link of lower.split(':')) expect(existsSync(join(root, 'overlay2', link))).toBe(true);
    await store.containers.remove(container);
  });

  it('leaves the image packed where a tar was changed', async () => {
    await store.images.load(archive, { form: 'packed' });
    for (const layer of readdirSync(packed('layers'))) truncateSync(packed(`layers/${layer}/layer.tar`), 512);
    await expect(store.images.settle(NAME)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' });
    expect(await store.images.list()).toMatchObject([{ Form: 'packed' }]);
    expect(readdirSync(join(root, 'image/overlay2/layerdb/tmp'))).toEqual([]);
  });

  it('runs behind the caller of a load with form auto', async () => {
    await store.images.load(archive, { form: 'auto' });
    await store.close();
    store = await Layerstack.open({ root });
    expect((await store.images.list())[0]?.Form).toBeUndefined();
    expect(readdirSync(packed('layers'))).toEqual([]);
  });

  it('runs behind the caller of an import with form auto, which has a packed image', async () => {
    using settling = holdSettling();
    const layer = RICH.layers[0]?.tar ?? Buffer.alloc(0);
    writeFileSync(join(scratch, 'layer.tar'), layer);
    await store.images.import(join(scratch, 'layer.tar'), { reference: 'made:1', form: 'auto' });
    await settling.begun;
    expect(await store.images.list()).toMatchObject([{ RepoTags: ['made:1'], Form: 'packed' }]);
    settling.release();
    await store.close();
    store = await Layerstack.open({ root });
    expect((await store.images.list())[0]?.Form).toBeUndefined();
    expect(readdirSync(packed('layers'))).toEqual([]);
  });
});

describe('fsck', () => {
  beforeEach(async () => void (await store.images.load(archive, { form: 'packed' })));

  it('finds nothing wrong with packed images and their containers', async () => {
    await using container = await store.containers.create(NAME);
    await using _mount = await store.containers.mount(container);
    expect(await findings({ deep: true })).toEqual([]);
  });

  it('reads the tars where it is deep', async () => {
    const [layer = ''] = readdirSync(packed('layers'));
    appendFileSync(packed(`layers/${layer}/layer.tar`), 'x');
    expect(await findings({ deep: true })).toMatchObject([
      { code: 'layer-damaged' },
      { code: 'layer-index' },
    ]);
  });

  it('writes a lost index anew', async () => {
    const [layer = ''] = readdirSync(packed('layers'));
    const index = packed(`layers/${layer}/index.erofs`);
    const before = readFileSync(index);
    rmSync(index);
    expect(await findings({ repair: true })).toMatchObject([{ code: 'layer-index', repaired: true }]);
    expect(readFileSync(index).equals(before)).toBe(true);
    expect(await findings()).toEqual([]);
  });

  it('removes an entry without a tar', async () => {
    const [layer = ''] = readdirSync(packed('layers'));
    rmSync(packed(`layers/${layer}/layer.tar`));
    expect((await findings({ repair: true })).map(({ code }) => code)).toContain('layer-incomplete');
    expect(existsSync(packed(`layers/${layer}`))).toBe(false);
  });
});

/** Replaces the index of a layer, and its `versions` so that they fit. */
function plantIndex(layer: string, bytes: Buffer): void {
  const path = packed(`layers/${layer}/index.erofs`);
  writeFileSync(path, bytes);
  const versions = ['layer.tar', 'index.erofs'].map((name) => {
    const { ino, size, mtimeNs } = statSync(packed(`layers/${layer}/${name}`), { bigint: true });
    return `${String(ino)} ${String(size)} ${String(mtimeNs)}\n`;
  });
  writeFileSync(packed(`layers/${layer}/versions`), versions.join(''));
}

describe('a planted index with fitting versions', () => {
  it('of another layer is not mounted', async () => {
    await store.images.load(archive, { form: 'packed' });
    const [one = '', other = ''] = readdirSync(packed('layers'));
    const right = readFileSync(packed(`layers/${one}/index.erofs`));
    plantIndex(one, readFileSync(packed(`layers/${other}/index.erofs`)));
    expect(compareTrees(await containerTree(), await classicTree(scratch, archive, NAME))).toEqual([]);
    expect(readFileSync(packed(`layers/${one}/index.erofs`)).equals(right)).toBe(true);
  });

  it('of the same layer with other content is found and replaced by fsck --deep --repair', async () => {
    await store.images.load(archive, { form: 'packed' });
    const [layer = ''] = readdirSync(packed('layers'));
    const right = readFileSync(packed(`layers/${layer}/index.erofs`));
    const wrong = Buffer.from(right);
    wrong[wrong.length - 1] = (wrong.at(-1) ?? 0) ^ 1;
    plantIndex(layer, wrong);
    expect(await findings()).toEqual([]);
    expect(await findings({ deep: true })).toMatchObject([{ code: 'layer-index', severity: 'error' }]);
    expect(await findings({ deep: true, repair: true })).toMatchObject([{ repaired: true }]);
    expect(readFileSync(packed(`layers/${layer}/index.erofs`)).equals(right)).toBe(true);
    expect(await findings({ deep: true })).toEqual([]);
  });
});

describe('the form', () => {
  it("is the root's own by default", async () => {
    writeFileSync(join(root, 'layerstack/settings.json'), '{"form":"packed"}');
    await store.images.load(archive);
    expect(await store.images.list()).toMatchObject([{ Form: 'packed' }]);
    await store.images.load(archive);
    expect((await store.images.list())[0]?.Form).toBe('packed');
    writeFileSync(join(root, 'layerstack/settings.json'), '{"form":"auto"}');
    const path = writeArchive(join(scratch, 'import.tar'), [{ name: 'imported', content: 'x' }]);
    await store.images.import(path, { reference: 'imported:1' });
    await store.close();
    store = await Layerstack.open({ root });
    expect((await store.images.list()).find(({ RepoTags }) => RepoTags.includes('imported:1'))?.Form).toBe(
      undefined,
    );
    writeFileSync(join(root, 'layerstack/settings.json'), '{"form":"tar"}');
    await expect(store.images.load(archive)).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
  });

  it('is refused, without being read whole, in settings of terabytes', async () => {
    const settings = join(root, 'layerstack/settings.json');
    writeFileSync(settings, '{"form":"packed"}');
    truncateSync(settings, 8 * 1024 ** 4);
    await expect(store.images.load(archive)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      path: settings,
    });
  });

  it('is packed for an import', async () => {
    await store.images.import(firstLayer(), { reference: 'imported:1', form: 'packed' });
    expect(await store.images.list()).toMatchObject([{ RepoTags: ['imported:1'], Form: 'packed' }]);
    expect(tarDigests()).toEqual([RICH.layers[0]?.diffId]);
  });

  it('is mixed where an image stands on layers that are extracted already', async () => {
    const base = imageOf(RICH.layers.slice(0, 1), { tags: ['base:1'] });
    await store.images.load(writeArchive(join(scratch, 'base.tar'), dockerArchive([base])));
    await store.images.load(archive, { form: 'packed' });
    expect(readdirSync(packed('layers'))).toHaveLength(1);
    expect(compareTrees(await containerTree(), await classicTree(scratch, archive, NAME))).toEqual([]);
  });
});

/** Returns the bytes of a file, or the names in a directory. */
function listing(path: string): unknown {
  return path.endsWith('.json') ? readFileSync(path, 'utf8') : readdirSync(path).sort();
}

/** Streams the first layer of the image. */

async function* firstLayer(): AsyncGenerator<Uint8Array> {
  yield RICH.layers[0]?.tar ?? Buffer.alloc(0);
}
