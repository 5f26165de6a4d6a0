/**
 * The operations at registries that do not need images of a store. They use the operator's settings in the
 * directory of the store. They do not open the store, so they do not need privileges. `store.registry`
 * (store-registry.ts) also pulls and pushes images.
 */
import { checkArguments, requireArguments } from '../core/arguments.ts';
import { parseReference } from '../core/reference.ts';
import { defaultLogger, type Logger } from '../system/log.ts';
import type { RootOptions } from '../system/root.ts';
import type { PulledLayout, PullLayoutOptions } from '../transfer/pull/layout.ts';
import type { Credentials, CredentialSource } from '../transfer/registry/auth/credentials.ts';
import type { RegistryAccess, RequestOptions } from '../transfer/registry/client.ts';
import type { WebFile } from '../transfer/registry/web-file.ts';
import type { InspectOptions, Referrer, RemoteManifest, RemovedRemote } from '../transfer/remote/remote.ts';
import type { LoginOptions, LoginResult, LogoutOptions } from './login.ts';
import { signatures } from './signatures/registry.ts';

const late = () => import('./late/registry.ts');

export interface RegistryOptions {
  /** Default: the credentials in docker's (or podman's) files of this user; see `layerstack login`. */
  readonly credentials?: CredentialSource | undefined;
}

/**
 * Registries, with the settings of the store at a root. Holds nothing open.
 *
 * @example
 * ```ts
 * const registry = new Registry('/var/lib/layerstack');
 * for await (const tag of registry.tags('debian')) console.log(tag);
 * ```
 */
export class Registry {
  readonly #root: string;
  readonly #allowUnsafeRoot: boolean;
  readonly #log: Logger;

  /**
   * @param root the store's directory, which need not exist
   * @param options as for an opened root
   */
  constructor(root: string, options: RootOptions = {}) {
    requireArguments('new Registry', [root, options], signatures());
    const { allowUnsafeRoot = false, log = defaultLogger } = options;
    this.#root = root;
    this.#allowUnsafeRoot = allowUnsafeRoot;
    this.#log = log;
  }

  /**
   * Pulls an image of all platforms into an OCI layout in `directory`, byte for byte as the registry has it.
   * The store does not change. Blobs that are there already are not fetched again, so the next pull continues
   * an interrupted one.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where `directory` is neither new nor an OCI layout,
   *   ERR_STORE_LOCKED while another pull writes there, ERR_REFERENCE_INVALID, ERR_MANIFEST_INVALID,
   *   ERR_DIGEST_MISMATCH, ERR_REGISTRY_*, ERR_LIMIT_EXCEEDED, ERR_NO_SPACE, ERR_ABORTED.
   */
  async pullLayout(
    reference: string,
    directory: string,
    options: PullLayoutOptions & RegistryOptions = {},
  ): Promise<PulledLayout> {
    const { pullLayout, openRepository } = await late();
    const parsed = parseReference(reference);
    await using source = openRepository(parsed.repository, await this.access(options));
    return await pullLayout(source, parsed, directory, options);
  }

  /**
   * Returns the manifest or index that a registry has for a reference (tag `latest` by default), its digest
   * verified.
   * @throws {@link LayerstackError} ERR_REFERENCE_INVALID, ERR_MANIFEST_INVALID, ERR_DIGEST_MISMATCH,
   *   ERR_REGISTRY_*, ERR_CREDENTIALS_INVALID, ERR_ABORTED.
   */
  async manifest(reference: string, options: InspectOptions & RegistryOptions = {}): Promise<RemoteManifest> {
    const { inspectRemote } = await late();
    return inspectRemote(await this.access(options), parseReference(reference), options);
  }

  /**
   * Returns the tags of a repository in its registry, page by page as the registry sends them.
   * @throws {@link LayerstackError} (while iterating) ERR_REFERENCE_INVALID, ERR_REGISTRY_*, ERR_ABORTED.
   */
  async *tags(
    repository: string,
    options: RequestOptions & RegistryOptions = {},
  ): AsyncGenerator<string, void, undefined> {
    const { remoteTags } = await late();
    yield* remoteTags(await this.access(options), repository, options);
  }

  /**
   * Returns the manifests in a registry that refer to this one: signatures, SBOMs, attestations.
   * @throws {@link LayerstackError} ERR_REFERENCE_INVALID, ERR_REGISTRY_*, ERR_ABORTED.
   */
  async referrers(reference: string, options: RequestOptions & RegistryOptions = {}): Promise<Referrer[]> {
    const { remoteReferrers } = await late();
    return remoteReferrers(await this.access(options), parseReference(reference), options);
  }

  /**
   * Deletes a manifest in its registry. The manifest is named by its digest, or by a tag; where the registry
   * cannot delete a tag alone, all tags of the manifest go. The store does not change.
   * @throws {@link LayerstackError} ERR_REGISTRY_UNSUPPORTED where the registry does not delete,
   *   ERR_REGISTRY_NOT_FOUND, ERR_REFERENCE_INVALID, ERR_REGISTRY_*, ERR_ABORTED.
   */
  async remove(reference: string, options: RequestOptions & RegistryOptions = {}): Promise<RemovedRemote> {
    const { removeRemote } = await late();
    return removeRemote(await this.access(options), parseReference(reference), options);
  }

  /**
   * Tries credentials at a registry (`HOST[:PORT]`, Docker Hub where empty) and keeps them where
   * `docker login` does: in config.json, or with the helper that it names. Durable on return.
   * @throws {@link LayerstackError} ERR_REGISTRY_DENIED when they are refused, ERR_REGISTRY_UNAVAILABLE and
   *   its like, ERR_CREDENTIALS_INVALID where they cannot be kept, ERR_INVALID_ARGUMENT for a malformed
   *   registry, ERR_ABORTED.
   * @example
   * ```ts
   * const credentials = { username: 'ci', password: process.env.REGISTRY_PASSWORD };
   * await store.registry.login('registry.example', credentials);
   * ```
   */
  async login(registry: string, credentials: Credentials, options: LoginOptions = {}): Promise<LoginResult> {
    const { login } = await late();
    const store = { root: this.#root, allowUnsafeRoot: this.#allowUnsafeRoot, log: this.#log };
    return login(store, registry, credentials, options);
  }

  /**
   * Forgets the login at a registry. Resolves with false if it had no login. Durable on return.
   * @throws {@link LayerstackError} ERR_CREDENTIALS_INVALID, ERR_INVALID_ARGUMENT, ERR_ABORTED.
   */
  async logout(registry: string, options: LogoutOptions = {}): Promise<boolean> {
    const { logout } = await late();
    return logout(registry, options);
  }

  /**
   * Returns a file on the web, by its URL. Opening it sends the first request. The service needs it: its
   * clients may import from a URL.
   * @internal
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a malformed URL, ERR_REGISTRY_SETTINGS,
   *   ERR_STORE_UNSAFE.
   */
  async webFile(url: string): Promise<WebFile> {
    const { WebFile, storeSettings } = await late();
    return new WebFile(url, { settings: await storeSettings(this.#root, this.#allowUnsafeRoot) });
  }

  /**
   * Returns the settings, the credentials and the log for a client of any repository.
   * @throws {@link LayerstackError} ERR_REGISTRY_SETTINGS naming the file and the key; ERR_STORE_UNSAFE where
   *   others can write to the root.
   */
  protected async access({ credentials }: RegistryOptions = {}): Promise<RegistryAccess> {
    const { DockerConfig, storeSettings } = await late();
    return {
      settings: await storeSettings(this.#root, this.#allowUnsafeRoot),
      credentials: credentials ?? new DockerConfig(),
      log: this.#log,
    };
  }

  static {
    checkArguments(this.prototype, 'store.registry', signatures);
  }
}
