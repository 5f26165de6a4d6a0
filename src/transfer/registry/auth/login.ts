/**
 * Logs in: credentials are tried at the registry's `/v2/`, as docker's daemon does for POST /auth. They are
 * then stored in docker's config.json or with its helper, as docker's client does. Where the registry's token
 * server gives refresh tokens, such an identity token is stored in place of the password.
 */
import { LayerstackError } from '../../../core/errors.ts';
import { registryAddress } from '../address.ts';
import type { RegistryAccess } from '../client.ts';
import { openOrigin } from '../open-endpoint.ts';
import { DEFAULT_RETRY } from '../retry.ts';
import { discard } from '../transport.ts';
import { credentialsKey, fixedCredentials, type Credentials } from './credentials.ts';
import type { DockerConfig, StoredCredentials } from './docker-config.ts';

/** The answer of docker's POST /auth. */
export interface LoginStatus {
  readonly Status: string;
  /** Empty where the registry gives none. */
  readonly IdentityToken: string;
}

const SUCCEEDED = 'Login Succeeded';
const HOST = /^(?:\[[0-9a-f:]+\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::\d{1,5})?$/;
const DOCKER_HUB = 'docker.io';

/**
 * Parses the name of a registry in any of docker's spellings: `localhost:5000`, with a scheme, or with the
 * path of an API version. Returns it as references write it; Docker Hub for an empty text.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT.
 */
export function parseRegistry(text = ''): string {
  const host = text
    .replace(/^https?:\/\//i, '')
    .replace(/\/(?:v[12]\/?)?$/, '')
    .toLowerCase();
  if (host === '') return DOCKER_HUB;
  if (!HOST.test(host) || host.length > 255)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${JSON.stringify(text.slice(0, 300))} is not a registry: give HOST[:PORT], as in localhost:5000`,
    );
  return credentialsKey(host) === credentialsKey(DOCKER_HUB) ? DOCKER_HUB : host;
}

/**
 * Tries credentials at a registry, and stores nothing.
 * @param registry - as {@link parseRegistry} returns it
 * @throws {@link LayerstackError} ERR_REGISTRY_DENIED when they are refused; ERR_REGISTRY_UNAVAILABLE and
 *   similar errors.
 */
export async function checkLogin(
  registry: string,
  credentials: Credentials,
  access: Omit<RegistryAccess, 'credentials'>,
  signal?: AbortSignal,
): Promise<LoginStatus> {
  const { settings, log, timeouts, env = process.env } = access;
  await using origin = openOrigin(registryAddress(registry), {
    settings,
    timeouts,
    env,
    credentials: fixedCredentials(registry, credentials),
    retry: { ...DEFAULT_RETRY, ...access.retry },
    log,
    offline: true,
  });
  const subject = { what: `login at ${registry}`, registry };
  const response = await origin.send('', { method: 'GET', scopes: [], accept: [200], subject, signal });
  discard(response.body);
  return { Status: SUCCEEDED, IdentityToken: origin.refreshToken ?? '' };
}

export interface KeepOptions {
  readonly config: DockerConfig;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Stores credentials that {@link checkLogin} has accepted, durably. An identity token replaces the password.
 * @throws {@link LayerstackError} ERR_CREDENTIALS_INVALID.
 */
export function keepLogin(
  registry: string,
  credentials: Credentials,
  { IdentityToken }: LoginStatus,
  { config, signal }: KeepOptions,
): Promise<StoredCredentials> {
  const { username } = credentials;
  const kept =
    IdentityToken === ''
      ? credentials
      : { ...(username !== undefined && { username }), identityToken: IdentityToken };
  return config.store(credentialsKey(registry), kept, signal);
}
