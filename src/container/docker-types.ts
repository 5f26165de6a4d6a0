/**
 * Docker's Go types of a container: its host config, its networks and the whole of `config.v2.json`. They
 * have the fields of both 20.10 and 28; common fields have the same type in both. Mirrors `moby/moby:
 * api/types/{container,mount,network}, container/{container,state}.go, volume/mounts/mounts.go`.
 */
import { list, mapOf, pointer, struct } from '../core/go-read.ts';
import { CONTAINER_CONFIG, CONTAINER_CONFIG_FIELDS } from '../image/docker-types.ts';

const strings = list('string');
const options = mapOf('string');

const PORT_MAP = mapOf(list(struct({ HostIp: 'string', HostPort: 'string' })));

const WEIGHT = list(pointer(struct({ Path: 'string', Weight: 'uint16' })));
const RATE = list(pointer(struct({ Path: 'string', Rate: 'uint64' })));

const MOUNT = struct({
  Type: 'string',
  Source: 'string',
  Target: 'string',
  ReadOnly: 'bool',
  Consistency: 'string',
  BindOptions: pointer(
    struct({
      Propagation: 'string',
      NonRecursive: 'bool',
      CreateMountpoint: 'bool',
      ReadOnlyNonRecursive: 'bool',
      ReadOnlyForceRecursive: 'bool',
    }),
  ),
  VolumeOptions: pointer(
    struct({
      NoCopy: 'bool',
      Labels: options,
      Subpath: 'string',
      DriverConfig: pointer(struct({ Name: 'string', Options: options })),
    }),
  ),
  ImageOptions: pointer(struct({ Subpath: 'string' })),
  TmpfsOptions: pointer(struct({ SizeBytes: 'int64', Mode: 'uint32', Options: list(strings) })),
  ClusterOptions: pointer(struct({})),
});

/** `container.HostConfig`: `hostconfig.json`. */
export const HOST_CONFIG = struct({
  Binds: strings,
  ContainerIDFile: 'string',
  LogConfig: struct({ Type: 'string', Config: options }),
  NetworkMode: 'string',
  PortBindings: PORT_MAP,
  RestartPolicy: struct({ Name: 'string', MaximumRetryCount: 'int64' }),
  AutoRemove: 'bool',
  VolumeDriver: 'string',
  VolumesFrom: strings,
  ConsoleSize: list('uint64'),
  Annotations: options,
  CapAdd: 'words',
  CapDrop: 'words',
  CgroupnsMode: 'string',
  Dns: strings,
  DnsOptions: strings,
  DnsSearch: strings,
  ExtraHosts: strings,
  GroupAdd: strings,
  IpcMode: 'string',
  Cgroup: 'string',
  Links: strings,
  OomScoreAdj: 'int64',
  PidMode: 'string',
  Privileged: 'bool',
  PublishAllPorts: 'bool',
  ReadonlyRootfs: 'bool',
  SecurityOpt: strings,
  StorageOpt: options,
  Tmpfs: options,
  UTSMode: 'string',
  UsernsMode: 'string',
  ShmSize: 'int64',
  Sysctls: options,
  Runtime: 'string',
  Isolation: 'string',
  CpuShares: 'int64',
  Memory: 'int64',
  NanoCpus: 'int64',
  CgroupParent: 'string',
  BlkioWeight: 'uint16',
  BlkioWeightDevice: WEIGHT,
  BlkioDeviceReadBps: RATE,
  BlkioDeviceWriteBps: RATE,
  BlkioDeviceReadIOps: RATE,
  BlkioDeviceWriteIOps: RATE,
  CpuPeriod: 'int64',
  CpuQuota: 'int64',
  CpuRealtimePeriod: 'int64',
  CpuRealtimeRuntime: 'int64',
  CpusetCpus: 'string',
  CpusetMems: 'string',
  Devices: list(struct({ PathOnHost: 'string', PathInContainer: 'string', CgroupPermissions: 'string' })),
  DeviceCgroupRules: strings,
  DeviceRequests: list(
    struct({
      Driver: 'string',
      Count: 'int64',
      DeviceIDs: strings,
      Capabilities: list(strings),
      Options: options,
    }),
  ),
  KernelMemory: 'int64',
  KernelMemoryTCP: 'int64',
  MemoryReservation: 'int64',
  MemorySwap: 'int64',
  MemorySwappiness: pointer('int64'),
  OomKillDisable: pointer('bool'),
  PidsLimit: pointer('int64'),
  Ulimits: list(pointer(struct({ Name: 'string', Hard: 'int64', Soft: 'int64' }))),
  CpuCount: 'int64',
  CpuPercent: 'int64',
  IOMaximumIOps: 'uint64',
  IOMaximumBandwidth: 'uint64',
  Mounts: list(MOUNT),
  MaskedPaths: strings,
  ReadonlyPaths: strings,
  Init: pointer('bool'),
});

const ENDPOINT_FIELDS = {
  IPAMConfig: pointer(struct({ IPv4Address: 'string', IPv6Address: 'string', LinkLocalIPs: strings })),
  Links: strings,
  Aliases: strings,
  NetworkID: 'string',
  EndpointID: 'string',
  Gateway: 'string',
  IPAddress: 'string',
  IPPrefixLen: 'int64',
  IPv6Gateway: 'string',
  GlobalIPv6Address: 'string',
  GlobalIPv6PrefixLen: 'int64',
  MacAddress: 'string',
  DriverOpts: options,
  GwPriority: 'int64',
  DNSNames: strings,
} as const;

const NETWORKING_CONFIG = struct({ EndpointsConfig: mapOf(pointer(struct(ENDPOINT_FIELDS))) });

/** The body of `POST /containers/create`. */
export const CREATE_BODY = struct({
  ...CONTAINER_CONFIG_FIELDS,
  HostConfig: pointer(HOST_CONFIG),
  NetworkingConfig: pointer(NETWORKING_CONFIG),
});

const ADDRESSES = list(struct({ Addr: 'string', PrefixLen: 'int64' }));

const NETWORK_SETTINGS = struct({
  Bridge: 'string',
  SandboxID: 'string',
  SandboxKey: 'string',
  HairpinMode: 'bool',
  LinkLocalIPv6Address: 'string',
  LinkLocalIPv6PrefixLen: 'int64',
  Networks: mapOf(
    pointer(struct({ ...ENDPOINT_FIELDS, IPAMOperational: 'bool', DesiredMacAddress: 'string' })),
  ),
  Service: pointer(struct({})),
  Ports: PORT_MAP,
  SecondaryIPAddresses: ADDRESSES,
  SecondaryIPv6Addresses: ADDRESSES,
  IsAnonymousEndpoint: 'bool',
  HasSwarmEndpoint: 'bool',
});

const STATE = struct({
  Running: 'bool',
  Paused: 'bool',
  Restarting: 'bool',
  OOMKilled: 'bool',
  RemovalInProgress: 'bool',
  Dead: 'bool',
  Pid: 'int64',
  ExitCode: 'int64',
  Error: 'string',
  StartedAt: 'time',
  FinishedAt: 'time',
  Health: pointer(
    struct({
      Status: 'string',
      FailingStreak: 'int64',
      Log: list(pointer(struct({ Start: 'time', End: 'time', ExitCode: 'int64', Output: 'string' }))),
    }),
  ),
});

const MOUNT_POINT = struct({
  Source: 'string',
  Destination: 'string',
  RW: 'bool',
  Name: 'string',
  Driver: 'string',
  Type: 'string',
  Relabel: 'string',
  Propagation: 'string',
  ID: 'string',
  Spec: MOUNT,
  SkipMountpointCreation: 'bool',
});

const SECRET_FILE = pointer(struct({ Name: 'string', UID: 'string', GID: 'string', Mode: 'uint32' }));

const PLATFORM_FIELDS = {
  architecture: 'string',
  os: 'string',
  'os.version': 'string',
  'os.features': strings,
  variant: 'string',
} as const;

/** `config.v2.json`. */
export const CONTAINER = struct({
  StreamConfig: pointer(struct({})),
  State: pointer(STATE),
  ID: 'string',
  Created: 'time',
  Managed: 'bool',
  Path: 'string',
  Args: strings,
  Config: pointer(CONTAINER_CONFIG),
  Image: 'string',
  ImageManifest: pointer(
    struct({
      mediaType: 'string',
      digest: 'string',
      size: 'int64',
      urls: strings,
      annotations: options,
      data: 'string',
      platform: pointer(struct(PLATFORM_FIELDS)),
      artifactType: 'string',
    }),
  ),
  ImagePlatform: struct(PLATFORM_FIELDS),
  NetworkSettings: pointer(NETWORK_SETTINGS),
  LogPath: 'string',
  Name: 'string',
  Driver: 'string',
  OS: 'string',
  MountLabel: 'string',
  ProcessLabel: 'string',
  AppArmorProfile: 'string',
  SeccompProfile: 'string',
  NoNewPrivileges: 'bool',
  WritableCgroups: pointer('bool'),
  RestartCount: 'int64',
  HasBeenStartedBefore: 'bool',
  HasBeenManuallyStopped: 'bool',
  MountPoints: mapOf(pointer(MOUNT_POINT)),
  SecretReferences: list(pointer(struct({ File: SECRET_FILE, SecretID: 'string', SecretName: 'string' }))),
  ConfigReferences: list(
    pointer(
      struct({ File: SECRET_FILE, Runtime: pointer(struct({})), ConfigID: 'string', ConfigName: 'string' }),
    ),
  ),
  HostnamePath: 'string',
  HostsPath: 'string',
  ShmPath: 'string',
  ResolvConfPath: 'string',
  SharedEndpointList: strings,
  LocalLogCacheMeta: struct({ HaveNotifyEnabled: 'bool' }),
});
