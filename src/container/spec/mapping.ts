/** Logs which key of a host config set which key of a runtime configuration. */
export interface Mapping {
  /** Key of docker's host config, e.g. `Memory`. */
  readonly key: string;
  /** The key of `config.json`, with its value: `linux.resources.memory.limit = 67108864`. */
  readonly to: string;
}

export class MappingLog {
  readonly #entries: Mapping[] = [];

  get entries(): readonly Mapping[] {
    return this.#entries;
  }

  /** Notes that `key` set `target` to `value`. */
  note(key: string, target: string, value?: unknown): void {
    this.#entries.push({ key, to: value === undefined ? target : `${target} = ${shown(value)}` });
  }
}

function shown(value: unknown): string {
  if (typeof value === 'string' || typeof value === 'bigint') return String(value);
  return JSON.stringify(value, (_, each: unknown) => (typeof each === 'bigint' ? String(each) : each));
}
