/**
 * fsck: each way in which a store can be damaged, found and, where it is safe, repaired, so that it can be
 * used again.
 */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { hexOf, type ChainID } from '../../src/core/digest.ts';
import { isWrong, type StoreFinding } from '../../src/core/store-finding.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { dumpStore } from '../support/store-dump.ts';
import { tar } from '../support/tar.ts';

const base = imageOf([layerOf({ 'etc/base': 'base', 'etc/other': 'other' })], { tags: ['base:1'] });
const app = imageOf([...base.layers, layerOf({ run: 'run' }), layerOf({ more: 'more' })], {
  tags: ['app:1'],
});

let scratch: string;
let root: string;
let store: Layerstack;

beforeEach(async () => {
  scratch = makeScratch('fsck');
  root = join(scratch, 'root');
  store = await Layerstack.open({ root });
  await store.images.load(Readable.from([tar(dockerArchive([base, app]))]));
  await store.containers.create('app:1', { name: 'box' });
});
afterEach(async () => {
  await store.close();
  await dropScratch(scratch);
});

const check = async (options: Parameters<Layerstack['fsck']>[0] = {}): Promise<StoreFinding[]> => {
  const findings: StoreFinding[] = [];
  for await (const finding of store.fsck(options)) findings.push(finding);
  return findings;
};
const brief = (findings: readonly StoreFinding[]): string[] =>
  findings.map(({ severity, code, path, repaired }) => `${repaired ? 'repaired' : severity} ${code} ${path}`);

const layerPath = (chainId: ChainID | undefined, file = ''): string =>
  join('image/overlay2/layerdb/sha256', hexOf(chainId as ChainID), file);
const cacheId = (chainId: ChainID | undefined): string =>
  readFileSync(join(root, layerPath(chainId, 'cache-id')), 'utf8');
const overlayPath = (chainId: ChainID | undefined, entry = ''): string =>
  join('overlay2', cacheId(chainId), entry);
const linkPath = (chainId: ChainID | undefined): string =>
  join('overlay2/l', readFileSync(join(root, overlayPath(chainId, 'link')), 'utf8'));
const [bottom, middle, top] = app.chain;
const remove = (path: string): void => rmSync(join(root, path), { recursive: true });
const write = (path: string, data: string): void => writeFileSync(join(root, path), data);

/** Everything of the store can be used: images are listed, saved, and the container is mounted. */
async function expectUsable(): Promise<void> {
  await using fresh = await Layerstack.open({ root });
  expect((await fresh.images.list()).map(({ RepoTags }) => RepoTags.join()).sort()).toEqual([
    'app:1',
    'base:1',
  ]);
  await fresh.images.save(['app:1', 'base:1']).resume().toArray();
  const mount = await fresh.containers.mount('box');
  expect(readFileSync(join(mount.path, 'etc/base'), 'utf8')).toBe('base');
  expect(readFileSync(join(mount.path, 'more'), 'utf8')).toBe('more');
  await mount.unmount();
}

describe('an intact store', () => {
  it('has no findings, whatever is mounted or under way, and is not changed', async () => {
    const mount = await store.containers.mount('box');
    await store.containers.putArchive('box', '/', Readable.from([tar([{ name: 'f', content: 'x' }])]));
    await store.containers.commit('box', { reference: 'made:1' });
    const before = await dumpStore(root);
    expect(await check()).toEqual([]);
    expect(await check({ deep: true, repair: true })).toEqual([]);
    expect(await dumpStore(root)).toEqual(before);
    await mount.unmount();
    await store.close();
    store = await Layerstack.open({ root, readOnly: true });
    expect(await check({ deep: true })).toEqual([]);
    await expect(check({ repair: true })).rejects.toMatchObject({ code: 'ERR_STORE_READ_ONLY' });
  });

  it('has none during a load', async () => {
    const image = imageOf([layerOf({ slow: 'x'.repeat(100_000) })], { tags: ['slow:1'] });
    const bytes = tar(dockerArchive([image]));
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const loading = store.images.load(
      (async function* () {
        yield bytes.subarray(0, 60_000);
        await held;
        yield bytes.subarray(60_000);
      })(),
    );
    for (
      let tries = 0;
      readdirSync(join(root, 'image/overlay2/layerdb/tmp')).length === 0 && tries < 200;
      tries++
    )
      await new Promise((resolve) => setTimeout(resolve, 10));
    expect(readdirSync(join(root, 'image/overlay2/layerdb/tmp'))).toHaveLength(1);
    expect(await check({ repair: true })).toEqual([]);
    release();
    await loading;
    expect(await check({ deep: true })).toEqual([]);
  });
});

describe('damage that can be repaired', () => {
  const CASES: Readonly<Record<string, () => { readonly found: string; readonly damage: () => void }>> = {
    'a short name is missing': () => {
      const path = linkPath(middle);
      return { found: `error overlay-link ${path}`, damage: () => remove(path) };
    },
    'a short name leads elsewhere': () => {
      const path = linkPath(middle);
      return {
        found: `error overlay-link ${path}`,
        damage: () => {
          remove(path);
          symlinkSync(`../${cacheId(bottom)}/diff`, join(root, path));
        },
      };
    },
    'link is empty after a power cut': () => {
      const path = overlayPath(bottom, 'link');
      return { found: `error overlay-link ${path}`, damage: () => truncateSync(join(root, path)) };
    },
    'lower is empty': () => {
      const path = overlayPath(top, 'lower');
      return { found: `error overlay-lower ${path}`, damage: () => truncateSync(join(root, path)) };
    },
    'lower is that of another layer': () => {
      const path = overlayPath(top, 'lower');
      return { found: `error overlay-lower ${path}`, damage: () => write(path, `l/${'A'.repeat(26)}`) };
    },
    'size has a newline, with which dockerd does not load it': () => {
      const path = layerPath(middle, 'size');
      return {
        found: `error layer-incomplete ${path}`,
        damage: () => appendFileSync(join(root, path), '\n'),
      };
    },
    'diff is missing': () => {
      const path = layerPath(middle, 'diff');
      return { found: `error layer-incomplete ${path}`, damage: () => remove(path) };
    },
    'parent is missing': () => {
      const path = layerPath(top, 'parent');
      return { found: `error layer-incomplete ${path}`, damage: () => remove(path) };
    },
    'a layer has lost the name of its content': () => {
      const path = layerPath(middle, 'cache-id');
      return { found: `error layer-incomplete ${path}`, damage: () => truncateSync(join(root, path)) };
    },
    'a layer names the content of the layer below': () => {
      const path = layerPath(middle, 'cache-id');
      return { found: `error layer-incomplete ${path}`, damage: () => write(path, cacheId(bottom)) };
    },
    'a layer names the content of the layer above': () => {
      const path = layerPath(middle, 'cache-id');
      return { found: `error layer-incomplete ${path}`, damage: () => write(path, cacheId(top)) };
    },
    'a short name dangles': () => {
      const path = `overlay2/l/${'B'.repeat(26)}`;
      return {
        found: `warning link-dangling ${path}`,
        damage: () => symlinkSync('../gone/diff', join(root, path)),
      };
    },
    'dockerd was killed while it pulled': () => {
      const path = 'image/overlay2/layerdb/tmp/write-set-123';
      return { found: `warning unfinished ${path}`, damage: () => mkdirSync(join(root, path)) };
    },
    'dockerd was killed while it removed': () => {
      const path = `${layerPath(top)}-${'a'.repeat(64)}-removing`;
      return {
        found: `warning unfinished ${path}`,
        damage: () => {
          mkdirSync(join(root, path));
          write(`${path}/cache-id`, cacheId(top));
        },
      };
    },
    'metadata is kept for no image': () => {
      const path = `image/overlay2/imagedb/metadata/sha256/${'d'.repeat(64)}`;
      return {
        found: `warning image-metadata ${path}`,
        damage: () => {
          mkdirSync(join(root, path));
          write(`${path}/parent`, base.id);
        },
      };
    },
    'the cache of registry blobs is broken': () => {
      const directory = 'image/overlay2/distribution/v2metadata-by-diffid/sha256';
      const path = `${directory}/${'e'.repeat(64)}`;
      return {
        found: `warning distribution-cache ${path}`,
        damage: () => {
          mkdirSync(join(root, directory), { recursive: true });
          write(path, '[{"Digest":');
        },
      };
    },
    'a removed container has left its directory': () => {
      const path = `containers/${'f'.repeat(64)}`;
      return {
        found: `warning unfinished ${path}`,
        damage: () => {
          mkdirSync(join(root, path));
          write(`${path}/hostconfig.json`, '{}');
        },
      };
    },
  };

  it.each(Object.keys(CASES))('%s', async (name) => {
    const { found, damage } = CASES[name]?.() ?? { found: '', damage: () => undefined };
    damage();
    const findings = await check();
    expect(brief(findings)).toContain(found);
    expect(findings.some(isWrong)).toBe(true);
    const repaired = await check({ repair: true });
    expect(brief(repaired)).toContain(found.replace(/^\w+/, 'repaired'));
    expect(await check({ deep: true })).toEqual([]);
    await expectUsable();
  });

  it('two layers name one directory, and the content of one is gone: the other layer stays whole', async () => {
    remove(overlayPath(middle));
    write(layerPath(middle, 'cache-id'), cacheId(bottom));
    const wanted = `error layer-incomplete ${layerPath(middle, 'cache-id')}`;
    expect(brief(await check())).toContain(wanted);
    const [dispute] = await check({ repair: true });
    expect(dispute?.advice).toContain('--from');
    await store.images.save(['base:1']).resume().toArray();
  });

  it.each([
    ['the middle', middle],
    ['the top', top],
  ])('%s layer has lost its entry: its directory proves what it is', async (_, chainId) => {
    const old = overlayPath(chainId);
    remove(layerPath(chainId));
    const found = brief(await check());
    expect(found).toContain(`error layer-incomplete ${layerPath(chainId)}`);
    const repaired = await check({ repair: true });
    expect(repaired.filter(isWrong)).toEqual([]);
    expect(brief(await check({ deep: true }))).toEqual([`note overlay-orphan ${old}`]);
    await expectUsable();
  });

  it('a directory with one other byte does not prove a lost layer, and an archive gives it back', async () => {
    write(join(overlayPath(middle, 'diff'), 'run'), 'RUN');
    remove(layerPath(middle));
    const [finding] = (await check({ repair: true })).filter(({ code }) => code === 'layer-incomplete');
    expect(finding).toMatchObject({ repaired: false });
    expect(finding?.advice).toContain('--from');
    const file = join(scratch, 'app.tar');
    writeFileSync(file, tar(dockerArchive([app])));
    expect((await check({ repair: true, from: [file] })).filter(isWrong)).toEqual([]);
    await expectUsable();
  });

  it('all short names are missing, with their directory', async () => {
    remove('overlay2/l');
    expect((await store.images.list()).length).toBe(2);
    await store.images.save(['app:1']).resume().toArray();
    expect((await check()).some(({ code }) => code === 'overlay-link')).toBe(true);
    await store.close();
    store = await Layerstack.open({ root });
    expect((await check({ repair: true })).filter(isWrong)).toEqual([]);
    expect(await check({ deep: true })).toEqual([]);
    await expectUsable();
  });

  it('both sides of a short name are missing: the layers above it are rewritten', async () => {
    remove(linkPath(bottom));
    remove(overlayPath(bottom, 'link'));
    const codes = (await check({ repair: true })).map(({ code, repaired }) => `${code} ${String(repaired)}`);
    expect(codes[0]).toBe('overlay-link true');
    expect(codes.filter((code) => code === 'overlay-lower true').length).toBeGreaterThanOrEqual(3);
    expect(await check()).toEqual([]);
    await expectUsable();
  });

  it('names of missing images, and keys that docker cannot read', async () => {
    const path = join(root, 'image/overlay2/repositories.json');
    const gone = `sha256:${'1'.repeat(64)}`;
    const { Repositories } = JSON.parse(readFileSync(path, 'utf8')) as {
      Repositories: Record<string, object>;
    };
    const broken = {
      ...Repositories,
      'lost/x': { 'lost/x:1': gone, 'lost/x:2': base.id },
      'docker.io/library/odd': { 'docker.io/library/odd:1': base.id },
      ' ': { ' : ': base.id },
    };
    write('image/overlay2/repositories.json', JSON.stringify({ Repositories: broken }));
    expect((await check()).map(({ code }) => code)).toEqual([
      'name-spelling',
      'name-spelling',
      'name-dangling',
    ]);
    const repaired = await check({ repair: true });
    expect(repaired.filter((finding) => !finding.repaired)).toMatchObject([{ code: 'name-spelling' }]);
    const [image] = (await store.images.list()).filter(({ Id }) => Id === base.id);
    expect(image?.RepoTags).toEqual(['base:1', 'odd:1', 'lost/x:2']);
    expect(readFileSync(path, 'utf8')).not.toContain(gone);
  });

  it.each(['', '{"Repositories":'])('a file of names that is %j', async (text) => {
    write('image/overlay2/repositories.json', text);
    expect(brief(await check())).toEqual(['error names-unreadable image/overlay2/repositories.json']);
    expect((await check({ repair: true }))[0]?.repaired).toBe(true);
    expect(await check()).toEqual([]);
    const kept = readdirSync(join(root, 'image/overlay2')).filter((name) => name.endsWith('.broken'));
    expect(readFileSync(join(root, 'image/overlay2', kept[0] ?? ''), 'utf8')).toBe(text);
    await store.images.tag(app.id, 'app:1');
    await store.images.tag(base.id, 'base:1');
    await expectUsable();
  });

  it('a size that is not the content’s, and marks and mount points (deep)', async () => {
    const { mountId } = await store.containers.get('box');
    write(layerPath(middle, 'size'), '77');
    unlinkSync(join(root, overlayPath(bottom, 'committed')));
    mkdirSync(join(root, `overlay2/${mountId}/merged`));
    symlinkSync('0'.repeat(64), join(root, 'layerstack/names/nobody'));
    expect((await check()).some(isWrong)).toBe(false);
    expect(brief(await check({ deep: true })).sort()).toEqual(
      [
        `note mount-leftover overlay2/${mountId}/merged`,
        'note name-index layerstack/names/nobody',
        `note overlay-committed ${overlayPath(bottom, 'committed')}`,
        `warning layer-size ${layerPath(middle, 'size')}`,
      ].sort(),
    );
    await check({ deep: true, repair: true });
    expect(await check({ deep: true })).toEqual([]);
    expect(readFileSync(join(root, layerPath(middle, 'size')), 'utf8')).toBe('3');
  });
});

describe('damage that cannot be repaired is reported, and left unchanged', () => {
  const CASES: Readonly<Record<string, () => { readonly found: string; readonly damage: () => void }>> = {
    'the content of a layer is gone': () => {
      const path = overlayPath(middle, 'diff');
      return { found: `error layer-incomplete ${path}`, damage: () => remove(overlayPath(middle)) };
    },
    'a layer is gone, with its content': () => ({
      found: `error image-incomplete image/overlay2/imagedb/content/sha256/${hexOf(app.id)}`,
      damage: () => {
        remove(overlayPath(middle));
        remove(layerPath(middle));
      },
    }),
    'a config was changed': () => {
      const path = `image/overlay2/imagedb/content/sha256/${hexOf(base.id)}`;
      return { found: `error image-damaged ${path}`, damage: () => appendFileSync(join(root, path), ' ') };
    },
    'a tar-split is gone': () => {
      const path = layerPath(top, 'tar-split.json.gz');
      return { found: `warning layer-damaged ${path}`, damage: () => remove(path) };
    },
    'a container has no writable layer': () => {
      const id = readlinkSync(join(root, 'layerstack/names/box'));
      const mountId = readFileSync(join(root, 'image/overlay2/layerdb/mounts', id, 'mount-id'), 'utf8');
      const path = `overlay2/${mountId}`;
      return { found: `error container-incomplete ${path}/diff`, damage: () => remove(path) };
    },
    'a container has no entry in mounts': () => {
      const id = readlinkSync(join(root, 'layerstack/names/box'));
      return {
        found: `error container-incomplete containers/${id}`,
        damage: () => remove(`image/overlay2/layerdb/mounts/${id}`),
      };
    },
    'a writable layer has no container': () => {
      const id = readlinkSync(join(root, 'layerstack/names/box'));
      return {
        found: `warning mount-orphan image/overlay2/layerdb/mounts/${id}`,
        damage: () => remove(`containers/${id}`),
      };
    },
  };

  it.each(Object.keys(CASES))('%s', async (name) => {
    const { found, damage } = CASES[name]?.() ?? { found: '', damage: () => undefined };
    damage();
    expect(brief(await check())).toContain(found);
    const after = await check({ repair: true });
    expect(brief(after)).toContain(found);
    expect(after.filter(({ repaired }) => !repaired).every(({ advice }) => advice !== '')).toBe(true);
    expect(brief(await check())).toContain(found);
  });

  it('a directory that nothing refers to is a note, and stays', async () => {
    mkdirSync(join(root, 'overlay2/stranger/diff'), { recursive: true });
    const findings = await check({ repair: true });
    expect(brief(findings)).toEqual(['note overlay-orphan overlay2/stranger']);
    expect(findings.some(isWrong)).toBe(false);
    expect(existsSync(join(root, 'overlay2/stranger/diff'))).toBe(true);
    mkdirSync(join(root, 'buildkit'));
    write('buildkit/snapshots.db', 'bolt… stranger …');
    expect(await check()).toEqual([]);
  });

  it('a file of a layer was changed, which only a deep check sees', async () => {
    write(join(overlayPath(bottom, 'diff'), 'etc/other'), 'OTHER');
    expect(await check()).toEqual([]);
    const [finding, ...more] = await check({ deep: true });
    expect(more).toEqual([]);
    expect(finding).toMatchObject({
      code: 'layer-damaged',
      severity: 'error',
      path: join(overlayPath(bottom, 'diff'), 'etc/other'),
    });
    // The advice holds.
    await store.containers.remove('box');
    for (const image of ['app:1', 'base:1']) await store.images.remove(image);
    await store.images.load(Readable.from([tar(dockerArchive([base, app]))]));
    expect(await check({ deep: true })).toEqual([]);
  });

  it('loading again repairs a layer without content, as advised', async () => {
    renameSync(join(root, overlayPath(middle)), join(scratch, 'away'));
    expect((await check()).length).toBeGreaterThan(0);
    await store.images.load(Readable.from([tar(dockerArchive([base, app]))]));
    await check({ repair: true });
    expect((await check({ deep: true })).filter(isWrong)).toEqual([]);
    await expectUsable();
  });
});

it('stops at a signal', async () => {
  const stop = new AbortController();
  stop.abort();
  await expect(check({ signal: stop.signal })).rejects.toMatchObject({ code: 'ERR_ABORTED' });
});
