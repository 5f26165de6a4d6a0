/** Builds: stages, RUN, the cache, failures, and what they leave. The base is a busybox on scratch. */
import { chmodSync, copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
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
