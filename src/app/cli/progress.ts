/**
 * Shows the progress of a load, import, save or export on stderr. A terminal gets one line that is redrawn. A
 * terminal that cannot redraw (TERM=dumb) gets a line now and then. Any other output, such as a log, gets
 * only notices and warnings.
 */
import type { ProgressEvent } from '../../core/progress.ts';
import { Meter } from './meter.ts';
import { progressLine } from './progress-line.ts';
import type { Output } from './terminal.ts';

const REDRAW_MS = 100;
/** Without redrawing, a line is printed at each tenth of the total, but no more often than this. */
const LINE_MS = 1000;
/** The interval of these lines where the total is not known. */
const LINE_MS_WITHOUT_TOTAL = 10_000;

export interface ProgressOptions {
  /** No progress; notices and warnings still appear. */
  readonly quiet: boolean;
  /** The word that the line begins with. */
  readonly doing: string;
  /** Returns milliseconds of a clock that is never set back. */
  readonly now?: () => number;
}

export class ProgressDisplay {
  readonly #output: Output;
  readonly #options: ProgressOptions;
  readonly #now: () => number;
  readonly #meter: Meter;
  #drawn: number;
  #tenth = 0;
  #visible = false;

  constructor(output: Output, options: ProgressOptions) {
    this.#output = output;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#meter = new Meter(this.#now);
    this.#drawn = this.#now();
  }

  /** Shows an event. Bound, so that it can be passed as `onProgress`. */
  readonly show = (event: ProgressEvent): void => {
    switch (event.type) {
      case 'progress':
        this.#meter.add(event.current, event.total);
        if (this.#output.isTerminal && !this.#options.quiet) this.#draw();
        break;
      case 'notice':
        this.#remark(event.message);
        break;
      case 'warning':
        this.#remark(`warning: ${event.message}`);
        break;
      case 'moved':
        if (!this.#options.quiet)
          this.#remark(`${event.reference} names this image now; it named ${event.previous} before`);
        break;
      case 'image':
      case 'pulling':
      case 'waiting':
      case 'pulled':
      case 'pushing':
      case 'pushed':
      case 'layer-start':
      case 'layer-progress':
      case 'layer-done':
      case 'layer-exists':
      case 'layer-preparing':
      case 'layer-mounted':
      case 'layer-waiting':
      case 'layer-retry':
        break;
    }
  };

  /** Removes the line. To be called before anything else is printed. */
  clear(): void {
    if (this.#visible) this.#output.redrawLine('');
    this.#visible = false;
  }

  #remark(message: string): void {
    this.clear();
    this.#output.print(`layerstack: ${message}`);
  }

  #draw(): void {
    const now = this.#now();
    const since = now - this.#drawn;
    if (this.#output.canRedraw ? since < REDRAW_MS : !this.#isTimeForLine(since)) return;
    this.#drawn = now;
    const line = progressLine(this.#options.doing, this.#meter.reading, this.#output.columns - 1);
    if (this.#output.canRedraw) this.#output.redrawLine(line);
    else this.#output.print(line);
    this.#visible = this.#output.canRedraw;
  }

  #isTimeForLine(since: number): boolean {
    const { current, total } = this.#meter.reading;
    if (total === undefined || total <= 0) return since >= LINE_MS_WITHOUT_TOTAL;
    const tenth = Math.floor((current / total) * 10);
    if (since < LINE_MS || tenth <= this.#tenth) return false;
    this.#tenth = tenth;
    return true;
  }
}
