/**
 * The unionmount-testsuite on our mounts: `SUITE=DIR node test/suites/unionmount.js [TEST…]`. Its `mount` of
 * an overlay is ours (unionmount-mount.js). `METHOD` selects the mount method: fsconfig (default) or mount.
 */
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, URL } from 'node:url';
import { run } from './support/run.js';
import { checkout, report, withScratch } from './support/suite.js';

const MOUNT = fileURLToPath(new URL('unionmount-mount.js', import.meta.url));

const directory = checkout('mount_union.py', 'github.com/amir73il/unionmount-testsuite');
const wanted = process.argv.slice(2);
const tests = readdirSync(join(directory, 'tests'))
  .filter((name) => name.endsWith('.py'))
  .map((name) => name.replace('.py', ''))
  .filter((name) => wanted.length === 0 || wanted.includes(name));

const results = [];
await withScratch(async (scratch) => {
  const programs = join(scratch, 'bin');
  const base = join(scratch, 'base');
  // Some of its tests drop root privileges.
  chmodSync(scratch, 0o755);
  mkdirSync(programs);
  mkdirSync(base);
  writeFileSync(join(programs, 'mount'), `#!/bin/sh\nexec ${process.execPath} ${MOUNT} "$@"\n`);
  chmodSync(join(programs, 'mount'), 0o755);
  await run('mount', ['-t', 'tmpfs', 'base', base]);
  const env = {
    ...process.env,
    PATH: `${programs}:${process.env.PATH}`,
    UNIONMOUNT_BASEDIR: base,
    PYTHONDONTWRITEBYTECODE: '1',
  };
  try {
    for (const name of tests) {
      const { status, output } = await run('/usr/bin/python3', ['./run', '--ov', '--xdev', name], {
        failing: true,
        cwd: directory,
        env,
      });
      results.push({ name, outcome: status === 0 ? 'passed' : 'failed', detail: output.slice(-1500) });
    }
  } finally {
    await run('umount', ['-R', base]);
  }
});
report('unionmount', results);
