/**
 * `prune --orphans`: directories that nothing explains are named with the reason, and only those go that
 * cannot hold anybody's work.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Layerstack, type Orphan } from '../../src/index.ts';
import { rejection } from '../support/errors.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { IMAGE, TestStore } from '../support/test-store.ts';

const layers = 'image/overlay2/layerdb/sha256';
const ID = 'ab'.repeat(32);
const LINK = 'ORPHANORPHANORPHANORPHANAB';

let fixture: TestStore;
let box: string;

beforeEach(async () => {
  fixture = await TestStore.build();
  box = (await fixture.store.containers.create(IMAGE, { name: 'box' })).id;
});
afterEach(() => fixture[Symbol.asyncDispose]());

const overlay = (id: string, entry = ''): string => fixture.at(join('overlay2', id, entry));
const prune = (options: Parameters<Layerstack['pruneOrphans']>[0] = {}): Promise<Orphan[]> =>
  fixture.store.pruneOrphans(options);
const brief = (orphans: readonly Orphan[]): string[] =>
  orphans.map(({ id, kind, state, removed }) => `${id} ${kind} ${removed ? 'removed' : state}`).sort();
/** Returns the cache-ids of the image's two layers, the lower one first. */
const cacheIds = (): string[] =>
  readdirSync(fixture.at(layers))
    .sort(
      (a, b) =>
        Number(existsSync(fixture.at(`${layers}/${a}/parent`))) -
        Number(existsSync(fixture.at(`${layers}/${b}/parent`))),
    )
    .map((chain) => fixture.text(`${layers}/${chain}/cache-id`));

/** Makes a directory as dockerd makes those of layers. */
function makeDirectory(id: string, link = LINK): void {
  mkdirSync(overlay(id, 'diff'), { recursive: true });
  writeFileSync(overlay(id, 'diff/file'), 'content');
  writeFileSync(overlay(id, 'link'), link);
  symlinkSync(`../${id}/diff`, fixture.at(`overlay2/l/${link}`));
}

/** Makes the container's files look as after a lost entry. */
function loseContainer(): { readonly mountId: string; readonly initId: string } {
  const entry = `image/overlay2/layerdb/mounts/${box}`;
  const [mountId, initId] = [fixture.text(`${entry}/mount-id`), fixture.text(`${entry}/init-id`)];
  writeFileSync(overlay(mountId, 'diff/work-of-somebody'), 'x');
  for (const path of [entry, `containers/${box}`, 'layerstack/names/box'])
    rmSync(fixture.at(path), { recursive: true });
  return { mountId, initId };
}

it('an intact store has none, also while a container is mounted', async () => {
  expect(await prune()).toEqual([]);
  const mount = await fixture.store.containers.mount(box);
  expect(await prune({ force: true })).toEqual([]);
  await mount.unmount();
});

describe('a read-only layer that nothing has', () => {
  beforeEach(() => makeDirectory(ID));

  it('is listed with its facts by a dry run, and stays', async () => {
    const [orphan, ...more] = await prune({ dryRun: true });
    expect(more).toEqual([]);
    expect(orphan).toMatchObject({
      id: ID,
      path: `overlay2/${ID}`,
      kind: 'layer',
      state: 'removable',
      size: 7,
    });
    expect(orphan).toMatchObject({ lastMounted: null, removed: false });
    expect(Math.abs(Date.now() - (orphan?.created ?? 0))).toBeLessThan(60_000);
    expect(existsSync(overlay(ID))).toBe(true);
  });

  it('is removed with its short name', async () => {
    expect(brief(await prune())).toEqual([`${ID} layer removed`]);
    expect(existsSync(overlay(ID))).toBe(false);
    expect(readdirSync(fixture.at('overlay2/l'))).not.toContain(LINK);
    expect(await prune()).toEqual([]);
    await (await fixture.store.containers.mount(box)).unmount();
  });

  it('keeps a short name that belongs to another directory by now', async () => {
    const [base = ''] = cacheIds();
    const link = fixture.text(`overlay2/${base}/link`);
    writeFileSync(overlay(ID, 'link'), link);
    await prune();
    expect(readlinkSync(fixture.at(`overlay2/l/${link}`))).toBe(`../${base}/diff`);
    await (await fixture.store.containers.mount(box)).unmount();
  });

  it('needs force while an image lacks a layer, since it may be that layer', async () => {
    const [, top = ''] = cacheIds();
    rmSync(overlay(top), { recursive: true });
    expect(await prune()).toMatchObject([{ id: ID, state: 'forced', removed: false }]);
    expect(existsSync(overlay(ID))).toBe(true);
  });

  it('stays while a directory that stays is on top of it', async () => {
    makeDirectory('stranger', 'STRANGERSTRANGERSTRANGERAB');
    writeFileSync(overlay('stranger', 'lower'), `l/${LINK}`);
    expect(brief(await prune())).toEqual([`${ID} layer needed`, 'stranger unknown forced']);
    expect(brief(await prune({ force: true }))).toEqual([`${ID} layer removed`, 'stranger unknown removed']);
  });
});

describe('the writable layer of a container that has lost its entry', () => {
  it('is removed by force only, with its init layer', async () => {
    const { mountId, initId } = loseContainer();
    expect(brief(await prune())).toEqual([`${initId} init needed`, `${mountId} writable forced`].sort());
    expect(existsSync(overlay(mountId, 'diff/work-of-somebody'))).toBe(true);
    const removed = [`${initId} init removed`, `${mountId} writable removed`].sort();
    expect(brief(await prune({ force: true }))).toEqual(removed);
  });

  it('is known by the traces of its mount alone, where its init layer is gone', async () => {
    await (await fixture.store.containers.mount(box)).unmount();
    const { mountId, initId } = loseContainer();
    rmSync(overlay(initId), { recursive: true });
    const [orphan] = await prune();
    expect(orphan).toMatchObject({ id: mountId, kind: 'writable', state: 'forced' });
    expect(Math.abs(Date.now() - (orphan?.lastMounted ?? 0))).toBeLessThan(60_000);
  });

  it('is never removed while it is mounted', async () => {
    const mount = await fixture.store.containers.mount(box);
    const saved = ['image/overlay2/layerdb/mounts', 'containers'].map((path) => fixture.at(path));
    for (const path of saved)
      cpSync(path, join(fixture.scratch, path.replaceAll('/', '_')), { recursive: true });
    const { mountId } = loseContainer();
    const orphans = await prune({ force: true });
    expect(orphans.map(({ state }) => state)).toEqual(['needed', 'needed']);
    expect(orphans.find(({ id }) => id === mountId)?.reason).toBe('it is mounted');
    for (const path of saved)
      cpSync(join(fixture.scratch, path.replaceAll('/', '_')), path, { recursive: true });
    await mount.unmount();
  });
});

describe('a directory that may be somebody’s', () => {
  const CASES: Readonly<Record<string, readonly [id: string, make: () => void, verdict: string]>> = {
    'a name of no known program': ['stranger', () => makeDirectory('stranger'), 'unknown'],
    'an unknown entry': [
      ID,
      () => {
        makeDirectory(ID);
        writeFileSync(overlay(ID, 'notes.txt'), 'x');
      },
      'unknown',
    ],
    'content without a short name': [
      ID,
      () => {
        makeDirectory(ID);
        rmSync(overlay(ID, 'link'));
      },
      'unknown',
    ],
    'an upper without a work directory, as a sealed one': [
      ID,
      () => {
        makeDirectory(ID);
        writeFileSync(overlay(ID, 'lower'), `l/${fixture.text(`overlay2/${cacheIds()[0] ?? ''}/link`)}`);
        writeFileSync(overlay(ID, 'committed'), '');
      },
      'sealed',
    ],
  };

  it.each(Object.keys(CASES))('%s: goes by force only', async (name) => {
    const [id, make, kind] = CASES[name] ?? ['', () => undefined, ''];
    make();
    expect(brief(await prune())).toEqual([`${id} ${kind} forced`]);
    expect(brief(await prune({ force: true }))).toEqual([`${id} ${kind} removed`]);
  });

  it('an empty directory holds nothing, and goes', async () => {
    mkdirSync(overlay(ID, 'diff'), { recursive: true });
    expect(brief(await prune())).toEqual([`${ID} empty removed`]);
  });
});

/**
 * The directories that dockerd 26.1.5 of trixie had after two builds with BuildKit, and a mark in its
 * database.
 */
const OF_26 = [
  { id: 'msoc0fhhelcx8oaw2w3r1ig8g', entries: ['diff', 'link'] },
  { id: 'mmh3gcd3p9d6fzf0roh9kel5t', entries: ['committed', 'diff', 'link', 'lower', 'work/work'] },
  { id: 'vu5mkdoepigomkqao6czkq2sh', entries: ['diff', 'link', 'lower', 'work/work'] },
  { id: '37dr3nabrp01r4yk9dtzwlcfx', entries: ['diff', 'link'] },
] as const;

describe('directories of BuildKit, as dockerd 26 leaves them', () => {
  beforeEach(() => {
    const base = fixture.text(`overlay2/${cacheIds()[0] ?? ''}/link`);
    for (const [index, { id, entries }] of OF_26.entries()) {
      makeDirectory(id, `BUILDKIT${'ABCD'[index] ?? ''}${'A'.repeat(17)}`);
      for (const entry of entries.filter((name) => !['diff', 'link'].includes(name))) {
        if (entry === 'work/work') mkdirSync(overlay(id, entry), { recursive: true });
        else writeFileSync(overlay(id, entry), entry === 'lower' ? `l/${base}` : '');
      }
    }
    mkdirSync(fixture.at('buildkit'));
  });

  it('are not listed, even by force, while its database names them', async () => {
    const text = OF_26.map(({ id }) => `\0\x01overlay2\0${id}\0`).join('sha256:…');
    writeFileSync(fixture.at('buildkit/snapshots.db'), text);
    expect(await prune({ force: true })).toEqual([]);
    for (const { id } of OF_26) expect(existsSync(overlay(id))).toBe(true);
  });

  it('stay without force where its database is lost', async () => {
    expect(brief(await prune())).toEqual(OF_26.map(({ id }) => `${id} buildkit forced`).sort());
    for (const { id } of OF_26) expect(existsSync(overlay(id))).toBe(true);
  });
});

it('only a dry run works on a store that is open read-only', async () => {
  makeDirectory(ID);
  await fixture.store.close();
  await using store = await Layerstack.open({ root: fixture.root, readOnly: true });
  expect(await store.pruneOrphans({ dryRun: true })).toHaveLength(1);
  expect(await rejection(store.pruneOrphans())).toMatchObject({ code: 'ERR_STORE_READ_ONLY' });
});

it('the command prints the removed directories, and why the others stay', async () => {
  makeDirectory(ID);
  makeDirectory('stranger', 'STRANGERSTRANGERSTRANGERAB');
  await fixture.store.close();
  const cli = new LayerstackCli(fixture.root);
  const dry = await cli.run('prune', '--orphans', '-n');
  expect(dry).toMatch(new RegExp(`^${ID} +7B +.* ago +never +would be removed +a read-only layer`, 'm'));
  expect(dry).toMatch(/^stranger +7B .*stays +its name .*\(--force removes it\)$/m);
  expect(dry).toContain('Total that would be reclaimed: 7B');
  expect(await cli.run('prune', '--orphans')).toContain('Total reclaimed space: 7B');
  expect(existsSync(overlay('stranger'))).toBe(true);
  const json = JSON.parse(await cli.run('prune', '--orphans', '--force', '--format', 'json')) as Orphan;
  expect(json).toMatchObject({ id: 'stranger', removed: true });
  expect((await cli.try(['prune', '--orphans', '--all'])).status).toBe(2);
  await fixture.reopen();
});
