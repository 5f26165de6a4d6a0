import { describe, expect, it } from 'vitest';
import { EventFilter } from '../../../../src/app/event-filter.ts';
import type { ApiEvent } from '../../../../src/app/api-event.ts';
import { EventBus } from '../../../../src/app/service/events.ts';
import type { StoreEvent } from '../../../../src/app/store-events.ts';

const image = (id: string): StoreEvent => ({
  type: 'image',
  action: 'load',
  id,
  attributes: { name: id },
});
const now = (): bigint => BigInt(Date.now()) * 1_000_000n;
const ids = async (events: AsyncIterable<ApiEvent>): Promise<string[]> => {
  const found: string[] = [];
  for await (const { Actor } of events) found.push(Actor.ID);
  return found;
};
/** Lets readers that were woken read. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

describe('the form of an event', () => {
  it("has docker's fields, and the old ones for old clients", async () => {
    const bus = new EventBus();
    bus.emit({ type: 'container', action: 'create', id: 'c1', attributes: { image: 'a:1', name: 'n' } });
    bus.emit({ type: 'image', action: 'prune', id: '', attributes: { reclaimed: '3' } });
    const events: ApiEvent[] = [];
    for await (const event of bus.subscribe({ since: 0n, until: now() - 1_000_000_000n })) events.push(event);
    expect(events).toEqual([]);
    for await (const event of bus.subscribe({ since: 0n, until: now() + 5_000_000n })) events.push(event);
    expect(events).toMatchObject([
      {
        status: 'create',
        id: 'c1',
        from: 'a:1',
        Type: 'container',
        Action: 'create',
        Actor: { ID: 'c1', Attributes: { image: 'a:1', name: 'n' } },
        scope: 'local',
      },
      { status: 'prune', id: undefined, from: undefined, Actor: { ID: '', Attributes: { reclaimed: '3' } } },
    ]);
    for (const { time, timeNano } of events) expect(BigInt(time)).toBe(timeNano / 1_000_000_000n);
  });

  it('gives events different times in their order', async () => {
    const bus = new EventBus();
    for (let i = 0; i < 100; i++) bus.emit(image(String(i)));
    const times: bigint[] = [];
    for await (const event of bus.subscribe({ since: 0n, until: now() + 2_000_000n }))
      times.push(event.timeNano);
    expect(times).toHaveLength(100);
    expect(times).toEqual([...new Set(times)].sort((a, b) => (a < b ? -1 : 1)));
  });
});

describe('a reader', () => {
  it('without times gets no past events, and all new ones', async () => {
    const bus = new EventBus();
    bus.emit(image('before'));
    const events = bus.subscribe();
    const first = events.next();
    bus.emit(image('a'));
    bus.emit(image('b'));
    expect((await first).value).toMatchObject({ Actor: { ID: 'a' } });
    expect((await events.next()).value).toMatchObject({ Actor: { ID: 'b' } });
    await events.return();
  });

  it('with until gets kept and new events, and ends at that time', async () => {
    const bus = new EventBus();
    bus.emit(image('before'));
    const reading = ids(bus.subscribe({ until: now() + 200_000_000n }));
    await settle();
    expect(bus.readers).toBe(1);
    bus.emit(image('a'));
    await settle();
    bus.emit(image('b'));
    expect(await reading).toEqual(['before', 'a', 'b']);
    expect(bus.readers).toBe(0);
  });

  it('gets kept events from since up to until', async () => {
    const bus = new EventBus({ history: 3 });
    for (const id of ['a', 'b', 'c', 'd']) bus.emit(image(id));
    const kept: ApiEvent[] = [];
    for await (const event of bus.subscribe({ since: 0n, until: now() + 2_000_000n })) kept.push(event);
    expect(kept.map(({ Actor }) => Actor.ID)).toEqual(['b', 'c', 'd']);
    const since = kept[1]?.timeNano ?? 0n;
    await settle();
    expect(await ids(bus.subscribe({ since, until: since }))).toEqual(['c']);
    expect(await ids(bus.subscribe({ since: since + 1n, until: now() }))).toEqual(['d']);
  });

  it('keeps a bounded amount of text, whatever labels the images have (memory by labels)', async () => {
    const bus = new EventBus({ maxText: 1000 });
    const labels = { label: 'x'.repeat(300) };
    for (const id of ['a', 'b', 'c', 'd'])
      bus.emit({ type: 'image', action: 'load', id, attributes: labels });
    expect(await ids(bus.subscribe({ since: 0n, until: now() + 2_000_000n }))).toEqual(['b', 'c', 'd']);
    const slow = bus.subscribe();
    const first = slow.next();
    for (const id of ['e', 'f', 'g', 'h', 'i', 'j'])
      bus.emit({ type: 'image', action: 'load', id, attributes: labels });
    expect((await first).value).toMatchObject({ Actor: { ID: 'e' } });
    await expect(ids(slow)).rejects.toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' });
  });

  it('gets only events that match its filter', async () => {
    const bus = new EventBus();
    bus.emit(image('a'));
    bus.emit({ type: 'container', action: 'create', id: 'c', attributes: {} });
    const filter = new EventFilter(new Map([['type', ['container']]]));
    expect(await ids(bus.subscribe({ since: 0n, until: now() + 2_000_000n, filter }))).toEqual(['c']);
  });

  it('that falls behind gets the waiting events and is then disconnected, unlike others', async () => {
    const bus = new EventBus({ backlog: 3 });
    const slow = bus.subscribe();
    const first = slow.next();
    const quick = ids(bus.subscribe({ until: now() + 1_000_000_000n }));
    bus.emit(image('0'));
    expect((await first).value).toMatchObject({ Actor: { ID: '0' } });
    for (let i = 1; i <= 4; i++) {
      bus.emit(image(String(i)));
      await settle();
    }
    const got: string[] = [];
    await expect(
      (async () => {
        for await (const { Actor } of slow) got.push(Actor.ID);
      })(),
    ).rejects.toMatchObject({ code: 'ERR_LIMIT_EXCEEDED', limit: 3 });
    expect(got).toEqual(['1', '2', '3']);
    expect(await quick).toEqual(['0', '1', '2', '3', '4']);
    expect(bus.readers).toBe(0);
  });

  it('leaves nothing when it is stopped while it waits, or disconnects', async () => {
    const bus = new EventBus();
    const stop = new AbortController();
    const reading = ids(bus.subscribe({ signal: stop.signal }));
    await settle();
    stop.abort();
    await expect(reading).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    const left = bus.subscribe({ since: 0n });
    bus.emit(image('a'));
    await left.next();
    await left.return();
    expect(bus.readers).toBe(0);
  });
});

describe('a bus', () => {
  it('follows a store until it is stopped', async () => {
    const bus = new EventBus();
    const listeners = new Set<(event: StoreEvent) => void>();
    const store = {
      onEvent: (listener: (event: StoreEvent) => void) => {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    };
    const stop = bus.follow(store);
    for (const listener of listeners) listener(image('a'));
    stop();
    expect(listeners.size).toBe(0);
    expect(await ids(bus.subscribe({ since: 0n, until: now() + 2_000_000n }))).toEqual(['a']);
  });
});
