/**
 * A disk that becomes full, and a reader that goes away, on the way out of the store: clear errors, nothing
 * lost or left.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { ociArchive } from '../support/archives.ts';
import { rejection } from '../support/errors.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { makeVolume, type Volume } from '../support/loop.ts';
import { run } from '../support/process.ts';
import { mountsBelow } from '../support/scratch.ts';
import { dumpStore, storeChanges } from '../support/store-dump.ts';
import { tar } from '../support/tar.ts';
import { chunks, archiveOfMembers, TestStore, IMAGE, LAYERS } from '../support/test-store.ts';

const MIB = 1 << 20;
const LARGE = Buffer.alloc(24 * MIB, 'large ');

describe('a full disk', () => {
  let volume: Volume;
  let root: string;
  let store: Layerstack;

  beforeEach(async () => {
    volume = await makeVolume('ext4', { sizeMiB: 48 });
    root = join(volume.path, 'store');
    store = await Layerstack.open({ root });
    await store.images.load(chunks(archiveOfMembers(LAYERS)));
  });

  afterEach(async () => {
    await store.close();
    await volume.unmount();
  });

  /** What fails leaves the store as it was, its sessions' marks included, and usable. */
  async function failsWithoutTrace(work: () => Promise<unknown>): Promise<void> {
    const before = await dumpStore(root);
    expect(await rejection(work())).toMatchObject({
      code: 'ERR_NO_SPACE',
      kind: 'unavailable',
      message: expect.stringContaining(root) as string,
      cause: expect.objectContaining({ code: 'ENOSPC' }) as Error,
    });
    expect(await storeChanges(root, before)).toEqual([]);
    await store.close();
    expect(readdirSync(join(root, 'layerstack/sessions'))).toEqual([]);
    store = await Layerstack.open({ root });
    expect(await storeChanges(root, before)).toEqual([]);
    expect(await store.images.list()).toHaveLength(1);
  }

  test('during a commit leaves nothing', async () => {
    const mount = await store.containers.mount(await store.containers.create(IMAGE, { name: 'build' }));
    writeFileSync(join(mount.path, 'large'), LARGE);
    await failsWithoutTrace(() => store.containers.commit('build', { reference: 'never:1' }));
    expect(readFileSync(join(mount.path, 'large')).equals(LARGE)).toBe(true);
    await store.containers.unmount('build');
    expect(await store.containers.diff('build')).toEqual([{ kind: 'A', path: '/large' }]);
  });

  test('during an import of a tar or a directory leaves nothing', async () => {
    const directory = join(volume.path, 'directory');
    mkdirSync(directory);
    writeFileSync(join(directory, 'large'), LARGE);
    const bytes = tar([
      { name: 'one', content: LARGE },
      { name: 'two', content: LARGE },
    ]);
    await failsWithoutTrace(() => store.images.import(chunks(bytes), { reference: 'never:1' }));
    await failsWithoutTrace(() => store.images.import(directory, { reference: 'never:1' }));
  });

  test('during a load or an import that packs leaves nothing', async () => {
    const large = archiveOfMembers(['a', 'b'].map((name) => [{ name, content: randomBytes(24 * MIB) }]));
    await failsWithoutTrace(() => store.images.load(chunks(large), { form: 'packed' }));
    const bytes = tar([{ name: 'one', content: randomBytes(48 * MIB) }]);
    const options = { reference: 'never:1', form: 'packed' } as const;
    await failsWithoutTrace(() => store.images.import(chunks(bytes), options));
    expect(readdirSync(join(root, 'layerstack/packed'), { recursive: true })).not.toContainEqual(
      expect.stringContaining('layer.tar'),
    );
  });

  test('while an archive is mounted in place leaves nothing', async () => {
    // Its layer is small, and inflates to more than the disk has.
    const layer = layerOf({ large: '\0'.repeat(64 * MIB) });
    const path = join(volume.path, 'app.tar');
    writeFileSync(path, tar(ociArchive([imageOf([layer], { tags: ['large:1'] })])));
    expect(await rejection(store.archives.mount(path))).toMatchObject({ code: 'ERR_NO_SPACE' });
    expect(mountsBelow(volume.path)).toEqual([volume.path]);
    expect(await store.archives.list()).toEqual([]);
  });

  test('fails commands only with ERR_NO_SPACE', async () => {
    await store.containers.create(IMAGE, { name: 'build' });
    await store.images.tag(IMAGE, 'second:1');
    await store.close();
    // Leaves no block, and no inode: new directories and names need one.
    const fill = join(volume.path, 'fill');
    mkdirSync(fill);
    await run('sh', [
      '-c',
      'dd if=/dev/zero of="$1/blocks" bs=4k; i=0; while : > "$1/$i"; do i=$((i+1)); done',
      'sh',
      fill,
    ]);
    const cli = new LayerstackCli(root);
    for (const words of [
      ['rmi', 'second:1'],
      ['tag', IMAGE, 'third:1'],
      ['create', IMAGE],
      ['commit', 'build'],
      ['mount', 'build'],
      ['rm', 'build'],
      ['prune', '--all', '--force'],
    ]) {
      const { status, stderr } = await cli.try(words);
      if (status !== 0)
        expect([words, stderr]).toEqual([
          words,
          expect.stringMatching(/^(?:layerstack: [^E].*\n)*layerstack: ERR_NO_SPACE: .*\n$/),
        ]);
    }
    await run('rm', ['-r', fill]);
    store = await Layerstack.open({ root });
    expect(await store.images.list()).toHaveLength(1);
  });

  test('during a save or an export to a file leaves nothing', async () => {
    const ample = await TestStore.build(
      archiveOfMembers([...LAYERS, [{ name: 'large', content: Buffer.alloc(64 * MIB, 'more ') }]]),
    );
    try {
      const { id } = await ample.store.containers.create(IMAGE, { name: 'build' });
      await (await ample.store.containers.mount(id)).unmount(); // leaves overlayfs's own marks, once
      const file = join(volume.path, 'archive.tar');
      const before = await dumpStore(ample.root);
      writeFileSync(file, 'what was there');
      for (const words of [
        ['save', '-o', file, IMAGE],
        ['export', '-o', file, id],
      ]) {
        const ran = await new LayerstackCli(ample.root).try(words);
        expect(ran).toMatchObject({ status: 1, stdout: '' });
        expect(ran.stderr).toMatch(/^layerstack: ERR_NO_SPACE: no space left for .*archive\.tar: .*full\n$/);
        expect(readFileSync(file, 'utf8')).toBe('what was there');
        expect(readdirSync(volume.path).sort()).toEqual(['archive.tar', 'lost+found', 'store']);
      }
      const words = [process.execPath, ...new LayerstackCli(ample.root).argv('save', IMAGE)];
      const redirected = await run('sh', ['-c', 'file=$1; shift; exec "$@" >"$file"', 'sh', file, ...words]);
      expect(redirected.status).toBe(1);
      expect(redirected.stderr).toMatch(/^layerstack: ERR_NO_SPACE: no space left where stdout goes/);
      expect(await storeChanges(ample.root, before)).toEqual([]);
      expect(mountsBelow(ample.root)).toEqual([]);
    } finally {
      await ample[Symbol.asyncDispose]();
    }
  });
});

describe('a reader that goes away', () => {
  test.each(['save', 'export'])('in the middle of %s: a clean end, nothing left', async (verb) => {
    const content = Buffer.alloc(32 * MIB, 'more ');
    await using fixture = await TestStore.build(archiveOfMembers([...LAYERS, [{ name: 'large', content }]]));
    await fixture.store.containers.create(IMAGE, { name: 'build' });
    await (await fixture.store.containers.mount('build')).unmount(); // leaves overlayfs's own marks, once
    await fixture.store.close();
    const before = await dumpStore(fixture.root);
    const words = new LayerstackCli(fixture.root).argv(verb, verb === 'save' ? IMAGE : 'build');
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    const closed = once(child, 'close');
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const [first] = (await once(child.stdout, 'data')) as [Buffer];
    expect(first.length).toBeGreaterThan(0);
    child.stdout.destroy();
    expect((await closed)[0]).not.toBe(0);
    expect(said).toMatch(
      /^layerstack: ERR_ABORTED: the reader of stdout closed it before the archive was complete\n$/,
    );
    expect(await storeChanges(fixture.root, before)).toEqual([]);
    expect(mountsBelow(fixture.root)).toEqual([]);
    expect(readdirSync(fixture.at('layerstack/sessions'))).toEqual([]);
    expect(readdirSync(fixture.at('layerstack/mounts'))).toEqual([]);
  });
});
