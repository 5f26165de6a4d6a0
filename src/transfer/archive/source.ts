/**
 * Opens an image archive: a folder, a file, or a stream. A plain tar is read by ranges. A compressed tar, or
 * a file that is not regular, is read as a stream.
 */
import { createReadStream } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { unlessAborted } from '../../core/abort.ts';
import { LayerstackError, isSystemError } from '../../core/errors.ts';
import type { OnProgress } from '../../core/progress.ts';
import { counted } from '../../core/tally.ts';
import { decompress } from '../../layer/codec.ts';
import type { Capabilities } from '../../system/caps.ts';
import { native } from '../../system/native.ts';
import type { Archive } from './archive.ts';
import { openFile } from './file.ts';
import { openFolder } from './folder.ts';
import { PeekStream } from './peek-stream.ts';
import { isTarBlock } from './sniff.ts';
import type { LayerPool } from '../ingest/layer-pool.ts';
import { readStream } from './stream.ts';
import { FORMAT_MEMBERS, notATar } from './unknown.ts';

/** Bytes of one read from a file; the default of 64 KiB costs measurable time. */
const READ_BYTES = 512 * 1024;

const BLOCK = 512;

export type ArchiveSource = string | AsyncIterable<Uint8Array>;

export interface OpenOptions {
  readonly sourceName: string;
  readonly pool: LayerPool;
  /** Maximum bytes of a stream, after decompression. */
  readonly maxBytes: number;
  readonly caps: Pick<Capabilities, 'zstd'>;
  /** Called with the number of bytes that have been read from a stream. */
  readonly onProgress?: OnProgress | undefined;
}

/**
 * Opens the archive. A stream has been read to its end on return.
 *
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a path that does not exist; ERR_ARCHIVE_INVALID
 *   for content that is not a tar; else the errors of the readers.
 */
export async function openArchive(source: ArchiveSource, options: OpenOptions): Promise<Archive> {
  if (typeof source !== 'string') return openStream(source, options);
  const kind = await statSource(source);
  if (kind.isDirectory()) return openFolder(source, FORMAT_MEMBERS);
  const file = await open(source);
  if (kind.isFile() && (await isPlainTar(file, options.sourceName))) {
    try {
      return await openFile(options.sourceName, file);
    } catch (error) {
      await file.close();
      throw error;
    }
  }
  // The stream closes the file.
  const total = kind.isFile() ? kind.size : undefined;
  return openStream(createReadStream('', { fd: file, highWaterMark: READ_BYTES }), options, total);
}

async function statSource(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) throw error;
    throw new LayerstackError('ERR_INVALID_ARGUMENT', `${path}: no such archive or folder`, {
      path,
      cause: error,
    });
  }
}

/** Returns false for a compressed file. */
async function isPlainTar(file: FileHandle, sourceName: string): Promise<boolean> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(BLOCK), 0, BLOCK, 0);
  const head = buffer.subarray(0, bytesRead);
  if (native.sniffCompression(head) !== 'none') return false;
  if (isTarBlock(head)) return true;
  await file.close();
  throw notATar(sourceName, head);
}

async function openStream(
  source: AsyncIterable<Uint8Array>,
  options: OpenOptions,
  total?: number,
): Promise<Archive> {
  const { sourceName, pool, maxBytes, caps, onProgress } = options;
  const outer = new PeekStream(counted(source, onProgress, total));
  let bytes = outer;
  try {
    const compression = native.sniffCompression(await unlessAborted(pool.signal, outer.peek(BLOCK)));
    if (compression !== 'none')
      bytes = new PeekStream(archiveErrors(sourceName, decompress(outer, compression, caps)));
    const head = await unlessAborted(pool.signal, bytes.peek(BLOCK));
    if (!isTarBlock(head)) throw notATar(sourceName, head);
    return await readStream(sourceName, bytes, pool, maxBytes);
  } finally {
    bytes.close();
    outer.close();
    if (source instanceof Readable) source.destroy();
  }
}

/** Rewrites errors of the archive's own compression, which are not errors of a layer. */
export async function* archiveErrors(
  sourceName: string,
  bytes: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    yield* bytes;
  } catch (error) {
    if (!LayerstackError.is(error)) throw error;
    const facts = { path: sourceName, cause: error };
    if (error.code === 'ERR_LAYER_TRUNCATED')
      throw new LayerstackError(
        'ERR_ARCHIVE_TRUNCATED',
        `${sourceName}: its compressed stream ends early; save or copy it again`,
        facts,
      );
    const code = error.code === 'ERR_LAYER_INVALID' ? 'ERR_ARCHIVE_INVALID' : error.code;
    throw new LayerstackError(code, `${sourceName}: ${error.message}`, facts);
  }
}
