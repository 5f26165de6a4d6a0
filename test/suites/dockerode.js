/** dockerode's tests: `SUITE=DIR node test/suites/dockerode.js`, in a checkout after `npm install`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, URL } from 'node:url';
import { docker } from './support/engine.js';
import { run } from './support/run.js';
import { checkout, runSuite } from './support/suite.js';

const TIMEOUTS = fileURLToPath(new URL('support/mocha-timeouts.js', import.meta.url));
/**
 * If the container does not start, this test leaves an open request. mocha blames the end of that request on
 * a later test.
 */
const RACING = 'should accept next-exit condition before start is called';

const directory = checkout('node_modules/mocha', 'github.com/apocas/dockerode, with its packages installed');
await runSuite('dockerode', ['ubuntu:latest'], async ({ socket, scratch, host }) => {
  // Several of its tests assume that the image exists.
  await docker(socket, 'pull', '-q', 'ubuntu:latest');
  const json = join(scratch, 'report.json');
  const { output } = await run(
    process.execPath,
    [
      'node_modules/mocha/bin/mocha.js',
      '--exit',
      ...['--require', TIMEOUTS, '--invert', '--fgrep', RACING],
      '--reporter',
      'json',
      '--reporter-option',
      `output=${json}`,
    ],
    {
      failing: true,
      cwd: directory,
      env: { ...process.env, DOCKER_HOST: `unix://${socket}`, REGISTRY: host, TIMEOUT_MS: '20000' },
    },
  );
  let report;
  try {
    report = JSON.parse(readFileSync(json, 'utf8'));
  } catch (error) {
    throw new Error(`mocha left no report:\n${output}`, { cause: error });
  }
  const named = (outcome) => (test) => ({
    name: test.fullTitle,
    outcome,
    detail: `${test.err?.message ?? ''}`.slice(0, 600),
  });
  return [
    ...report.passes.map(named('passed')),
    ...report.failures.map(named('failed')),
    ...report.pending.map(named('skipped')),
  ];
});
