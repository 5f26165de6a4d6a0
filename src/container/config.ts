/**
 * What a container runs with: the image's config with the caller's changes, merged by `docker create`'s rules
 * (moby/moby: runconfig merge in daemon/commit.go): a new entrypoint drops the image's command, environment and labels
 * are merged by key, everything else is replaced.
 */
import type { ImageConfig } from '../image/config.ts';
import type { ContainerConfig } from './documents.ts';

/** What a caller can set; what is left out comes from the image. */
export interface ContainerOverrides {
  /** Replaces the image's Cmd. */
  readonly command?: readonly string[] | undefined;
  /** Replaces the image's Entrypoint, and drops its Cmd. Empty: no entrypoint. */
  readonly entrypoint?: readonly string[] | undefined;
  /** `NAME=value`; wins over the image's. */
  readonly env?: readonly string[] | undefined;
  /** `name|uid[:group|gid]` */
  readonly user?: string | undefined;
  readonly workingDir?: string | undefined;
  /** Default: the first 12 digits of the container's id. */
  readonly hostname?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/** The config of container `id` made from `image`. */
export function containerConfig(
  id: string,
  { config: image }: Pick<ImageConfig, 'config'>,
  overrides: ContainerOverrides,
): ContainerConfig {
  const entrypoint = overrides.entrypoint ?? image.Entrypoint ?? [];
  const inherited = overrides.entrypoint === undefined ? (image.Cmd ?? []) : [];
  return {
    hostname: overrides.hostname ?? id.slice(0, 12),
    user: overrides.user ?? image.User ?? '',
    env: mergeEnvironment(image.Env ?? [], overrides.env ?? []),
    entrypoint,
    command: overrides.command ?? inherited,
    workingDir: overrides.workingDir ?? image.WorkingDir ?? '',
    labels: { ...image.Labels, ...overrides.labels },
    stopSignal: image.StopSignal,
  };
}

/** The caller's variables first, then those of the image that they do not replace: Docker's order. */
function mergeEnvironment(image: readonly string[], own: readonly string[]): string[] {
  const key = (entry: string) => entry.split('=', 1)[0];
  const set = new Set(own.map(key));
  return [...own, ...image.filter((entry) => !set.has(key(entry)))];
}
