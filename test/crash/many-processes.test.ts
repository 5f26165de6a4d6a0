/**
 * Sixteen processes use one store, and are killed one after the other. Each time another takes the place of
 * the dead one. Afterwards every image is whole, fsck finds nothing wrong, and where all that the processes
 * made has been removed, nothing of it is left.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { isWrong } from '../../src/core/store-finding.ts';
import { Random } from '../support/random.ts';
import { mountsBelow } from '../support/scratch.ts';
import { archiveOfMembers, IMAGE, LAYERS, TestStore } from '../support/test-store.ts';
import { report, scaled } from './support/scale.ts';

const PROGRAM = fileURLToPath(new URL('support/busy.mjs', import.meta.url));
const PROCESSES = 16;
const KILLS = scaled(24, 800);
const ROUNDS = 3;
/** The lines that a process prints in its rounds. */
const LINES = ROUNDS * 10;

interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly said: string;
}

/** Runs a process to its end, or until it has printed this many lines. */
async function use(args: readonly string[], lines: number): Promise<Ended> {
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const closed = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  let said = '';
  let count = 0;
  child.stderr.on('data', (text: Buffer) => (said += text.toString()));
  createInterface({ input: child.stdout }).on('line', () => {
    if (++count === lines) child.kill('SIGKILL');
  });
  const [status, signal] = await closed;
  return { status, signal, said };
}

/** Removes what the processes have made. */
async function tidy(store: Layerstack): Promise<void> {
  for (const container of await store.containers.list())
    await store.containers.remove(container, { force: true });
  for (const { Id, RepoTags } of await store.images.list())
    if (!RepoTags?.includes(IMAGE)) await store.images.remove(Id, { force: true });
  await store.images.prune();
}

const directories = (root: string): string[] =>
  [
    'overlay2',
    'image/overlay2/layerdb/sha256',
    'image/overlay2/layerdb/mounts',
    'containers',
    'layerstack/sessions',
  ]
    .flatMap((path) => readdirSync(join(root, path)).map((name) => `${path}/${name}`))
    .sort();

it('processes that are killed beside each other leave a store that is whole', async () => {
  await using fixture = await TestStore.build();
  const { root, scratch } = fixture;
  await fixture.store.containers.remove(await fixture.store.containers.create(IMAGE));
  await fixture.store.close();
  const before = directories(root);
  const archive = join(scratch, 'shared.tar');
  writeFileSync(
    archive,
    archiveOfMembers([...LAYERS, [{ name: 'shared', content: 'shared' }]], {}, 'shared:1'),
  );
  const random = new Random(1);
  const faults: string[] = [];
  let kills = 0;
  let started = 0;
  const place = async (): Promise<void> => {
    for (;;) {
      const dies = kills < KILLS;
      if (dies) kills++;
      const ended = await use(
        [`own${String(started++)}`, root, IMAGE, archive, String(ROUNDS)],
        dies ? 1 + random.below(LINES) : Infinity,
      );
      if (ended.status !== 0 && ended.signal !== 'SIGKILL') faults.push(ended.said);
      if (!dies) return;
    }
  };
  await Promise.all(Array.from({ length: PROCESSES }, place));
  expect(faults).toEqual([]);

  await using store = await Layerstack.open({ root });
  for (const { Id } of await store.images.list({ all: true }))
    await store.images.save([Id]).resume().toArray();
  for await (const finding of store.fsck({ deep: true }))
    if (isWrong(finding)) faults.push(`${finding.code} ${finding.path}: ${finding.message}`);
  expect(faults).toEqual([]);
  await tidy(store);
  await store.close();
  await (await Layerstack.open({ root })).close();
  expect(mountsBelow(root)).toEqual([]);
  expect(directories(root)).toEqual(before);
  report(`kills of ${String(PROCESSES)} processes`, KILLS);
});
