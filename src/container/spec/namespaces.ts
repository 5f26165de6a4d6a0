/**
 * Namespaces of a container and what is set in them: those of its own unless it is to share the host's, sysctls and the host name. A
 * network namespace of its own has nothing in it but `lo`: networking is the caller's affair.
 */
import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { DEFAULT_NETWORK_SYSCTLS } from './defaults.ts';
import type { MappingLog } from './mapping.ts';
import type { HostSettings } from './settings.ts';

/** Of statfs(2). */
const CGROUP2_MAGIC = 0x63677270;

/** Whether the host has cgroups of version 2 alone, where docker gives each container a namespace of them. */
export async function hasUnifiedCgroups(): Promise<boolean> {
  try {
    return (await statfs('/sys/fs/cgroup')).type === CGROUP2_MAGIC;
  } catch {
    return false;
  }
}

/** `linux.namespaces`; `unified`: see {@link hasUnifiedCgroups}. */
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
  for (const [key, type] of shared) log.note(key, 'linux.namespaces', `no ${type}: it is the host's`);
  const own = ['mount', 'network', 'uts', 'pid', 'ipc'].filter(
    (type) => !shared.some(([, other]) => other === type),
  );
  const cgroups = (host.CgroupnsMode || (unified ? 'private' : 'host')) === 'private';
  if (host.CgroupnsMode)
    log.note('CgroupnsMode', 'linux.namespaces', cgroups ? 'cgroup' : "no cgroup: it is the host's");
  return [...own, ...(cgroups ? ['cgroup'] : [])].map((type) => ({ type }));
}

/** `linux.sysctl`: docker's own of a network namespace, the domain name, and what is given. */
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

/** Whether the kernel has it: a runtime fails on one that it lacks. */
function isKnown(sysctl: string): boolean {
  return existsSync(`/proc/sys/${sysctl.replaceAll('.', '/')}`);
}
