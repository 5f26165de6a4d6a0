/**
 * Classifies IP addresses by network, as far as it matters where a registry may send us: on this machine, on
 * this link, in a private network, or public. IPv6 contains IPv4 addresses in several forms; each is
 * classified as the IPv4 address.
 * Mirrors IANA's registries of special-purpose addresses (RFC 6890), with RFC 4291 (mapped, compatible), 2765
 * (translated), 6052 (NAT64) and 3056 (6to4) for those forms.
 */
import { BlockList, isIP } from 'node:net';

/** `reserved`: for documentation, benchmarks and multicast, or unassigned. */
export type Network = 'loopback' | 'link-local' | 'private' | 'reserved' | 'public';

/** A connection to the unspecified address reaches this machine. */
const IPV4: Readonly<Record<Exclude<Network, 'public'>, readonly string[]>> = {
  loopback: ['127.0.0.0/8', '0.0.0.0/8'],
  'link-local': ['169.254.0.0/16'],
  // 100.64.0.0/10 is behind a carrier's NAT, or a VPN's.
  private: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10'],
  reserved: [
    ...[
      '192.0.0.0/24',
      '192.0.2.0/24',
      '192.88.99.0/24',
      '198.18.0.0/15',
      '198.51.100.0/24',
      '203.0.113.0/24',
    ],
    ...['224.0.0.0/4', '240.0.0.0/4'],
  ],
};

const IPV6: Readonly<Record<Exclude<Network, 'public'>, readonly string[]>> = {
  loopback: ['::1/128', '::/128'],
  'link-local': ['fe80::/10'],
  // 64:ff9b:1::/48 is NAT64 for local use in a network.
  private: ['fc00::/7', 'fec0::/10', '64:ff9b:1::/48'],
  // These include Teredo (2001::/32), whose destination cannot be seen.
  reserved: ['2001::/23', '2001:db8::/32', '3fff::/20'],
};

/**
 * Ranges that may be public: global unicast, and the forms of IPv4 that a host may see in place of an IPv4
 * address.
 */
const GLOBAL = ['2000::/3', '::ffff:0:0/96', '64:ff9b::/96'];

const lists = Object.fromEntries(
  (['loopback', 'link-local', 'private', 'reserved'] as const).map((network) => [
    network,
    listOf([...IPV4[network], ...IPV4[network].flatMap(inIPv6), ...IPV6[network]]),
  ]),
) as Record<Exclude<Network, 'public'>, BlockList>;
const global = listOf(GLOBAL);

/** Returns the network of an IP address; `reserved` for a text that is not an address. */
export function networkOf(address: string): Network {
  const bare = address.replace(/%.*$/s, '');
  const family = isIP(bare);
  if (family === 0) return 'reserved';
  const type = family === 4 ? 'ipv4' : 'ipv6';
  for (const network of ['loopback', 'link-local', 'private', 'reserved'] as const)
    if (lists[network].check(bare, type)) return network;
  return family === 4 || global.check(bare, type) ? 'public' : 'reserved';
}

/**
 * Returns the network of a URL's host where the name alone gives it: an address, or a name of this machine
 * (RFC 6761).
 */
export function namedNetwork(hostname: string): Network | undefined {
  const name = hostname.toLowerCase().replace(/^\[|\]$|\.$/g, '');
  if (isIP(name) > 0) return networkOf(name);
  return name === 'localhost' || name.endsWith('.localhost') ? 'loopback' : undefined;
}

/** Returns a range of IPv4 in its IPv6 forms: mapped, compatible, translated, NAT64 and 6to4. */
function inIPv6(range: string): string[] {
  const [address = '', prefix = ''] = range.split('/');
  const [a = 0, b = 0, c = 0, d = 0] = address.split('.').map(Number);
  const word = (high: number, low: number): string => (high * 256 + low).toString(16);
  const forms = ['::ffff:', '::', '::ffff:0:', '64:ff9b::', '64:ff9b:1::'].map(
    (form) => `${form}${address}/${96 + Number(prefix)}`,
  );
  return [...forms, `2002:${word(a, b)}:${word(c, d)}::/${16 + Number(prefix)}`];
}

function listOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = '', prefix] = range.split('/');
    list.addSubnet(address, Number(prefix), isIP(address) === 4 ? 'ipv4' : 'ipv6');
  }
  return list;
}
