/**
 * The ways in which a store can be damaged, as data: the damage, the finding of fsck, and the repair.
 * test/integration/damage-kinds.test.ts tries all of them on a store of layerstack's, and
 * test/conformance/damage-kinds.test.ts on one of dockerd's.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { hexOf, type ChainID } from '../../src/core/digest.ts';
import { isWrong, type FindingCode, type StoreFinding } from '../../src/core/store-finding.ts';
import { dockerArchive } from './archives.ts';
import { imageOf, layerOf } from './images.ts';
import { tar } from './tar.ts';

const base = imageOf(
  [
    layerOf([
      { name: 'etc', type: 'directory' },
      { name: 'etc/base', content: 'base' },
      { name: 'etc/other', content: 'other' },
      { name: 'etc/empty', type: 'directory' },
      { name: 'etc/link', type: 'symlink', linkname: 'base' },
      { name: 'etc/same', type: 'hardlink', linkname: 'etc/base' },
    ]),
  ],
  { tags: ['base:1'] },
);
const app = imageOf(
  [
    ...base.layers,
    layerOf([
      { name: 'run', content: 'run' },
      { name: 'etc/.wh.other', content: '' },
    ]),
    layerOf({ more: 'more' }),
  ],
  { tags: ['app:1'] },
);
const other = imageOf([layerOf({ apart: 'apart' })], { tags: ['other:1'] });

/** The images of each store that is damaged. A container `box` is made of `app:1`. */
export const ARCHIVE = tar(dockerArchive([base, app, other]));

/**
 * `repair`: `fsck --deep --repair`. `from`: the same with `--from ARCHIVE`. `load`: the image is loaded
 * again. `orphans`: `prune --orphans`. `hand`: the operator has to remove or restore something; the finding
 * says what.
 */
export type Mended = 'repair' | 'from' | 'load' | 'orphans' | 'hand';

export interface DamageKind {
  readonly kind: string;
  readonly how: (store: DamagedStore) => void;
  readonly finding: FindingCode;
  readonly mended: Mended;
}

/** The paths of a store that is to be damaged. */
export class DamagedStore {
  readonly root: string;
  constructor(root: string) {
    this.root = root;
  }
  at(path: string): string {
    return join(this.root, path);
  }
  text(path: string): string {
    return fs.readFileSync(this.at(path), 'utf8');
  }
  write(path: string, data: string): void {
    fs.writeFileSync(this.at(path), data);
  }
  remove(path: string): void {
    fs.rmSync(this.at(path), { recursive: true });
  }
  /** A file of the entry of a layer of `app:1`, counted from below. */
  entry(layer: number, file = ''): string {
    return join('image/overlay2/layerdb/sha256', hexOf(app.chain[layer] as ChainID), file);
  }
  cacheId(layer: number): string {
    return this.text(this.entry(layer, 'cache-id'));
  }
  /** An entry of the directory of a layer. */
  overlay(layer: number, entry = ''): string {
    return join('overlay2', this.cacheId(layer), entry);
  }
  file(layer: number, name: string): string {
    return this.at(this.overlay(layer, join('diff', name)));
  }
  shortName(layer: number): string {
    return join('overlay2/l', this.text(this.overlay(layer, 'link')));
  }
  get box(): string {
    return fs.readdirSync(this.at('image/overlay2/layerdb/mounts'))[0] ?? '';
  }
  mount(file: string): string {
    return `image/overlay2/layerdb/mounts/${this.box}/${file}`;
  }
}

const NAMES = 'image/overlay2/repositories.json';
const BASE_CONFIG = `image/overlay2/imagedb/content/sha256/${hexOf(base.id)}`;
const fifo = (path: string): void => void execFileSync('mkfifo', [path]);
const editNames = (store: DamagedStore, edit: (text: string) => string): void =>
  store.write(NAMES, edit(store.text(NAMES)));

type Row = readonly [kind: string, finding: FindingCode, mended: Mended, how: DamageKind['how']];
const ROWS: readonly Row[] = [
  // The content of a layer
  ['a byte of a file', 'layer-damaged', 'from', (s) => fs.writeFileSync(s.file(0, 'etc/other'), 'OTHER')],
  ['a missing file', 'layer-damaged', 'from', (s) => fs.rmSync(s.file(1, 'run'))],
  ['an empty file', 'layer-damaged', 'from', (s) => fs.truncateSync(s.file(2, 'more'))],
  ['a longer file', 'layer-damaged', 'from', (s) => fs.appendFileSync(s.file(2, 'more'), 'x')],
  [
    'a directory in the place of a file',
    'layer-damaged',
    'from',
    (s) => {
      fs.rmSync(s.file(1, 'run'));
      fs.mkdirSync(s.file(1, 'run'));
    },
  ],
  [
    'a link in the place of a file',
    'layer-damaged',
    'from',
    (s) => {
      fs.rmSync(s.file(1, 'run'));
      fs.symlinkSync('/etc/passwd', s.file(1, 'run'));
    },
  ],
  [
    'a fifo in the place of a file',
    'layer-damaged',
    'from',
    (s) => {
      fs.rmSync(s.file(1, 'run'));
      fifo(s.file(1, 'run'));
    },
  ],
  [
    'a file in the place of a directory',
    'layer-damaged',
    'repair',
    (s) => {
      fs.rmdirSync(s.file(0, 'etc/empty'));
      fs.writeFileSync(s.file(0, 'etc/empty'), '');
    },
  ],
  ['a missing empty directory', 'layer-damaged', 'repair', (s) => fs.rmdirSync(s.file(0, 'etc/empty'))],
  ['an additional file', 'layer-damaged', 'repair', (s) => fs.writeFileSync(s.file(0, 'etc/new'), 'new')],
  ['an additional directory', 'layer-damaged', 'repair', (s) => fs.mkdirSync(s.file(1, 'new'))],
  [
    'another target of a link',
    'layer-damaged',
    'repair',
    (s) => {
      fs.rmSync(s.file(0, 'etc/link'));
      fs.symlinkSync('other', s.file(0, 'etc/link'));
    },
  ],
  [
    'a group of hard links that is broken up',
    'layer-damaged',
    'repair',
    (s) => {
      fs.rmSync(s.file(0, 'etc/same'));
      fs.writeFileSync(s.file(0, 'etc/same'), 'base');
    },
  ],
  ['a missing whiteout', 'layer-damaged', 'repair', (s) => fs.rmSync(s.file(1, 'etc/other'))],
  ['the mode of a file', 'layer-metadata', 'repair', (s) => fs.chmodSync(s.file(0, 'etc/other'), 0o4777)],
  ['the owner of a file', 'layer-metadata', 'repair', (s) => fs.chownSync(s.file(0, 'etc/other'), 7, 7)],
  ['the time of a file', 'layer-metadata', 'repair', (s) => fs.utimesSync(s.file(0, 'etc/other'), 5, 5)],
  ['the mode of a directory', 'layer-metadata', 'repair', (s) => fs.chmodSync(s.file(0, 'etc'), 0o777)],
  // The entry of a layer
  ['no `cache-id`', 'layer-incomplete', 'repair', (s) => s.remove(s.entry(1, 'cache-id'))],
  ['an empty `cache-id`', 'layer-incomplete', 'repair', (s) => s.write(s.entry(1, 'cache-id'), '')],
  [
    'the `cache-id` of another layer',
    'layer-incomplete',
    'repair',
    (s) => s.write(s.entry(1, 'cache-id'), s.cacheId(0)),
  ],
  [
    'a `cache-id` that leads elsewhere',
    'layer-incomplete',
    'repair',
    (s) => s.write(s.entry(1, 'cache-id'), '../../etc'),
  ],
  [
    'a `cache-id` of no directory',
    'layer-incomplete',
    'repair',
    (s) => s.write(s.entry(1, 'cache-id'), 'c'.repeat(64)),
  ],
  [
    'the `cache-id` of a container',
    'layer-incomplete',
    'repair',
    (s) => s.write(s.entry(1, 'cache-id'), s.text(s.mount('mount-id'))),
  ],
  ['no `diff`', 'layer-incomplete', 'repair', (s) => s.remove(s.entry(1, 'diff'))],
  [
    'the `diff` of another layer',
    'layer-incomplete',
    'repair',
    (s) => s.write(s.entry(1, 'diff'), s.text(s.entry(0, 'diff'))),
  ],
  ['a `diff` that is not a digest', 'layer-incomplete', 'repair', (s) => s.write(s.entry(1, 'diff'), 'x')],
  ['no `parent`', 'layer-incomplete', 'repair', (s) => s.remove(s.entry(2, 'parent'))],
  [
    'another `parent`',
    'layer-incomplete',
    'repair',
    (s) => s.write(s.entry(2, 'parent'), app.chain[0] ?? ''),
  ],
  [
    'a `parent` of a lowest layer',
    'layer-incomplete',
    'repair',
    (s) => s.write(s.entry(0, 'parent'), app.chain[2] ?? ''),
  ],
  ['no `size`', 'layer-incomplete', 'repair', (s) => s.remove(s.entry(1, 'size'))],
  [
    'a `size` with a newline',
    'layer-incomplete',
    'repair',
    (s) => fs.appendFileSync(s.at(s.entry(1, 'size')), '\n'),
  ],
  ['another `size`', 'layer-size', 'repair', (s) => s.write(s.entry(1, 'size'), '77')],
  ['no tar-split', 'layer-damaged', 'from', (s) => s.remove(s.entry(1, 'tar-split.json.gz'))],
  ['an empty tar-split', 'layer-damaged', 'from', (s) => s.write(s.entry(1, 'tar-split.json.gz'), '')],
  [
    'a tar-split that is not gzip',
    'layer-damaged',
    'from',
    (s) => s.write(s.entry(1, 'tar-split.json.gz'), 'damaged'),
  ],
  [
    'a tar-split that is cut off',
    'layer-damaged',
    'from',
    (s) => fs.truncateSync(s.at(s.entry(1, 'tar-split.json.gz')), 60),
  ],
  [
    'the tar-split of another layer',
    'layer-damaged',
    'from',
    (s) => fs.copyFileSync(s.at(s.entry(0, 'tar-split.json.gz')), s.at(s.entry(1, 'tar-split.json.gz'))),
  ],
  ['no entry', 'layer-incomplete', 'from', (s) => s.remove(s.entry(1))],
  [
    'a fifo in the place of `size`',
    'entry-planted',
    'hand',
    (s) => {
      s.remove(s.entry(1, 'size'));
      fifo(s.at(s.entry(1, 'size')));
    },
  ],
  [
    'a link in the place of an entry',
    'entry-planted',
    'hand',
    (s) => {
      fs.renameSync(s.at(s.entry(2)), s.at('elsewhere'));
      fs.symlinkSync('/elsewhere', s.at(s.entry(2)));
    },
  ],
  // The directory of a layer
  ['no directory', 'layer-incomplete', 'from', (s) => s.remove(s.overlay(1))],
  ['no `diff` in it', 'layer-incomplete', 'from', (s) => s.remove(s.overlay(1, 'diff'))],
  [
    'a link in the place of its `diff`',
    'entry-planted',
    'hand',
    (s) => {
      const path = s.overlay(1, 'diff');
      s.remove(path);
      fs.symlinkSync('/etc', s.at(path));
    },
  ],
  ['no `link`', 'overlay-link', 'repair', (s) => s.remove(s.overlay(1, 'link'))],
  ['an empty `link`', 'overlay-link', 'repair', (s) => s.write(s.overlay(1, 'link'), '')],
  [
    'the `link` of another layer',
    'overlay-link',
    'repair',
    (s) => s.write(s.overlay(1, 'link'), s.text(s.overlay(0, 'link'))),
  ],
  ['no short name', 'overlay-link', 'repair', (s) => s.remove(s.shortName(1))],
  [
    'a short name that leads elsewhere',
    'overlay-link',
    'repair',
    (s) => {
      const name = s.shortName(1);
      s.remove(name);
      fs.symlinkSync(`../${s.cacheId(0)}/diff`, s.at(name));
    },
  ],
  [
    'a file in the place of a short name',
    'overlay-link',
    'repair',
    (s) => {
      const name = s.shortName(1);
      s.remove(name);
      s.write(name, 'x');
    },
  ],
  ['no `overlay2/l`', 'overlay-link', 'repair', (s) => s.remove('overlay2/l')],
  [
    'a short name of no directory',
    'link-dangling',
    'repair',
    (s) => fs.symlinkSync('../gone/diff', s.at(`overlay2/l/${'B'.repeat(26)}`)),
  ],
  ['no `lower`', 'overlay-lower', 'repair', (s) => s.remove(s.overlay(2, 'lower'))],
  ['an empty `lower`', 'overlay-lower', 'repair', (s) => s.write(s.overlay(2, 'lower'), '')],
  [
    'a `lower` in another order',
    'overlay-lower',
    'repair',
    (s) => s.write(s.overlay(2, 'lower'), s.text(s.overlay(2, 'lower')).split(':').reverse().join(':')),
  ],
  ['no `committed`', 'overlay-committed', 'repair', (s) => s.remove(s.overlay(0, 'committed'))],
  [
    'a directory that nothing explains',
    'overlay-orphan',
    'orphans',
    (s) => fs.cpSync(s.at(s.overlay(0)), s.at(`overlay2/${'d'.repeat(64)}`), { recursive: true }),
  ],
  // Images and names
  ['a changed config', 'image-damaged', 'load', (s) => fs.appendFileSync(s.at(BASE_CONFIG), ' ')],
  ['an empty config', 'image-damaged', 'load', (s) => s.write(BASE_CONFIG, '')],
  [
    'metadata of no image',
    'image-metadata',
    'repair',
    (s) =>
      fs.mkdirSync(s.at(`image/overlay2/imagedb/metadata/sha256/${'e'.repeat(64)}`), { recursive: true }),
  ],
  ['an empty `repositories.json`', 'names-unreadable', 'repair', (s) => s.write(NAMES, '')],
  [
    'a `repositories.json` that is cut off',
    'names-unreadable',
    'repair',
    (s) => fs.truncateSync(s.at(NAMES), 100),
  ],
  [
    'a fifo in the place of `repositories.json`',
    'names-unreadable',
    'repair',
    (s) => {
      s.remove(NAMES);
      fifo(s.at(NAMES));
    },
  ],
  ['no `repositories.json`', 'names-unreadable', 'repair', (s) => s.remove(NAMES)],
  [
    'a name of no image',
    'name-dangling',
    'repair',
    (s) => editNames(s, (text) => text.replace('{"app":', `{"a":{"a:1":"sha256:${'1'.repeat(64)}"},"app":`)),
  ],
  [
    'a name in another form',
    'name-spelling',
    'repair',
    (s) =>
      editNames(s, (text) =>
        text.replace('{"app":', `{"docker.io/library/odd":{"docker.io/library/odd:1":"${base.id}"},"app":`),
      ),
  ],
  [
    'a broken cache of registry blobs',
    'distribution-cache',
    'repair',
    (s) => {
      const directory = 'image/overlay2/distribution/v2metadata-by-diffid/sha256';
      fs.mkdirSync(s.at(directory), { recursive: true });
      s.write(`${directory}/${'e'.repeat(64)}`, '[{');
    },
  ],
  // What a kill leaves
  [
    'a layer that was being added',
    'unfinished',
    'repair',
    (s) => fs.mkdirSync(s.at('image/overlay2/layerdb/tmp/write-set-1'), { recursive: true }),
  ],
  [
    'a layer that was being removed',
    'unfinished',
    'repair',
    (s) => fs.mkdirSync(s.at(`${s.entry(2)}-${'a'.repeat(64)}-removing`)),
  ],
  [
    'a directory that was being removed',
    'unfinished',
    'repair',
    (s) => fs.mkdirSync(s.at(`overlay2/${'a'.repeat(64)}-removing`)),
  ],
  // Containers
  [
    'the `lower` of a container',
    'overlay-lower',
    'repair',
    (s) => s.write(`overlay2/${s.text(s.mount('mount-id'))}/lower`, `l/${'A'.repeat(26)}`),
  ],
  [
    'no writable layer of a container',
    'container-incomplete',
    'hand',
    (s) => s.remove(`overlay2/${s.text(s.mount('mount-id'))}`),
  ],
  [
    'no entry of a container',
    'container-incomplete',
    'hand',
    (s) => s.remove(`image/overlay2/layerdb/mounts/${s.box}`),
  ],
  ['no container of an entry', 'mount-orphan', 'hand', (s) => s.remove(`containers/${s.box}`)],
];

export const DAMAGE_KINDS: readonly DamageKind[] = ROWS.map(([kind, finding, mended, how]) => ({
  ...{ kind, finding, mended, how },
}));

const MENDED_BY: Readonly<Record<Mended, string>> = {
  repair: '`fsck --deep --repair`',
  from: 'the same with `--from FILE`',
  load: '`load` of the image',
  orphans: '`prune --orphans`',
  hand: 'by hand, as the finding says',
};

/** The rows of the table in docs/reliability.md, which say what {@link expectMended} expects. */
export function damageRows(): string[] {
  return DAMAGE_KINDS.map(({ kind, finding, mended }) =>
    [
      kind,
      `\`${finding}\``,
      MENDED_BY[mended],
      mended === 'hand' ? 'the finding stays' : 'nothing wrong',
    ].join('|'),
  );
}

async function check(store: Layerstack, options: Parameters<Layerstack['fsck']>[0]): Promise<StoreFinding[]> {
  const findings: StoreFinding[] = [];
  for await (const finding of store.fsck(options)) findings.push(finding);
  return findings;
}

/**
 * Damages a store, and expects that fsck finds it, that the rest can be used meanwhile, and that the named
 * way mends it.
 * @param archive - a file with {@link ARCHIVE}
 */
export async function expectMended(
  root: string,
  archive: string,
  { how, finding, mended }: DamageKind,
): Promise<void> {
  how(new DamagedStore(root));
  await using store = await Layerstack.open({ root });
  const found = await check(store, { deep: true });
  expect(found.map(({ code }) => code)).toContain(finding);
  expect(found.every(({ advice, path }) => advice !== '' && path !== '')).toBe(true);
  expect((await store.images.list()).map(({ Id }) => Id)).toContain(other.id);
  expect((await store.images.save([other.id]).resume().toArray()).length).toBeGreaterThan(0);
  // Without any short name, no stack can be mounted.
  if (fs.existsSync(join(root, 'overlay2/l')) && fs.readdirSync(join(root, 'overlay2/l')).length > 0) {
    const extra = await store.containers.create(other.id, { name: 'apart' });
    const mount = await store.containers.mount(extra);
    expect(fs.readdirSync(mount.path)).toContain('apart');
    await mount.unmount();
    await store.containers.remove(extra);
  }
  if (mended === 'load') await store.images.load(archive);
  if (mended === 'orphans') await store.pruneOrphans();
  if (mended === 'repair' || mended === 'hand') await check(store, { deep: true, repair: true });
  if (mended === 'from') await check(store, { deep: true, repair: true, from: [archive] });
  const left = await check(store, { deep: true });
  if (mended === 'hand') {
    expect(left.map(({ code }) => code)).toContain(finding);
    return;
  }
  expect(left.filter(isWrong)).toEqual([]);
  expect((await store.images.list()).flatMap(({ RepoTags }) => RepoTags)).toEqual(
    expect.arrayContaining(['app:1', 'base:1', 'other:1']),
  );
  const box = await store.containers.mount('box');
  expect(fs.readFileSync(join(box.path, 'more'), 'utf8')).toBe('more');
  const names = fs.readdirSync(join(box.path, 'etc'));
  expect(names).toEqual(expect.arrayContaining(['base', 'empty', 'link', 'same']));
  expect(names).not.toContain('other');
  await box.unmount();
}
