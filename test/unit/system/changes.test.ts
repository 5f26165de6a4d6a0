/** Changes of several files that somebody dies in, or that the disk fails in, at each step. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { Changes, type ChangeStep } from '../../../src/system/changes.ts';
import { Layout } from '../../../src/system/layout.ts';
import { FAULTS, interrupt } from '../../support/interrupt.ts';

const IMAGES = 'image/overlay2/imagedb';
const NAMES = 'image/overlay2/repositories.json';
const FILES = [NAMES, `${IMAGES}/content/a`, `${IMAGES}/content/b`, `${IMAGES}/metadata/a/parent`];

const CHANGE: readonly ChangeStep[] = [
  { op: 'write', path: `${IMAGES}/content/b`, data: 'b' },
  { op: 'remove', path: `${IMAGES}/content/a` },
  { op: 'remove', path: `${IMAGES}/metadata/a` },
  { op: 'write', path: NAMES, data: 'new names' },
];
const OLD = ['old names', 'a', undefined, 'parent of a'];
const NEW = ['new names', undefined, 'b', undefined];

interface TestStore {
  readonly layout: Layout;
  readonly warnings: string[];
  open(): Changes;
}

async function testStore(): Promise<TestStore> {
  const path = await mkdtemp(join(tmpdir(), 'layerstack-changes-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  const layout = new Layout(path);
  const files = {
    [NAMES]: 'old names',
    [`${IMAGES}/content/a`]: 'a',
    [`${IMAGES}/metadata/a/parent`]: 'parent of a',
  };
  for (const [file, text] of Object.entries({ ...files, 'volumes/metadata.db': '' })) {
    await mkdir(dirname(layout.at(file)), { recursive: true });
    await writeFile(layout.at(file), text);
  }
  const warnings: string[] = [];
  const ignore = (): void => undefined;
  const log = {
    debug: ignore,
    info: ignore,
    error: ignore,
    warn: (message: string) => warnings.push(message),
  };
  return { layout, warnings, open: () => new Changes(layout, log) };
}

/** What a reader of today sees: the changed files, as their names and in lists. */
async function seen({ layout, open }: TestStore): Promise<(string | undefined)[]> {
  const pending = open().pending();
  const texts: (string | undefined)[] = [];
  for (const path of FILES) {
    const changed = pending?.read(path);
    const onDisk = await readFile(layout.at(path), 'utf8').catch(() => undefined);
    texts.push(
      changed === undefined ? onDisk : (changed ?? undefined) && Buffer.from(changed ?? '').toString(),
    );
    const directory = dirname(path);
    const listed = await readdir(layout.at(directory)).catch(() => []);
    const names = pending?.names(directory, listed) ?? listed;
    expect(names.includes(path.slice(directory.length + 1)), path).toBe(texts.at(-1) !== undefined);
  }
  return texts;
}

/** Returns the contents of the files on disk. */
async function onDisk({ layout }: TestStore): Promise<(string | undefined)[]> {
  return Promise.all(FILES.map((path) => readFile(layout.at(path), 'utf8').catch(() => undefined)));
}

const died = new Error('died');

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a change of several files', () => {
  it('whose process dies at any step is seen as not begun or as completed, and completed by the next writer', async () => {
    const counts = new Map<string, number>();
    for (let steps = 0; ; steps++) {
      const store = await testStore();
      const stopped = interrupt({ at: steps, error: died, dying: true });
      await store
        .open()
        .commit(CHANGE)
        .catch(() => undefined);
      vi.restoreAllMocks();
      const found = await seen(store);
      expect([OLD, NEW], `after ${String(steps)} steps`).toContainEqual(found);
      const next = store.open();
      await next.complete();
      await next.sweep();
      expect(await onDisk(store)).toEqual(found);
      expect(await readdir(store.layout.at('layerstack/changes')).catch(() => [])).toEqual([]);
      const kind = found[0] ?? '';
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
      if (!stopped()) break;
    }
    expect(counts.get('old names')).toBeGreaterThan(3);
    expect(counts.get('new names')).toBeGreaterThan(5);
  });

  it('whose completion dies at any step is completed by the writer after it', async () => {
    for (let steps = 0; ; steps++) {
      const store = await testStore();
      interrupt({ at: 9, error: died, dying: true }); // decided, and hardly begun
      await store
        .open()
        .commit(CHANGE)
        .catch(() => undefined);
      vi.restoreAllMocks();
      expect(await seen(store)).toEqual(NEW);
      const stopped = interrupt({ at: steps, error: died, dying: true });
      await store
        .open()
        .complete()
        .catch(() => undefined);
      vi.restoreAllMocks();
      expect(await seen(store)).toEqual(NEW);
      await store.open().complete();
      expect(await onDisk(store)).toEqual(NEW);
      if (!stopped()) break;
    }
  });

  it.each(['ENOSPC', 'EIO', 'EMFILE'] as const)(
    'that meets %s once at any step fails without a change, or succeeds',
    async (code) => {
      for (let steps = 0; ; steps++) {
        const store = await testStore();
        const stopped = interrupt({ at: steps, error: FAULTS[code] });
        const failed = await store
          .open()
          .commit(CHANGE)
          .then(
            () => false,
            () => true,
          );
        vi.restoreAllMocks();
        expect(await seen(store), `after ${String(steps)} steps`).toEqual(failed ? OLD : NEW);
        if (!failed && stopped()) expect(store.warnings.join()).toMatch(/^done, but /);
        const next = store.open();
        await next.complete();
        await next.sweep();
        expect(await onDisk(store)).toEqual(failed ? OLD : NEW);
        if (!stopped()) break;
      }
    },
  );

  it('is dropped if dockerd has run since', async () => {
    const store = await testStore();
    interrupt({ at: 9, error: died, dying: true });
    await store
      .open()
      .commit(CHANGE)
      .catch(() => undefined);
    vi.restoreAllMocks();
    expect(await seen(store)).toEqual(NEW);
    const found = await onDisk(store);
    // dockerd writes its database when it starts.
    await utimes(store.layout.at('volumes/metadata.db'), 1, 1);
    expect(await seen(store)).toEqual(found);
    await store.open().complete();
    expect(await onDisk(store)).toEqual(found);
    expect(await readdir(store.layout.at('layerstack/changes'))).toEqual([]);
  });

  it('reads as completed even if the directory of changes holds other entries', async () => {
    const store = await testStore();
    await mkdir(store.layout.at('layerstack/changes/pending'), { recursive: true });
    for (const name of ['write:0:..:..:etc:passwd', 'write:x:image', 'remove:', 'strange'])
      await writeFile(store.layout.at(`layerstack/changes/pending/${name}`), 'x');
    expect(await seen(store)).toEqual(OLD);
    await store.open().complete();
    expect(await onDisk(store)).toEqual(OLD);
  });

  it('has modes that the umask does not change, and makes missing directories above a file', async () => {
    const store = await testStore();
    const umask = process.umask(0o777);
    try {
      await store.open().commit([...CHANGE, { op: 'write', path: `${IMAGES}/metadata/b/parent`, data: 'x' }]);
    } finally {
      process.umask(umask);
    }
    const mode = async (path: string): Promise<number> => (await stat(store.layout.at(path))).mode & 0o7777;
    expect(await mode(NAMES)).toBe(0o600);
    expect(await mode(`${IMAGES}/metadata/b`)).toBe(0o700);
    expect(await mode(`${IMAGES}/metadata/b/parent`)).toBe(0o600);
  });
});

describe('a reader', () => {
  it('reads again after a concurrent change, but not forever', async () => {
    const store = await testStore();
    const changes = store.open();
    let reads = 0;
    const found = await changes.steady(async () => {
      if (reads++ < 2) await store.open().commit(CHANGE);
      return reads;
    });
    expect(found).toBe(3);
    const always = await changes.steady(async () => {
      reads++;
      await store.open().commit(CHANGE);
      return reads;
    });
    expect(always).toBeLessThan(20);
  });
});
