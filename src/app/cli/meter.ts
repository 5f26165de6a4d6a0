/** How fast some work goes, and how long it will still take. */

/** What there is to say of it at one moment. */
export interface Reading {
  readonly current: number;
  readonly total?: number | undefined;
  /** Bytes a second of late; undefined until that can be said. */
  readonly rate?: number | undefined;
  /** Seconds since it began. */
  readonly elapsed: number;
}

/** Of what time the rate is: short enough to follow a change, long enough not to jump. */
const WINDOW_MS = 5000;
/** Before that a rate says nothing. */
const SETTLED_MS = 500;
/** A moment for each so much time is kept. */
const STEP_MS = 100;

interface Moment {
  readonly at: number;
  readonly bytes: number;
}

export class Meter {
  readonly #now: () => number;
  readonly #began: number;
  #moments: Moment[] = [];
  #current = 0;
  #total: number | undefined;

  /** `now`: milliseconds, of a clock that is never set back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#began = now();
    this.#moments = [{ at: this.#began, bytes: 0 }];
  }

  /** So many bytes are done, of so many. */
  add(current: number, total?: number): void {
    const at = this.#now();
    // What was to be done has become less, as in a push that finds layers there: what was measured counts no more.
    if (current < this.#current) this.#moments = [];
    this.#current = current;
    this.#total = total;
    const latest = this.#moments.at(-1);
    if (latest === undefined || at - latest.at >= STEP_MS) this.#moments.push({ at, bytes: current });
    while ((this.#moments[1]?.at ?? at) < at - WINDOW_MS) this.#moments.shift();
  }

  get reading(): Reading {
    const now = this.#now();
    const [first] = this.#moments;
    const took = now - (first?.at ?? now);
    const bytes = this.#current - (first?.bytes ?? 0);
    return {
      current: this.#current,
      total: this.#total,
      rate: took >= SETTLED_MS ? (bytes / took) * 1000 : undefined,
      elapsed: (now - this.#began) / 1000,
    };
  }
}
