/**
 * Logging in to registries and out of them. Needs the operator's settings of the store's root (CAs, insecure hosts), but no
 * opened store: everybody has a login of his own.
 */
import { defaultLogger, type Logger } from '../system/log.ts';
import { credentialsKey, type Credentials } from '../transfer/registry/auth/credentials.ts';
import { DockerConfig } from '../transfer/registry/auth/docker-config.ts';
import { checkLogin, keepLogin, parseRegistry } from '../transfer/registry/auth/login.ts';
import { storeSettings } from './store-settings.ts';

/** Where logins are kept. */
export interface LogoutOptions {
  /** Default: docker's config.json of this user and what it names. */
  readonly config?: DockerConfig | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface LoginOptions extends LogoutOptions {
  /** False: only tries the credentials, as docker's daemon does for its client. Default true. */
  readonly keep?: boolean | undefined;
  /** As of an opened store. */
  readonly allowUnsafeRoot?: boolean | undefined;
  readonly log?: Logger | undefined;
}

export interface LoginResult {
  /** `Login Succeeded`. */
  readonly Status: string;
  /** What the registry gives to be kept in place of the password; empty where it gives nothing. */
  readonly IdentityToken: string;
  /** The file that now holds a password unencrypted. */
  readonly unencrypted?: string | undefined;
}

/** @see Layerstack.login */
export async function login(
  root: string,
  registry: string,
  credentials: Credentials,
  {
    config = new DockerConfig(),
    keep = true,
    allowUnsafeRoot = false,
    log = defaultLogger,
    signal,
  }: LoginOptions = {},
): Promise<LoginResult> {
  const host = parseRegistry(registry);
  const settings = await storeSettings(root, allowUnsafeRoot);
  const status = await checkLogin(host, credentials, { settings, log }, signal);
  if (!keep) return status;
  const { helper, path } = await keepLogin(host, credentials, status, config, signal);
  const plain = helper === undefined && status.IdentityToken === '' && credentials.password !== undefined;
  return { ...status, ...(plain && { unencrypted: path }) };
}

/** @see Layerstack.logout */
export function logout(
  registry: string,
  { config = new DockerConfig(), signal }: LogoutOptions = {},
): Promise<boolean> {
  return config.erase(credentialsKey(parseRegistry(registry)), signal);
}
