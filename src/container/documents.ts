/**
 * Writes `containers/<id>/config.v2.json` and `hostconfig.json`, from which dockerd lists and starts a
 * container of layerstack (moby/moby: container/container.go; docs/docker-overlay2-store.md, "Directory
 * tree"). dockerd crashes on a container without `Config`, so both files are always complete. `NetworkMode`
 * is `none`, unless it is `host` or the name of a network that a client made. With another mode, a daemon
 * without a bridge could not start the container. A daemon without the named network reports that.
 */
import type { ImageID } from '../core/digest.ts';
import { goJson } from '../core/go-json.ts';
import { randomName } from '../core/random.ts';
import { ZERO_TIME } from '../core/time.ts';
import { dockerContainerConfig, type ContainerConfig } from '../image/container-config.ts';
import { commandOf } from './config.ts';
import { DEFAULT_PATHS } from './spec/defaults.ts';

/** The facts in which containers with the same settings differ. */
export interface Identity {
  readonly id: string;
  readonly name: string;
  /** RFC3339. */
  readonly created: string;
}

/** The other facts that `config.v2.json` is made from. */
export interface ContainerFacts {
  readonly image: ImageID;
  /** If its host name is empty, the container gets {@link hostnameOf}. */
  readonly config: ContainerConfig;
  /** @see CreateOptions.hostConfig */
  readonly hostConfig: HostConfig;
  /** @see CreateOptions.endpoints */
  readonly endpoints?: Endpoints | undefined;
}

/** docker's `EndpointSettings` by the names of networks. */
export type Endpoints = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/**
 * docker's `HostConfig`: the settings for a runtime. The store keeps them for the runtime that starts the
 * container.
 */
export type HostConfig = Readonly<Record<string, unknown>>;

/**
 * The empty members of an endpoint. dockerd 20.10 crashes when it starts a container with an empty
 * `EndpointSettings`.
 */
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

/**
 * The members of `EndpointSettings` that a client sets. A daemon sets the others when it connects the
 * container.
 */
const ENDPOINT_CONFIG = ['IPAMConfig', 'Links', 'Aliases', 'MacAddress', 'DriverOpts'];

/** Returns the endpoint of a container in a network that it will join. */
export function endpoint(settings: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const given = Object.entries(settings).filter(([key]) => ENDPOINT_CONFIG.includes(key));
  return { ...NO_ENDPOINT, ...Object.fromEntries(given) };
}

/** Returns whether the store keeps the network's name: only networks that clients make are kept. */
export function isKeptNetwork(name: string): boolean {
  return !['', 'default', 'bridge', 'host', 'none'].includes(name) && !name.startsWith('container:');
}

/** Returns the kept networks. Without any, returns the network of the mode: `host` or `none`. */
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

/** Returns the default host name of a container. */
export function hostnameOf({ id }: Pick<Identity, 'id'>): string {
  return id.slice(0, 12);
}

/**
 * Returns a function that makes the text of `config.v2.json` for any number of containers with the same
 * settings, none of which has run. The text is made once, with a mark in each place of the identity. JSON
 * escapes nothing in an identity.
 */
export function configDocument(facts: ContainerFacts): (identity: Identity) => string {
  const mark = randomName(16).toString('hex'); // random, so that it occurs nowhere else
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
 * Returns the text of `hostconfig.json`: the given values, and dockerd's defaults for the others. A
 * privileged container has no masked or read-only paths.
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

/** A memory limit without a swap limit allows as much swap as memory. */
function twiceTheMemory({ Memory = 0, MemorySwap }: HostConfig): HostConfig {
  const memory = BigInt(Memory as number | bigint);
  return memory > 0n && !MemorySwap ? { MemorySwap: memory * 2n } : {};
}

/**
 * Turns SELinux off for a container that shares processes or memory with the host, unless labels are given.
 */
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

/**
 * Returns whether a client left the member unset. Clients send all members: empty values, and objects without
 * a name.
 */
function isUnset(value: unknown): boolean {
  if (value === null || value === undefined || value === '' || value === 0) return true;
  if (typeof value !== 'object' || Array.isArray(value)) return false;
  const { Name, Type } = value as Readonly<Record<string, unknown>>;
  return Name === '' || Type === '';
}
