/**
 * The credentials of this user. They come from docker's config.json (`$DOCKER_CONFIG/config.json` or
 * `~/.docker/config.json`) with the helpers that it names. Where that has none for a registry, they come from
 * podman's files: `$REGISTRY_AUTH_FILE`, or without it `$XDG_RUNTIME_DIR/containers/auth.json`
 * (`/run/containers/UID/auth.json`) and `$XDG_CONFIG_HOME/containers/auth.json` (`~/.config/…`). `login` and
 * `logout` change only docker's file. Each lookup reads the files again, because another program may log in
 * meanwhile.
 */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { LayerstackError } from '../../../core/errors.ts';
import { credentialsIn, helperFor, isSameRegistry, readAuthFile, type AuthFile } from './auth-file.ts';
import { defaultLogger, type Logger } from '../../../system/log.ts';
import { removeAuth, writeAuth } from './auth-file-edit.ts';
import { basicAuth, type Credentials, type CredentialSource } from './credentials.ts';
import { CredentialHelper } from './helper.ts';

/** Where a login is stored. */
export interface StoredCredentials {
  /** Path of config.json. */
  readonly path: string;
  /** The helper that stores it; undefined: the file stores it, unencrypted. */
  readonly helper: string | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

export class DockerConfig implements CredentialSource {
  /** Path of docker's config.json. */
  readonly path: string;
  readonly #others: readonly string[];
  readonly #search: string;
  readonly #log: Logger;

  /**
   * @param env - Default: the process's.
   * @param log - Gets the failures of work after a change that has already happened.
   */
  constructor(env: Environment = process.env, log: Logger = defaultLogger) {
    this.#log = log;
    const home = env['HOME'] || homedir();
    this.path = join(env['DOCKER_CONFIG'] || join(home, '.docker'), 'config.json');
    this.#others = podmanFiles(env, home);
    this.#search = env['PATH'] ?? '';
  }

  async get(key: string, signal?: AbortSignal): Promise<Credentials | undefined> {
    for (const path of [this.path, ...this.#others]) {
      const file = await readAuthFile(path);
      const found = file && (await this.#in(file, key, signal));
      if (found) return found;
    }
    return undefined;
  }

  /**
   * Stores credentials for a registry, durably: with the helper that config.json names for it, else in
   * config.json.
   * @throws {@link LayerstackError} ERR_CREDENTIALS_INVALID, ERR_NO_SPACE, ERR_ABORTED.
   */
  async store(key: string, credentials: Credentials, signal?: AbortSignal): Promise<StoredCredentials> {
    const file = await readAuthFile(this.path);
    const name = file && helperFor(file, key);
    if (name === undefined) {
      await writeAuth(this.path, key, entryOf(credentials), { log: this.#log, signal });
    } else {
      await this.#helper(name, this.path).store(key, credentials, signal);
      // As in docker, an empty entry shows that a login exists.
      await writeAuth(this.path, key, {}, { log: this.#log, signal });
    }
    return { path: this.path, helper: name };
  }

  /**
   * Removes the credentials for a registry, in all its spellings, from config.json and from its helper.
   * Returns false where there were none.
   * @throws {@link LayerstackError} as {@link store}.
   */
  async erase(key: string, signal?: AbortSignal): Promise<boolean> {
    const file = await readAuthFile(this.path);
    if (!file) return false;
    const name = helperFor(file, key);
    const erased = name !== undefined && (await eraseFrom(this.#helper(name, this.path), key, signal));
    const removed = await removeAuth(this.path, key, { log: this.#log, signal });
    return erased || removed;
  }

  async #in(file: AuthFile, key: string, signal?: AbortSignal): Promise<Credentials | undefined> {
    const name = helperFor(file, key);
    const kept = name === undefined ? undefined : await this.#helper(name, file.path).get(key, signal);
    return kept ?? credentialsIn(file, key);
  }

  #helper(name: string, file: string): CredentialHelper {
    return new CredentialHelper(name, file, this.#search);
  }
}

function podmanFiles(env: Environment, home: string): string[] {
  if (env['REGISTRY_AUTH_FILE']) return [env['REGISTRY_AUTH_FILE']];
  const runtime = env['XDG_RUNTIME_DIR']
    ? join(env['XDG_RUNTIME_DIR'], 'containers')
    : `/run/containers/${String(process.getuid?.() ?? 0)}`;
  const config = join(env['XDG_CONFIG_HOME'] || join(home, '.config'), 'containers');
  return [join(runtime, 'auth.json'), join(config, 'auth.json')];
}

/**
 * Returns an entry of `auths`. A refresh token replaces the password, because storing both would protect
 * neither.
 */
function entryOf(credentials: Credentials): Record<string, string> {
  const { username = '', identityToken } = credentials;
  if (identityToken === undefined) return { auth: basicAuth(credentials) };
  return { auth: basicAuth({ username }), identitytoken: identityToken };
}

/** Returns whether the helper had credentials. */
async function eraseFrom(helper: CredentialHelper, key: string, signal?: AbortSignal): Promise<boolean> {
  const servers = await helper.list(signal).catch((error: unknown) => {
    // Helpers of clouds store nothing and cannot list; erasing then does nothing.
    if (LayerstackError.is(error, 'ERR_CREDENTIALS_INVALID')) return [];
    throw error;
  });
  const own = servers.filter((server) => isSameRegistry(server, key));
  for (const server of own.length === 0 ? [key] : own) await helper.erase(server, signal);
  return own.length > 0;
}
