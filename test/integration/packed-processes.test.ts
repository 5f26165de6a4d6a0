/** Many processes that load, settle, pack, mount and remove the same packed images at once. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { writeArchive } from '../support/packed-layers.ts';

const LAYERS = ['a', 'b', 'c'].map((name) => layerOf({ [name]: name.repeat(100_000) }));
const IMAGES = [imageOf(LAYERS.slice(0, 2), { tags: ['base:1'] }), imageOf(LAYERS, { tags: ['app:1'] })];
const PROCESSES = 8;

let scratch: string;
let root: string;

beforeEach(() => {
  scratch = makeScratch('packed-processes');
  root = join(scratch, 'store');
});

afterEach(async () => {
  expect(mountsBelow(scratch)).toEqual([]);
  await dropScratch(scratch);
});

/** Commands may fail like this because another process was faster. */
const RACE = /ERR_(?:IMAGE_NOT_FOUND|IMAGE_IN_USE|LAYER_NOT_FOUND|CONTAINER_\w+)|No such (?:image|container)/;

it('leaves a clean store', async () => {
  await (await Layerstack.open({ root })).close();
  const archive = writeArchive(join(scratch, 'two.tar'), dockerArchive(IMAGES));
  const cli = new LayerstackCli(root);
  const errors: string[] = [];
  const worker = async (number: number): Promise<void> => {
    const box = `box-${String(number)}`;
    const steps: readonly (readonly string[])[] = [
      ['load', '--packed', '-i', archive],
      ['create', '--name', box, 'app:1'],
      ['mount', box],
      [number % 2 === 0 ? 'settle' : 'pack', 'base:1', 'app:1'],
      ['diff', box],
      ['unmount', box],
      ['pack', 'app:1'],
      ['rm', '-f', box],
      ['rmi', '-f', number % 2 === 0 ? 'app:1' : 'base:1'],
    ];
    for (const step of steps) {
      const { status, stderr, command } = await cli.try(step);
      if (status !== 0 && !RACE.test(stderr)) errors.push(`${command}: ${String(status)} ${stderr}`);
    }
  };
  await Promise.all(Array.from({ length: PROCESSES }, (_, number) => worker(number)));
  expect(errors).toEqual([]);
  await using store = await Layerstack.open({ root });
  const findings: unknown[] = [];
  for await (const finding of store.fsck({ deep: true })) findings.push(finding);
  expect(findings).toEqual([]);
  // The store works, and what nothing needs goes.
  await store.images.load(archive, { form: 'packed' });
  await store.images.pack(['base:1', 'app:1']);
  await store.images.remove('app:1');
  await store.images.remove('base:1');
  await store.images.prune({ all: true });
  await store.close();
  const left = ['image/overlay2/layerdb/sha256', 'layerstack/packed/layers', 'layerstack/packed/lowers'];
  expect(left.map((path) => readdirSync(join(root, path)))).toEqual([[], [], []]);
  expect(readdirSync(join(root, 'overlay2'))).toEqual(['l']);
}, 300_000);
