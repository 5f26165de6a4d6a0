/**
 * The defaults with which an image's containers run: the `config` and `container_config` of an image config.
 * Names, order and nulls are those of docker's Go struct, so that the documents made from it equal dockerd's:
 * an absent list is `null`, an empty one `[]`. Mirrors `moby/moby: api/types/container/config.go` at v20.10.
 */
import * as json from '../core/json.ts';
import { sortedKeys } from '../core/go-json.ts';

/** A whole number; a bigint where a number cannot hold it exactly. */
export type Whole = number | bigint;

export interface HealthConfig {
  readonly Test: readonly string[] | null;
  /** Nanoseconds, as are the other times. */
  readonly Interval: Whole;
  readonly Timeout: Whole;
  readonly StartPeriod: Whole;
  readonly StartInterval: Whole;
  readonly Retries: Whole;
}

export interface ContainerConfig {
  readonly Hostname: string;
  readonly Domainname: string;
  readonly User: string;
  readonly AttachStdin: boolean;
  readonly AttachStdout: boolean;
  readonly AttachStderr: boolean;
  /** e.g. `80/tcp`, sorted. */
  readonly ExposedPorts: readonly string[] | null;
  readonly Tty: boolean;
  readonly OpenStdin: boolean;
  readonly StdinOnce: boolean;
  /** `NAME=value`. */
  readonly Env: readonly string[] | null;
  readonly Cmd: readonly string[] | null;
  readonly Healthcheck: HealthConfig | null;
  readonly ArgsEscaped: boolean;
  readonly Image: string;
  /** Paths, sorted. */
  readonly Volumes: readonly string[] | null;
  readonly WorkingDir: string;
  readonly Entrypoint: readonly string[] | null;
  readonly NetworkDisabled: boolean;
  readonly MacAddress: string;
  readonly OnBuild: readonly string[] | null;
  /** Sorted by name. */
  readonly Labels: ReadonlyMap<string, string> | null;
  readonly StopSignal: string;
  /** Seconds. */
  readonly StopTimeout: Whole | null;
  readonly Shell: readonly string[] | null;
}

const text = json.withDefault(json.string, '');
const flag = json.withDefault(json.boolean, false);
const wholeOrZero = json.withDefault<Whole>(json.whole, 0);
// Go reads a null among strings as the empty string.
const strings = json.withDefault<readonly string[] | null>(json.array(text), null);

/** A list, or one string that stands for a list of one. */
const words: json.Decoder<readonly string[] | null> = (value, path) =>
  typeof value === 'string' ? [value] : strings(value, path);

/** Go's `map[string]struct{}`. Only the keys count. */
const set: json.Decoder<readonly string[] | null> = (value, path) => {
  const members = json.optional(json.map(json.optional(json.object({}))))(value, path);
  return members === undefined ? null : [...sortedKeys(members).keys()];
};

const labels: json.Decoder<ReadonlyMap<string, string> | null> = (value, path) => {
  const members = json.optional(json.map(text))(value, path);
  return members === undefined ? null : sortedKeys(members);
};

const health: json.Decoder<HealthConfig> = json.object({
  Test: strings,
  Interval: wholeOrZero,
  Timeout: wholeOrZero,
  StartPeriod: wholeOrZero,
  StartInterval: wholeOrZero,
  Retries: wholeOrZero,
});

/** Reads a config from untrusted JSON, after `readGo` has checked the kinds of its values. */
export const decodeContainerConfig: json.Decoder<ContainerConfig> = json.object({
  Hostname: text,
  Domainname: text,
  User: text,
  AttachStdin: flag,
  AttachStdout: flag,
  AttachStderr: flag,
  ExposedPorts: set,
  Tty: flag,
  OpenStdin: flag,
  StdinOnce: flag,
  Env: strings,
  Cmd: words,
  Healthcheck: json.withDefault<HealthConfig | null>(health, null),
  ArgsEscaped: flag,
  Image: text,
  Volumes: set,
  WorkingDir: text,
  Entrypoint: words,
  NetworkDisabled: flag,
  MacAddress: text,
  OnBuild: strings,
  Labels: labels,
  StopSignal: text,
  StopTimeout: json.withDefault<Whole | null>(json.whole, null),
  Shell: words,
});

/** Returns a config with docker's empty values. */
export const EMPTY_CONTAINER_CONFIG: ContainerConfig = decodeContainerConfig({}, '');

/**
 * Returns the config as docker's API and generated image configs show it. Members that docker omits when they
 * are empty are `undefined`, which JSON writers skip. `number` converts whole numbers to the form that the
 * reader of the document needs: `Number` for JavaScript.
 */
export function dockerContainerConfig(
  config: ContainerConfig,
  number: (value: Whole) => Whole = (value) => value,
): Record<string, unknown> {
  const { Healthcheck: check, StopTimeout } = config;
  return {
    ...config,
    ExposedPorts: orUndefined(config.ExposedPorts?.length && emptyObjects(config.ExposedPorts)),
    Healthcheck: check
      ? {
          Test: orUndefined(check.Test?.length && check.Test),
          Interval: orUndefined(number(check.Interval)),
          Timeout: orUndefined(number(check.Timeout)),
          StartPeriod: orUndefined(number(check.StartPeriod)),
          StartInterval: orUndefined(number(check.StartInterval)),
          Retries: orUndefined(number(check.Retries)),
        }
      : undefined,
    ArgsEscaped: orUndefined(config.ArgsEscaped),
    Volumes: config.Volumes && emptyObjects(config.Volumes),
    NetworkDisabled: orUndefined(config.NetworkDisabled),
    MacAddress: orUndefined(config.MacAddress),
    Labels: config.Labels && Object.fromEntries(config.Labels),
    StopSignal: orUndefined(config.StopSignal),
    StopTimeout: StopTimeout === null ? undefined : number(StopTimeout),
    Shell: orUndefined(config.Shell?.length && config.Shell),
  };
}

/** Go's omitempty. */
function orUndefined<T>(value: T): T | undefined {
  return value || undefined;
}

function emptyObjects(keys: readonly string[]): Record<string, object> {
  return Object.fromEntries(keys.map((key) => [key, {}]));
}
