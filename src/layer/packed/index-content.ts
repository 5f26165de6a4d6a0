/**
 * Finds out whether an index belongs to a layer's tar. The kernel shows what an index says, so an index of
 * another tar would show wrong contents.
 */
import type { FileHandle } from 'node:fs/promises';
import { throwIfAborted } from '../../core/abort.ts';
import { hexOf, type DiffID } from '../../core/digest.ts';
import { call, native } from '../../system/native.ts';
import { unnamedFile } from '../../system/unnamed-file.ts';
import { OWN_LAYER_LIMITS } from '../limits.ts';

/** The place of EROFS's superblock, and its fields that lead to the table of devices. */
const SUPERBLOCK = { at: 1024, size: 128, magic: 0xe0f5e1e2, deviceCount: 86, deviceSlot: 88 } as const;
const SLOT_BYTES = 128;
const TAG_BYTES = 64;
const PIECE_BYTES = 1 << 20;

/** Returns whether the index names the layer's DiffID as its only device, as layerstack writes it. */
export async function hasTag(index: FileHandle, diffId: DiffID): Promise<boolean> {
  const superblock = await readAt(index, SUPERBLOCK.at, SUPERBLOCK.size);
  if (superblock.length < SUPERBLOCK.size || superblock.readUInt32LE(0) !== SUPERBLOCK.magic) return false;
  if (superblock.readUInt16LE(SUPERBLOCK.deviceCount) !== 1) return false;
  const slot = superblock.readUInt16LE(SUPERBLOCK.deviceSlot) * SLOT_BYTES;
  return (await readAt(index, slot, TAG_BYTES)).toString('latin1') === hexOf(diffId);
}

export interface IndexFiles {
  readonly tar: FileHandle;
  readonly index: FileHandle;
  /** Where the index is made again; without a place there, in the directory of temporary files. */
  readonly directory: string;
}

/**
 * Returns whether the index is the one that the tar gives. The same tar always gives the same bytes. Reads
 * the headers of the tar and the whole index.
 * @throws {@link LayerstackError} ERR_ABORTED; ERR_LAYER_INVALID and similar codes for a damaged tar;
 *   system errors.
 */
export async function isIndexOf(
  { tar, index, directory }: IndexFiles,
  diffId: DiffID,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  throwIfAborted(signal);
  await using expected = await unnamedFile(directory);
  const { size } = await tar.stat();
  const writing = new native.ErofsIndex({
    fd: expected.fd,
    devices: [{ fd: tar.fd, size, tag: hexOf(diffId) }],
    layers: [{ device: 0, offset: 0, size }],
    hashed: false,
    whole: false,
    limits: OWN_LAYER_LIMITS,
  });
  const abort = (): void => writing.abort();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    await call(writing.result);
  } finally {
    signal?.removeEventListener('abort', abort);
  }
  return await areEqual(expected, index, signal);
}

async function areEqual(a: FileHandle, b: FileHandle, signal: AbortSignal | undefined): Promise<boolean> {
  const { size } = await a.stat();
  if (size !== (await b.stat()).size) return false;
  for (let at = 0; at < size; at += PIECE_BYTES) {
    throwIfAborted(signal);
    const [one, other] = await Promise.all([readAt(a, at, PIECE_BYTES), readAt(b, at, PIECE_BYTES)]);
    if (!one.equals(other)) return false;
  }
  return true;
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(length), position });
  return buffer.subarray(0, bytesRead);
}
