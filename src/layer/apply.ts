/**
 * One layer tar into one layer directory: the native LayerApply with an AbortSignal, fed from a file range or from
 * chunks. Where there is no native zstd, a zstd layer is decompressed and its blob side hashed here.
 */
import { createHash } from 'node:crypto';
import { abortError, throwIfAborted } from '../core/abort.ts';
import type { Capabilities } from '../system/caps.ts';
import {
  call,
  native,
  type Compression,
  type LayerApplied,
  type LayerApply,
  type LayerLimits,
} from '../system/native.ts';
import { decompress, MAGIC_BYTES, sniff, unsupported } from './codec.ts';
import { readRange, type FileRange } from './range.ts';

/** Where the bytes of a layer tar come from, compressed or not. */
export type LayerSource = FileRange | AsyncIterable<Uint8Array>;

export interface ApplyOptions {
  readonly limits: LayerLimits;
  readonly caps: Pick<Capabilities, 'zstd'>;
  readonly signal?: AbortSignal | undefined;
  /** Bytes of the source that were taken so far. Of a file range told once, at the end. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/** Where a layer goes: absolute paths of an existing empty directory and of a file to be made. */
export interface ApplyTarget {
  readonly diff: string;
  readonly tarSplit: string;
}

/**
 * Extracts, hashes and records the layer. Nothing is synced. After a rejection nothing runs any more, but what
 * was written is there: the caller removes it.
 * @throws {@link LayerstackError} ERR_ABORTED; ERR_COMPRESSION_UNSUPPORTED; ERR_LAYER_INVALID, ERR_LAYER_TRUNCATED,
 * ERR_LAYER_ESCAPE or ERR_LIMIT_EXCEEDED with `member`; system errors of the target; whatever the source throws.
 */
export async function applyLayer(
  source: LayerSource,
  target: ApplyTarget,
  options: ApplyOptions,
): Promise<LayerApplied> {
  throwIfAborted(options.signal);
  // A Node stream may have an `fd` too.
  const isRange = !(Symbol.asyncIterator in source);
  const { compression, bytes } = isRange ? await sniffRange(source) : await sniff(source);
  if (compression === 'bzip2' || compression === 'xz') throw unsupported(compression);
  if (compression === 'zstd' && options.caps.zstd === 'js') return applyDecompressed(bytes, target, options);
  return isRange ? applyRange(source, target, options) : applyChunks(bytes, target, options);
}

async function sniffRange(
  range: FileRange,
): Promise<{ compression: Compression; bytes: AsyncIterable<Uint8Array> }> {
  const head = readRange({ ...range, size: Math.min(range.size, MAGIC_BYTES) });
  return { compression: (await sniff(head)).compression, bytes: readRange(range) };
}

async function applyRange(
  source: FileRange,
  target: ApplyTarget,
  options: ApplyOptions,
): Promise<LayerApplied> {
  const apply = new native.LayerApply({ ...target, source, limits: options.limits });
  const applied = await abortable(apply, options.signal, () => call(apply.result));
  options.onProgress?.(source.size);
  return applied;
}

async function applyChunks(
  source: AsyncIterable<Uint8Array>,
  target: ApplyTarget,
  options: ApplyOptions,
): Promise<LayerApplied> {
  const apply = new native.LayerApply({ ...target, limits: options.limits });
  return abortable(apply, options.signal, async () => {
    let bytes = 0;
    await pump(source, apply, (length) => options.onProgress?.((bytes += length)));
    return call(apply.result);
  });
}

async function applyDecompressed(
  source: AsyncIterable<Uint8Array>,
  target: ApplyTarget,
  options: ApplyOptions,
): Promise<LayerApplied> {
  const hash = createHash('sha256');
  let blobSize = 0;
  async function* hashed(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of source) {
      hash.update(chunk);
      blobSize += chunk.length;
      options.onProgress?.(blobSize);
      yield chunk;
    }
  }
  const tar = decompress(hashed(), 'zstd', options.caps);
  const applied = await applyChunks(tar, target, { ...options, onProgress: undefined });
  return { ...applied, blobDigest: `sha256:${hash.digest('hex')}`, blobSize, compression: 'zstd' };
}

/**
 * Runs `work` on `apply`, aborting it when the signal fires or `work` fails, and returns only when it has come to
 * rest.
 */
async function abortable<T>(
  apply: LayerApply,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  const abort = (): void => apply.abort();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    if (signal?.aborted) abort();
    return await work();
  } catch (error) {
    apply.abort();
    await apply.result.catch(() => undefined);
    throw signal?.aborted ? abortError(signal) : error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/**
 * Gives every chunk to `apply`, and the end. Fails at once when `apply` does, even while the source keeps its
 * reader waiting (a pipe that nobody writes to).
 */
async function pump(
  source: AsyncIterable<Uint8Array>,
  apply: LayerApply,
  onChunk: (length: number) => void,
): Promise<void> {
  let fail: (error: unknown) => void = () => undefined;
  apply.result.catch((error: unknown) => fail(error));
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
        fail = reject;
        iterator.next().then(resolve, reject);
      });
      if (next.done === true) break;
      await call(apply.write(next.value));
      onChunk(next.value.length);
    }
    apply.end();
  } catch (error) {
    // Not awaited: a generator that waits for its own source would keep us waiting too.
    iterator.return?.().catch(() => undefined);
    throw error;
  }
}
