/**
 * Compresses a layer for a registry. The tar is rebuilt and verified as in `assembleLayer`, and compressed on
 * all processors (native/pipeline/compressor): to gzip members (with zlib to one), or to zstd frames. The
 * same layer, level and library give the same bytes on any number of processors. So a registry that has the
 * blob from an earlier push can be recognised by the digest.
 */
import { throwIfAborted } from '../core/abort.ts';
import type { Digest } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import type { Capabilities } from '../system/caps.ts';
import { call, native } from '../system/native.ts';
import { readAhead } from './read-ahead.ts';
import { nameLayer, type AssembleSource } from './assemble.ts';
import type { TarReader } from './tar-source.ts';

export type LayerCompression = 'gzip' | 'zstd';

export interface CompressOptions {
  readonly compression: LayerCompression;
  /** gzip 1 to 9 (default 4), zstd 1 to 19 (default 3). */
  readonly level?: number | undefined;
  /** Receives the bytes of the tar that the current read has compressed so far. */
  readonly onProgress?: ((tarBytes: number) => void) | undefined;
  /** Ends the current read. */
  readonly signal?: AbortSignal | undefined;
}

/** The compressed blob of a layer, known when its bytes have been read to the end. */
export interface CompressedBlob {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

/** The highest level of each method. */
const MOST_LEVEL = { gzip: 9, zstd: 19 } as const;

/**
 * Checks, before any layer is compressed, whether the method and the level are supported.
 * @throws {@link LayerstackError} ERR_COMPRESSION_UNSUPPORTED, ERR_INVALID_ARGUMENT for a level that does not
 *   exist.
 */
export function checkCompression(
  { compression, level }: CompressOptions,
  caps: Pick<Capabilities, 'zstd'>,
): void {
  const most = MOST_LEVEL[compression];
  if (level !== undefined && !(Number.isInteger(level) && level >= 1 && level <= most))
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${compression} does not have a level ${String(level)}: use 1 (fastest) to ${most} (smallest)`,
      { found: String(level), limit: most },
    );
  if (compression === 'zstd' && caps.zstd !== 'native')
    throw new LayerstackError(
      'ERR_COMPRESSION_UNSUPPORTED',
      'zstd is not available: neither this Node nor the system has a library for it; install libzstd1, use Node >= 22.15, or gzip',
      { found: compression },
    );
}

/** A layer's compressed bytes, which can be read more than once. */
export class CompressedLayer {
  readonly #reader: TarReader;
  readonly #options: CompressOptions;
  readonly #caps: Pick<Capabilities, 'gzip'>;
  #blob: CompressedBlob | undefined;

  constructor(reader: TarReader, options: CompressOptions, caps: Pick<Capabilities, 'gzip'>) {
    this.#reader = reader;
    this.#caps = caps;
    this.#options = options;
  }

  /**
   * Yields the bytes from the offset `from`. Each call compresses from the start. It ends without an error
   * only if the tar's digest is right.
   * @throws {@link LayerstackError} (while iterating) ERR_STORE_CORRUPT, naming the layer and, where a file
   *   is at fault, the `member`; ERR_COMPRESSION_UNSUPPORTED without a library for zstd; ERR_INVALID_ARGUMENT
   *   for a bad level; ERR_ABORTED.
   */
  async *read(from = 0): AsyncGenerator<Uint8Array, void, undefined> {
    let skip = from;
    for await (const chunk of readAhead(this.#reader((source) => this.#compress(source)))) {
      if (chunk.length > skip) yield skip === 0 ? chunk : chunk.subarray(skip);
      skip = Math.max(0, skip - chunk.length);
    }
  }

  /** @throws {@link LayerstackError} ERR_INTERNAL before {@link read} has ended. */
  get blob(): CompressedBlob {
    if (this.#blob !== undefined) return this.#blob;
    throw new LayerstackError(
      'ERR_INTERNAL',
      'the digest of a layer is known only after all its bytes are read',
    );
  }

  async *#compress(source: AssembleSource): AsyncGenerator<Uint8Array, void, undefined> {
    const { compression, level = 0, onProgress, signal } = this.#options;
    const { gzip } = this.#caps;
    const compressor = new native.LayerCompressor({ ...source, compression, gzip, level });
    const stop = (): void => compressor.close();
    signal?.addEventListener('abort', stop, { once: true });
    let size = 0;
    let tarBytes = 0;
    try {
      for (;;) {
        throwIfAborted(signal);
        const piece = await call(compressor.read());
        throwIfAborted(signal);
        size += piece.chunk.length;
        tarBytes += piece.tarBytes;
        if (piece.digest !== undefined) this.#blob = { digest: piece.digest as Digest, size };
        onProgress?.(tarBytes);
        if (piece.chunk.length > 0) yield piece.chunk;
        if (piece.digest !== undefined) return;
      }
    } catch (error) {
      throw nameLayer(error, source);
    } finally {
      signal?.removeEventListener('abort', stop);
      compressor.close();
    }
  }
}
