/**
 * The same script by docker's own client against dockerd and against layerstack's service, on stores that
 * were loaded with the same images: their output, their refusals with the words, and the results. Deliberate
 * differences are in docs/docker-differences.md, and are named here where they are left out.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestService } from '../support/test-service.ts';
import { dockerArchive } from '../support/archives.ts';
import { Dockerd } from '../support/dockerd.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { havePeers } from '../support/peers.ts';
import { mustRun, run, type Ran, type RunOptions } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

const base = imageOf(
  [
    layerOf([
      { name: 'etc/', type: 'directory' },
      { name: 'etc/base', content: 'base' },
      { name: 'etc/gone', content: 'gone' },
      { name: 'etc/link', type: 'symlink', linkname: '/etc/base' },
      { name: 'bin/', type: 'directory' },
      { name: 'bin/tool', content: 'tool', mode: 0o4755 },
      { name: 'tmp/', type: 'directory', mode: 0o1777 },
    ]),
  ],
  { tags: ['base:1'], config: { Cmd: ['/bin/tool'], Env: ['A=1', 'PATH=/bin'], Labels: { from: 'image' } } },
);
const child = imageOf([...base.layers, layerOf({ 'etc/child': 'child' })], {
  tags: ['child:1'],
  parent: base,
});

/** Members of a host config that dockerd decides or normalises, by its version and its machine. */
const DAEMONS = [
  ...['CgroupnsMode', 'KernelMemory', 'KernelMemoryTCP', 'MaskedPaths', 'MemorySwappiness', 'OomKillDisable'],
  ...['PidsLimit', 'ReadonlyPaths'],
];

/** One side: the client with its address. */
interface Side {
  readonly host: string;
  readonly work: string;
}

const TIMES = /(?:\d+ (?:seconds?|minutes)|About a minute|Less than a second) ago/g;

/** docker's client sends its `-e` in a random order, another one to each daemon. */
function withSortedEnv(config: unknown): Record<string, unknown> {
  const { Env, ...rest } = config as { Env: string[] | null } & Record<string, unknown>;
  return { ...rest, Env: Env && [...Env].sort() };
}

/** Names of keys, and no values. */
const FREE = new Set([
  'Labels',
  'Networks',
  'Runtimes',
  'ExposedPorts',
  'Ports',
  'Volumes',
  'Options',
  'Details',
  'Data',
]);

/** The paths of all members of a document. */
function fieldsOf(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null) return [];
  if (Array.isArray(value)) return value.flatMap((each) => fieldsOf(each, `${path}[]`));
  return Object.entries(value).flatMap(([key, member]) => [
    `${path}.${key}`,
    ...(FREE.has(key) ? [] : fieldsOf(member, `${path}.${key}`)),
  ]);
}

describe.runIf(havePeers('dockerd', 'docker'))('docker against dockerd and against layerstack', () => {
  let scratch: string;
  let dockerd: Dockerd;
  let service: TestService;
  let theirs: Side;
  let ours: Side;
  let apiVersion: string;

  beforeAll(async () => {
    scratch = makeScratch('service-containers');
    dockerd = await Dockerd.start(join(scratch, 'docker'));
    apiVersion = await dockerd.docker('version', '--format', '{{.Server.APIVersion}}');
    service = await TestService.start();
    theirs = { host: dockerd.host, work: join(scratch, 'theirs') };
    ours = { host: service.host, work: join(scratch, 'ours') };
    const archive = tar(dockerArchive([base, child]));
    for (const side of [theirs, ours]) {
      mkdirSync(side.work);
      await docker(side, ['load'], { input: archive });
    }
  });

  afterAll(async () => {
    await service[Symbol.asyncDispose]();
    await dockerd.stop();
    await dropScratch(scratch);
  });

  function docker({ host, work }: Side, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    // One version for both, since answers differ by it: dockerd's.
    const env = { DOCKER_HOST: host, DOCKER_CONFIG: join(scratch, 'client'), DOCKER_API_VERSION: apiVersion };
    return run('docker', args, { ...options, cwd: work, env });
  }

  async function both(args: readonly string[], options?: RunOptions): Promise<{ theirs: Ran; ours: Ran }> {
    return { theirs: await docker(theirs, args, options), ours: await docker(ours, args, options) };
  }

  /** Removes random ids, times, and the client's log lines about its own pipes. */
  function normal(text: string): string {
    return text
      .replace(/^time=".*\n/gm, '')
      .replace(/(?<!sha256:)\b[0-9a-f]{64}\b/g, 'ID')
      .replace(/^[0-9a-f]{12}\b/gm, 'SHORT')
      .replace(TIMES, 'AGE')
      .replace(/ {2,}/g, ' ');
  }

  async function expectSame(args: readonly string[], options?: RunOptions): Promise<void> {
    const ran = await both(args, options);
    expect(normal(ran.ours.stdout)).toBe(normal(ran.theirs.stdout));
    expect(normal(ran.ours.stderr)).toBe(normal(ran.theirs.stderr));
    expect(ran.ours.status).toBe(ran.theirs.status);
  }

  const inspect = async (side: Side, name: string): Promise<Record<string, unknown>> => {
    const { stdout } = await docker(side, ['inspect', name]);
    return (JSON.parse(stdout) as Record<string, unknown>[])[0] ?? {};
  };

  test('create, with and without a name, and its refusals', async () => {
    await expectSame([
      'create',
      '--name',
      'one',
      '--label',
      'l=x',
      '-e',
      'A=2',
      '-e',
      'B=3',
      '-w',
      '/etc',
      'base:1',
    ]);
    await sleep(1100);
    await expectSame([
      'create',
      '--name',
      'two',
      '--entrypoint',
      '/bin/x',
      '-u',
      '5:6',
      'child:1',
      'a b',
      'c',
    ]);
    await sleep(1100);
    await expectSame(['create', '--name', 'three', '--entrypoint', '', 'base:1', '/other']);
    await sleep(1100);
    await expectSame([
      'create',
      '--name',
      'four',
      '--privileged',
      '-m',
      '64m',
      '-w',
      '/etc/made/here/',
      'base:1',
    ]);
    await expectSame(['diff', 'four']);
    await expectSame(['create', '--name', 'one', 'base:1']);
    await expectSame(['create', '--name', '-bad', 'base:1']);
    await expectSame(['create', '-w', 'rel', 'base:1']);
    await expectSame(['create', '--entrypoint', '', 'base:1']);
    await expectSame(['create', '--restart', 'sometimes', 'base:1']);
  });

  test('a missing image is pulled by the client', async () => {
    const { ours: ran } = await both(['create', '--pull', 'never', 'no.such.host.invalid/x:1']);
    expect(ran.status).not.toBe(0);
    expect(ran.stderr).toContain('No such image: no.such.host.invalid/x:1');
  });

  const FORMAT =
    '{{.Names}}|{{.Image}}|{{.Command}}|{{.State}}|{{.Status}}|{{.Ports}}|{{.Labels}}|{{.Mounts}}|{{.Size}}';
  test.each([
    [],
    ['-a'],
    ['-a', '--no-trunc', '--format', FORMAT],
    ['-aq'],
    ['-n', '2', '--format', '{{.Names}}'],
    ['-l', '--format', '{{.Names}}'],
    ['-a', '--filter', 'name=t'],
    ['-a', '--filter', 'name=^/one$'],
    ['-a', '--filter', 'status=created', '--filter', 'name=o'],
    ['--filter', 'status=created'],
    ['--filter', 'status=exited'],
    ['--filter', 'status=nonsense'],
    ['-a', '--filter', 'label=l'],
    ['-a', '--filter', 'label=l=y'],
    ['-a', '--filter', 'label=from=image', '--filter', 'label=l'],
    ['-a', '--filter', 'ancestor=base:1', '--format', '{{.Names}}'],
    ['-a', '--filter', 'ancestor=child:1', '--format', '{{.Names}}'],
    ['-a', '--filter', `ancestor=${base.id.slice(7, 19)}`, '--format', '{{.Names}}'],
    ['-a', '--filter', 'ancestor=nothing', '--format', '{{.Names}}'],
    ['-a', '--filter', 'before=two', '--format', '{{.Names}}'],
    ['-a', '--filter', 'since=two', '--format', '{{.Names}}'],
    ['-a', '--filter', 'exited=0'],
    ['-a', '--filter', 'health=none', '--format', '{{.Names}}'],
    ['-a', '--filter', 'volume=x'],
    ['-a', '--filter', 'expose=80'],
    ['-a', '--filter', 'nonsense=x'],
  ])('ps %s %s %s %s', async (...args: string[]) => {
    if (args.includes('nonsense=x')) {
      // Ours lists the filters.
      const ran = await both(['ps', ...args]);
      expect([ran.ours.status, ran.ours.stdout]).toEqual([ran.theirs.status, ran.theirs.stdout]);
      expect(ran.ours.stderr).toMatch(/invalid filter 'nonsense'/);
    } else await expectSame(['ps', ...args]);
  });

  test('inspect, except networks and paths of the store', async () => {
    for (const name of ['one', 'two', 'three', 'four']) {
      const documents = [await inspect(theirs, name), await inspect(ours, name)].map((document) => {
        const text = JSON.stringify(document)
          .replaceAll(dockerd.root, 'ROOT')
          .replaceAll(service.store.root, 'ROOT')
          .replace(/(?<!sha256:)\b[0-9a-f]{64}\b/g, 'ID');
        const { NetworkSettings, HostConfig, Config, Created, ...rest } = JSON.parse(text) as Record<
          string,
          unknown
        >;
        expect(Created).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$/);
        const { Networks, ...network } = NetworkSettings as Record<string, unknown>;
        const { NetworkMode, ...all } = HostConfig as Record<string, unknown>;
        const host = Object.fromEntries(Object.entries(all).filter(([key]) => !DAEMONS.includes(key)));
        const { Hostname, ...config } = withSortedEnv(Config);
        expect(Hostname).toMatch(/^[0-9a-f]{12}$/);
        return { rest, network, host, config, Networks, NetworkMode };
      });
      const [their, our] = documents;
      expect(our?.rest).toEqual(their?.rest);
      expect(our?.network).toEqual(their?.network);
      expect(our?.config).toEqual(their?.config);
      expect(our?.NetworkMode).toBe('none');
      expect(Object.keys(our?.Networks as object)).toEqual(['none']);
      expect(our?.host).toEqual(their?.host);
    }
  });

  test('cp of files, directories and streams, both ways', async () => {
    for (const side of [theirs, ours]) {
      mkdirSync(join(side.work, 'dir/sub'), { recursive: true });
      writeFileSync(join(side.work, 'file'), 'a file');
      writeFileSync(join(side.work, 'dir/sub/deep'), 'deep');
    }
    await expectSame(['cp', 'file', 'one:/etc/copied']);
    await expectSame(['cp', 'file', 'one:/tmp/']);
    await expectSame(['cp', 'dir', 'one:/tmp/new']);
    await expectSame(['cp', 'dir', 'one:/tmp/new']);
    await expectSame(['cp', 'dir/.', 'one:/tmp/new']);
    await expectSame(['cp', '-', 'one:/etc'], {
      input: tar([{ name: 'streamed', content: 's', mode: 0o600 }]),
    });
    await expectSame(['cp', 'file', 'one:/none/there']);
    await expectSame(['cp', 'file', 'one:/etc/base/under']);
    await expectSame(['cp', 'dir', 'one:/etc/base']);
    await expectSame(['cp', '-', 'one:/none'], { input: tar([]) });
    await expectSame(['cp', 'one:/etc/base', 'out']);
    await expectSame(['cp', 'one:/tmp/new/.', 'outdir']);
    await expectSame(['cp', '-L', 'one:/etc/link', 'followed']);
    await expectSame(['cp', 'one:/nowhere', 'out']);
    await expectSame(['cp', 'nobody:/x', 'out']);
    for (const name of ['out', 'followed', 'outdir/sub/deep', 'outdir/dir/sub/deep'])
      expect(readFileSync(join(ours.work, name), 'utf8')).toBe(readFileSync(join(theirs.work, name), 'utf8'));
  });

  test('cp to a stream gives the same members', async () => {
    for (const path of ['one:/tmp', 'one:/etc/.', 'one:/etc/link', 'two:/bin/tool']) {
      const ran = await both(['cp', path, '-']);
      expect(ran.ours.status).toBe(0);
      expect(await members(ran.ours.bytes)).toEqual(await members(ran.theirs.bytes));
    }
  });

  test('diff, except the order in a directory, which docker does not sort', async () => {
    for (const name of ['one', 'two', 'nobody']) {
      const ran = await both(['diff', name]);
      expect(ran.ours.stdout.split('\n').sort()).toEqual(ran.theirs.stdout.split('\n').sort());
      expect([ran.ours.status, ran.ours.stderr]).toEqual([ran.theirs.status, ran.theirs.stderr]);
    }
  });

  test('export', async () => {
    const ran = await both(['export', 'one']);
    expect(ran.ours.status).toBe(0);
    expect(await members(ran.ours.bytes)).toEqual(await members(ran.theirs.bytes));
    await expectSame(['export', 'nobody']);
  });

  test('commit, and the image that it makes', async () => {
    const args = [
      'commit',
      '-m',
      'a message',
      '-a',
      'A B <a@example.org>',
      '-c',
      'ENV C=4',
      '-c',
      'CMD ["x"]',
    ];
    const ran = await both([...args, 'one', 'made:1']);
    for (const { stdout, status } of [ran.ours, ran.theirs])
      expect([status, stdout]).toEqual([0, expect.stringMatching(/^sha256:[0-9a-f]{64}\n$/)]);
    const pick = async (side: Side): Promise<unknown> => {
      const { Author, Comment, Config, Parent, Architecture, Os, RootFS } = await inspect(side, 'made:1');
      const { Hostname, ...config } = withSortedEnv(Config);
      void Hostname; // the container's id
      return {
        Author,
        Comment,
        config,
        Parent,
        Architecture,
        Os,
        layers: (RootFS as { Layers: string[] }).Layers.slice(0, 1),
      };
    };
    expect(await pick(ours)).toEqual(await pick(theirs));
    await expectSame(['commit', 'nobody']);
  });

  test('rename', async () => {
    await expectSame(['rename', 'three', 'four']);
    await expectSame(['ps', '-a', '--format', '{{.Names}}']);
    await expectSame(['rename', 'four', 'one'], {});
    await expectSame(['rename', 'four', 'four']);
    await expectSame(['rename', 'four', '-']);
    await expectSame(['rename', 'nobody', 'five']);
    await expectSame(['rename', 'four', 'three']);
  });

  test('system df counts images and containers alike', async () => {
    const rows = async (side: Side): Promise<unknown[]> =>
      (await docker(side, ['system', 'df', '--format', '{{json .}}'])).stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, string>)
        .map(({ Type, TotalCount, Active, Size, Reclaimable }) => ({
          Type,
          TotalCount,
          Active,
          Size,
          Reclaimable,
        }));
    expect(await rows(ours)).toEqual(await rows(theirs));
    const verbose = await both(['system', 'df', '-v']);
    const lines = (text: string): string[] =>
      normal(text)
        .split('\n')
        // The committed image has a layer of another time, and so another id and place in the list.
        .filter((line) => !line.startsWith('made'))
        .sort();
    expect(lines(verbose.ours.stdout)).toEqual(lines(verbose.theirs.stdout));
  });

  test('rm', async () => {
    await expectSame(['rm', 'two']);
    await expectSame(['rm', 'two']);
    await expectSame(['rm', '-f', 'three', 'nobody']);
    await expectSame(['rm', '-v', 'one', 'nobody']);
  });

  test('container prune', async () => {
    await expectSame(['create', '--name', 'kept', '--label', 'keep=1', 'base:1']);
    await expectSame(['create', '--name', 'loose', 'base:1']);
    await expectSame(['cp', 'file', 'loose:/etc/file']);
    await expectSame(['container', 'prune', '-f', '--filter', 'until=1h']);
    await expectSame(['container', 'prune', '-f', '--filter', 'label!=keep']);
    await expectSame(['ps', '-a', '--format', '{{.Names}}']);
    await expectSame(['container', 'prune', '-f']);
    await expectSame(['container', 'prune', '-f']);
  });

  test('events are the same', async () => {
    await sleep(1100); // the client sends whole seconds
    const story = async (side: Side, ...filters: string[]): Promise<string[]> => {
      const args = [
        'events',
        '--since',
        '1h',
        '--until',
        '0s',
        ...filters.flatMap((each) => ['--filter', each]),
      ];
      const { stdout, status } = await docker(side, [...args, '--format', '{{json .}}']);
      expect(status).toBe(0);
      return stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => {
          const { Type, Action, Actor, scope } = JSON.parse(line) as {
            Type: string;
            Action: string;
            scope: string;
            Actor: { ID: string; Attributes: Record<string, string> };
          };
          const { execDuration, ...attributes } = Actor.Attributes;
          void execDuration;
          const text = `${Type} ${Action} ${scope} ${Actor.ID} ${JSON.stringify(Object.entries(attributes).sort())}`;
          return text.replace(/\b[0-9a-f]{64}\b/g, (id) => (`sha256:${id}` === base.id ? 'BASE' : 'ID'));
        });
    };
    for (const filters of [
      [],
      ['type=container'],
      ['event=create', 'event=destroy'],
      ['container=one'],
      ['image=base:1'],
      ['image=base'],
      ['label=keep=1'],
      ['type=container', 'event=prune'],
      ['type=image', 'event=tag'],
      ['type=network'],
    ]) {
      const mine = await story(ours, ...filters);
      expect(mine).toEqual(await story(theirs, ...filters));
      if (filters[0] !== 'type=network') expect(mine).not.toEqual([]);
    }
  });

  test('events come while they happen, until then', async () => {
    const until = String(Math.floor(Date.now() / 1000) + 3);
    const running = [theirs, ours].map((side) =>
      docker(side, [
        'events',
        '--until',
        until,
        '--filter',
        'container=later',
        '--format',
        '{{.Action}} {{.From}}',
      ]),
    );
    await sleep(1000);
    for (const side of [theirs, ours]) {
      await docker(side, ['create', '--name', 'later', 'base:1']);
      await docker(side, ['rm', 'later']);
    }
    for (const { stdout, status } of await Promise.all(running))
      expect([status, stdout]).toEqual([0, 'create base:1\ndestroy base:1\n']);
  });

  test('version and info print all lines, and name layerstack', async () => {
    const version = await docker(ours, ['version']);
    expect(version.status).toBe(0);
    expect(version.stdout).toMatch(/Server: layerstack\n Engine:\n {2}Version: +\d+\.\d+\.\d+/);
    const info = await docker(ours, ['info']);
    expect(info.status).toBe(0);
    for (const line of ['Storage Driver: overlay2', 'Supports d_type: true', 'Images: 3', 'Containers: 0'])
      expect(info.stdout).toContain(line);
    expect(info.stdout).toContain(`Docker Root Dir: ${service.store.root}`);
    expect(info.stderr).toContain('it runs no containers itself');
  });

  test('requests about the process of a container that does not run are answered as by dockerd', async () => {
    for (const side of [theirs, ours]) await docker(side, ['create', '--name', 'idle', 'base:1']);
    for (const args of [
      ['stop', 'idle'],
      ['kill', 'idle'],
      ['kill', '-s', 'NONSENSE', 'idle'],
      ['pause', 'idle'],
      ['top', 'idle'],
      ['attach', 'idle'],
      ['logs', 'idle'],
      ['wait', 'idle'],
      ['port', 'idle'],
      ['stats', '--no-stream', '--format', '{{.Name}} {{.CPUPerc}} {{.PIDs}}', 'idle'],
      ...['stop', 'kill', 'start', 'pause', 'logs', 'wait', 'top'].map((verb) => [verb, 'nobody']),
    ]) {
      const ran = await both(args);
      const said = ({ status, stdout, stderr }: Ran): unknown => [
        args,
        status,
        stdout,
        stderr.replace(/[0-9a-f]{64}/g, 'ID'),
      ];
      expect(said(ran.ours)).toEqual(said(ran.theirs));
    }
    for (const side of [theirs, ours]) await docker(side, ['rm', 'idle']);
  });

  test.each([
    ['run', ['run', 'base:1'], 1],
    ['run --rm', ['run', '--rm', 'base:1'], 0],
    ['run -d', ['run', '-d', 'base:1'], 1],
    ['run -i --rm', ['run', '-i', '--rm', 'base:1'], 0],
  ])(
    '%s names an alternative in one sentence, and leaves the state that docker leaves',
    async (_, args, left) => {
      const all = async (): Promise<string[]> =>
        (await docker(ours, ['ps', '-aq'])).stdout.trim().split('\n').filter(Boolean);
      const before = await all();
      const ran = await docker(ours, args, { input: Buffer.from('typed\n') });
      expect(ran.status).toBe(125);
      const sentences = ran.stderr
        .split('\n')
        .filter((line) => line.includes('layerstack does not run containers'));
      expect(sentences).toEqual([expect.stringContaining('runc run')]);
      const ids = (await all()).filter((id) => !before.includes(id));
      expect(ids).toHaveLength(left);
      for (const id of ids) {
        const exec = await docker(ours, ['exec', id, 'ls']);
        expect([exec.status, exec.stderr]).toEqual([1, expect.stringMatching(/is not running: .*runc run/)]);
        await docker(ours, ['rm', id]);
      }
    },
  );

  test('networks and volumes are stored names, made and listed as in docker', async () => {
    const steps = [
      ['volume', 'create', '--label', 'a=b', 'v1'],
      ['volume', 'ls', '-f', 'label=a'],
      ['volume', 'inspect', '-f', '{{.Name}} {{.Driver}} {{.Scope}} {{.Labels}}', 'v1'],
      ['volume', 'inspect', 'x'],
      ['volume', 'rm', 'v1'],
      ['volume', 'rm', 'v1'],
      ['volume', 'ls'],
      ['network', 'ls', '-f', 'type=custom', '-q'],
      ['network', 'inspect', '-f', '{{.Name}} {{.Driver}} {{.Scope}} {{.Internal}}', 'none'],
      ['network', 'inspect', 'x'],
      ['network', 'rm', 'x'],
      ['network', 'rm', 'host'],
      ['network', 'prune', '-f'],
    ];
    for (const args of steps) {
      const { ours: our, theirs: their } = await both(args);
      expect([args, our.status, our.stdout, our.stderr]).toEqual([
        args,
        their.status,
        their.stdout,
        their.stderr,
      ]);
    }
    await docker(ours, ['network', 'create', '--label', 'a=b', 'n1']);
    await docker(ours, ['create', '--name', 'in', '--network', 'n1', 'base:1']);
    expect((await docker(ours, ['ps', '-aq', '-f', 'network=n1'])).stdout.trim()).toMatch(/^[0-9a-f]{12}$/);
    expect((await docker(ours, ['network', 'rm', 'n1'])).stdout).toBe('n1\n');
    await docker(ours, ['rm', 'in']);
  });

  test('documents have the fields that dockerd gives them in the same version of the API', async () => {
    for (const side of [theirs, ours])
      await docker(side, ['create', '--name', 'fields', '-v', '/tmp:/x', '--label', 'a=b', 'base:1']);
    const fields = async ({ host }: Side, path: string): Promise<string[]> => {
      const { stdout } = await mustRun('curl', [
        ...['-sS', '--unix-socket', host.replace('unix://', '')],
        `http://docker/v${apiVersion}${path}`,
      ]);
      return [...new Set(fieldsOf(JSON.parse(stdout.toString())))].sort();
    };
    for (const path of [
      ...['/info', '/version', '/images/json', '/images/base:1/json', '/images/base:1/history', '/system/df'],
      ...[
        '/containers/json?all=1',
        '/containers/json?all=1&size=1',
        '/containers/fields/json',
        '/networks/none',
      ],
    ])
      expect([path, await fields(ours, path)]).toEqual([path, await fields(theirs, path)]);
    for (const side of [theirs, ours]) await docker(side, ['rm', 'fields']);
  });

  test('missing objects are reported in the words that clients parse', async () => {
    for (const args of [
      ['history', 'nothing'],
      ['tag', 'nothing', 'x:1'],
      ['rmi', 'nothing'],
      ['rmi', 'nothing:1'],
      ['rmi', 'abc123'],
      ['images', '-f', 'before=nothing'],
      ['rm', 'nobody'],
      ['commit', 'nobody'],
      ['diff', 'nobody'],
      ['rename', 'nobody', 'other'],
    ])
      await expectSame(args);
  });

  test('inspect of a missing object finds nothing', async () => {
    await expectSame(['inspect', 'nothing-of-this-name']);
    await expectSame(['plugin', 'ls']);
  });

  /**
   * Names, kinds, modes (docker before 24 puts the type in there, too), owners, links and content of a tar's
   * members; sorted, since a directory has no order.
   */
  async function members(bytes: Buffer): Promise<string[]> {
    const program = [
      'import hashlib, sys, tarfile',
      "t = tarfile.open(fileobj=sys.stdin.buffer, mode='r|')",
      'for m in t:',
      "    data = hashlib.sha256(t.extractfile(m).read()).hexdigest() if m.isreg() else ''",
      "    print(m.name, m.type, oct(m.mode & 0o7777), m.uid, m.gid, m.linkname, m.size, m.devmajor, m.devminor, data, sep='|')",
    ].join('\n');
    const { stdout } = await mustRun('python3', ['-c', program], { input: bytes });
    return stdout.trim().split('\n').sort();
  }
});
