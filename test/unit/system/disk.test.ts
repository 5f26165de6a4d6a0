import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Disk, syncSteps } from '../../../src/system/disk.ts';
import { Layout } from '../../../src/system/layout.ts';
import { native } from '../../../src/system/native.ts';

let layout: Layout;
let disk: Disk;
/** Ends the syncs that are under way. */
let pending: { readonly resolve: () => void; readonly reject: (error: Error) => void }[];

beforeEach(() => {
  layout = new Layout(mkdtempSync(join(tmpdir(), 'layerstack-disk-')));
  for (const path of [layout.overlay2, layout.layers, layout.containers, layout.own])
    mkdirSync(layout.at(path), { recursive: true });
  disk = new Disk(layout);
  pending = [];
});

afterEach(() => {
  vi.restoreAllMocks();
  rmSync(layout.root, { recursive: true });
});

function holdSyncs(): void {
  vi.spyOn(native, 'batch').mockImplementation(
    () => new Promise((resolve, reject) => void pending.push({ resolve, reject })),
  );
}

const begun = (count: number) => vi.waitFor(() => expect(pending).toHaveLength(count));

test('a sync is one syncfs if everything is on one file system', async () => {
  expect(syncSteps(layout, [layout.overlay2, layout.layers, layout.containers])).toEqual([
    { op: 'syncfs', path: layout.overlay2 },
  ]);
  await disk.sync();
});

test('callers that come while a sync runs share the next one', async () => {
  holdSyncs();
  const first = disk.sync();
  await begun(1);
  const ended: number[] = [];
  const rest = Array.from({ length: 49 }, (_, index) => disk.sync().then(() => ended.push(index)));
  pending[0]?.resolve();
  await first;
  await begun(2);
  expect(ended).toEqual([]);
  pending[1]?.resolve();
  await Promise.all(rest);
  expect(pending).toHaveLength(2);
});

test('a caller that comes while none runs has its own sync', async () => {
  const syncs = vi.spyOn(native, 'batch');
  for (let count = 1; count <= 3; count++) {
    await disk.sync();
    expect(syncs).toHaveBeenCalledTimes(count);
  }
});

test('a failed sync fails only the callers that wait for it', async () => {
  holdSyncs();
  const first = disk.sync();
  await begun(1);
  const second = disk.sync();
  pending[0]?.reject(new Error('broken'));
  await expect(first).rejects.toThrow('broken');
  await begun(2);
  const third = disk.sync();
  pending[1]?.resolve();
  await second;
  await begun(3);
  pending[2]?.reject(new Error('again'));
  await expect(third).rejects.toThrow('again');
  const fourth = disk.sync();
  await begun(4);
  pending[3]?.resolve();
  await fourth;
});
