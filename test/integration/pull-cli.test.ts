/** `layerstack pull` in processes of its own: what it prints, how it ends, and several at once. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../../src/core/descriptor.ts';
import { hexOf } from '../../src/core/digest.ts';
import { FaultProxy, type ChooseFault } from '../support/fault-proxy.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { dumpStore, storeChanges } from '../support/store-dump.ts';
import { redrawn, runOnTerminal } from '../support/terminal.ts';
import { FakeRepository, RepositoryServer } from '../support/pull-store.ts';

const base = layerOf({ 'etc/base': 'base' });
const big = layerOf({ big: randomBytes(3_000_000).toString('hex') });
const image = imageOf([base, big]);
const next = imageOf([base, layerOf({ 'etc/next': 'next' })]);

let scratch: string;
let cli: LayerstackCli;
let repository: FakeRepository;
let server: RepositoryServer;

beforeEach(async () => {
  scratch = makeScratch('pull-cli');
  cli = new LayerstackCli(join(scratch, 'store'));
  repository = new FakeRepository();
  server = await RepositoryServer.start(repository);
});

afterEach(async () => {
  await server[Symbol.asyncDispose]();
  await dropScratch(scratch);
});

const lines = (text: string): string[] => text.trimEnd().split('\n');
const short = (digest: string): string => digest.replace('sha256:', '').slice(0, 12);

describe('the output of a pull', () => {
  it("is docker's, with the layers on stderr", async () => {
    const { digest } = repository.push(image, ['1']);
    const name = `${server.host}/t/x`;
    const [, bottom = '', top = ''] = [...repository.blobs.keys()].map(short);
    const first = await cli.try(['pull', `${name}:1`]);
    expect(lines(first.stdout)).toEqual([
      '1: Pulling from t/x',
      `Digest: ${digest}`,
      `Status: Downloaded newer image for ${name}:1`,
      `${name}:1`,
    ]);
    for (const id of [bottom, top])
      expect(lines(first.stderr).filter((line) => line.startsWith(id))).toEqual(
        ['Pulling fs layer', 'Downloading', 'Extracting', 'Pull complete'].map((phase) => `${id}: ${phase}`),
      );
    const again = await cli.try(['pull', `${name}:1`]);
    expect(lines(again.stdout)[2]).toBe(`Status: Image is up to date for ${name}:1`);
    expect(again.stderr).toBe('');
    const other = repository.push(next, ['2']);
    const byDigest = await cli.try(['pull', `${name}:2@${other.digest}`]);
    expect(lines(byDigest.stdout)).toEqual([
      `${name}@${other.digest}: Pulling from t/x`,
      `Digest: ${other.digest}`,
      `Status: Downloaded newer image for ${name}@${other.digest}`,
      `${name}:2@${other.digest}`,
    ]);
    expect(lines(byDigest.stderr)[0]).toBe(`${bottom}: Already exists`);
    expect(await cli.run('pull', '-q', `${name}:1`)).toBe(`${name}:1`);
    const listed = lines(await cli.run('images', '--digests', '--no-trunc'));
    expect(listed).toContainEqual(expect.stringMatching(`^${name} +1 +${digest} +${image.id}`));
    expect(listed).toContainEqual(expect.stringMatching(`^${name} +<none> +${other.digest} +${next.id}`));
  });

  it('lets the tree show the image by its tag, not by its digest', async () => {
    repository.push(image, ['1']);
    const name = `${server.host}/t/x:1`;
    await cli.run('pull', '-q', name);
    expect(await cli.run('tree')).toMatch(new RegExp(` Tags: ${name}$`));
    expect(await cli.run('tree', '--dot')).not.toContain('@sha256:');
  });

  it('on a terminal has a bar for each layer, and a line with the progress, rate and remaining time of all', async () => {
    repository.push(image, ['1'], { compress: (bytes) => bytes });
    const slow: ChooseFault = ({ url }) =>
      url?.includes('/blobs/') === true ? { kind: 'slow', pieces: 12, pauseMs: 200 } : undefined;
    await using proxy = await FaultProxy.start(server.url, slow);
    const { status, text } = await runOnTerminal(process.execPath, cli.argv('pull', `${proxy.host}/t/x:1`), {
      env: { TERM: 'xterm' },
    });
    expect(status).toBe(0);
    const drawn = redrawn(text).map((line) => line.split('\n')[0] ?? '');
    const totals = drawn.filter((line) => line.startsWith('Total: '));
    expect(totals.length).toBeGreaterThan(3);
    for (const line of totals)
      expect(line).toMatch(
        /^Total: {1,3}\d+% \[=*>? *\] {2}[\d.]+[kM]?B\/6MB( {2}[\d.]+[kM]?B\/s( {2}\d+s left)?)?$/,
      );
    expect(totals.some((line) => /MB\/s {2}\ds left$/.test(line))).toBe(true);
    expect(drawn.some((line) => /^\w{12}: Downloading {1,2}\[=+> +\]/.test(line))).toBe(true);
    // The last text on the screen.
    expect(text.slice(text.lastIndexOf('\u001b[K')).includes('Total:')).toBe(false);
  });

  it('as JSON is one event a line', async () => {
    repository.push(image, ['1']);
    const printed = lines(await cli.run('pull', '--format', 'json', `${server.host}/t/x:1`));
    const events = printed.map((line) => JSON.parse(line) as { type: string; blob?: string; total?: number });
    expect(events[0]).toMatchObject({ type: 'pulling', id: '1', repository: 't/x' });
    expect(events.at(-1)).toMatchObject({ type: 'pulled', updated: true, id: image.id });
    const blob = [...repository.blobs.keys()].at(-1);
    expect(events.filter((event) => event.blob === blob).map(({ type }) => type)).toEqual(
      expect.arrayContaining(['layer-waiting', 'layer-start', 'layer-progress', 'layer-done']),
    );
  });

  it('ends with an error that says what to do', async () => {
    const failed = await cli.try(['pull', `${server.host}/t/x:none`]);
    expect(failed.status).toBe(1);
    expect(failed.stderr).toMatch(/^layerstack: ERR_REGISTRY_NOT_FOUND: .*t\/x:none.*check the/);
    for (const args of [
      ['--max-concurrent-downloads', '0'],
      ['-a', '--format', 'x'],
    ])
      expect((await cli.try(['pull', ...args, 'x'])).status).toBe(2);
    expect((await cli.try(['pull', '-a', `${server.host}/t/x:1`])).stderr).toMatch(/ERR_INVALID_ARGUMENT/);
  });
});

it('chooses the platform of an index', async () => {
  const foreign = imageOf([layerOf({ arch: 's390x' })], {
    platform: { os: 'linux', architecture: 's390x' },
  });
  const manifests = [foreign, image].map((each) => ({
    ...repository.push(each, []),
    platform: each.platform,
  }));
  repository.manifest({ schemaVersion: 2, manifests }, MEDIA_TYPES.ociIndex, 'multi');
  const name = `${server.host}/t/x:multi`;
  await cli.run('pull', name);
  expect((await cli.inspect(name))['Id']).toBe(image.id);
  const other = await cli.try(['pull', '--platform', 'linux/s390x', name]);
  expect((await cli.inspect(name))['Id']).toBe(foreign.id);
  // As in docker: the index's digest stays the name of the first.
  expect(other.stderr).toMatch(/stays the name of image/);
  expect((await cli.inspect(image.id))['RepoDigests']).toHaveLength(1);
});

describe('two processes', () => {
  it('that pull the same image fetch each blob once', async () => {
    repository.push(image, ['1']);
    const slow: ChooseFault = ({ url }) =>
      url?.includes('/blobs/') === true ? { kind: 'slow', pieces: 4, pauseMs: 100 } : undefined;
    await using proxy = await FaultProxy.start(server.url, slow);
    const name = `${proxy.host}/t/x:1`;
    const ran = await Promise.all([1, 2, 3].map(() => cli.try(['pull', name])));
    expect(ran.map(({ status, stderr }) => [status, status === 0 ? '' : stderr])).toEqual([
      [0, ''],
      [0, ''],
      [0, ''],
    ]);
    expect([...server.blobs].sort()).toEqual([...repository.blobs.keys()].sort());
    expect(ran.filter(({ stderr }) => stderr.includes('another pull is fetching'))).toHaveLength(2);
    expect(ran.filter(({ stdout }) => stdout.includes('Downloaded newer image'))).toHaveLength(1);
  });

  it('that pull images with a common layer fetch it once', async () => {
    repository.push(image, ['1']);
    repository.push(imageOf([base, big, layerOf({ x: 'x' })]), ['2']);
    const slow: ChooseFault = ({ url }) =>
      url?.includes('/blobs/') === true ? { kind: 'slow', pieces: 4, pauseMs: 100 } : undefined;
    await using proxy = await FaultProxy.start(server.url, slow);
    await Promise.all(['1', '2'].map((tag) => cli.run('pull', `${proxy.host}/t/x:${tag}`)));
    expect([...server.blobs].sort()).toEqual([...repository.blobs.keys()].sort());
  });
});

it('stopped by SIGINT it leaves the store unchanged, and the received bytes for the next pull', async () => {
  repository.push(image, ['1'], { compress: (bytes) => bytes });
  let stall = true;
  const faults: ChooseFault = ({ url }) =>
    stall && url?.includes(big.diffId) === true ? { kind: 'stall', at: 0.5 } : undefined;
  await using proxy = await FaultProxy.start(server.url, faults);
  const name = `${proxy.host}/t/x:1`;
  await cli.try(['images']);
  const before = await dumpStore(cli.root);
  const child = spawn(process.execPath, cli.argv('pull', '--format', 'json', name));
  let seen = '';
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
    seen += chunk.toString();
    const progress = seen.split('\n').filter((line) => line.includes(`"layer-progress"`));
    if (progress.some((line) => line.includes(big.diffId))) break;
  }
  child.kill('SIGINT');
  const [status] = (await once(child, 'exit')) as [number];
  expect([status, stderr]).toEqual([1, expect.stringContaining('ERR_ABORTED: stopped by SIGINT')]);
  expect(await storeChanges(cli.root, before)).toEqual([]);
  expect(readdirSync(join(cli.root, 'layerstack/partial'))).toEqual([hexOf(big.diffId)]);
  stall = false;
  await cli.run('pull', name);
  const ranges = proxy.passed
    .filter(({ url }) => url.includes(big.diffId))
    .map(({ headers }) => headers.range);
  expect(ranges).toEqual([undefined, expect.stringMatching(/^bytes=[1-9]\d*-$/)]);
  expect(readdirSync(join(cli.root, 'layerstack/partial'))).toEqual([]);
});
