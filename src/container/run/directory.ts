/**
 * The directory of one run: `layerstack/runs/<container>/`, or `<container>.rm` where the container is
 * removed with its process. It is made before the container. If the process dies in between, the name
 * still tells the next writer what to remove. Contents:
 *
 *   lock          flocked by layerstack, and by the runtime, which inherits it
 *   record.json   the runtime, and the process of a container that runs in the background
 *   config.json   the bundle, with the files beside it
 *   pid           written by the runtime when it has started the process
 *   log.json      the runtime's own errors
 *
 * A run whose lock is free, and whose process has ended, is over. The next writer gives its mount back,
 * removes the container of an `.rm`, and then removes the directory.
 */
import type { FileHandle } from 'node:fs/promises';
import * as json from '../../core/json.ts';
import { pause } from '../../core/abort.ts';
import { isSystemError, LayerstackError } from '../../core/errors.ts';
import type { Layout } from '../../system/layout.ts';
import { call, native } from '../../system/native.ts';
import { bootId, processStart } from '../../system/processes.ts';
import { claim } from '../../system/session.ts';
import { readText } from '../../system/store-files.ts';
import { isRunning } from './runtime.ts';

const RECORD = 'record.json';
const LOG = 'log.json';
const MAX_RECORD_BYTES = 64 << 10;
const MAX_LOG_BYTES = 1 << 20;
const REMOVED = '.rm';

/** The facts by which the next writer finds out whether a run is over. */
export interface RunRecord {
  /** Absolute path of the runtime. */
  readonly runtime: string;
  readonly bootId: string;
  /** The process of a container that runs in the background, and when it started. */
  readonly pid: number | undefined;
  readonly started: string | undefined;
}

const decodeRecord = json.object({
  runtime: json.string,
  bootId: json.string,
  pid: json.optional(json.integer),
  started: json.optional(json.string),
});
const decodeLog = json.object({ msg: json.string });

/** How often a directory is claimed that another writer removes, and the pause between. */
const CLAIM_TRIES = 200;
const CLAIM_PAUSE_MS = 5;

export class RunDirectory {
  /** Absolute. */
  readonly path: string;
  readonly #layout: Layout;
  readonly #name: string;
  readonly #runtime: string;
  readonly #lock: FileHandle;

  private constructor(layout: Layout, name: string, runtime: string, lock: FileHandle) {
    this.path = layout.at(layout.run(name));
    this.#layout = layout;
    this.#name = name;
    this.#runtime = runtime;
    this.#lock = lock;
  }

  /** Makes the directory, and takes its lock. */
  static async make(
    layout: Layout,
    { id, remove, runtime }: { readonly id: string; readonly remove: boolean; readonly runtime: string },
  ): Promise<RunDirectory> {
    const name = remove ? id + REMOVED : id;
    await call(native.batch(layout.root, [{ op: 'mkdir', path: layout.runs, mode: 0o700, exist: true }]));
    for (let tries = 1; ; tries++) {
      const lock = await claim(layout.at(layout.run(name))).catch((error: unknown) => {
        if (tries === CLAIM_TRIES || !isSystemError(error, 'EEXIST')) throw error;
        return undefined;
      });
      // Without the lock, another writer takes the new directory for that of a dead process, and removes it.
      if (lock === undefined) {
        await pause(CLAIM_PAUSE_MS);
        continue;
      }
      const made = new RunDirectory(layout, name, runtime, lock);
      try {
        await made.#write(undefined, undefined);
        return made;
      } catch (error) {
        await made.remove();
        throw error;
      }
    }
  }

  /** The lock. A program that inherits it holds the run. */
  get lockFd(): number {
    return this.#lock.fd;
  }

  /** The file into which the runtime writes the id of the process. */
  get pidFile(): string {
    return `${this.path}/pid`;
  }

  /** The file into which the runtime writes its errors, as JSON. */
  get logFile(): string {
    return `${this.path}/${LOG}`;
  }

  /** Notes the process of the command and releases the lock. The run is over when this process has ended. */
  async detach(): Promise<void> {
    const pid = readPid(this.pidFile);
    try {
      await this.#write(pid, pid === undefined ? undefined : processStart(pid));
    } finally {
      await this.#lock.close();
    }
  }

  /** Removes the directory, and releases the lock. */
  async remove(): Promise<void> {
    await call(native.removeTree(this.#layout.root, this.#layout.run(this.#name)));
    await this.#lock.close();
  }

  /** Leaves the directory to the next writer. */
  async leave(): Promise<void> {
    await this.#lock.close();
  }

  async #write(pid: number | undefined, started: string | undefined): Promise<void> {
    const record: RunRecord = { runtime: this.#runtime, bootId: bootId(), pid, started };
    const path = this.#layout.run(this.#name, RECORD);
    const data = JSON.stringify(record);
    await call(native.batch(this.#layout.root, [{ op: 'replace', path, data, mode: 0o600, sync: false }]));
  }
}

/** Returns the container of a run, and whether it is removed with its process. */
export function parseRunName(name: string): { readonly id: string; readonly remove: boolean } {
  const remove = name.endsWith(REMOVED);
  return { id: remove ? name.slice(0, -REMOVED.length) : name, remove };
}

/** Reads the record of a run; undefined where its process died before it had started anything. */
export function readRunRecord(layout: Layout, name: string): RunRecord | undefined {
  const text = readText(layout.at(layout.run(name, RECORD)), MAX_RECORD_BYTES);
  if (text === undefined) return undefined;
  try {
    const source = { what: RECORD, code: 'ERR_STORE_CORRUPT', maxBytes: MAX_RECORD_BYTES } as const;
    return json.decodeJson(decodeRecord, Buffer.from(text), source);
  } catch (error) {
    // A power cut may leave an empty file.
    if (LayerstackError.is(error, 'ERR_STORE_CORRUPT')) return undefined;
    throw error;
  }
}

/**
 * Returns whether the process of a run still exists. The record must be of this boot. The caller holds the
 * lock of the run.
 */
export async function isAlive(id: string, record: RunRecord): Promise<boolean> {
  // The runtime is asked only if the record does not have the process, because starting it takes time.
  if (record.pid !== undefined && record.started !== undefined)
    return processStart(record.pid) === record.started;
  return isRunning(record.runtime, id);
}

/** Reads the id of the process that the runtime has started; undefined where it has started none. */
export function readPid(file: string): number | undefined {
  const pid = Number.parseInt(readText(file) ?? '', 10);
  return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
}

/** Reads the runtime's last error; empty without one. */
export function readLastError(file: string): string {
  const lines = (readText(file, MAX_LOG_BYTES) ?? '').trimEnd().split('\n');
  try {
    const source = { what: LOG, code: 'ERR_RUNTIME', maxBytes: MAX_LOG_BYTES } as const;
    return json.decodeJson(decodeLog, Buffer.from(lines.at(-1) ?? ''), source).msg;
  } catch (error) {
    if (LayerstackError.is(error, 'ERR_RUNTIME')) return '';
    throw error;
  }
}
