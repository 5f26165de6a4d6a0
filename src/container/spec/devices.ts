/**
 * Derives the devices of a container: `linux.devices`, which the runtime makes in the container's /dev, and
 * the rules of `linux.resources.devices`, which allow their use. Mirrors `moby/moby: oci/devices_linux.go`
 * and `opencontainers/runc: libcontainer/devices`.
 */
import { constants, type Stats } from 'node:fs';
import { lstat, readdir, realpath, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { LayerstackError, unlessMissing } from '../../core/errors.ts';
import { DEFAULT_DEVICE_RULES } from './defaults.ts';
import type { MappingLog } from './mapping.ts';
import type { DeviceMapping, HostSettings } from './settings.ts';

export interface Device {
  readonly path: string;
  readonly type: 'b' | 'c';
  readonly major: number;
  readonly minor: number;
  readonly fileMode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface DeviceRule {
  readonly allow: boolean;
  readonly type?: string;
  readonly major?: number;
  readonly minor?: number;
  readonly access: string;
}

export interface ContainerDevices {
  readonly devices: readonly Device[];
  readonly rules: readonly DeviceRule[];
}

/** Directories of /dev that a container does not take from the host. */
const OWN = new Set(['pts', 'shm', 'fd', 'mqueue', '.lxc', '.lxd-mounts', '.udev']);
/** The limits for a directory of devices: its depth, and the number of its devices. */
const MAX_DEPTH = 16;
const MAX_DEVICES = 16_384;
const RULE = /^([acb]) (\d+|\*):(\d+|\*) ([rwm]{1,3})$/;
const ANY = -1;

/**
 * Looks up the devices that a host config names.
 * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND, ERR_PATH_TYPE for a path that is not a device,
 *   ERR_LIMIT_EXCEEDED.
 */
export async function devicesOf(host: HostSettings, log: MappingLog): Promise<ContainerDevices> {
  const isPrivileged = host.Privileged === true;
  const all = isPrivileged ? await devicesBelow('/dev', 0, true) : [];
  if (isPrivileged) {
    log.note('Privileged', 'linux.devices', `${all.length} devices of the host`);
    log.note('Privileged', 'linux.resources.devices', 'all');
  }
  const mapped = await Promise.all((host.Devices ?? []).map(mappedDevices));
  for (const { devices } of mapped)
    for (const { path, type, major, minor } of devices)
      log.note('Devices', 'linux.devices', `${path} (${type} ${major}:${minor})`);
  const rules = (host.DeviceCgroupRules ?? []).map(parseDeviceRule);
  for (const rule of rules) log.note('DeviceCgroupRules', 'linux.resources.devices', rule);
  return {
    devices: [...all, ...mapped.flatMap(({ devices }) => devices)],
    rules: isPrivileged
      ? [{ allow: true, access: 'rwm' }]
      : [...DEFAULT_DEVICE_RULES, ...mapped.flatMap((each) => each.rules), ...rules],
  };
}

/**
 * Parses a rule of docker's `--device-cgroup-rule`: `c 10:* rwm`.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT
 */
export function parseDeviceRule(text: string): DeviceRule {
  const [, type = '', major = '', minor = '', access = ''] = RULE.exec(text) ?? [];
  if (type === '')
    throw new LayerstackError('ERR_INVALID_ARGUMENT', `invalid device cgroup rule format: '${text}'`);
  const number = (digits: string): number => (digits === '*' ? ANY : Number(digits));
  return { allow: true, type, major: number(major), minor: number(minor), access };
}

/** Returns the major and minor number of a block device. */
export async function blockDevice(path: string): Promise<{ major: number; minor: number }> {
  const found = await existing(path, stat(path));
  if (!found.isBlockDevice())
    throw new LayerstackError(
      'ERR_PATH_TYPE',
      `${path} is not a block device, so its use cannot be limited`,
      {
        path,
      },
    );
  return numbersOf(found);
}

/** Returns one device, or all devices of a directory. Follows a link to either. */
async function mappedDevices(mapping: DeviceMapping): Promise<ContainerDevices> {
  const { PathOnHost: path = '' } = mapping;
  const inContainer = mapping.PathInContainer || path;
  const access = mapping.CgroupPermissions || 'rwm';
  const real = await existing(path, realpath(path));
  const found = await existing(path, lstat(real));
  const device = deviceOf(inContainer, found);
  const devices = device
    ? [device]
    : found.isDirectory()
      ? (await devicesBelow(real, 0)).map((each) => ({
          ...each,
          path: join(inContainer, relative(real, each.path)),
        }))
      : [];
  if (devices.length === 0)
    throw new LayerstackError(
      'ERR_PATH_TYPE',
      `${path} is neither a device nor a directory that contains devices`,
      {
        path,
      },
    );
  const rules = devices.map(({ type, major, minor }) => ({ allow: true, type, major, minor, access }));
  return { devices, rules };
}

/**
 * Returns the devices below a directory, sorted by name. Skips those that vanish meanwhile.
 * @param whole - the directory is in the host's /dev, all of which is taken
 */
async function devicesBelow(directory: string, depth: number, whole = false): Promise<Device[]> {
  const devices: Device[] = [];
  const names = depth > MAX_DEPTH ? [] : ((await unlessMissing(readdir(directory))) ?? []);
  for (const name of names.sort()) {
    const path = join(directory, name);
    const found = await unlessMissing(lstat(path));
    if (found?.isDirectory() && !(whole && OWN.has(name)))
      devices.push(...(await devicesBelow(path, depth + 1, whole)));
    const device = found && deviceOf(path, found);
    if (device && !(whole && name === 'console')) devices.push(device);
    if (devices.length > MAX_DEVICES)
      throw new LayerstackError('ERR_LIMIT_EXCEEDED', `${directory} has more than ${MAX_DEVICES} devices`, {
        ...{ path: directory, limit: MAX_DEVICES },
      });
  }
  return devices;
}

function deviceOf(path: string, found: Stats): Device | undefined {
  if (!found.isBlockDevice() && !found.isCharacterDevice()) return undefined;
  const { uid, gid, mode } = found;
  const type = found.isBlockDevice() ? 'b' : 'c';
  return { path, type, ...numbersOf(found), fileMode: mode & ~constants.S_IFMT, uid, gid };
}

/**
 * Does what glibc's gnu_dev_major and gnu_dev_minor do. Each has 32 bits, and these are in two places of
 * `rdev`.
 */
function numbersOf({ rdev }: Stats): { major: number; minor: number } {
  const bits = BigInt(rdev);
  return {
    major: Number(((bits >> 8n) & 0xfffn) | ((bits >> 32n) & 0xfffff000n)),
    minor: Number((bits & 0xffn) | ((bits >> 12n) & 0xffffff00n)),
  };
}

async function existing<T>(path: string, looked: Promise<T>): Promise<T> {
  const found = await unlessMissing(looked);
  if (found === undefined)
    throw new LayerstackError('ERR_PATH_NOT_FOUND', `the device ${path} for the container does not exist`, {
      path,
    });
  return found;
}
