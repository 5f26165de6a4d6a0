/**
 * Streams of JSON lines, as docker's clients draw them:
 * `{"status","progressDetail":{"current","total"},"progress","id"}`, plain text as `{"stream"}`, and errors
 * as `{"errorDetail":{"message"},"error"}`, because the status of the answer is already sent. Mirrors
 * `moby/moby: pkg/{streamformatter,jsonmessage}` at v28.
 *
 * The answer begins with the first line; an error before it still gets its status. The work does not wait for
 * a slow client: if lines have the same key, only the latest one waits, in the place of the first. So the
 * number of layers bounds the lines that wait. Progress of one layer is sent at most ten times a second.
 */
import type { ImageID } from '../../core/digest.ts';
import { firstError, LayerstackError } from '../../core/errors.ts';
import { goJson } from '../../core/go-json.ts';
import { formatBytes } from '../../core/units.ts';
import type { ApiRequest } from './request.ts';
import { messageOf } from './status.ts';

/** Minimum time between two progress lines with the same key. */
const PROGRESS_MS = 100;
/** Cells of a progress bar, `[====>    ]`. */
const BAR = 50;

export interface Progress {
  /** Bytes. */
  readonly current: number;
  readonly total?: number | undefined;
}

export class JsonStream {
  readonly #request: Pick<ApiRequest, 'response' | 'signal'>;
  /** Lines that wait for a slow client. */
  readonly #waiting = new Map<string | symbol, string>();
  readonly #lastSent = new Map<string, number>();
  #draining: Promise<void> | undefined;

  constructor(request: Pick<ApiRequest, 'response' | 'signal'>) {
    this.#request = request;
  }

  /** Whether the answer has begun. */
  get begun(): boolean {
    return this.#request.response.headersSent;
  }

  /** Sends plain text, e.g. `Loaded image: a:1\n`. */
  text(text: string): void {
    this.#send({ stream: text });
  }

  /** Sends one status line, e.g. `Pulling from library/alpine`. */
  status(status: string, id?: string): void {
    this.#send({ status, id });
  }

  /** Sends the progress of one of several objects. Without numbers, only the current step. */
  progress(id: string, status: string, { current, total }: Progress = { current: 0 }): void {
    const isOver = total !== undefined && current >= total;
    if (current > 0 && !isOver && !this.#isTime(`${id}\0${status}`)) return;
    const line = {
      status,
      progressDetail: { current: current || undefined, total: total || undefined },
      progress: progressBar({ current, total }) || undefined,
      id,
    };
    this.#send(line, `${id}\0${status}`);
  }

  /** Sends the id of an image that was built. */
  built(id: ImageID): void {
    this.#send({ aux: { ID: id } });
  }

  /** Sends data for programs, e.g. the digest that was pushed. */
  aux(value: unknown, id?: string): void {
    this.#send({ progressDetail: {}, id, aux: value });
  }

  /** Ends the answer. Resolves when all lines are written, the client disconnects, or the service stops. */
  async end(): Promise<void> {
    if (!this.begun) this.#begin();
    await this.drained();
    this.#request.response.end();
  }

  /** Resolves when all lines are written, the client disconnects, or the service stops. */
  drained(): Promise<void> {
    this.#draining ??= this.#drain().finally(() => {
      this.#draining = undefined;
    });
    return this.#draining;
  }

  /**
   * Ends the answer with an error. A client ends with the status of a command that has failed.
   * @throws the error, if the answer has not begun
   */
  async fail(error: unknown): Promise<void> {
    if (!this.begun) throw error;
    const message = messageOf(error);
    this.#send({ errorDetail: { code: commandStatus(error), message }, error: message });
    await this.end();
  }

  /** Begins the answer with a status of 200, even if an error follows. */
  begin(): void {
    if (!this.begun) this.#begin();
  }

  #begin(): void {
    this.#request.response.writeHead(200, { 'Content-Type': 'application/json' });
  }

  #isTime(key: string): boolean {
    const now = performance.now();
    const before = this.#lastSent.get(key);
    if (before !== undefined && now - before < PROGRESS_MS) return false;
    this.#lastSent.set(key, now);
    return true;
  }

  #send(value: Readonly<Record<string, unknown>>, key: string | symbol = Symbol('line')): void {
    const { response } = this.#request;
    if (response.destroyed) return;
    if (!this.begun) this.#begin();
    const line = `${goJson(value)}\r\n`;
    if (this.#waiting.size === 0 && !response.writableNeedDrain) {
      response.write(line);
      return;
    }
    if (this.#waiting.size === 0) response.once('drain', this.#flush);
    this.#waiting.set(key, line);
  }

  readonly #flush = (): void => {
    const { response } = this.#request;
    for (const [key, line] of this.#waiting) {
      this.#waiting.delete(key);
      if (!response.write(line)) break;
    }
    if (this.#waiting.size > 0) response.once('drain', this.#flush);
  };

  async #drain(): Promise<void> {
    const { response, signal } = this.#request;
    while (this.#waiting.size > 0 && !response.destroyed && !signal.aborted) await this.#drainEvent();
  }

  async #drainEvent(): Promise<void> {
    const { response, signal } = this.#request;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        response.off('drain', done).off('close', done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      response.once('drain', done).once('close', done);
      signal.addEventListener('abort', done);
    });
  }
}

/** Returns the status of the command whose failure is the error. */
function commandStatus(thrown: unknown): number | undefined {
  const error = firstError(thrown);
  if (!LayerstackError.is(error, 'ERR_RUN_FAILED')) return undefined;
  return typeof error.found === 'number' ? error.found : undefined;
}

/** Formats `[====>    ]  1.2MB/3.4MB`; without a total, only the bytes. */
export function progressBar({ current, total = 0 }: Progress): string {
  if (current <= 0 && total <= 0) return '';
  const done = formatBytes(current, 4).padStart(8);
  if (total <= 0) return done;
  const cells = Math.min(BAR, Math.floor(Math.floor((current / total) * 100) / 2));
  const bar = `[${'='.repeat(cells)}>${' '.repeat(BAR - cells)}] `;
  return current > total ? `${bar}${done}` : `${bar}${done}/${formatBytes(total, 4)}`;
}
