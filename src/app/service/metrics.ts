/**
 * Numbers about the service in Prometheus's text format 0.0.4. Each family is declared once. It holds a
 * bounded number of label sets, so that a client cannot make it grow: further label sets are counted together
 * under `other`.
 */

/** Values of a family's labels, in the order of the label names. */
export type LabelValues = readonly string[];

/** Label sets of one family. Routes x methods x statuses stay far below this. */
const MAX_SERIES = 1000;
const OTHER = 'other';

/** From a quick look-up to the load of a large image, in seconds. */
export const SECONDS_BUCKETS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800,
] as const;

interface FamilyOptions {
  /** Includes the unit: `layerstack_http_request_duration_seconds`. */
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
}

abstract class Family<S> {
  readonly name: string;
  readonly #type: string;
  readonly #help: string;
  readonly #labels: readonly string[];
  readonly #series = new Map<string, { readonly values: LabelValues; readonly state: S }>();

  constructor(type: string, { name, help, labels = [] }: FamilyOptions) {
    this.name = name;
    this.#type = type;
    this.#help = help;
    this.#labels = labels;
  }

  protected abstract first(): S;
  protected abstract lines(label: (extra?: string) => string, state: S): string[];

  protected state(values: LabelValues): S {
    const key = values.join('\0');
    const known = this.#series.get(key);
    if (known) return known.state;
    if (this.#series.size >= MAX_SERIES && values.some((value) => value !== OTHER))
      return this.state(values.map(() => OTHER));
    const state = this.first();
    this.#series.set(key, { values, state });
    return state;
  }

  text(): string {
    const lines = [`# HELP ${this.name} ${this.#help}`, `# TYPE ${this.name} ${this.#type}`];
    for (const { values, state } of this.#series.values()) {
      const pairs = this.#labels.map((label, index) => `${label}="${escape(values[index] ?? '')}"`);
      lines.push(
        ...this.lines((extra) => {
          const all = extra === undefined ? pairs : [...pairs, extra];
          return all.length === 0 ? '' : `{${all.join(',')}}`;
        }, state),
      );
    }
    return `${lines.join('\n')}\n`;
  }
}

interface Value {
  value: number;
}

/** A number that only grows. */
export class Counter extends Family<Value> {
  constructor(options: FamilyOptions) {
    super('counter', options);
  }
  add(amount: number, ...labels: LabelValues): void {
    this.state(labels).value += amount;
  }
  protected override first(): Value {
    return { value: 0 };
  }
  protected override lines(label: () => string, { value }: Value): string[] {
    return [`${this.name}${label()} ${value}`];
  }
}

/** A number that may grow and shrink. */
export class Gauge extends Family<Value> {
  constructor(options: FamilyOptions) {
    super('gauge', options);
  }
  set(value: number, ...labels: LabelValues): void {
    this.state(labels).value = value;
  }
  add(amount: number, ...labels: LabelValues): void {
    this.state(labels).value += amount;
  }
  protected override first(): Value {
    return { value: 0 };
  }
  protected override lines(label: () => string, { value }: Value): string[] {
    return [`${this.name}${label()} ${value}`];
  }
}

interface Distribution {
  readonly counts: number[];
  sum: number;
  count: number;
}

/** The distribution of values over buckets. */
export class Histogram extends Family<Distribution> {
  readonly #bounds: readonly number[];

  /**
   * @param options.bounds upper bounds of the buckets, ascending
   */
  constructor(options: FamilyOptions & { readonly bounds?: readonly number[] }) {
    super('histogram', options);
    this.#bounds = options.bounds ?? SECONDS_BUCKETS;
  }
  observe(value: number, ...labels: LabelValues): void {
    const state = this.state(labels);
    const bucket = this.#bounds.findIndex((bound) => value <= bound);
    const at = bucket < 0 ? this.#bounds.length : bucket;
    state.counts[at] = (state.counts[at] ?? 0) + 1;
    state.sum += value;
    state.count++;
  }
  protected override first(): Distribution {
    return { counts: new Array<number>(this.#bounds.length + 1).fill(0), sum: 0, count: 0 };
  }
  protected override lines(
    label: (extra?: string) => string,
    { counts, sum, count }: Distribution,
  ): string[] {
    let below = 0;
    return [
      ...this.#bounds.map((bound, index) => {
        below += counts[index] ?? 0;
        return `${this.name}_bucket${label(`le="${bound}"`)} ${below}`;
      }),
      `${this.name}_bucket${label('le="+Inf"')} ${count}`,
      `${this.name}_sum${label()} ${sum}`,
      `${this.name}_count${label()} ${count}`,
    ];
  }
}

/** All families of a service. */
export class Metrics {
  readonly #families: { text(): string }[] = [];
  readonly #sources: (() => void | Promise<void>)[] = [];

  counter(name: string, help: string, labels: readonly string[] = []): Counter {
    return this.#add(new Counter({ name, help, labels }));
  }
  gauge(name: string, help: string, labels: readonly string[] = []): Gauge {
    return this.#add(new Gauge({ name, help, labels }));
  }
  histogram(
    name: string,
    help: string,
    labels: readonly string[] = [],
    bounds: readonly number[] = SECONDS_BUCKETS,
  ): Histogram {
    return this.#add(new Histogram({ name, help, labels, bounds }));
  }

  /** Runs `source` before each {@link text}, to update gauges. It must be cheap, or cache its result. */
  before(source: () => void | Promise<void>): void {
    this.#sources.push(source);
  }

  /** Returns all families in Prometheus's format. */
  async text(): Promise<string> {
    for (const source of this.#sources) await source();
    return this.#families.map((family) => family.text()).join('');
  }

  #add<F extends { text(): string }>(family: F): F {
    this.#families.push(family);
    return family;
  }
}

function escape(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
