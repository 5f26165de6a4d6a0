/**
 * `layerstack run`, in runc and crun: streams, statuses, signals, the terminal, and what is left afterwards.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CRUN } from '../support/crun.ts';
import { HttpServer } from '../support/http-server.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { run, type Ran } from '../support/process.ts';
import { mountsBelow } from '../support/scratch.ts';
import { runOnTerminal } from '../support/terminal.ts';
import { archiveOfMembers, busyboxLayer, IMAGE, LAYERS, TestStore } from '../support/test-store.ts';

let fixture: TestStore;
let cli: LayerstackCli;
let archive: string;
const children: ChildProcess[] = [];

beforeEach(async () => {
  const bytes = archiveOfMembers([...LAYERS, busyboxLayer()], {
    Cmd: ['sh', '-c', 'echo as the image says'],
    Env: ['PATH=/bin'],
  });
  fixture = await TestStore.build(bytes);
  archive = join(fixture.scratch, 'app.tar');
  writeFileSync(archive, bytes);
  cli = new LayerstackCli(fixture.root);
});

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const id of runningBelow(fixture.root)) await run('runc', ['delete', '--force', id]);
  await fixture[Symbol.asyncDispose]();
});

const sh = (...args: string[]): Promise<Ran> => cli.try(['run', ...args]);

/** What the runs in the store have left, or still have. */
const runs = (): string[] => readEntries(join(fixture.root, 'layerstack/runs'));
const places = (): string[] => readEntries(join(fixture.root, 'layerstack/archives'));

function readEntries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

const runningBelow = (root: string): string[] =>
  readEntries(join(root, 'layerstack/runs')).map((name) => name.replace('.rm', ''));

async function containers(): Promise<string[]> {
  return (await cli.run('containers', '--format', '{{.Names}} {{.Status}}')).split('\n').filter(Boolean);
}

/** Starts a command of layerstack, and waits until its output has the text. */
async function started(
  args: readonly string[],
  words: string,
): Promise<{ child: ChildProcess; end: Promise<Ended> }> {
  const child = spawn(process.execPath, cli.argv('run', ...args), { stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  let output = '';
  const end = once(child, 'close').then(([status, signal]) => ({ status, signal, output }) as Ended);
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      if (output.includes(words)) resolve();
    });
    void end.then(() => reject(new Error(`it ended: ${output}`)));
  });
  return { child, end };
}

interface Ended {
  readonly status: number | null;
  readonly signal: string | null;
  readonly output: string;
}

async function eventually(check: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (await check()) return;
    await sleep(25);
  }
  throw new Error('it does not happen');
}

/** Returns whether the host runs a process with this argument. */
function isRunning(argument: string): boolean {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .some((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').at(-2) === argument;
      } catch {
        return false;
      }
    });
}

describe.runIf(havePeers('runc', 'script'))('layerstack run', () => {
  it('runs the command of the image, or another one, with the options of create', async () => {
    expect((await sh('--rm', IMAGE)).stdout).toBe('as the image says\n');
    const shared = join(fixture.scratch, 'shared');
    mkdirSync(shared, { mode: 0o755 });
    writeFileSync(join(shared, 'x'), 'shared\n');
    const options = ['-e', 'A=b', '-w', '/house', '-u', 'mason', '--hostname', 'site', '--tmpfs', '/scratch'];
    const script = 'echo $A; pwd; id -u; hostname; cat concrete /host/x; echo x > /scratch/y || echo refused';
    const ran = await sh(
      ...['--rm', ...options, '-v', `${shared}:/host:ro`, '--memory', '64m', '--pids-limit', '50', IMAGE],
      ...['sh', '-c', script],
    );
    expect(ran.stdout).toBe('b\n/house\n1000\nsite\ngood concrete\nshared\n');
    expect(await containers()).toEqual([]);
    expect(runs()).toEqual([]);
    expect(mountsBelow(fixture.root)).toEqual([]);
  });

  it('keeps the container without --rm, unmounted, under its name', async () => {
    expect((await sh('--name', 'kept', IMAGE, 'sh', '-c', 'echo new > /file')).status).toBe(0);
    expect(await containers()).toEqual(['kept Created']);
    expect(await cli.run('diff', 'kept')).toBe('A /file');
    expect(mountsBelow(fixture.root)).toEqual([]);
    expect(runs()).toEqual([]);
  });

  it('exits as docker run does', async () => {
    const statuses: (number | null)[] = [];
    for (const args of [
      [IMAGE, 'sh', '-c', 'exit 7'],
      [IMAGE, 'sh', '-c', 'sh -c "kill -9 \\$\\$; true"; exit $?'],
      [IMAGE, 'missing'],
      [IMAGE, '/house'],
      ['--pull', 'never', 'missing:1'],
      ['--unknown', IMAGE],
      ['--network', 'bridge', IMAGE],
      ['--runtime', '/no/runtime', IMAGE],
      ['--runtime', '/bin/true', IMAGE],
    ])
      statuses.push((await sh('--rm', ...args)).status);
    expect(statuses).toEqual([7, 137, 127, 126, 125, 125, 125, 125, 125]);
    expect(await containers()).toEqual([]);
    expect(runs()).toEqual([]);
  });

  it('says why a command does not start, without repeating itself', async () => {
    const { stderr } = await sh('--rm', IMAGE, 'missing');
    expect(stderr).toContain(
      'layerstack: ERR_COMMAND_NOT_FOUND: runc cannot start the container: exec: "missing": executable file not found in $PATH\n',
    );
  });

  it('passes input, output and errors through pipes that the command can open again', async () => {
    const script = 'cat; echo out > /dev/stdout; echo err > /dev/stderr; test -t 0 || echo no terminal';
    const ran = await cli.try(['run', '--rm', '-i', IMAGE, 'sh', '-c', script], { input: 'in\n' });
    expect([ran.stdout, ran.stderr]).toEqual(['in\nout\nno terminal\n', 'err\n']);
    expect((await cli.try(['run', '--rm', IMAGE, 'cat'], { input: 'not read' })).stdout).toBe('');
  });

  it('passes many bytes on, and ends when their reader does', async () => {
    const input = Buffer.alloc(3_000_000, 'x');
    const passed = await run(process.execPath, cli.argv('run', '--rm', '-i', IMAGE, 'cat'), { input });
    expect([passed.status, passed.bytes.equals(input)]).toEqual([0, true]);
    const quoted = cli.argv('run', '--rm', IMAGE, 'sh', '-c', 'while echo y; do :; done; exit 3');
    const script = `"$0" "$@" | head -n 1; exit "\${PIPESTATUS[0]}"`;
    const ran = await run('bash', ['-c', script, process.execPath, ...quoted]);
    expect([ran.stdout, ran.status]).toEqual(['y\n', 3]);
    expect(runs()).toEqual([]);
  });

  it('gives the command this terminal, with its size, and its status', async () => {
    const script = 'test -t 0 && test -t 1 && read line && echo "got $line"; exit 5';
    const ran = await runOnTerminal(
      process.execPath,
      cli.argv('run', '--rm', '-it', IMAGE, 'sh', '-c', script),
      {
        input: 'typed\n',
      },
    );
    expect(ran.text).toContain('got typed\n');
    expect(ran.status).toBe(5);
    const without = await cli.try(['run', '--rm', '-it', IMAGE], { input: '' });
    expect([without.status, without.stderr]).toEqual([125, expect.stringContaining('is not a terminal')]);
    const background = await sh('-d', '-t', IMAGE);
    expect([background.status, background.stderr]).toEqual([
      125,
      expect.stringContaining('leave out tty (-t)'),
    ]);
    expect(await containers()).toEqual([]);
  });

  it('passes each signal on once', async () => {
    const script =
      'trap "echo int" INT; trap "echo term; exit 9" TERM; echo ready; while true; do sleep 0.05; done';
    const { child, end } = await started(['--rm', IMAGE, 'sh', '-c', script], 'ready');
    child.kill('SIGINT');
    await sleep(500);
    child.kill('SIGTERM');
    expect(await end).toEqual({ status: 9, signal: null, output: 'ready\nint\nterm\n' });
    expect(await containers()).toEqual([]);
  });

  it('exits with 128 and the signal that ended the command', async () => {
    const { child, end } = await started(['--rm', IMAGE, 'sh', '-c', 'echo ready; exec sleep 1000'], 'ready');
    child.kill('SIGTERM'); // The first process of a PID namespace ignores it.
    await sleep(200);
    for (const name of runningBelow(fixture.root)) await run('runc', ['kill', name, 'KILL']);
    expect((await end).status).toBe(137);
    expect(runs()).toEqual([]);
  });

  it('continues when layerstack is killed, and the next writer removes its parts', async () => {
    const mark = `${String(process.pid)}${String(Date.now())}`;
    const command = [IMAGE, 'sh', '-c', 'echo ready; while test ! -e /house/end; do sleep 0.05; done', mark];
    const { child, end } = await started(['--rm', ...command], 'ready');
    child.kill('SIGKILL');
    await end;
    await cli.run('prune', '-f');
    expect(isRunning(mark)).toBe(true);
    writeFileSync(join(rootfs(), 'house/end'), '');
    await eventually(() => !isRunning(mark));
    await cli.run('prune', '-f');
    expect(await containers()).toEqual([]);
    expect([runs(), mountsBelow(fixture.root)]).toEqual([[], []]);
  });

  it('keeps the container of a killed run without --rm, and unmounts it', async () => {
    const { child, end } = await started(
      ['--name', 'kept', IMAGE, 'sh', '-c', 'echo x > /new; echo ready; exec sleep 1000'],
      'ready',
    );
    child.kill('SIGKILL');
    await end;
    for (const id of runningBelow(fixture.root)) await run('runc', ['kill', id, 'KILL']);
    await eventually(async () => (await cli.run('prune', '-f').then(runs)).length === 0);
    expect(await containers()).toEqual(['kept Created']);
    expect(await cli.run('diff', 'kept')).toBe('A /new');
    expect(mountsBelow(fixture.root)).toEqual([]);
  });

  it('leaves nothing after a kill at any moment', async () => {
    for (let after = 150; after <= 900; after += 125) {
      const child = spawn(process.execPath, cli.argv('run', '--rm', IMAGE, 'true'), { stdio: 'ignore' });
      const end = once(child, 'close');
      await sleep(after);
      child.kill('SIGKILL');
      await end;
    }
    await eventually(async () => (await cli.run('prune', '-f').then(runs)).length === 0);
    expect(await containers()).toEqual([]);
    expect(mountsBelow(fixture.root)).toEqual([]);
    expect((await cli.try(['fsck'])).stdout).toBe('');
  });

  it('starts a command in the background, and the next writer after its end cleans up', async () => {
    const mark = `${String(process.pid)}${String(Date.now())}`;
    const script = 'while test ! -e /house/end; do sleep 0.05; done';
    const id = await cli.run('run', '-d', '--rm', '--name', 'back', IMAGE, 'sh', '-c', script, mark);
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    await cli.run('prune', '-f');
    expect(isRunning(mark)).toBe(true);
    expect(await containers()).toEqual(['back Created (mounted)']);
    writeFileSync(join(rootfs(), 'house/end'), '');
    await eventually(() => !isRunning(mark));
    await eventually(async () => (await cli.run('prune', '-f').then(containers)).length === 0);
    expect([runs(), mountsBelow(fixture.root)]).toEqual([[], []]);
    expect((await run('runc', ['state', id])).status).not.toBe(0);
  });

  it('runs an archive in place, and leaves nothing', async () => {
    expect((await sh(archive)).stdout).toBe('as the image says\n');
    const options = ['-e', 'A=b', '--hostname', 'site', '-w', '/house', '--read-only'];
    const script = 'echo $A; hostname; cat concrete; echo x > /new || exit 4';
    const ran = await sh(...options, archive, 'sh', '-c', script);
    expect([ran.stdout, ran.status]).toEqual(['b\nsite\ngood concrete\n', 4]);
    expect((await sh(archive, 'missing')).status).toBe(127);
    expect((await sh('-d', archive)).status).toBe(125);
    const { child, end } = await started(
      [archive, 'sh', '-c', 'echo ready; cat /house/concrete; exec sleep 2'],
      'good',
    );
    child.kill('SIGKILL');
    await end;
    await cli.run('prune', '-f');
    expect(places()).toHaveLength(1);
    await eventually(async () => (await cli.run('prune', '-f').then(places)).length === 0);
    expect(mountsBelow(fixture.root)).toEqual([]);
    expect(await containers()).toEqual([]);
  });

  it('runs twenty commands at once', async () => {
    const all = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const stdout = new PassThrough();
        const output = text(stdout);
        const command = ['sh', '-c', `echo ${String(index)}; exit ${String(index)}`];
        const { status } = await fixture.store.containers.run(IMAGE, {
          command,
          remove: true,
          streams: { stdout },
        });
        stdout.end();
        return [status, await output];
      }),
    );
    expect(all).toEqual(Array.from({ length: 20 }, (_, index) => [index, `${String(index)}\n`]));
    expect(await fixture.store.containers.list()).toEqual([]);
    expect([runs(), mountsBelow(fixture.root)]).toEqual([[], []]);
  });

  it('reads what a caller gives it, though its output is dropped', async () => {
    const stdin = Readable.from([Buffer.from('typed '), Buffer.from('words')]);
    const command = ['sh', '-c', 'sleep 0.2; test "$(cat)" = "typed words"'];
    const ended = await fixture.store.containers.run(IMAGE, { command, remove: true, streams: { stdin } });
    expect(ended.status).toBe(0);
  });

  it('lets a caller send signals, and stop the command', async () => {
    const { containers: store } = fixture.store;
    const trap = ['sh', '-c', 'trap "exit 3" USR1; while true; do sleep 0.05; done'];
    const ended = await store.run(IMAGE, {
      ...{ command: trap, remove: true },
      onStart: ({ kill }) => void setTimeout(() => kill('SIGUSR1'), 1500),
    });
    expect(ended).toMatchObject({ status: 3, signal: undefined });
    const stop = new AbortController();
    const stopped = store.run(IMAGE, {
      ...{ command: ['sh', '-c', 'trap "exit 0" TERM; while true; do sleep 0.05; done'], remove: true },
      signal: stop.signal,
      onStart: () => void setTimeout(() => stop.abort(), 1500),
    });
    await expect(stopped).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    expect(await store.list()).toEqual([]);
  });

  it('pulls a missing image by default, and not with --pull never', async () => {
    await using server = await HttpServer.start((_, response) => {
      response.statusCode = 404;
      response.end();
    });
    const missing = await sh('--rm', `${server.host}/none:1`);
    expect(missing.status).toBe(125);
    expect(missing.stdout).toBe('');
    expect(missing.stderr).toContain(`The store does not have the image ${server.host}/none:1: it is pulled`);
    expect(missing.stderr).toContain('ERR_REGISTRY_NOT_FOUND');
    const never = await sh('--rm', '--pull', 'never', `${server.host}/none:1`);
    expect(never.stderr).toMatch(/^layerstack: ERR_IMAGE_NOT_FOUND/);
  });
});

describe.runIf(havePeers('crun'))('layerstack run with crun', () => {
  it('runs commands, and exits as they do', async () => {
    const runtime = join(fixture.scratch, 'crun');
    writeFileSync(runtime, CRUN, { mode: 0o755 });
    const ran = await sh('--rm', '--runtime', runtime, IMAGE, 'sh', '-c', 'cat /house/concrete; exit 6');
    expect([ran.stdout, ran.status]).toEqual(['good concrete\n', 6]);
    expect((await sh('--rm', '--runtime', runtime, IMAGE, 'missing')).status).toBe(127);
    expect((await sh('--rm', '--runtime', runtime, IMAGE, '/house')).status).toBe(126);
    expect(await containers()).toEqual([]);
    expect(runs()).toEqual([]);
  });
});

/** The root file system of the only container that is mounted. */
function rootfs(): string {
  const [path, ...others] = mountsBelow(fixture.root).filter((each) => each.endsWith('/merged'));
  if (path === undefined || others.length > 0) throw new Error('not one container is mounted');
  return path;
}
