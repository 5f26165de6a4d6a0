/**
 * npm run test:kernels [-- KERNEL... FILE...]: runs integration tests on Debian's kernels in qemu, and boots
 * a machine with each kernel from a disk image that `layerstack image` writes.
 *
 * KERNEL is 5.10, 6.1 or 6.12; the default is all of them. FILE is a test file; the default is a
 * selection, and `all` stands for the whole integration suite. A kernel has 20 minutes, or those that
 * LAYERSTACK_KERNEL_MINUTES says. With VERBOSE set, the consoles are printed.
 *
 * Needs root, Debian's apt, qemu-system-x86, a static busybox, xz, mke2fs, debootstrap, and `npm run
 * prepare`. Ends with a table. The exit status is 1 if a test or a boot failed.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { bootableDisk, bootFault } from './boot.js';
import { kernelOf, KERNELS, missingPrograms } from './kernel.js';
import { runTests, transformed } from './tests.js';

const words = process.argv.slice(2);
const chosen = words.filter((word) => KERNELS.has(word));
const kernels = chosen.length > 0 ? chosen : [...KERNELS.keys()];
const named = words.filter((word) => !KERNELS.has(word));
const missing = missingPrograms();
const unknown = named.filter((word) => word !== 'all' && !word.endsWith('.test.ts'));
if (unknown.length > 0)
  fail(`unknown: ${unknown.join(', ')}; the kernels are ${[...KERNELS.keys()].join(', ')}`);
if (missing.length > 0) fail(`not installed: ${missing.join(', ')}`);

function fail(message) {
  console.error(message);
  process.exit(2);
}

/** The tests that run where none are named. Tests that name a mount method fail on kernels without it. */
const COMMON = ['disk-image'];
const PACKED = ['packed-archive', 'packed-forms'];

/** Returns the test files for a kernel; an empty list stands for all. */
function filesFor(name) {
  if (named.includes('all')) return [];
  if (named.length > 0) return named;
  const names = KERNELS.get(name).packed ? PACKED : COMMON;
  return names.map((each) => `test/integration/${each}.test.ts`);
}

const scratch = mkdtempSync(join(tmpdir(), 'layerstack-kernels-'));
// It also runs when machine.js ends the process.
process.once('exit', () => rmSync(scratch, { recursive: true, force: true }));

/** Boots the disk and runs the tests on a kernel. Returns its line of the table. */
async function check(name, disk) {
  const options = { files: filesFor(name), cache, seconds };
  await transformed(options.files, cache);
  const start = performance.now();
  const kernel = await kernelOf(name);
  const at = join(scratch, name);
  mkdirSync(at);
  console.log(`Linux ${kernel.version} ...`);
  const fault = await bootFault(kernel, disk);
  const { mount, erofs, passed, failed, skipped, log } = await runTests(kernel, at, options);
  rmSync(at, { recursive: true });
  if (fault !== undefined) console.log(fault);
  if (log !== '') console.log(log);
  if (fault !== undefined || failed > 0 || passed === 0) process.exitCode = 1;
  const cells = [kernel.version, mount, erofs, fault === undefined ? 'yes' : 'no'];
  cells.push(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  return `| ${cells.join(' | ')} | ${Math.round((performance.now() - start) / 1000)} s |`;
}

const seconds = Number(process.env.LAYERSTACK_KERNEL_MINUTES ?? 20) * 60;
const cache = join(scratch, 'cache');
const disk = await bootableDisk(scratch);
const lines = [];
for (const name of kernels) lines.push(await check(name, disk));
console.log('| Linux | mount | erofs | boots | tests | time |\n| --- | --- | --- | --- | --- | --- |');
console.log(lines.join('\n'));
