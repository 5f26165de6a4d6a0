/**
 * Runs another project's tests once: checks the checkout, starts a registry and an engine, runs the tests,
 * and prints how many passed, failed and were out of scope. The last line is `N passed, N failed, N out of
 * scope`.
 */
import { existsSync, mkdtempSync, readFileSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, URL } from 'node:url';
import { withRegistry } from '../../../bench/support/registry.js';
import { dropDirectory } from '../../../bench/support/undo.js';
import { withEngine } from './engine.js';
import { publish } from './images.js';

/**
 * Reads `known/SUITE.txt`, the list of tests that are out of scope, with the feature that each one needs:
 * lines `PATTERN  # WHY`, where `*` matches any text. A line that begins with `# ` is a comment.
 * @returns a function from a test's name to the reason, or undefined.
 */
function outOfScope(suite) {
  const lines = readFileSync(fileURLToPath(new URL(`../known/${suite}.txt`, import.meta.url)), 'utf8').split(
    '\n',
  );
  const known = lines
    .filter((line) => !/^(?:#(?: .*)?)?$/.test(line))
    .map((line) => {
      const [pattern, why = ''] = line.split(/ {2}# /);
      const source = pattern
        .trim()
        .replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&')
        .replaceAll('*', '.*');
      return { expression: new RegExp(`^${source}$`), why };
    });
  return (name) => known.find(({ expression }) => expression.test(name))?.why;
}

/**
 * Prints the results and sets the exit status. It is 1 if a test in scope failed, or if a test passed that is
 * listed as out of scope, so that the list stays true. If several tests have one name, some of them may pass,
 * but not all. Results of another engine are for comparison: all its tests are in scope.
 */
export function report(suite, results, engine = 'layerstack') {
  const reason = engine === 'layerstack' ? outOfScope(suite) : () => undefined;
  const failing = new Set(results.filter(({ outcome }) => outcome === 'failed').map(({ name }) => name));
  const failed = [];
  let passed = 0;
  let outside = 0;
  let outdated = 0;
  for (const { name, outcome, detail } of results) {
    const why = reason(name);
    if (outcome === 'skipped') console.log(`skipped by the suite: ${name}`);
    else if (outcome === 'passed') passed++;
    else if (why === undefined) failed.push({ name, detail });
    else {
      outside++;
      console.log(`out of scope: ${name}: ${why}`);
    }
    if (outcome === 'passed' && why !== undefined && !failing.has(name)) {
      outdated++;
      console.log(`passes now, though out of scope: ${name}`);
    }
  }
  for (const { name, detail } of failed)
    console.log(`failed: ${name}\n${(detail ?? '').replaceAll(/^/gm, '    ')}`);
  console.log(`${passed} passed, ${failed.length} failed, ${outside} out of scope`);
  if (failed.length > 0 || outdated > 0 || passed === 0) process.exitCode = 1;
}

/**
 * Returns the checkout that `SUITE` names. @throws Error if it is missing or lacks the file that the suite
 * needs.
 */
export function checkout(needs, where) {
  const directory = process.env.SUITE;
  if (!directory || !existsSync(join(directory, needs)))
    throw new Error(`SUITE names a checkout of ${where} (with ${needs})`);
  return realpathSync(directory);
}

/** Passes a scratch directory to `work`, and then removes it with all mounts below it. */
export async function withScratch(work) {
  const scratch = realpathSync(mkdtempSync(join(tmpdir(), 'layerstack-suite-')));
  try {
    return await work(scratch);
  } finally {
    dropDirectory(scratch);
  }
}

/**
 * Runs a suite against an engine's socket.
 * @param images - the images that the suite finds on docker.io; see images.js.
 * @param work - gets `{ socket, scratch, host }` and returns the results.
 */
export async function runSuite(suite, images, work) {
  await withScratch((scratch) =>
    withRegistry(async (host) => {
      await publish(scratch, host, images);
      const mirror = `http://${host.replace('localhost', '127.0.0.1')}`;
      await withEngine(scratch, mirror, async ({ name, socket }) =>
        report(suite, await work({ socket, scratch, host }), name),
      );
    }),
  );
}
