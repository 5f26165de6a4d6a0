/** `store.registry`: pulls images into the store, pushes images, and does all that {@link Registry} does. */
import { checkArguments } from '../core/arguments.ts';
import { parseReference, withDefaultTag } from '../core/reference.ts';
import { timed } from '../system/phases.ts';
import type { PullOptions, PullResult } from '../transfer/pull/pull.ts';
import type { RepositoryClient } from '../transfer/registry/client.ts';
import type { PushOptions, PushResult } from '../transfer/push/push.ts';
import { chooseForm } from './form.ts';
import { Registry, type RegistryOptions } from './registry.ts';
import { signatures } from './signatures/registry.ts';
import type { StoreParts } from './store-parts.ts';

const late = () => import('./late/registry.ts');

export class StoreRegistry extends Registry {
  readonly #parts: StoreParts;

  /** @internal */
  constructor(parts: StoreParts) {
    // When the store was opened, its root was found safe, or an unsafe root was allowed.
    super(parts.root.layout.root, { allowUnsafeRoot: true, log: parts.root.log });
    this.#parts = parts;
  }

  /**
   * Pulls an image from its registry: `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`, from Docker Hub without a host.
   * Fetches only the layers that the store lacks, each once, however many processes pull it. Resolves when
   * the image is durable. After an error the store is as it was; the next pull continues with the bytes that
   * were downloaded.
   * @throws {@link LayerstackError} ERR_REFERENCE_INVALID, ERR_REGISTRY_UNAVAILABLE, ERR_REGISTRY_DENIED,
   *   ERR_REGISTRY_NOT_FOUND and its like, ERR_MANIFEST_INVALID, ERR_CONFIG_INVALID, ERR_LAYER_FOREIGN,
   *   ERR_PLATFORM_NOT_FOUND, ERR_DIGEST_MISMATCH, ERR_REFERENCE_CONFLICT, ERR_LIMIT_EXCEEDED,
   *   ERR_LAYER_INVALID and its like, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * const signal = AbortSignal.timeout(60_000);
   * const { images } = await store.registry.pull('debian:bookworm-slim', { signal });
   * ```
   */
  async pull(reference: string, options: PullOptions & RegistryOptions = {}): Promise<PullResult> {
    const parsed = parseReference(reference);
    const { pull, openRepository, Distribution } = await late();
    const { root, layers, images, imageEvents } = this.#parts;
    const stores = { root, layers, images, distribution: new Distribution(root) };
    await using source = openRepository(parsed.repository, await this.access(options));
    const { form, notices } = await chooseForm(root, options.form);
    for (const message of notices) options.onProgress?.({ type: 'notice', message });
    const result = await this.#parts.reclaiming(
      timed('pull', 'total', () => pull(stores, source, parsed, { ...options, form })),
    );
    await imageEvents.transferred('pull', options.allTags ? parsed : withDefaultTag(parsed));
    this.#parts.settleLater(
      form,
      result.images.map(({ id }) => id),
      options.signal,
    );
    return { ...result, notices: [...notices, ...result.notices] };
  }

  /**
   * Uploads the image that `reference` names (tag `latest` by default) to its registry. Resolves with the
   * digest of its manifest. Layers that the registry has are not read; the others are rebuilt, verified and
   * compressed on all processors. After an error the registry shows nothing of the image, and the store is as
   * it was.
   * @throws {@link LayerstackError} ERR_REFERENCE_INVALID, ERR_IMAGE_NOT_FOUND, ERR_INVALID_ARGUMENT,
   *   ERR_COMPRESSION_UNSUPPORTED, ERR_STORE_CORRUPT naming the layer that cannot be rebuilt, ERR_REGISTRY_*,
   *   ERR_ABORTED.
   * @example
   * ```ts
   * const { images } = await store.registry.push('localhost:5000/app:1', { compression: 'zstd' });
   * ```
   */
  async push(reference: string, options: PushOptions & RegistryOptions = {}): Promise<PushResult> {
    const parsed = parseReference(reference);
    const { push, openRepository, Distribution } = await late();
    const { root, layers, images, imageEvents } = this.#parts;
    const stores = {
      root,
      layers,
      images,
      distribution: new Distribution(root),
      originals: images.originals,
    };
    const access = await this.access(options);
    await using client = openRepository(parsed.repository, access);
    const target = { client, credentials: access.credentials };
    const result = await timed('push', 'total', () => push(stores, target, parsed, options));
    await imageEvents.transferred('push', options.allTags ? parsed : withDefaultTag(parsed));
    return result;
  }

  /**
   * Returns a function that opens repositories, with the settings of the store and the logins of this user.
   * @internal
   */
  async repositories(): Promise<(repository: string) => RepositoryClient> {
    const { openRepository } = await late();
    const access = await this.access();
    return (repository) => openRepository(repository, access);
  }

  static {
    checkArguments(this.prototype, 'store.registry', signatures);
  }
}
