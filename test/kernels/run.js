/**
 * npm run test:kernels [-- KERNEL... FILE...]: runs integration tests on Debian's kernels in qemu, and boots
 * a machine with each kernel from a disk image that `layerstack image` writes.
 *
 * KERNEL is 5.10, 6.1 or 6.12; the default is all of them. FILE is a test file; the default is those that
 * files.txt lists, and `all` stands for the whole integration suite. A kernel has 20 minutes, or those that
 * LAYERSTACK_KERNEL_MINUTES says. With VERBOSE set, the consoles are printed.
 *
 * Needs root, Debian's apt, qemu-system-x86, a static busybox, xz, mke2fs, debootstrap, and `npm run
 * prepare`. Ends with a table. The exit status is 1 if a test or a boot failed.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { bootableDisk, bootFault } from './boot.js';
import { kernelOf, KERNELS, missingPrograms } from './kernel.js';
import { runTests, transformed } from './tests.js';

const words = process.argv.slice(2);
const chosen = words.filter((word) => word in KERNELS);
const kernels = chosen.length > 0 ? chosen : Object.keys(KERNELS);
const named = words.filter((word) => !(word in KERNELS));
const missing = missingPrograms();
const unknown = named.filter((word) => word !== 'all' && !word.endsWith('.test.ts'));
if (unknown.length > 0)
  fail(`unknown: ${unknown.join(', ')}; the kernels are ${Object.keys(KERNELS).join(', ')}`);
if (missing.length > 0) fail(`not installed: ${missing.join(', ')}`);

function fail(message) {
  console.error(message);
  process.exit(2);
}

function testFiles() {
  if (named.includes('all')) return [];
  if (named.length > 0) return named;
  const listed = readFileSync(new URL('files.txt', import.meta.url), 'utf8');
  return listed.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
}

const scratch = mkdtempSync(join(tmpdir(), 'layerstack-kernels-'));
// It also runs when machine.js ends the process.
process.once('exit', () => rmSync(scratch, { recursive: true, force: true }));

/** Boots the disk and runs the tests on a kernel. Returns its line of the table. */
async function check(name, disk, options) {
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
const options = { files: testFiles(), cache: join(scratch, 'cache'), seconds };
const disk = await bootableDisk(scratch);
await transformed(options.files, options.cache);
const lines = [];
for (const name of kernels) lines.push(await check(name, disk, options));
console.log('| Linux | mount | erofs | boots | tests | time |\n| --- | --- | --- | --- | --- | --- |');
console.log(lines.join('\n'));
