/**
 * Power cuts. A disk records its writes and flushes while a store on it is used; then the power is cut at
 * many moments, with torn writes. After each cut the file system mounts, the store opens, all that was
 * reported as durable is there, every image is whole, fsck finds nothing wrong, and the store can be used.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { isWrong } from '../../src/core/store-finding.ts';
import { havePeers } from '../support/peers.ts';
import { Random } from '../support/random.ts';
import { archiveOfMembers, chunks, IMAGE, LAYERS } from '../support/test-store.ts';
import { RecordedDisk, type FileSystem, type Moment } from './support/recorded-disk.ts';
import { report, scaled } from './support/scale.ts';

/** Cuts at random moments, besides one right after each promise. */
const CUTS = scaled(8, 150);

/** What a store reports as durable: it has an image or a container of that name, or does not have it. */
interface Promised {
  readonly moment: Moment;
  readonly kind: 'image' | 'container' | 'snapshot';
  readonly name: string;
  readonly has: boolean;
}

const archive = (name: string, size: number): Buffer =>
  archiveOfMembers(
    [...LAYERS, [{ name, content: Buffer.alloc(size, name) }]],
    { Cmd: ['/bin/true'] },
    `${name}:1`,
  );

/** Uses a store, and notes what it promises and when. */
async function work(disk: RecordedDisk): Promise<Promised[]> {
  const promised: Promised[] = [];
  const promise = (kind: Promised['kind'], name: string, has = true): void =>
    void promised.push({ moment: disk.now(), kind, name, has });
  await using store = await Layerstack.open({ root: join(disk.path, 'store') });
  await store.images.load(chunks(archiveOfMembers(LAYERS)));
  promise('image', IMAGE);
  await store.images.load(chunks(archive('large', 3_000_000)));
  promise('image', 'large:1');
  await store.containers.create(IMAGE, { name: 'box', durable: true });
  promise('container', 'box');
  {
    await using mount = await store.containers.mount('box');
    writeFileSync(join(mount.path, 'new'), Buffer.alloc(200_000, 'new'));
  }
  await store.containers.commit('box', { reference: 'made:1' });
  promise('image', 'made:1');
  await store.snapshots.create('box', { name: 'kept', durable: true });
  promise('snapshot', 'kept');
  await store.images.tag('large:1', 'again:1');
  promise('image', 'again:1');
  await store.images.remove('large:1');
  promise('image', 'large:1', false);
  await store.images.load(chunks(archive('other', 300_000)));
  promise('image', 'other:1');
  await store.images.remove('other:1');
  promise('image', 'other:1', false);
  await store.images.load(chunks(archive('other', 300_000)));
  promise('image', 'other:1');
  return promised;
}

/** Returns what of the promises that were made before the cut does not hold. */
async function broken(store: Layerstack, promised: readonly Promised[], cut: Moment): Promise<string[]> {
  // The next use of a name may have begun before its promise: then either state is right.
  const kept = promised.filter(
    ({ kind, name, moment }, index) =>
      moment <= cut &&
      !promised.some(
        (later, at) => at > index && later.kind === kind && later.name === name && begun(promised, at) <= cut,
      ),
  );
  const names = {
    image: (await store.images.list()).flatMap(({ RepoTags }) => RepoTags ?? []),
    container: (await store.containers.list()).map(({ name }) => name),
    snapshot: (await store.snapshots.list()).map(({ name }) => name),
  };
  return kept
    .filter(({ kind, name, has }) => names[kind].includes(name) !== has)
    .map(({ kind, name, has }) => `${kind} ${name} is ${has ? 'lost' : 'back'}`);
}

/** When the work for a promise began: right after the promise before it. */
const begun = (promised: readonly Promised[], index: number): Moment => promised[index - 1]?.moment ?? 0;

/** Opens the store after a cut. Returns what is wrong with it. */
async function examine(root: string, promised: readonly Promised[], cut: Moment): Promise<string[]> {
  if (!existsSync(root)) return promised.some(({ moment }) => moment <= cut) ? ['the store is lost'] : [];
  await using store = await Layerstack.open({ root });
  const faults = await broken(store, promised, cut);
  for await (const finding of store.fsck({ deep: true }))
    if (isWrong(finding)) faults.push(`${finding.code} ${finding.path}: ${finding.message}`);
  for (const { Id } of await store.images.list({ all: true }))
    await store.images.save([Id]).resume().toArray();
  await store.images.load(chunks(archive('after', 1000)));
  const container = await store.containers.create('after:1');
  await (await store.containers.mount(container)).unmount();
  await store.containers.remove(container);
  return faults;
}

describe.runIf(havePeers('cc', 'mkfs.ext4', 'mkfs.xfs', 'mkfs.btrfs'))('after a power cut', () => {
  it.each<FileSystem>(['ext4', 'xfs', 'btrfs'])('on %s, all that was durable is there', async (type) => {
    await using disk = await RecordedDisk.make(type);
    const promised = await work(disk);
    const last = disk.now();
    await disk.stop();
    const random = new Random(1);
    const moments = [
      ...promised.map(({ moment }) => moment),
      ...Array.from({ length: CUTS }, () => random.below(last)),
    ];
    const faults: string[] = [];
    await disk.cut(moments, random, async (path, moment) => {
      const wrong = await examine(join(path, 'store'), promised, moment);
      faults.push(...wrong.map((fault) => `cut at ${String(moment)} of ${String(last)}: ${fault}`));
    });
    expect(faults).toEqual([]);
    report(`power cuts on ${type}`, moments.length);
  });
});
