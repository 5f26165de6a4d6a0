/** Images of a directory and, below it, another image: made without a container. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  cpSync,
  existsSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { digestOf, hexOf } from '../../src/core/digest.ts';
import type { ProgressEvent } from '../../src/core/progress.ts';
import { native } from '../../src/system/native.ts';
import { CAPABILITY } from '../support/edits.ts';
import { rejection } from '../support/errors.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { dumpStore, storeChanges } from '../support/store-dump.ts';
import { tar } from '../support/tar.ts';
import { compareTrees, dumpTree, mapTree, type Tree } from '../support/tree.ts';
import { archiveOfMembers, TestStore, IMAGE, LAYERS } from '../support/test-store.ts';

let fixture: TestStore;
let directory: string;

beforeEach(async () => {
  fixture = await TestStore.build(
    archiveOfMembers(LAYERS, { Cmd: ['/bin/true'], Env: ['A=base', 'B=base'], WorkingDir: '/house' }),
  );
  directory = join(fixture.scratch, 'directory');
  mkdirSync(directory);
});

afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

/** The directory of an image's topmost layer. */
async function topOf(image: string): Promise<string> {
  return (await fixture.store.images.inspect(image)).GraphDriver.Data?.['UpperDir'] ?? '';
}

/** But for the directory itself, which is not in the layer. */
const inside = (tree: Tree): Tree => mapTree(tree, (entry) => (entry.path === '.' ? undefined : entry));

const overlays = (): string[] => readdirSync(fixture.at('overlay2')).filter((name) => name !== 'l');

describe('import on a base', () => {
  test('shares the layers of the base, and inherits its config', async () => {
    writeFileSync(join(directory, 'added'), 'added\n');
    mkdirSync(join(directory, 'house'));
    writeFileSync(join(directory, 'house/concrete'), 'mine\n');
    const before = overlays();
    const id = await fixture.store.images.import(directory, {
      base: IMAGE,
      reference: 'derived:1',
      author: 'A <a@example.org>',
      message: 'by hand',
      changes: ['ENV B=mine C=$A', 'LABEL team=x'],
      sourceDateEpoch: 1_700_000_000,
    });
    const [base, app] = [
      await fixture.store.images.inspect(IMAGE),
      await fixture.store.images.inspect('derived:1'),
    ];
    expect(app).toMatchObject({
      Id: id,
      Parent: base.Id,
      Author: 'A <a@example.org>',
      Comment: 'by hand',
      Created: '2023-11-14T22:13:20Z',
      Architecture: base.Architecture,
      Config: {
        Cmd: ['/bin/true'],
        Env: ['A=base', 'B=mine', 'C=base'],
        WorkingDir: '/house',
        Labels: { team: 'x' },
      },
    });
    expect(app.RootFS.Layers?.slice(0, -1)).toEqual(base.RootFS.Layers);
    expect(overlays()).toHaveLength(before.length + 1);
    expect(before.every((name) => overlays().includes(name))).toBe(true);

    await using container = await fixture.store.containers.create('derived:1');
    await using mount = await fixture.store.containers.mount(container);
    const text = (path: string): string => readFileSync(join(mount.path, path), 'utf8');
    expect([text('added'), text('house/concrete'), text('house/marble')]).toEqual([
      'added\n',
      'mine\n',
      'marble\n',
    ]);
    const [step] = await fixture.store.images.history('derived:1');
    expect(step).toMatchObject({ Comment: 'by hand', CreatedBy: '' });
    // The base is its parent.
    expect(await rejection(fixture.store.images.remove(base.Id))).toMatchObject({ code: 'ERR_IMAGE_IN_USE' });
  });

  test('packs everything that a layer can hold', async () => {
    const at = (...path: string[]): string => join(directory, ...path);
    mkdirSync(at('deep/er'), { recursive: true, mode: 0o750 });
    writeFileSync(at('deep/one'), 'one', { mode: 0o4755 });
    linkSync(at('deep/one'), at('deep/er/two'));
    symlinkSync('/etc/shadow', at('absolute'));
    symlinkSync('../../../../../../etc', at('climbing'));
    writeFileSync(at('ping'), 'ping', { mode: 0o755 });
    await native.setXattr(at('ping'), 'security.capability', CAPABILITY);
    await native.setXattr(at('deep'), 'user.colour', Buffer.from('blue'));
    await native.makeNode(at('zero'), 0o020666, 1, 5);
    await native.makeNode(at('pipe'), 0o010640, 0, 0);
    execFileSync('chown', ['-hR', '4711:4712', directory]);
    await native.setXattr(at('ping'), 'security.capability', CAPABILITY);
    const sparse = openSync(at('sparse'), 'w');
    ftruncateSync(sparse, 64 * 1024 * 1024);
    writeSync(sparse, 'end', 32 * 1024 * 1024);
    closeSync(sparse);
    execFileSync('touch', ['-h', '-d', '@1000000000.123456789', at('absolute'), at('pipe'), at('deep')]);
    await fixture.store.images.import(directory, { base: IMAGE, reference: 'derived:1' });
    const top = await topOf('derived:1');
    expect(compareTrees(inside(await dumpTree(top)), inside(await dumpTree(directory)))).toEqual([]);
    expect(lstatSync(join(top, 'sparse')).blocks * 512).toBeLessThan(1024 * 1024);
  });

  test('removes nothing of the base, even with names and devices that are marks in a layer', async () => {
    mkdirSync(join(directory, 'house'));
    await native.setXattr(join(directory, 'house'), 'trusted.overlay.opaque', Buffer.from('y'));
    await native.makeNode(join(directory, 'house/rebar'), 0o020000, 0, 0);
    writeFileSync(join(directory, 'house/.wh.marble'), '');
    writeFileSync(join(directory, 'house/.wh..wh..opq'), '');
    mkdirSync(join(directory, '.wh.etc'));
    writeFileSync(join(directory, '.wh.etc/inside'), '');
    writeFileSync(join(directory, 'kept'), '');
    const events: ProgressEvent[] = [];
    await fixture.store.images.import(directory, {
      base: IMAGE,
      reference: 'derived:1',
      onProgress: (event) => events.push(event),
    });
    expect(
      events.flatMap((event) => (event.type === 'warning' ? [`${event.code} ${event.member ?? ''}`] : [])),
    ).toEqual([
      'whiteout-name .wh.etc',
      'whiteout-name house/.wh..wh..opq',
      'whiteout-name house/.wh.marble',
      'whiteout-device house/rebar',
    ]);
    expect([...(await dumpTree(await topOf('derived:1'))).keys()]).toEqual(['.', 'house', 'kept']);
    await using container = await fixture.store.containers.create('derived:1');
    await using mount = await fixture.store.containers.mount(container);
    expect(readdirSync(join(mount.path, 'house')).sort()).toEqual(['concrete', 'marble', 'rebar']);
    expect(existsSync(join(mount.path, 'etc/passwd'))).toBe(true);
  });

  test('leaves out sockets, and mounts inside', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(directory, 'socket'), resolve));
    linkSync(join(directory, 'socket'), join(directory, 'kept-socket'));
    server.close();
    mkdirSync(join(directory, 'mounted'));
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', join(directory, 'mounted')]);
    const events: ProgressEvent[] = [];
    try {
      writeFileSync(join(directory, 'mounted/secret'), 'secret');
      await fixture.store.images.import(directory, {
        base: IMAGE,
        reference: 'derived:1',
        onProgress: (event) => events.push(event),
      });
    } finally {
      execFileSync('umount', [join(directory, 'mounted')]);
    }
    expect([...(await dumpTree(await topOf('derived:1'))).keys()]).toEqual(['.', 'mounted']);
    expect(events.filter(({ type }) => type === 'warning')).toMatchObject([
      { code: 'socket', member: 'kept-socket' },
    ]);
  });

  test('gives the same image for the same files, in whatever order they were made', async () => {
    for (const name of ['b', 'a', 'c']) writeFileSync(join(directory, name), name);
    const other = join(fixture.scratch, 'other');
    mkdirSync(other, { mode: 0o700 });
    for (const name of ['c', 'b', 'a']) cpSync(join(directory, name), join(other, name));
    const options = { base: IMAGE, sourceDateEpoch: 1_000_000 };
    const id = await fixture.store.images.import(directory, options);
    expect(await fixture.store.images.import(other, options)).toBe(id);
    expect(await fixture.store.images.import(directory, { ...options, sourceDateEpoch: 2_000_000 })).not.toBe(
      id,
    );
  });

  test('of an empty directory adds no layer', async () => {
    const before = overlays();
    await fixture.store.images.import(directory, {
      base: IMAGE,
      reference: 'same:1',
      changes: ['USER mason'],
    });
    const [base, same] = [
      await fixture.store.images.inspect(IMAGE),
      await fixture.store.images.inspect('same:1'),
    ];
    expect(same.RootFS).toEqual(base.RootFS);
    expect(same.Config).toMatchObject({ User: 'mason', Cmd: ['/bin/true'] });
    expect(overlays()).toEqual(before);
  });

  test('accepts a tar, whose whiteouts remove files of the base', async () => {
    const layer = join(fixture.scratch, 'layer.tar');
    writeFileSync(
      layer,
      tar([
        { name: 'house/.wh.rebar', content: '' },
        { name: 'new', content: 'new' },
      ]),
    );
    await fixture.store.images.import(layer, { base: IMAGE, reference: 'derived:1' });
    await using container = await fixture.store.containers.create('derived:1');
    await using mount = await fixture.store.containers.mount(container);
    expect(readdirSync(join(mount.path, 'house')).sort()).toEqual(['concrete', 'marble']);
  });

  test('reports its progress', async () => {
    const file = openSync(join(directory, 'large'), 'w');
    const block = Buffer.alloc(1024 * 1024, 'x');
    for (let i = 0; i < 200; i++) writeSync(file, block);
    closeSync(file);
    const events: ProgressEvent[] = [];
    await fixture.store.images.import(directory, { base: IMAGE, onProgress: (event) => events.push(event) });
    const progress = events.flatMap((event) => (event.type === 'progress' ? [event.current] : []));
    expect(progress.length).toBeGreaterThan(1);
    expect(progress).toEqual([...progress].sort((a, b) => a - b));
    expect(progress.at(-1)).toBeGreaterThan(200 * 1024 * 1024);
    expect(events.filter((event) => event.type === 'progress' && event.total !== undefined)).toEqual([]);
  });

  test('leaves nothing after a failure', async () => {
    writeFileSync(join(directory, 'file'), 'x'.repeat(10_000));
    const before = await dumpStore(fixture.root);
    const refuses = async (code: string, options: object, source: string = directory): Promise<void> => {
      expect(await rejection(fixture.store.images.import(source, { base: IMAGE, ...options }))).toMatchObject(
        {
          code,
        },
      );
    };
    await refuses('ERR_IMAGE_NOT_FOUND', { base: 'nothing:1' });
    await refuses('ERR_REFERENCE_INVALID', { base: 'NOT A NAME' });
    await refuses('ERR_INVALID_ARGUMENT', { platform: 'linux/amd64' });
    await refuses('ERR_INVALID_ARGUMENT', { changes: ['FROM x'] });
    await refuses('ERR_INVALID_ARGUMENT', { bass: IMAGE });
    await refuses('ERR_INVALID_ARGUMENT', {}, join(directory, 'nothing'));
    await refuses('ERR_LAYER_INVALID', {}, join(directory, 'file'));
    await refuses('ERR_LIMIT_EXCEEDED', { maxBytes: 5000 });
    await refuses('ERR_ABORTED', { signal: AbortSignal.abort() });
    for (const source of [fixture.root, fixture.scratch, '/']) {
      if (lstatSync(source).dev !== lstatSync(fixture.root).dev) continue;
      await refuses('ERR_INVALID_ARGUMENT', {}, source);
    }
    expect(await storeChanges(fixture.root, before)).toEqual([]);
  });

  test('is stopped by its signal, and leaves nothing', async () => {
    const file = openSync(join(directory, 'large'), 'w');
    ftruncateSync(file, 1024 ** 3);
    for (let i = 0; i < 64; i++) writeSync(file, Buffer.alloc(4 * 1024 * 1024, 'x'));
    closeSync(file);
    const before = await dumpStore(fixture.root);
    const stop = new AbortController();
    const importing = fixture.store.images.import(directory, {
      base: IMAGE,
      signal: stop.signal,
      onProgress: ({ type }) => {
        if (type === 'progress') stop.abort();
      },
    });
    expect(await rejection(importing)).toMatchObject({ code: 'ERR_ABORTED' });
    expect(await storeChanges(fixture.root, before)).toEqual([]);
  });

  test('fails if the base is removed meanwhile, and leaves nothing of either', async () => {
    const source = async function* (): AsyncGenerator<Uint8Array> {
      const bytes = tar([{ name: 'new', content: 'new' }]);
      yield bytes.subarray(0, 700);
      await fixture.store.images.remove(IMAGE, { force: true });
      yield bytes.subarray(700);
    };
    const { Id: id } = await fixture.store.images.inspect(IMAGE);
    const importing = fixture.store.images.import(source(), { base: IMAGE, reference: 'derived:1' });
    expect(await rejection(importing)).toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND' });
    expect(await rejection(fixture.store.images.inspect(id))).toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND' });
    await fixture.reopen();
    await fixture.store.images.prune();
    await fixture.reopen();
    expect(overlays()).toEqual([]);
  });

  test('reads nothing outside the directory, even if entries are swapped for links meanwhile', async () => {
    const secret = join(fixture.scratch, 'secret');
    mkdirSync(secret);
    writeFileSync(join(secret, 'file'), 'SECRET');
    for (let i = 0; i < 200; i++) {
      mkdirSync(join(directory, `d${i}`));
      writeFileSync(join(directory, `d${i}/file`), 'harmless'.repeat(100));
    }
    let going = true;
    const swapping = (async () => {
      for (let i = 0; going; i = (i + 1) % 200) {
        const path = join(directory, `d${i}`);
        renameSync(path, join(fixture.scratch, 'aside'));
        symlinkSync(secret, path);
        await nextTurn();
        rmSync(path);
        renameSync(join(fixture.scratch, 'aside'), path);
        writeFileSync(join(path, 'file'), i % 2 ? '' : 'harmless'.repeat(100));
      }
    })();
    let done = 0;
    for (let round = 0; round < 10; round++) {
      try {
        await fixture.store.images.import(directory, { base: IMAGE, reference: 'derived:1' });
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_UPPER_CHANGED' });
        continue;
      }
      done++;
      const contents = [...(await dumpTree(await topOf('derived:1'))).values()].flatMap(
        ({ sha256 }) => sha256 ?? [],
      );
      expect(contents.length).toBeGreaterThan(100);
      expect(contents).not.toContain(hexOf(digestOf('SECRET')));
    }
    going = false;
    await swapping;
    expect(done).toBeGreaterThan(0);
  });

  test('is an option of the verb', async () => {
    writeFileSync(join(directory, 'file'), 'x');
    writeFileSync(join(directory, '.wh.x'), '');
    const cli = new LayerstackCli(fixture.root);
    const ran = await cli.try([
      ...['import', '--base', IMAGE, '-a', 'me', '-m', 'why', '-c', 'USER mason', directory, 'derived:1'],
    ]);
    expect(ran.stderr).toMatch(/^layerstack: warning: .*removal of another in a layer: it is left out\n$/);
    expect(ran.stdout).toMatch(/^sha256:[0-9a-f]{64}\n$/);
    expect(await fixture.store.images.inspect('derived:1')).toMatchObject({
      Id: ran.stdout.trim(),
      Author: 'me',
      Comment: 'why',
      Config: { User: 'mason', Cmd: ['/bin/true'] },
    });
    expect((await cli.try(['import', '--base', 'no:1', directory])).stderr).toMatch(/ERR_IMAGE_NOT_FOUND/);
  });
});
