/** Sums the progress of the parts of some work, for `progress` events. */
import type { OnProgress, ProgressEvent } from './progress.ts';

/** The parts of some work, in bytes. */
export class Tally<Part> {
  readonly #onProgress: OnProgress | undefined;
  readonly #parts = new Map<Part, { current: number; total: number }>();
  #current = 0;
  #total = 0;

  constructor(onProgress: OnProgress | undefined) {
    this.#onProgress = onProgress;
  }

  /** Sets how many bytes a part has. A second call corrects the number. */
  expect(part: Part, total: number): void {
    this.drop(part);
    this.#parts.set(part, { current: 0, total });
    this.#total += total;
  }

  /** Removes a part, whose bytes need not be done. */
  drop(part: Part): void {
    const known = this.#parts.get(part);
    if (known === undefined) return;
    this.#current -= known.current;
    this.#total -= known.total;
    this.#parts.delete(part);
  }

  /** Sets how many bytes of a part are done. Parts that were not expected do not count. */
  at(part: Part, bytes: number): void {
    const known = this.#parts.get(part);
    if (known === undefined) return;
    const current = Math.min(bytes, known.total);
    this.#current += current - known.current;
    known.current = current;
    if (this.#total > 0) this.#onProgress?.({ type: 'progress', current: this.#current, total: this.#total });
  }

  done(part: Part): void {
    this.at(part, Infinity);
  }
}

/** Passes on the events of a push, and follows each with the sum of the sent bytes. */
export function withSum(onProgress: OnProgress): OnProgress {
  const tally = new Tally<string>(onProgress);
  return (event) => {
    onProgress(event);
    count(tally, event);
  };
}

function count(tally: Tally<string>, event: ProgressEvent): void {
  if (!('diffId' in event) || event.diffId === undefined) return;
  if (event.type === 'layer-preparing' || event.type === 'layer-start')
    tally.expect(event.diffId, event.total ?? 0);
  else if (event.type === 'layer-exists' || event.type === 'layer-mounted') tally.drop(event.diffId);
  else if (event.type === 'layer-progress') tally.at(event.diffId, event.current);
  else if (event.type === 'layer-done') tally.done(event.diffId);
}

/** Passes the bytes on unbuffered, and reports how many have been read, and `total` where it is known. */
export function counted(
  bytes: AsyncIterable<Uint8Array>,
  onProgress: OnProgress | undefined,
  total?: number,
): AsyncIterable<Uint8Array> {
  if (onProgress === undefined) return bytes;
  return {
    [Symbol.asyncIterator]() {
      const iterator = bytes[Symbol.asyncIterator]();
      let current = 0;
      const next = async (): Promise<IteratorResult<Uint8Array>> => {
        const result = await iterator.next();
        if (result.done !== true) {
          current += result.value.length;
          onProgress({ type: 'progress', current, ...(total !== undefined && { total }) });
        }
        return result;
      };
      return { next, ...(iterator.return && { return: iterator.return.bind(iterator) }) };
    },
  };
}
