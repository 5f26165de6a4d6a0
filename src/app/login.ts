/**
 * Logs in to registries and out of them. A login belongs to the user: the store only has the settings of
 * registries.
 */
import type { Logger } from '../system/log.ts';
import { credentialsKey, type Credentials } from '../transfer/registry/auth/credentials.ts';
import { DockerConfig } from '../transfer/registry/auth/docker-config.ts';
import { checkLogin, keepLogin, parseRegistry } from '../transfer/registry/auth/login.ts';
import { storeSettings } from './store-settings.ts';

/** Where logins are kept. */
export interface LogoutOptions {
  /** Default: docker's config.json of this user, and the helper that it names. */
  readonly config?: DockerConfig | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface LoginOptions extends LogoutOptions {
  /** False: only tries the credentials, as docker's daemon does for its client. Default true. */
  readonly keep?: boolean | undefined;
}

export interface LoginResult {
  /** `Login Succeeded`. */
  readonly Status: string;
  /** The token that the registry sent in place of the password; empty where it sent none. */
  readonly IdentityToken: string;
  /** The file that now holds the password unencrypted; undefined if none does. */
  readonly unencrypted?: string | undefined;
}

/** The store that has the settings of registries. It need not be open, or exist. */
export interface LoginStore {
  readonly root: string;
  readonly allowUnsafeRoot: boolean;
  readonly log: Logger;
}

/** @see Registry.login */
export async function login(
  { root, allowUnsafeRoot, log }: LoginStore,
  registry: string,
  credentials: Credentials,
  { config = new DockerConfig(), keep = true, signal }: LoginOptions,
): Promise<LoginResult> {
  const host = parseRegistry(registry);
  const settings = await storeSettings(root, allowUnsafeRoot);
  const status = await checkLogin(host, credentials, { settings, log }, signal);
  if (!keep) return status;
  const { helper, path } = await keepLogin(host, credentials, status, { config, signal });
  const plain = helper === undefined && status.IdentityToken === '' && credentials.password !== undefined;
  return { ...status, ...(plain && { unencrypted: path }) };
}

/** @see Registry.logout */
export function logout(
  registry: string,
  { config = new DockerConfig(), signal }: LogoutOptions,
): Promise<boolean> {
  return config.erase(credentialsKey(parseRegistry(registry)), signal);
}
