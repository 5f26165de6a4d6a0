/**
 * Docker's options of `create` that say how a container runs, and the host config that is made from them.
 * Names, forms and defaults are docker's (docker/cli: cli/command/container/opts.go, opts/).
 */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { unlessMissing } from '../../core/errors.ts';
import type { HostConfig } from '../../container/store.ts';
import { UsageError, type OptionSpec, type Values } from './command.ts';
import { parseBytes } from './format.ts';

const one = (value: string, help: string): { type: 'string'; value: string; help: string } => ({
  ...{ type: 'string', value, help },
});
const list = (
  value: string,
  help: string,
): { type: 'string'; multiple: true; value: string; help: string } => ({
  ...{ type: 'string', multiple: true, value, help },
});
const flag = (help: string): { type: 'boolean'; help: string } => ({ type: 'boolean', help });

export const HOST_OPTIONS = {
  'add-host': list('NAME:IP', 'add a line to /etc/hosts'),
  annotation: list('NAME=VALUE', 'annotation for the runtime'),
  'blkio-weight': one('N', 'share of block IO, 10 to 1000'),
  'blkio-weight-device': list('DEVICE:N', 'share of block IO on one device'),
  'cap-add': list('NAME', 'add a capability, or ALL'),
  'cap-drop': list('NAME', 'drop a capability, or ALL'),
  'cgroup-parent': one('PATH', 'parent of the cgroup of the container'),
  cgroupns: one('host|private', 'cgroup namespace'),
  'cpu-period': one('MICROSECONDS', 'period of the CPU quota'),
  'cpu-quota': one('MICROSECONDS', 'CPU time in a period'),
  'cpu-rt-period': one('MICROSECONDS', 'period of real-time scheduling'),
  'cpu-rt-runtime': one('MICROSECONDS', 'real-time CPU time in a period'),
  'cpu-shares': { ...one('N', 'share of CPU time'), short: 'c' },
  cpus: one('N', 'number of CPUs, e.g. 1.5'),
  'cpuset-cpus': one('LIST', 'CPUs to run on: 0-3, 0,1'),
  'cpuset-mems': one('LIST', 'memory nodes to use'),
  device: list('PATH[:PATH][:rwm]', 'add a device of the host'),
  'device-cgroup-rule': list('RULE', 'allow devices, e.g. "c 10:* rwm"'),
  'device-read-bps': list('DEVICE:SIZE', 'limit of bytes read in a second'),
  'device-read-iops': list('DEVICE:N', 'limit of reads in a second'),
  'device-write-bps': list('DEVICE:SIZE', 'limit of bytes written in a second'),
  'device-write-iops': list('DEVICE:N', 'limit of writes in a second'),
  dns: list('IP', 'name server in /etc/resolv.conf'),
  'dns-option': list('OPTION', 'option in /etc/resolv.conf'),
  'dns-search': list('DOMAIN', 'search domain in /etc/resolv.conf'),
  'group-add': list('GROUP', 'add the process to a group'),
  init: flag('run an init in the container'),
  ipc: one('MODE', 'IPC namespace: private, shareable, none or host'),
  'kernel-memory': one('SIZE', 'limit of kernel memory'),
  'log-driver': one('NAME', 'driver that logs the output'),
  memory: { ...one('SIZE', 'limit of memory'), short: 'm' },
  'memory-reservation': one('SIZE', 'soft limit of memory'),
  'memory-swap': one('SIZE', 'limit of memory and swap together; -1 for no limit'),
  'memory-swappiness': one('N', 'swappiness, 0 to 100'),
  mount: list('KEY=VALUE,…', 'mount a directory or a tmpfs'),
  network: one('none|host', 'network namespace'),
  'oom-kill-disable': flag('do not kill processes of the container when memory runs out'),
  'oom-score-adj': one('N', 'how likely a process is killed when memory runs out, -1000 to 1000'),
  pid: one('host', 'PID namespace'),
  'pids-limit': one('N', 'limit of the number of processes; -1 for no limit'),
  privileged: flag('give all capabilities and devices, and hide no paths'),
  publish: { ...list('PORTS', 'publish ports'), short: 'p' },
  'read-only': flag('make the root file system read-only'),
  restart: one('POLICY', 'restart the container when it ends'),
  runtime: one('NAME', 'runtime to use'),
  'security-opt': list(
    'NAME=VALUE',
    'no-new-privileges, seccomp=FILE|unconfined, apparmor=NAME, systempaths=unconfined',
  ),
  'shm-size': one('SIZE', 'size of /dev/shm'),
  'storage-opt': list('NAME=VALUE', 'option of the storage driver'),
  sysctl: list('NAME=VALUE', 'set a sysctl'),
  tmpfs: list('PATH[:OPTIONS]', 'mount a tmpfs'),
  ulimit: list('NAME=SOFT[:HARD]', 'resource limit of the process, e.g. nofile=1024:2048'),
  userns: one('host', 'user namespace'),
  uts: one('host', 'UTS namespace'),
  volume: { ...list('[DIR:]PATH[:MODE]', 'mount a directory of the host, or a volume'), short: 'v' },
  'volumes-from': list('CONTAINER', 'mount volumes of another container'),
} as const satisfies Readonly<Record<string, OptionSpec>>;

type Given = Partial<Values<typeof HOST_OPTIONS>>;

/** Options whose text goes into the host config as it is. */
const TEXTS = {
  'cgroup-parent': 'CgroupParent',
  cgroupns: 'CgroupnsMode',
  'cpuset-cpus': 'CpusetCpus',
  'cpuset-mems': 'CpusetMems',
  ipc: 'IpcMode',
  network: 'NetworkMode',
  pid: 'PidMode',
  runtime: 'Runtime',
  userns: 'UsernsMode',
  uts: 'UTSMode',
} as const satisfies Partial<Record<keyof Given, string>>;

const LISTS = {
  'add-host': 'ExtraHosts',
  'cap-add': 'CapAdd',
  'cap-drop': 'CapDrop',
  'device-cgroup-rule': 'DeviceCgroupRules',
  dns: 'Dns',
  'dns-option': 'DnsOptions',
  'dns-search': 'DnsSearch',
  'group-add': 'GroupAdd',
  'volumes-from': 'VolumesFrom',
} as const satisfies Partial<Record<keyof Given, string>>;

const COUNTS = {
  'blkio-weight': 'BlkioWeight',
  'cpu-period': 'CpuPeriod',
  'cpu-quota': 'CpuQuota',
  'cpu-rt-period': 'CpuRealtimePeriod',
  'cpu-rt-runtime': 'CpuRealtimeRuntime',
  'cpu-shares': 'CpuShares',
  'memory-swappiness': 'MemorySwappiness',
  'oom-score-adj': 'OomScoreAdj',
  'pids-limit': 'PidsLimit',
} as const satisfies Partial<Record<keyof Given, string>>;

const SIZES = {
  'kernel-memory': 'KernelMemory',
  memory: 'Memory',
  'memory-reservation': 'MemoryReservation',
  'shm-size': 'ShmSize',
} as const satisfies Partial<Record<keyof Given, string>>;

const MAPS = {
  annotation: 'Annotations',
  'storage-opt': 'StorageOpt',
  sysctl: 'Sysctls',
} as const satisfies Partial<Record<keyof Given, string>>;

const FLAGS = {
  init: 'Init',
  'oom-kill-disable': 'OomKillDisable',
  privileged: 'Privileged',
  'read-only': 'ReadonlyRootfs',
} as const satisfies Partial<Record<keyof Given, string>>;

/**
 * Returns the host config for the given options. It lacks the keys of all other options.
 * @throws UsageError naming the option whose value is invalid, or whose file cannot be read.
 */
export async function hostConfigOf(given: Given): Promise<HostConfig> {
  const config: Record<string, unknown> = {
    ...each(given, TEXTS, (_, text) => text),
    ...each(given, LISTS, (_, texts) => texts),
    ...each(given, COUNTS, wholeOf),
    ...each(given, SIZES, (option, text) => parseBytes(option, text)),
    ...each(given, MAPS, (option, texts) =>
      Object.fromEntries(texts.map((text) => pairOf(option, text, '='))),
    ),
    ...each(given, FLAGS, (_, value) => value),
    ...keyed('MemorySwap', given['memory-swap'], (text) =>
      text === '-1' ? -1 : parseBytes('--memory-swap', text),
    ),
    ...keyed('NanoCpus', given.cpus, nanoCpus),
    ...keyed('LogConfig', given['log-driver'], (Type) => ({ Type, Config: {} })),
    ...keyed('RestartPolicy', given.restart, restartPolicy),
    ...keyed('Devices', given.device, (texts) => texts.map(device)),
    ...keyed('Ulimits', given.ulimit, (texts) => [...texts].sort().map(ulimit)),
    ...keyed('Tmpfs', given.tmpfs, (texts) => Object.fromEntries(texts.map(tmpfs))),
    ...keyed('PortBindings', given.publish, (texts) => Object.assign({}, ...texts.map(ports)) as object),
    ...throttles(given),
    ...volumes(given),
  };
  const security = await securityOptions(given['security-opt'] ?? []);
  return { ...config, ...security };
}

function each<K extends keyof Given>(
  given: Given,
  keys: Readonly<Record<K, string>>,
  make: (option: string, value: NonNullable<Given[K]>) => unknown,
): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const option of Object.keys(keys) as K[]) {
    const value = given[option];
    if (value !== undefined && value !== null) result[keys[option]] = make(`--${option}`, value);
  }
  return result;
}

function keyed<T>(key: string, value: T | undefined, make: (value: T) => unknown): Record<string, unknown> {
  return value === undefined ? {} : { [key]: make(value) };
}

function wholeOf(option: string, text: string): number {
  if (!/^-?\d{1,15}$/.test(text))
    throw new UsageError(`${option} ${JSON.stringify(text)} is not a whole number`);
  return Number(text);
}

function pairOf(option: string, text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  if (at <= 0) throw new UsageError(`${option} ${JSON.stringify(text)}: write NAME${separator}VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function nanoCpus(text: string): number {
  if (!/^\d+(?:\.\d{1,9})?$/.test(text))
    throw new UsageError(`--cpus ${JSON.stringify(text)} is not a number of CPUs: write 2 or 0.5`);
  return Math.round(Number(text) * 1e9);
}

function restartPolicy(text: string): object {
  const [Name = '', retries = '0'] = text.split(':', 2);
  return { Name, MaximumRetryCount: wholeOf('--restart', retries) };
}

/** Parses `HOST[:CONTAINER][:ACCESS]`. Of two parts, the second is the access if it has the form of one. */
function device(text: string): object {
  const parts = text.split(':');
  const isAccess = (part = ''): boolean => /^[rwm]{1,3}$/.test(part);
  const [PathOnHost = '', second, third] = parts;
  if (PathOnHost === '' || parts.length > 3 || (third !== undefined && !isAccess(third)))
    throw new UsageError(`--device ${JSON.stringify(text)}: write PATH[:PATH][:rwm]`);
  const [path, access] = parts.length === 2 && isAccess(second) ? [PathOnHost, second] : [second, third];
  return { PathOnHost, PathInContainer: path || PathOnHost, CgroupPermissions: access ?? 'rwm' };
}

function ulimit(text: string): object {
  const [Name, value] = pairOf('--ulimit', text, '=');
  const [soft = '', hard = soft] = value.split(':', 2);
  return { Name, Soft: wholeOf('--ulimit', soft), Hard: wholeOf('--ulimit', hard) };
}

function tmpfs(text: string): [string, string] {
  const at = text.indexOf(':');
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

/**
 * Parses `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, only as far as needed to report that ports are not published.
 */
function ports(text: string): object {
  const [container = '', HostPort = '', HostIp = ''] = text.split(':').reverse();
  return { [container.includes('/') ? container : `${container}/tcp`]: [{ HostIp, HostPort }] };
}

function throttles(given: Given): Record<string, unknown> {
  const split = (option: string, text: string): [string, string] => {
    const at = text.lastIndexOf(':');
    if (at <= 0) throw new UsageError(`${option} ${JSON.stringify(text)}: write DEVICE:LIMIT`);
    return [text.slice(0, at), text.slice(at + 1)];
  };
  const rates =
    (option: string, read: (option: string, text: string) => number) => (texts: readonly string[]) =>
      texts.map((text) => {
        const [Path, rate] = split(option, text);
        return { Path, Rate: read(option, rate) };
      });
  return {
    ...keyed('BlkioWeightDevice', given['blkio-weight-device'], (texts) =>
      texts.map((text) => {
        const [Path, weight] = split('--blkio-weight-device', text);
        return { Path, Weight: wholeOf('--blkio-weight-device', weight) };
      }),
    ),
    ...keyed('BlkioDeviceReadBps', given['device-read-bps'], rates('--device-read-bps', parseBytes)),
    ...keyed('BlkioDeviceWriteBps', given['device-write-bps'], rates('--device-write-bps', parseBytes)),
    ...keyed('BlkioDeviceReadIOps', given['device-read-iops'], rates('--device-read-iops', wholeOf)),
    ...keyed('BlkioDeviceWriteIOps', given['device-write-iops'], rates('--device-write-iops', wholeOf)),
  };
}

/**
 * A path alone is a volume without a name. A source that begins with a dot is relative to the working
 * directory of this process.
 */
function volumes(given: Given): Record<string, unknown> {
  const texts = given.volume ?? [];
  const isNamed = (text: string): boolean => text.includes(':');
  const binds = texts.filter(isNamed).map((text) => {
    const [source = '', ...rest] = text.split(':');
    return [source.startsWith('.') ? resolve(source) : source, ...rest].join(':');
  });
  const mounts = [
    ...texts.filter((text) => !isNamed(text)).map((Target) => ({ Type: 'volume', Target })),
    ...(given.mount ?? []).map(mountRequest),
  ];
  return {
    ...(binds.length > 0 && { Binds: binds }),
    ...(mounts.length > 0 && { Mounts: mounts }),
  };
}

/** Fields of `--mount` that need no value. */
const MOUNT_FLAGS = new Set(['readonly', 'ro', 'bind-nonrecursive', 'volume-nocopy']);

/** Parses docker's `--mount`: fields with commas between them. */
function mountRequest(text: string): object {
  const wrong = (why: string): never => {
    throw new UsageError(`--mount ${JSON.stringify(text)}: ${why}`);
  };
  const mount: Record<string, unknown> = { Type: 'volume' };
  const options = (group: 'BindOptions' | 'VolumeOptions' | 'TmpfsOptions', more: object): void => {
    mount[group] = { ...(mount[group] as object | undefined), ...more };
  };
  for (const field of text.split(',')) {
    const at = field.indexOf('=');
    const key = (at < 0 ? field : field.slice(0, at)).toLowerCase();
    const value = at < 0 ? 'true' : field.slice(at + 1);
    if (at < 0 && !MOUNT_FLAGS.has(key)) wrong(`write ${key}=VALUE`);
    const isTrue = ['true', '1'].includes(value);
    if (key === 'type') mount['Type'] = value;
    else if (key === 'source' || key === 'src')
      mount['Source'] = value.startsWith('.') ? resolve(value) : value;
    else if (['target', 'dst', 'destination'].includes(key)) mount['Target'] = value;
    else if (key === 'readonly' || key === 'ro') mount['ReadOnly'] = isTrue;
    else if (key === 'consistency') mount['Consistency'] = value;
    else if (key === 'bind-propagation') options('BindOptions', { Propagation: value });
    else if (key === 'bind-nonrecursive') options('BindOptions', { NonRecursive: isTrue });
    else if (key === 'bind-recursive')
      options(
        'BindOptions',
        recursion(value) ??
          wrong(`bind-recursive=${value} is unknown: use enabled, disabled, writable or readonly`),
      );
    else if (key === 'volume-nocopy') options('VolumeOptions', { NoCopy: isTrue });
    else if (key === 'volume-subpath') options('VolumeOptions', { Subpath: value });
    else if (key === 'volume-driver') options('VolumeOptions', { DriverConfig: { Name: value } });
    else if (key === 'tmpfs-size')
      options('TmpfsOptions', { SizeBytes: parseBytes('--mount tmpfs-size', value) });
    else if (key === 'tmpfs-mode')
      options('TmpfsOptions', {
        Mode: Number.parseInt(value, 8) || wrong('write tmpfs-mode as an octal number, e.g. 1777'),
      });
    else wrong(`${key} is unknown`);
  }
  return mount;
}

function recursion(value: string): object | undefined {
  if (value === 'enabled' || value === 'writable') return {};
  if (value === 'disabled') return { NonRecursive: true };
  return value === 'readonly' ? { ReadOnlyForceRecursive: true } : undefined;
}

/**
 * Does what docker's client does: replaces the file of a seccomp profile by its text, and
 * `systempaths=unconfined` by two other keys.
 */
async function securityOptions(options: readonly string[]): Promise<Record<string, unknown>> {
  const texts: string[] = [];
  for (const option of options) {
    const file = /^seccomp[=:](.*)$/s.exec(option)?.[1];
    if (file === undefined || ['unconfined', 'builtin'].includes(file)) texts.push(option);
    else texts.push(`seccomp=${await profileText(file)}`);
  }
  const isUnconfined = texts.includes('systempaths=unconfined');
  const rest = texts.filter((text) => text !== 'systempaths=unconfined');
  return {
    ...(rest.length > 0 && { SecurityOpt: rest }),
    ...(isUnconfined && { MaskedPaths: [], ReadonlyPaths: [] }),
  };
}

async function profileText(file: string): Promise<string> {
  const text = await unlessMissing(readFile(file, 'utf8'));
  if (text === undefined) throw new UsageError(`--security-opt seccomp=${file}: the file does not exist`);
  return text;
}
