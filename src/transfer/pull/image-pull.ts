/**
 * Pulls one image from its registry into the store, in this order:
 *
 *   1. find and check its manifest, read its config (resolve.ts)
 *   2. fetch the missing layers, each once among all processes; verify and stage each in one pass (fetch.ts)
 *   3. publish the layers
 *   4. write its config, the manifest and the names `name:tag` and `name@digest` in one change (record.ts)
 *
 * A failure before step 3 leaves the store unchanged, except for downloaded bytes.
 *
 * Locks, in this order: `pulls` of the image, `pulls` of the missing layers, pins, the locks of publishing.
 */
import { unlessAborted } from '../../core/abort.ts';
import { canonicalName, formatReference, type Reference } from '../../core/reference.ts';
import type { Lock } from '../../system/lock.ts';
import { LayerFetch } from './fetch.ts';
import type { PullContext, PulledImage, PullResult } from './options.ts';
import { recordImage, recordSources, verifiedLayers } from './record.ts';
import { missingChains, planPulledImage, resolveImage } from './resolve.ts';

const NOT_RECORDED = 'the sources of its layers could not be recorded';

export class ImagePull {
  readonly #context: PullContext;
  readonly #reference: Reference;
  /** The reference as messages and events show it. */
  readonly #name: string;

  constructor(context: PullContext, reference: Reference) {
    this.#context = context;
    this.#reference = reference;
    this.#name = formatReference(reference);
  }

  /** On abort, rejects at once and cleans up in the background. @throws {@link LayerstackError} as `pull`. */
  async run(): Promise<PullResult> {
    const { signal } = this.#context.options;
    this.#announce();
    const fetch = new LayerFetch(this.#context, this.#name);
    const work = this.#run(fetch);
    await using _cleanup = fetch.cleanupAfter(work);
    try {
      if (signal) await unlessAborted(signal, Promise.race([work, fetch.staged]));
      return await work;
    } catch (error) {
      throw fetch.fail(error);
    }
  }

  async #run(fetch: LayerFetch): Promise<PullResult> {
    const { stores, options } = this.#context;
    const { aftermath } = stores.root;
    const { signal } = fetch;
    const resolved = await resolveImage(this.#context, this.#reference, signal);
    const { id, digest } = resolved;
    await using lease = fetch.archives ? await stores.images.originals.lease(signal) : undefined;
    await using _image = await this.#lock([`image ${id}`], signal);
    const member = fetch.member.bind(fetch);
    const { image, isKnown } = await planPulledImage(this.#context, this.#name, resolved, { member, signal });

    const { form } = options;
    const missing = await missingChains(stores.layers, image, { form, damage: fetch.damage });
    await using _layers = await this.#lock(
      missing.map((chain) => `layer ${chain}`),
      signal,
    );
    const isThere = isKnown && missing.length === 0;
    let unverified: unknown;
    const { result, notices, warnings } = await fetch.publish(
      image,
      isThere ? undefined : options.onProgress,
      async (fresh) => {
        const verified = await verifiedLayers(stores.distribution, image, fresh).catch((error: unknown) => {
          unverified = error;
          return [];
        });
        const keepsDocuments = lease !== undefined || verified.length === image.layers.length;
        const recorded = await recordImage(this.#context, this.#reference, {
          config: image.config,
          digest,
          documents: keepsDocuments ? resolved.documents : undefined,
          lease,
        });
        return { ...recorded, verified };
      },
    );
    if (unverified !== undefined) aftermath.tell(NOT_RECORDED, unverified);
    if (!isThere)
      await aftermath.run(NOT_RECORDED, () =>
        recordSources(stores.distribution, this.#reference, result.verified),
      );
    const pulled = { id, reference: this.#name, digest, updated: result.updated };
    return this.#report({ images: [pulled], notices: [...result.notices, ...notices], warnings }, pulled);
  }

  /** Takes the `pulls` locks of these objects. Waits for other pulls that hold one of them. */
  async #lock(keys: readonly string[], signal: AbortSignal): Promise<Lock> {
    const { locks } = this.#context.stores.root;
    const tried = locks.tryEach('pulls', keys);
    if (tried.keys.size === keys.length) return tried;
    await tried.release();
    this.#context.options.onProgress?.({
      type: 'waiting',
      reference: this.#name,
      message: `another pull is fetching ${this.#name} or layers of it: waiting for its end`,
    });
    return locks.acquireAll('pulls', keys, { signal });
  }

  #announce(): void {
    const { tag = '', digest, repository } = this.#reference;
    const canonical = canonicalName(repository);
    this.#context.options.onProgress?.({
      type: 'pulling',
      reference: this.#name,
      repository: canonical.slice(canonical.indexOf('/') + 1),
      id: digest === undefined ? tag : `${canonical}@${digest}`,
    });
  }

  #report(result: PullResult, pulled: PulledImage): PullResult {
    const { onProgress } = this.#context.options;
    for (const warning of result.warnings) onProgress?.({ type: 'warning', ...warning });
    for (const message of result.notices) onProgress?.({ type: 'notice', message });
    onProgress?.({ type: 'pulled', ...pulled });
    return result;
  }
}
