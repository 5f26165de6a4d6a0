/**
 * How the facade reaches registries: what the operator has set for this store, and whose credentials are used. Looking at a
 * registry needs no store that can be opened, only the settings in its directory, so that it needs no privileges either.
 */
import { checkArguments, requireArguments } from '../core/arguments.ts';
import { parseReference } from '../core/reference.ts';
import { defaultLogger, type Logger } from '../system/log.ts';
import type { RootOptions } from '../system/root.ts';
import type { CredentialSource } from '../transfer/registry/auth/credentials.ts';
import type { PulledLayout, PullLayoutOptions } from '../transfer/pull/layout.ts';
import type { RegistryAccess, RequestOptions } from '../transfer/registry/client.ts';
import type { InspectOptions, Referrer, RemoteManifest, RemovedRemote } from '../transfer/remote/remote.ts';
import type { WebFile } from '../transfer/registry/web-file.ts';
import { SIGNATURES } from './signatures.ts';
import { storeSettings } from './store-settings.ts';

export interface RegistryOptions {
  /** Default: what docker's (or podman's) files of this user say; see `layerstack login`. */
  readonly credentials?: CredentialSource | undefined;
}

/** Registries as the store at `root` is to see them. Holds nothing open. */
export class Registries {
  readonly #root: string;
  readonly #allowUnsafeRoot: boolean;
  readonly #log: Logger;

  /**
   * @param root the store's directory, which need not exist
   * @param options as of an opened root
   */
  constructor(root: string, options: RootOptions = {}) {
    requireArguments('Registries', [root, options], SIGNATURES);
    const { allowUnsafeRoot = false, log = defaultLogger } = options;
    this.#root = root;
    this.#allowUnsafeRoot = allowUnsafeRoot;
    this.#log = log;
  }

  /**
   * What a client of any repository needs.
   * @internal
   * @throws {@link LayerstackError} ERR_REGISTRY_SETTINGS naming the file and the key; ERR_STORE_UNSAFE where others can write to
   *   the root.
   */
  async access({ credentials }: RegistryOptions = {}): Promise<RegistryAccess> {
    const { DockerConfig } = await import('../transfer/registry/auth/docker-config.ts');
    return {
      settings: await storeSettings(this.#root, this.#allowUnsafeRoot),
      credentials: credentials ?? new DockerConfig(),
      log: this.#log,
    };
  }

  /**
   * A file of the internet, by its URL. Nothing is asked for before it is opened.
   * @internal
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a malformed URL; as {@link access}.
   */
  async webFile(url: string): Promise<WebFile> {
    const { WebFile } = await import('../transfer/registry/web-file.ts');
    return new WebFile(url, { settings: await storeSettings(this.#root, this.#allowUnsafeRoot) });
  }

  /** @see Layerstack.manifest */
  async manifest(reference: string, options: InspectOptions & RegistryOptions = {}): Promise<RemoteManifest> {
    const { inspectRemote } = await import('../transfer/remote/remote.ts');
    return inspectRemote(await this.access(options), parseReference(reference), options);
  }

  /** @see Layerstack.pullLayout */
  async pullLayout(
    reference: string,
    directory: string,
    options: PullLayoutOptions & RegistryOptions = {},
  ): Promise<PulledLayout> {
    const { pullLayout } = await import('../transfer/pull/layout.ts');
    const { openRepository } = await import('../transfer/registry/client.ts');
    const parsed = parseReference(reference);
    const source = openRepository(parsed.repository, await this.access(options));
    try {
      return await pullLayout(source, parsed, directory, options);
    } finally {
      await source.close();
    }
  }

  /** @see Layerstack.tags */
  async *tags(
    repository: string,
    options: RequestOptions & RegistryOptions = {},
  ): AsyncGenerator<string, void, undefined> {
    const { remoteTags } = await import('../transfer/remote/remote.ts');
    yield* remoteTags(await this.access(options), repository, options);
  }

  /** @see Layerstack.referrers */
  async referrers(reference: string, options: RequestOptions & RegistryOptions = {}): Promise<Referrer[]> {
    const { remoteReferrers } = await import('../transfer/remote/remote.ts');
    return remoteReferrers(await this.access(options), parseReference(reference), options);
  }

  /** @see Layerstack.removeRemote */
  async remove(reference: string, options: RequestOptions & RegistryOptions = {}): Promise<RemovedRemote> {
    const { removeRemote } = await import('../transfer/remote/remote.ts');
    return removeRemote(await this.access(options), parseReference(reference), options);
  }

  static {
    checkArguments(this, SIGNATURES);
  }
}
