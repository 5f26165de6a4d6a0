/**
 * The layers that one load or pull stages, from the first byte until they are published or discarded. It owns them: when
 * anything fails, what runs is stopped and what was extracted is removed. Layers of a stream are staged *ahead*,
 * before it is known whether the archive's manifest names them, and taken later.
 */
import { setMaxListeners } from 'node:events';
import { abortError } from '../../core/abort.ts';
import type { Descriptor } from '../../core/descriptor.ts';
import type { DiffID, Digest } from '../../core/digest.ts';
import { LayerstackError, type ErrorCode } from '../../core/errors.ts';
import type { OnProgress } from '../../core/progress.ts';
import type { LayerSource, LayerStore, StagedLayer, StageOptions } from '../../layer/store.ts';
import type { Logger } from '../../system/log.ts';
import type { LayerContent, LayerMember } from './member.ts';

/**
 * Bounds of one layer beside its bytes. 10 million entries are fifty times the largest distribution image; a path
 * must fit PATH_MAX; PAX records of 1 MiB are what dockerd reads too (Go's archive/tar).
 */
export const DEFAULT_LIMITS = { maxEntries: 10_000_000, maxPathBytes: 4096, maxPaxBytes: 1024 * 1024 };

/** What makes a member useless as a layer without being trouble in itself: it may be none at all. */
const CONTENT_ERRORS: ReadonlySet<ErrorCode> = new Set([
  'ERR_LAYER_INVALID',
  'ERR_LAYER_TRUNCATED',
  'ERR_LAYER_ESCAPE',
  'ERR_COMPRESSION_UNSUPPORTED',
]);

export interface LayerPoolOptions {
  /** The archive, or the image in its registry, for messages. */
  readonly label: string;
  /** What to do about bytes that are not what they should be, for messages. */
  readonly remedy: string;
  /** Uncompressed bytes of all layers together, holes of sparse files included. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly log: Pick<Logger, 'warn'>;
}

/** What a layer must turn out to be. */
export interface Expected {
  /** Unknown for archives that list no DiffIDs (before docker 1.10). */
  readonly diffId?: DiffID | undefined;
  /** Of the bytes as they come. */
  readonly blob?: Descriptor | undefined;
}

interface Ahead {
  readonly staged: Promise<StagedLayer>;
  taken: boolean;
}

export class LayerPool {
  readonly #layers: Pick<LayerStore, 'stage' | 'restage' | 'discard'>;
  readonly #options: LayerPoolOptions;
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  readonly #owned = new Set<StagedLayer>();
  readonly #ahead = new Map<LayerContent, Ahead>();
  #tarBytes = 0;
  #failure: unknown;

  constructor(layers: Pick<LayerStore, 'stage' | 'restage' | 'discard'>, options: LayerPoolOptions) {
    this.#layers = layers;
    this.#options = options;
    this.signal = options.signal ? AbortSignal.any([options.signal, this.#stop.signal]) : this.#stop.signal;
    // Every layer listens.
    setMaxListeners(0, this.signal);
  }

  /** Fires when the load cannot succeed any more, or the caller's signal does. */
  readonly signal: AbortSignal;

  /**
   * Stages a member that may or may not turn out to be a layer of an image. Settles when it is staged or known to
   * be useless, which only {@link take} reports. `announced`: the digest in its name, if it has one.
   * @throws {@link LayerstackError} what would fail whatever the member is: ERR_LIMIT_EXCEEDED, ERR_DIGEST_MISMATCH
   * against the digest in its name, a full disk.
   */
  async ahead(member: LayerMember, source: LayerSource, announced?: Digest): Promise<void> {
    const staged = this.#stage(member, {}, (options) => this.#layers.stage(source, options));
    this.#ahead.set(member.content, { staged, taken: false });
    try {
      const { applied } = await staged;
      this.#compare(member, 'digest in its name', announced, applied.blobDigest);
    } catch (error) {
      if (LayerstackError.is(error) && CONTENT_ERRORS.has(error.code)) return;
      throw this.fail(error);
    }
  }

  /** Whether its bytes are read already, or are being read. */
  isAhead({ content }: LayerMember): boolean {
    return this.#ahead.has(content);
  }

  /** Stages a member now, for a {@link take} to come, and says what it is. For members that can be reopened. */
  async peek(member: LayerMember): Promise<StagedLayer> {
    let ahead = this.#ahead.get(member.content);
    if (!ahead) {
      ahead = { staged: this.#open(member, {}), taken: false };
      this.#ahead.set(member.content, ahead);
    }
    return ahead.staged;
  }

  /**
   * A staged copy of a member, each time another one.
   * @param onBytes - told how much has been read, where it is read now
   * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH when it is not what was `expected`, and all that staging throws.
   */
  async take(
    member: LayerMember,
    expected: Expected,
    onBytes?: (current: number) => void,
  ): Promise<StagedLayer> {
    try {
      const { content } = member;
      const ahead = this.#ahead.get(content);
      if (ahead?.taken === false) {
        ahead.taken = true;
        const staged = await ahead.staged;
        this.#verify(member, expected, staged);
        return staged;
      }
      if (content.open && !(content.dear === true && ahead)) {
        const staged = this.#open(member, expected, onBytes);
        if (content.dear === true) this.#ahead.set(content, { staged, taken: true });
        return await staged;
      }
      if (!ahead) throw this.#notALayer(member);
      const first = await ahead.staged;
      this.#verify(member, expected, first);
      // The copy's own bytes are the plain tar.
      return await this.#stage(member, { diffId: expected.diffId }, (options) =>
        this.#layers.restage(first, options),
      );
    } catch (error) {
      throw this.fail(error);
    }
  }

  /** Stops everything for this reason, unless it stopped before. Returns the first reason. */
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

  /** From now on the layers belong to the store. */
  published(staged: Iterable<StagedLayer>): void {
    for (const layer of staged) this.#owned.delete(layer);
  }

  /** Stops what runs and discards what was not published. Resolves when nothing of it is left. */
  async close(): Promise<void> {
    this.#stop.abort(this.#failure ?? new LayerstackError('ERR_ABORTED', 'the load is over'));
    await Promise.allSettled(this.#running);
    for (const staged of this.#owned) {
      try {
        await this.#layers.discard(staged);
      } catch (error) {
        // The next writer's start removes it; the reason why the load failed must not be lost for it.
        this.#options.log.warn('a staged layer could not be removed', { cacheId: staged.cacheId, error });
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
      if (!opened) throw this.#notALayer(member);
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

  /** Runs one staging with its limits, progress and context in errors. */
  #stage(
    member: LayerMember,
    expected: Expected,
    work: (options: StageOptions) => Promise<StagedLayer>,
  ): Promise<StagedLayer> {
    const { label, onProgress, maxBytes } = this.#options;
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
          onProgress: (current) => onProgress?.({ type: 'layer-progress', ...layer, current }),
          ...(expected.diffId && { expectedDiffId: expected.diffId }),
        });
      } catch (error) {
        if (!LayerstackError.is(error)) throw error;
        if (error.code === 'ERR_LIMIT_EXCEEDED' && error.limit === limits.maxBytes)
          throw tooLarge(label, maxBytes, name, error);
        throw inLayer(error, this.#options, name);
      }
      this.#owned.add(staged);
      this.#verify(member, expected, staged);
      this.#tarBytes += staged.applied.tarSize + staged.applied.holeBytes;
      if (this.#tarBytes > maxBytes) throw tooLarge(label, maxBytes, name);
      onProgress?.({ type: 'layer-done', ...layer, diffId: staged.diffId, current: content.size });
      return staged;
    };
    const running = run();
    this.#running.add(running);
    // Whoever waits for it hears of a failure; it must not end the process while nobody does yet.
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
    const { label, remedy } = this.#options;
    throw new LayerstackError(
      'ERR_DIGEST_MISMATCH',
      `${label}: layer '${name}' is ${String(found)}, but the ${what} is ${String(expected)}; ${remedy}`,
      { path: label, layer: name, expected, found },
    );
  }

  #notALayer({ name }: LayerMember): LayerstackError {
    const { label, remedy } = this.#options;
    return new LayerstackError(
      'ERR_LAYER_INVALID',
      `${label}: layer '${name}' is not a tar, plain or compressed; ${remedy}`,
      { path: label, layer: name },
    );
  }
}

function tooLarge(label: string, maxBytes: number, layer: string, cause?: unknown): LayerstackError {
  return new LayerstackError(
    'ERR_LIMIT_EXCEEDED',
    `${label}: its layers have more than ${String(maxBytes)} bytes uncompressed, holes of sparse files included; ` +
      `if you trust it, allow more with maxBytes (--max-bytes)`,
    {
      path: label,
      limit: maxBytes,
      layer,
      member: LayerstackError.is(cause) ? cause.member : undefined,
      cause,
    },
  );
}

/** Trouble of the whole load or pull, not of the layer that met it. */
const SHARED_ERRORS: ReadonlySet<ErrorCode> = new Set([
  'ERR_ABORTED',
  'ERR_NO_SPACE',
  'ERR_ARCHIVE_INVALID',
  'ERR_ARCHIVE_TRUNCATED',
]);

/** Bytes that are not what they were. */
const DAMAGE: ReadonlySet<ErrorCode> = new Set(['ERR_DIGEST_MISMATCH', 'ERR_LAYER_TRUNCATED']);

/** The error of a layer, with where it comes from and what it is called there. What a registry did names both already. */
function inLayer(
  error: LayerstackError,
  { label, remedy }: LayerPoolOptions,
  layer: string,
): LayerstackError {
  if (SHARED_ERRORS.has(error.code) || error.code.startsWith('ERR_REGISTRY_')) return error;
  const { path, digest, expected, found, limit, member, syscall } = error;
  const message = error.layer === undefined ? `layer '${layer}': ${error.message}` : error.message;
  // A repository's own errors say what to do.
  const advice = DAMAGE.has(error.code) && error.repository === undefined ? `; ${remedy}` : '';
  return new LayerstackError(error.code, `${label}: ${message}${advice}`, {
    ...{ digest, expected, found, limit, member, syscall, path: path ?? label, layer },
    cause: error,
  });
}
