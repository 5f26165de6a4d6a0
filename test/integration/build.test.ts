/** Builds: stages, RUN, the cache, failures, and what they leave. The base is a busybox on scratch. */
import { chmodSync, copyFileSync, createWriteStream, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Layerstack } from '../../src/index.ts';
import { findProgram } from '../../src/system/programs.ts';
import type { BuildOptions, BuildResult } from '../../src/build/options.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';

let scratch: string;
let store: Layerstack;
let output: string;

const BASE = ['FROM scratch AS base', 'COPY busybox /bin/sh', 'COPY busybox /bin/cat'];

beforeEach(async () => {
  scratch = makeScratch('build');
  output = '';
  mkdirSync(join(scratch, 'context'));
  copyFileSync(findProgram('busybox') ?? '', join(scratch, 'context/busybox'));
  chmodSync(join(scratch, 'context/busybox'), 0o755);
  store = await Layerstack.open({ root: join(scratch, 'store') });
});

afterEach(async () => {
  await store.close();
  await dropScratch(scratch);
});

function build(lines: readonly string[], options: BuildOptions = {}): Promise<BuildResult> {
  writeFileSync(join(scratch, 'context/Dockerfile'), [...BASE, ...lines].join('\n'));
  return store.images.build(join(scratch, 'context'), {
    ...options,
    onProgress: (event) => {
      if (event.type === 'stream') output += event.text;
    },
  });
}

test('stages, arguments, directories and commands make an image, which the next build finds', async () => {
  const lines = [
    'FROM base AS one',
    'ARG V=1',
    'ENV A=${V}x',
    'WORKDIR /w/d',
    'RUN echo "hello $A" > f',
    'FROM base AS unused',
    'RUN exit 9',
    'FROM base',
    'COPY --from=one /w /copied',
    'RUN cat /copied/d/f',
    'CMD ["sh"]',
  ];
  const { imageId, tags, warnings } = await build(lines, { tags: ['x:1'], buildArgs: { V: '2', W: '3' } });
  expect(output).toContain('hello 2x\n');
  expect({ tags, warnings }).toEqual({
    tags: ['x:1'],
    warnings: ['One or more build-args [W] were not consumed'],
  });
  const { Config } = await store.images.inspect('x:1');
  expect(Config).toMatchObject({ Cmd: ['sh'] });
  output = '';
  expect((await build(lines, { buildArgs: { V: '2' } })).imageId).toBe(imageId);
  expect(output).not.toContain('Running in');
});

test('the same date gives the same image in another build', async () => {
  const lines = ['FROM base', 'RUN echo x > /x'];
  const first = await build(lines, { noCache: true, sourceDateEpoch: 1_000_000 });
  const second = await build(lines, { noCache: true, sourceDateEpoch: 1_000_000 });
  expect(second.imageId).toBe(first.imageId);
});

test('an image that was loaded is not a step, though it says so', async () => {
  await store.images.build(join(scratch, 'context'), {
    dockerfileText: 'FROM scratch\nCOPY busybox /x',
    tags: ['x'],
  });
  const archive = join(scratch, 'x.tar');
  await pipeline(store.images.save(['x']), createWriteStream(archive));
  await store.close();
  store = await Layerstack.open({ root: join(scratch, 'other') });
  await store.images.load(archive);
  const again = (tags: string[]): Promise<BuildResult> =>
    store.images.build(join(scratch, 'context'), {
      ...{ dockerfileText: 'FROM scratch\nCOPY busybox /x', tags },
      onProgress: (event) => {
        if (event.type === 'stream') output += event.text;
      },
    });
  const { imageId } = await again(['y']);
  expect(output).not.toContain('Using cache');
  expect((await again(['z'])).imageId).toBe(imageId);
  expect(output).toContain('Using cache');
});

test('a step that was built with another date is made again', async () => {
  const lines = ['FROM base', 'ENV A=1'];
  const plain = await build(lines);
  const dated = await build(lines, { sourceDateEpoch: 1_000_000 });
  expect((await store.images.inspect(dated.imageId)).Created).toBe('1970-01-12T13:46:40Z');
  expect(await build(lines, { sourceDateEpoch: 1_000_000 })).toEqual(dated);
  expect((await build(lines, { sourceDateEpoch: 2_000_000 })).imageId).not.toBe(dated.imageId);
  expect(await build(lines)).toEqual(plain);
});

test('a missing image of the cache is a warning, and its cache is empty', async () => {
  const lines = ['FROM base', 'ENV A=1'];
  await build(lines, { tags: ['x'] });
  output = '';
  const { warnings } = await build(lines, { cacheFrom: ['missing'] });
  expect(warnings).toEqual(['No such image: missing. The build goes on without its cache']);
  expect(output).not.toContain('Using cache');
  expect((await build(lines, { cacheFrom: ['missing', 'x'] })).warnings).toHaveLength(1);
  expect(output).toContain('Using cache');
});

test('another start interval of HEALTHCHECK is another step', async () => {
  const lines = (time: string): string[] => ['FROM base', `HEALTHCHECK --start-interval=${time} CMD true`];
  const { imageId } = await build(lines('1s'));
  expect((await build(lines('2s'))).imageId).not.toBe(imageId);
  expect((await build(lines('1s'))).imageId).toBe(imageId);
});

test('more steps without files than are kept in memory are all in the store', async () => {
  const lines = ['FROM base', ...Array.from({ length: 70 }, (_, index) => `ENV A${index}=x`)];
  const { imageId } = await build(lines);
  const history = await store.images.history(imageId);
  expect(history.filter(({ Id }) => Id !== '<missing>')).toHaveLength(72);
  expect((await build(lines)).imageId).toBe(imageId);
});

test('a command that fails ends the build with its line, and leaves neither container nor mount', async () => {
  await expect(build(['FROM base', 'RUN echo why; exit 7'])).rejects.toMatchObject({
    code: 'ERR_RUN_FAILED',
    found: 7,
    message: expect.stringMatching(/Dockerfile:5: .*non-zero code: 7[^]*why[^]*\n {2}5 \| RUN/) as string,
  });
  expect(await store.containers.list()).toEqual([]);
  expect(mountsBelow(scratch)).toEqual([]);
  expect(readdirSync(join(scratch, 'store/image/overlay2/layerdb/mounts'))).toEqual([]);
});

test.each([
  [['FROM base', 'RUNN x'], 'unknown instruction: RUNN. Did you mean RUN?'],
  [['FROM base', 'COPY --form=x a b'], 'did you mean --from?'],
  [['FROM base AS a', 'COPY --from=a /x /y'], 'the stage a depends on itself'],
  [['FROM base', 'RUN --mount=type=ssh x'], 'type=ssh is not supported'],
])('refuses %j before anything is made', async (lines, why) => {
  await expect(build(lines)).rejects.toMatchObject({
    code: 'ERR_DOCKERFILE_INVALID',
    message: expect.stringContaining(why) as string,
  });
  expect(output).toBe('');
});
