import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Slots } from '../../../src/layer/slots.ts';

describe('Slots', () => {
  it('runs at most so many at once, in order, also after failures', async () => {
    const slots = new Slots(2);
    let running = 0;
    let most = 0;
    const order: number[] = [];
    const results = await Promise.allSettled(
      Array.from({ length: 10 }, (_, index) =>
        slots.run(undefined, async () => {
          order.push(index);
          most = Math.max(most, ++running);
          await turn();
          --running;
          if (index % 3 === 0) throw new Error('failed');
          return index;
        }),
      ),
    );
    expect(most).toBe(2);
    expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(4);
  });

  it('drops a waiter at an abort, and serves the others', async () => {
    const slots = new Slots(1);
    let finish: () => void = () => undefined;
    const first = slots.run(undefined, () => new Promise<void>((resolve) => (finish = resolve)));
    const controller = new AbortController();
    const second = slots.run(controller.signal, () => Promise.resolve('second'));
    const third = slots.run(undefined, () => Promise.resolve('third'));
    controller.abort('why');
    await expect(second).rejects.toMatchObject({ code: 'ERR_ABORTED', cause: 'why' });
    finish();
    await first;
    expect(await third).toBe('third');
    await expect(slots.run(controller.signal, () => Promise.resolve())).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    });
  });

  /** A source that gives its chunks when it is told to. */
  function source(): { give(chunk?: Uint8Array): void; bytes: AsyncIterable<Uint8Array> } {
    const waiting: ((result: IteratorResult<Uint8Array>) => void)[] = [];
    const ready: IteratorResult<Uint8Array>[] = [];
    const next = (): Promise<IteratorResult<Uint8Array>> => {
      const result = ready.shift();
      return result ? Promise.resolve(result) : new Promise((resolve) => waiting.push(resolve));
    };
    return {
      give(chunk) {
        const result: IteratorResult<Uint8Array> = chunk
          ? { done: false, value: chunk }
          : { done: true, value: undefined };
        const reader = waiting.shift();
        if (reader) reader(result);
        else ready.push(result);
      },
      bytes: { [Symbol.asyncIterator]: () => ({ next }) },
    };
  }

  const read = async (bytes: AsyncIterable<Uint8Array>): Promise<number> => {
    let total = 0;
    for await (const chunk of bytes) total += chunk.length;
    return total;
  };

  it('lends the slot of a stalled source, and gives it back before newcomers', async () => {
    const slots = new Slots(1, 1);
    const order: string[] = [];
    const stalled = source();
    const slow = slots.run(undefined, async (slot) => {
      const total = await read(slot.lendWhileWaiting(stalled.bytes));
      order.push('stalled');
      return total;
    });
    let finish: () => void = () => undefined;
    let begun: () => void = () => undefined;
    const hasBegun = new Promise<void>((resolve) => (begun = resolve));
    const borrower = slots.run(undefined, async () => {
      begun();
      await new Promise<void>((resolve) => (finish = resolve));
      order.push('borrower');
    });
    await hasBegun;
    const newcomer = slots.run(undefined, () => Promise.resolve(order.push('newcomer')));
    stalled.give(new Uint8Array(10));
    stalled.give();
    await turn();
    finish();
    expect(await slow).toBe(10);
    await Promise.all([borrower, newcomer]);
    expect(order).toEqual(['borrower', 'stalled', 'newcomer']);
  });

  it('lends a bounded number, and none if the source is quick', async () => {
    const slots = new Slots(1, 1);
    const first = source();
    const second = source();
    const runs = [first, second].map(({ bytes }) =>
      slots.run(undefined, (slot) => read(slot.lendWhileWaiting(bytes))),
    );
    let third = false;
    const late = slots.run(undefined, () => Promise.resolve((third = true)));
    await new Promise((resolve) => setTimeout(resolve, 200));
    // The first has lent its slot to the second, which may not lend it on.
    expect(third).toBe(false);
    second.give();
    expect(await runs[1]).toBe(0);
    await late;
    first.give(new Uint8Array(3));
    first.give();
    expect(await runs[0]).toBe(3);
  });

  it('loses no slot, whatever ends while one is lent or taken back', async () => {
    const slots = new Slots(1, 2);
    for (let round = 0; round < 3; round++) {
      const stalled = source();
      const controller = new AbortController();
      const failing = slots.run(controller.signal, (slot) => {
        const reading = read(slot.lendWhileWaiting(stalled.bytes));
        // As native work that fails while its source is waited for.
        const failed = new Promise<never>((_, reject) => setTimeout(reject, 120, new Error('failed')));
        return Promise.race([reading, failed]);
      });
      failing.catch(() => undefined);
      const borrower = slots.run(undefined, async () => {
        stalled.give(new Uint8Array(1));
        if (round === 1) controller.abort();
        await new Promise((resolve) => setTimeout(resolve, round === 2 ? 150 : 50));
      });
      await borrower;
      stalled.give();
      await failing.catch(() => undefined);
      expect(await slots.run(undefined, () => Promise.resolve('free'))).toBe('free');
    }
    // Both may still be lent.
    const [a, b] = [source(), source()];
    const both = [a, b].map(({ bytes }) =>
      slots.run(undefined, (slot) => read(slot.lendWhileWaiting(bytes))),
    );
    expect(await slots.run(undefined, () => Promise.resolve('lent'))).toBe('lent');
    a.give();
    b.give();
    await Promise.all(both);
  });

  it('lends a slot whenever a slow source makes it wait', async () => {
    const slots = new Slots(1, 1);
    let stop = false;
    async function* trickle(): AsyncGenerator<Uint8Array> {
      while (!stop) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        yield new Uint8Array(1);
      }
    }
    const slow = slots.run(undefined, (slot) => read(slot.lendWhileWaiting(trickle())));
    expect(await slots.run(undefined, () => Promise.resolve('in'))).toBe('in');
    stop = true;
    expect(await slow).toBeGreaterThan(0);
  });

  it('gives no slot back twice', async () => {
    const slots = new Slots(1, 1);
    const slot = await slots.take(undefined);
    const stalled = source();
    const reading = read(slot.lendWhileWaiting(stalled.bytes));
    const other = await slots.take(undefined);
    slot.release();
    stalled.give(new Uint8Array(1));
    stalled.give();
    await reading.catch(() => undefined);
    slot.release();
    let taken = false;
    const third = slots.take(undefined);
    void third.then(() => (taken = true));
    await turn();
    expect(taken).toBe(false);
    other.release();
    (await third).release();
  });
});
