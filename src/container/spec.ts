/**
 * Puts together the OCI runtime configuration of a container (`config.json` of runtime-spec 1.0.2). Each
 * topic has a file in spec/. Field order is the specification's. Mirrors `moby/moby: daemon/oci_linux.go`.
 */
import { LayerstackError } from '../core/errors.ts';
import type { ContainerConfig } from '../image/container-config.ts';
import { commandOf } from './config.ts';
import { capabilitiesOf, capabilitySets } from './spec/capabilities.ts';
import { DEFAULT_PATH, DEFAULT_PATHS } from './spec/defaults.ts';
import type { ContainerDevices } from './spec/devices.ts';
import type { MappingLog } from './spec/mapping.ts';
import type { RuntimeMount } from './spec/mounts.ts';
import { namespacesOf, sysctlsOf } from './spec/namespaces.ts';
import { rlimitsOf } from './spec/resources.ts';
import { defaultSeccomp, seccompOf, type Seccomp } from './spec/seccomp.ts';
import type { SecurityOptions } from './spec/security.ts';
import type { HostSettings } from './spec/settings.ts';
import type { RootfsUser } from './user.ts';

/**
 * The OCI runtime configuration. It declares the members that callers read, or change before they write it.
 */
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
  /** Absent if the container uses the host's name. */
  readonly hostname?: string;
  readonly mounts: readonly RuntimeMount[];
  readonly [key: string]: unknown;
}

/** The facts about the machine that the container runs on. */
export interface RuntimeMachine {
  /** The capabilities that `ALL` stands for. */
  readonly capabilities: readonly string[];
  /** Node's name of the architecture. */
  readonly arch: string;
  /** `uname -r` */
  readonly kernel: string;
  /** The machine has only cgroups of version 2. */
  readonly hasUnifiedCgroups: boolean;
  readonly hasAppArmor: boolean;
}

/** The facts that {@link runtimeSpec} puts together. */
export interface RuntimeSpecFacts {
  readonly id: string;
  readonly config: ContainerConfig;
  readonly host: HostSettings;
  readonly security: SecurityOptions;
  readonly user: RootfsUser;
  /** Absolute path of the mounted root file system. */
  readonly rootfs: string;
  readonly readOnly: boolean;
  readonly mounts: readonly RuntimeMount[];
  /** `linux.rootfsPropagation` */
  readonly propagation: string | undefined;
  readonly devices: ContainerDevices;
  /** `linux.resources` without devices. */
  readonly resources: Readonly<Record<string, unknown>>;
  readonly machine: RuntimeMachine;
}

/**
 * Returns the runtime configuration of a container.
 * @throws LayerstackError ERR_CONFIG_INVALID when neither the image nor the caller names a command.
 */
export function runtimeSpec(facts: RuntimeSpecFacts, log: MappingLog): RuntimeSpec {
  const { config, host, rootfs, readOnly, mounts } = facts;
  const capabilities = capabilitiesOf(host, facts.machine.capabilities, log);
  if (host.ReadonlyRootfs === true) log.note('ReadonlyRootfs', 'root.readonly', true);
  const annotations = host.Annotations ?? {};
  for (const [name, value] of Object.entries(annotations))
    log.note('Annotations', `annotations[${name}]`, value);
  return {
    ociVersion: '1.0.2',
    process: processOf(facts, capabilities, log),
    root: { path: rootfs, readonly: readOnly },
    ...(host.UTSMode !== 'host' && { hostname: config.Hostname }),
    mounts,
    ...(Object.keys(annotations).length > 0 && { annotations }),
    linux: linuxOf(facts, capabilities, log),
  };
}

function processOf(
  { id, config, host, security, user, machine }: RuntimeSpecFacts,
  capabilities: readonly string[],
  log: MappingLog,
): RuntimeSpec['process'] {
  const args = commandOf(config);
  if (args.length === 0)
    throw new LayerstackError(
      'ERR_CONFIG_INVALID',
      `container ${id.slice(0, 12)} has nothing to run: its image has neither Entrypoint nor Cmd; name a command`,
      { id },
    );
  const rlimits = rlimitsOf(host, log);
  const [height = 0, width = 0] = host.ConsoleSize ?? [];
  const hasSize = config.Tty && height > 0 && width > 0;
  if (hasSize) log.note('ConsoleSize', 'process.consoleSize', { height, width });
  if (config.Tty) log.note('Tty', 'process.terminal', true);
  if (host.OomScoreAdj) log.note('OomScoreAdj', 'process.oomScoreAdj', host.OomScoreAdj);
  if (host.GroupAdd?.length) log.note('GroupAdd', 'process.user.additionalGids', user.additionalGids);
  if (security.noNewPrivileges) log.note('SecurityOpt', 'process.noNewPrivileges', true);
  const apparmorProfile = machine.hasAppArmor ? security.apparmor : undefined;
  if (apparmorProfile !== undefined) log.note('SecurityOpt', 'process.apparmorProfile', apparmorProfile);
  return {
    terminal: config.Tty,
    ...(hasSize && { consoleSize: { height, width } }),
    user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    args,
    env: environment(config, user),
    cwd: config.WorkingDir.startsWith('/') ? config.WorkingDir : `/${config.WorkingDir}`,
    capabilities: capabilitySets(capabilities, user.uid),
    ...(rlimits.length > 0 && { rlimits }),
    noNewPrivileges: security.noNewPrivileges,
    ...(apparmorProfile !== undefined && { apparmorProfile }),
    oomScoreAdj: host.OomScoreAdj ?? 0,
  };
}

function linuxOf(
  facts: RuntimeSpecFacts,
  capabilities: readonly string[],
  log: MappingLog,
): Readonly<Record<string, unknown>> {
  const { id, config, host, devices, resources, propagation, machine } = facts;
  const seccomp = seccompFilter(facts, capabilities, log);
  const cgroupsPath = cgroupsPathOf(id, host, log);
  return {
    ...(devices.devices.length > 0 && { devices: devices.devices }),
    sysctl: sysctlsOf(host, config.Domainname, log),
    ...(cgroupsPath !== undefined && { cgroupsPath }),
    resources: { devices: devices.rules, ...resources },
    namespaces: namespacesOf(host, machine.hasUnifiedCgroups, log),
    ...(propagation !== undefined && { rootfsPropagation: propagation }),
    ...hiddenPaths(host, log),
    ...(seccomp && { seccomp }),
  };
}

/** Returns the masked and read-only paths. A privileged container has none by default. */
function hiddenPaths(
  { MaskedPaths, ReadonlyPaths, Privileged }: HostSettings,
  log: MappingLog,
): Readonly<Record<string, readonly string[]>> {
  const paths = (
    given: readonly string[] | null | undefined,
    defaults: readonly string[],
  ): readonly string[] => given ?? (Privileged === true || given === null ? [] : defaults);
  const [masked, readonly] = [
    paths(MaskedPaths, DEFAULT_PATHS.masked),
    paths(ReadonlyPaths, DEFAULT_PATHS.readonly),
  ];
  const isDefault = (some: readonly string[], others: readonly string[]): boolean =>
    some.join() === others.join();
  if (!isDefault(masked, DEFAULT_PATHS.masked)) log.note('MaskedPaths', 'linux.maskedPaths', masked);
  if (!isDefault(readonly, DEFAULT_PATHS.readonly))
    log.note('ReadonlyPaths', 'linux.readonlyPaths', readonly);
  return {
    ...(masked.length > 0 && { maskedPaths: masked }),
    ...(readonly.length > 0 && { readonlyPaths: readonly }),
  };
}

/**
 * Returns the seccomp filter. As in docker, a privileged container has none, even if its host config names a
 * profile.
 */
function seccompFilter(
  { host, security: { seccomp }, machine }: RuntimeSpecFacts,
  capabilities: readonly string[],
  log: MappingLog,
): Seccomp | undefined {
  if (host.Privileged === true || seccomp === 'unconfined') {
    log.note(host.Privileged === true ? 'Privileged' : 'SecurityOpt', 'linux.seccomp', 'none');
    return undefined;
  }
  const facts = { capabilities, arch: machine.arch, kernel: machine.kernel };
  if (seccomp === 'default') return defaultSeccomp(facts);
  const filter = seccompOf(seccomp, facts);
  log.note('SecurityOpt', 'linux.seccomp', `a profile with ${filter.syscalls.length} rules`);
  return filter;
}

/**
 * Returns the cgroup path. In a slice of systemd, the runtime makes a scope; it needs `--systemd-cgroup` for
 * that.
 */
function cgroupsPathOf(
  id: string,
  { CgroupParent: parent = '' }: HostSettings,
  log: MappingLog,
): string | undefined {
  if (parent === '') return undefined;
  const path = parent.endsWith('.slice')
    ? `${parent}:layerstack:${id}`
    : `${parent.replace(/\/+$/, '')}/${id}`;
  log.note('CgroupParent', 'linux.cgroupsPath', path);
  return path;
}

/**
 * Returns the environment in Docker's order: PATH, HOSTNAME, TERM, the container's own (which win), a default
 * HOME.
 */
function environment(config: ContainerConfig, user: RootfsUser): string[] {
  const variables = new Map<string, string>([
    ['PATH', DEFAULT_PATH],
    ['HOSTNAME', config.Hostname],
    ...(config.Tty ? [['TERM', 'xterm'] as const] : []),
  ]);
  for (const entry of config.Env ?? []) {
    const equals = entry.indexOf('=');
    if (equals > 0) variables.set(entry.slice(0, equals), entry.slice(equals + 1));
  }
  if (!variables.has('HOME')) variables.set('HOME', user.home || '/');
  return [...variables].map(([name, value]) => `${name}=${value}`);
}
