/**
 * The layers that one load or pull stages, from the first byte until they are published or discarded. The
 * pool owns them: on any failure it stops what runs and removes what was extracted. Layers of a stream are
 * staged *speculatively*, before it is known whether the archive's manifest names them, and taken later.
 */
import { setMaxListeners } from 'node:events';
import { abortError } from '../../core/abort.ts';
import type { Descriptor } from '../../core/descriptor.ts';
import type { DiffID, Digest } from '../../core/digest.ts';
import { LayerstackError, type ErrorCode } from '../../core/errors.ts';
import type { OnProgress } from '../../core/progress.ts';
import type { LayerForm, LayerSource, LayerStore, StagedLayer, StageOptions } from '../../layer/store.ts';
import type { Logger } from '../../system/log.ts';
import { inLayer, layersTooLarge, notALayer, type LayerOrigin } from './layer-errors.ts';
import type { LayerContent, LayerMember } from './member.ts';

/**
 * Limits of one layer besides its bytes. 10 million entries are fifty times the largest distribution image. A
 * path must fit PATH_MAX. dockerd also reads PAX records of up to 1 MiB (Go's archive/tar).
 */
export const DEFAULT_LIMITS = { maxEntries: 10_000_000, maxPathBytes: 4096, maxPaxBytes: 1024 * 1024 };

/**
 * The member cannot be a layer. This is an error only when the member is taken, because it may be another
 * file of the archive.
 */
const NOT_A_LAYER: readonly ErrorCode[] = [
  'ERR_LAYER_INVALID',
  'ERR_LAYER_TRUNCATED',
  'ERR_LAYER_ESCAPE',
  'ERR_COMPRESSION_UNSUPPORTED',
];

export interface LayerPoolOptions extends LayerOrigin {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly log: Pick<Logger, 'warn'>;
  /** The form in which layers are stored. Default: `classic`. */
  readonly form?: LayerForm | undefined;
}

/** The digests that a layer must have. */
export interface Expected {
  /** Unknown for archives that list no DiffIDs (before docker 1.10). */
  readonly diffId?: DiffID | undefined;
  /** Describes the bytes as they come. */
  readonly blob?: Descriptor | undefined;
}

/** The first staged copy of a member's content. */
interface FirstCopy {
  readonly staged: Promise<StagedLayer>;
  taken: boolean;
}

export class LayerPool {
  readonly #layers: Pick<LayerStore, 'stage' | 'restage' | 'discard'>;
  readonly #options: LayerPoolOptions;
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  readonly #owned = new Set<StagedLayer>();
  readonly #firstCopies = new Map<LayerContent, FirstCopy>();
  #tarBytes = 0;
  #failure: unknown;

  constructor(layers: Pick<LayerStore, 'stage' | 'restage' | 'discard'>, options: LayerPoolOptions) {
    this.#layers = layers;
    this.#options = options;
    this.form = options.form ?? 'classic';
    this.signal = options.signal ? AbortSignal.any([options.signal, this.#stop.signal]) : this.#stop.signal;
    // Every layer adds a listener.
    setMaxListeners(0, this.signal);
  }

  readonly form: LayerForm;
  /** Fires when the load can no longer succeed, or when the caller's signal fires. */
  readonly signal: AbortSignal;

  /**
   * Stages a member that may or may not be a layer of an image. Resolves when it is staged, or known not to
   * be a layer; only {@link take} reports the latter. `announced` is the digest in its name, if it has one.
   * @throws {@link LayerstackError} the errors that do not depend on what the member is: ERR_LIMIT_EXCEEDED,
   *   ERR_DIGEST_MISMATCH against the digest in its name, a full disk.
   */
  async stageSpeculatively(member: LayerMember, source: LayerSource, announced?: Digest): Promise<void> {
    const staged = this.#stage(member, {}, (options) => this.#layers.stage(source, options));
    this.#firstCopies.set(member.content, { staged, taken: false });
    try {
      const { applied } = await staged;
      this.#compare(member, 'digest in its name', announced, applied.blobDigest);
    } catch (error) {
      if (LayerstackError.is(error, ...NOT_A_LAYER)) return;
      throw this.fail(error);
    }
  }

  /** Returns whether the member's bytes are being read or have been read. */
  isBegun({ content }: LayerMember): boolean {
    return this.#firstCopies.has(content);
  }

  /** Stages a member for a later {@link take}. The member must be reopenable. */
  async peek(member: LayerMember): Promise<StagedLayer> {
    let first = this.#firstCopies.get(member.content);
    if (!first) {
      first = { staged: this.#open(member, {}), taken: false };
      this.#firstCopies.set(member.content, first);
    }
    return first.staged;
  }

  /**
   * Returns a staged copy of a member, a different one at each call.
   * @param onBytes - called with the number of bytes read, if this call reads them
   * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH when the layer is not the `expected` one, and all
   *   errors of staging.
   */
  async take(
    member: LayerMember,
    expected: Expected,
    onBytes?: (current: number) => void,
  ): Promise<StagedLayer> {
    try {
      const { content } = member;
      const first = this.#firstCopies.get(content);
      if (first?.taken === false) {
        first.taken = true;
        const staged = await first.staged;
        this.#verify(member, expected, staged);
        return staged;
      }
      if (content.open && !(content.openOnce === true && first)) {
        const staged = this.#open(member, expected, onBytes);
        if (content.openOnce === true) this.#firstCopies.set(content, { staged, taken: true });
        return await staged;
      }
      if (!first) throw notALayer(this.#options, member.name);
      const original = await first.staged;
      this.#verify(member, expected, original);
      // The copy's own bytes are the plain tar.
      return await this.#stage(member, { diffId: expected.diffId }, (options) =>
        this.#layers.restage(original, options),
      );
    } catch (error) {
      throw this.fail(error);
    }
  }

  /** Returns a staged layer in Docker's form. A packed one is extracted from its tar. */
  async extracted(member: LayerMember, staged: StagedLayer): Promise<StagedLayer> {
    if (!staged.packed) return staged;
    try {
      return await this.#stage(member, { diffId: staged.diffId }, (options) =>
        this.#layers.restage(staged, { ...options, form: 'classic' }),
      );
    } catch (error) {
      throw this.fail(error);
    }
  }

  /** Stops everything for this reason, unless it has stopped before. Returns the first reason. */
  fail(error: unknown): unknown {
    if (!this.#stop.signal.aborted) {
      this.#failure = this.#options.signal?.aborted ? abortError(this.#options.signal) : error;
      this.#stop.abort(this.#failure);
    }
    return this.#failure;
  }

  /** @throws the reason why everything was stopped, if it was */
  throwIfFailed(): void {
    if (this.#stop.signal.aborted) throw this.#failure;
  }

  /** Hands these layers over to the store, which owns them from now on. */
  published(staged: Iterable<StagedLayer>): void {
    for (const layer of staged) this.#owned.delete(layer);
  }

  /**
   * Stops all work and discards the layers that were not published. Resolves when their files are removed.
   */
  async close(): Promise<void> {
    this.#stop.abort(this.#failure ?? new LayerstackError('ERR_ABORTED', 'the load is over'));
    await Promise.allSettled(this.#running);
    for (const staged of this.#owned) {
      try {
        await this.#layers.discard(staged);
      } catch (error) {
        // The next writer removes it at its start. This error must not replace the reason why the load
        // failed.
        this.#options.log.warn('a staged layer could not be removed', { writeSet: staged.writeSet, error });
      }
    }
  }

  async #open(
    member: LayerMember,
    expected: Expected,
    onBytes?: (current: number) => void,
  ): Promise<StagedLayer> {
    for (;;) {
      const opened = await member.content.open?.();
      if (!opened) throw notALayer(this.#options, member.name);
      try {
        return await this.#stage(member, expected, (options) => {
          const onProgress = (current: number): void => {
            options.onProgress?.(current);
            onBytes?.(current);
          };
          return this.#layers.stage(opened.source, { ...options, onProgress });
        });
      } catch (error) {
        if (this.signal.aborted || (await opened.again?.(error)) !== true) throw error;
      } finally {
        await opened.close();
      }
    }
  }

  /** Runs one staging with its limits and progress, and adds the context to its errors. */
  #stage(
    member: LayerMember,
    expected: Expected,
    work: (options: StageOptions) => Promise<StagedLayer>,
  ): Promise<StagedLayer> {
    const { onProgress, maxBytes } = this.#options;
    const { name, content } = member;
    const layer = {
      member: name,
      total: content.size,
      ...(expected.diffId && { diffId: expected.diffId }),
      ...(expected.blob && { blob: expected.blob.digest }),
    };
    const limits = { ...DEFAULT_LIMITS, maxBytes: Math.max(0, maxBytes - this.#tarBytes) };
    const run = async (): Promise<StagedLayer> => {
      onProgress?.({ type: 'layer-start', ...layer, current: 0 });
      let staged: StagedLayer;
      try {
        staged = await work({
          limits,
          signal: this.signal,
          name,
          form: this.form,
          onProgress: (current) => {
            const phase = expected.blob && content.phase?.(current);
            onProgress?.({ type: 'layer-progress', ...layer, current, ...(phase && { phase }) });
          },
          ...(expected.diffId && { expectedDiffId: expected.diffId }),
        });
      } catch (error) {
        if (!LayerstackError.is(error)) throw error;
        if (error.code === 'ERR_LIMIT_EXCEEDED' && error.limit === limits.maxBytes)
          throw layersTooLarge(this.#options, name, error);
        throw inLayer(error, this.#options, name);
      }
      this.#owned.add(staged);
      this.#verify(member, expected, staged);
      this.#tarBytes += staged.applied.tarSize + staged.applied.holeBytes;
      if (this.#tarBytes > maxBytes) throw layersTooLarge(this.#options, name);
      onProgress?.({ type: 'layer-done', ...layer, diffId: staged.diffId, current: content.size });
      return staged;
    };
    const running = run();
    this.#running.add(running);
    // The caller that waits for it gets the failure. Until one waits, the failure must not end the process.
    running.catch(() => undefined).finally(() => this.#running.delete(running));
    return running;
  }

  #verify(member: LayerMember, { diffId, blob }: Expected, staged: StagedLayer): void {
    this.#compare(member, "DiffID in the image's config", diffId, staged.diffId);
    this.#compare(member, 'digest in the manifest', blob?.digest, staged.applied.blobDigest);
    this.#compare(member, 'size in the manifest', blob?.size, staged.applied.blobSize);
  }

  #compare(
    { name }: LayerMember,
    what: string,
    expected: string | number | undefined,
    found: string | number,
  ): void {
    if (expected === undefined || expected === found) return;
    const { sourceName, hint } = this.#options;
    throw new LayerstackError(
      'ERR_DIGEST_MISMATCH',
      `${sourceName}: layer '${name}' is ${String(found)}, but the ${what} is ${String(expected)}; ${hint}`,
      { path: sourceName, layer: name, expected, found },
    );
  }
}
