import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { chainIds } from '../../src/core/digest.ts';
import { LayerStore } from '../../src/layer/store.ts';
import { holdFlock } from '../../src/system/lock.ts';
import { Root } from '../../src/system/root.ts';
import { makeVolume, type Volume } from '../support/loop.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { bigTar, chunks, diffIdOf, layerTar, LIMITS, snapshot } from '../support/layers.ts';

let scratch: string;
let store: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  scratch = makeScratch('reconcile');
  store = join(scratch, 'store');
});

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await dropScratch(scratch);
});

const at = (path: string): string => join(store, path);
const limits = LIMITS;

/**
 * Runs a module's text against the built package, in a process of its own. `$DIST` and `$STORE` stand for
 * paths.
 */
function child(text: string): ChildProcess {
  const dist = new URL('../../dist/', import.meta.url).href;
  const program = text.replaceAll('$DIST', dist).replaceAll('$STORE', store);
  const started = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(started);
  return started;
}

async function exit(process: ChildProcess): Promise<number | null> {
  if (process.exitCode !== null || process.signalCode !== null) return process.exitCode;
  return ((await once(process, 'exit')) as [number | null])[0];
}

/** Everything in the store belongs to a complete layer, and nothing of any writer is left. */
async function expectClean(root: Root): Promise<string[]> {
  const layers = new LayerStore(root);
  const hexes = readdirSync(at('image/overlay2/layerdb/sha256'));
  const ids = await Promise.all(
    hexes.map(async (hex) => (await layers.get(`sha256:${hex}` as never)).cacheId),
  );
  expect(readdirSync(at('image/overlay2/layerdb/tmp'))).toEqual([]);
  expect(
    readdirSync(at('overlay2'))
      .filter((name) => name !== 'l')
      .sort(),
  ).toEqual(ids.sort());
  expect(readdirSync(at('overlay2/l')).sort()).toEqual(
    ids.map((id) => readFileSync(at(`overlay2/${id}/link`), 'utf8')).sort(),
  );
  expect(readdirSync(at('layerstack/sessions'))).toEqual([]);
  return hexes;
}

const LOAD = `
  const { Root } = await import('$DIST/system/root.js');
  const { LayerStore } = await import('$DIST/layer/store.js');
  const root = await Root.open('$STORE');
  const layers = new LayerStore(root);
  async function* bytes(name) {
    const header = Buffer.alloc(512);
    header.write(name);
    header.write('0000644\\0' + '0000000\\0' + '0000000\\0' + '00000100000\\0' + '00000000000\\0', 100);
    header.write('        0', 148);
    header.write('ustar\\x0000', 257);
    header.write(header.reduce((a, b) => a + b, 0).toString(8).padStart(6, '0') + '\\0 ', 148);
    yield header;
    for (let i = 0; i < 64; ++i) yield Buffer.alloc(512, name);
    yield Buffer.alloc(1024);
  }
  const limits = { maxBytes: 1e9, maxEntries: 1e6, maxPathBytes: 4096, maxPaxBytes: 1e6 };
`;

describe('after kill -9', () => {
  it('at any moment of staging and publishing, the next writer leaves only complete layers', async () => {
    // Seeded, so that a failing round can be run again.
    let seed = 20_240_607;
    const random = (): number => (seed = (seed * 48_271) % 0x7fffffff) / 0x7fffffff;
    const text = `${LOAD}
      process.stdout.write('go');
      for (let image = 0; ; ++image) {
        const names = ['base', 'mid' + (image % 3), 'top$ROUND.' + image];
        const staged = await Promise.all(names.map((name) => layers.stage(bytes(name), { limits })));
        await layers.publish([staged]);
      }`;
    let published = 0;
    // On a busy machine none of them may come as far as publishing: then they get more time.
    for (let round = 0; round < 50 || (published <= 3 && round < 250); ++round) {
      const writer = child(text.replace('$ROUND', String(round)));
      await once(writer.stdout as never, 'data');
      await new Promise((resolve) => setTimeout(resolve, random() * (round < 50 ? 60 : 600)));
      writer.kill('SIGKILL');
      await exit(writer);
      const root = await Root.open(store);
      published = (await expectClean(root)).length;
      await root.close();
    }
    expect(published).toBeGreaterThan(3);
  });

  it('leaves a live writer alone', async () => {
    const writer = child(`${LOAD}
      const staged = await layers.stage(bytes('alive'), { limits });
      process.on('SIGUSR1', async () => { await layers.publish([[staged]]); await root.close(); process.exit(0); });
      process.stdout.write('staged');
      setInterval(() => {}, 1000);`);
    await once(writer.stdout as never, 'data');
    await (await Root.open(store)).close();
    writer.kill('SIGUSR1');
    expect(await exit(writer)).toBe(0);
    const root = await Root.open(store);
    expect(await expectClean(root)).toHaveLength(1);
    await root.close();
  });
});

describe('two processes', () => {
  it('publish the same chain at once', async () => {
    const text = `${LOAD}
      for (let round = 0; round < 10; ++round) {
        const names = ['a' + round, 'b' + round, 'c' + round];
        const staged = await Promise.all(names.map((name) => layers.stage(bytes(name), { limits })));
        await layers.publish([staged]);
      }
      await root.close();`;
    expect(await Promise.all([exit(child(text)), exit(child(text)), exit(child(text))])).toEqual([0, 0, 0]);
    const root = await Root.open(store);
    expect(await expectClean(root)).toHaveLength(30);
    await root.close();
  });
});

describe('many processes', () => {
  it('open, mark and close at once without disturbing each other', async () => {
    const text = `
      const { Root } = await import('$DIST/system/root.js');
      const told = [];
      const note = (message) => told.push(message);
      const log = { debug() {}, info: note, warn: note, error: note };
      for (let round = 0; round < 40; ++round) {
        const root = await Root.open('$STORE', { log });
        await root.session().mark(['write-set.1']);
        await root.session().unmark(['write-set.1']);
        await root.close();
      }
      if (told.length > 0) throw new Error(told.join());`;
    const loops = Array.from({ length: 8 }, () => exit(child(text)));
    expect(await Promise.all(loops)).toEqual(Array(8).fill(0));
    expect(readdirSync(at('layerstack/sessions'))).toEqual([]);
  });
});

describe('what a dead session names', () => {
  /** A dead session with these markers. */
  function session(...markers: string[]): void {
    mkdirSync(at('layerstack/sessions/0123456789abcdef'));
    for (const marker of ['lock', ...markers])
      writeFileSync(at(`layerstack/sessions/0123456789abcdef/${marker}`), '');
  }

  function overlay(id: string, link = id.slice(0, 26).toUpperCase()): void {
    mkdirSync(at(`overlay2/${id}/diff`), { recursive: true });
    writeFileSync(at(`overlay2/${id}/link`), link);
    symlinkSync(`../${id}/diff`, at(`overlay2/l/${link}`));
  }

  const reopen = async (): Promise<void> => (await Root.open(store)).close();
  const A = 'a'.repeat(64);
  const B = 'b'.repeat(64);

  beforeEach(reopen);

  it('is removed if nothing refers to it, and nothing else is', async () => {
    overlay(A);
    overlay('q7x0buildkitsnapshot00001');
    mkdirSync(at('image/overlay2/layerdb/tmp/write-set-1'));
    mkdirSync(at('image/overlay2/layerdb/tmp/write-set-2'));
    const before = snapshot(store);
    session(`overlay2.${A}`, 'write-set.1');
    await reopen();
    const after = snapshot(store);
    const gone = Object.keys(before).filter((path) => !(path in after));
    expect(gone.filter((path) => !path.includes(A))).toEqual([
      'image/overlay2/layerdb/tmp/write-set-1',
      `overlay2/l/${A.slice(0, 26).toUpperCase()}`,
    ]);
    expect(Object.keys(after).filter((path) => !(path in before))).toEqual([]);
  });

  it('stays if a layer, a container or an init layer uses it', async () => {
    for (const id of [A, B, `${B}-init`]) overlay(id, `${id.slice(0, 22).toUpperCase()}${id.length}XX`);
    mkdirSync(at('image/overlay2/layerdb/sha256/c'));
    writeFileSync(at('image/overlay2/layerdb/sha256/c/cache-id'), A);
    mkdirSync(at('image/overlay2/layerdb/mounts/d'));
    writeFileSync(at('image/overlay2/layerdb/mounts/d/mount-id'), B);
    writeFileSync(at('image/overlay2/layerdb/mounts/d/init-id'), `${B}-init`);
    const before = snapshot(store);
    session(`overlay2.${A}`, `overlay2.${B}`, `overlay2.${B}-init`);
    await reopen();
    expect(snapshot(store)).toEqual(before);
  });

  it('may have a short name whose file a power cut has emptied', async () => {
    overlay(A);
    writeFileSync(at(`overlay2/${A}/link`), '');
    session(`overlay2.${A}`);
    await reopen();
    expect(readdirSync(at('overlay2/l'))).toEqual([]);
    expect(readdirSync(at('overlay2'))).toEqual(['l']);
  });

  it('may be an unfinished container, with its overlay directories', async () => {
    overlay(A);
    mkdirSync(at('image/overlay2/layerdb/mounts/cc'));
    writeFileSync(at('image/overlay2/layerdb/mounts/cc/mount-id'), B);
    mkdirSync(at('containers/cc'));
    writeFileSync(at('containers/cc/config.v2.json'), '{}');
    session('container.cc', `overlay2.${A}`, `overlay2.${B}`);
    await reopen();
    expect(readdirSync(at('image/overlay2/layerdb/mounts'))).toEqual([]);
    expect(readdirSync(at('containers'))).toEqual([]);
    expect(readdirSync(at('overlay2'))).toEqual(['l']);
  });

  it('may be a complete container, which stays', async () => {
    overlay(A);
    mkdirSync(at('image/overlay2/layerdb/mounts/cc'));
    writeFileSync(at('image/overlay2/layerdb/mounts/cc/mount-id'), A);
    mkdirSync(at('containers/cc'));
    writeFileSync(at('containers/cc/config.v2.json'), '{}');
    const before = snapshot(store);
    session('container.cc', `overlay2.${A}`);
    await reopen();
    expect(snapshot(store)).toEqual(before);
  });

  it('may be a removal, which is completed together with others', async () => {
    overlay(A);
    overlay(B);
    for (const [name, id] of [
      [`${'1'.repeat(64)}-x-removing`, A],
      [`${'2'.repeat(64)}-y-removing`, B],
    ] as const) {
      mkdirSync(at(`image/overlay2/layerdb/sha256/${name}`));
      writeFileSync(at(`image/overlay2/layerdb/sha256/${name}/cache-id`), id);
    }
    session(`removing.${'1'.repeat(64)}-x-removing`);
    await reopen();
    expect(readdirSync(at('image/overlay2/layerdb/sha256'))).toEqual([]);
    expect(readdirSync(at('overlay2'))).toEqual(['l']);
    expect(readdirSync(at('overlay2/l'))).toEqual([]);
  });

  it('is handled even if a power cut removed the lock; an empty session is removed', async () => {
    overlay(A);
    session(`overlay2.${A}`);
    rmSync(at('layerstack/sessions/0123456789abcdef/lock'));
    mkdirSync(at('layerstack/sessions/begun'));
    await reopen();
    expect(readdirSync(at('overlay2'))).toEqual(['l']);
    expect(readdirSync(at('layerstack/sessions'))).toEqual([]);
  });

  it('may be temporary files, in the store and beside it', async () => {
    const beside = join(scratch, 'beside');
    mkdirSync(beside);
    const files = [
      'layerstack/names/.tmp-one-0-.stamp',
      'layerstack/names/.tmp-one-1-x',
      'containers/.tmp-two',
    ];
    for (const path of files) writeFileSync(at(path), '');
    for (const name of ['.tmp-out.tar1234', 'out.tar']) writeFileSync(join(beside, name), '');
    writeFileSync(at('layerstack/names/.tmp-other'), '');
    session();
    const announce = (token: string, text: string): void => {
      symlinkSync(text, at(`layerstack/sessions/0123456789abcdef/temporary.${token}`));
    };
    announce('1', 'layerstack/names/.tmp-one-');
    announce('2', 'containers/.tmp-two');
    announce('3', join(beside, '.tmp-out.tar1234'));
    announce('4', join(beside, 'out.tar')); // no temporary file is called so
    announce('5', 'nowhere/.tmp-gone');
    await reopen();
    for (const path of files) expect(existsSync(at(path))).toBe(false);
    expect(readdirSync(beside)).toEqual(['out.tar']);
    expect(readdirSync(at('layerstack/names'))).toEqual(['.tmp-other']);
    expect(readdirSync(at('layerstack/sessions'))).toEqual([]);
  });

  it('may be a container of which only names are left', async () => {
    for (const [name, id] of [
      ['made', 'cc'],
      ['again', 'cc'],
      ['other', 'dd'],
    ] as const)
      symlinkSync(id, at(`layerstack/names/${name}`));
    session('container.cc');
    await reopen();
    expect(readdirSync(at('layerstack/names'))).toEqual(['other']);
  });

  it('may be a directory that is being removed, whose short name has its old name', async () => {
    overlay(A);
    renameSync(at(`overlay2/${A}`), at(`overlay2/${A}-removing`));
    session(`overlay2.${A}`, `overlay2.${A}-removing`);
    await reopen();
    expect(readdirSync(at('overlay2'))).toEqual(['l']);
    expect(readdirSync(at('overlay2/l'))).toEqual([]);
  });

  it('may be nothing; unlocked scratch directories are removed', async () => {
    for (const name of ['.probe-dead00', '.probe-alive0']) mkdirSync(at(`${name}/a`), { recursive: true });
    await using alive = await holdFlock(at('.probe-alive0'), true);
    expect(alive).not.toBeNull();
    await reopen();
    expect(readdirSync(store).filter((name) => name.startsWith('.'))).toEqual(['.probe-alive0']);
  });

  it('is named by fsck, until the next writer', async () => {
    overlay(A);
    mkdirSync(at('.probe-dead00'));
    session(`overlay2.${A}`, 'container.cc', 'naming.dd', 'held.ee.0123');
    symlinkSync('containers/.tmp-x', at('layerstack/sessions/0123456789abcdef/temporary.1'));
    const paths = async (): Promise<string[]> => {
      await using reader = await Layerstack.open({ root: store, readOnly: true });
      const found: string[] = [];
      for await (const { code, path } of reader.fsck()) if (code === 'unfinished') found.push(path);
      return found.sort();
    };
    const named = [
      '.probe-dead00',
      'containers/.tmp-x',
      'containers/cc',
      'containers/dd',
      'containers/ee',
      `overlay2/${A}`,
    ];
    expect(await paths()).toEqual(named);
    expect(await paths()).toEqual(named);
    await (await Layerstack.open({ root: store })).close();
    expect(await paths()).toEqual([]);
  });

  it('may have files beside it that are not sessions', async () => {
    await (await Root.open(store)).close();
    writeFileSync(at('layerstack/sessions/note'), 'x');
    await using opened = await Layerstack.open({ root: store });
    expect(await opened.images.list()).toEqual([]);
    expect(existsSync(at('layerstack/sessions/note'))).toBe(true);
  });

  it('is never outside of the store, whatever its markers say', async () => {
    session('overlay2...', 'overlay2.', 'write-set.', 'nonsense', 'container...');
    const before = snapshot(store, ['layerstack/sessions']);
    await reopen();
    expect(snapshot(store, ['layerstack/sessions'])).toEqual(before);
  });

  it('stays marked while a file system is mounted in it, except at its own mount point', async () => {
    overlay(A);
    overlay(B);
    session(`overlay2.${A}`, `overlay2.${B}`);
    mkdirSync(at(`overlay2/${B}/merged`));
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', at(`overlay2/${B}/merged`)]);
    mkdirSync(at(`overlay2/${A}/inside`));
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', at(`overlay2/${A}/inside`)]);
    await reopen();
    expect(readdirSync(at('layerstack/sessions/0123456789abcdef'))).toContain(`overlay2.${A}`);
    expect(readdirSync(at('overlay2')).sort()).toEqual([A, 'l'].sort());
    execFileSync('umount', [at(`overlay2/${A}/inside`)]);
    await reopen();
    expect(readdirSync(at('overlay2'))).toEqual(['l']);
    expect(readdirSync(at('layerstack/sessions'))).toEqual([]);
  });
});

describe('a full disk', () => {
  let volume: Volume;

  beforeEach(async () => {
    volume = await makeVolume('ext4', { sizeMiB: 32 });
    store = join(volume.path, 'store');
  });

  afterEach(async () => {
    await volume.unmount();
  });

  it('during staging is reported as such, and leaves nothing', async () => {
    const root = await Root.open(store);
    const layers = new LayerStore(root);
    const small = layerTar('small');
    await layers.publish([[await layers.stage(chunks(small), { limits })]]);
    const before = snapshot(store, ['layerstack/sessions']);
    await expect(
      layers.stage(chunks(bigTar(48 << 20), 1 << 20), { limits, name: 'big' }),
    ).rejects.toMatchObject({
      code: 'ERR_NO_SPACE',
      kind: 'unavailable',
      cause: expect.objectContaining({ code: 'ENOSPC' }) as Error,
    });
    expect(snapshot(store, ['layerstack/sessions'])).toEqual(before);
    expect((await layers.get(chainIds([diffIdOf(small)])[0] as never)).size).toBe(5);
    await root.close();
    await expectClean(root);
  });

  it('during publishing is reported as such, and the staged layers can be discarded', async () => {
    const root = await Root.open(store);
    const layers = new LayerStore(root);
    const staged = await Promise.all(
      ['one', 'two'].map((name) => layers.stage(chunks(layerTar(name)), { limits })),
    );
    // Leaves no block: new directories and files of more than an inode's worth need one.
    execFileSync('sh', ['-c', `dd if=/dev/zero of=${volume.path}/fill bs=4k 2>/dev/null || true; sync`]);
    await expect(layers.publish([staged])).rejects.toMatchObject({ code: 'ERR_NO_SPACE' });
    for (const layer of staged) await layers.discard(layer);
    expect(readdirSync(at('image/overlay2/layerdb/sha256'))).toEqual([]);
    await root.close();
    execFileSync('rm', [join(volume.path, 'fill')]);
    const again = await Root.open(store);
    expect(await expectClean(again)).toEqual([]);
    await again.close();
  });

  it('is reported even if no store fits', async () => {
    execFileSync('sh', ['-c', `dd if=/dev/zero of=${volume.path}/fill bs=4k 2>/dev/null || true; sync`]);
    await expect(Root.open(store)).rejects.toMatchObject({ code: 'ERR_NO_SPACE' });
    expect(readdirSync(volume.path).sort()).toEqual(['fill', 'lost+found']);
  });
});
