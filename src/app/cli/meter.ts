/** Measures the rate of some work. */

/** The state of the work at one moment. */
export interface Reading {
  readonly current: number;
  readonly total?: number | undefined;
  /** Bytes a second over the last {@link WINDOW_MS}; undefined until enough is measured. */
  readonly rate?: number | undefined;
  /** Seconds since the work began. */
  readonly elapsed: number;
}

/** The time over which the rate is measured: short enough to follow a change, long enough not to jump. */
const WINDOW_MS = 5000;
/** A rate over less time than this is not reported. */
const MIN_MEASURED_MS = 500;
/** At most one moment is kept for each interval of this length. */
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

  /** `now` returns milliseconds of a clock that is never set back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#began = now();
    this.#moments = [{ at: this.#began, bytes: 0 }];
  }

  /** Records that `current` bytes of `total` are done. */
  add(current: number, total?: number): void {
    const at = this.#now();
    // `current` was reduced, as in a push that finds layers at the registry. Earlier moments do not count
    // then.
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
      rate: took >= MIN_MEASURED_MS ? (bytes / took) * 1000 : undefined,
      elapsed: (now - this.#began) / 1000,
    };
  }
}
