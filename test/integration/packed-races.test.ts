/** Changes of packed images that happen while another operation has looked, but not yet acted. */
import { readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import type { ChainID } from '../../src/core/digest.ts';
import { ImageDb } from '../../src/image/imagedb.ts';
import { settleImage } from '../../src/image/settle.ts';
import { ImageStore } from '../../src/image/store.ts';
import { checkPacked } from '../../src/layer/packed/check.ts';
import { LayerStore } from '../../src/layer/store.ts';
import { readParent, LayerUses } from '../../src/layer/uses.ts';
import type { Layout } from '../../src/system/layout.ts';
import { Root } from '../../src/system/root.ts';
import { dockerArchive } from '../support/archives.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { NAME, RICH, writeArchive } from '../support/packed-layers.ts';

let scratch: string;
let archive: string;
let path: string;
let store: Layerstack;
let root: Root;
let layers: LayerStore;
let images: ImageStore;

beforeEach(async () => {
  scratch = makeScratch('packed-races');
  archive = writeArchive(join(scratch, 'rich.tar'), dockerArchive([RICH]));
  path = join(scratch, 'store');
  store = await Layerstack.open({ root: path });
  await store.images.load(archive, { form: 'packed' });
  root = await Root.open(path);
  layers = new LayerStore(root);
  images = new ImageStore(root, layers);
});

afterEach(async () => {
  await layers.drain();
  await root.close();
  await store.close();
  await dropScratch(scratch);
});

/** Does something before this process takes the lock of the names for the first time. */
function beforeNames(work: () => Promise<unknown>): void {
  const { locks } = root;
  const acquire = locks.acquire.bind(locks);
  let done = false;
  locks.acquire = async (...args) => {
    if (args[0] === 'references' && !done) {
      done = true;
      await work();
    }
    return acquire(...args);
  };
}

/** Returns the layout, which does something at its nth use of one of these members. */
function atUse(members: readonly (keyof Layout)[], nth: number, work: () => void): Layout {
  let uses = 0;
  return new Proxy(root.layout, {
    get: (layout, key) => {
      if ((members as readonly PropertyKey[]).includes(key) && ++uses === nth) work();
      const member = Reflect.get(layout, key) as unknown;
      return typeof member === 'function' ? (member.bind(layout) as unknown) : member;
    },
  });
}

/** Moves the entry of a packed layer to where an extracted one has it. */
function extract(chainId: ChainID): void {
  const { layout } = root;
  renameSync(layout.at(layout.packedLayer(chainId)), layout.at(layout.layer(chainId)));
}

const [BELOW, TOP] = RICH.chain as [ChainID, ChainID];

describe('a settle', () => {
  it('does not bring back an image that is removed meanwhile', async () => {
    beforeNames(() => store.images.remove(NAME));
    await expect(settleImage({ layers, images }, RICH.id)).rejects.toMatchObject({
      code: 'ERR_IMAGE_NOT_FOUND',
    });
    expect(await store.images.list({ all: true })).toEqual([]);
    await images.resume();
    await layers.drain();
    expect(readdirSync(join(path, 'image/overlay2/layerdb/sha256'))).toEqual([]);
    expect(readdirSync(join(path, 'layerstack/packed/layers'))).toEqual([]);
  });

  it('is not undone by a load that began before it', async () => {
    const config = await images.get(RICH.id);
    beforeNames(() => store.images.settle(NAME));
    await images.add([{ config }], []);
    expect(images.formOf(RICH.id)).toBe('classic');
    expect(await store.images.list()).toMatchObject([{ RepoTags: [NAME] }]);
  });
});

describe('a layer that is extracted while another operation looks for it', () => {
  it('is counted as a child of the layer below it', async () => {
    const layout = atUse(['layers', 'packedLayers'], 2, () => extract(TOP));
    const { layers: found, children } = await LayerUses.count(layout, [], new Map());
    expect([...found].sort()).toEqual([BELOW, TOP].sort());
    expect(children.get(BELOW)).toBe(1);
  });

  it('has its parent', () => {
    const layout = atUse(['packedLayer'], 1, () => extract(TOP));
    expect(readParent(layout, TOP)).toBe(BELOW);
  });

  it('is found', async () => {
    const aside = await Layerstack.open({ root: join(scratch, 'aside') });
    await aside.images.load(archive);
    await aside.close();
    const from = join(scratch, 'aside');
    const entry = root.layout.layer(TOP);
    const swap = (): void => {
      rmSync(root.layout.at(root.layout.packedLayer(TOP)), { recursive: true });
      renameSync(join(from, entry), root.layout.at(entry));
      const { overlay2 } = root.layout;
      for (const name of readdirSync(join(from, overlay2)))
        if (name !== 'l') renameSync(join(from, overlay2, name), join(root.layout.at(overlay2), name));
    };
    const layout = atUse(['packedLayer'], 1, swap);
    const other = new LayerStore(Object.create(root, { layout: { value: layout } }) as Root);
    expect(await other.find(TOP)).toMatchObject({ chainId: TOP, parent: BELOW });
  });
});

describe('a check', () => {
  it.each([false, true])('goes on where a layer is removed meanwhile (deep: %s)', async (deep) => {
    const remove = (): void => rmSync(root.layout.at(root.layout.packedLayers), { recursive: true });
    // The entry is read at five uses; then its tar is opened.
    const layout = atUse(['packedLayer'], deep ? 6 : 7, remove);
    const other = Object.create(root, { layout: { value: layout } }) as Root;
    const problems: unknown[] = [];
    for await (const problem of checkPacked(other, { deep })) problems.push(problem);
    expect(problems).toEqual([]);
  });
});

describe('an image that is settled while another operation looks for it', () => {
  const settle = (): void => {
    const { layout } = root;
    renameSync(layout.at(layout.packedImageContent(RICH.id)), layout.at(layout.imageContent(RICH.id)));
  };
  const dbAt = (members: readonly (keyof Layout)[], nth: number): ImageDb =>
    new ImageDb(Object.create(root, { layout: { value: atUse(members, nth, settle) } }) as Root);

  it('has a form', () => {
    expect(dbAt(['packedImageContent'], 1).formOf(RICH.id)).toBe('classic');
  });

  it('is listed', async () => {
    expect(await dbAt(['imageContents', 'packedImageContents'], 2).ids()).toEqual([RICH.id]);
  });

  it('is read', async () => {
    for (const read of [(db: ImageDb) => db.read(RICH.id), (db: ImageDb) => db.readSync(RICH.id)]) {
      // The first use finds the form, and the second one makes the path.
      expect(await read(dbAt(['packedImageContent'], 2))).toEqual(RICH.config);
      renameSync(
        root.layout.at(root.layout.imageContent(RICH.id)),
        root.layout.at(root.layout.packedImageContent(RICH.id)),
      );
    }
  });
});
