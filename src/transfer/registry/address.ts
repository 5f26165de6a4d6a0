/**
 * Where a repository is: the registry's host as people write it (`docker.io`, `localhost:5000`), the host that speaks
 * its API, and the repository's path there. Mirrors moby/moby: registry/config.go for Docker Hub's three names.
 */
import { canonicalName } from '../../core/reference.ts';

/** A registry, by the names it has. */
export interface RegistryAddress {
  /** As references have it: `docker.io`, `localhost:5000`. */
  readonly host: string;
  /** `HOST[:PORT]` of the API. */
  readonly apiHost: string;
  /** As credentials are filed under: docker's `https://index.docker.io/v1/`, else the host. */
  readonly credentialsKey: string;
}

const HUB: RegistryAddress = {
  host: 'docker.io',
  apiHost: 'registry-1.docker.io',
  credentialsKey: 'https://index.docker.io/v1/',
};

/** The registry of this host. */
export function registryAddress(host: string): RegistryAddress {
  return host === HUB.host ? HUB : { host, apiHost: host, credentialsKey: host };
}

/** The registry of a repository (in familiar form) and the repository's path in it. */
export function locateRepository(repository: string): {
  readonly registry: RegistryAddress;
  readonly path: string;
} {
  const canonical = canonicalName(repository);
  const slash = canonical.indexOf('/');
  return { registry: registryAddress(canonical.slice(0, slash)), path: canonical.slice(slash + 1) };
}

/** Whether a host (`HOST[:PORT]`) is this machine, by its name alone: docker talks to such registries without TLS too. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/:\d+$/, '').toLowerCase();
  return name === 'localhost' || name === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(name);
}
