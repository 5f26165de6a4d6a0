/** The journal of what is done to a store: its two sides on real files. */
import { appendFileSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { EventJournal } from '../../../src/app/event-journal.ts';
import { readEvents, type EventsOptions } from '../../../src/app/event-reader.ts';
import type { StoreEvent } from '../../../src/app/store-events.ts';
import { LayerstackError } from '../../../src/core/errors.ts';
import { Aftermath } from '../../../src/system/aftermath.ts';
import { Layout } from '../../../src/system/layout.ts';
import { dropScratch, makeScratch } from '../../support/scratch.ts';

let root: string;
let layout: Layout;
const warn = vi.fn();

beforeEach(() => {
  root = makeScratch('journal');
  layout = new Layout(root);
  warn.mockClear();
});
afterEach(() => dropScratch(root));

const event = (id: string, attributes: Record<string, string> = {}): StoreEvent => ({
  ...{ type: 'image', action: 'tag', id },
  attributes: { name: id, ...attributes },
});
const journal = () => new EventJournal({ layout, aftermath: new Aftermath(root, { warn }) });
const segments = (): string[] => readdirSync(join(root, 'layerstack/events')).sort();
const ago = (seconds: number): string => new Date(Date.now() - seconds * 1000).toISOString();

/** The ids of what is there now. */
async function past(options: EventsOptions = {}): Promise<string[]> {
  const ids: string[] = [];
  const until = new Date(Date.now() + 1).toISOString();
  for await (const { id } of readEvents(layout, { since: ago(3600), until, ...options })) ids.push(id);
  return ids;
}

async function record(...events: StoreEvent[]): Promise<void> {
  const writer = journal();
  for (const each of events) writer.record(each);
  await writer.drain();
}

describe('the journal', () => {
  it('holds the events of several writers in their order', async () => {
    const [first, second] = [journal(), journal()];
    for (let number = 0; number < 20; number++) {
      const writer = number % 2 === 0 ? first : second;
      writer.record(event(String(number)));
      await writer.drain();
    }
    expect(await past()).toEqual(Array.from({ length: 20 }, (_, number) => String(number)));
    expect(statSync(join(root, 'layerstack/events/1')).mode & 0o777).toBe(0o600);
  });

  it('returns every field of an event', async () => {
    const container: StoreEvent = {
      ...{ type: 'container', action: 'create', id: 'c1' },
      attributes: { image: 'a:1', name: 'wëb\n"', __proto: 'x' },
    };
    await record(container);
    const events = readEvents(layout, { since: ago(60), until: new Date(Date.now() + 1).toISOString() });
    const value = (await events.next()).value ?? undefined;
    await events.return();
    expect(value).toEqual({ ...container, timeNano: expect.any(BigInt) as bigint });
    expect(Number((value?.timeNano ?? 0n) / 1_000_000n)).toBeGreaterThan(Date.now() - 60_000);
  });

  it('keeps the last two files, each of a mebibyte and one batch more', async () => {
    const large = { text: 'x'.repeat(60_000) };
    for (let number = 0; number < 60; number++) await record(event(String(number), large));
    expect(segments()).toEqual(['3', '4']);
    for (const name of segments())
      expect(statSync(join(root, 'layerstack/events', name)).size).toBeLessThan(2 ** 20 + 2 ** 16);
    const ids = await past();
    expect(ids.at(-1)).toBe('59');
    expect(ids.length).toBeGreaterThan(2 ** 20 / 61_000);
    expect(ids).toEqual(ids.map((_, index) => String(60 - ids.length + index)));
  });

  it('leaves out labels that are too large', async () => {
    await record({ ...event('a', { label: 'x'.repeat(1e6), image: 'i:1' }) }, event('b'));
    const found: unknown[] = [];
    const until = new Date(Date.now() + 1).toISOString();
    for await (const { attributes } of readEvents(layout, { since: ago(60), until })) found.push(attributes);
    expect(found).toEqual([{ name: 'a', image: 'i:1' }, { name: 'b' }]);
  });

  it('is made again after it was deleted', async () => {
    const writer = journal();
    writer.record(event('a'));
    await writer.drain();
    rmSync(join(root, 'layerstack'), { recursive: true });
    writer.record(event('b'));
    await writer.drain();
    expect(await past()).toEqual(['b']);
    expect(warn).not.toHaveBeenCalled();
  });

  it('that cannot be written to does not fail the change', async () => {
    mkdirSync(join(root, 'layerstack/events/1'), { recursive: true });
    await record(event('a'));
    expect(warn).toHaveBeenCalledWith(
      'done, but it is not among the events of the store',
      expect.objectContaining({ error: expect.anything() as unknown }),
    );
  });
});

describe('a reader', () => {
  it('gets only new events, unless it asks for past ones', async () => {
    await record(event('before'));
    const stop = new AbortController();
    const got: string[] = [];
    const reading = (async () => {
      for await (const { id } of readEvents(layout, { signal: stop.signal })) got.push(id);
    })();
    await new Promise((resolve) => setTimeout(resolve, 50));
    await record(event('a'), event('b'));
    await vi.waitFor(() => expect(got).toEqual(['a', 'b']), 5000);
    stop.abort();
    await expect(reading).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  });

  it('sees each event once while files come and go', async () => {
    const stop = new AbortController();
    const got: string[] = [];
    const reading = (async () => {
      for await (const { id } of readEvents(layout, { signal: stop.signal })) got.push(id);
    })();
    const expected: string[] = [];
    await new Promise((resolve) => setTimeout(resolve, 20));
    for (let number = 0; number < 40; number++) {
      await record(event(String(number), { text: 'x'.repeat(60_000) }));
      expected.push(String(number));
      if (number % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 250));
    }
    await vi.waitFor(() => expect(got).toEqual(expected), 5000);
    stop.abort();
    await reading.catch(() => undefined);
  });

  it('gets the events that match the filters and the times', async () => {
    await record(event('a', { team: 'x' }), { ...event('c'), type: 'container', action: 'create' });
    expect(await past({ filters: { type: ['container'] } })).toEqual(['c']);
    expect(await past({ filters: { label: ['team=x'] } })).toEqual(['a']);
    expect(await past({ filters: { event: ['tag', 'create'] } })).toEqual(['a', 'c']);
    expect(await past({ since: undefined, until: ago(60) })).toEqual([]);
    expect(await past({ since: undefined })).toEqual(['a', 'c']);
  });

  it('ends at the requested time', async () => {
    const began = Date.now();
    const events = readEvents(layout, { until: new Date(began + 300).toISOString() });
    expect(await events.next()).toEqual({ done: true, value: undefined });
    expect(Date.now() - began).toBeGreaterThanOrEqual(300);
  });

  it.each([{ since: 'yesterday' }, { until: 'x' }, { since: '2024-01-02', until: '2024-01-01' }])(
    'is refused %j',
    async (options) => {
      const error: unknown = await past(options).catch((thrown: unknown) => thrown);
      expect(LayerstackError.is(error) && error.code).toBe('ERR_INVALID_ARGUMENT');
    },
  );

  it('skips lines that are not events, and lines that were cut off', async () => {
    await record(event('a'));
    const file = join(root, 'layerstack/events/1');
    appendFileSync(file, '{"timeNano":"1","type":"image"}\nnull\n[]\n\u0000\n{"cut": "of');
    await record(event('b'));
    appendFileSync(file, 'x'.repeat(400_000));
    appendFileSync(file, `\n`);
    await record(event('c'));
    writeFileSync(join(root, 'layerstack/events/.x'), 'x');
    writeFileSync(join(root, 'layerstack/events/01'), 'x');
    expect(await past()).toEqual(['a', 'b', 'c']);
  });

  it('gets no events from a store without a journal', async () => {
    expect(await past()).toEqual([]);
  });
});
