import { describe, expect, it } from 'vitest';
import type { Partial } from '../../../../src/system/partials.ts';
import { PartialRecorder, RECORD_AFTER_MS } from '../../../../src/transfer/pull/partial-recorder.ts';

/** A partial in memory. */
class FakePartial {
  start = 0;
  bytes: Buffer;
  begun = 0;

  constructor(bytes = Buffer.alloc(0)) {
    this.bytes = bytes;
  }

  get size(): number {
    return this.bytes.length;
  }

  begin(start: number): Promise<void> {
    this.begun++;
    this.start = start;
    this.bytes = Buffer.alloc(0);
    return Promise.resolve();
  }

  append(chunk: Uint8Array): Promise<void> {
    this.bytes = Buffer.concat([this.bytes, chunk]);
    return Promise.resolve();
  }
}

const MIB = 1024 * 1024;

/** Returns the part that is kept of a download of `count` MiB, each of which takes `ms`. */
async function kept(count: number, ms: number, partial = new FakePartial()): Promise<FakePartial> {
  const recorder = new PartialRecorder(partial as unknown as Partial);
  for (let index = 0; index < count; index++)
    await recorder.add(Buffer.alloc(MIB, index), index * MIB, (index + 1) * ms);
  await recorder.flush();
  return partial;
}

describe('the kept part of a download', () => {
  it('is all of a slow one', async () => {
    const { start, size } = await kept(10, 300);
    expect([start, size]).toEqual([0, 10 * MIB]);
  });

  it('is all of one that slows down within its first bytes', async () => {
    const { start, bytes } = await kept(3, 90);
    expect([start, bytes.length, bytes[MIB]]).toEqual([0, 3 * MIB, 1]);
  });

  it('is the received part of a fast one that ends early', async () => {
    const { start, size } = await kept(2, 1);
    expect([start, size]).toEqual([0, 2 * MIB]);
  });

  it('is nothing of a fast one', async () => {
    const { size, begun } = await kept(120, 40);
    expect([size, begun]).toEqual([0, 0]);
  });

  it('is the rest of a fast one after some seconds', async () => {
    const { start, size, bytes } = await kept(150, 40);
    const first = RECORD_AFTER_MS / 40;
    expect([start, size, bytes[0]]).toEqual([first * MIB, (150 - first) * MIB, first % 256]);
  });

  it('is appended to the kept part of an earlier pull', async () => {
    const { start, size, begun } = await kept(5, 1, new FakePartial(Buffer.alloc(100)));
    expect([start, size, begun]).toEqual([0, 100 + 5 * MIB, 0]);
  });

  it('is nothing once the bytes proved wrong', async () => {
    const partial = new FakePartial(Buffer.alloc(100));
    const recorder = new PartialRecorder(partial as unknown as Partial);
    await recorder.discard();
    await recorder.add(Buffer.alloc(10), 100, 0);
    await recorder.flush();
    expect(partial.size).toBe(0);
  });
});
