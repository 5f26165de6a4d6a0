/**
 * Makes a container's /etc/hostname, /etc/hosts and /etc/resolv.conf: files beside its `config.json`, bound
 * over those of the image. A container in the host's network has the host's /etc/hosts, unless its host
 * config adds hosts. Its resolv.conf is the host's, with the settings of its host config. Mirrors `moby/moby:
 * libnetwork/sandbox_dns_unix.go`.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { unlessMissing } from '../../core/errors.ts';
import type { MappingLog } from './mapping.ts';
import type { RuntimeMount } from './mounts.ts';
import type { HostSettings } from './settings.ts';

export interface NameFile {
  /** Its name beside `config.json`. */
  readonly name: string;
  readonly text: string;
  readonly mount: RuntimeMount;
}

const LOCAL_HOSTS = [
  ['127.0.0.1', 'localhost'],
  ['::1', 'localhost ip6-localhost ip6-loopback'],
  ['fe00::0', 'ip6-localnet'],
  ['ff00::0', 'ip6-mcastprefix'],
  ['ff02::1', 'ip6-allnodes'],
  ['ff02::2', 'ip6-allrouters'],
] as const;

export interface NameFilesOptions {
  readonly hostname: string;
  /** The directory of the bundle. */
  readonly directory: string;
  /** The paths of the container that other mounts cover. */
  readonly taken: ReadonlySet<string>;
}

/** Returns the files, except those that another mount covers. */
export async function nameFiles(
  host: HostSettings,
  { hostname, directory, taken }: NameFilesOptions,
  log: MappingLog,
): Promise<readonly NameFile[]> {
  const options = ['rbind', ...(host.ReadonlyRootfs === true ? ['ro'] : []), 'rprivate'];
  const texts = {
    hostname: `${hostname}\n`,
    hosts: await hosts(host),
    'resolv.conf': resolvConf(host, await hostText('/etc/resolv.conf')),
  };
  const keys = ['ExtraHosts', 'Dns', 'DnsSearch', 'DnsOptions'] as const;
  for (const key of keys) {
    const file = key === 'ExtraHosts' ? '/etc/hosts' : '/etc/resolv.conf';
    if (host[key]?.length)
      log.note(key, taken.has(file) ? `nothing: another mount covers ${file}` : `mounts[${file}]`, host[key]);
  }
  return Object.entries(texts)
    .map(([name, text]) => ({
      ...{ name, text },
      mount: { destination: `/etc/${name}`, type: 'bind', source: join(directory, name), options },
    }))
    .filter(({ mount }) => !taken.has(mount.destination));
}

async function hosts({ ExtraHosts, NetworkMode }: HostSettings): Promise<string> {
  if (NetworkMode === 'host' && !ExtraHosts?.length) return hostText('/etc/hosts');
  const extra = (ExtraHosts ?? [])
    .map((text) => [text.slice(text.indexOf(':') + 1).trim(), text.slice(0, text.indexOf(':'))] as const)
    // layerstack has no bridge, so `host-gateway` has no address.
    .filter(([address]) => address !== 'host-gateway');
  return [...LOCAL_HOSTS, ...extra].map(([address, name]) => `${address}\t${name}\n`).join('');
}

function resolvConf({ Dns, DnsSearch, DnsOptions }: HostSettings, text: string): string {
  if (!Dns?.length && !DnsSearch?.length && !DnsOptions?.length) return text;
  const lines = text.split('\n').map((line) => line.trim().split(/\s+/));
  const valuesOf = (...keywords: string[]): string[] =>
    lines.filter(([keyword = '']) => keywords.includes(keyword)).flatMap(([, ...values]) => values);
  const given = (values: readonly string[] | null | undefined, ...keywords: string[]): readonly string[] =>
    values?.length ? values : valuesOf(...keywords);
  const search = given(DnsSearch, 'search', 'domain');
  const options = given(DnsOptions, 'options');
  // In docker, a single dot stands for an empty search list.
  const isSearched = search.length > 0 && !(search.length === 1 && search[0] === '.');
  return [
    ...(isSearched ? [`search ${search.join(' ')}`] : []),
    ...given(Dns, 'nameserver').map((server) => `nameserver ${server}`),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
  ]
    .map((line) => `${line}\n`)
    .join('');
}

/** Reads a file of the host; empty when it is missing. */
async function hostText(path: string): Promise<string> {
  return (await unlessMissing(readFile(path, 'utf8'))) ?? '';
}
