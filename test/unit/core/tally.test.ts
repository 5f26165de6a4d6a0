import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { DiffID } from '../../../src/core/digest.ts';
import type { ProgressEvent } from '../../../src/core/progress.ts';
import { counted, Tally, withSum } from '../../../src/core/tally.ts';

function listener(): { tell: (event: ProgressEvent) => void; sums: () => string[] } {
  const events: ProgressEvent[] = [];
  const sums = (): string[] =>
    events.flatMap((event) => (event.type === 'progress' ? [`${event.current}/${event.total ?? '?'}`] : []));
  return { tell: (event) => void events.push(event), sums };
}

describe('a tally', () => {
  it('sums up its parts, each up to its end, and ignores unknown parts', () => {
    const { tell, sums } = listener();
    const tally = new Tally<string>(tell);
    tally.expect('a', 100);
    tally.expect('b', 50);
    expect(sums()).toEqual([]);
    tally.at('a', 40);
    tally.at('b', 70);
    tally.at('c', 1000);
    tally.done('a');
    expect(sums()).toEqual(['40/150', '90/150', '150/150']);
  });

  it('accepts corrected and removed parts', () => {
    const { tell, sums } = listener();
    const tally = new Tally<string>(tell);
    tally.expect('a', 100);
    tally.expect('b', 100);
    tally.at('a', 50);
    tally.drop('b');
    tally.expect('a', 10);
    tally.at('a', 5);
    expect(sums()).toEqual(['50/200', '5/10']);
  });

  it('without parts reports nothing', () => {
    const { tell, sums } = listener();
    const tally = new Tally<string>(tell);
    tally.expect('a', 0);
    tally.done('a');
    expect(sums()).toEqual([]);
  });
});

it('the sum of a push is the number of bytes to send', () => {
  const { tell, sums } = listener();
  const push = withSum(tell);
  const layer = (id: string) => ({ diffId: id as DiffID });
  push({ type: 'layer-preparing', ...layer('a'), current: 0, total: 100 });
  push({ type: 'layer-preparing', ...layer('b'), current: 0, total: 100 });
  push({ type: 'layer-preparing', ...layer('c'), current: 0, total: 100 });
  push({ type: 'layer-exists', ...layer('b'), current: 100, total: 100 });
  push({ type: 'layer-start', ...layer('a'), current: 0, total: 120 });
  push({ type: 'layer-progress', ...layer('a'), current: 60, total: 120 });
  push({ type: 'layer-mounted', ...layer('c'), from: 'x', current: 100, total: 100 });
  push({ type: 'layer-done', ...layer('a'), current: 120, total: 120 });
  expect(sums()).toEqual(['60/220', '120/120']);
});

describe('counted bytes', () => {
  const source = (): Readable => Readable.from([Buffer.alloc(3), Buffer.alloc(4)]);
  const drain = async (bytes: AsyncIterable<Uint8Array>): Promise<number> => {
    let sum = 0;
    for await (const chunk of bytes) sum += chunk.length;
    return sum;
  };

  it('are unchanged, and reported', async () => {
    const { tell, sums } = listener();
    expect(await drain(counted(source(), tell, 7))).toBe(7);
    expect(await drain(counted(source(), tell))).toBe(7);
    expect(sums()).toEqual(['3/7', '7/7', '3/?', '7/?']);
    const plain = source();
    expect(counted(plain, undefined)).toBe(plain);
  });

  it('end their source when the reader stops, and fail as it does', async () => {
    const stopped = source();
    for await (const chunk of counted(stopped, () => undefined)) {
      expect(chunk.length).toBe(3);
      break;
    }
    expect(stopped.destroyed).toBe(true);
    const broken = source();
    broken.destroy(new Error('gone'));
    await expect(drain(counted(broken, () => undefined))).rejects.toThrow('gone');
  });
});
