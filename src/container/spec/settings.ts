/**
 * Reads a container's host config for the runtime configuration: `containers/<id>/hostconfig.json`, written
 * by layerstack or dockerd, by docker's types. Missing members are absent. A missing document counts as
 * empty.
 */
import { Buffer } from 'node:buffer';
import { readText } from '../../system/store-files.ts';
import type { Layout } from '../../system/layout.ts';
import { readContainerFile } from '../decodable.ts';
import { hostConfigDocument, type HostConfig } from '../documents.ts';
import { MAX_DOCUMENT_BYTES } from '../record.ts';

/** A whole number of docker's API: a bigint if a JavaScript number cannot hold it exactly. */
export type Whole = number | bigint;

export interface WeightDevice {
  readonly Path?: string;
  readonly Weight?: number;
}

export interface Throttle {
  readonly Path?: string;
  readonly Rate?: Whole;
}

export interface DeviceMapping {
  readonly PathOnHost?: string;
  readonly PathInContainer?: string;
  readonly CgroupPermissions?: string;
}

export interface Ulimit {
  readonly Name?: string;
  readonly Hard?: Whole;
  readonly Soft?: Whole;
}

/** docker's `Mount`. */
export interface MountRequest {
  readonly Type?: string;
  readonly Source?: string;
  readonly Target?: string;
  readonly ReadOnly?: boolean;
  readonly BindOptions?: {
    readonly Propagation?: string;
    readonly NonRecursive?: boolean;
    readonly CreateMountpoint?: boolean;
    readonly ReadOnlyForceRecursive?: boolean;
  } | null;
  readonly VolumeOptions?: {
    readonly NoCopy?: boolean;
    readonly Subpath?: string;
    readonly DriverConfig?: {
      readonly Name?: string;
      readonly Options?: Readonly<Record<string, string>> | null;
    } | null;
  } | null;
  readonly TmpfsOptions?: {
    readonly SizeBytes?: Whole;
    readonly Mode?: number;
    readonly Options?: readonly (readonly string[] | null)[] | null;
  } | null;
}

type Words = readonly string[] | null;
type Options = Readonly<Record<string, string>> | null;

/** The members of docker's `HostConfig` that a runtime configuration, or the refusal of a key, depends on. */
export interface HostSettings {
  readonly Annotations?: Options;
  readonly AutoRemove?: boolean;
  readonly Binds?: Words;
  readonly BlkioDeviceReadBps?: readonly (Throttle | null)[] | null;
  readonly BlkioDeviceReadIOps?: readonly (Throttle | null)[] | null;
  readonly BlkioDeviceWriteBps?: readonly (Throttle | null)[] | null;
  readonly BlkioDeviceWriteIOps?: readonly (Throttle | null)[] | null;
  readonly BlkioWeight?: number;
  readonly BlkioWeightDevice?: readonly (WeightDevice | null)[] | null;
  readonly CapAdd?: Words;
  readonly CapDrop?: Words;
  readonly Cgroup?: string;
  readonly CgroupParent?: string;
  readonly CgroupnsMode?: string;
  readonly ConsoleSize?: readonly Whole[] | null;
  readonly CpuCount?: Whole;
  readonly CpuPercent?: Whole;
  readonly CpuPeriod?: Whole;
  readonly CpuQuota?: Whole;
  readonly CpuRealtimePeriod?: Whole;
  readonly CpuRealtimeRuntime?: Whole;
  readonly CpuShares?: Whole;
  readonly CpusetCpus?: string;
  readonly CpusetMems?: string;
  readonly DeviceCgroupRules?: Words;
  readonly DeviceRequests?: readonly object[] | null;
  readonly Devices?: readonly DeviceMapping[] | null;
  readonly Dns?: Words;
  readonly DnsOptions?: Words;
  readonly DnsSearch?: Words;
  readonly ExtraHosts?: Words;
  readonly GroupAdd?: Words;
  readonly Init?: boolean | null;
  readonly IpcMode?: string;
  readonly KernelMemory?: Whole;
  readonly KernelMemoryTCP?: Whole;
  readonly Links?: Words;
  readonly LogConfig?: { readonly Type?: string; readonly Config?: Options };
  readonly MaskedPaths?: Words;
  readonly Memory?: Whole;
  readonly MemoryReservation?: Whole;
  readonly MemorySwap?: Whole;
  readonly MemorySwappiness?: Whole | null;
  readonly Mounts?: readonly MountRequest[] | null;
  readonly NanoCpus?: Whole;
  readonly NetworkMode?: string;
  readonly OomKillDisable?: boolean | null;
  readonly OomScoreAdj?: number;
  readonly PidMode?: string;
  readonly PidsLimit?: Whole | null;
  readonly PortBindings?: Readonly<Record<string, unknown>> | null;
  readonly Privileged?: boolean;
  readonly PublishAllPorts?: boolean;
  readonly ReadonlyPaths?: Words;
  readonly ReadonlyRootfs?: boolean;
  readonly RestartPolicy?: { readonly Name?: string };
  readonly Runtime?: string;
  readonly SecurityOpt?: Words;
  readonly ShmSize?: Whole;
  readonly StorageOpt?: Options;
  readonly Sysctls?: Options;
  readonly Tmpfs?: Options;
  readonly UTSMode?: string;
  readonly Ulimits?: readonly (Ulimit | null)[] | null;
  readonly UsernsMode?: string;
  readonly VolumeDriver?: string;
  readonly VolumesFrom?: Words;
}

/**
 * Reads the host config of a container.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT for a document that dockerd could not read either.
 */
export function readHostSettings(layout: Layout, id: string): HostSettings {
  const path = layout.container(id, 'hostconfig.json');
  const text = readText(layout.at(path), MAX_DOCUMENT_BYTES);
  if (text === undefined) return {};
  return readContainerFile('hostconfig.json', Buffer.from(text), {
    what: `the host config of container ${id}`,
    code: 'ERR_STORE_CORRUPT',
    facts: { id, path: layout.at(path) },
  }) as HostSettings;
}

/** Returns the settings of a host config without a container, with docker's defaults. */
export function hostSettings(hostConfig: HostConfig): HostSettings {
  return readContainerFile('hostconfig.json', Buffer.from(hostConfigDocument(hostConfig)), {
    what: 'the host config',
    code: 'ERR_INVALID_ARGUMENT',
  }) as HostSettings;
}
