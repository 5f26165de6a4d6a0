/**
 * docker's own client against dockerd and against the service: the same commands, the same output. Deliberate
 * differences are in docs/docker-differences.md, and here beside the step.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { TestService } from '../support/test-service.ts';
import { Dockerd } from '../support/dockerd.ts';
import { havePeers } from '../support/peers.ts';
import { Registry } from '../support/registry.ts';
import { must, run, type Ran } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

const LABELLED = tar([{ name: 'etc/labelled', content: 'labelled' }]);
const PLAIN = tar([{ name: 'etc/plain', content: 'plain' }]);

/** One command, and how its output is compared. */
interface Step {
  readonly args: readonly string[];
  readonly input?: Uint8Array;
  /** Lines whose order means nothing. */
  readonly unordered?: boolean;
  /** Lines that come by chance. */
  readonly without?: RegExp;
  /** The words of errors differ between the programs: only the presence of errors is compared. */
  readonly ownWords?: boolean;
}

const step = (...args: string[]): Step => ({ args });
const failing = (...args: string[]): Step => ({ args, ownWords: true });
const unordered = (...args: string[]): Step => ({ args, unordered: true });

describe.runIf(havePeers('dockerd', 'docker', 'busybox', 'docker-registry', 'skopeo'))(
  'docker images, against dockerd and the service',
  () => {
    let scratch: string;
    let dockerd: Dockerd;
    let service: TestService;
    let archives: Record<'whole' | 'base', string>;

    beforeAll(async () => {
      scratch = makeScratch('service');
      const fixtures = inject('fixtures');
      if (!fixtures) throw new Error('no fixtures were built');
      archives = fixtures;
      [dockerd, service] = await Promise.all([Dockerd.start(join(scratch, 'docker')), TestService.start()]);
    });

    afterAll(async () => {
      await service[Symbol.asyncDispose]();
      await dockerd.stop();
      await dropScratch(scratch);
    });

    const docker = (host: string, { args, input }: Step): Promise<Ran> =>
      run('docker', args, {
        ...(input && { input }),
        env: { DOCKER_HOST: host, DOCKER_BUILDKIT: '0', DOCKER_CONFIG: join(scratch, 'client') },
      });

    /** Ids of images that are made now: they hold the time. */
    const fresh = new Set<string>();
    async function forget(): Promise<void> {
      for (const host of [dockerd.host, service.host]) {
        for (const filter of ['reference=new/*', 'dangling=true']) {
          const ids = await docker(host, step('images', '-aq', '--no-trunc', '--filter', filter));
          for (const id of ids.stdout.split('\n').filter(Boolean)) fresh.add(id.slice('sha256:'.length));
        }
      }
    }

    function normal(text: string, { unordered: isUnordered, without }: Step): string[] {
      let plain = text
        .replace(/(?:\d+ (?:seconds?|minutes)|About a minute|Less than a second) ago +/g, 'AGE ')
        .replace(/ {2,}/g, ' ')
        .replace(/"(?:LastTagTime|CreatedAt)": "[^"]*"/g, '"TIME": ""');
      for (const id of fresh) plain = plain.replaceAll(id, 'FRESH').replaceAll(id.slice(0, 12), 'FRESH');
      const lines = plain.split('\n').filter((line) => without?.test(line) !== true);
      return isUnordered === true ? lines.sort() : lines;
    }

    async function same(...steps: Step[]): Promise<void> {
      for (const each of steps) {
        const [theirs, ours] = [await docker(dockerd.host, each), await docker(service.host, each)];
        await forget();
        const shown = (ran: Ran): unknown => ({
          command: each.args.join(' '),
          status: ran.status,
          stdout: normal(ran.stdout, each),
          stderr: each.ownWords === true ? ran.stderr !== '' : normal(ran.stderr, each),
        });
        expect(shown(ours)).toEqual(shown(theirs));
      }
    }

    test('load, from a file and from a pipe, also again', async () => {
      await same(
        step('load', '-i', archives.whole),
        step('load', '-q', '-i', archives.whole),
        { args: ['load'], input: readFileSync(archives.base) },
        failing('load', '-i', join(scratch, 'nothing.tar')),
        { args: ['load'], input: Buffer.from('no tar'), ownWords: true },
        { args: ['load'], input: readFileSync(archives.base).subarray(0, 20_000), ownWords: true },
      );
    });

    test('import, with changes, message and platform', async () => {
      await same(
        {
          args: ['import', '-c', 'LABEL k=v', '-c', 'CMD ["/x"]', '-m', 'why', '-', 'new/labelled:1'],
          input: LABELLED,
        },
        { args: ['import', '-', 'new/plain'], input: PLAIN },
        { args: ['import', '-c', 'FLY away', '-', 'new/bad:1'], input: PLAIN, ownWords: true },
        { args: ['import', '-', 'NEW/bad:1'], input: PLAIN, ownWords: true },
      );
    });

    test('images', async () => {
      await same(
        unordered('images'),
        unordered('images', '-a'),
        unordered('images', '-q', '--no-trunc'),
        unordered('images', '--digests'),
        unordered('images', 'fx/whole'),
        unordered('images', 'fx/whole:1'),
        unordered('images', 'nothing'),
        unordered('images', '--filter', 'label=k=v'),
        unordered('images', '--filter', 'dangling=true'),
        unordered('images', '--filter', 'dangling=false'),
        unordered('images', '--filter', 'since=fx/whole:1'),
        unordered('images', '--filter', 'before=new/plain', '--filter', 'reference=fx/*'),
        unordered('images', '--format', '{{.Repository}}|{{.Tag}}|{{.ID}}|{{.Size}}|{{.Digest}}'),
        failing('images', '--filter', 'colour=red'),
        failing('images', '--filter', 'since=nothing'),
      );
    });

    test('history', async () => {
      await same(
        step('history', 'fx/whole:1'),
        step('history', '--no-trunc', 'fx/whole:1'),
        step('history', '-q', 'fx/whole:1'),
        step('history', '-H=false', 'fx/base:1'),
        step('history', 'new/labelled:1'),
        failing('history', 'nothing'),
      );
    });

    test('inspect: the same fields with the same values, except the paths of layers', async () => {
      for (const name of ['fx/whole:1', 'fx/base:1']) {
        const documents = [];
        for (const [host, root] of [
          [dockerd.host, dockerd.root],
          [service.host, service.store.root],
        ] as const) {
          const { stdout } = await docker(host, step('image', 'inspect', name));
          // Directories of layers have random names.
          const text = stdout.replaceAll(root, 'ROOT').replace(/[0-9a-f]{64}\/(diff|merged|work)/g, 'ID/$1');
          documents.push((JSON.parse(text) as Record<string, unknown>[])[0]);
        }
        const [theirs, ours] = documents;
        expect(comparable(ours)).toEqual(comparable(theirs));
      }
      await same(
        step(
          'image',
          'inspect',
          '-f',
          '{{json .Config.Cmd}} {{json .RootFS}} {{.Size}} {{json .RepoTags}}',
          'fx/whole:1',
        ),
        failing('image', 'inspect', 'nothing'),
      );
    });

    test('tag and rmi', async () => {
      await same(
        step('tag', 'fx/whole:1', 'new/tag'),
        step('tag', 'new/tag', 'localhost:5000/new/tag:x'),
        step('tag', 'new/plain', 'new/tag:latest'),
        failing('tag', 'nothing', 'new/x'),
        failing('tag', 'fx/whole:1', 'NEW/x'),
        step('rmi', 'new/tag', 'localhost:5000/new/tag:x'),
        failing('rmi', 'nothing'),
        failing('rmi', 'new/labelled:1', 'nothing'),
        step('rmi', '-f', 'fx/whole:second'),
      );
    });

    test('save: each loads the archive of the other', async () => {
      const [theirs, ours] = [join(scratch, 'theirs.tar'), join(scratch, 'ours.tar')];
      await docker(dockerd.host, step('save', '-o', theirs, 'fx/whole:1', 'fx/base:1'));
      await docker(service.host, step('save', '-o', ours, 'fx/whole:1', 'fx/base:1'));
      await same(
        step('rmi', 'fx/whole:1', 'fx/base:1'),
        step('load', '-i', ours),
        step('rmi', 'fx/whole:1', 'fx/base:1'),
        step('load', '-i', theirs),
        unordered('images', 'fx/*'),
        failing('save', '-o', join(scratch, 'none.tar'), 'nothing'),
      );
    });

    test('push, pull and login, against one registry', async () => {
      const registry = await Registry.start();
      const closed = await Registry.start({ users: { mason: 'brick' } });
      try {
        // A layer may or may not wait for its turn: that depends on the speed of the layers before it.
        const transfer = (...args: string[]): Step => ({
          args,
          unordered: true,
          without: /^[0-9a-f]{12}: Waiting/,
        });
        const name = (from: string): string => `${registry.host}/fx/${from}`;
        const push = async (host: string, from: string): Promise<unknown> => {
          await docker(host, step('tag', 'fx/whole:1', `${name(from)}:1`));
          const ran = await docker(host, step('push', `${name(from)}:1`));
          // Each compresses in its own way, so blobs and manifests have other digests.
          const lines = normal(ran.stdout, transfer()).map((line) =>
            line.replace(`fx/${from}`, 'NAME').replace(/digest: sha256:[0-9a-f]{64}/, 'digest: D'),
          );
          return { status: ran.status, lines, stderr: ran.stderr };
        };
        const theirs = await push(dockerd.host, 'theirs');
        expect(await push(service.host, 'ours')).toEqual(theirs);
        const again = await push(dockerd.host, 'theirs');
        expect(await push(service.host, 'ours')).toEqual(again);
        for (const from of ['theirs', 'ours'])
          await same(
            step('tag', 'fx/base:1', `${name(from)}:1`),
            transfer('pull', `${name(from)}:1`),
            transfer('pull', `${name(from)}:1`),
            unordered('images', '--digests', name(from)),
            step('rmi', `${name(from)}:1`),
            transfer('pull', '-q', `${name(from)}:1`),
          );
        await same(
          failing('pull', `${registry.host}/fx/nothing:1`),
          failing('pull', `${name('theirs')}:nothing`),
          failing('login', '-u', 'mason', '-p', 'straw', closed.host),
          // The client warns of the password that it stores, the first time.
          failing('login', '-u', 'mason', '-p', 'brick', closed.host),
          step('tag', 'fx/base:1', `${closed.host}/in/base:1`),
          transfer('push', '-q', `${closed.host}/in/base:1`),
          transfer('pull', `${closed.host}/in/base:1`),
          step('logout', closed.host),
          failing('pull', `${closed.host}/in/base:1`),
        );
        // Each has its own digests of pushes and pulls.
        for (const host of [dockerd.host, service.host])
          await docker(host, step('rmi', `${closed.host}/in/base:1`));
      } finally {
        await Promise.all([registry.stop(), closed.stop()]);
      }
    });

    test('skopeo copies to and from docker-daemon:', async () => {
      const out = join(scratch, 'skopeo-out');
      await must('skopeo', [
        'copy',
        '--src-daemon-host',
        service.host,
        'docker-daemon:fx/whole:1',
        `dir:${out}`,
      ]);
      await must('skopeo', [
        'copy',
        '--dest-daemon-host',
        service.host,
        `dir:${out}`,
        'docker-daemon:skopeo/in:1',
      ]);
      const id = async (name: string): Promise<string> =>
        (await docker(service.host, step('image', 'inspect', '-f', '{{.Id}}', name))).stdout;
      expect(await id('skopeo/in:1')).toBe(await id('fx/whole:1'));
      const said = await must('skopeo', [
        'inspect',
        '--daemon-host',
        service.host,
        'docker-daemon:fx/whole:1',
      ]);
      const there = await must('skopeo', [
        'inspect',
        '--daemon-host',
        dockerd.host,
        'docker-daemon:fx/whole:1',
      ]);
      expect(JSON.parse(said)).toEqual(JSON.parse(there));
      await docker(service.host, step('rmi', 'skopeo/in:1'));
    });

    test('image prune', async () => {
      await same(
        {
          args: ['import', '-c', 'LABEL keep=no', '-', 'new/gone:1'],
          input: tar([{ name: 'gone', content: 'gone' }]),
        },
        step('rmi', '--no-prune', 'new/gone:1'),
        { args: ['import', '-'], input: tar([{ name: 'nameless', content: 'n' }]) },
      );
      const pruned = async (host: string, ...args: string[]): Promise<unknown> => {
        const { status, stdout } = await docker(host, step('image', 'prune', '-f', ...args));
        const lines = stdout.split('\n');
        return { status, kinds: lines.map((line) => line.replace(/sha256:[0-9a-f]{64}/, 'ID')).sort() };
      };
      for (const args of [
        ['--filter', 'label=keep=no'],
        ['--filter', 'label!=keep=no'],
        ['-a', '--filter', 'until=1s'],
        [],
      ])
        expect(await pruned(service.host, ...args)).toEqual(await pruned(dockerd.host, ...args));
      await same(unordered('images', '-a'));
    });

    test('an unsupported request is refused with a sentence about it', async () => {
      for (const args of [
        ['search', 'alpine'],
        ['plugin', 'install', 'x'],
        ['swarm', 'init'],
        ['service', 'ls'],
      ]) {
        const ran = await docker(service.host, { args });
        expect([args, ran.status, ran.stderr]).toEqual([
          args,
          1,
          expect.stringMatching(
            /^Error response from daemon: layerstack does not .+: layerstack keeps images/,
          ),
        ]);
      }
    });
  },
);

/**
 * Fields that each has in its own way: the time of tagging; the file system's own numbers; and those that
 * newer versions of the API, which the service speaks and the dockerd of the test does not, leave out.
 */
function comparable(document: unknown): unknown {
  const { Metadata, Container, ContainerConfig, VirtualSize, DockerVersion, Config, ...rest } =
    document as Record<string, unknown>;
  void [Metadata, Container, ContainerConfig, VirtualSize, DockerVersion];
  const run = [
    'Cmd',
    'Entrypoint',
    'Env',
    'ExposedPorts',
    'Labels',
    'User',
    'Volumes',
    'WorkingDir',
    'OnBuild',
  ];
  const config = Config as Record<string, unknown>;
  return { ...rest, Config: Object.fromEntries(run.map((name) => [name, config[name]])) };
}
