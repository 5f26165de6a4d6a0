/**
 * Links, fifos, sockets and devices in the places of the store's files: an error names each at once, and
 * nothing behind it is touched.
 */
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import type { StoreFinding } from '../../src/core/store-finding.ts';
import { call, native } from '../../src/system/native.ts';
import { rejection } from '../support/errors.ts';
import { chunks, archiveOfMembers, TestStore, IMAGE, LAYERS } from '../support/test-store.ts';

let fixture: TestStore;
let id: string;

beforeEach(async () => {
  fixture = await TestStore.build();
  ({ id } = await fixture.store.containers.create(IMAGE, { name: 'web' }));
});
afterEach(() => fixture[Symbol.asyncDispose]());

const SECRET = 'the secret of somebody else';

/** An object in the place of a file, and how the error of a reader names it. */
const PLANTS: Readonly<Record<string, (path: string, secret: string) => unknown>> = {
  'a symbolic link': (path, secret) => {
    symlinkSync(secret, path);
  },
  'a fifo': (path) => execFileSync('mkfifo', [path]),
  'a socket': async (path) => {
    // A path of a socket must be short.
    const short = join(fixture.scratch, 's');
    const server = await new Promise<Server>((resolve) => {
      const listening = createServer().listen(short, () => resolve(listening));
    });
    renameSync(short, path);
    onTestFinished(() => void server.close());
  },
  'a character device': (path) => call(native.makeNode(path, 0o020_600, 1, 3)),
};

async function plant(path: string, what: string): Promise<string> {
  const secret = join(fixture.scratch, 'secret');
  writeFileSync(secret, SECRET);
  const full = fixture.at(path);
  rmSync(full, { recursive: true, force: true });
  mkdirSync(dirname(full), { recursive: true });
  await PLANTS[what]?.(full, secret);
  return full;
}

const overlayOf = () => fixture.text(`image/overlay2/layerdb/mounts/${id}/mount-id`);
const layerOf = () => readdirSync(fixture.at('image/overlay2/layerdb/sha256')).sort()[0] ?? '';
const imageOf = () => readdirSync(fixture.at('image/overlay2/imagedb/content/sha256'))[0] ?? '';

const reload = () => fixture.store.images.load(chunks(archiveOfMembers(LAYERS, { Cmd: ['/bin/true'] })));

/** Files of the store, and what needs each. */
const PLACES: readonly (readonly [name: string, path: () => string, use: () => Promise<unknown>])[] = [
  ['repositories.json', () => 'image/overlay2/repositories.json', () => fixture.store.images.inspect(IMAGE)],
  [
    'an image config',
    () => `image/overlay2/imagedb/content/sha256/${imageOf()}`,
    () => fixture.store.images.inspect(IMAGE),
  ],
  [
    'an image config, in a list',
    () => `image/overlay2/imagedb/content/sha256/${imageOf()}`,
    () => fixture.store.images.list(),
  ],
  ['config.v2.json', () => `containers/${id}/config.v2.json`, () => fixture.store.containers.list()],
  ['hostconfig.json', () => `containers/${id}/hostconfig.json`, () => fixture.store.containers.inspect(id)],
  [
    'mount-id',
    () => `image/overlay2/layerdb/mounts/${id}/mount-id`,
    () => fixture.store.containers.mount(id),
  ],
  ['cache-id', () => `image/overlay2/layerdb/sha256/${layerOf()}/cache-id`, () => reload()],
  ['diff', () => `image/overlay2/layerdb/sha256/${layerOf()}/diff`, () => reload()],
  ['lower', () => `overlay2/${overlayOf()}/lower`, () => fixture.store.containers.mount(id)],
  ['a lock', () => 'layerstack/locks/containers', () => fixture.store.containers.mount(id)],
];

describe.each(Object.keys(PLANTS))('%s', (what) => {
  it.each(PLACES)('in the place of %s is named', async (_, path, use) => {
    const planted = await plant(path(), what);
    await fixture.store.close();
    const started = Date.now();
    const error = await rejection(fixture.reopen().then(use));
    expect(Date.now() - started).toBeLessThan(5000);
    expect(error).toMatchObject({ code: 'ERR_STORE_CORRUPT', path: planted });
    expect(error.message).toContain(`${planted} is ${what}`);
    expect(error.message).not.toContain(SECRET.slice(0, 8));
    expect(readFileSync(join(fixture.scratch, 'secret'), 'utf8')).toBe(SECRET);
  });

  it('in the place of the count of mounts is named', async () => {
    await fixture.store.containers.mount(id);
    const planted = await plant(`layerstack/mounts/${overlayOf()}.json`, what);
    expect(await rejection(fixture.store.containers.mount(id))).toMatchObject({
      code: 'ERR_STORE_CORRUPT',
      path: planted,
    });
  });

  it('in the place of the writers’ lock is named when the store is opened', async () => {
    await fixture.store.close();
    const planted = await plant('volumes/metadata.db', what);
    const error = await rejection(Layerstack.open({ root: fixture.root }));
    expect(error).toMatchObject({ code: 'ERR_STORE_CORRUPT', path: planted });
    rmSync(planted);
    await fixture.reopen();
  });

  it('is found by fsck', async () => {
    const places = [
      `containers/${id}/config.v2.json`,
      `image/overlay2/layerdb/sha256/${layerOf()}/size`,
      `overlay2/${overlayOf()}/link`,
      'image/overlay2/repositories.json',
    ];
    for (const path of places) await plant(path, what);
    const found: StoreFinding[] = [];
    for await (const finding of fixture.store.fsck()) found.push(finding);
    const planted = found.filter(({ code }) => ['entry-planted', 'names-unreadable'].includes(code));
    expect(planted.map(({ path }) => path).sort()).toEqual(places.sort());
    expect(planted.every(({ severity }) => severity === 'error')).toBe(true);
  });
});

describe('a link in the place of a directory', () => {
  /** The directory goes elsewhere, whole, and a link stands for it. */
  function moveAway(path: string): string {
    const away = join(fixture.scratch, 'away');
    renameSync(fixture.at(path), away);
    symlinkSync(away, fixture.at(path));
    return fixture.at(path);
  }

  it.each([
    ['image', () => 'image'],
    ['layerdb', () => 'image/overlay2/layerdb/sha256'],
    ['overlay2', () => 'overlay2'],
    ['containers', () => 'containers'],
    ['sessions', () => 'layerstack/sessions'],
    ['layerstack', () => 'layerstack'],
    ['names', () => 'layerstack/names'],
  ])('%s is named when the store is opened', async (_, path) => {
    await fixture.store.close();
    const link = moveAway(path());
    const error = await rejection(Layerstack.open({ root: fixture.root }));
    expect(error).toMatchObject({ code: 'ERR_STORE_CORRUPT', path: link });
    expect(error.message).toContain(`${link} is a symbolic link`);
    rmSync(link);
    renameSync(join(fixture.scratch, 'away'), link);
    await fixture.reopen();
  });

  it.each([
    ['the container’s', () => `containers/${id}`, () => fixture.store.containers.list()],
    ['the upper', () => `overlay2/${overlayOf()}/diff`, () => fixture.store.containers.mount(id)],
    [
      'the upper, in a commit',
      () => `overlay2/${overlayOf()}/diff`,
      () => fixture.store.containers.commit(id),
    ],
    ['the work directory', () => `overlay2/${overlayOf()}/work`, () => fixture.store.containers.mount(id)],
    ['merged', () => `overlay2/${overlayOf()}/merged`, () => fixture.store.containers.mount(id)],
    ['the layer’s entry', () => `image/overlay2/layerdb/sha256/${layerOf()}`, () => reload()],
    [
      'the layer’s content',
      () => `overlay2/${fixture.text(`image/overlay2/layerdb/sha256/${layerOf()}/cache-id`)}/diff`,
      () => fixture.store.containers.mount(id),
    ],
  ])('%s is named by the operation that needs it', async (_, path, use) => {
    mkdirSync(fixture.at(path()), { recursive: true });
    const link = moveAway(path());
    expect(await rejection(use())).toMatchObject({ code: 'ERR_STORE_CORRUPT', path: link });
  });

  it('a short name that leads out of the store is not mounted', async () => {
    const [short = ''] = fixture.text(`overlay2/${overlayOf()}/lower`).split(':');
    for (const target of ['/etc', '../../../../etc', `../${overlayOf()}/../../../etc`, '../l/diff/..']) {
      rmSync(fixture.at(`overlay2/${short}`));
      symlinkSync(target, fixture.at(`overlay2/${short}`));
      expect(await rejection(fixture.store.containers.mount(id))).toMatchObject({
        code: 'ERR_STORE_CORRUPT',
        path: fixture.at(`overlay2/${short}`),
      });
    }
  });
});

describe.each(['a file', ...Object.keys(PLANTS).filter((what) => what !== 'a symbolic link')])(
  '%s in the place of a directory',
  (what) => {
    it.each([
      ...['containers', 'image', 'image/overlay2/layerdb', 'overlay2', 'overlay2/l', 'volumes'],
      ...['layerstack', 'layerstack/sessions', 'layerstack/names', 'layerstack/mounts'],
    ])('%s is named when the store is opened', async (path) => {
      await fixture.store.close();
      if (what === 'a file') {
        rmSync(fixture.at(path), { recursive: true });
        writeFileSync(fixture.at(path), SECRET);
      } else await plant(path, what);
      expect(await rejection(Layerstack.open({ root: fixture.root }))).toMatchObject({
        code: 'ERR_STORE_CORRUPT',
        path: fixture.at(path),
        expected: 'a directory',
        found: what,
      });
    });
  },
);

describe('a file that is too large', () => {
  it.each([
    ['config.v2.json', () => `containers/${id}/config.v2.json`, () => fixture.store.containers.list()],
    [
      'repositories.json',
      () => 'image/overlay2/repositories.json',
      () => fixture.store.images.inspect(IMAGE),
    ],
    ['lower', () => `overlay2/${overlayOf()}/lower`, () => fixture.store.containers.mount(id)],
    [
      'an image config',
      () => `image/overlay2/imagedb/content/sha256/${imageOf()}`,
      () => fixture.store.images.inspect(IMAGE),
    ],
  ])('%s is refused with its size and the limit, unread', async (_, path, use) => {
    truncateSync(fixture.at(path()), 2 ** 40);
    const error = await rejection(use());
    expect(error).toMatchObject({
      code: 'ERR_STORE_CORRUPT',
      path: fixture.at(path()),
      found: String(2 ** 40),
    });
    expect(error.limit).toBeLessThan(2 ** 30);
  });
});

describe('errors', () => {
  it.each([
    [
      'repositories.json',
      () => 'image/overlay2/repositories.json',
      () => fixture.store.images.inspect(IMAGE),
    ],
    [
      'registries.json',
      () => 'layerstack/registries.json',
      () => fixture.store.registry.manifest('localhost:1/x'),
    ],
  ])('about %s do not quote its content', async (_, path, use) => {
    for (const text of [`${SECRET}`, `{"a": "${SECRET}`, `{"a": ${SECRET}}`, `["x"]${SECRET}`]) {
      writeFileSync(fixture.at(path()), text);
      const error = await rejection(use());
      expect(error.message).toMatch(/not JSON|not an object/);
      expect(`${error.message} ${String(error.cause)}`).not.toMatch(/secret|somebody/);
    }
  });
});
