/**
 * Brings one layer tar into its form in the store: a directory, or the tar and its index. Runs the native
 * LayerApply with an AbortSignal, on a file range, a directory or chunks. Without a native zstd, a zstd layer
 * is decompressed here, and its compressed bytes are hashed here.
 */
import { createHash } from 'node:crypto';
import { throwIfAborted } from '../core/abort.ts';
import type { Capabilities } from '../system/caps.ts';
import {
  call,
  native,
  type Compression,
  type DirectoryKind,
  type LayerApplied,
  type LayerApply,
  type LayerLimits,
  type LayerTarget,
} from '../system/native.ts';
import { decompress, MAGIC_BYTES, sniff, unsupported } from './codec.ts';
import { abortable, feed } from './feed.ts';
import { readRange, type FileRange } from './range.ts';

/**
 * The source of a layer tar: its bytes, compressed or not, or a directory that is packed while it is read.
 */
export type LayerSource = FileRange | DirectorySource | AsyncIterable<Uint8Array>;

/** A directory, packed as in layer/diff.ts, without its root entry. All the work is on native threads. */
export interface DirectorySource {
  /** Absolute. */
  readonly directory: string;
  readonly kind: DirectoryKind;
  /** The latest time in the layer, in seconds since 1970. Later times are set to it. */
  readonly sourceDateEpoch?: number | undefined;
}

export interface ApplyOptions {
  readonly limits: LayerLimits;
  readonly caps: Pick<Capabilities, 'zstd'>;
  readonly signal?: AbortSignal | undefined;
  /** Receives the bytes read from the source so far; for a directory, the bytes of its tar. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/**
 * Writes and hashes the layer. Nothing is synced. After a rejection all work has
 * stopped, but the written files remain: the caller removes them.
 * @throws {@link LayerstackError} ERR_ABORTED; ERR_COMPRESSION_UNSUPPORTED; ERR_LAYER_INVALID,
 *   ERR_LAYER_TRUNCATED, ERR_LAYER_ESCAPE or ERR_LIMIT_EXCEEDED with `member`; system errors of the target;
 *   any error of the source.
 */
export async function applyLayer(
  source: LayerSource,
  target: LayerTarget,
  options: ApplyOptions,
): Promise<LayerApplied> {
  throwIfAborted(options.signal);
  if ('directory' in source) return applyDirectory(source, target, options);
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
  target: LayerTarget,
  options: ApplyOptions,
): Promise<LayerApplied> {
  return applyAlone(new native.LayerApply({ ...target, source, limits: options.limits }), options);
}

async function applyDirectory(
  { directory, kind, sourceDateEpoch }: DirectorySource,
  target: LayerTarget,
  options: ApplyOptions,
): Promise<LayerApplied> {
  const source = { directory, kind, latestMtime: sourceDateEpoch };
  return applyAlone(new native.LayerApply({ ...target, source, limits: options.limits }), options);
}

/** The interval at which the progress of native threads is read, when they read the source themselves. */
const LOOK_MS = 100;

/** Waits for native work that reads its source itself. */
async function applyAlone(
  apply: LayerApply,
  { signal, onProgress }: Pick<ApplyOptions, 'signal' | 'onProgress'>,
): Promise<LayerApplied> {
  const tell = (): void => onProgress?.(apply.bytesRead());
  const timer = onProgress && setInterval(tell, LOOK_MS);
  try {
    const applied = await abortable(apply, signal, () => call(apply.result));
    tell();
    return applied;
  } finally {
    clearInterval(timer);
  }
}

async function applyChunks(
  source: AsyncIterable<Uint8Array>,
  target: LayerTarget,
  options: ApplyOptions,
): Promise<LayerApplied> {
  const apply = new native.LayerApply({ ...target, limits: options.limits });
  let bytes = 0;
  const onChunk = (length: number): void => options.onProgress?.((bytes += length));
  return feed(source, apply, { signal: options.signal, onChunk });
}

async function applyDecompressed(
  source: AsyncIterable<Uint8Array>,
  target: LayerTarget,
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
