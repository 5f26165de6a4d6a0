/**
 * Loads, imports, commits and changes of names that fail, or whose process dies, at any of their steps: old
 * or new as a whole, and nothing left when the next writer has started.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { ImageStore } from '../../src/image/store.ts';
import { LayerStore } from '../../src/layer/store.ts';
import { rejection } from '../support/errors.ts';
import { FAULTS, interrupt } from '../support/interrupt.ts';
import { makeVolume } from '../support/loop.ts';
import { dumpStore, storeChanges } from '../support/store-dump.ts';
import { chunks, archiveOfMembers, TestStore, IMAGE, LAYERS } from '../support/test-store.ts';

const OTHER = archiveOfMembers([...LAYERS, [{ name: 'other', content: 'other' }]], {}, 'other:1');
const MAX_STEPS = 300;

/** What every command shows of the images. */
async function shown(root: string): Promise<unknown> {
  const store = await Layerstack.open({ root, readOnly: true });
  try {
    const images = await store.images.list({ all: true });
    return await Promise.all(
      images.map(async ({ Id, RepoTags, ParentId, Size }) => {
        const { Metadata } = await store.images.inspect(Id);
        const isDated = !JSON.stringify(Metadata).includes('"0001-');
        return [Id, RepoTags, ParentId, Size, isDated, await store.images.history(Id)];
      }),
    );
  } finally {
    await store.close();
  }
}

describe('interrupted at any step', () => {
  let fixture: TestStore;

  beforeEach(async () => {
    fixture = await TestStore.build();
    const id = await fixture.store.containers.create(IMAGE, { name: 'build' });
    const mount = await fixture.store.containers.mount(id);
    writeFileSync(join(mount.path, 'new'), 'content');
    await mount.unmount();
    await fixture.reopen();
  });

  afterEach(async () => {
    vi.restoreAllMocks();
    await fixture[Symbol.asyncDispose]();
  });

  /** Directories whose entries are of something under way, or of nothing. */
  function left(): string[] {
    const temporary = (path: string): string[] =>
      readdirSync(fixture.at(path)).filter((name) => name.startsWith('.tmp-'));
    return [
      ...['sessions', 'unused', 'changes']
        .flatMap((name) => listOrNone(`layerstack/${name}`))
        .concat(readdirSync(fixture.at('image/overlay2/layerdb/tmp'))),
      ...['image/overlay2', 'image/overlay2/imagedb/content/sha256'].flatMap(temporary),
      ...readdirSync(fixture.at('image/overlay2/layerdb/sha256')).filter((name) =>
        name.endsWith('-removing'),
      ),
      ...readdirSync(fixture.at('image/overlay2/imagedb/metadata/sha256')).flatMap((id) =>
        temporary(`image/overlay2/imagedb/metadata/sha256/${id}`),
      ),
    ];
  }

  function listOrNone(path: string): string[] {
    try {
      return readdirSync(fixture.at(path));
    } catch {
      return [];
    }
  }

  /**
   * Interrupts `work` at step 0, `stride`, 2 × `stride`, ... until it is through; `undo` makes the old state
   * again.
   */
  async function everyStep(
    work: (store: Layerstack) => Promise<unknown>,
    undo: (store: Layerstack) => Promise<unknown>,
    { error, dying, stride = 1 }: { error: Error; dying: boolean; stride?: number },
  ): Promise<void> {
    await work(fixture.store);
    await fixture.reopen();
    const done = await shown(fixture.root);
    await undo(fixture.store);
    await fixture.reopen();
    let before = await dumpStore(fixture.root);
    const old = await shown(fixture.root);
    for (let at = 0; at < MAX_STEPS; at += stride) {
      const reached = interrupt({ at, error, dying });
      const failed = await work(fixture.store).then(
        () => false,
        () => true,
      );
      if (dying) await fixture.store.close();
      vi.restoreAllMocks();
      const where = `step ${String(at)}`;
      const now = await shown(fixture.root);
      if (dying) expect([old, done], where).toContainEqual(now);
      else expect(now, where).toEqual(failed ? old : done);
      if (!dying) await fixture.store.close();
      fixture.store = await Layerstack.open({ root: fixture.root });
      expect(await shown(fixture.root), where).toEqual(now);
      await fixture.reopen(); // what was left is collected in the background of the one before
      expect(left(), where).toEqual([]);
      if (JSON.stringify(now) === JSON.stringify(old)) {
        expect(await changesSince(before), where).toEqual([]);
      } else {
        await undo(fixture.store);
        await fixture.reopen();
        before = await dumpStore(fixture.root);
      }
      if (!reached()) return;
    }
    throw new Error('it never ended by itself');
  }

  /** But for that names were written, and taken back. */
  async function changesSince(before: Awaited<ReturnType<typeof dumpStore>>): Promise<string[]> {
    const changes = await storeChanges(fixture.root, before);
    return changes.filter((change) => !change.startsWith('image/overlay2/repositories.json: mtime'));
  }

  const died = { error: new Error('died'), dying: true };
  const load = (store: Layerstack): Promise<unknown> => store.images.load(chunks(OTHER));
  const unload = (store: Layerstack): Promise<unknown> => store.images.remove('other:1');

  test('a load that dies leaves the image invisible or whole, and no layer', async () => {
    await everyStep(load, unload, { ...died, stride: 3 });
  });

  test.each(Object.entries(FAULTS))(
    'a load that meets %s leaves nothing, or succeeds; no layer stays',
    async (_, error) => {
      await everyStep(load, unload, { error, dying: false, stride: 4 });
    },
  );

  test('a commit that dies leaves the image invisible or whole, and no layer', async () => {
    const options = { reference: 'made:1', sourceDateEpoch: 1_700_000_000 };
    await everyStep(
      (store) => store.containers.commit('build', options),
      (store) => store.images.remove('made:1'),
      { ...died, stride: 3 },
    );
  });

  test('an import that dies leaves the image invisible or whole, and no layer', async () => {
    const directory = join(fixture.scratch, 'directory');
    mkdirSync(directory);
    writeFileSync(join(directory, 'file'), 'content');
    await everyStep(
      (store) => store.images.import(directory, { reference: 'made:1', sourceDateEpoch: 1_700_000_000 }),
      (store) => store.images.remove('made:1'),
      { ...died, stride: 3 },
    );
  });

  test('a removal that dies leaves the image whole with all its names, or removes it', async () => {
    await load(fixture.store);
    await fixture.store.images.tag('other:1', 'more:1');
    const [{ Id = '' } = {}] = (await fixture.store.images.list()).filter(({ RepoTags }) =>
      RepoTags?.includes('other:1'),
    );
    await everyStep(
      (store) => store.images.remove(Id, { force: true }),
      async (store) => {
        await load(store);
        await store.images.tag('other:1', 'more:1');
      },
      { ...died, stride: 3 },
    );
  });

  test('a name that moves while its process dies names the old image or the new one', async () => {
    await load(fixture.store);
    await everyStep(
      (store) => store.images.tag(IMAGE, 'other:1'),
      (store) => load(store),
      { ...died, stride: 2 },
    );
  });
});

describe('a load that heals a damaged layer and dies at any step', () => {
  let fixture: TestStore;

  beforeEach(async () => {
    fixture = await TestStore.build();
    await fixture.store.containers.create(IMAGE, { name: 'build' });
  });

  afterEach(async () => {
    vi.restoreAllMocks();
    await fixture[Symbol.asyncDispose]();
  });

  const layers = (): string[] => readdirSync(fixture.at('image/overlay2/layerdb/sha256'));
  const contentOf = (layer: string): string =>
    fixture.at(`overlay2/${fixture.text(`image/overlay2/layerdb/sha256/${layer}/cache-id`)}`);

  test.each([
    ['whose content is gone', (layer: string) => rmSync(join(contentOf(layer), 'diff'), { recursive: true })],
    [
      'whose DiffID is gone',
      (layer: string) => rmSync(fixture.at(`image/overlay2/layerdb/sha256/${layer}/diff`)),
    ],
  ])('%s leaves the image listed, and heals it when it is repeated', async (_, damage) => {
    const archive = archiveOfMembers(LAYERS, { Cmd: ['/bin/true'] });
    const overlays = readdirSync(fixture.at('overlay2')).length;
    const [layer = ''] = layers();
    for (let at = 0; at < MAX_STEPS; at += 2) {
      damage(layer);
      await fixture.reopen();
      const reached = interrupt({ at, error: new Error('died'), dying: true });
      await fixture.store.images.load(chunks(archive)).catch(() => undefined);
      await fixture.store.close();
      vi.restoreAllMocks();
      const where = `step ${String(at)}`;
      expect(layers(), where).toContain(layer);
      await fixture.reopen();
      expect(
        (await fixture.store.images.list()).map(({ RepoTags }) => RepoTags),
        where,
      ).toEqual([[IMAGE]]);
      await fixture.store.images.load(chunks(archive));
      await fixture.reopen();
      const found: string[] = [];
      for await (const { code, path } of fixture.store.fsck()) found.push(`${code} ${path}`);
      // What something may be mounted from stays.
      expect(
        found.filter((finding) => !finding.startsWith('overlay-orphan')),
        where,
      ).toEqual([]);
      const kept = found.filter((finding) => finding.startsWith('overlay-orphan')).length;
      expect(readdirSync(fixture.at('overlay2')).length - kept, where).toBe(overlays);
      for (const finding of found) rmSync(fixture.at(finding.split(' ')[1] ?? ''), { recursive: true });
      const mount = await fixture.store.containers.mount('build');
      expect(readdirSync(join(mount.path, 'house')), where).toContain('marble');
      await mount.unmount();
      if (!reached()) return;
    }
    throw new Error('it never ended by itself');
  });

  test('an old directory without content does not stay, even if a layer was stacked on it', async () => {
    const overlays = readdirSync(fixture.at('overlay2')).length;
    for (const layer of layers()) rmSync(join(contentOf(layer), 'diff'), { recursive: true });
    await fixture.store.images.load(chunks(archiveOfMembers(LAYERS, { Cmd: ['/bin/true'] })));
    await fixture.reopen();
    expect(readdirSync(fixture.at('overlay2'))).toHaveLength(overlays);
  });
});

describe('fsck of a store that no writer has opened since', () => {
  let fixture: TestStore;

  beforeEach(async () => {
    fixture = await TestStore.build();
  });

  afterEach(async () => {
    vi.restoreAllMocks();
    await fixture[Symbol.asyncDispose]();
  });

  async function codes(): Promise<string[]> {
    const store = await Layerstack.open({ root: fixture.root, readOnly: true });
    const found: string[] = [];
    for await (const { code, path } of store.fsck()) found.push(`${code} ${path}`);
    await store.close();
    return found;
  }

  test('names the layers of a load that died before its image was there', async () => {
    vi.spyOn(ImageStore.prototype, 'add').mockRejectedValue(new Error('died'));
    vi.spyOn(ImageStore.prototype, 'resume').mockResolvedValue();
    await fixture.store.images.load(chunks(OTHER)).catch(() => undefined);
    await fixture.store.close();
    vi.restoreAllMocks();
    const [top = ''] = readdirSync(fixture.at('layerstack/unused'));
    expect(await codes()).toEqual([`layer-unused image/overlay2/layerdb/sha256/${top}`]);
    await fixture.reopen();
    await fixture.reopen();
    expect(await codes()).toEqual([]);
    expect(readdirSync(fixture.at('image/overlay2/layerdb/sha256'))).toHaveLength(2);
  });

  test('removes them with repair', async () => {
    vi.spyOn(ImageStore.prototype, 'add').mockRejectedValue(new Error('died'));
    vi.spyOn(ImageStore.prototype, 'resume').mockResolvedValue();
    await fixture.store.images.load(chunks(OTHER)).catch(() => undefined);
    const repaired: string[] = [];
    for await (const finding of fixture.store.fsck({ repair: true }))
      if (finding.repaired) repaired.push(finding.code);
    expect(repaired).toEqual(['layer-unused']);
    await fixture.store.close(); // waits for their bytes
    expect(readdirSync(fixture.at('image/overlay2/layerdb/sha256'))).toHaveLength(2);
  });

  test('names a change that was decided and not completed, and reads it as completed', async () => {
    for (let at = 0; !existsSync(fixture.at('layerstack/changes/pending')); at++) {
      expect(at).toBeLessThan(MAX_STEPS);
      interrupt({ at, error: new Error('died'), dying: true });
      await fixture.store.images.tag(IMAGE, `tag:${String(at)}`).catch(() => undefined);
      await fixture.store.close();
      vi.restoreAllMocks();
      if (!existsSync(fixture.at('layerstack/changes/pending'))) await fixture.reopen();
    }
    expect(await codes()).toContain('change-unfinished layerstack/changes/pending');
    const reader = await Layerstack.open({ root: fixture.root, readOnly: true });
    expect((await reader.images.list())[0]?.RepoTags).toContainEqual(expect.stringMatching(/^tag:/));
    await reader.close();
    await fixture.reopen();
    expect(await codes()).toEqual([]);
    expect((await fixture.store.images.list())[0]?.RepoTags).toContainEqual(expect.stringMatching(/^tag:/));
  });
});

describe('a disk that becomes full when the layers are published', () => {
  /** Fills the disk when a layer has just been published. */
  function fillAfterPublishing(path: string): void {
    const { publish } = LayerStore.prototype;
    vi.spyOn(LayerStore.prototype, 'publish').mockImplementation(async function (this: LayerStore, ...given) {
      const result = await publish.apply(this, given);
      for (const size of [1 << 20, 4096, 1]) fill(path, size);
      return result;
    });
  }

  function fill(path: string, size: number): void {
    const piece = Buffer.alloc(size, 'full');
    const fd = openSync(path, 'a');
    try {
      for (;;) writeSync(fd, piece);
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
    } finally {
      closeSync(fd);
    }
  }

  test.each(['load', 'import', 'commit'] as const)(
    'fails the %s; no layer is left after the next writer starts',
    async (operation) => {
      const volume = await makeVolume('ext4', { sizeMiB: 24 });
      const filler = join(volume.path, 'filler');
      const root = join(volume.path, 'store');
      try {
        let store = await Layerstack.open({ root });
        await store.images.load(chunks(archiveOfMembers(LAYERS)));
        const mount = await store.containers.mount(await store.containers.create(IMAGE, { name: 'build' }));
        writeFileSync(join(mount.path, 'new'), 'content');
        await mount.unmount();
        await store.containers.commit('build'); // marks its layer as a parent, for good
        await store.images.prune();
        await store.close();
        const before = await dumpStore(root);
        store = await Layerstack.open({ root });
        fillAfterPublishing(filler);
        const work = {
          load: () => store.images.load(chunks(OTHER)),
          import: () => store.images.import(join(mount.path, '../diff'), { reference: 'made:1' }),
          commit: () => store.containers.commit('build', { reference: 'made:1' }),
        };
        expect(await rejection(work[operation]())).toMatchObject({ code: 'ERR_NO_SPACE' });
        vi.restoreAllMocks();
        expect(await store.images.list({ all: true })).toHaveLength(1);
        await store.close();
        rmSync(filler);
        store = await Layerstack.open({ root });
        await store.close();
        expect(await storeChanges(root, before)).toEqual([]);
      } finally {
        await volume.unmount();
      }
    },
  );
});
