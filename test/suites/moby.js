/**
 * moby's integration tests of images: `SUITE=DIR node test/suites/moby.js [EXPRESSION]`. `GO` names the Go
 * that builds them (default `go`); go.mod in the checkout has the oldest version that works.
 */
import { join } from 'node:path';
import { docker } from './support/engine.js';
import { run } from './support/run.js';
import { checkout, runSuite } from './support/suite.js';

const IMAGES = [
  ...['busybox:latest', 'busybox:glibc', 'hello-world:latest', 'hello-world:frozen', 'debian:trixie-slim'],
  ...['hello-world:amd64', 'hello-world:arm64@arm64', 'alpine:latest'],
];

const go = process.env.GO ?? 'go';
const directory = checkout('integration/image/main_test.go', 'github.com/moby/moby');
await runSuite('moby', IMAGES, async ({ socket, scratch }) => {
  // Its own setup would take the images from a Dockerfile of moby's build.
  for (const image of IMAGES)
    await docker(
      socket,
      'pull',
      '-q',
      '--platform',
      `linux/${image.split('@')[1] ?? 'amd64'}`,
      image.split('@')[0],
    );
  const program = join(scratch, 'image.test');
  const environment = { ...process.env, GOFLAGS: '-mod=vendor', GOTOOLCHAIN: 'local', CGO_ENABLED: '0' };
  await run(go, ['test', '-c', '-o', program, './integration/image'], {
    cwd: directory,
    env: environment,
  });
  const env = {
    ...process.env,
    DOCKER_HOST: `unix://${socket}`,
    // With a remote daemon, tests that start their own dockerd skip themselves.
    DOCKER_REMOTE_DAEMON: '1',
    TEST_INTEGRATION_USE_GRAPHDRIVER: '1',
    DEST: scratch,
  };
  const { output } = await run(
    go,
    ['tool', 'test2json', program, '-test.v=test2json', '-test.run', process.argv[2] ?? '.'],
    { failing: true, cwd: join(directory, 'integration/image'), env },
  );
  const said = new Map();
  const results = [];
  for (const line of output.split('\n').filter((text) => text.startsWith('{'))) {
    const { Action, Test: name, Output } = JSON.parse(line);
    if (name === undefined) continue;
    if (Action === 'output' && /^\s+\S+\.go:\d+: /.test(Output))
      said.set(name, `${said.get(name) ?? ''}${Output}`);
    const outcome = { pass: 'passed', fail: 'failed', skip: 'skipped' }[Action];
    if (outcome) results.push({ name, outcome, detail: said.get(name)?.slice(0, 1500) });
  }
  if (results.length === 0) throw new Error(`the tests did not run:\n${output}`);
  return results;
});
