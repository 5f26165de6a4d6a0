/**
 * Locates a repository: the registry's host as people write it (`docker.io`, `localhost:5000`), the host of
 * its API, and the repository's path there.
 * Mirrors moby/moby: registry/config.go for Docker Hub's three names.
 */
import { canonicalName } from '../../core/reference.ts';

/** The names of a registry. */
export interface RegistryAddress {
  /** The host in references: `docker.io`, `localhost:5000`. */
  readonly host: string;
  /** `HOST[:PORT]` of the API. */
  readonly apiHost: string;
  /** The key of its credentials: docker's `https://index.docker.io/v1/`, else the host. */
  readonly credentialsKey: string;
}

const HUB: RegistryAddress = {
  host: 'docker.io',
  apiHost: 'registry-1.docker.io',
  credentialsKey: 'https://index.docker.io/v1/',
};

/** Returns the registry of this host. */
export function registryAddress(host: string): RegistryAddress {
  return host === HUB.host ? HUB : { host, apiHost: host, credentialsKey: host };
}

/** Returns the registry of a repository (in familiar form) and the repository's path in it. */
export function locateRepository(repository: string): {
  readonly registry: RegistryAddress;
  readonly path: string;
} {
  const canonical = canonicalName(repository);
  const slash = canonical.indexOf('/');
  return { registry: registryAddress(canonical.slice(0, slash)), path: canonical.slice(slash + 1) };
}

/**
 * Returns whether a host (`HOST[:PORT]`) is this machine, judged by its name alone. Docker talks to such
 * registries without TLS too.
 */
export function isLoopback(host: string): boolean {
  const name = host.replace(/:\d+$/, '').toLowerCase();
  return name === 'localhost' || name === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(name);
}
