/**
 * Build arguments: values of the caller, and ARG before the first FROM and in a stage. Mirrors `moby/moby:
 * builder/dockerfile/buildargs.go` at v20.10. As in BuildKit, the platform's arguments (TARGETARCH and its
 * like) have values.
 */
import { compareBytes } from '../core/bytes.ts';
import type { Platform } from '../core/platform.ts';

/** Arguments that a build may be given without ARG. They are not part of the cache's key. */
const PROXIES = ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'];
const BUILTIN: ReadonlySet<string> = new Set([...PROXIES, ...PROXIES.map((name) => name.toLowerCase())]);

/** The arguments of a whole build. */
export class BuildArgs {
  readonly #given: ReadonlyMap<string, string>;
  /** Those before the first FROM. */
  readonly #global: Map<string, string>;
  readonly #declared = new Set<string>();

  constructor(given: Readonly<Record<string, string>>, target: Platform, build: Platform) {
    this.#given = new Map(Object.entries(given));
    this.#global = new Map([...platformArgs('TARGET', target), ...platformArgs('BUILD', build)]);
  }

  /** The variables of FROM. */
  get global(): ReadonlyMap<string, string> {
    return this.#global;
  }

  /** Adds an ARG before the first FROM. */
  addGlobal(name: string, value: string | undefined): void {
    this.#declared.add(name);
    const chosen = this.#given.get(name) ?? value;
    if (chosen !== undefined) this.#global.set(name, chosen);
  }

  /** Returns the arguments of a new stage. */
  stage(): StageArgs {
    return new StageArgs(this.#given, this.#global, this.#declared);
  }

  /** Returns the given arguments that no ARG has used. */
  unused(): string[] {
    return [...this.#given.keys()].filter((name) => !this.#declared.has(name) && !BUILTIN.has(name));
  }
}

/** The arguments of one stage. */
export class StageArgs {
  readonly #given: ReadonlyMap<string, string>;
  readonly #global: ReadonlyMap<string, string>;
  /** Those of the whole build that an ARG has named. */
  readonly #used: Set<string>;
  readonly #declared = new Map<string, string | undefined>();

  constructor(given: ReadonlyMap<string, string>, global: ReadonlyMap<string, string>, used: Set<string>) {
    this.#given = given;
    this.#global = global;
    this.#used = used;
  }

  /** Adds an ARG of the stage. Without a value, it has that of an ARG before the first FROM. */
  declare(name: string, value: string | undefined): void {
    this.#used.add(name);
    this.#declared.set(name, value);
  }

  /** Returns the arguments with a value, sorted, except for those that the config has as variables. */
  values(environment: readonly string[]): Map<string, string> {
    const taken = new Set(environment.map((entry) => entry.split('=', 1)[0] ?? ''));
    const builtin = [...this.#given.keys()].filter((name) => BUILTIN.has(name));
    const names = [...new Set([...this.#declared.keys(), ...builtin])].filter((name) => !taken.has(name));
    const values = new Map<string, string>();
    for (const name of names.sort(compareBytes)) {
      const value = this.#given.get(name) ?? this.#declared.get(name) ?? this.#global.get(name);
      if (value !== undefined) values.set(name, value);
    }
    return values;
  }

  /** Returns those of the values that are part of the cache's key. */
  keyed(values: ReadonlyMap<string, string>): [string, string][] {
    return [...values].filter(([name]) => this.#declared.has(name) || !BUILTIN.has(name));
  }
}

function platformArgs(prefix: string, { os, architecture, variant = '' }: Platform): [string, string][] {
  const words = [os, architecture, ...(variant === '' ? [] : [variant])];
  return [
    [`${prefix}PLATFORM`, words.join('/')],
    [`${prefix}OS`, os],
    [`${prefix}ARCH`, architecture],
    [`${prefix}VARIANT`, variant],
  ];
}
