/**
 * The journal of a store, `layerstack/events/<n>`: what is done to the store, one JSON document a line. Every
 * process that writes to the root appends to it, so `layerstack events` sees what all of them do. When a file
 * has {@link SEGMENT_BYTES}, the next one begins, and only the last two stay. This does not need a lock:
 * several processes may begin the next file, or remove the one before the last, at the same time.
 *
 * The journal is for people who watch, not for accounting. It is not synced. What a process did right before
 * it was killed may be missing. The journal holds no more than `docker events` shows.
 */
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { pause, throwIfAborted } from '../core/abort.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { NanoClock, unixNanoseconds } from '../core/time.ts';
import { parseTimestamp } from '../core/timestamp.ts';
import type { Layout } from '../system/layout.ts';
import { call, native, type StoreEntry } from '../system/native.ts';
import { listEntries } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { openStoreFile, statEntry } from '../system/store-files.ts';
import { toApiEvent } from './api-event.ts';
import { EventFilter } from './event-filter.ts';
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

/** The journal holds at least this much history, and at most about twice as much. */
const SEGMENT_BYTES = 1 << 20;
/** Labels come from images and clients. An event with a longer line is recorded without them. */
const MAX_LINE = 64 * 1024;
const READ_BYTES = 64 * 1024;
const POLL_MS = 100;
/**
 * Events of this time are written together. Each write wakes another thread, which would compete with the
 * caller's next step.
 */
const GATHER_MS = 10;
/** An event is in the journal after this time, unless the machine is overloaded. */
const WRITTEN_MS = 5 * GATHER_MS;
const NEWLINE = 10;

/** Writes the journal. */
export class EventJournal {
  readonly #root: Pick<Root, 'layout' | 'aftermath'>;
  readonly #clock = new NanoClock();
  readonly #segment: LastSegment;
  #waiting: string[] = [];
  #writing: Promise<void> | undefined;
  #isDrained = false;
  /** Ends the current wait for more events. */
  #hurry: (() => void) | undefined;

  constructor(root: Pick<Root, 'layout' | 'aftermath'>) {
    this.#root = root;
    this.#segment = new LastSegment(root.layout);
  }

  /** Records an event with the current time, in the background. Bound, so that it can be a listener. */
  readonly record = (event: StoreEvent): void => {
    this.#waiting.push(lineOf(event, this.#clock.now()));
    this.#writing ??= this.#write();
  };

  /**
   * Resolves when all events are written and no file of the journal is open. Later events, of operations that
   * outlive the store, close the file again.
   */
  async drain(): Promise<void> {
    this.#isDrained = true;
    this.#hurry?.();
    await this.#writing;
    await this.#segment.close();
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      await this.#gather();
      // The newline in front ends a line that a full disk has cut off.
      const text = `\n${this.#waiting.splice(0).join('')}`;
      await this.#root.aftermath.run('it is not among the events of the store', async () => {
        await this.#segment.append(text);
        if (this.#isDrained) await this.#segment.close();
      });
    }
    this.#writing = undefined;
  }

  /** Waits for more events, unless the journal is drained. */
  async #gather(): Promise<void> {
    if (this.#isDrained) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, GATHER_MS);
      this.#hurry = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#hurry = undefined;
  }
}

function lineOf(event: StoreEvent, timeNano: bigint): string {
  const { type, action, id, attributes } = event;
  const line = JSON.stringify({ timeNano: String(timeNano), type, action, id, attributes });
  if (line.length <= MAX_LINE) return `${line}\n`;
  const { name = '', image } = attributes;
  return lineOf({ ...event, attributes: { name, ...(image !== undefined && { image }) } }, timeNano);
}

/** The file that is appended to, which stays open: opening it for each event costs more than the event. */
class LastSegment {
  readonly #layout: Layout;
  #number = 1;
  #file: FileHandle | undefined;
  #ino: number | undefined;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  async append(text: string): Promise<void> {
    const { file, isNext } =
      this.#file && this.#isLast() ? { file: this.#file, isNext: false } : await this.#open();
    try {
      await file.appendFile(text);
    } catch (error) {
      // The next event opens the file again.
      await this.close().catch(() => undefined);
      throw error;
    }
    if (isNext) await forget(this.#layout, this.#number - 2);
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  /** Opens the last existing file, or the next one if that is full. */
  async #open(): Promise<{ readonly file: FileHandle; readonly isNext: boolean }> {
    await this.close();
    const last = (await segments(this.#layout)).at(-1) ?? 1;
    const isNext = (this.#look(last)?.size ?? 0) >= SEGMENT_BYTES;
    this.#number = isNext ? last + 1 : last;
    const file = await openSegment(this.#layout, this.#number);
    this.#file = file;
    this.#ino = (await file.stat()).ino;
    return { file, isNext };
  }

  /**
   * Returns whether the open file is still the last one: `layerstack/` may be deleted, and another process
   * may have begun the next file. It takes two system calls.
   */
  #isLast(): boolean {
    const entry = this.#look(this.#number);
    return (
      entry !== undefined &&
      entry.ino === this.#ino &&
      entry.size < SEGMENT_BYTES &&
      this.#look(this.#number + 1) === undefined
    );
  }

  #look(segment: number): StoreEntry | undefined {
    return statEntry(this.#layout.at(this.#layout.eventSegment(segment)));
  }
}

async function openSegment(layout: Layout, segment: number) {
  const { O_WRONLY, O_APPEND, O_CREAT } = constants;
  const open = () =>
    openStoreFile(layout.at(layout.eventSegment(segment)), O_WRONLY | O_APPEND | O_CREAT, 0o600);
  try {
    return await open();
  } catch (error) {
    // `layerstack/` may have been deleted.
    if (!isSystemError(error, 'ENOENT')) throw error;
    await call(native.batch(layout.root, layout.skeleton()));
    return await open();
  }
}

async function forget(layout: Layout, upTo: number): Promise<void> {
  const old = (await segments(layout)).filter((segment) => segment <= upTo);
  await call(
    native.batch(
      layout.root,
      old.map((segment) => ({ op: 'unlink', path: layout.eventSegment(segment), missing: true })),
    ),
  );
}

/** Returns the numbers of the existing files, oldest first. */
async function segments(layout: Layout): Promise<number[]> {
  const names = (await listEntries(layout, layout.events)).filter((name) => /^[1-9]\d{0,14}$/.test(name));
  return names.map(Number).sort((a, b) => a - b);
}

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
