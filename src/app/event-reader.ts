/** Reads the journal of a store, which event-journal.ts writes: past events, and new ones as they come. */
import { constants } from 'node:fs';
import { pause, throwIfAborted } from '../core/abort.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { unixNanoseconds } from '../core/time.ts';
import { parseTimestamp } from '../core/timestamp.ts';
import type { Layout } from '../system/layout.ts';
import { openStoreFile, statEntry } from '../system/store-files.ts';
import { toApiEvent } from './api-event.ts';
import { EventFilter } from './event-filter.ts';
import { MAX_LINE, segments, WRITTEN_MS } from './event-journal.ts';
import type { StoreEvent } from './store-events.ts';

/** An event of the journal. */
export type RecordedEvent = StoreEvent & {
  /** When it happened, in nanoseconds since 1970. */
  readonly timeNano: bigint;
};

export interface EventsOptions {
  /**
   * Begins with the events since this time that are still in the journal: a date, seconds since 1970, or how
   * long ago (`10m`).
   */
  readonly since?: string | undefined;
  /** Ends at this time. Default: never. */
  readonly until?: string | undefined;
  /** docker's filters: `type`, `event`, `image`, `container`, `label`. */
  readonly filters?: Readonly<Record<string, readonly string[]>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

const READ_BYTES = 64 * 1024;
const POLL_MS = 100;
const NEWLINE = 10;

/**
 * Yields the events of the requested time from the journal, then new ones as they come, until `until`.
 * Without `since` and `until` yields new events only.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a malformed time, or a `since` after `until`;
 *   ERR_ABORTED.
 */
export async function* readEvents(
  layout: Layout,
  { since, until, filters = {}, signal }: EventsOptions = {},
): AsyncGenerator<RecordedEvent, void, undefined> {
  const from = since === undefined ? undefined : unixNanoseconds(parseTimestamp('since', since));
  const to = until === undefined ? undefined : unixNanoseconds(parseTimestamp('until', until));
  if (from !== undefined && to !== undefined && to < from)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `since (${String(since)}) cannot be after until (${String(until)})`,
    );
  const filter = new EventFilter(new Map(Object.entries(filters)));
  const reader = new JournalReader(layout);
  const start = from ?? (to === undefined ? nanoseconds(Date.now()) : 0n);
  for (let reads = 1; ; reads++) {
    // Checked before the journal is read, so that the journal holds everything up to that moment.
    const isOver = to !== undefined && nanoseconds(Date.now() - WRITTEN_MS) > to;
    for await (const event of reader.read()) {
      throwIfAborted(signal);
      const { timeNano } = event;
      // The first read sees past events. The second one sees events that writers still held back. Later
      // events are new, even if the clock is set back.
      const isWanted = reads > 2 || timeNano >= start;
      if (!isWanted || (to !== undefined && timeNano > to)) continue;
      if (filter.matches(toApiEvent(event, timeNano))) yield event;
    }
    throwIfAborted(signal);
    if (isOver) return;
    await pause(POLL_MS, signal);
  }
}

function nanoseconds(milliseconds: number): bigint {
  return BigInt(milliseconds) * 1_000_000n;
}

/** How far a file has been read. */
interface Position {
  offset: number;
  /** The beginning of a line whose end has not come. */
  rest: Buffer;
}

/** Reads the journal. Each event is yielded once. */
class JournalReader {
  readonly #layout: Layout;
  readonly #positions = new Map<number, Position>();

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /**
   * Yields the events that were appended since the last call. A late writer may still append to the file
   * before the last.
   */
  async *read(): AsyncGenerator<RecordedEvent, void, undefined> {
    const there = await segments(this.#layout);
    for (const segment of this.#positions.keys())
      if (!there.includes(segment)) this.#positions.delete(segment);
    for (const segment of there) yield* this.#readSegment(segment);
  }

  async *#readSegment(segment: number): AsyncGenerator<RecordedEvent, void, undefined> {
    const path = this.#layout.at(this.#layout.eventSegment(segment));
    const position = this.#positions.get(segment) ?? { offset: 0, rest: Buffer.alloc(0) };
    this.#positions.set(segment, position);
    const entry = statEntry(path);
    // Something else than a file is opened too: that fails with an error that names it.
    if (entry?.kind === 'file' && entry.size <= position.offset) return;
    const file = await openStoreFile(path, constants.O_RDONLY).catch((error: unknown) => {
      if (isSystemError(error, 'ENOENT')) return undefined;
      throw error;
    });
    if (file === undefined) return;
    try {
      for (;;) {
        const { bytesRead, buffer } = await file.read(
          Buffer.alloc(READ_BYTES),
          0,
          READ_BYTES,
          position.offset,
        );
        if (bytesRead === 0) return;
        position.offset += bytesRead;
        yield* linesOf(position, buffer.subarray(0, bytesRead));
      }
    } finally {
      await file.close();
    }
  }
}

/** Yields the events of the lines that end in `bytes`. */
function* linesOf(position: Position, bytes: Buffer): Generator<RecordedEvent, void, undefined> {
  const text = Buffer.concat([position.rest, bytes]);
  let begin = 0;
  for (let end = text.indexOf(NEWLINE); end >= 0; end = text.indexOf(NEWLINE, begin)) {
    const event = parseEvent(text.toString('utf8', begin, end));
    if (event) yield event;
    begin = end + 1;
  }
  // No writer makes a line of this length (a character has at most three bytes), so this is not an event.
  position.rest = text.length - begin > 4 * MAX_LINE ? Buffer.alloc(0) : text.subarray(begin);
}

/** Returns undefined for a line that is not an event, such as one that was cut off. */
function parseEvent(line: string): RecordedEvent | undefined {
  if (line === '') return undefined;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  return isRecord(value) ? ({ ...value, timeNano: BigInt(value.timeNano) } as RecordedEvent) : undefined;
}

function isRecord(value: unknown): value is Omit<StoreEvent, 'timeNano'> & { readonly timeNano: string } {
  if (typeof value !== 'object' || value === null) return false;
  const { timeNano, type, action, id, attributes } = value as Readonly<Record<string, unknown>>;
  return (
    typeof timeNano === 'string' &&
    /^\d{1,19}$/.test(timeNano) &&
    (type === 'image' || type === 'container' || type === 'snapshot') &&
    typeof action === 'string' &&
    typeof id === 'string' &&
    typeof attributes === 'object' &&
    attributes !== null &&
    Object.values(attributes).every((text) => typeof text === 'string')
  );
}
