/**
 * `containers/<id>/config.v2.json` and `hostconfig.json`: what dockerd needs to list a container that we made
 * and to start it (moby/moby: container/container.go; docs/docker-overlay2-store.md, "Directory tree").
 * dockerd crashes on a container without `Config`, so both files are always complete. `NetworkMode` is `none`
 * unless it is `host` or the name of a network that somebody has made: a daemon without the bridge of another
 * could not start the container otherwise, and one without that network says so.
 */
import type { ImageID } from '../core/digest.ts';
import { goJson } from '../core/go-json.ts';
import { randomName } from '../core/random.ts';
import { ZERO_TIME } from '../core/time.ts';
import { dockerContainerConfig, type ContainerConfig } from '../image/container-config.ts';
import { commandOf } from './config.ts';
import { DEFAULT_PATHS } from './spec/defaults.ts';

/** In what containers differ that are made alike. */
export interface Identity {
  readonly id: string;
  readonly name: string;
  /** RFC3339. */
  readonly created: string;
}

/** What else `config.v2.json` is made of. */
export interface ContainerFacts {
  readonly image: ImageID;
  /** Without a host name: the container gets {@link hostnameOf}. */
  readonly config: ContainerConfig;
  /** @see CreateOptions.hostConfig */
  readonly hostConfig: HostConfig;
  /** @see CreateOptions.endpoints */
  readonly endpoints?: Endpoints | undefined;
}

/** docker's `EndpointSettings` by the names of networks. */
export type Endpoints = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

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

/** What of a network's settings says how the container shall be in it; the rest is what a daemon has made of that. */
const ENDPOINT_CONFIG = ['IPAMConfig', 'Links', 'Aliases', 'MacAddress', 'DriverOpts'];

/** A container's part of a network that it is to be in. */
export function endpoint(settings: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const given = Object.entries(settings).filter(([key]) => ENDPOINT_CONFIG.includes(key));
  return { ...NO_ENDPOINT, ...Object.fromEntries(given) };
}

/** Whether the network is one that clients make, of which the name is kept. */
export function isKeptNetwork(name: string): boolean {
  return !['', 'default', 'bridge', 'host', 'none'].includes(name) && !name.startsWith('container:');
}

/** Those that are kept, or the one that stands for none of them. */
function networksOf({
  hostConfig,
  endpoints = {},
}: Pick<ContainerFacts, 'hostConfig' | 'endpoints'>): Endpoints {
  const mode = networkMode(hostConfig);
  const names = [mode, ...Object.keys(endpoints)].filter(isKeptNetwork);
  return Object.fromEntries(
    (names.length > 0 ? names : [mode]).map((name) => [name, endpoint(endpoints[name] ?? {})]),
  );
}

/** A container's host name where nobody gives it one. */
export function hostnameOf({ id }: Pick<Identity, 'id'>): string {
  return id.slice(0, 12);
}

/**
 * The text of `config.v2.json` of a container that never ran, for any number of containers made alike: the text is written once,
 * with a mark where something of the identity goes, of which JSON escapes nothing.
 */
export function configDocument(facts: ContainerFacts): (identity: Identity) => string {
  const mark = randomName(16).toString('hex'); // so that it is nowhere else
  const pieces = configText(facts, mark).split(mark);
  const gaps: ((identity: Identity) => string)[] = [({ id }) => id, ({ created }) => created];
  if (facts.config.Hostname === '') gaps.push(hostnameOf);
  gaps.push(({ name }) => `/${name}`);
  return (identity) => pieces.map((piece, index) => piece + (gaps[index]?.(identity) ?? '')).join('');
}

function configText(facts: ContainerFacts, mark: string): string {
  const { image, config } = facts;
  const [path = '', ...args] = commandOf(config);
  return goJson({
    StreamConfig: {},
    State: { Running: false, Pid: 0, ExitCode: 0, Error: '', StartedAt: ZERO_TIME, FinishedAt: ZERO_TIME },
    ID: mark,
    Created: mark,
    Managed: false,
    Path: path,
    Args: args,
    Config: dockerContainerConfig({ ...config, Hostname: config.Hostname || mark }),
    Image: image,
    NetworkSettings: { Networks: networksOf(facts) },
    LogPath: '',
    Name: mark,
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

function networkMode({ NetworkMode: mode = '' }: HostConfig): string {
  return typeof mode === 'string' && (mode === 'host' || isKeptNetwork(mode)) ? mode : 'none';
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
