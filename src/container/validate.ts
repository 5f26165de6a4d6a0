/**
 * Refuses the values that docker refuses at a container's creation, with docker's messages. decodable.ts
 * refuses wrong types. Checks that depend on the machine (limits of the kernel, log drivers, runtimes) are
 * left to the runtime. Mirrors `moby/moby: daemon/{container,daemon_unix}.go, runconfig/hostconfig*.go` at
 * v20.10.
 */
import { availableParallelism } from 'node:os';
import { isIP } from 'node:net';
import { isSignal } from '../core/signals.ts';
import type { ContainerConfig, HealthConfig } from '../image/container-config.ts';
import type { HostConfig } from './documents.ts';
import { fullCapability, isCapability } from './spec/capabilities.ts';
import { parseDeviceRule } from './spec/devices.ts';
import { mergeTmpfsOptions } from './spec/mounts.ts';
import { ULIMITS } from './spec/resources.ts';
import { parseSecurityOptions } from './spec/security.ts';
import type { Ulimit } from './spec/settings.ts';
import { refuse, validateMounts, type MountSettings } from './validate-mounts.ts';

/** The members of a host config that are checked here. Their types have been checked before. */
interface Settings extends MountSettings {
  readonly AutoRemove?: boolean;
  readonly RestartPolicy?: { readonly Name?: string; readonly MaximumRetryCount?: number };
  readonly ExtraHosts?: readonly string[] | null;
  readonly PortBindings?: Readonly<Record<string, readonly { readonly HostPort?: string }[] | null>> | null;
  readonly CapAdd?: readonly string[] | null;
  readonly CapDrop?: readonly string[] | null;
  readonly Isolation?: string;
  readonly NetworkMode?: string;
  readonly CgroupnsMode?: string;
  readonly SecurityOpt?: readonly string[] | null;
  readonly DeviceCgroupRules?: readonly string[] | null;
  readonly Ulimits?: readonly (Ulimit | null)[] | null;
  readonly [limit: string]: unknown;
}

const MIB = 1024 * 1024;
const LEAST_MEMORY = 6 * MIB;
/** The smallest time of a health check, in nanoseconds. */
const LEAST_TIME = 1_000_000;

type Given = Pick<ContainerConfig, 'WorkingDir' | 'Env' | 'StopSignal' | 'Healthcheck'>;

/**
 * Checks a caller's settings for a container. Settings from the image are not checked.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT
 */
export async function validateCreate(config: Partial<Given>, hostConfig: HostConfig): Promise<void> {
  validateConfig(config);
  const settings = hostConfig as Settings;
  validateHost(settings);
  validateLimits(settings);
  await validateMounts(settings);
}

function validateConfig({ WorkingDir = '', Env, StopSignal = '', Healthcheck }: Partial<Given>): void {
  if (WorkingDir !== '' && !WorkingDir.startsWith('/'))
    refuse(`the working directory '${WorkingDir}' is invalid, it needs to be an absolute path`);
  if (StopSignal !== '' && !isSignal(StopSignal)) refuse(`Invalid signal: ${StopSignal}`);
  for (const variable of Env ?? [])
    if (variable === '' || variable.startsWith('=')) refuse(`invalid environment variable: ${variable}`);
  if (Healthcheck) validateHealth(Healthcheck);
}

function validateHealth(check: HealthConfig): void {
  const requireTime = (name: 'Interval' | 'Timeout' | 'StartPeriod' | 'StartInterval'): void => {
    const time = Number(check[name]);
    if (time !== 0 && time < LEAST_TIME) refuse(`${name} in Healthcheck cannot be less than 1ms`);
  };
  requireTime('Interval');
  requireTime('Timeout');
  if (check.Retries < 0) refuse('Retries in Healthcheck cannot be negative');
  requireTime('StartPeriod');
  requireTime('StartInterval');
}

function validateHost(settings: Settings): void {
  const { NetworkMode = '', Isolation = '', CgroupnsMode = '' } = settings;
  if (/^container(?::$|$)/.test(NetworkMode))
    refuse('Invalid network mode: invalid container format container:<name|id>');
  if (!['', 'default'].includes(Isolation.toLowerCase()))
    refuse(`Invalid isolation: ${JSON.stringify(Isolation)} - linux only supports 'default'`);
  const policy = settings.RestartPolicy?.Name ?? '';
  if (settings.AutoRemove === true && !['', 'no'].includes(policy))
    refuse("can't create 'AutoRemove' container with restart policy");
  for (const host of settings.ExtraHosts ?? []) validateExtraHost(host);
  validatePorts(settings.PortBindings ?? {});
  validateRestartPolicy(policy, settings.RestartPolicy?.MaximumRetryCount ?? 0);
  for (const kind of ['CapAdd', 'CapDrop'] as const)
    for (const name of settings[kind] ?? []) validateCapability(kind, name);
  if (!['', 'private', 'host'].includes(CgroupnsMode))
    refuse(`invalid cgroup namespace mode: ${CgroupnsMode}`);
  validateRuntime(settings);
}

/** Refuses values that docker refuses only at the container's start. */
function validateRuntime({ SecurityOpt, DeviceCgroupRules, Ulimits, Tmpfs }: Settings): void {
  parseSecurityOptions(SecurityOpt ?? []);
  for (const rule of DeviceCgroupRules ?? []) parseDeviceRule(rule);
  for (const options of Object.values(Tmpfs ?? {})) mergeTmpfsOptions(options.split(',').filter(Boolean));
  for (const limit of Ulimits ?? []) {
    const name = limit?.Name ?? '';
    if (!ULIMITS.has(name)) refuse(`invalid ulimit type: ${name}`);
  }
}

function validateExtraHost(text: string): void {
  const colon = text.indexOf(':');
  if (colon <= 0) refuse(`bad format for add-host: ${JSON.stringify(text)}`);
  const address = text.slice(colon + 1);
  if (address !== 'host-gateway' && isIP(address.trim()) === 0)
    refuse(`invalid IP address in add-host: ${JSON.stringify(address)}`);
}

function validatePorts(bindings: NonNullable<Settings['PortBindings']>): void {
  for (const [port, hosts] of Object.entries(bindings)) {
    const [number = ''] = port.split('/', 1);
    if (!isPort(number)) refuse(`invalid port specification: ${JSON.stringify(number)}`);
    for (const { HostPort = '' } of hosts ?? []) {
      const range = HostPort.split('/', 1)[0] ?? '';
      const [first = '', last = first] = range.split('-');
      // A range needs both ends.
      const ended = !range.includes('-') || (first !== '' && last !== '');
      if (!ended || !isPort(first) || !isPort(last) || Number(first) > Number(last))
        refuse(`invalid port specification: ${JSON.stringify(HostPort)}`);
    }
  }
}

/** Returns whether the text is a port. An empty text means any port. */
function isPort(text: string): boolean {
  return text === '' || (/^\d+$/.test(text) && Number(text) <= 65535);
}

function validateRestartPolicy(name: string, retries: number): void {
  if (name === 'on-failure') {
    if (retries < 0) refuse('maximum retry count cannot be negative');
  } else if (['always', 'unless-stopped', 'no'].includes(name)) {
    if (retries !== 0) refuse(`maximum retry count cannot be used with restart policy '${name}'`);
  } else if (name !== '') refuse(`invalid restart policy '${name}'`);
}

function validateCapability(kind: string, name: string): void {
  if (!isCapability(name))
    refuse(`invalid ${kind}: unknown capability: ${JSON.stringify(fullCapability(name))}`);
}

/** Returns whether the text is a list of numbers and ranges, as in the kernel's cpusets. */
function isCpuList(text: string): boolean {
  return text.split(',').every((part) => {
    const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(part.trim()) ?? [];
    return first !== undefined && Number(first) <= Number(last);
  });
}

/** Checks the limits of docker's `Resources`, and related values. */
function validateLimits(settings: Settings): void {
  const limit = (name: string): number => Number(settings[name] ?? 0);
  const between = (name: string, least: number, most: number): boolean =>
    limit(name) >= least && limit(name) <= most;
  const memory = limit('Memory');
  const swap = limit('MemorySwap');
  const reservation = limit('MemoryReservation');
  const kernelMemory = limit('KernelMemory');

  for (const name of ['IOMaximumBandwidth', 'IOMaximumIOps'])
    if (limit(name) !== 0)
      refuse(
        `Invalid QoS settings: linux does not support configuration of maximum ${name === 'IOMaximumIOps' ? 'IOPs' : 'bandwidth'}`,
      );
  if (memory !== 0 && memory < LEAST_MEMORY) refuse('Minimum memory limit allowed is 6MB');
  if (memory > 0 && swap > 0 && swap < memory)
    refuse('Minimum memoryswap limit should be larger than memory limit, see usage');
  if (memory === 0 && swap > 0)
    refuse('You should always set the Memory limit when using Memoryswap limit, see usage');
  // In docker, -1 means the kernel's default.
  if (!between('MemorySwappiness', -1, 100))
    refuse(`Invalid value: ${limit('MemorySwappiness')}, valid memory swappiness range is 0-100`);
  if (reservation > 0 && reservation < LEAST_MEMORY) refuse('Minimum memory reservation allowed is 6MB');
  if (memory > 0 && memory < reservation)
    refuse('Minimum memory limit can not be less than memory reservation limit, see usage');
  if (kernelMemory > 0 && kernelMemory < LEAST_MEMORY) refuse('Minimum kernel memory limit allowed is 6MB');
  if (limit('NanoCpus') < 0) {
    const cpus = availableParallelism();
    refuse(`Range of CPUs is from 0.01 to ${cpus}.00, as there are only ${cpus} CPUs available`);
  }
  for (const [name, what] of [
    ['CpusetCpus', 'cpuset cpus'],
    ['CpusetMems', 'cpuset mems'],
  ] as const) {
    const cpus = String(settings[name] ?? '');
    if (cpus !== '' && !isCpuList(cpus)) refuse(`Invalid value ${cpus} for ${what}: invalid format: ${cpus}`);
  }
  if (limit('NanoCpus') > 0 && limit('CpuPeriod') > 0)
    refuse('Conflicting options: Nano CPUs and CPU Period cannot both be set');
  if (limit('NanoCpus') > 0 && limit('CpuQuota') > 0)
    refuse('Conflicting options: Nano CPUs and CPU Quota cannot both be set');
  if (limit('CpuPeriod') !== 0 && !between('CpuPeriod', 1000, 1_000_000))
    refuse('CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)');
  if (limit('CpuQuota') > 0 && limit('CpuQuota') < 1000)
    refuse('CPU cfs quota can not be less than 1ms (i.e. 1000)');
  if (limit('BlkioWeight') > 0 && !between('BlkioWeight', 10, 1000))
    refuse('Range of blkio weight is from 10 to 1000');
  if (limit('ShmSize') < 0) refuse('SHM size can not be less than 0');
  if (!between('OomScoreAdj', -1000, 1000))
    refuse(`Invalid value ${limit('OomScoreAdj')}, range for oom score adj is [-1000, 1000]`);
}
