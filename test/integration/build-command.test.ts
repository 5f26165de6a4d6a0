/** `layerstack build`: what it prints, its inputs on stdin, and its exit statuses. */
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findProgram } from '../../src/system/programs.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import type { Ran } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

let scratch: string;
let cli: LayerstackCli;

beforeAll(async () => {
  scratch = makeScratch('build-command');
  mkdirSync(join(scratch, 'context'));
  copyFileSync(findProgram('busybox') ?? '', join(scratch, 'context/busybox'));
  chmodSync(join(scratch, 'context/busybox'), 0o755);
  writeFileSync(
    join(scratch, 'context/Dockerfile'),
    ['FROM scratch', 'COPY busybox /bin/sh', 'COPY busybox /bin/cat', 'ENV A=1', ''].join('\n'),
  );
  cli = new LayerstackCli(join(scratch, 'store'));
  await cli.run('build', '-q', '-t', 'base:1', join(scratch, 'context'));
});

afterAll(() => dropScratch(scratch));

/** Builds a Dockerfile that is on stdin. */
const build = (lines: readonly string[], ...options: string[]): Promise<Ran> =>
  cli.try(['build', ...options, '-'], { input: lines.join('\n') });

test('prints the steps and the output of commands, and writes the id to a file', async () => {
  const iidfile = join(scratch, 'id');
  const options = ['-t', 'a:1', '--build-arg', 'X=2', '--build-arg', 'Y=3', '--iidfile', iidfile];
  const { status, stdout, stderr } = await build(['FROM base:1', 'ARG X', 'RUN echo "x is $X"'], ...options);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout.replace(/\b[0-9a-f]{12}\b/g, 'ID')).toBe(
    [
      ...['Step 1/3 : FROM base:1', ' ---> ID', 'Step 2/3 : ARG X', ' ---> ID'],
      ...['Step 3/3 : RUN echo "x is $X"', ' ---> Running in ID', 'x is 2'],
      ...['Removing intermediate container ID', ' ---> ID'],
      '[Warning] One or more build-args [Y] were not consumed',
      ...['Successfully built ID', 'Successfully tagged a:1', ''],
    ].join('\n'),
  );
  const id = readFileSync(iidfile, 'utf8');
  expect(await cli.inspect('a:1')).toMatchObject({ Id: id });
  const again = await build(['FROM base:1', 'ARG X', 'RUN echo "x is $X"'], '-q', '--build-arg', 'X=2');
  expect(again.stdout).toBe(`${id}\n`);
});

test('takes a tar from stdin, and a Dockerfile outside of the context', async () => {
  const archive = tar([
    { name: 'other', content: 'FROM base:1\nCOPY file /file\nRUN cat /file\n' },
    { name: 'file', content: 'of the tar\n' },
  ]);
  const packed = await cli.try(['build', '-f', 'other', '-'], { input: archive });
  expect(packed.stdout).toContain('\nof the tar\n');
  writeFileSync(join(scratch, 'outside'), 'FROM base:1\nCOPY Dockerfile /x\nRUN cat /x\n');
  const outside = await cli.try(['build', '-f', join(scratch, 'outside'), join(scratch, 'context')]);
  expect(outside.stdout).toContain('\nCOPY busybox /bin/cat\n');
});

test.each([
  [['FROM base:1', 'RUN echo why; exit 7'], 7, / {4}why\n {2}2 \| RUN.*\n.*\^\nlayerstack: ERR_RUN_FAILED: /],
  [['FROM base:1', 'RUNN x'], 1, / {2}2 \| RUNN x\n.*\^\nlayerstack: ERR_DOCKERFILE_INVALID: Dockerfile:2: /],
  [
    ['FROM base:1', 'COPY missing /x'],
    1,
    / {2}2 \| COPY.*\n.*\^\nlayerstack: ERR_PATH_NOT_FOUND: Dockerfile:2: /,
  ],
])('shows the line of an error, and exits with its status: %j', async (lines, status, text) => {
  const failed = await build(lines);
  expect(failed.status).toBe(status);
  expect(failed.stderr).toMatch(text);
});

test.each([
  [['--progress', 'tty', '.'], '--progress "tty" is unknown'],
  [['--network', 'bridge', '.'], '--network "bridge" is not supported'],
  [['--secret', 'id=a', '.'], 'write id=ID,src=FILE'],
  [['-f', '-', '-'], 'cannot both be stdin'],
  [['https://example.org/a.git'], 'is a URL'],
  [['-f', '/missing/Dockerfile', '.'], '/missing/Dockerfile does not exist'],
])('refuses %j as a wrong command line', async (options, why) => {
  const failed = await cli.try(['build', ...options]);
  expect(failed.status).toBe(125);
  expect(failed.stderr).toContain(why);
});
