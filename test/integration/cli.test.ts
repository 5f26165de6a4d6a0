import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Finding } from '../../src/app/doctor.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { run } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { dumpStore, storeChanges } from '../support/store-dump.ts';
import { archiveOfMembers, IMAGE, LAYERS } from '../support/test-store.ts';

let scratch: string;
let cli: LayerstackCli;
const archive = archiveOfMembers(LAYERS, { Cmd: ['/bin/sh', '-c', 'echo hello'] });

beforeEach(() => {
  scratch = makeScratch('cli');
  cli = new LayerstackCli(join(scratch, 'store'));
});

afterEach(async () => {
  await dropScratch(scratch);
});

const lines = (text: string): string[] => text.trimEnd().split('\n');
const load = () => cli.try(['load'], { input: archive });

describe('the way of an image', () => {
  it('from an archive to a container and away again, in the words of docker', async () => {
    const path = join(scratch, 'app.tar');
    writeFileSync(path, archive);
    expect(await cli.run('load', '-i', path)).toBe(`Loaded image: ${IMAGE}`);

    const [header, row] = lines(await cli.run('images'));
    expect(header).toBe('REPOSITORY   TAG       IMAGE ID       CREATED       SIZE');
    expect(row).toMatch(/^app {10}1 {9}[0-9a-f]{12} {3}\d+ \w+ ago {3}\d+B$/);

    const id = await cli.run('create', '--name', 'build', IMAGE);
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    const table = lines(await cli.run('containers'));
    expect(table[0]).toBe(
      'CONTAINER ID   IMAGE     COMMAND                  CREATED                  STATUS    NAMES',
    );
    expect(table[1]).toMatch(/^[0-9a-f]{12} {3}app:1 {5}"\/bin\/sh -c 'echo he…" {3}.* {3}Created {3}build$/);
    expect(await cli.run('containers', '-q', '--no-trunc')).toBe(id);

    const merged = await cli.run('mount', 'build');
    expect(readFileSync(join(merged, 'house/concrete'), 'utf8')).toBe('good concrete\n');
    expect(lines(await cli.run('ps'))[1]).toContain('Created (mounted)');
    const bundle = join(scratch, 'bundle');
    expect(await cli.run('bundle', 'build', bundle, '/bin/true', '-x')).toBe(bundle);
    expect(readFileSync(join(bundle, 'config.json'), 'utf8')).toContain('"-x"');
    expect(await cli.run('umount', 'build')).toBe('build');
    expect(existsSync(merged)).toBe(false);
    expect(await cli.run('rm', 'build')).toBe('build');
    expect(lines(await cli.run('containers'))).toHaveLength(1);
  });

  it('prints the id of an image without a name', async () => {
    const ran = await cli.try(['load'], { input: archiveOfMembers(LAYERS, {}, null) });
    expect(ran.stdout).toMatch(/^Loaded image ID: sha256:[0-9a-f]{64}\n$/);
    expect(lines(await cli.run('images'))[1]).toMatch(/^<none> +<none> +[0-9a-f]{12} /);
  });

  it('creates with overrides; what follows the image belongs to the command', async () => {
    await load();
    await cli.run(
      'create',
      '--name',
      'build',
      '-e',
      'A=1',
      '-l',
      'x=y',
      '-u',
      '7',
      IMAGE,
      'run',
      '--name',
      '-e',
    );
    expect(await cli.inspect('build')).toMatchObject({
      Name: '/build',
      Path: 'run',
      Args: ['--name', '-e'],
      Config: { Env: ['A=1'], Labels: { x: 'y' }, User: '7', Image: IMAGE },
    });
  });
});

describe('create and bundle', () => {
  it('carry the settings of the container, and report it', async () => {
    await load();
    const flags =
      '-m 64m --memory-swap -1 --cpus 0.5 --read-only --cap-drop ALL --ulimit nofile=5:6 --tmpfs /run:size=1m'.split(
        ' ',
      );
    await cli.run('create', '--name', 'job', ...flags, IMAGE, 'true');
    expect(await cli.inspect('job')).toMatchObject({
      HostConfig: {
        ...{ Memory: 67108864, MemorySwap: -1, NanoCpus: 5e8, ReadonlyRootfs: true, CapDrop: ['ALL'] },
        Ulimits: [{ Name: 'nofile', Soft: 5, Hard: 6 }],
        Tmpfs: { '/run': 'size=1m' },
      },
    });
    const directory = join(scratch, 'job');
    const ran = await cli.try(['bundle', '--verbose', 'job', directory]);
    expect([ran.status, ran.stdout]).toEqual([0, `${directory}\n`]);
    for (const line of [
      'Memory -> linux.resources.memory.limit = 67108864',
      'MemorySwap -> no limit',
      'NanoCpus -> linux.resources.cpu.{quota,period} = 50000/100000',
      'ReadonlyRootfs -> root.readonly = true',
      'CapDrop -> process.capabilities = []',
      'Tmpfs -> mounts[/run] = tmpfs (noexec,nosuid,nodev,rprivate,size=1m)',
    ])
      expect(lines(ran.stderr)).toContain(`layerstack: ${line}`);
    await cli.run('unmount', 'job');
  });

  it('refuse keys that a bundle cannot carry, unless told to ignore them', async () => {
    await load();
    const refused = await cli.try(['create', '--init', '-p', '8080:80', IMAGE]);
    expect([refused.status, refused.stdout]).toEqual([1, '']);
    expect(refused.stderr).toMatch(
      /^layerstack: ERR_UNSUPPORTED: PortBindings: .*Init: .*--ignore-unsupported\)?\n$/,
    );
    expect(await cli.run('containers', '-q')).toBe('');
    const made = await cli.try(['create', '--ignore-unsupported', '--init', IMAGE]);
    expect(made.status).toBe(0);
    expect(made.stderr).toMatch(/^layerstack: warning: Init: docker-init belongs to docker/);
  });

  it.each([
    ['--memory', 'much'],
    ['--pids-limit', 'many'],
    ['--cpus', 'all'],
    ['--ulimit', 'nofile'],
    ['--device', '/dev/null:/x:q'],
    ['--mount', 'type=bind,source'],
    ['--mount', 'type=bind,colour=red'],
    ['--device-read-bps', '/dev/null'],
    ['--security-opt', 'seccomp=/not/there'],
    ['--annotation', 'x'],
  ])('are misused by %s %s', async (option, value) => {
    const ran = await cli.try(['create', option, value, IMAGE]);
    expect([ran.status, ran.stdout]).toEqual([2, '']);
    expect(existsSync(join(scratch, 'store'))).toBe(false);
    expect(ran.stderr).toMatch(/^layerstack: [^\n]*\n$/);
  });
});

describe('--format json', () => {
  it('is one document a line', async () => {
    const loaded = await cli.try(['load', '--format', 'json'], { input: archive });
    expect(JSON.parse(loaded.stdout)).toMatchObject({ references: [IMAGE], created: true });
    await cli.run('create', '--name', 'build', IMAGE);
    const rows = async (...args: string[]) =>
      lines(await cli.run(...args, '--format', 'json')).map(
        (line) => JSON.parse(line) as Record<string, unknown>,
      );
    expect(await rows('images')).toEqual([
      expect.objectContaining({
        Repository: 'app',
        Tag: '1',
        Digest: '<none>',
        CreatedAt: '2024-01-02 03:04:05 +0000 UTC',
      }),
    ]);
    expect(await rows('containers')).toEqual([
      expect.objectContaining({ Names: 'build', State: 'created', Mounted: false }),
    ]);
    expect(await rows('inspect', 'build', IMAGE)).toEqual([
      expect.objectContaining({ Name: '/build' }),
      expect.objectContaining({ RepoTags: [IMAGE] }),
    ]);
    expect((await rows('doctor')).map(({ name }) => name)).toEqual(
      expect.arrayContaining(['kernel', 'mount', 'd_type', 'dockerd', 'sessions', 'runc']),
    );
  });
});

describe('misuse', () => {
  it.each([
    [[]],
    [['frobnicate']],
    [['images', '--nope']],
    [['images', 'one', 'two']],
    [['images', '--filter', 'until=abc']],
    [['images', '--filter', 'until=1h', '--filter', 'until=2024-02-30']],
    [['prune', '--filter', 'until=-1']],
    [['images', '--format', '{{.ID']],
    [['create']],
    [['mount']],
    [['load', '--max-bytes', 'much']],
    [['inspect', '--type', 'volume', 'x']],
    [['--root']],
    [['--root', '', 'images']],
    [['inspect', '--format', '{{end}}', 'x']],
    [['help', 'frobnicate']],
  ])('%j ends with status 2 and writes nothing', async (args) => {
    const ran = await cli.try(args);
    expect(ran.status).toBe(2);
    expect(ran.stdout).toBe('');
    expect(ran.stderr).not.toBe('');
    expect(readdirSync(scratch)).toEqual([]);
  });

  it.each([
    [['laod'], 'did you mean `layerstack load`?'],
    [['image', 'ls'], '`layerstack images`'],
    [['exec', 'x'], '`layerstack run IMAGE` runs a command in a new container'],
    [['frobnicate'], 'see layerstack --help'],
    [['rm', '--volumes', 'x'], 'see layerstack rm --help'],
  ])('%j gets a hint to the right verb', async (args, advice) => {
    expect((await cli.try(args)).stderr).toContain(advice);
  });

  it('a verb is not looked up among the members of every object', async () => {
    expect((await cli.try(['constructor'])).stderr).toContain('unknown command "constructor"');
  });
});

describe('errors', () => {
  it('are one line with code, object and advice, status 1, and an unchanged store', async () => {
    await load();
    await cli.run('create', '--name', 'build', IMAGE);
    const before = await dumpStore(cli.root);
    for (const [args, code] of [
      [['create', 'nope:1'], 'ERR_IMAGE_NOT_FOUND'],
      [['create', 'No/Valid:Reference'], 'ERR_REFERENCE_INVALID'],
      [['create', '--name', 'build', IMAGE], 'ERR_CONTAINER_NAME_IN_USE'],
      [['create', '--name', '-', IMAGE], 'ERR_INVALID_ARGUMENT'],
      [['mount', 'other'], 'ERR_CONTAINER_NOT_FOUND'],
      [['--read-only', 'create', IMAGE], 'ERR_STORE_READ_ONLY'],
      [['load', '-i', '/nowhere'], 'ERR_INVALID_ARGUMENT'],
      [['save', '-o', '/nowhere/app.tar', IMAGE], 'ERR_INVALID_ARGUMENT'],
      [['import', ''], 'ERR_INVALID_ARGUMENT'],
    ] as const) {
      const ran = await cli.try(args);
      expect(ran.stderr, args.join(' ')).toMatch(new RegExp(`^layerstack: ${code}: .+\\n$`));
      expect(ran.status).toBe(1);
      expect(ran.stdout).toBe('');
    }
    expect(await storeChanges(cli.root, before)).toEqual([]);
  });

  it('about one name do not keep a command from the others', async () => {
    await load();
    const ids = [
      await cli.run('create', '--name', 'one', IMAGE),
      await cli.run('create', '--name', 'two', IMAGE),
    ];
    const inspected = await cli.try(['inspect', '-f', 'json', 'nope', 'one', 'two']);
    expect(inspected.stdout.match(/"Id":"[0-9a-f]{64}"/g)).toEqual(ids.map((id) => `"Id":"${id}"`));
    expect(inspected.stderr).toMatch(
      /^layerstack: ERR_IMAGE_NOT_FOUND: no container or image has the name "nope": .+\n$/,
    );
    expect(inspected.status).toBe(1);
    for (const verb of ['unmount', 'rm']) {
      const ran = await cli.try([verb, 'nope', 'one', 'neither', 'two']);
      expect(ran.stdout).toBe('one\ntwo\n');
      expect(ran.stderr).toMatch(
        /^layerstack: ERR_CONTAINER_NOT_FOUND: .*"nope".*\nlayerstack: .*"neither".*\n$/,
      );
      expect(ran.status).toBe(1);
    }
  });

  it('of an archive name it', async () => {
    const ran = await cli.try(['load'], { input: archive.subarray(0, archive.length - 3000) });
    expect(ran.status).toBe(1);
    expect(ran.stderr).toMatch(/^layerstack: ERR_ARCHIVE_\w+: .+\n$/);
  });
});

describe('options before and after the verb', () => {
  it('choose the store, as LAYERSTACK_ROOT does', async () => {
    await load();
    const main = cli.argv()[0] ?? '';
    const node = (args: string[], env: Record<string, string> = {}) =>
      run(process.execPath, [main, ...args], { env });
    expect((await node(['images', '-q', '--root', cli.root])).stdout).toMatch(/^[0-9a-f]{12}\n$/);
    expect((await node(['images', '-q'], { LAYERSTACK_ROOT: cli.root })).stdout).toMatch(/^[0-9a-f]{12}\n$/);
    expect((await node(['--root', cli.root, '--read-only', 'images', '-q'])).stdout).toMatch(
      /^[0-9a-f]{12}\n$/,
    );
  });

  it('--help and --version go to stdout, status 0, without a store', async () => {
    for (const args of [
      ['--help'],
      ['images', '--help'],
      ['--help', 'images'],
      ['create', '-h'],
      ['--version'],
      ['help'],
      ['help', 'images'],
    ]) {
      const ran = await cli.try(args);
      expect([ran.status, ran.stderr]).toEqual([0, '']);
      expect(ran.stdout).toMatch(/^(Usage: layerstack|layerstack \d)/);
    }
    expect(readdirSync(scratch)).toEqual([]);
  });
});

it('version prints the version and the platform, also by a template', async () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  expect(lines(await cli.run('version')).slice(0, 2)).toEqual(['Client:', ` Version:          ${version}`]);
  expect(await cli.run('version', '--format', '{{.Version}} {{json .Os}}')).toBe(`${version} "linux"`);
  expect(JSON.parse(await cli.run('version', '-f', 'json'))).toMatchObject({ Version: version });
  expect((await cli.try(['version', '--format', '{{.Nope}}'])).status).toBe(2);
});

describe('doctor', () => {
  it('fails where layerstack cannot work', async () => {
    const ran = await run('setpriv', [
      '--bounding-set',
      '-sys_admin',
      '--inh-caps',
      '-sys_admin',
      process.execPath,
      ...cli.argv('doctor'),
    ]);
    expect(ran.stdout).toMatch(/^privileges +fail +uid 0 without CAP_SYS_ADMIN: run as root/m);
    expect(ran.stderr).toMatch(/^layerstack: ERR_STORE_UNSUPPORTED: problems with privileges/);
    expect(ran.status).toBe(1);
  });

  it('answers a user without write access to the store', async () => {
    await load();
    const nobody = ['--reuid', '65534', '--regid', '65534', '--clear-groups'];
    const ran = await run('setpriv', [...nobody, process.execPath, ...cli.argv('doctor')]);
    expect(ran.stdout).toMatch(/^privileges +fail +uid 65534 without CAP_SYS_ADMIN: run as root/m);
    for (const [name, why] of Object.entries({
      overlay: 'uid 65534 may not mount',
      mount: 'uid 65534 may not mount',
      'file system': `uid 65534 cannot write to ${scratch}`,
      dockerd: `${cli.root}/volumes/metadata.db cannot be read`,
      sessions: `${cli.root}/layerstack/sessions cannot be read`,
      layers: `${cli.root}/image/overlay2/layerdb/sha256 cannot be read`,
    }))
      expect(ran.stdout).toMatch(new RegExp(`^${name} +unknown +cannot tell: ${why}: run it as root`, 'm'));
    expect(ran.stderr).toMatch(/^layerstack: ERR_STORE_UNSUPPORTED: problems with privileges:/);
    expect(ran.status).toBe(1);
  });

  it("does not guess what only root can try, in another user's directory", async () => {
    const home = join(scratch, 'home');
    mkdirSync(home);
    chmodSync(scratch, 0o755);
    chownSync(home, 65534, 65534);
    const nobody = ['--reuid', '65534', '--regid', '65534', '--clear-groups'];
    const ran = await run('setpriv', [
      ...nobody,
      ...[process.execPath, ...cli.argv('doctor', '--format', 'json', '--root', home)],
    ]);
    const findings = ran.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Finding);
    const states = Object.fromEntries(findings.map(({ name, state }) => [name, state]));
    expect(states).toMatchObject({
      ...{ 'file system': 'ok', d_type: 'ok', 'trusted xattrs': 'unknown', whiteouts: 'unknown' },
      ...{ overlay: 'unknown', mount: 'unknown', layers: 'ok' },
    });
  });

  it('reports sessions and layers of the store, and changes nothing', async () => {
    await load();
    const before = await dumpStore(cli.root);
    mkdirSync(join(cli.root, 'layerstack/sessions/dead'));
    const text = await cli.run('doctor');
    expect(text).toMatch(/^sessions +warn +0 at work, 1 dead: /m);
    expect(text).toMatch(/^layers +ok +2 layers$/m);
    expect(text).toMatch(/^dockerd +ok +does not run/m);
    expect(readdirSync(join(cli.root, 'layerstack/sessions/dead'))).toEqual([]);
    expect(await storeChanges(cli.root, before)).toEqual([]);
  });
});

describe('signals and pipes', () => {
  it.each(['SIGINT', 'SIGTERM'] as const)(
    '%s in the middle of a load leaves the store as it was',
    async (signal) => {
      await load();
      const before = await dumpStore(cli.root);
      const other = archiveOfMembers(
        [[{ name: 'big', content: Buffer.alloc(4_000_000, 'x') }]],
        {},
        'other:1',
      );
      const child = spawn(process.execPath, cli.argv('load'), { stdio: ['pipe', 'pipe', 'pipe'] });
      child.stdin.on('error', () => undefined);
      let stderr = '';
      child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
      child.stdin.write(other.subarray(0, 2_000_000));
      const sessions = join(cli.root, 'layerstack/sessions');
      while (readdirSync(sessions).length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
      child.kill(signal);
      const [code] = (await once(child, 'close')) as [number | null];
      expect(code).toBe(1);
      expect(stderr).toContain(`layerstack: ERR_ABORTED: stopped by ${signal}`);
      expect(await storeChanges(cli.root, before)).toEqual([]);
    },
  );

  it('output that cannot be written is an error of one line', async () => {
    const ran = await run('sh', ['-c', '"$@" >/dev/full', 'sh', process.execPath, ...cli.argv('images')]);
    expect(ran.stderr).toMatch(/^layerstack: ERR_NO_SPACE: .+\n$/);
    expect(ran.status).toBe(1);
  });

  it('a reader that stops early is not an error', async () => {
    await load();
    const script = `"$@" | head -c 1 >/dev/null; echo "\${PIPESTATUS[0]}"`;
    const ran = await run('bash', [
      '-c',
      script,
      'bash',
      process.execPath,
      ...cli.argv('inspect', ...Array.from({ length: 500 }, () => IMAGE)),
    ]);
    expect([ran.stdout, ran.stderr]).toEqual(['0\n', '']);
  });
});
