/**
 * docker-py's integration tests that need no started container: `SUITE=DIR node test/suites/docker-py.js
 * [EXPRESSION]`.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './support/run.js';
import { checkout, runSuite } from './support/suite.js';

const FILES = [
  'api_image',
  'models_images',
  'api_container',
  'models_containers',
  'errors',
  'client',
  'api_client',
  'regression',
];
const IMAGES = ['alpine:3.10', 'alpine:latest', 'hello-world:latest', 'busybox:latest'];

const directory = checkout('tests/integration/api_image_test.py', 'github.com/docker/docker-py');
await runSuite('docker-py', IMAGES, async ({ socket, scratch }) => {
  const xml = join(scratch, 'report.xml');
  const files = FILES.map((name) => `tests/integration/${name}_test.py`);
  const expression = process.argv[2] ? ['-k', process.argv[2]] : [];
  const { output } = await run(
    process.env.PYTHON ?? '/usr/bin/python3',
    ['-m', 'pytest', '-q', '-p', 'no:cacheprovider', `--junitxml=${xml}`, ...expression, ...files],
    {
      failing: true,
      cwd: directory,
      env: {
        ...process.env,
        DOCKER_HOST: `unix://${socket}`,
        DOCKER_TEST_API_VERSION: '1.41',
        PYTHONDONTWRITEBYTECODE: '1',
      },
    },
  );
  try {
    return junit(readFileSync(xml, 'utf8'));
  } catch (error) {
    throw new Error(`pytest left no report:\n${output}`, { cause: error });
  }
});

/** The cases of a JUnit report. */
function junit(text) {
  return [...text.matchAll(/<testcase ([^>]*?)(?:\/>|>(.*?)<\/testcase>)/gs)].map(
    ([, attributes, body = '']) => {
      const attribute = (key) => new RegExp(`\\b${key}="([^"]*)"`).exec(attributes)?.[1] ?? '';
      const name = `${attribute('classname').replace('tests.integration.', '')}.${attribute('name')}`;
      if (/<(?:failure|error)\b/.test(body))
        return {
          name,
          outcome: 'failed',
          detail: (/message="([^"]*)"/.exec(body)?.[1] ?? body).slice(0, 600),
        };
      return { name, outcome: /<skipped\b/.test(body) ? 'skipped' : 'passed' };
    },
  );
}
