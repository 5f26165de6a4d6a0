/**
 * The events of `GET /events`: the store's events (app/store-events.ts) in the form of docker's API, for any
 * number of readers, and the latest events for readers that ask for the past.
 *
 * Memory is bounded. The number of events, and their text, are limited both for the history and for the queue
 * of each reader (labels come from images and clients, up to a megabyte an event). A reader that falls
 * further behind is disconnected, so that it asks again with `since` instead of missing some events.
 *
 * Mirrors `moby/moby: daemon/events/events.go`, except that dockerd drops events of readers that fall behind.
 */
import { throwIfAborted } from '../../core/abort.ts';
import { LayerstackError } from '../../core/errors.ts';
import { NanoClock } from '../../core/time.ts';
import { toApiEvent, type ApiEvent } from '../api-event.ts';
import type { Layerstack } from '../layerstack.ts';
import type { StoreEvent } from '../store-events.ts';

export interface SubscribeOptions {
  /** Selects events; default all. */
  readonly filter?: { matches(event: ApiEvent): boolean } | undefined;
  /**
   * Nanoseconds since 1970: begins with the stored events of that time and later. Default: begins with new
   * events, unless `until` is given.
   */
  readonly since?: bigint | undefined;
  /**
   * Nanoseconds since 1970: ends then. If it is in the past, yields stored events only. Default: never ends.
   */
  readonly until?: bigint | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface EventBusOptions {
  /** Events stored for `since`. Default 256, as in dockerd. */
  readonly history?: number;
  /** Events that may wait for one reader. Default 1024. */
  readonly backlog?: number;
  /** Characters of the events that are stored, and of those that may wait for one reader. Default 2^22. */
  readonly maxText?: number;
}

/** The longest wait of a timer, 2^31 - 1 ms. The wait for a later `until` takes several timers. */
const MAX_WAIT_MS = 0x7fff_ffff;

/** The events that wait for one reader. */
interface Reader {
  readonly queue: EventQueue;
  lost: boolean;
  wake: () => void;
}

/** A queue of events that knows how much text they hold together. */
class EventQueue {
  readonly events: ApiEvent[] = [];
  #text = 0;

  get text(): number {
    return this.#text;
  }

  push(event: ApiEvent): void {
    this.events.push(event);
    this.#text += textOf(event);
  }

  shift(): ApiEvent | undefined {
    const event = this.events.shift();
    if (event) this.#text -= textOf(event);
    return event;
  }
}

export class EventBus {
  readonly #history: number;
  readonly #backlog: number;
  readonly #maxText: number;
  readonly #stored = new EventQueue();
  readonly #readers = new Set<Reader>();
  /** Gives events of the same millisecond different times. */
  readonly #clock = new NanoClock();

  constructor({ history = 256, backlog = 1024, maxText = 1 << 22 }: EventBusOptions = {}) {
    this.#history = history;
    this.#backlog = backlog;
    this.#maxText = maxText;
  }

  /** Emits the events of `store`, until the returned function is called. */
  follow(store: Pick<Layerstack, 'onEvent'>): () => void {
    return store.onEvent((event) => this.emit(event));
  }

  /** How many readers there are. */
  get readers(): number {
    return this.#readers.size;
  }

  /** Gives the event to all readers, dated now. */
  emit(event: StoreEvent): void {
    const dated = toApiEvent(event, this.#clock.now());
    this.#stored.push(dated);
    while (this.#stored.events.length > this.#history || this.#stored.text > this.#maxText)
      this.#stored.shift();
    for (const reader of this.#readers) {
      const { events, text } = reader.queue;
      // A queue below its limits takes any event, however large.
      if (events.length < this.#backlog && text < this.#maxText) reader.queue.push(dated);
      else reader.lost = true;
      reader.wake();
    }
  }

  /**
   * Yields the events that match, in order: stored ones from `since` on, then those that are emitted after
   * the first read. Ends at `until`. Stores nothing for a reader that has ended.
   * @throws {@link LayerstackError} (while iterating) ERR_LIMIT_EXCEEDED when the reader was too slow,
   *   ERR_ABORTED.
   */
  async *subscribe(options: SubscribeOptions = {}): AsyncGenerator<ApiEvent, void, undefined> {
    const { filter, until, signal } = options;
    const reader: Reader = { queue: this.#past(options), lost: false, wake: () => undefined };
    const wake = (): void => reader.wake();
    const live = until === undefined || until >= BigInt(Date.now()) * 1_000_000n;
    if (live) this.#readers.add(reader);
    signal?.addEventListener('abort', wake);
    try {
      for (;;) {
        throwIfAborted(signal);
        for (let event = reader.queue.shift(); event !== undefined; event = reader.queue.shift())
          if (filter?.matches(event) !== false) yield event;
        if (reader.lost)
          throw new LayerstackError(
            'ERR_LIMIT_EXCEEDED',
            `this reader fell too far behind (${this.#backlog} events, or ${this.#maxText} characters): read faster, and ask again with since`,
            { limit: this.#backlog },
          );
        if (!live || !(await waitForEvent(reader, until, signal))) return;
      }
    } finally {
      signal?.removeEventListener('abort', wake);
      this.#readers.delete(reader);
    }
  }

  /** Returns the stored events of the requested time; none if the request names no time. */
  #past({ since, until }: SubscribeOptions): EventQueue {
    const past = new EventQueue();
    if (since === undefined && until === undefined) return past;
    for (const event of this.#stored.events)
      if (event.timeNano >= (since ?? 0n) && (until === undefined || event.timeNano <= until))
        past.push(event);
    return past;
  }
}

/** Waits for the next event or an abort. Returns false when `until` comes first. */
async function waitForEvent(
  reader: Reader,
  until: bigint | undefined,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (reader.queue.events.length > 0 || signal?.aborted === true) return true;
  const left = until === undefined ? MAX_WAIT_MS : Number(until / 1_000_000n) + 1 - Date.now();
  if (left <= 0) return false;
  let timer: NodeJS.Timeout | undefined;
  await new Promise<void>((resolve) => {
    reader.wake = resolve;
    timer = setTimeout(resolve, Math.min(left, MAX_WAIT_MS));
  });
  clearTimeout(timer);
  return true;
}

/** Counts the characters of the texts that only this event holds. */
function textOf({ Actor: { ID, Attributes } }: ApiEvent): number {
  return Object.entries(Attributes).reduce((sum, [key, value]) => sum + key.length + value.length, ID.length);
}
