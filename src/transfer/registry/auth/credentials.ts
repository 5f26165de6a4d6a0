/**
 * Who somebody is to a registry, and where that is found out: docker's config.json (docker-config.ts), the
 * X-Registry-Auth header of a request to the service (registry-auth.ts), or fixed ones.
 * Registries go by docker's key: `HOST[:PORT]`, and for Docker Hub the URL of its first, long gone version.
 */
import { registryAddress } from '../address.ts';

/** What proves it: a name with its password, or one of the tokens. */
export interface Credentials {
  readonly username?: string;
  readonly password?: string;
  /** A refresh token of the registry's token server, which `login` got in place of keeping the password. */
  readonly identityToken?: string;
  /** A bearer token for the registry itself, sent as it is. */
  readonly registryToken?: string;
}

export interface CredentialSource {
  /**
   * The credentials for a registry, by docker's key ({@link credentialsKey}); undefined where there are none.
   * @throws {@link LayerstackError} ERR_CREDENTIALS_INVALID where there may be some that cannot be read; ERR_ABORTED.
   */
  get(host: string, signal?: AbortSignal): Promise<Credentials | undefined>;
}

/** Other names of Docker Hub: of the old index, of the registry's endpoint. */
const DOCKER_HUB_HOSTS = new Set(['index.docker.io', 'registry-1.docker.io']);

/** Docker's key for a registry host: `localhost:5000` is its own, `docker.io` has `https://index.docker.io/v1/`. */
export function credentialsKey(registry: string): string {
  return registryAddress(DOCKER_HUB_HOSTS.has(registry) ? 'docker.io' : registry).credentialsKey;
}

/** The same credentials at every time, for one registry only: a mirror of it must not see them. */
export function fixedCredentials(registry: string, credentials: Credentials): CredentialSource {
  const own = credentialsKey(registry);
  return { get: (host) => Promise.resolve(host === own ? credentials : undefined) };
}

/** `user:password` in base64, as RFC 7617 has it. */
export function basicAuth({ username = '', password = '' }: Credentials): string {
  return Buffer.from(`${username}:${password}`).toString('base64');
}
