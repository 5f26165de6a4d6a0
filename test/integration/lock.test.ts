import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { holdFlock } from '../../src/system/lock.ts';
import { scratch } from '../support/overlay.ts';

const addon = fileURLToPath(new URL('../../build/Release/layerstack.node', import.meta.url));
const counter = fileURLToPath(new URL('../fixtures/count.mjs', import.meta.url));

test('no count is lost between processes that count under a lock', async () => {
  const dir = scratch();
  writeFileSync(join(dir, 'count'), '0');
  const children = [1, 2, 3].map(() =>
    spawn(process.execPath, [counter, addon, dir, '100'], { stdio: 'inherit' }),
  );
  const codes = await Promise.all(
    children.map(async (child) => ((await once(child, 'exit')) as [number])[0]),
  );
  expect(codes).toEqual([0, 0, 0]);
  expect(readFileSync(join(dir, 'count'), 'utf8')).toBe('300');
});

test('flock(1) and layerstack exclude each other', async () => {
  const dir = scratch();
  mkdirSync(join(dir, 'volumes'));
  const path = join(dir, 'volumes/metadata.db');
  const flock = (kind: '-x' | '-s'): number | null => spawnSync('flock', ['-n', kind, path, 'true']).status;
  const shared = await holdFlock(path, false, { create: 0o600 });
  expect([flock('-s'), flock('-x')]).toEqual([0, 1]);
  await shared?.release();
  expect(flock('-x')).toBe(0);
  const exclusive = await holdFlock(path, true);
  expect([flock('-s'), flock('-x')]).toEqual([1, 1]);
  await exclusive?.release();
});
