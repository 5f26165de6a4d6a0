/**
 * The README's own words: its library snippet and every shell block marked `<!-- run -->`, run as a reader would, in
 * their order, on one archive and one store.
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
const README = readFileSync(join(HOME, 'README.md'), 'utf8');
const PACKAGE = JSON.parse(readFileSync(join(HOME, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
};

const SHELL = [...README.matchAll(/<!-- run -->\s+```sh\n([\s\S]*?)```/g)].map((match) => match[1] ?? '');
const LIBRARY = /```js\n([\s\S]*?)```/.exec(README)?.[1] ?? '';

describe.runIf(havePeers('busybox', 'runc', 'gzip', 'bash'))('README', () => {
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

  test.each(SHELL.map((block) => [block.trim().split('\n')[0] ?? '', block] as const))(
    '%s',
    async (_, block) => {
      const printed = await must('bash', ['-euo', 'pipefail', '-c', block], { cwd: scratch, env });
      expect(printed.trim()).not.toBe('');
      if (block.includes('runc run')) expect(printed).toContain('hello from the container\n');
      expect(mountsBelow(scratch)).toEqual([]);
    },
  );

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

  test('there are blocks, and every npm script that it names exists', () => {
    expect(SHELL.length).toBeGreaterThan(4);
    for (const [, name] of README.matchAll(/npm run ([\w:]+)/g))
      expect(PACKAGE.scripts).toHaveProperty(name ?? '');
  });

  test('every dependency has its line', () => {
    for (const name of Object.keys({ ...PACKAGE.dependencies, ...PACKAGE.devDependencies }))
      expect(README).toContain(`\`${name}\``);
  });
});
