/**
 * `POST /build` by clients that know nothing of layerstack: docker's own, against dockerd and the service,
 * and docker-py. dockerode is in test/api/build.test.ts.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busybox, onBusybox } from '../support/build-context.ts';
import { Dockerd } from '../support/dockerd.ts';
import { havePeers } from '../support/peers.ts';
import { must, run, type Ran } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { TestService } from '../support/test-service.ts';

const DOCKER_PY = `
import docker, json, sys
client = docker.DockerClient(base_url=sys.argv[1])
image, lines = client.images.build(path=sys.argv[2], tag='py:1', buildargs={'V': 'from python'}, labels={'by': 'py'})
try:
    client.images.build(path=sys.argv[3])
    failure = None
except docker.errors.BuildError as error:
    failure = str(error)
output = ''.join(line.get('stream', '') for line in lines)
print(json.dumps({'labels': image.labels, 'tags': image.tags, 'output': output, 'failure': failure}))
`;

describe.runIf(havePeers('dockerd', 'docker', 'busybox', 'python3'))('builds by clients of docker', () => {
  let scratch: string;
  let dockerd: Dockerd;
  let service: TestService;

  beforeAll(async () => {
    scratch = makeScratch('service-build');
    [dockerd, service] = await Promise.all([Dockerd.start(join(scratch, 'docker')), TestService.start()]);
  });

  afterAll(async () => {
    await service[Symbol.asyncDispose]();
    await dockerd.stop();
    await dropScratch(scratch);
  });

  /** Makes the directory of a context. */
  function context(name: string, ...lines: readonly string[]): string {
    const directory = join(scratch, name);
    mkdirSync(directory);
    writeFileSync(join(directory, 'busybox'), busybox(), { mode: 0o755 });
    writeFileSync(join(directory, 'hidden'), 'hidden');
    writeFileSync(join(directory, '.dockerignore'), 'hidden\n');
    writeFileSync(join(directory, 'Dockerfile'), onBusybox(...lines));
    return directory;
  }

  const docker = (host: string, ...args: readonly string[]): Promise<Ran> =>
    run('docker', args, {
      env: { DOCKER_HOST: host, DOCKER_BUILDKIT: '0', DOCKER_CONFIG: join(scratch, 'client') },
    });

  /** The lines of the output that name no id: those of steps, commands and names. */
  const steps = ({ stdout }: Ran): string[] =>
    stdout.split('\n').filter((line) => /^(?:Step |said |Successfully tagged |\[Warning\])/.test(line));

  /** Builds by both, and returns what both have printed. */
  async function both(...args: readonly string[]): Promise<{ status: number | null; steps: string[] }> {
    const [theirs, ours] = [
      await docker(dockerd.host, 'build', '--network', 'none', ...args),
      await docker(service.host, 'build', '--network', 'none', ...args),
    ];
    const shown = (ran: Ran) => ({ status: ran.status, steps: steps(ran) });
    expect(shown(ours), ours.stderr).toEqual(shown(theirs));
    return shown(ours);
  }

  test('docker build prints the same steps, output and names, and makes the same config', async () => {
    const directory = context(
      'good',
      'FROM base AS first',
      'ARG V=default',
      'RUN echo "said $V" > /said',
      'FROM base',
      'COPY --from=first /said /said',
      'RUN cat /said',
      'ENV A=b',
      'CMD ["sh"]',
    );
    const options = ['--build-arg', 'V=it', '--label', 'by=docker', '--label', 'also=this one'];
    const { status, steps: lines } = await both('-t', 'built:1', '-t', 'built:2', ...options, directory);
    expect([status, lines]).toEqual([0, expect.arrayContaining(['said it', 'Successfully tagged built:2'])]);
    const format = '{{json .Config.Env}} {{.Config.Cmd}} {{.Config.Labels}}';
    const config = (host: string): Promise<Ran> =>
      docker(host, 'image', 'inspect', 'built:2', '--format', format);
    expect(await config(service.host)).toEqual(await config(dockerd.host));
    const again = await docker(service.host, 'build', '-q', ...options, directory);
    expect(again.stdout.trim()).toBe((await service.store.images.inspect('built:1')).Id);
  });

  test.each([
    ['a command that fails', 'fails', ['FROM base', 'RUN echo said why; exit 7']],
    ['a file that is hidden', 'hides', ['FROM base', 'COPY hidden /']],
    ['an instruction that does not exist', 'unknown', ['FROM base', 'RUNN x']],
  ])('docker build ends with the same status after %s', async (_, name, lines) => {
    const { status } = await both(context(name, ...lines));
    expect(status).not.toBe(0);
  });

  test('docker-py builds, and reports a command that fails', async () => {
    const good = context('py-good', 'FROM base', 'ARG V', 'RUN echo "said $V"');
    const bad = context('py-bad', 'FROM base', 'RUN exit 3');
    // Debian's python, which has python3-docker.
    const result = JSON.parse(
      await must('/usr/bin/python3', ['-c', DOCKER_PY, service.host, good, bad]),
    ) as unknown;
    expect(result).toEqual({
      labels: { by: 'py' },
      tags: ['py:1'],
      output: expect.stringContaining('said from python\n') as string,
      failure: expect.stringContaining('returned a non-zero code: 3') as string,
    });
  });
});
