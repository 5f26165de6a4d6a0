/** Runs integration tests in a guest, and reads their result. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { run } from '../suites/support/run.js';
import { boot } from './machine.js';

const HOME = fileURLToPath(new URL('../../', import.meta.url)).replace(/\/$/, '');

/** Writes vitest's cache of transformed modules, because that work takes a minute under emulation. */
export async function transformed(files, cache) {
  const words = ['--experimental.fsModuleCache', '--experimental.fsModuleCachePath', cache];
  await run('npx', ['vitest', 'list', '--project', 'integration', ...words, ...files], { cwd: HOME });
}

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return '';
    throw error;
  }
}

/** Returns the state of one of doctor's rows. */
function found(doctor, row) {
  const lines = doctor.split('\n').filter((line) => line.startsWith('{'));
  const detail = lines.map((line) => JSON.parse(line)).find(({ name }) => name === row)?.detail;
  return detail?.split(/[ :]/)[0] ?? 'unknown';
}

/**
 * Runs the tests on a kernel.
 * @param options.files the test files; all without any
 * @param options.cache the folder of {@link transformed}
 * @param options.seconds the bound
 * @returns the mount methods that doctor reports, the numbers of passed, failed and skipped tests, and
 *   vitest's output where something failed.
 */
export async function runTests(kernel, scratch, { files, cache, seconds }) {
  const result = join(scratch, 'result');
  mkdirSync(result);
  writeFileSync(join(result, 'files'), files.map((file) => `${file}\n`).join(''));
  const disk = join(scratch, 'disk');
  await run('mke2fs', ['-q', '-t', 'ext4', disk, '8G']);
  const shares = {
    host: { path: '/' },
    checkout: { path: HOME },
    modules: { path: kernel.modules },
    cache: { path: cache, writable: true },
    result: { path: result, writable: true },
  };
  const words = [`checkout=${HOME}`];
  const { text, ended } = await boot({ kernel, disk: { path: disk }, shares, words, seconds });
  const doctor = read(join(result, 'doctor'));
  const methods = { mount: found(doctor, 'mount'), erofs: found(doctor, 'erofs') };
  const log = stripVTControlCharacters(read(join(result, 'log')));
  const report = read(join(result, 'report'));
  if (!ended || report === '')
    return {
      ...methods,
      passed: 0,
      failed: 1,
      log: `${log}\n${text}\nThe tests did not end in ${seconds} s`,
    };
  const {
    numPassedTests: passed,
    numPendingTests: skipped,
    numFailedTests,
    testResults,
  } = JSON.parse(report);
  // A file that fails before its first test has no test to count.
  const broken = testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0,
  );
  const failed = numFailedTests + broken.length;
  return { ...methods, passed, failed, skipped, log: failed > 0 ? log : '' };
}
