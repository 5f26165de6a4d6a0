/** dockerode's tests: `SUITE=DIR node test/suites/dockerode.js`, in a checkout where `npm install` was run. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, URL } from 'node:url';
import { docker } from './support/engine.js';
import { run } from './support/run.js';
import { checkout, runSuite } from './support/suite.js';

const TIMEOUTS = fileURLToPath(new URL('support/mocha-timeouts.js', import.meta.url));
/** Where the container does not start it leaves a request behind, whose end mocha takes for an error of whichever test comes next. */
const RACING = 'should accept next-exit condition before start is called';

const directory = checkout('node_modules/mocha', 'github.com/apocas/dockerode, with its packages installed');
await runSuite('dockerode', ['ubuntu:latest'], async ({ socket, scratch, host }) => {
  // Several of its tests take the image for granted.
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
