/**
 * Merges the image's config and the caller's changes into a container's config, by the rules of `docker
 * create` (moby/moby: runconfig merge in daemon/commit.go). A new entrypoint drops the image's command,
 * environment and labels are merged by key, and everything else is replaced.
 */
import { compareBytes } from '../core/bytes.ts';
import { sortedKeys } from '../core/go-json.ts';
import type { ImageConfig } from '../image/config.ts';
import type { ContainerConfig, HealthConfig } from '../image/container-config.ts';

/** The settings that a caller gives. The image's apply for those that are left out. */
export interface ContainerOverrides {
  /** Replaces the image's Cmd. */
  readonly command?: readonly string[] | undefined;
  /**
   * Replaces the image's Entrypoint, and drops its Cmd. An empty list, or one empty word, means no
   * entrypoint.
   */
  readonly entrypoint?: readonly string[] | undefined;
  /** `NAME=value`; overrides the image's. */
  readonly env?: readonly string[] | undefined;
  /** `name|uid[:group|gid]` */
  readonly user?: string | undefined;
  readonly workingDir?: string | undefined;
  /** Default: the first 12 digits of the container's id; in the host's network, the host's name. */
  readonly hostname?: string | undefined;
  readonly domainname?: string | undefined;
  /** Whether the container's process has a terminal. Default false. */
  readonly tty?: boolean | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/**
 * Returns the config that docker's API received for a container, merged with the image's as in
 * {@link containerConfig}.
 * @param hostname - the default for the host name; empty means the one made from the container's id
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

/** Fills the unset members of a config from another one, as dockerd does for `create` and `commit`. */
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
 * Returns the config of a container of the image with the name `imageName`.
 * @param hostname - the default for the host name; empty means the one made from the container's id
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

/** Returns those of the caller's settings that need validation. */
export function givenConfig({ env, workingDir = '' }: ContainerOverrides): Partial<ContainerConfig> {
  return { Env: env ?? null, WorkingDir: workingDir };
}

/** Returns path and arguments of the container's process; empty when neither image nor caller names any. */
export function commandOf(config: Pick<ContainerConfig, 'Entrypoint' | 'Cmd'>): string[] {
  return [...(entrypointOf(config) ?? []), ...(config.Cmd ?? [])];
}

/**
 * Returns the entrypoint. One empty word, from `--entrypoint ""` or `ENTRYPOINT [""]`, means that it is
 * unset.
 */
function entrypointOf({ Entrypoint: words }: Pick<ContainerConfig, 'Entrypoint'>): readonly string[] | null {
  return words?.length === 1 && words[0] === '' ? null : orNull(words);
}

/** Returns the caller's variables, then the image's that they do not replace. This is Docker's order. */
function mergeEnvironment(own: readonly string[], image: readonly string[]): string[] {
  const key = (entry: string) => entry.split('=', 1)[0];
  const set = new Set(own.map(key));
  return [...own, ...image.filter((entry) => !set.has(key(entry)))];
}

/** Docker writes an empty list as null. */
function orNull(list: readonly string[] | null): readonly string[] | null {
  return list && list.length > 0 ? list : null;
}
