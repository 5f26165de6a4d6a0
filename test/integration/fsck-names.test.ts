/** A damaged file of names stops the use of names only, and is rebuilt with all names that are known. */
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import type { ImageID } from '../../src/core/digest.ts';
import type { StoreFinding } from '../../src/core/store-finding.ts';
import { rejection } from '../support/errors.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { archiveOfMembers, chunks, IMAGE, TestStore } from '../support/test-store.ts';

const NAMES = 'image/overlay2/repositories.json';
const COPY = 'layerstack/repositories.json.good';

let fixture: TestStore;
let id: ImageID;
let box: string;

beforeEach(async () => {
  fixture = await TestStore.build();
  const { store } = fixture;
  box = (await store.containers.create(IMAGE, { name: 'box' })).id;
  await store.images.load(chunks(archiveOfMembers([[{ name: 'x', content: 'x' }]], {}, 'other:1')));
  await store.images.tag(IMAGE, 'app:latest');
  id = (await store.images.inspect(IMAGE)).Id as ImageID;
});
afterEach(() => fixture[Symbol.asyncDispose]());

async function check(options: Parameters<Layerstack['fsck']>[0] = {}): Promise<StoreFinding[]> {
  const findings: StoreFinding[] = [];
  for await (const finding of fixture.store.fsck(options)) findings.push(finding);
  return findings;
}
const names = async (): Promise<string[]> =>
  (await fixture.store.images.list()).flatMap(({ RepoTags }) => RepoTags).sort();
const remove = (path: string): void => rmSync(fixture.at(path), { recursive: true, force: true });
/** Makes the store look as if dockerd had started now: it writes volumes/metadata.db. */
const startDockerd = (): void => {
  const soon = new Date(Date.now() + 60_000);
  utimesSync(fixture.at('volumes/metadata.db'), soon, soon);
};

const DAMAGE: Readonly<Record<string, () => void>> = {
  empty: () => truncateSync(fixture.at(NAMES)),
  'cut off in the middle of a name': () => truncateSync(fixture.at(NAMES), 150),
  'full of zeros': () => writeFileSync(fixture.at(NAMES), Buffer.alloc(512)),
  'a fifo': () => {
    remove(NAMES);
    execFileSync('mkfifo', [fixture.at(NAMES)]);
  },
  'a directory': () => {
    remove(NAMES);
    mkdirSync(fixture.at(NAMES));
    writeFileSync(fixture.at(`${NAMES}/inside`), 'x');
  },
  'a link to another file': () => {
    remove(NAMES);
    symlinkSync('/etc/passwd', fixture.at(NAMES));
  },
};

describe.each(Object.keys(DAMAGE))('a repositories.json that is %s', (kind) => {
  beforeEach(() => DAMAGE[kind]?.());

  it('does not stop commands that work without names', async () => {
    const { store } = fixture;
    expect((await store.images.list()).map(({ RepoTags }) => RepoTags)).toEqual([[], []]);
    expect((await store.images.inspect(id)).RepoTags).toEqual([]);
    expect(await store.images.history(id)).toEqual([]);
    expect((await store.images.save([id]).resume().toArray()).length).toBeGreaterThan(0);
    const mount = await store.containers.mount(box);
    expect(readdirSync(mount.path)).toContain('house');
    await mount.unmount();
    await store.containers.create(id, { name: 'second' });
  });

  it('stops commands that would act on wrong names, and names the command that repairs it', async () => {
    const { images } = fixture.store;
    for (const use of [
      () => images.tag(id, 'more:1'),
      () => images.remove(id),
      () => images.prune(),
      () => images.inspect(IMAGE),
    ]) {
      const error = await rejection(use());
      expect(error).toMatchObject({ code: 'ERR_STORE_CORRUPT', path: fixture.at(NAMES) });
      expect((error as Error).message).toContain('`layerstack fsck --repair`');
    }
  });

  it('is rebuilt with all its names, and the old file is kept', async () => {
    const found = await check();
    expect(found).toMatchObject([{ code: 'names-unreadable', severity: 'error', path: NAMES }]);
    expect(await check({ repair: true })).toMatchObject([{ code: 'names-unreadable', repaired: true }]);
    expect(await names()).toEqual(['app:1', 'app:latest', 'other:1']);
    expect(await check()).toEqual([]);
    const kept = readdirSync(fixture.at('image/overlay2')).filter((name) => name.endsWith('.broken'));
    expect(kept).toHaveLength(1);
    await fixture.store.images.tag(id, 'more:1');
  });
});

it('the command lists images without names, and says why', async () => {
  truncateSync(fixture.at(NAMES));
  await fixture.store.close();
  const { status, stdout, stderr } = await new LayerstackCli(fixture.root).try([
    'images',
    '-q',
    '--no-trunc',
  ]);
  expect([status, stdout.trim().split('\n')]).toEqual([0, expect.arrayContaining([id])]);
  expect(stderr).toContain('done, but images are shown without their names');
  expect(stderr).toContain('layerstack fsck --repair');
  await fixture.reopen();
});

it('a missing file refuses changes, so that no name is forgotten', async () => {
  remove(NAMES);
  const copy = fixture.text(COPY);
  for (const change of [
    () => fixture.store.images.prune(),
    () => fixture.store.images.tag(id, 'more:1'),
    () => fixture.store.images.remove('app:1'),
  ])
    expect(await rejection(change())).toMatchObject({ code: 'ERR_STORE_CORRUPT', path: fixture.at(NAMES) });
  expect((await fixture.store.images.list({ all: true })).map(({ Id }) => Id)).toContain(id);
  expect(fixture.text(COPY)).toBe(copy);
  await check({ repair: true });
  expect(await names()).toEqual(['app:1', 'app:latest', 'other:1']);
});

it('a missing file is rebuilt from its copy', async () => {
  remove(NAMES);
  expect(await check({ repair: true })).toMatchObject([{ code: 'names-unreadable', repaired: true }]);
  expect(await names()).toEqual(['app:1', 'app:latest', 'other:1']);
});

it('a missing file whose copy does not name a stored image is not reported', async () => {
  await fixture.store.containers.remove(box);
  for (const name of ['app:1', 'app:latest', 'other:1']) await fixture.store.images.remove(name);
  remove(NAMES);
  expect(await check()).toEqual([]);
});

describe('the copy', () => {
  const asDockerd = (edit: (text: string) => string): void => {
    startDockerd();
    writeFileSync(fixture.at(NAMES), edit(fixture.text(NAMES)));
  };
  const addName = (text: string): string =>
    text.replace('"app:latest"', `"app:dockers":"${id}","app:latest"`);

  it('follows each change of layerstack', async () => {
    expect(fixture.text(COPY)).toBe(fixture.text(NAMES));
    await fixture.store.images.remove('other:1');
    expect(fixture.text(COPY)).toBe(fixture.text(NAMES));
  });

  it('follows what dockerd wrote, when a writer opens the store', async () => {
    asDockerd(addName);
    await fixture.reopen();
    await fixture.store.close();
    expect(fixture.text(COPY)).toContain('app:dockers');
    truncateSync(fixture.at(NAMES));
    await fixture.reopen();
    expect(fixture.text(COPY)).toContain('app:dockers');
    await check({ repair: true });
    expect(await names()).toEqual(['app:1', 'app:dockers', 'app:latest', 'other:1']);
  });

  it('is reported if it is older than dockerd, and names of the file come before its own', async () => {
    const other = (await fixture.store.images.inspect('other:1')).Id;
    asDockerd((text) => text.replace(`"app:1":"${id}"`, `"app:1":"${other}"`).slice(0, -30));
    const [finding] = await check();
    expect(finding?.advice).toContain('older than the last start of dockerd');
    await check({ repair: true });
    expect((await fixture.store.images.inspect('app:1')).Id).toBe(other);
    expect((await fixture.store.images.inspect('app:latest')).Id).toBe(id);
  });

  it('gives no name to an image that is not in the store', async () => {
    writeFileSync(fixture.at(COPY), fixture.text(COPY).replaceAll(id, `sha256:${'1'.repeat(64)}`));
    truncateSync(fixture.at(NAMES));
    expect((await check())[0]?.advice).toContain('2 other names belong to images that are not in the store');
    await check({ repair: true });
    expect(await names()).toEqual(['other:1']);
  });

  it('is not used where it is damaged, and is written again', async () => {
    truncateSync(fixture.at(COPY), 10);
    truncateSync(fixture.at(NAMES));
    await check({ repair: true });
    expect(await names()).toEqual([]);
    await fixture.store.images.tag(id, IMAGE);
    expect(fixture.text(COPY)).toBe(fixture.text(NAMES));
  });

  it('is not followed where it is a link', async () => {
    remove(COPY);
    const outside = join(fixture.scratch, 'outside');
    writeFileSync(outside, fixture.text(NAMES));
    symlinkSync(outside, fixture.at(COPY));
    await fixture.store.images.tag(id, 'more:1');
    truncateSync(fixture.at(NAMES));
    await check({ repair: true });
    expect(await names()).toContain('more:1');
  });

  it('is not written by a store that is open read-only', async () => {
    await fixture.store.close();
    remove(COPY);
    await using store = await Layerstack.open({ root: fixture.root, readOnly: true });
    expect(await store.images.list()).toHaveLength(2);
    expect(readdirSync(fixture.at('layerstack'))).not.toContain('repositories.json.good');
  });
});
