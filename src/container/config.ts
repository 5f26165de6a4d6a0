/**
 * What a container runs with: the image's config with the caller's changes, merged by `docker create`'s rules
 * (moby/moby: runconfig merge in daemon/commit.go): a new entrypoint drops the image's command, environment and labels
 * are merged by key, everything else is replaced.
 */
import { compareBytes } from '../core/bytes.ts';
import { sortedKeys } from '../core/go-json.ts';
import type { ImageConfig } from '../image/config.ts';
import type { ContainerConfig, HealthConfig } from '../image/container-config.ts';

/** What a caller can set; what is left out comes from the image. */
export interface ContainerOverrides {
  /** Replaces the image's Cmd. */
  readonly command?: readonly string[] | undefined;
  /** Replaces the image's Entrypoint, and drops its Cmd. Empty, or one empty word: no entrypoint. */
  readonly entrypoint?: readonly string[] | undefined;
  /** `NAME=value`; wins over the image's. */
  readonly env?: readonly string[] | undefined;
  /** `name|uid[:group|gid]` */
  readonly user?: string | undefined;
  readonly workingDir?: string | undefined;
  /** Default: the first 12 digits of the container's id; in the host's network the host's name. */
  readonly hostname?: string | undefined;
  readonly domainname?: string | undefined;
  /** Its process has a terminal. Default false. */
  readonly tty?: boolean | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/**
 * The config that docker's API was given for a container of an image: merged with the image's, as {@link containerConfig}.
 * @param hostname unless the caller gives one; empty: that of the container's id
 */
export function mergedConfig(
  hostname: string,
  { config: image }: Pick<ImageConfig, 'config'>,
  given: ContainerConfig,
): ContainerConfig {
  const merged = mergeConfigs(given, image);
  return {
    ...merged,
    Hostname: given.Hostname || hostname,
    Env: orNull(merged.Env),
    Cmd: orNull(merged.Cmd),
    Entrypoint: entrypointOf(merged),
  };
}

/** A config with what it leaves open taken from another one, as dockerd merges them for `create` and `commit`. */
export function mergeConfigs(given: ContainerConfig, base: ContainerConfig): ContainerConfig {
  const has = (list: readonly string[] | null): list is readonly string[] => (list?.length ?? 0) > 0;
  const union = (
    own: readonly string[] | null,
    theirs: readonly string[] | null,
  ): readonly string[] | null =>
    has(own) ? [...new Set([...own, ...(theirs ?? [])])].sort(compareBytes) : theirs;
  const inheritsCommand = !has(given.Entrypoint) && !has(given.Cmd);
  return {
    ...given,
    User: given.User || base.User,
    ExposedPorts: union(given.ExposedPorts, base.ExposedPorts),
    Volumes: union(given.Volumes, base.Volumes),
    Env: has(given.Env) ? mergeEnvironment(given.Env, base.Env ?? []) : base.Env,
    Cmd: inheritsCommand ? base.Cmd : given.Cmd,
    Entrypoint: given.Entrypoint ?? base.Entrypoint,
    ArgsEscaped: inheritsCommand ? base.ArgsEscaped : given.ArgsEscaped,
    Healthcheck: mergeHealthcheck(given.Healthcheck, base.Healthcheck),
    WorkingDir: given.WorkingDir || base.WorkingDir,
    Labels: sortedKeys([...(base.Labels ?? []), ...(given.Labels ?? [])]),
    StopSignal: given.StopSignal || base.StopSignal,
  };
}

function mergeHealthcheck(given: HealthConfig | null, image: HealthConfig | null): HealthConfig | null {
  if (given === null || image === null) return given ?? image;
  return {
    Test: given.Test?.length ? given.Test : image.Test,
    Interval: given.Interval || image.Interval,
    Timeout: given.Timeout || image.Timeout,
    StartPeriod: given.StartPeriod || image.StartPeriod,
    StartInterval: given.StartInterval || image.StartInterval,
    Retries: given.Retries || image.Retries,
  };
}

/**
 * The config of a container made from an image that is called `imageName`.
 * @param hostname unless the caller gives one; empty: that of the container's id
 */
export function containerConfig(
  hostname: string,
  { config: image }: Pick<ImageConfig, 'config'>,
  imageName: string,
  overrides: ContainerOverrides,
): ContainerConfig {
  const inherited = overrides.entrypoint === undefined ? image.Cmd : null;
  return {
    ...image,
    Hostname: overrides.hostname ?? hostname,
    Domainname: overrides.domainname ?? '',
    Tty: overrides.tty ?? image.Tty,
    Image: imageName,
    AttachStdout: true,
    AttachStderr: true,
    User: overrides.user ?? image.User,
    Env: mergeEnvironment(overrides.env ?? [], image.Env ?? []),
    Entrypoint: entrypointOf({ Entrypoint: overrides.entrypoint ?? image.Entrypoint }),
    Cmd: orNull(overrides.command ?? inherited),
    WorkingDir: overrides.workingDir ?? image.WorkingDir,
    Labels: new Map([...(image.Labels ?? []), ...Object.entries(overrides.labels ?? {})]),
  };
}

/** Of a caller's own settings those that can be wrong. */
export function givenConfig({ env, workingDir = '' }: ContainerOverrides): Partial<ContainerConfig> {
  return { Env: env ?? null, WorkingDir: workingDir };
}

/** Path and arguments of the container's process; empty where nobody named any. */
export function commandOf(config: Pick<ContainerConfig, 'Entrypoint' | 'Cmd'>): string[] {
  return [...(entrypointOf(config) ?? []), ...(config.Cmd ?? [])];
}

/** One empty word, of `--entrypoint ""` or `ENTRYPOINT [""]`, is no entrypoint at all. */
function entrypointOf({ Entrypoint: words }: Pick<ContainerConfig, 'Entrypoint'>): readonly string[] | null {
  return words?.length === 1 && words[0] === '' ? null : orNull(words);
}

/** The caller's variables first, then those of the image that they do not replace: Docker's order. */
function mergeEnvironment(own: readonly string[], image: readonly string[]): string[] {
  const key = (entry: string) => entry.split('=', 1)[0];
  const set = new Set(own.map(key));
  return [...own, ...image.filter((entry) => !set.has(key(entry)))];
}

/** Docker writes an empty list as null. */
function orNull(list: readonly string[] | null): readonly string[] | null {
  return list && list.length > 0 ? list : null;
}
