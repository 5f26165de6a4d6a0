import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { chainIds, digestOf, hexOf, type ChainID } from '../../src/core/digest.ts';
import { flatLower } from '../../src/layer/flat.ts';
import { Overlay } from '../../src/layer/overlay.ts';
import { LayerStore, type StagedLayer } from '../../src/layer/store.ts';
import { native } from '../../src/system/native.ts';
import { Root } from '../../src/system/root.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';
import { zstdStored } from '../support/zstd.ts';
import { chunks, diffIdOf, layerTar, LIMITS, snapshot } from '../support/layers.ts';

let scratch: string;
let root: Root;
let layers: LayerStore;

const at = (path: string): string => join(scratch, 'store', path);
const limits = LIMITS;

beforeEach(async () => {
  scratch = makeScratch('layers');
  root = await Root.open(join(scratch, 'store'));
  layers = new LayerStore(root);
});

afterEach(async () => {
  await root.close();
  await dropScratch(scratch);
});

const stage = (name: string): Promise<StagedLayer> => layers.stage(chunks(layerTar(name)), { limits });
const chainsOf = (...names: string[]): ChainID[] => chainIds(names.map((name) => diffIdOf(layerTar(name))));

/** Publishes one image of these layers and gives its chains, bottom to top. */
async function image(...names: string[]): Promise<ChainID[]> {
  await layers.publish([await Promise.all(names.map(stage))]);
  return chainsOf(...names);
}

function expectNoRest(): void {
  expect(readdirSync(at('image/overlay2/layerdb/tmp'))).toEqual([]);
  const entries = readdirSync(at('image/overlay2/layerdb/sha256'));
  expect(entries.filter((name) => !/^[0-9a-f]{64}$/.test(name))).toEqual([]);
  const used = entries.map((name) =>
    readFileSync(at(`image/overlay2/layerdb/sha256/${name}/cache-id`), 'utf8'),
  );
  expect(
    readdirSync(at('overlay2'))
      .filter((name) => name !== 'l')
      .sort(),
  ).toEqual(used.sort());
  expect(readdirSync(at('overlay2/l')).sort()).toEqual(
    used.map((id) => readFileSync(at(`overlay2/${id}/link`), 'utf8')).sort(),
  );
  for (const session of readdirSync(at('layerstack/sessions')))
    expect(readdirSync(at(`layerstack/sessions/${session}`))).toEqual(['lock']);
}

describe('the layers on disk', () => {
  it('are what dockerd writes', async () => {
    const chains = await image('one', 'two', 'three');
    const [one, two, three] = await Promise.all(chains.map((chain) => layers.get(chain)));
    const links = [one, two, three].map((layer) =>
      readFileSync(at(`overlay2/${layer?.cacheId}/link`), 'utf8'),
    );
    for (const link of links) expect(link).toMatch(/^[A-Z2-7]{26}$/);
    const tree = snapshot(at('.'));
    const entry = (chain: ChainID): string => `image/overlay2/layerdb/sha256/${hexOf(chain)}`;
    const [c1, c2, c3] = chains as [ChainID, ChainID, ChainID];
    expect(tree).toMatchObject({
      [entry(c1)]: 'd 0700 0',
      [`${entry(c1)}/cache-id`]: `- 0644 0 ${one?.cacheId}`,
      [`${entry(c1)}/diff`]: `- 0644 0 ${c1}`,
      [`${entry(c1)}/size`]: '- 0644 0 3',
      [`${entry(c2)}/parent`]: `- 0644 0 ${c1}`,
      [`${entry(c2)}/diff`]: `- 0644 0 ${two?.diffId}`,
      [`${entry(c3)}/parent`]: `- 0644 0 ${c2}`,
      [`overlay2/${one?.cacheId}`]: 'd 0710 0',
      [`overlay2/${one?.cacheId}/diff`]: 'd 0755 0',
      [`overlay2/${one?.cacheId}/diff/dir`]: 'd 0750 0',
      [`overlay2/${one?.cacheId}/link`]: `- 0644 0 ${links[0]}`,
      [`overlay2/${one?.cacheId}/committed`]: '- 0600 0',
      [`overlay2/${two?.cacheId}/work`]: 'd 0700 0',
      [`overlay2/${two?.cacheId}/lower`]: `- 0644 0 l/${links[0]}`,
      [`overlay2/${three?.cacheId}/lower`]: `- 0644 0 l/${links[1]}:l/${links[0]}`,
      [`overlay2/l/${links[2]}`]: `l 0777 0 ../${three?.cacheId}/diff`,
    });
    expect(tree[`${entry(c1)}/tar-split.json.gz`]).toMatch(/^- 0644 0/);
    expect(tree).not.toHaveProperty([`${entry(c1)}/parent`]);
    expect(tree).not.toHaveProperty([`overlay2/${one?.cacheId}/work`]);
    expect(tree).not.toHaveProperty([`overlay2/${one?.cacheId}/lower`]);
    expect(tree).not.toHaveProperty([`overlay2/${three?.cacheId}/committed`]);
    expectNoRest();
    expect(await new Overlay(root.layout).lowersOf(three?.cacheId ?? '')).toEqual([
      `l/${links[2]}`,
      `l/${links[1]}`,
      `l/${links[0]}`,
    ]);
  });

  it('yield the whole chain, top first, also to a reader that saw it before', async () => {
    const chains = await image('one', 'two', 'three');
    for (let i = 0; i < 2; ++i)
      expect((await layers.chain(chains[2] as ChainID)).map(({ chainId }) => chainId)).toEqual(
        chains.toReversed(),
      );
    rmSync(at(`image/overlay2/layerdb/sha256/${hexOf(chains[1] as ChainID)}`), { recursive: true });
    await expect(layers.chain(chains[2] as ChainID)).rejects.toMatchObject({
      code: 'ERR_LAYER_NOT_FOUND',
      layer: chains[1],
    });
  });

  it('have their sizes', async () => {
    const [one] = await image('one');
    expect(layers.size(one as ChainID)).toBe(3);
    expect(layers.size(digestOf('none') as string as ChainID)).toBeUndefined();
  });
});

describe('staging', () => {
  it('takes a range of a file', async () => {
    const bytes = layerTar('ranged');
    writeFileSync(join(scratch, 'archive'), Buffer.concat([Buffer.alloc(777), bytes, Buffer.alloc(5)]));
    const file = await open(join(scratch, 'archive'));
    const seen: number[] = [];
    const staged = await layers.stage(
      { fd: file.fd, offset: 777, size: bytes.length },
      { limits, expectedDiffId: diffIdOf(bytes), onProgress: (n) => seen.push(n) },
    );
    await file.close();
    expect(staged.diffId).toBe(diffIdOf(bytes));
    expect(seen.at(-1)).toBe(bytes.length);
    await layers.discard(staged);
    await layers.discard(staged);
    expectNoRest();
  });

  it('reports the progress of chunks', async () => {
    const bytes = layerTar('chunked');
    const seen: number[] = [];
    await layers.discard(await layers.stage(chunks(bytes), { limits, onProgress: (n) => seen.push(n) }));
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBe(bytes.length);
  });

  it('refuses another digest than expected, by name, and leaves nothing', async () => {
    const expectedDiffId = diffIdOf(Buffer.from('other'));
    await expect(
      layers.stage(chunks(layerTar('x')), { limits, expectedDiffId, name: 'abc/layer.tar' }),
    ).rejects.toMatchObject({
      code: 'ERR_DIGEST_MISMATCH',
      kind: 'data-loss',
      expected: expectedDiffId,
      found: diffIdOf(layerTar('x')),
      layer: 'abc/layer.tar',
      message: expect.stringContaining('abc/layer.tar') as string,
    });
    expectNoRest();
  });

  it('names the layer of a bad tar and leaves nothing', async () => {
    await expect(
      layers.stage(chunks(layerTar('x').subarray(0, 700)), { limits, name: 'abc/layer.tar' }),
    ).rejects.toMatchObject({ layer: 'abc/layer.tar', code: expect.stringMatching(/^ERR_LAYER_/) as string });
    expectNoRest();
  });

  it('passes an error of the source on and leaves nothing', async () => {
    const failing = async function* (): AsyncGenerator<Uint8Array> {
      yield* chunks(layerTar('x').subarray(0, 600));
      throw new Error('the pipe broke');
    };
    await expect(layers.stage(failing(), { limits })).rejects.toThrow('the pipe broke');
    expectNoRest();
  });

  it('stops at an abort although the source is silent, and leaves nothing', async () => {
    const controller = new AbortController();
    const hanging = async function* (): AsyncGenerator<Uint8Array> {
      yield layerTar('x').subarray(0, 600);
      setTimeout(() => controller.abort(new Error('enough')), 20);
      await new Promise(() => undefined);
    };
    const started = Date.now();
    await expect(layers.stage(hanging(), { limits, signal: controller.signal })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
      cause: expect.objectContaining({ message: 'enough' }) as Error,
    });
    expect(Date.now() - started).toBeLessThan(2000);
    expectNoRest();
  });

  it('waits for a slot, and stops waiting at an abort', async () => {
    const gate = deferred();
    const waiting = async function* (): AsyncGenerator<Uint8Array> {
      await gate.promise;
      yield* chunks(layerTar('slow'));
    };
    const running = Array.from({ length: 64 }, () => layers.stage(waiting(), { limits }));
    const controller = new AbortController();
    const late = layers.stage(chunks(layerTar('late')), { limits, signal: controller.signal });
    controller.abort();
    await expect(late).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    gate.resolve(undefined);
    for (const staged of await Promise.all(running)) await layers.discard(staged);
    expectNoRest();
  });

  it('makes a second copy of a layer for another chain', async () => {
    const [base, other, shared] = await Promise.all([stage('base'), stage('other'), stage('shared')]);
    const copy = await layers.restage(shared, { limits });
    expect(copy.diffId).toBe(shared.diffId);
    await layers.publish([
      [base, shared],
      [other, copy],
    ]);
    const found = await layers.findAll([...chainsOf('base', 'shared'), ...chainsOf('other', 'shared')]);
    expect(new Set(found.map((layer) => layer?.cacheId)).size).toBe(4);
    const again = await layers.restage(await layers.get(chainsOf('base')[0] as ChainID), { limits });
    await layers.discard(again);
    expectNoRest();
  });
});

function deferred(): { promise: Promise<undefined>; resolve: (value: undefined) => void } {
  let resolve: (value: undefined) => void = () => undefined;
  return { promise: new Promise((done) => (resolve = done)), resolve: (value) => resolve(value) };
}

describe('without native zstd', () => {
  it('stages a zstd layer with the digests of both sides', async () => {
    const bytes = layerTar('zstd');
    const blob = zstdStored(bytes);
    writeFileSync(join(scratch, 'layer.zst'), blob);
    vi.stubEnv('LAYERSTACK_CAPS', 'zstd=js');
    const plain = await Root.open(at('.'));
    vi.unstubAllEnvs();
    const store = new LayerStore(plain);
    const file = await open(join(scratch, 'layer.zst'));
    const staged = await Promise.all([
      store.stage(chunks(blob, 7), { limits }),
      store.stage({ fd: file.fd, offset: 0, size: blob.length }, { limits }),
      layers.stage({ fd: file.fd, offset: 0, size: blob.length }, { limits }),
    ]);
    await file.close();
    for (const { applied, diffId } of staged) {
      expect(diffId).toBe(diffIdOf(bytes));
      expect(applied).toMatchObject({
        blobDigest: digestOf(blob),
        blobSize: blob.length,
        tarSize: bytes.length,
        compression: 'zstd',
      });
    }
    await Promise.all([store.discard(staged[0]), store.discard(staged[1]), layers.discard(staged[2])]);
    await plain.close();
    expectNoRest();
  });
});

describe('flat lowers', () => {
  it('merge a chain once for all callers, and are made again when deleted', async () => {
    const base = tar([
      { name: 'kept', content: 'kept' },
      { name: 'gone', content: 'gone' },
    ]);
    const top = tar([{ name: '.wh.gone' }, { name: 'new', content: 'new' }]);
    await layers.publish([
      [await layers.stage(chunks(base), { limits }), await layers.stage(chunks(top), { limits })],
    ]);
    const chain = chainIds([diffIdOf(base), diffIdOf(top)])[1] as ChainID;
    for (let i = 0; i < 2; ++i) {
      const made = await Promise.all([1, 2, 3].map(() => flatLower(root, layers, chain)));
      expect(new Set(made)).toEqual(new Set([`../layerstack/flat/${hexOf(chain)}`]));
      expect(readdirSync(at('layerstack/flat'))).toEqual([hexOf(chain)]);
      expect(readdirSync(at(`overlay2/${made[0]}`)).sort()).toEqual(['kept', 'new']);
      rmSync(at(`layerstack/flat/${hexOf(chain)}`), { recursive: true });
    }
    expectNoRest();
  });

  it('leave nothing when they cannot be built', async () => {
    await expect(flatLower(root, layers, chainsOf('none')[0] as ChainID)).rejects.toMatchObject({
      code: 'ERR_LAYER_NOT_FOUND',
    });
    expect(readdirSync(at('layerstack/flat'))).toEqual([]);
  });
});

describe('publishing', () => {
  it('discards a copy of what the store has, and stacks on what it has', async () => {
    const [one] = await image('one');
    const before = await layers.get(one as ChainID);
    await image('one', 'two');
    expect((await layers.get(one as ChainID)).cacheId).toBe(before.cacheId);
    expectNoRest();
  });

  it('publishes each layer of several images once', async () => {
    const [a, b, c, again] = await Promise.all([stage('a'), stage('b'), stage('c'), stage('a')]);
    const { tops } = await layers.publish([[a, b], [again, c], []]);
    expect(tops).toEqual([chainsOf('a', 'b')[1], chainsOf('a', 'c')[1], undefined]);
    expect(readdirSync(at('image/overlay2/layerdb/sha256'))).toHaveLength(3);
    expectNoRest();
  });

  it('accepts existing layers among staged ones, unless they vanished', async () => {
    const [one] = await image('one');
    const existing = await layers.get(one as ChainID);
    await layers.publish([[existing, await stage('two')]]);
    rmSync(at(`image/overlay2/layerdb/sha256/${hexOf(one as ChainID)}`), { recursive: true });
    const three = await stage('three');
    await expect(layers.publish([[existing, three]])).rejects.toMatchObject({ code: 'ERR_LAYER_NOT_FOUND' });
    await layers.discard(three);
  });

  it.each(['size', 'diff', 'cache-id'] as const)('replaces a layer without its %s', async (file) => {
    const [one, two] = (await image('one', 'two')) as [ChainID, ChainID];
    const old = await layers.get(one);
    const link = readFileSync(at(`overlay2/${old.cacheId}/link`), 'utf8');
    writeFileSync(at(`image/overlay2/layerdb/sha256/${hexOf(one)}/${file}`), '');
    const fresh = new LayerStore(root);
    expect(await fresh.find(one)).toBeUndefined();
    await fresh.publish([[await fresh.stage(chunks(layerTar('one')), { limits }), await fresh.get(two)]]);
    const now = await fresh.get(one);
    expect(now.cacheId).not.toBe(old.cacheId);
    const { cacheId } = await fresh.get(two);
    // Whether the old short name could be found or not, the child stands on the new layer.
    const [, below] = await new Overlay(root.layout).lowersOf(cacheId ?? '');
    const target = execFileSync('readlink', ['-f', at(`overlay2/${below}`)], { encoding: 'utf8' }).trim();
    expect(target).toBe(at(`overlay2/${now.cacheId}/diff`));
    if (file !== 'cache-id') expect(below).toBe(`l/${link}`);
    expect(readdirSync(at('image/overlay2/layerdb/sha256'))).toHaveLength(2);
  });

  it('replaces a layer whose content is missing, for the layers above it too', async () => {
    const [one, two] = (await image('one', 'two')) as [ChainID, ChainID];
    const old = await layers.get(one);
    rmSync(at(`overlay2/${old.cacheId}`), { recursive: true });
    expect(await layers.find(one)).toBeUndefined();
    await layers.publish([[await stage('one'), await layers.get(two)]]);
    const [, below] = await new Overlay(root.layout).lowersOf((await layers.get(two)).cacheId ?? '');
    expect(readdirSync(at(`overlay2/${below}/dir`))).toEqual(['one']);
    expectNoRest();
  });

  it('removes the content of a replaced layer without layers above it', async () => {
    const [one] = (await image('one')) as [ChainID];
    writeFileSync(at(`image/overlay2/layerdb/sha256/${hexOf(one)}/size`), '12\n');
    await image('one');
    expect(layers.size(one)).toBe(3);
    expectNoRest();
  });

  it('adopts an entry that another program puts into layerdb during publishing', async () => {
    const other = join(scratch, 'other');
    const theirs = await Root.open(other);
    const theirLayers = new LayerStore(theirs);
    await theirLayers.publish([[await theirLayers.stage(chunks(layerTar('one')), { limits })]]);
    const [one, two] = chainsOf('one', 'two') as [ChainID, ChainID];
    const { cacheId } = await theirLayers.get(one);
    await theirs.close();

    const batch = native.batch.bind(native);
    let intruded = false;
    native.batch = async (path, steps) => {
      if (!intruded && steps.some((step) => step.op === 'rename')) {
        intruded = true;
        for (const path of [`overlay2/${cacheId}`, `image/overlay2/layerdb/sha256/${hexOf(one)}`])
          execFileSync('cp', ['-a', join(other, path), at(path)]);
        execFileSync('cp', ['-a', `${other}/overlay2/l/.`, at('overlay2/l')]);
      }
      return batch(path, steps);
    };
    try {
      await image('one', 'two');
    } finally {
      native.batch = batch;
    }
    expect(intruded).toBe(true);
    expect((await layers.get(one)).cacheId).toBe(cacheId);
    const lowers = await new Overlay(root.layout).lowersOf((await layers.get(two)).cacheId ?? '');
    expect(lowers[1]).toBe(`l/${readFileSync(at(`overlay2/${cacheId}/link`), 'utf8')}`);
    expectNoRest();
  });

  it('syncs once, before the first rename, and the directory after it', async () => {
    const batch = native.batch.bind(native);
    const order: string[] = [];
    native.batch = (path, steps) => {
      for (const step of steps) {
        if (step.op === 'syncfs') order.push('syncfs');
        if (step.op === 'rename' && step.to.includes('/sha256/')) order.push('rename');
        if (step.op === 'fsync') order.push(`fsync ${step.path}`);
      }
      return batch(path, steps);
    };
    try {
      await image('one', 'two');
    } finally {
      native.batch = batch;
    }
    expect(order).toEqual(['syncfs', 'rename', 'rename', 'fsync image/overlay2/layerdb/sha256']);
  });

  it('warns of images too deep for dockerd and refuses those too deep to mount', async () => {
    const empty = tar([]);
    const copies = await Promise.all(
      Array.from({ length: 126 }, () => layers.stage(chunks(empty), { limits })),
    );
    const { notices } = await layers.publish([copies]);
    expect(notices).toEqual([expect.stringContaining('126 layers')]);
    expect((await layers.chain(chainIds(copies.map(({ diffId }) => diffId)).at(-1) as ChainID)).length).toBe(
      126,
    );
    const deep = await layers.chain(chainIds([diffIdOf(empty)])[0] as ChainID);
    await expect(layers.publish([Array.from({ length: 501 }, () => deep[0] as never)])).rejects.toMatchObject(
      {
        code: 'ERR_LAYER_DEPTH',
        limit: 500,
      },
    );
  });

  it('stops at an abort with nothing published', async () => {
    const staged = await stage('one');
    await expect(layers.publish([[staged]], { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    });
    expect(readdirSync(at('image/overlay2/layerdb/sha256'))).toEqual([]);
    await layers.discard(staged);
    expectNoRest();
  });

  it('happens once for two writers of one root', async () => {
    const other = await Root.open(at('.'));
    const theirs = new LayerStore(other);
    const names = ['p', 'q', 'r'];
    const copies = (store: LayerStore) =>
      Promise.all(names.map((name) => store.stage(chunks(layerTar(name)), { limits })));
    const [a, b] = await Promise.all([copies(layers), copies(theirs)]);
    await Promise.all(
      [layers.publish([a]), theirs.publish([b.toReversed(), b.slice(0, 0)])].map((p) => p.catch(String)),
    );
    await Promise.all([layers.publish([a]), theirs.publish([])]);
    await other.close();
    expect((await layers.chain(chainsOf(...names)[2] as ChainID)).length).toBe(3);
    expectNoRest();
  });

  it('is refused in a store opened read-only', async () => {
    await image('one');
    const reader = await Root.open(at('.'), { readOnly: true });
    const store = new LayerStore(reader);
    expect((await store.get(chainsOf('one')[0] as ChainID)).size).toBe(3);
    await expect(store.stage(chunks(layerTar('x')), { limits })).rejects.toMatchObject({
      code: 'ERR_STORE_READ_ONLY',
    });
    await reader.close();
    expect(statSync(at('volumes/metadata.db')).size).toBe(0);
  });
});
