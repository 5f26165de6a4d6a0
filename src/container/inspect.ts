/**
 * Returns the document of `docker container inspect`, with the facts that a store without a runtime knows.
 * Field names, order and empty values are Docker's (moby/moby: daemon/inspect.go at v20.10). Values that only
 * a daemon sets (cgroups, addresses) are shown as last written.
 */
import { ZERO_TIME } from '../core/time.ts';
import { dockerContainerConfig } from '../image/container-config.ts';
import type { Layout } from '../system/layout.ts';
import { readLink, readText } from '../system/store-files.ts';
import { mountPoints } from './mount-points.ts';
import { MAX_DOCUMENT_BYTES, type Container } from './record.ts';

type Document = Readonly<Record<string, unknown>>;

export interface ContainerInspect {
  readonly Id: string;
  /** RFC3339. */
  readonly Created: string;
  readonly Path: string;
  readonly Args: readonly string[];
  readonly State: Document;
  /** Image id; empty if dockerd made the container without an image. */
  readonly Image: string;
  readonly ResolvConfPath: string;
  readonly HostnamePath: string;
  readonly HostsPath: string;
  readonly LogPath: string;
  /** With Docker's leading `/`. */
  readonly Name: string;
  readonly RestartCount: number;
  readonly Driver: 'overlay2';
  readonly Platform: string;
  readonly MountLabel: string;
  readonly ProcessLabel: string;
  readonly AppArmorProfile: string;
  readonly ExecIDs: null;
  /** The content of `hostconfig.json`. */
  readonly HostConfig: Document;
  readonly GraphDriver: { readonly Data: Readonly<Record<string, string>>; readonly Name: 'overlay2' };
  readonly Mounts: readonly Document[];
  readonly Config: Document;
  readonly NetworkSettings: Document;
}

/** Returns the document of one container. */
export function inspectContainer(layout: Layout, container: Container): ContainerInspect {
  const [path = '', ...args] = container.command;
  const config = readDocument(layout.at(layout.container(container.id, 'config.v2.json')));
  const host = readDocument(layout.at(layout.container(container.id, 'hostconfig.json')));
  const text = (name: string, otherwise = ''): string => stringOr(config[name], otherwise);
  return {
    Id: container.id,
    Created: container.created,
    Path: path,
    Args: args,
    State: stateDocument(container, fields(config['State'])),
    Image: container.imageId ?? '',
    ResolvConfPath: text('ResolvConfPath'),
    HostnamePath: text('HostnamePath'),
    HostsPath: text('HostsPath'),
    LogPath: text('LogPath'),
    Name: `/${container.name}`,
    RestartCount: typeof config['RestartCount'] === 'number' ? config['RestartCount'] : 0,
    Driver: 'overlay2',
    Platform: text('OS', 'linux'),
    MountLabel: text('MountLabel'),
    ProcessLabel: text('ProcessLabel'),
    AppArmorProfile: text('AppArmorProfile'),
    ExecIDs: null,
    HostConfig: { ...NO_HOST_CONFIG, ...host },
    GraphDriver: { Data: graphDriverData(layout, container.mountId), Name: 'overlay2' },
    Mounts: mountsOf(fields(config['MountPoints']), host),
    Config: dockerContainerConfig(container.config, Number),
    NetworkSettings: networkDocument(fields(config['NetworkSettings'])),
  };
}

/**
 * dockerd's host config when all settings are unset. layerstack's `hostconfig.json` does not hold unset
 * values.
 */
const NO_HOST_CONFIG: Document = {
  Binds: null,
  ContainerIDFile: '',
  LogConfig: { Type: '', Config: null },
  NetworkMode: '',
  PortBindings: null,
  RestartPolicy: { Name: '', MaximumRetryCount: 0 },
  AutoRemove: false,
  VolumeDriver: '',
  VolumesFrom: null,
  ConsoleSize: [0, 0],
  CapAdd: null,
  CapDrop: null,
  CgroupnsMode: '',
  Dns: null,
  DnsOptions: null,
  DnsSearch: null,
  ExtraHosts: null,
  GroupAdd: null,
  IpcMode: '',
  Cgroup: '',
  Links: null,
  OomScoreAdj: 0,
  PidMode: '',
  Privileged: false,
  PublishAllPorts: false,
  ReadonlyRootfs: false,
  SecurityOpt: null,
  UTSMode: '',
  UsernsMode: '',
  ShmSize: 0,
  Runtime: '',
  Isolation: '',
  CpuShares: 0,
  Memory: 0,
  NanoCpus: 0,
  CgroupParent: '',
  BlkioWeight: 0,
  BlkioWeightDevice: null,
  BlkioDeviceReadBps: null,
  BlkioDeviceWriteBps: null,
  BlkioDeviceReadIOps: null,
  BlkioDeviceWriteIOps: null,
  CpuPeriod: 0,
  CpuQuota: 0,
  CpuRealtimePeriod: 0,
  CpuRealtimeRuntime: 0,
  CpusetCpus: '',
  CpusetMems: '',
  Devices: null,
  DeviceCgroupRules: null,
  DeviceRequests: null,
  MemoryReservation: 0,
  MemorySwap: 0,
  MemorySwappiness: null,
  OomKillDisable: null,
  PidsLimit: null,
  Ulimits: null,
  CpuCount: 0,
  CpuPercent: 0,
  IOMaximumIOps: 0,
  IOMaximumBandwidth: 0,
  MaskedPaths: null,
  ReadonlyPaths: null,
};

function stateDocument({ state, exitCode }: Container, stored: Document): Document {
  const is = (name: string): boolean => stored[name] === true;
  return {
    Status: state,
    Running: is('Running'),
    Paused: is('Paused'),
    Restarting: is('Restarting'),
    OOMKilled: is('OOMKilled'),
    Dead: is('Dead'),
    Pid: typeof stored['Pid'] === 'number' ? stored['Pid'] : 0,
    ExitCode: exitCode,
    Error: stringOr(stored['Error'], ''),
    StartedAt: stringOr(stored['StartedAt'], ZERO_TIME),
    FinishedAt: stringOr(stored['FinishedAt'], ZERO_TIME),
  };
}

/** Returns the mounts that a daemon has stored. Without any, derives them from the host config. */
function mountsOf(stored: Document, host: Document): readonly Document[] {
  const mounts = Object.values(stored);
  return mounts.length > 0 ? mounts.map((mount) => mountDocument(fields(mount))) : mountPoints(host);
}

function mountDocument(mount: Document): Document {
  const optional = (name: string): Document => (mount[name] ? { [name]: mount[name] } : {});
  return {
    Type: stringOr(mount['Type'], ''),
    ...optional('Name'),
    Source: stringOr(mount['Source'], ''),
    Destination: stringOr(mount['Destination'], ''),
    ...optional('Driver'),
    Mode: stringOr(mount['Mode'], stringOr(mount['Relabel'], '')),
    RW: mount['RW'] === true,
    Propagation: stringOr(mount['Propagation'], ''),
  };
}

/** Leaves out dockerd's internal members. The deprecated addresses on the default network are empty. */
function networkDocument(stored: Document): Document {
  const networks = Object.entries(fields(stored['Networks'])).map(([name, network]) => {
    const shown = Object.entries(fields(network)).filter(([member]) => member !== 'IPAMOperational');
    return [name, Object.fromEntries(shown)] as const;
  });
  return {
    Bridge: stringOr(stored['Bridge'], ''),
    SandboxID: stringOr(stored['SandboxID'], ''),
    HairpinMode: stored['HairpinMode'] === true,
    LinkLocalIPv6Address: stringOr(stored['LinkLocalIPv6Address'], ''),
    LinkLocalIPv6PrefixLen: 0,
    Ports: fields(stored['Ports']),
    SandboxKey: stringOr(stored['SandboxKey'], ''),
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: '',
    Gateway: '',
    GlobalIPv6Address: '',
    GlobalIPv6PrefixLen: 0,
    IPAddress: '',
    IPPrefixLen: 0,
    IPv6Gateway: '',
    MacAddress: '',
    Networks: Object.fromEntries(networks),
  };
}

/** Reads a document; empty when it is missing or broken. */
function readDocument(path: string): Document {
  try {
    return fields(JSON.parse(readText(path, MAX_DOCUMENT_BYTES) ?? '{}'));
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

function fields(value: unknown): Document {
  return typeof value === 'object' && value !== null ? (value as Document) : {};
}

function stringOr(value: unknown, otherwise: string): string {
  return typeof value === 'string' ? value : otherwise;
}

/** Returns the data of the storage driver. As in dockerd, lowers are directories, not short names. */
function graphDriverData(layout: Layout, mountId: string): Record<string, string> {
  const lower = readText(layout.at(layout.overlay(mountId, 'lower')))?.trim() ?? '';
  const names = lower.split(':').filter(Boolean);
  return {
    ...(names.length > 0 && { LowerDir: names.map((name) => target(layout, name)).join(':') }),
    MergedDir: layout.at(layout.overlay(mountId, 'merged')),
    UpperDir: layout.at(layout.overlay(mountId, 'diff')),
    WorkDir: layout.at(layout.overlay(mountId, 'work')),
  };
}

/** Turns `l/ABC…` into `<root>/overlay2/<id>/diff`. A dangling short name stays as it is. */
function target(layout: Layout, name: string): string {
  const link = readLink(layout.at(`${layout.overlay2}/${name}`)) ?? name;
  return layout.at(`${layout.overlay2}/${link.replace(/^\.\.\//, '')}`);
}
