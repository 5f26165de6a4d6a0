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

test('RUN does not open the network of the host unless the caller does', async () => {
  const lines = ['FROM base', 'RUN --network=host ls /sys/class/net'];
  await expect(build(lines)).rejects.toMatchObject({
    code: 'ERR_DOCKERFILE_INVALID',
    message: expect.stringContaining('build with --network host') as string,
  });
  await build(lines, { network: 'host' });
  expect(output).toContain('Running in');
});

test('a heredoc is a script of the shell, or of the interpreter that its first line names', async () => {
  await build([
    'FROM base',
    'RUN <<EOF',
    'echo one',
    'echo two',
    'EOF',
    'RUN <<EOF',
    '#!/bin/cat',
    'text',
    'EOF',
  ]);
  expect(output).toContain('one\ntwo\n');
  expect(output).toContain('#!/bin/cat\ntext\n');
  expect(readdirSync(join(scratch, 'store/layerstack/contexts'))).toEqual([]);
  output = '';
  await build(['FROM base', 'RUN <<EOF', '#!/bin/cat', 'text', 'EOF']);
  await build(['FROM base', 'RUN <<EOF', '#!/bin/cat', 'other', 'EOF']);
  expect(output).toContain('#!/bin/cat\nother\n');
});

test('a secret is in neither layer, history nor the key of the cache', async () => {
  const token = join(scratch, 'token');
  writeFileSync(token, 'first-secret');
  const lines = [
    'FROM base',
    'RUN --mount=type=secret,id=t cat /run/secrets/t > /dev/null; echo done > /done',
  ];
  const first = await build(lines, { secrets: { t: token }, tags: ['s:1'] });
  writeFileSync(token, 'second-secret');
  expect((await build(lines, { secrets: { t: token } })).imageId).toBe(first.imageId);
  const archive: Buffer[] = [];
  for await (const piece of store.images.save(['s:1'])) archive.push(Buffer.from(piece));
  const text = Buffer.concat(archive).toString('latin1');
  expect(text).toContain('done');
  expect(text).not.toContain('first-secret');
  output = '';
  await build(['FROM s:1', 'RUN [ -e /run/secrets ] || echo "nothing is left"']);
  expect(output).toContain('\nnothing is left\n');
});

test('a secret that is required and not given ends the build with its line', async () => {
  const lines = ['FROM base', 'RUN --mount=type=secret,id=t,required=true cat /run/secrets/t'];
  await expect(build(lines)).rejects.toMatchObject({
    code: 'ERR_PATH_NOT_FOUND',
    message: expect.stringContaining('--secret id=t,src=FILE') as string,
  });
});

test('mounts of RUN show a context, keep a cache and lend memory, and leave nothing in the layer', async () => {
  writeFileSync(join(scratch, 'context/note'), 'from the context\n');
  const lines = (word: string): string[] => [
    'FROM base',
    'RUN --mount=type=bind,source=note,target=/n cat /n',
    `RUN --mount=type=cache,target=/c echo ${word} >> /c/log; cat /c/log`,
    'RUN --mount=type=tmpfs,target=/t echo x > /t/x',
    'RUN for d in /n /c /t; do [ -e $d ] && echo "left $d"; done; true',
  ];
  await build(lines('one'));
  expect(output).toContain('from the context\n');
  output = '';
  await build(lines('two'));
  expect(output).toContain('one\ntwo\n');
  expect(output).not.toContain('left /');
});

test('labels, triggers, the shell and the check of health are in the config', async () => {
  await build(['FROM base', 'ONBUILD RUN echo "trigger ran"'], { tags: ['parent:1'] });
  expect(output).not.toContain('trigger ran\n');
  const lines = [
    'FROM parent:1',
    'SHELL ["/bin/sh", "-e", "-c"]',
    'HEALTHCHECK --retries=2 CMD true',
    'CMD x',
  ];
  await build(lines, { tags: ['child:1'], labels: { 'a b': "it's" } });
  expect(output).toContain('# Executing 1 build trigger\n');
  expect(output).toContain('\ntrigger ran\n');
  const { Config } = await store.images.inspect('child:1');
  expect(Config).toMatchObject({
    ...{ Cmd: ['/bin/sh', '-e', '-c', 'x'], Shell: ['/bin/sh', '-e', '-c'], OnBuild: null },
    ...{ Healthcheck: { Test: ['CMD-SHELL', 'true'], Retries: 2 }, Labels: { 'a b': "it's" } },
  });
});

test('squash makes one layer above the base, and target builds an earlier stage', async () => {
  await build(['FROM base', 'RUN echo 1 > /1'], { tags: ['below:1'] });
  const below = (await store.images.inspect('below:1')).RootFS.Layers ?? [];
  const lines = ['FROM below:1 AS a', 'RUN rm /1; echo 2 > /2', 'RUN echo 3 > /3', 'FROM a', 'RUN exit 1'];
  await build(lines, { target: 'a', squash: true, tags: ['squashed:1'] });
  const layers = (await store.images.inspect('squashed:1')).RootFS.Layers ?? [];
  expect(layers.slice(0, -1)).toEqual(below);
  output = '';
  await build(['FROM squashed:1', 'RUN cat /2 /3; [ -e /1 ] || echo "1 is gone"']);
  expect(output).toContain('2\n3\n1 is gone\n');
});
