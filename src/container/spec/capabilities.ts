/**
 * Derives the capabilities of a container's process by docker's rules: the default ones, minus the dropped
 * ones, plus the added ones. If `ALL` is added, it has all except the dropped ones. If `ALL` is dropped, it
 * has only the added ones. A privileged container has all. Mirrors `moby/moby: oci/caps/utils.go`
 * (TweakCapabilities).
 */
import { readFile } from 'node:fs/promises';
import { DEFAULT_CAPABILITIES } from './defaults.ts';
import type { MappingLog } from './mapping.ts';
import type { HostSettings } from './settings.ts';

/** The capabilities in the kernel's order: the index is the number. */
const NAMES = (
  'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE ' +
  'NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN ' +
  'SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE ' +
  'MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE'
)
  .split(' ')
  .map((name) => `CAP_${name}`);

const KNOWN = new Set(NAMES);

/** Returns the name with `CAP_`, in capitals. */
export function fullCapability(name: string): string {
  const upper = name.toUpperCase();
  return upper === 'ALL' || upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
}

export function isCapability(name: string): boolean {
  const full = fullCapability(name);
  return full === 'ALL' || KNOWN.has(full);
}

/**
 * Returns the capabilities that `ALL` stands for: those of this process. A runtime that must grant others
 * fails.
 */
export async function ownCapabilities(): Promise<readonly string[]> {
  const status = await readFile('/proc/self/status', 'utf8');
  const bits = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return NAMES.filter((_, number) => (bits >> BigInt(number)) & 1n);
}

/** Returns the capabilities of a container; for `all`, see {@link ownCapabilities}. */
export function capabilitiesOf(
  { CapAdd, CapDrop, Privileged }: HostSettings,
  all: readonly string[],
  log: MappingLog,
): readonly string[] {
  const [added, dropped] = [CapAdd ?? [], CapDrop ?? []].map((names) => names.map(fullCapability));
  const capabilities =
    Privileged === true
      ? [...all]
      : tweaked(new Set(added), new Set(dropped), [...DEFAULT_CAPABILITIES], all);
  const given = { Privileged: Privileged === true, CapAdd: added?.length, CapDrop: dropped?.length };
  for (const [key, isGiven] of Object.entries(given))
    if (isGiven) log.note(key, 'process.capabilities', capabilities);
  return capabilities;
}

function tweaked(
  added: ReadonlySet<string>,
  dropped: ReadonlySet<string>,
  defaults: readonly string[],
  all: readonly string[],
): readonly string[] {
  if (added.has('ALL')) return all.filter((name) => !dropped.has(name));
  if (dropped.has('ALL')) return [...added];
  return [...new Set([...defaults.filter((name) => !dropped.has(name)), ...added])];
}

/**
 * Returns the capability sets of a process. A user other than root starts with none, as after execve. None is
 * inheritable or ambient (CVE-2022-24769).
 */
export function capabilitySets(
  capabilities: readonly string[],
  uid: number,
): Readonly<Record<string, readonly string[]>> {
  return uid === 0
    ? { bounding: capabilities, effective: capabilities, permitted: capabilities }
    : { bounding: capabilities };
}
