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

  it('lets a waiter go at an abort, and the others in', async () => {
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
});

describe('a slot that is lent', () => {
  it('is used by others while its holder waits, and got back', async () => {
    const slots = new Slots(1);
    const order: string[] = [];
    let arrive: (text: string) => void = () => undefined;
    const bytes = new Promise<string>((resolve) => (arrive = resolve));
    const first = slots.run(undefined, async (slot) => {
      order.push(await slot.lend(bytes, 1));
    });
    await slots.run(undefined, async () => {
      order.push('second');
      arrive('first');
      await turn();
    });
    await first;
    expect(order).toEqual(['second', 'first']);
    await slots.run(undefined, () => Promise.resolve());
  });

  it('stays with its holder while he need not wait', async () => {
    const slots = new Slots(1);
    const order: string[] = [];
    const first = slots.run(undefined, async (slot) => {
      for (let i = 0; i < 3; i++) order.push(await slot.lend(Promise.resolve('first'), 1000));
    });
    await Promise.all([first, slots.run(undefined, () => Promise.resolve(order.push('second')))]);
    expect(order).toEqual(['first', 'first', 'first', 'second']);
  });

  it('is not given back twice', async () => {
    const slots = new Slots(1);
    const slot = await slots.take(undefined);
    let arrive: () => void = () => undefined;
    const lent = slot.lend(new Promise<void>((resolve) => (arrive = resolve)), 1);
    const other = await slots.take(undefined);
    slot.release();
    arrive();
    await lent;
    slot.release();
    const third = slots.take(undefined);
    let taken = false;
    void third.then(() => (taken = true));
    await turn();
    expect(taken).toBe(false);
    other.release();
    (await third).release();
  });
});
