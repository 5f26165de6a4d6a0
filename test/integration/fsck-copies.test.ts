/** Copies of a damaged layer come from the blobs that the store keeps, and from the registry that had it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { fsck, type FsckOptions } from '../../src/app/fsck.ts';
import { hexOf } from '../../src/core/digest.ts';
import type { StoreFinding } from '../../src/core/store-finding.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { FakeRepository, PullStore } from '../support/pull-store.ts';

const image = imageOf([layerOf({ 'etc/base': 'base' }), layerOf({ top: 'top' })]);

async function check(
  { store }: PullStore,
  repository: FakeRepository,
  options: FsckOptions,
): Promise<StoreFinding[]> {
  const opened = Object.assign(repository, { [Symbol.asyncDispose]: () => Promise.resolve() });
  const { root, layers, images } = store;
  const stores = { root, layers, images, repositories: () => Promise.resolve(() => opened) };
  const findings: StoreFinding[] = [];
  for await (const finding of fsck(stores, { deep: true, ...options })) findings.push(finding);
  return findings;
}

/** Damages the lowest layer. */
function damage({ store: { path } }: PullStore): void {
  const entry = join(path, 'image/overlay2/layerdb/sha256', hexOf(image.chain[0] ?? image.id));
  writeFileSync(
    join(path, 'overlay2', readFileSync(join(entry, 'cache-id'), 'utf8'), 'diff/etc/base'),
    'BASE',
  );
}

function repositoryOf(): FakeRepository {
  const repository = new FakeRepository();
  repository.push(image, ['1']);
  return repository;
}

const asked = (repository: FakeRepository): number => [...repository.asked.values()].flat().length;

describe('fsck --repair takes a damaged layer', () => {
  it('from the kept blobs first, and asks no registry', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf();
    await target.pull(repository, '1', { keepBlobs: true });
    repository.asked.clear();
    damage(target);
    const [finding] = await check(target, repository, { repair: true, pull: true });
    expect(finding).toMatchObject({ code: 'layer-damaged', repaired: true });
    expect(asked(repository)).toBe(0);
    expect(await check(target, repository, {})).toEqual([]);
  });

  it('from its registry with --pull, by the manifest that is kept, and no other layer', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf();
    await target.pull(repository, '1');
    repository.asked.clear();
    damage(target);
    const [untouched] = await check(target, repository, { repair: true });
    expect(untouched).toMatchObject({ repaired: false });
    expect(asked(repository)).toBe(0);
    const [finding] = await check(target, repository, { repair: true, pull: true });
    expect(finding).toMatchObject({ code: 'layer-damaged', repaired: true });
    expect(asked(repository)).toBe(1);
    expect(await check(target, repository, {})).toEqual([]);
  });

  it('not from a registry whose blob has other bytes', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf();
    await target.pull(repository, '1');
    for (const [digest, bytes] of repository.blobs)
      if (digest !== image.id) repository.blobs.set(digest, Buffer.alloc(bytes.length, 7));
    damage(target);
    const [finding] = await check(target, repository, { repair: true, pull: true });
    expect(finding).toMatchObject({ repaired: false });
    expect(finding?.advice).toContain('the repair failed');
  });

  it('by a plain pull, which downloads only the damaged layer', async () => {
    await using target = await PullStore.open();
    const repository = repositoryOf();
    await target.pull(repository, '1');
    repository.asked.clear();
    damage(target);
    expect((await target.pull(repository, '1')).notices).toEqual([]);
    const { notices } = await target.pull(repository, '1', { check: true });
    expect(notices.join()).toContain('was damaged in the store, and is replaced');
    expect(asked(repository)).toBe(1);
    expect(await check(target, repository, {})).toEqual([]);
  });
});
