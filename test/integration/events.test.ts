/** `layerstack events`: what other processes do to a store, as it happens and afterwards. */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { mustRun, run } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { archiveOfMembers, IMAGE, LAYERS } from '../support/test-store.ts';

let scratch: string;
let cli: LayerstackCli;
const archive = archiveOfMembers(LAYERS, { Labels: { team: 'x' } });

beforeEach(async () => {
  scratch = makeScratch('events');
  cli = new LayerstackCli(join(scratch, 'store'));
  expect((await cli.try(['load'], { input: archive })).status).toBe(0);
});

afterEach(() => dropScratch(scratch));

/** A reader that runs, and what it has printed. */
interface Watcher {
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
  readonly text: () => string;
  readonly ended: Promise<unknown[]>;
}

async function watch(...args: string[]): Promise<Watcher> {
  const child = spawn(process.execPath, cli.argv('events', ...args), { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const watcher = { child, text: () => text, ended: once(child, 'exit') };
  // It reads the journal when it has the store open; what is done before is the past.
  for (let number = 0; text === ''; number++) {
    await cli.run('tag', IMAGE, `warm:${String(number)}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return watcher;
}

const past = async (...args: string[]): Promise<string[]> =>
  (await cli.run('events', '--since', '1h', '--until', '0s', ...args))
    .split('\n')
    .filter((line) => line !== '');

describe('events', () => {
  it('of other processes are shown as docker shows them, until a signal', async () => {
    const { child, text, ended } = await watch(
      '--format',
      '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}',
    );
    await cli.run('create', '--name', 'box', IMAGE);
    await cli.run('rename', 'box', 'chest');
    await cli.run('save', IMAGE, '-o', join(scratch, 'out.tar'));
    await cli.run('rm', 'chest');
    await vi.waitFor(() => expect(text()).toContain('container destroy chest\n'), 5000);
    child.kill('SIGINT');
    expect(await ended).toEqual([0, null]);
    const lines = text().trimEnd().split('\n');
    expect(lines.filter((line) => !line.includes('warm:'))).toEqual([
      'container create box',
      'container rename chest',
      expect.stringMatching(/^image save sha256:[0-9a-f]{64}$/),
      'container destroy chest',
    ]);
  });

  it('of the past are shown too, as text, as JSON and by a template', async () => {
    await cli.run('create', '--name', 'box', '-l', 'a=b', IMAGE);
    const [load = '', create = ''] = await past();
    const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)`;
    expect(load).toMatch(
      new RegExp(`^${time} image load sha256:[0-9a-f]{64} \\(name=sha256:[0-9a-f]{64}, team=x\\)$`),
    );
    expect(create).toMatch(
      new RegExp(`^${time} container create [0-9a-f]{64} \\(a=b, image=app:1, name=box, team=x\\)$`),
    );

    const documents = await past('--format', 'json', '--filter', 'type=container');
    const document = JSON.parse(documents[0] ?? '') as Record<string, unknown>;
    expect(documents).toHaveLength(1);
    expect(Object.keys(document)).toEqual([
      'status',
      'id',
      'from',
      'Type',
      'Action',
      'Actor',
      'scope',
      'time',
      'timeNano',
    ]);
    expect(document).toMatchObject({ status: 'create', from: IMAGE, Type: 'container', scope: 'local' });
    expect(await past('--format', '{{json .}}', '--filter', 'type=container')).toEqual(documents);
    const [template] = await past(
      '--format',
      '{{json .}} {{.TimeNano}} {{json .Actor.Attributes}}',
      '-f',
      'event=create',
    );
    const nano = /"timeNano":(\d{19})/.exec(documents[0] ?? '')?.[1] ?? '';
    expect(template).toBe(`${documents[0] ?? ''} ${nano} {"a":"b","image":"app:1","name":"box","team":"x"}`);
  });

  it('come from the service as from commands', async () => {
    const socket = join(scratch, 'docker.sock');
    const service = spawn(process.execPath, cli.argv('serve', '--host', `unix://${socket}`), {
      stdio: 'ignore',
    });
    await vi.waitFor(() => expect(existsSync(socket)).toBe(true), 20_000);
    const asked = await run('curl', [
      ...['-sf', '--retry', '5', '--retry-all-errors', '--unix-socket', socket, '-X', 'POST'],
      `http://layerstack/images/${IMAGE}/tag?repo=by-service&tag=1`,
    ]);
    expect(asked.status).toBe(0);
    service.kill('SIGTERM');
    await once(service, 'exit');
    expect((await past('--format', '{{.Action}} {{index .Actor.Attributes "name"}}')).at(-1)).toBe(
      'tag by-service:1',
    );
  });

  it('are filtered', async () => {
    await cli.run('tag', IMAGE, 'other:1');
    expect(await past('--filter', 'event=tag')).toHaveLength(1);
    expect(
      await past('--filter', 'event=tag', '--filter', 'event=load', '--filter', 'type=image'),
    ).toHaveLength(2);
    expect(await past('--filter', 'label=team=y')).toEqual([]);
  });

  it.each([
    ['--filter', 'nope=1'],
    ['--filter', 'type'],
    ['--since', 'yesterday'],
    ['--until', 'x'],
    ['--format', '{{.Nope'],
    ['more'],
  ])('are refused as misuse: %j %j', async (...args) => {
    const { status, stderr } = await cli.try(['events', ...args]);
    expect([status, stderr]).toEqual([2, expect.stringMatching(/^layerstack: ERR_USAGE: .*\n$/)]);
  });

  it('end with status 0 when their reader stops', async () => {
    const line = `"${process.execPath}" ${cli.argv('events', '--since', '1h').join(' ')}; echo status $? >&2`;
    const child = spawn('bash', ['-c', `{ ${line}; } | head -1`], { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const ended = once(child, 'exit');
    // It hears of that when it has something to say.
    while (said === '') await cli.run('tag', IMAGE, 'again:1');
    await ended;
    expect(said).toBe('status 0\n');
  });

  it('of a missing store do not make the store', async () => {
    const nowhere = new LayerstackCli(join(scratch, 'nowhere'));
    const { status, stderr } = await nowhere.try(['events', '--until', '1s']);
    expect([status, stderr]).toEqual([1, expect.stringContaining('ERR_INVALID_ARGUMENT')]);
    expect(existsSync(nowhere.root)).toBe(false);
  });

  it('of a directory without a store are none', async () => {
    mkdirSync(join(scratch, 'empty'));
    const empty = new LayerstackCli(join(scratch, 'empty'));
    expect(await empty.run('events', '--until', '0s')).toBe('');
    expect(readdirSync(empty.root)).toEqual([]);
  });

  it('are not read from planted files', async () => {
    const planted = join(scratch, 'store/layerstack/events/2');
    await mustRun('mkfifo', [planted]);
    const { status, stderr } = await cli.try(['events', '--since', '1h', '--until', '0s']);
    expect([status, stderr]).toEqual([1, expect.stringMatching(/ERR_STORE_CORRUPT.*events\/2/)]);
  });
});

it('shows snapshots, too', async () => {
  await cli.run('create', '--name', 'box', IMAGE);
  await cli.run('snapshot', '--name', 'kept', 'box');
  await cli.run('rm', 'box');
  await cli.run('rm-snapshot', 'kept');
  const lines = (await cli.run('events', '--since', '1h', '--until', '0s')).split('\n');
  expect(lines.filter((line) => / snapshot (?:create|destroy) /.test(line))).toHaveLength(2);
});
