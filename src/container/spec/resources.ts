/**
 * Derives `linux.resources` (without devices) and `process.rlimits`: limits of memory, processors, processes
 * and block devices. Unset limits are left out. Mirrors `moby/moby: daemon/oci_linux.go,
 * daemon/daemon_unix.go` (getMemoryResources and similar functions).
 */
import type { MappingLog } from './mapping.ts';
import { blockDevice } from './devices.ts';
import type { HostSettings, Throttle, Whole } from './settings.ts';

type Document = Readonly<Record<string, unknown>>;

/** The CFS period for `NanoCpus`, in microseconds. */
const PERIOD = 100_000n;
const NANO = 1_000_000_000n;
const UINT64 = 2n ** 64n;

/** The limits that are copied unchanged, with their places in the runtime configuration. */
const CARRIED = {
  memory: {
    Memory: 'limit',
    MemoryReservation: 'reservation',
    MemorySwap: 'swap',
    KernelMemory: 'kernel',
    KernelMemoryTCP: 'kernelTCP',
  },
  cpu: {
    CpuShares: 'shares',
    CpuQuota: 'quota',
    CpuPeriod: 'period',
    CpuRealtimeRuntime: 'realtimeRuntime',
    CpuRealtimePeriod: 'realtimePeriod',
    CpusetCpus: 'cpus',
    CpusetMems: 'mems',
  },
  pids: { PidsLimit: 'limit' },
  blockIO: { BlkioWeight: 'weight' },
} as const;

const THROTTLES = {
  BlkioDeviceReadBps: 'throttleReadBpsDevice',
  BlkioDeviceWriteBps: 'throttleWriteBpsDevice',
  BlkioDeviceReadIOps: 'throttleReadIOPSDevice',
  BlkioDeviceWriteIOps: 'throttleWriteIOPSDevice',
} as const;

/**
 * Returns the limits of memory, processors, processes and block devices.
 * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND, and ERR_PATH_TYPE for a path that is not a block
 *   device.
 */
export async function resourcesOf(host: HostSettings, log: MappingLog): Promise<Document> {
  const [memory, cpu, pids, blockIO] = (['memory', 'cpu', 'pids', 'blockIO'] as const).map((group) =>
    carried(host, group, log),
  );
  const resources = {
    memory: { ...memory, ...memoryFlags(host, log) },
    cpu: { ...cpu, ...nanoCpus(host, log) },
    pids,
    blockIO: { ...blockIO, ...(await blockDevices(host, log)) },
  };
  return Object.fromEntries(
    Object.entries(resources).filter(([, each]) => Object.keys(each ?? {}).length > 0),
  );
}

/**
 * Returns the limits that are copied. 0, an empty text and (in docker) -1 mean no limit, which is the
 * runtime's default.
 */
function carried(host: HostSettings, group: keyof typeof CARRIED, log: MappingLog): Document {
  const result: Record<string, unknown> = {};
  for (const [key, name] of Object.entries(CARRIED[group])) {
    const value = host[key as keyof HostSettings] as Whole | string | null | undefined;
    const isSet = typeof value === 'string' ? value !== '' : (value ?? 0) > 0;
    if (isSet) {
      result[name] = value;
      log.note(key, `linux.resources.${group}.${name}`, value);
    } else if (typeof value === 'number' && value < 0) log.note(key, 'no limit');
  }
  return result;
}

function memoryFlags({ MemorySwappiness, OomKillDisable }: HostSettings, log: MappingLog): Document {
  const swappiness = MemorySwappiness ?? -1;
  if (swappiness >= 0) log.note('MemorySwappiness', 'linux.resources.memory.swappiness', swappiness);
  if (OomKillDisable === true) log.note('OomKillDisable', 'linux.resources.memory.disableOOMKiller', true);
  return {
    ...(swappiness >= 0 && { swappiness }),
    ...(OomKillDisable === true && { disableOOMKiller: true }),
  };
}

function nanoCpus({ NanoCpus = 0 }: HostSettings, log: MappingLog): Document {
  if (NanoCpus <= 0) return {};
  const [period, quota] = [Number(PERIOD), Number((BigInt(NanoCpus) * PERIOD) / NANO)];
  log.note('NanoCpus', 'linux.resources.cpu.{quota,period}', `${quota}/${period}`);
  return { period, quota };
}

async function blockDevices(host: HostSettings, log: MappingLog): Promise<Document> {
  const result: Record<string, unknown> = {};
  const add = (key: string, name: string, devices: readonly object[]): void => {
    if (devices.length === 0) return;
    result[name] = devices;
    log.note(key, `linux.resources.blockIO.${name}`, devices);
  };
  const weights = (host.BlkioWeightDevice ?? []).filter((each) => each !== null);
  add(
    'BlkioWeightDevice',
    'weightDevice',
    await Promise.all(
      weights.map(async ({ Path = '', Weight = 0 }) => ({ ...(await blockDevice(Path)), weight: Weight })),
    ),
  );
  for (const [key, name] of Object.entries(THROTTLES)) {
    const throttles = (host[key as keyof typeof THROTTLES] ?? []).filter(
      (each): each is Throttle => each !== null,
    );
    add(
      key,
      name,
      await Promise.all(
        throttles.map(async ({ Path = '', Rate = 0 }) => ({ ...(await blockDevice(Path)), rate: Rate })),
      ),
    );
  }
  return result;
}

/**
 * Returns `process.rlimits`. -1 means no limit, for which the runtime configuration has the largest number.
 */
export function rlimitsOf({ Ulimits }: HostSettings, log: MappingLog): readonly Document[] {
  const limit = (value: Whole): Whole => (value < 0 ? UINT64 + BigInt(value) : value);
  const rlimits = (Ulimits ?? [])
    .filter((each) => each !== null)
    .map(({ Name = '', Hard = 0, Soft = 0 }) => ({
      ...{ type: `RLIMIT_${Name.toUpperCase()}`, hard: limit(Hard), soft: limit(Soft) },
    }));
  if (rlimits.length > 0) log.note('Ulimits', 'process.rlimits', rlimits);
  return rlimits;
}

/** docker's names of `Ulimits`. */
export const ULIMITS = new Set(
  'core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack'.split(
    ' ',
  ),
);
