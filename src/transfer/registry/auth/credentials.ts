/**
 * Credentials for registries, and their sources: docker's config.json (docker-config.ts), the X-Registry-Auth
 * header of a request to the service (registry-auth.ts), or fixed ones. Registries are identified by docker's
 * key: `HOST[:PORT]`, and for Docker Hub the URL of its first version, which no longer exists.
 */
import { registryAddress } from '../address.ts';

/** A name with its password, or one of the tokens. */
export interface Credentials {
  readonly username?: string;
  readonly password?: string;
  /** A refresh token of the registry's token server, which `login` stores in place of the password. */
  readonly identityToken?: string;
  /** A bearer token for the registry itself, sent unchanged. */
  readonly registryToken?: string;
}

export interface CredentialSource {
  /**
   * Returns the credentials for a registry, by docker's key ({@link credentialsKey}); undefined where there
   * are none.
   * @throws {@link LayerstackError} ERR_CREDENTIALS_INVALID where a possible source of credentials cannot be
   *   read; ERR_ABORTED.
   */
  get(host: string, signal?: AbortSignal): Promise<Credentials | undefined>;
}

/** Other hosts of Docker Hub: the old index and the registry's endpoint. */
const DOCKER_HUB_HOSTS = new Set(['index.docker.io', 'registry-1.docker.io']);

/**
 * Returns docker's key for a registry host: `localhost:5000` for itself, `https://index.docker.io/v1/` for
 * `docker.io`.
 */
export function credentialsKey(registry: string): string {
  return registryAddress(DOCKER_HUB_HOSTS.has(registry) ? 'docker.io' : registry).credentialsKey;
}

/**
 * Returns a source that always gives these credentials, but only for one registry: a mirror must not see
 * them.
 */
export function fixedCredentials(registry: string, credentials: Credentials): CredentialSource {
  const own = credentialsKey(registry);
  return { get: (host) => Promise.resolve(host === own ? credentials : undefined) };
}

/** Returns `user:password` in base64, as RFC 7617 defines it. */
export function basicAuth({ username = '', password = '' }: Credentials): string {
  return Buffer.from(`${username}:${password}`).toString('base64');
}
