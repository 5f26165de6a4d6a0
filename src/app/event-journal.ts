/**
 * Writes the journal of a store, `layerstack/events/<n>`: what is done to the store, one JSON document a
 * line. Every process that writes to the root appends to it, so `layerstack events` sees what all of them do
 * (event-reader.ts). When a file has {@link SEGMENT_BYTES}, the next one begins, and only the last two stay.
 * This does not need a lock: several processes may begin the next file, or remove the one before the last, at
 * the same time.
 *
 * The journal is for people who watch, not for accounting. It is not synced. What a process did right before
 * it was killed may be missing. The journal holds no more than `docker events` shows.
 */
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { isSystemError } from '../core/errors.ts';
import { NanoClock } from '../core/time.ts';
import type { Layout } from '../system/layout.ts';
import { call, native, type StoreEntry } from '../system/native.ts';
import { listEntries } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { openStoreFile, statEntry } from '../system/store-files.ts';
import type { StoreEvent } from './store-events.ts';

/** The journal holds at least this much history, and at most about twice as much. */
const SEGMENT_BYTES = 1 << 20;
/** Labels come from images and clients. An event with a longer line is recorded without them. */
export const MAX_LINE = 64 * 1024;
/**
 * Events of this time are written together. Each write wakes another thread, which would compete with the
 * caller's next step.
 */
const GATHER_MS = 10;
/** An event is in the journal after this time, unless the machine is overloaded. */
export const WRITTEN_MS = 5 * GATHER_MS;

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
export async function segments(layout: Layout): Promise<number[]> {
  const names = (await listEntries(layout, layout.events)).filter((name) => /^[1-9]\d{0,14}$/.test(name));
  return names.map(Number).sort((a, b) => a - b);
}
