/**
 * The part of podman's API tests that uses docker's API for images: `SUITE=DIR node test/suites/podman.js`.
 * They call `podman` to prepare images; podman-shim.sh does that with docker's client instead.
 */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer, connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath, URL } from 'node:url';
import { run } from './support/run.js';
import { checkout, runSuite } from './support/suite.js';

const IMAGES = [
  'libpod/testimage:20241011',
  'libpod/alpine:latest',
  'libpod/busybox:latest',
  'alpine:latest',
  'busybox:latest',
];
/**
 * Returns the test file without parts for which docker's API differs by design: there, only `until` ends
 * `events`, and the later tests take their id from libpod's list.
 */
function dockerOnly(text) {
  return text
    .replaceAll(/^t GET +"(?:libpod\/)?events\?(?:.*\\\n)*.*\n/gm, '')
    .replace(
      `iid=$(jq -r '.[0].Id' <<<"$output")`,
      'iid=$(docker images -q --no-trunc "$IMAGE" | cut -d: -f2)',
    );
}

const SHIM = fileURLToPath(new URL('podman-shim.sh', import.meta.url));

const directory = checkout('test/apiv2/10-images.at', 'github.com/containers/podman');
await runSuite('podman', IMAGES, async ({ socket, scratch }) => {
  // The tests can use only TCP.
  const tcp = createServer((client) => {
    const engine = connect(socket);
    client.pipe(engine).pipe(client);
    for (const end of [client, engine])
      end.on('error', () => [client, engine].forEach((each) => each.destroy()));
  }).listen(0, '127.0.0.1');
  await once(tcp, 'listening');
  const tests = join(scratch, 'apiv2');
  cpSync(join(directory, 'test/apiv2'), tests, { recursive: true });
  writeFileSync(join(tests, '10-images.at'), dockerOnly(readFileSync(join(tests, '10-images.at'), 'utf8')));
  try {
    const { output } = await run(join(tests, 'test-apiv2'), ['10-images'], {
      failing: true,
      cwd: scratch,
      env: {
        ...process.env,
        PODMAN: SHIM,
        PODMAN_SERVICE_PORT: String(tcp.address().port),
        DOCKER_HOST: `unix://${socket}`,
        DOCKER_CONFIG: scratch,
        DOCKER_API_VERSION: '1.41',
        TMPDIR: scratch,
      },
    });
    const results = [...output.matchAll(/^(not ok|ok) \d+ \[10-images\] (.*)\n((?:#.*\n)*)/gm)].map(
      ([, word, name, detail]) => ({
        name: name
          .replaceAll(/sha256:[0-9a-f]{64}|\b[0-9a-f]{64}(?=abcdef\/|\b)|\b[0-9a-f]{12}\b/g, 'ID')
          .slice(0, 300),
        outcome: name.includes('# skip') ? 'skipped' : word === 'ok' ? 'passed' : 'failed',
        detail: detail.slice(0, 600),
      }),
    );
    if (results.length === 0) throw new Error(`the tests did not run:\n${output}`);
    if (!/^1\.\.\d+$/m.test(output))
      results.push({ name: 'runs to its end', outcome: 'failed', detail: output.slice(-1500) });
    return results;
  } finally {
    tcp.close();
  }
});
