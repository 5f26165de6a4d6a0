import { mkdirSync, mkdtempSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native } from '../../src/system/native.ts';
import { Root } from '../../src/system/root.ts';
import { makeVolume } from '../support/loop.ts';
import { havePeers } from '../support/peers.ts';
import { must, run } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { snapshot } from '../support/layers.ts';

let scratch: string;

beforeEach(() => {
  scratch = makeScratch('root');
});

afterEach(async () => {
  await dropScratch(scratch);
});

const mode = (path: string): string => (statSync(path).mode & 0o7777).toString(8);

describe('opening for writing', () => {
  it('makes a missing root with the modes of dockerd, whatever the umask', async () => {
    const old = process.umask(0o077);
    try {
      const root = await Root.open(join(scratch, 'a/b/store'));
      await root.close();
    } finally {
      process.umask(old);
    }
    const store = join(scratch, 'a/b/store');
    expect(mode(store)).toBe('710');
    expect(snapshot(store)).toEqual({
      containers: 'd 0710 0',
      image: 'd 0700 0',
      'image/overlay2': 'd 0700 0',
      'image/overlay2/imagedb': 'd 0700 0',
      'image/overlay2/imagedb/content': 'd 0700 0',
      'image/overlay2/imagedb/content/sha256': 'd 0700 0',
      'image/overlay2/imagedb/metadata': 'd 0700 0',
      'image/overlay2/imagedb/metadata/sha256': 'd 0700 0',
      'image/overlay2/layerdb': 'd 0700 0',
      'image/overlay2/layerdb/mounts': 'd 0755 0',
      'image/overlay2/layerdb/sha256': 'd 0755 0',
      'image/overlay2/layerdb/tmp': 'd 0755 0',
      layerstack: 'd 0700 0',
      'layerstack/flat': 'd 0700 0',
      'layerstack/locks': 'd 0700 0',
      'layerstack/mounts': 'd 0700 0',
      'layerstack/names': 'd 0700 0',
      'layerstack/sessions': 'd 0700 0',
      'layerstack/snapshots': 'd 0700 0',
      'layerstack/unused': 'd 0700 0',
      'layerstack/events': 'd 0700 0',
      overlay2: 'd 0710 0',
      'overlay2/l': 'd 0700 0',
      volumes: 'd 0701 0',
      'volumes/metadata.db': '- 0600 0',
    });
  });

  it('leaves what exists as it is', async () => {
    mkdirSync(join(scratch, 'store/overlay2'), { recursive: true, mode: 0o755 });
    mkdirSync(join(scratch, 'store/volumes'));
    writeFileSync(join(scratch, 'store/volumes/metadata.db'), 'bolt');
    await (await Root.open(join(scratch, 'store'))).close();
    expect(mode(join(scratch, 'store/overlay2'))).toBe('755');
    expect(snapshot(join(scratch, 'store'))['volumes/metadata.db']).toBe('- 0644 0 bolt');
  });

  it('is the same root through a link and through a bind mount on itself', async () => {
    const store = join(scratch, 'store');
    mkdirSync(store);
    symlinkSync(store, join(scratch, 'link'));
    await must('mount', ['--bind', store, store]);
    const root = await Root.open(join(scratch, 'link'));
    expect(root.layout.root).toBe(store);
    await root.close();
  });

  it('can be done by many processes at once', async () => {
    const roots = await Promise.all(Array.from({ length: 8 }, () => Root.open(join(scratch, 'store'))));
    await Promise.all(roots.map((root) => root.session().mark(['write-set.1'])));
    expect(readdirSync(join(scratch, 'store/layerstack/sessions'))).toHaveLength(8);
    await Promise.all(roots.map((root) => root.session().unmark(['write-set.1'])));
    await Promise.all(roots.map((root) => root.close()));
    expect(readdirSync(join(scratch, 'store/layerstack/sessions'))).toEqual([]);
  });

  it('is refused while another process holds the exclusive lock, and writes nothing', async () => {
    const store = join(scratch, 'store');
    mkdirSync(join(store, 'volumes'), { recursive: true });
    const held = await open(join(store, 'volumes/metadata.db'), 'w');
    expect(native.tryFlock(held.fd, true)).toBe(true);
    const before = snapshot(store);
    await expect(Root.open(store)).rejects.toMatchObject({
      code: 'ERR_STORE_LOCKED',
      message: expect.stringMatching(/dockerd.*stop.*readOnly/s) as string,
    });
    expect(snapshot(store)).toEqual(before);
    const reader = await Root.open(store, { readOnly: true });
    expect(() => reader.session()).toThrow(expect.objectContaining({ code: 'ERR_STORE_READ_ONLY' }));
    await reader.close();
    expect(snapshot(store)).toEqual(before);
    await held.close();
  });

  it('waits out a short probe of the lock', async () => {
    const store = join(scratch, 'store');
    mkdirSync(join(store, 'volumes'), { recursive: true });
    const held = await open(join(store, 'volumes/metadata.db'), 'w');
    native.tryFlock(held.fd, true);
    setTimeout(() => void held.close(), 30);
    await (await Root.open(store)).close();
  });

  it('excludes a writer with the exclusive lock until it is closed', async () => {
    const root = await Root.open(join(scratch, 'store'));
    const other = await open(join(scratch, 'store/volumes/metadata.db'), 'r');
    expect(native.tryFlock(other.fd, true)).toBe(false);
    await root.close();
    await root.close();
    expect(native.tryFlock(other.fd, true)).toBe(true);
    await other.close();
    expect(() => root.session()).toThrow(expect.objectContaining({ code: 'ERR_STORE_CLOSED' }));
  });

  it('is refused on a file system without extended attributes, which it names, and leaves nothing', async () => {
    const mountPoint = join(scratch, 'ram');
    mkdirSync(mountPoint);
    await must('mount', ['-t', 'ramfs', 'ramfs', mountPoint]);
    await expect(Root.open(join(mountPoint, 'store'))).rejects.toMatchObject({
      code: 'ERR_STORE_UNSUPPORTED',
      message: expect.stringMatching(/\((ramfs|0x858458f6)\).*trusted/s) as string,
    });
    expect(readdirSync(mountPoint)).toEqual([]);
  });

  // Since Linux 6.5, btrfs lists only entries that are older than the open directory.
  it.runIf(havePeers('mkfs.btrfs'))('works on btrfs', async () => {
    const volume = await makeVolume('btrfs', { sizeMiB: 128 });
    try {
      const root = await Root.open(join(volume.path, 'store'));
      expect(root.layout.root).toBe(join(volume.path, 'store'));
      await root.close();
    } finally {
      await volume.unmount();
    }
  });

  it('is refused if the root is a file', async () => {
    writeFileSync(join(scratch, 'store'), '');
    await expect(Root.open(join(scratch, 'store'))).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
    await expect(Root.open(join(scratch, 'store/sub'))).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
    });
  });
});

describe('without privileges', () => {
  const dist = new URL('../../dist/', import.meta.url).href;
  const attempt = (path: string, options: object) =>
    run('setpriv', [
      ...[
        '--reuid',
        '65534',
        '--regid',
        '65534',
        '--clear-groups',
        process.execPath,
        '--input-type=module',
        '-e',
      ],
      `const { Root } = await import(${JSON.stringify(`${dist}system/root.js`)});
         try { await (await Root.open(${JSON.stringify(path)}, ${JSON.stringify(options)})).close(); }
         catch (error) { console.log(error.code); }`,
    ]);

  it('says that root is needed', async () => {
    const home = mkdtempSync('/tmp/layerstack-unprivileged-');
    try {
      await must('chown', ['65534', home]);
      expect((await attempt(join(home, 'store'), {})).stdout).toBe('ERR_NOT_ROOT\n');
      expect(readdirSync(home)).toEqual([]);
      await must('chown', ['root', home]);
      await (await Root.open(join(home, 'store'))).close();
      await must('chown', ['65534', home]);
      expect((await attempt(join(home, 'store'), { readOnly: true })).stdout).toBe('ERR_NOT_ROOT\n');
    } finally {
      await dropScratch(home);
    }
  });
});

describe('opening read-only', () => {
  it('works on a tree of docker alone and writes nothing', async () => {
    const store = join(scratch, 'store');
    mkdirSync(join(store, 'image/overlay2'), { recursive: true });
    const before = snapshot(scratch);
    const root = await Root.open(store, { readOnly: true });
    expect(root.readOnly).toBe(true);
    await root.close();
    expect(snapshot(scratch)).toEqual(before);
  });

  it('needs a root', async () => {
    await expect(Root.open(join(scratch, 'none'), { readOnly: true })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
    });
    expect(readdirSync(scratch)).toEqual([]);
  });
});
