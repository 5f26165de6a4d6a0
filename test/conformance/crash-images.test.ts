/**
 * Commands that change images, killed at their system calls: before the next writer every reader sees the old
 * state or the new one; the next writer keeps that state and leaves no leftovers; and so does a dockerd that
 * opens the root first.
 */
import { cpSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import type { ImageID } from '../../src/core/digest.ts';
import { OriginalManifests } from '../../src/image/original-manifests.ts';
import { Changes } from '../../src/system/changes.ts';
import { Layout } from '../../src/system/layout.ts';
import { defaultLogger } from '../../src/system/log.ts';
import { Dockerd } from '../support/dockerd.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { run } from '../support/process.ts';
import { Registry } from '../support/registry.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { chunks, archiveOfMembers, TestStore, IMAGE, LAYERS } from '../support/test-store.ts';

/** strace counts them in each thread. The first thread that makes its n-th call ends the process. */
const CALLS = 'renameat,renameat2,unlinkat,mkdirat';
const MAX_CALLS = 200;
const EPOCH = { SOURCE_DATE_EPOCH: '1700000000' };

const archive = (file: string, reference: string | null): Buffer =>
  archiveOfMembers([...LAYERS, [{ name: file, content: file }]], {}, reference);

describe.runIf(havePeers('strace'))('images, killed at any step', () => {
  let scratch: string;
  /** Stores that the commands start from. */
  let full: string;
  let empty: string;
  /** A store with packed images, and a container on one of them. */
  let packed: string;
  /** The same, with changes in the container. */
  let changed: string;
  let files: string;

  beforeAll(async () => {
    scratch = makeScratch('crash-images');
    full = join(scratch, 'full');
    empty = join(scratch, 'empty');
    files = join(scratch, 'files');
    await (await Layerstack.open({ root: empty })).close();
    const fixture = await TestStore.build();
    await fixture.store.images.load(chunks(archive('other', 'other:1')));
    await fixture.store.images.load(chunks(archive('third', 'third:1')));
    await fixture.store.images.tag('other:1', 'again:1');
    const mount = await fixture.store.containers.mount(
      await fixture.store.containers.create(IMAGE, { name: 'build' }),
    );
    writeFileSync(join(mount.path, 'new'), 'content');
    cpSync(join(mount.path, 'house'), files, { recursive: true });
    await mount.unmount();
    const save = await run(process.execPath, [
      ...new LayerstackCli(fixture.root).argv(
        'save',
        '-o',
        join(scratch, 'all.tar'),
        IMAGE,
        'other:1',
        'again:1',
      ),
    ]);
    expect(save.stderr).toBe('');
    await fixture.store.close();
    copy(fixture.root, full);
    await fixture[Symbol.asyncDispose]();
    packed = join(scratch, 'packed');
    copy(empty, packed);
    const cli = new LayerstackCli(packed);
    await cli.run('load', '--packed', '-i', join(scratch, 'all.tar'));
    await cli.run('create', '--name', 'build', 'other:1');
    changed = join(scratch, 'changed');
    copy(packed, changed);
    await new LayerstackCli(changed).run('cp', files, 'build:/new');
  });

  afterAll(() => dropScratch(scratch));

  function copy(from: string, to: string): void {
    rmSync(to, { recursive: true, force: true });
    cpSync(from, to, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
  }

  /**
   * Returns the output of `images -a`, `inspect`, `history` and `containers -a`, and the manifests of pulled
   * images.
   */
  async function shown(root: string, readOnly: boolean): Promise<unknown> {
    const store = await Layerstack.open({ root, readOnly });
    try {
      const images = await store.images.list({ all: true });
      const told = images.map(async ({ Id, RepoTags, RepoDigests, Size, Form }) => {
        const { Metadata, ParentId } = { ParentId: '', ...(await store.images.inspect(Id)) };
        const isDated = !JSON.stringify(Metadata).includes('"0001-');
        return [Id, RepoTags, RepoDigests, Size, Form, ParentId, isDated, await store.images.history(Id)];
      });
      const containers = await store.containers.list();
      const layout = new Layout(root);
      const manifests = new OriginalManifests({ layout, changes: new Changes(layout, defaultLogger) });
      const documents = await Promise.all(
        images.map(async ({ Id }) => (await manifests.manifests(Id as ImageID)).map(({ digest }) => digest)),
      );
      return {
        images: await Promise.all(told),
        documents,
        containers: containers.map(({ id, name }) => [id, name]),
      };
    } finally {
      await store.close();
    }
  }

  function left(root: string): string[] {
    const list = (path: string): string[] => {
      const directory = join(root, path);
      return existsSync(directory) ? readdirSync(directory).map((name) => `${path}/${name}`) : [];
    };
    const { length } = list('image/overlay2/layerdb/sha256');
    return [
      ...['sessions', 'unused', 'changes'].flatMap((name) => list(`layerstack/${name}`)),
      ...list('layerstack/packed/layers').filter((path) => path.includes('/.tmp-')),
      ...list('layerstack/packed/lowers'),
      ...list('image/overlay2/layerdb/tmp'),
      ...list('image/overlay2').filter((path) => path.includes('/.tmp-')),
      ...list('image/overlay2/imagedb/content/sha256').filter((path) => path.includes('/.tmp-')),
      // One directory for each layer, two for each container, and `l` with a short name for each of them.
      ...(list('overlay2').length === length + 2 * list('containers').length + 1 ? [] : list('overlay2')),
      ...(list('overlay2/l').length === list('overlay2').length - 1 ? [] : list('overlay2/l')),
    ];
  }

  /** Returns the number of layers. A layer has one form. */
  function stored(root: string): number {
    const count = (path: string): number =>
      existsSync(join(root, path)) ? readdirSync(join(root, path)).length : 0;
    return count('image/overlay2/layerdb/sha256') + count('layerstack/packed/layers');
  }

  function kill(
    root: string,
    calls: string,
    step: number,
    words: readonly string[],
  ): Promise<{ status: number | null }> {
    const inject = `inject=${calls}:signal=KILL:when=${String(step)}`;
    return run(
      'strace',
      [
        ...['-f', '-qq', '-o', '/dev/null', '-e', `trace=${calls}`, '-e', inject],
        process.execPath,
        ...new LayerstackCli(root).argv(...words),
      ],
      { env: { ...process.env, ...EPOCH } },
    );
  }

  /** Kills the command at step 1, 1 + `stride`, ... until it ends by itself. */
  async function everyStep(start: string, words: readonly string[], stride = 2): Promise<void> {
    const root = join(scratch, 'store');
    const layers = new Set<number>();
    copy(start, root);
    const old = await shown(root, true);
    const whole = await run(process.execPath, new LayerstackCli(root).argv(...words), {
      env: { ...process.env, ...EPOCH },
    });
    expect(whole.stderr).not.toContain('ERR_');
    const done = await shown(root, true);
    expect(done).not.toEqual(old);
    layers.add(stored(root));
    layers.add(stored(start));
    for (let step = 1; step < MAX_CALLS; step += stride) {
      copy(start, root);
      const { status } = await kill(root, CALLS, step, words);
      const where = `${words.join(' ')}, killed at step ${String(step)}`;
      const found = await shown(root, true);
      expect([old, done], where).toContainEqual(found);
      expect(await shown(root, false), where).toEqual(found);
      expect(left(root), where).toEqual([]);
      expect(layers, where).toContain(stored(root));
      if (status === 0) return;
    }
    throw new Error('the command never ended by itself');
  }

  test('load: all images of the archive with all their names, or none', async () => {
    await everyStep(empty, ['load', '-i', join(scratch, 'all.tar')]);
  });

  test('import: the image with its name, or none', async () => {
    await everyStep(empty, ['import', files, 'made:1'], 3);
  });

  test('commit: the image with its name and its parent, or none', async () => {
    await everyStep(full, ['commit', 'build', 'other:1'], 3);
  });

  test('tag: the name and its time, or neither', async () => {
    await everyStep(full, ['tag', IMAGE, 'other:1'], 3);
  });

  test('rmi: the image with all its names, or nothing of it', async () => {
    await everyStep(full, ['rmi', 'third:1'], 3);
  });

  test('prune: all images that it removes, or none of them', async () => {
    await everyStep(full, ['prune', '--all', '--force'], 3);
  });

  test('load --packed: all images of the archive with all their names, or none', async () => {
    await everyStep(empty, ['load', '--packed', '-i', join(scratch, 'all.tar')], 3);
  });

  test('import --packed: the image with its name, or none', async () => {
    await everyStep(empty, ['import', '--packed', files, 'made:1'], 3);
  });

  test('commit of a container on a packed image: the image with its name and its parent, or none', async () => {
    await everyStep(changed, ['commit', 'build', 'made:1'], 3);
  });

  test('settle: the image in one form or the other, and its container on it', async () => {
    await everyStep(packed, ['settle', 'other:1'], 3);
  });

  test('pack: the images in one form or the other, and their container on them', async () => {
    await everyStep(full, ['pack', IMAGE, 'other:1', 'third:1'], 3);
  });

  test('pack of one image: the layers that others have stay', async () => {
    await everyStep(full, ['pack', 'other:1'], 6);
  });

  test('rmi of a packed image: the image with all its names, or nothing of it', async () => {
    await everyStep(packed, ['rmi', IMAGE], 3);
  });

  test.runIf(havePeers('docker-registry'))(
    'pull: the image with its names and its manifest, or none',
    async () => {
      await using registry = await Registry.start();
      const name = `${registry.host}/other:1`;
      const source = join(scratch, 'source');
      copy(full, source);
      const cli = new LayerstackCli(source);
      await cli.run('tag', 'other:1', name);
      await cli.run('push', name);
      await everyStep(empty, ['pull', name], 3);
      await everyStep(empty, ['pull', '--keep-blobs', name], 3);
      await everyStep(empty, ['pull', '--packed', name], 3);
    },
  );

  test.runIf(havePeers('dockerd', 'docker'))(
    'a dockerd that comes before the next writer sees the old state or the new one, which is kept',
    async () => {
      const root = join(scratch, 'docker');
      const listed = async (): Promise<string[]> => {
        const daemon = await Dockerd.start(root);
        try {
          const format = '{{.ID}} {{.Repository}}:{{.Tag}}';
          const text = await daemon.docker('images', '-a', '--no-trunc', '--format', format);
          return text.split('\n').filter(Boolean).sort();
        } finally {
          await daemon.stop();
        }
      };
      const ours = async (): Promise<string[]> => {
        const store = await Layerstack.open({ root });
        const images = await store.images.list({ all: true });
        await store.close();
        return images.flatMap(({ Id, RepoTags }) => (RepoTags ?? []).map((tag) => `${Id} ${tag}`)).sort();
      };
      const words = ['import', files, 'made:1'];
      const seen = new Set<number>();
      for (let step = 1; step < MAX_CALLS; step++) {
        copy(empty, root);
        // The renames: of the layer, of the pending change, and of each file to its place.
        const { status } = await kill(root, 'renameat,renameat2', step, words);
        const found = await listed();
        expect(found.length, `step ${String(step)}`).toBeLessThan(2);
        if (found[0] !== undefined) expect(found[0]).toMatch(/ made:1$/);
        expect(await ours()).toEqual(found);
        expect(left(root)).toEqual([]);
        seen.add(found.length);
        if (status === 0) break;
      }
      expect([...seen].sort()).toEqual([0, 1]);
    },
  );
});
