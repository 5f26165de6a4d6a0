/**
 * The OCI runtime configuration (`config.json` of runtime-spec 1.0.2) of a container: what of it depends on the
 * container. The rest is spec-defaults.ts. Field order is the specification's.
 */
import { LayerstackError } from '../core/errors.ts';
import type { ContainerConfig } from '../image/container-config.ts';
import { commandOf } from './config.ts';
import {
  DEFAULT_CAPABILITIES,
  DEFAULT_MOUNTS,
  DEFAULT_NAMESPACES,
  DEFAULT_PATH,
  DEFAULT_PATHS,
} from './spec-defaults.ts';
import type { RootfsUser } from './user.ts';
import type { VolumeMount } from './volumes.ts';

/** The part of the OCI runtime configuration that callers look at or change before they write it. */
export interface RuntimeSpec {
  readonly ociVersion: string;
  readonly process: {
    readonly terminal: boolean;
    readonly user: { readonly uid: number; readonly gid: number; readonly additionalGids: readonly number[] };
    readonly args: readonly string[];
    readonly env: readonly string[];
    readonly cwd: string;
    readonly [key: string]: unknown;
  };
  readonly root: { readonly path: string; readonly readonly: boolean };
  readonly hostname: string;
  readonly [key: string]: unknown;
}

/** What {@link runtimeSpec} puts together. */
export interface RuntimeSpecFacts {
  readonly id: string;
  readonly config: ContainerConfig;
  readonly user: RootfsUser;
  /** Absolute path of the mounted root file system. */
  readonly rootfs: string;
  readonly readOnly: boolean;
}

/**
 * The runtime configuration of a container.
 * @throws LayerstackError ERR_CONFIG_INVALID when neither the image nor the caller names a command.
 */
export function runtimeSpec({ id, config, user, rootfs, readOnly }: RuntimeSpecFacts): RuntimeSpec {
  const args = commandOf(config);
  if (args.length === 0)
    throw new LayerstackError(
      'ERR_CONFIG_INVALID',
      `container ${id.slice(0, 12)} has nothing to run: its image has neither Entrypoint nor Cmd; name a command`,
      { id },
    );
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
      args,
      env: environment(config, user),
      cwd: config.WorkingDir.startsWith('/') ? config.WorkingDir : `/${config.WorkingDir}`,
      capabilities: DEFAULT_CAPABILITIES,
      noNewPrivileges: false,
    },
    root: { path: rootfs, readonly: readOnly },
    hostname: config.Hostname,
    mounts: DEFAULT_MOUNTS,
    linux: {
      resources: { devices: [{ allow: false, access: 'rwm' }] },
      namespaces: DEFAULT_NAMESPACES.map((type) => ({ type })),
      maskedPaths: DEFAULT_PATHS.masked,
      readonlyPaths: DEFAULT_PATHS.readonly,
    },
  };
}

/** The same with volumes, each in the place of what would be mounted there by default. */
export function withVolumes(spec: RuntimeSpec, volumes: readonly VolumeMount[]): RuntimeSpec {
  const taken = new Set(volumes.map(({ destination }) => destination));
  const defaults = DEFAULT_MOUNTS.filter(({ destination }) => !taken.has(destination));
  return { ...spec, mounts: [...defaults, ...volumes] };
}

/** Docker's order: PATH, HOSTNAME, then the container's own, which win; HOME where nothing else sets it. */
function environment(config: ContainerConfig, user: RootfsUser): string[] {
  const variables = new Map<string, string>([
    ['PATH', DEFAULT_PATH],
    ['HOSTNAME', config.Hostname],
  ]);
  for (const entry of config.Env ?? []) {
    const equals = entry.indexOf('=');
    if (equals > 0) variables.set(entry.slice(0, equals), entry.slice(equals + 1));
  }
  if (!variables.has('HOME')) variables.set('HOME', user.home || '/');
  return [...variables].map(([name, value]) => `${name}=${value}`);
}
