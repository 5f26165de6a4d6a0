/**
 * Chooses the proxy for a URL by the environment: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, upper or lower case,
 * as Go programs (docker, podman, skopeo) read them. This machine's own addresses never go through a proxy.
 */
import { BlockList, isIP } from 'node:net';
import { LayerstackError } from '../../core/errors.ts';
import { isLoopback } from './address.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Returns the proxy's URL, with its user and password; undefined: connect directly.
 * @throws {@link LayerstackError} ERR_REGISTRY_SETTINGS where the variable's value is not a URL of an HTTP
 *   proxy.
 */
export function proxyFor(url: URL, env: Environment): URL | undefined {
  const secure = url.protocol === 'https:';
  // A CGI server turns a request's `Proxy` header into HTTP_PROXY (CVE-2016-5385).
  const cgi = env['REQUEST_METHOD'] !== undefined;
  const names = secure ? ['HTTPS_PROXY', 'https_proxy'] : [...(cgi ? [] : ['HTTP_PROXY']), 'http_proxy'];
  const name = names.find((each) => (env[each] ?? '') !== '');
  if (name === undefined || isLoopback(url.host)) return undefined;
  if (isExcepted(url, env['NO_PROXY'] || env['no_proxy'] || '')) return undefined;
  return proxyUrl(name, env[name] ?? '');
}

function proxyUrl(name: string, value: string): URL {
  const text = value.includes('://') ? value : `http://${value}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && ['http:', 'https:'].includes(url.protocol) && url.hostname !== '' && isDecodable(url))
    return url;
  // The value may contain a password.
  throw new LayerstackError(
    'ERR_REGISTRY_SETTINGS',
    `the environment variable ${name} is not the URL of an HTTP proxy: write http://HOST:PORT`,
  );
}

/** Returns whether user and password are percent-encoded correctly; URL accepts a lone "%". */
function isDecodable({ username, password }: URL): boolean {
  try {
    decodeURIComponent(username + password);
    return true;
  } catch {
    return false;
  }
}

/**
 * Returns whether NO_PROXY names the URL's host: `*`, an address, a CIDR range, or a domain with all
 * subdomains (with a leading "." only the subdomains).
 */
function isExcepted(url: URL, list: string): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return list
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .filter((entry) => entry !== '')
    .some((entry) => fits(entry, host, port));
}

function fits(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true;
  const slash = entry.indexOf('/');
  if (slash >= 0) return inRange(host, entry.slice(0, slash), Number(entry.slice(slash + 1)));
  const [, bare = entry, wantedPort] = /^(\[[^\]]*\]|[^:]*):(\d+)$/.exec(entry) ?? [];
  if (wantedPort !== undefined && wantedPort !== port) return false;
  const name = bare.replace(/^\[|\]$/g, '').replace(/^\*(?=\.)/, '');
  if (isIP(name) > 0) return name === host;
  return name.startsWith('.') ? host.endsWith(name) : host === name || host.endsWith(`.${name}`);
}

function inRange(host: string, network: string, prefix: number): boolean {
  const family = isIP(network);
  if (family === 0 || isIP(host) !== family || !Number.isInteger(prefix)) return false;
  if (prefix < 0 || prefix > (family === 4 ? 32 : 128)) return false;
  const type = family === 4 ? 'ipv4' : 'ipv6';
  const ranges = new BlockList();
  ranges.addSubnet(network, prefix, type);
  return ranges.check(host, type);
}
