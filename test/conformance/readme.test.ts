/**
 * Runs the examples of the README and docs/tasks.md: the library snippet of the README, and every shell block
 * marked `<!-- run -->`. The blocks of a page run in their order, on one archive and one store.
 */
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CLI } from '../support/layerstack-cli.ts';
import { findProgram, havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';
import { archiveOfTars } from './support/archive.ts';

const HOME = fileURLToPath(new URL('../../', import.meta.url));
const page = (path: string): string => readFileSync(join(HOME, path), 'utf8');
const PACKAGE = JSON.parse(readFileSync(join(HOME, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
};

const shellBlocks = (path: string): string[] =>
  [...page(path).matchAll(/<!-- run -->\s+```sh\n([\s\S]*?)```/g)].map((match) => match[1] ?? '');
const LIBRARY = /```js\n([\s\S]*?)```/.exec(page('README.md'))?.[1] ?? '';

describe.runIf(havePeers('busybox', 'runc', 'gzip', 'bash')).each([
  ['README.md', 4],
  ['docs/tasks.md', 12],
])('%s', (path, least) => {
  const blocks = shellBlocks(path);
  let scratch: string;
  let env: Record<string, string>;

  beforeAll(() => {
    scratch = makeScratch('readme');
    const bin = join(scratch, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'layerstack'), `#!/bin/sh\nexec "${process.execPath}" "${CLI}" "$@"\n`);
    chmodSync(join(bin, 'layerstack'), 0o755);
    env = {
      PATH: `${bin}:${dirname(process.execPath)}:${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`,
      LAYERSTACK_ROOT: join(scratch, 'root'),
      LAYERSTACK_HOME: HOME,
    };
    const busybox = readFileSync(findProgram('busybox') ?? '');
    const layer = tar([
      { name: 'bin/', type: 'directory' },
      { name: 'bin/busybox', content: busybox, mode: 0o755 },
      ...['sh', 'echo'].map((name) => ({ name: `bin/${name}`, type: 'symlink', linkname: 'busybox' })),
      { name: 'etc/', type: 'directory' },
      { name: 'etc/passwd', content: 'root:x:0:0:root:/root:/bin/sh\n' },
    ]);
    writeFileSync(join(scratch, 'app.tar'), archiveOfTars({ layers: [layer], tags: ['app:1'] }));
  });

  afterAll(() => dropScratch(scratch));

  test.each(blocks.map((block) => [block.trim().split('\n')[0] ?? '', block] as const))(
    '%s',
    async (_, block) => {
      const printed = await must('bash', ['-euo', 'pipefail', '-c', block], { cwd: scratch, env });
      expect(printed.trim()).not.toBe('');
      if (block.includes('runc run')) expect(printed).toContain('hello from the container\n');
      expect(mountsBelow(scratch)).toEqual([]);
    },
  );

  test('has its blocks', () => expect(blocks.length).toBeGreaterThanOrEqual(least));

  if (path !== 'README.md') return;

  test('the library snippet', async () => {
    // As in a project that depends on layerstack, with a store of its own.
    mkdirSync(join(scratch, 'node_modules'));
    symlinkSync(HOME, join(scratch, 'node_modules/layerstack'));
    copyFileSync(join(scratch, 'app.tar'), join(scratch, 'library.tar'));
    const program = LIBRARY.replace('/var/lib/layerstack', join(scratch, 'library')).replace(
      'app.tar',
      'library.tar',
    );
    expect(program).toContain(join(scratch, 'library'));
    writeFileSync(join(scratch, 'snippet.mjs'), program);
    const printed = await must(process.execPath, ['snippet.mjs'], { cwd: scratch, env });
    expect(printed).toContain('root:x:0:0');
    expect(mountsBelow(scratch)).toEqual([]);
  });
});

test.each(['README.md', 'CONTRIBUTING.md', 'docs/tasks.md', 'docs/benchmarks.md', 'docs/installing.md'])(
  'every npm script that %s names exists',
  (path) => {
    for (const [, name] of page(path).matchAll(/npm run ([\w:]+)/g))
      expect(PACKAGE.scripts).toHaveProperty(name ?? '');
  },
);

test('every dependency has its line', () => {
  for (const name of Object.keys({ ...PACKAGE.dependencies, ...PACKAGE.devDependencies }))
    expect(page('docs/dependencies.md')).toContain(`\`${name}\``);
});
