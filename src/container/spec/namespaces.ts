/**
 * Derives the namespaces of a container, and their settings: sysctls and the domain name. The container has
 * its own namespaces, except those that it shares with the host. Its own network namespace has only `lo`: the
 * caller sets up networking.
 */
import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { DEFAULT_NETWORK_SYSCTLS } from './defaults.ts';
import type { MappingLog } from './mapping.ts';
import type { HostSettings } from './settings.ts';

/** The type that statfs(2) returns for cgroups of version 2. */
const CGROUP2_MAGIC = 0x63677270;

/**
 * Returns whether the host has only cgroups of version 2. Then docker gives each container its own cgroup
 * namespace.
 */
export async function hasUnifiedCgroups(): Promise<boolean> {
  try {
    return (await statfs('/sys/fs/cgroup')).type === CGROUP2_MAGIC;
  } catch {
    return false;
  }
}

/** Returns `linux.namespaces`; for `unified`, see {@link hasUnifiedCgroups}. */
export function namespacesOf(
  host: HostSettings,
  unified: boolean,
  log: MappingLog,
): readonly { readonly type: string }[] {
  const shared = (
    [
      ['NetworkMode', 'network'],
      ['UTSMode', 'uts'],
      ['PidMode', 'pid'],
      ['IpcMode', 'ipc'],
    ] as const
  ).filter(([key]) => host[key] === 'host');
  for (const [key, type] of shared) log.note(key, 'linux.namespaces', `the host's ${type}`);
  const own = ['mount', 'network', 'uts', 'pid', 'ipc'].filter(
    (type) => !shared.some(([, other]) => other === type),
  );
  const cgroups = (host.CgroupnsMode || (unified ? 'private' : 'host')) === 'private';
  if (host.CgroupnsMode)
    log.note('CgroupnsMode', 'linux.namespaces', cgroups ? 'cgroup' : "the host's cgroup");
  return [...own, ...(cgroups ? ['cgroup'] : [])].map((type) => ({ type }));
}

/**
 * Returns `linux.sysctl`: docker's defaults for a network namespace, the domain name, and the requested ones.
 */
export function sysctlsOf(
  { NetworkMode, UTSMode, Sysctls }: HostSettings,
  domainname: string,
  log: MappingLog,
): Readonly<Record<string, string>> {
  const ofNetwork =
    NetworkMode === 'host' ? [] : Object.entries(DEFAULT_NETWORK_SYSCTLS).filter(([name]) => isKnown(name));
  const ofDomain = domainname === '' || UTSMode === 'host' ? {} : { 'kernel.domainname': domainname };
  if ('kernel.domainname' in ofDomain) log.note('Domainname', 'linux.sysctl[kernel.domainname]', domainname);
  for (const [name, value] of Object.entries(Sysctls ?? {}))
    log.note('Sysctls', `linux.sysctl[${name}]`, value);
  return { ...Object.fromEntries(ofNetwork), ...ofDomain, ...Sysctls };
}

/** Returns whether the kernel has the sysctl: a runtime fails on a missing one. */
function isKnown(sysctl: string): boolean {
  return existsSync(`/proc/sys/${sysctl.replaceAll('.', '/')}`);
}
