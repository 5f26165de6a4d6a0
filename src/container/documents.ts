/**
 * `containers/<id>/config.v2.json` and `hostconfig.json`: what dockerd needs to list a container that we made and
 * to start it (moby/moby: container/container.go; reference section 1). dockerd crashes on a container without
 * `Config`, so both files are always complete. `NetworkMode` is `none` unless it is `host`: layerstack does no networking,
 * and a daemon without the bridge of another could not start the container otherwise.
 */
import type { ImageID } from '../core/digest.ts';
import { goJson } from '../core/go-json.ts';
import { ZERO_TIME } from '../core/time.ts';
import { dockerContainerConfig, type ContainerConfig } from '../image/container-config.ts';
import { commandOf } from './config.ts';
import { DEFAULT_PATHS } from './spec-defaults.ts';

/** The facts `config.v2.json` is made of. */
export interface ContainerFacts {
  readonly id: string;
  readonly name: string;
  /** RFC3339. */
  readonly created: string;
  readonly image: ImageID;
  readonly config: ContainerConfig;
  /** @see CreateOptions.hostConfig */
  readonly hostConfig: HostConfig;
}

/** docker's `HostConfig`: how a runtime shall run the container. It is kept for whoever does. */
export type HostConfig = Readonly<Record<string, unknown>>;

/** dockerd 20.10 crashes when it starts a container whose endpoint has no member of `EndpointSettings` at all. */
const NO_ENDPOINT = {
  IPAMConfig: null,
  Links: null,
  Aliases: null,
  NetworkID: '',
  EndpointID: '',
  Gateway: '',
  IPAddress: '',
  IPPrefixLen: 0,
  IPv6Gateway: '',
  GlobalIPv6Address: '',
  GlobalIPv6PrefixLen: 0,
  MacAddress: '',
  DriverOpts: null,
} as const;

/** The text of `config.v2.json` of a container that never ran. */
export function configDocument({ id, name, created, image, config, hostConfig }: ContainerFacts): string {
  const [path = '', ...args] = commandOf(config);
  return goJson({
    StreamConfig: {},
    State: { Running: false, Pid: 0, ExitCode: 0, Error: '', StartedAt: ZERO_TIME, FinishedAt: ZERO_TIME },
    ID: id,
    Created: created,
    Managed: false,
    Path: path,
    Args: args,
    Config: dockerContainerConfig(config),
    Image: image,
    NetworkSettings: { Networks: { [networkMode(hostConfig)]: NO_ENDPOINT } },
    LogPath: '',
    Name: `/${name}`,
    Driver: 'overlay2',
    OS: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    RestartCount: 0,
    HasBeenStartedBefore: false,
    HasBeenManuallyStopped: false,
    MountPoints: {},
  });
}

/**
 * The text of `hostconfig.json`: what was given, and dockerd's defaults for what was not. Nothing is hidden from a privileged
 * container.
 */
export function hostConfigDocument(given: HostConfig): string {
  const set = Object.entries(given).filter(([key, value]) => !(key in DEFAULT_HOST_CONFIG && isUnset(value)));
  return goJson({
    ...DEFAULT_HOST_CONFIG,
    ...(given['Privileged'] === true && PRIVILEGED),
    ...Object.fromEntries(set),
    ...twiceTheMemory(given),
    ...unlabelled(given),
    NetworkMode: networkMode(given),
  });
}

const PRIVILEGED: HostConfig = { MaskedPaths: null, ReadonlyPaths: null };

/** A container with a limit of memory and none of swap may swap as much again. */
function twiceTheMemory({ Memory = 0, MemorySwap }: HostConfig): HostConfig {
  const memory = BigInt(Memory as number | bigint);
  return memory > 0n && !MemorySwap ? { MemorySwap: memory * 2n } : {};
}

/** SELinux does not confine what shares its processes or memory with the host, unless labels are given. */
function unlabelled({ Privileged, IpcMode, PidMode, SecurityOpt }: HostConfig): HostConfig {
  const options = (SecurityOpt ?? []) as readonly string[];
  const shares = Privileged === true || IpcMode === 'host' || PidMode === 'host';
  const labelled = options.some((option) => /^label(?:=|$)/.test(option));
  return shares && !labelled ? { SecurityOpt: [...options, 'label=disable'] } : {};
}

function networkMode(given: HostConfig): string {
  return given['NetworkMode'] === 'host' ? 'host' : 'none';
}

const DEFAULT_HOST_CONFIG: HostConfig = {
  LogConfig: { Type: 'json-file', Config: {} },
  NetworkMode: 'none',
  RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
  AutoRemove: false,
  IpcMode: 'private',
  Privileged: false,
  ShmSize: 64 * 1024 * 1024,
  Runtime: 'runc',
  MaskedPaths: DEFAULT_PATHS.masked,
  ReadonlyPaths: DEFAULT_PATHS.readonly,
};

/** Clients send every member, empty ones too; so does a policy or a log driver without a name. */
function isUnset(value: unknown): boolean {
  if (value === null || value === undefined || value === '' || value === 0) return true;
  if (typeof value !== 'object' || Array.isArray(value)) return false;
  const { Name, Type } = value as Readonly<Record<string, unknown>>;
  return Name === '' || Type === '';
}
