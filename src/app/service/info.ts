/**
 * The document that `docker info` shows: the machine, the store and its content. All facts about running
 * containers say that none runs. Mirrors `moby/moby: daemon/info.go` at v20.10.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { availableParallelism, hostname, machine, release, totalmem } from 'node:os';
import type { Layerstack } from '../layerstack.ts';
import { packageVersion } from '../../system/package-version.ts';
import type { ServiceContext } from './context.ts';

const WARNING =
  'WARNING: layerstack keeps images and the file systems of containers for other runtimes; it runs no containers itself';

/** docker's names of file systems, if they differ from the kernel's. */
const FILE_SYSTEMS: Readonly<Record<string, string>> = { ext2: 'extfs', ext3: 'extfs', ext4: 'extfs' };

/** A runtime applies limits, and layerstack runs nothing. */
const NO_LIMITS = {
  ...{ MemoryLimit: false, SwapLimit: false, KernelMemoryTCP: false, OomKillDisable: false },
  ...{ CpuCfsPeriod: false, CpuCfsQuota: false, CPUShares: false, CPUSet: false, PidsLimit: false },
  IPv4Forwarding: false,
};

const NO_SWARM = {
  NodeID: '',
  NodeAddr: '',
  LocalNodeState: 'inactive',
  ControlAvailable: false,
  Error: '',
  RemoteManagers: null,
};

/** @param since - whether the request is of this version of the API or a newer one */
export async function infoDocument(
  { store, events }: Pick<ServiceContext, 'store' | 'events'>,
  since: (version: string) => boolean,
): Promise<Readonly<Record<string, unknown>>> {
  const noCommit = { ID: '', ...(!since('1.49') && { Expected: '' }) };
  const [images, containers, system, descriptors, cgroups] = await Promise.all([
    store.images.list({ all: true }),
    containerCounts(store),
    operatingSystem(),
    readdir('/proc/self/fd'),
    // This file exists in cgroup version 2 only.
    stat('/sys/fs/cgroup/cgroup.controllers').catch(() => undefined),
  ]);
  return {
    ID: await identity(store.root),
    ...containers,
    Images: images.length,
    Driver: 'overlay2',
    DriverStatus: driverStatus(store),
    Plugins: { Volume: [], Network: [], Authorization: null, Log: [] },
    ...NO_LIMITS,
    ...(!since('1.42') && { KernelMemory: false }),
    ...(!since('1.50') && { BridgeNfIptables: false, BridgeNfIp6tables: false }),
    Debug: false,
    NFd: descriptors.length,
    NGoroutines: 0,
    SystemTime: new Date().toISOString(),
    LoggingDriver: 'none',
    CgroupDriver: 'none',
    CgroupVersion: cgroups === undefined ? '1' : '2',
    NEventsListener: events.readers,
    KernelVersion: release(),
    ...system,
    OSType: 'linux',
    Architecture: machine(),
    IndexServerAddress: 'https://index.docker.io/v1/',
    RegistryConfig: registryConfig(since),
    NCPU: availableParallelism(),
    MemTotal: totalmem(),
    GenericResources: null,
    DockerRootDir: store.root,
    ...proxies(),
    Name: hostname(),
    Labels: [],
    ExperimentalBuild: false,
    ServerVersion: packageVersion(),
    Runtimes: {},
    DefaultRuntime: '',
    Swarm: NO_SWARM,
    LiveRestoreEnabled: false,
    Isolation: '',
    InitBinary: '',
    ContainerdCommit: noCommit,
    RuncCommit: noCommit,
    InitCommit: noCommit,
    SecurityOptions: [],
    ...(since('1.44') && { CDISpecDirs: [] }),
    Warnings: [WARNING],
  };
}

function proxies(): Readonly<Record<string, string>> {
  const { HTTP_PROXY = '', HTTPS_PROXY = '', NO_PROXY = '' } = process.env;
  return { HttpProxy: HTTP_PROXY, HttpsProxy: HTTPS_PROXY, NoProxy: NO_PROXY };
}

function registryConfig(since: (version: string) => boolean): Readonly<Record<string, unknown>> {
  return {
    ...(!since('1.49') && {
      AllowNondistributableArtifactsCIDRs: null,
      AllowNondistributableArtifactsHostnames: null,
    }),
    IndexConfigs: { 'docker.io': { Mirrors: [], Name: 'docker.io', Official: true, Secure: true } },
    InsecureRegistryCIDRs: ['::1/128', '127.0.0.0/8'],
    Mirrors: null,
  };
}

/** A mounted container counts as running, because prune and rm also treat it as in use. */
async function containerCounts(store: Layerstack): Promise<Readonly<Record<string, number>>> {
  const counts = { running: 0, paused: 0, stopped: 0 };
  const containers = await store.containers.list();
  for (const container of containers) {
    if (container.state === 'paused') counts.paused++;
    else if (container.state === 'running' || container.state === 'restarting') counts.running++;
    else if (await store.containers.isMounted(container)) counts.running++;
    else counts.stopped++;
  }
  return {
    Containers: containers.length,
    ContainersRunning: counts.running,
    ContainersPaused: counts.paused,
    ContainersStopped: counts.stopped,
  };
}

function driverStatus({ capabilities: { probe, mountMethod } }: Layerstack): (readonly [string, string])[] {
  return [
    ['Backing Filesystem', FILE_SYSTEMS[probe.fsType] ?? probe.fsType],
    ['Supports d_type', String(probe.dType)],
    ['Using metacopy', String(probe.metacopy)],
    ['Native Overlay Diff', String(!probe.metacopy && !probe.redirectDir)],
    ['userxattr', 'false'],
    ['Mount method', mountMethod],
  ];
}

async function operatingSystem(): Promise<{ OperatingSystem: string; OSVersion: string }> {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '');
  const value = (name: string): string => new RegExp(`^${name}=(["']?)(.*)\\1$`, 'm').exec(text)?.[2] ?? '';
  return { OperatingSystem: value('PRETTY_NAME') || 'Linux', OSVersion: value('VERSION_ID') };
}

/**
 * Returns an id that stays the same for the same store on the same machine. It hides the machine id, which
 * must stay secret.
 */
async function identity(root: string): Promise<string> {
  const machineId = await readFile('/etc/machine-id', 'utf8').catch(() => hostname());
  const hex = createHash('sha256').update(`layerstack\0${machineId.trim()}\0${root}`).digest('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5');
}
