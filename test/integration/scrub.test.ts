/** A scrub finds what a deep fsck finds, at a bounded rate, and continues after a kill where it stopped. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Layerstack, type ScrubOptions, type StoreFinding } from '../../src/index.ts';
import { Metrics } from '../../src/app/service/metrics.ts';
import { watchScrub } from '../../src/app/scrub-metrics.ts';
import { Layout } from '../../src/system/layout.ts';
import { rejection } from '../support/errors.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { archiveOfMembers, chunks, TestStore } from '../support/test-store.ts';

const LAYERS = 6;
const BYTES = 200_000;
const layersDir = 'image/overlay2/layerdb/sha256';

let fixture: TestStore;

beforeEach(async () => {
  const members = Array.from({ length: LAYERS }, (_, index) => [
    { name: `file${String(index)}`, content: Buffer.alloc(BYTES, index + 1) },
  ]);
  fixture = await TestStore.build(archiveOfMembers(members));
});
afterEach(() => fixture[Symbol.asyncDispose]());

async function scrub(options: ScrubOptions = {}): Promise<StoreFinding[]> {
  const findings: StoreFinding[] = [];
  for await (const finding of fixture.store.scrub(options)) findings.push(finding);
  return findings;
}
/** Returns the path of the only file of a layer, in the order of the scrub. */
function fileOf(index: number): string {
  const chain = readdirSync(fixture.at(layersDir)).sort()[index] ?? '';
  const diff = `overlay2/${fixture.text(`${layersDir}/${chain}/cache-id`)}/diff`;
  return `${diff}/${readdirSync(fixture.at(diff))[0] ?? ''}`;
}
const damage = (index: number): string => {
  const path = fileOf(index);
  writeFileSync(fixture.at(path), 'X', { flag: 'r+' });
  return path;
};
/** Scrubs slowly until so many layers are read, and stops then. */
async function interruptAfter(layers: number, options: ScrubOptions = {}): Promise<void> {
  const stop = new AbortController();
  const stopped = rejection(scrub({ rate: BYTES * 10, ...options, signal: stop.signal }));
  while (((await fixture.store.scrubStatus()).pass?.layers ?? 0) < layers) await sleep(5);
  stop.abort();
  expect(await stopped).toMatchObject({ code: 'ERR_ABORTED' });
}

it('finds nothing in an intact store, and counts what it has read', async () => {
  const before = Date.now();
  expect(await fixture.store.scrubStatus()).toEqual({ pass: null, last: null, readBytes: 0 });
  expect(await scrub()).toEqual([]);
  const { pass, last, readBytes } = await fixture.store.scrubStatus();
  expect(pass).toBeNull();
  expect(last).toMatchObject({ layers: LAYERS, bytes: LAYERS * BYTES, error: 0, warning: 0, note: 0 });
  expect(last?.began).toBeGreaterThanOrEqual(before);
  expect(last?.ended).toBeGreaterThanOrEqual(last?.began ?? Infinity);
  expect(readBytes).toBe(LAYERS * BYTES);
});

it('finds what a deep fsck finds, and repairs nothing', async () => {
  const path = damage(2);
  truncateSync(fixture.at(`overlay2/${path.split('/')[1] ?? ''}/link`));
  const deep: StoreFinding[] = [];
  for await (const finding of fixture.store.fsck({ deep: true })) deep.push(finding);
  const brief = (findings: StoreFinding[]): string[] =>
    findings.map((each) => `${each.code} ${each.path}`).sort();
  const found = await scrub();
  expect(brief(found)).toEqual(brief(deep));
  expect(brief(found)).toContain(`layer-damaged ${path}`);
  expect((await fixture.store.scrubStatus()).last).toMatchObject({ error: deep.length });
  expect(readFileSync(fixture.at(path))[0]).toBe('X'.charCodeAt(0));
});

it.each(['classic', 'packed'] as const)('reads no more than its rate: %s', async (form) => {
  if (form === 'packed') {
    const content = Buffer.alloc(LAYERS * BYTES, 'p');
    await fixture.store.images.remove('app:1');
    await fixture.store.images.load(chunks(archiveOfMembers([[{ name: 'packed', content }]])), { form });
  }
  const began = performance.now();
  await scrub({ rate: LAYERS * BYTES * 2 });
  const took = performance.now() - began;
  // Half a second by the rate; a burst of 50 ms is allowed at the begin of each layer.
  expect(took).toBeGreaterThan(form === 'classic' ? 200 : 400);
});

describe('an interrupted scrub', () => {
  it('continues after the last layer that it has read, and counts what it had found', async () => {
    const early = damage(0);
    await interruptAfter(2);
    const { pass } = await fixture.store.scrubStatus();
    expect(pass).toMatchObject({ error: 1 });
    const late = damage(5);
    // This layer was read before, so the pass does not read it again.
    damage(1);
    expect((await scrub()).map(({ path }) => path)).toEqual([late]);
    expect(early).not.toBe(late);
    expect(await fixture.store.scrubStatus()).toMatchObject({
      pass: null,
      last: { began: pass?.began, layers: LAYERS, bytes: LAYERS * BYTES, error: 2 },
    });
    expect(await scrub()).toHaveLength(3);
  });

  it('begins again with `restart`', async () => {
    damage(0);
    await interruptAfter(2);
    expect(await scrub({ restart: true })).toHaveLength(1);
    expect((await fixture.store.scrubStatus()).last).toMatchObject({ layers: LAYERS, error: 1 });
  });

  it('continues after kill -9', async () => {
    await fixture.store.close();
    const cli = new LayerstackCli(fixture.root);
    const child = spawn(process.execPath, [...cli.argv('scrub', '--rate', String(BYTES * 5))], {
      stdio: 'ignore',
    });
    const place = (): number => {
      try {
        return (
          (JSON.parse(fixture.text('layerstack/scrub.json')) as { pass: { layers: number } | null }).pass
            ?.layers ?? 0
        );
      } catch {
        return 0;
      }
    };
    for (let tries = 0; place() < 2 && tries < 1000; tries++) await sleep(10);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const read = place();
    expect(read).toBeGreaterThanOrEqual(2);
    await fixture.reopen();
    expect(await scrub()).toEqual([]);
    const { last, readBytes } = await fixture.store.scrubStatus();
    expect([last?.layers, readBytes]).toEqual([LAYERS, LAYERS * BYTES]);
  });

  it.each([
    '',
    '{',
    '{"pass":{"after":"../x"},"readBytes":0}',
    '{"pass":{"after":"../x","began":1,"layers":1,"bytes":1,"error":0,"warning":0,"note":0},"readBytes":1}',
  ])('begins again where its place is damaged: %s', async (text) => {
    await interruptAfter(1);
    writeFileSync(fixture.at('layerstack/scrub.json'), text);
    expect(await scrub()).toEqual([]);
    expect((await fixture.store.scrubStatus()).last).toMatchObject({ layers: LAYERS });
  });
});

it('runs alone, and refuses a bad rate', async () => {
  const first = fixture.store.scrub({ rate: BYTES * 10 });
  damage(0);
  await first.next();
  expect(await rejection(scrub())).toMatchObject({ code: 'ERR_STORE_LOCKED' });
  await first.return();
  expect(await scrub()).toHaveLength(1);
  for (const rate of [0, -1, 0.5, NaN])
    expect(await rejection(scrub({ rate }))).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
});

it('follows no link that is planted for its files', async () => {
  const outside = join(fixture.scratch, 'outside');
  writeFileSync(outside, 'mine');
  symlinkSync(outside, fixture.at('layerstack/scrub.json.new'));
  symlinkSync(outside, fixture.at('layerstack/scrub.json'));
  await scrub().catch(() => undefined);
  expect(readFileSync(outside, 'utf8')).toBe('mine');
});

it('the metrics show the last pass, the current one, and all bytes', async () => {
  damage(0);
  await scrub();
  await interruptAfter(2);
  const metrics = new Metrics();
  watchScrub(metrics, new Layout(fixture.root));
  const { last, readBytes } = await fixture.store.scrubStatus();
  const text = await metrics.text();
  expect(text).toContain(
    `\nlayerstack_scrub_last_completed_timestamp_seconds ${String((last?.ended ?? 0) / 1000)}\n`,
  );
  expect(text).toContain('layerstack_scrub_findings{pass="last",severity="error"} 1\n');
  expect(text).toContain('layerstack_scrub_findings{pass="current",severity="error"} 1\n');
  expect(text).toContain('layerstack_scrub_unfinished 1\n');
  expect(text).toContain(`layerstack_scrub_read_bytes ${String(readBytes)}\n`);
});

it('the command works without the right to write, exits with 1 for damage, and writes a textfile', async () => {
  await fixture.store.close();
  const cli = new LayerstackCli(fixture.root);
  const file = join(fixture.scratch, 'layerstack.prom');
  const intact = await cli.try(['scrub', '--rate', '100M', '--textfile', file]);
  expect([intact.status, intact.stdout]).toEqual([0, `${String(LAYERS)} layers with 1.2MB are intact\n`]);
  expect(readFileSync(file, 'utf8')).toContain('layerstack_scrub_findings{pass="last",severity="error"} 0\n');
  const path = damage(3);
  const damaged = await cli.try(['scrub', '--textfile', file]);
  expect(damaged.status).toBe(1);
  expect(damaged.stdout).toContain(`error: ${path}: `);
  expect(damaged.stderr).toContain('`layerstack fsck --deep --repair`');
  expect(readFileSync(file, 'utf8')).toContain('layerstack_scrub_findings{pass="last",severity="error"} 1\n');
  expect(readdirSync(fixture.scratch).filter((name) => name.endsWith('.new'))).toEqual([]);
  rmSync(file);
  await fixture.reopen();
});

it('a store that is open read-only is scrubbed, and keeps the place', async () => {
  await fixture.store.close();
  await using store = await Layerstack.open({ root: fixture.root, readOnly: true });
  const stop = new AbortController();
  const findings = store.scrub({ rate: BYTES * 10, signal: stop.signal });
  const stopped = rejection(findings.next());
  while (((await store.scrubStatus()).pass?.layers ?? 0) < 1) await sleep(5);
  stop.abort();
  await stopped;
  expect((await store.scrubStatus()).pass?.layers).toBeGreaterThanOrEqual(1);
});
