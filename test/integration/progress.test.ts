/**
 * Progress as a user sees it, on a pseudo-terminal; nothing of it in a pipe. And the numbers that the library
 * tells.
 */
import { randomBytes } from 'node:crypto';
import { createReadStream, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import type { ProgressEvent } from '../../src/core/progress.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { run } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';
import { redrawn, runOnTerminal } from '../support/terminal.ts';
import { archiveOfMembers } from '../support/test-store.ts';

const MB = 1_000_000;
let scratch: string;
let stores = 0;
let plain: string;
let gzipped: string;
let rootfs: string;

const newCli = (): LayerstackCli => new LayerstackCli(join(scratch, `store-${String(stores++)}`));

beforeAll(() => {
  scratch = makeScratch('progress');
  // Enough to take a while, whatever machine it is.
  const layers = [1, 2].map((number) => [{ name: `file-${String(number)}`, content: randomBytes(60 * MB) }]);
  const archive = archiveOfMembers(layers, {});
  [plain, gzipped, rootfs] = ['plain.tar', 'gzipped.tar', 'rootfs.tar'].map((name) =>
    join(scratch, name),
  ) as [string, string, string];
  writeFileSync(plain, archive);
  writeFileSync(gzipped, gzipSync(archive, { level: 1 }));
  writeFileSync(rootfs, tar(layers[0] ?? []));
});

afterAll(() => dropScratch(scratch));

/** The lines that were drawn, one over the other. */
async function drawn(
  cli: LayerstackCli,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<string[]> {
  const { status, text } = await runOnTerminal(process.execPath, cli.argv(...args), {
    env: { TERM: 'xterm', ...env },
  });
  expect([status, text]).toEqual([0, expect.any(String)]);
  return redrawn(text).filter((line) => line !== '');
}

const BAR =
  /^(?<doing>\w+): {1,3}(?<percent>\d+)% \[=*>? *\] {2}[\d.]+[kM]?B\/[\d.]+MB(?: {2}[\d.]+[kM]?B\/s)?(?: {2}\d+s left)?$/;

/** Percents of the bars among the lines, which rise. */
function percents(lines: readonly string[], doing: string): number[] {
  const found = lines.flatMap((line) => {
    const { groups } = BAR.exec(line.trimEnd()) ?? {};
    return groups?.['doing'] === doing ? [Number(groups['percent'])] : [];
  });
  expect(found).toEqual([...found].sort((a, b) => a - b));
  return found;
}

describe('on a terminal', () => {
  it('load of a file draws a bar, and removes it', async () => {
    for (const file of [plain, gzipped]) {
      const lines = await drawn(newCli(), ['load', '-i', file]);
      expect(percents(lines, 'loading').length).toBeGreaterThan(0);
      expect(lines.at(-1)).toMatch(/^Loaded image: \S+\n$/);
    }
  });

  it('load of a pipe shows rate and time', async () => {
    const cli = newCli();
    const { text } = await runOnTerminal(
      'sh',
      ['-c', `cat ${plain} | '${process.execPath}' ${cli.argv('load').join(' ')}`],
      {
        env: { TERM: 'xterm' },
      },
    );
    const lines = redrawn(text);
    expect(
      lines.filter((line) => /^loading: [\d.]+MB( {2}[\d.]+MB\/s)? {2}\d+s$/.test(line)).length,
    ).toBeGreaterThan(0);
    expect(lines.at(-1)).toMatch(/^Loaded image: \S+\n$/);
  });

  it('save, import and export have theirs', async () => {
    const cli = newCli();
    await cli.run('load', '-i', plain);
    const [name = ''] = (await cli.run('images', '--format', '{{.Repository}}:{{.Tag}}')).split('\n');
    const saving = await drawn(cli, ['save', name, '-o', join(scratch, 'saved.tar')]);
    expect(percents(saving, 'saving').length).toBeGreaterThan(0);
    expect(percents(await drawn(cli, ['import', rootfs, 'imported:1']), 'importing').length).toBeGreaterThan(
      0,
    );
    await cli.run('create', '--name', 'box', name);
    const exporting = await drawn(cli, ['export', 'box', '-o', join(scratch, 'exported.tar')]);
    expect(exporting.some((line) => /^exporting: [\d.]+MB/.test(line))).toBe(true);
  });

  it('that is narrow keeps to its width', async () => {
    const cli = newCli();
    const quoted = cli.argv('load', '-i', plain).join(' ');
    const { text } = await runOnTerminal('sh', ['-c', `stty cols 30; '${process.execPath}' ${quoted}`], {
      env: { TERM: 'xterm' },
    });
    const lines = redrawn(text).filter((line) => line.startsWith('loading:'));
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines) expect(line.length).toBeLessThan(30);
  });

  it('that is dumb gets no escape sequence', async () => {
    const [text = '', ...more] = await drawn(newCli(), ['load', '-i', plain], { TERM: 'dumb' });
    expect(more).toEqual([]);
    expect(text).not.toContain('\u001b');
    expect(text).toContain('Loaded image');
  });

  it('nothing is drawn with --quiet', async () => {
    const cli = newCli();
    expect(await drawn(cli, ['load', '-q', '-i', plain])).toEqual([
      expect.stringMatching(/^Loaded image: \S+\n$/),
    ]);
    expect(await drawn(cli, ['import', '-q', rootfs, 'imported:1'])).toEqual([
      expect.stringMatching(/^sha256:\w{64}\n$/),
    ]);
  });
});

it('in a pipe no progress is drawn', async () => {
  const cli = newCli();
  const { stderr } = await cli.try(['load', '-i', plain]);
  expect(stderr).toBe('');
  expect((await cli.try(['import', rootfs])).stderr).toBe('');
});

describe('the library reports', () => {
  type Sum = Extract<ProgressEvent, { type: 'progress' }>;

  /** The sums, which rise to the total. */
  async function sums(
    work: (store: Layerstack, onProgress: (event: ProgressEvent) => void) => Promise<unknown>,
  ): Promise<Sum[]> {
    const events: Sum[] = [];
    await using store = await Layerstack.open({ root: join(scratch, `store-${String(stores++)}`) });
    await work(store, (event) => void (event.type === 'progress' && events.push(event)));
    const currents = events.map(({ current }) => current);
    expect(currents).toEqual([...currents].sort((a, b) => a - b));
    return events;
  }

  it('for a plain archive the bytes of the layers that the store lacks', async () => {
    const events = await sums(async (store, onProgress) => {
      await store.images.load(plain, { onProgress });
      await store.images.load(plain, { onProgress });
    });
    const layers = 2 * statSync(rootfs).size;
    expect(events.at(-1)).toEqual({ type: 'progress', current: layers, total: layers });
    expect(events.length).toBeGreaterThan(2);
  });

  it('for a compressed one the bytes of the file, for a stream no total', async () => {
    const { size } = statSync(gzipped);
    const file = await sums((store, onProgress) => store.images.load(gzipped, { onProgress }));
    expect(file.at(-1)).toEqual({ type: 'progress', current: size, total: size });
    const stream = await sums((store, onProgress) =>
      store.images.load(createReadStream(gzipped), { onProgress }),
    );
    expect(stream.at(-1)).toEqual({ type: 'progress', current: size });
  });

  it('for an import the read bytes, for a save the written bytes', async () => {
    const { size } = statSync(rootfs);
    const file = await sums((store, onProgress) => store.images.import(rootfs, { onProgress }));
    expect(file.at(-1)).toEqual({ type: 'progress', current: size, total: size });
    const saved = await sums(async (store, onProgress) => {
      const id = await store.images.import(rootfs);
      for await (const chunk of store.images.save(id, { onProgress })) void chunk;
    });
    expect(saved.at(-1)).toEqual({ type: 'progress', current: size, total: size });
    const tarred = await sums(async (store, onProgress) => {
      const container = await store.containers.create(await store.images.import(rootfs));
      let bytes = 0;
      for await (const chunk of store.containers.export(container, { onProgress }))
        bytes += (chunk as Buffer).length;
      onProgress({ type: 'progress', current: bytes });
    });
    expect(tarred.at(-1)).toEqual(tarred.at(-2));
  });

  it('for a directory the bytes of its tar', async () => {
    const folder = join(scratch, 'folder');
    await run('sh', ['-c', `mkdir ${folder} && tar -xf ${rootfs} -C ${folder}`]);
    expect(readdirSync(folder)).toEqual(['file-1']);
    const events = await sums((store, onProgress) => store.images.import(folder, { onProgress }));
    const last = events.at(-1);
    expect(last?.total).toBeUndefined();
    expect(last?.current).toBeGreaterThan(readFileSync(join(folder, 'file-1')).length);
  });
});
