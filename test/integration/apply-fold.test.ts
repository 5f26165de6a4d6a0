/**
 * A layer that replaces many of its own files: what is recorded of them is rewritten at the end
 * (tree/replaced_files).
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { assembleLayer } from '../../src/layer/assemble.ts';
import { call, native } from '../../src/system/native.ts';
import type { DiffID } from '../../src/core/digest.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';
import { LIMITS } from '../support/layers.ts';

let scratch: string;

beforeEach(() => {
  scratch = makeScratch('fold');
  mkdirSync(join(scratch, 'diff'));
});

afterEach(async () => {
  await call(native.removeTree(scratch, 'diff')); // too deep for node:fs
  await dropScratch(scratch);
});

/** `count` files below `directory`, each twice. */
const twice = (directory: string, count: number): Buffer =>
  tar(
    [1, 2].flatMap((round) =>
      Array.from({ length: count }, (_, file) => ({
        name: `${directory}${file}`,
        content: `${round} of ${file}`,
      })),
    ),
  );

const apply = () =>
  new native.LayerApply({ diff: join(scratch, 'diff'), tarSplit: join(scratch, 'split'), limits: LIMITS });

test('folding under the longest names costs only the names', async () => {
  const bytes = twice('d/'.repeat(1990), 1000);
  const layer = apply();
  const start = Date.now();
  for (let at = 0; at < bytes.length; at += 1 << 20)
    await call(layer.write(bytes.subarray(at, at + (1 << 20))));
  layer.end();
  const { diffId } = await call(layer.result);
  expect(Date.now() - start).toBeLessThan(60_000);
  const pieces: Uint8Array[] = [];
  const source = { diff: join(scratch, 'diff'), tarSplit: join(scratch, 'split'), diffId: diffId as DiffID };
  for await (const piece of assembleLayer(source)) pieces.push(piece);
  expect(Buffer.concat(pieces).equals(bytes)).toBe(true);
});

test('folding is stopped by an abort, also when all input has been read', async () => {
  const bytes = twice('files/', 4000);
  const layer = apply();
  const result = call(layer.result);
  result.catch(() => undefined);
  for (let at = 0; at < bytes.length; at += 1 << 20)
    await call(layer.write(bytes.subarray(at, at + (1 << 20))));
  layer.end();
  await expect
    .poll(() => existsSync(join(scratch, 'split.new')), { interval: 1, timeout: 60_000 })
    .toBe(true);
  layer.abort();
  await expect(result).rejects.toMatchObject({ code: 'ERR_ABORTED' });
});
