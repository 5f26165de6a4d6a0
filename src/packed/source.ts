/**
 * Opens an archive whose layers are read in place: a file, or an OCI layout folder. A file that is compressed
 * as a whole is inflated once. Where the file system can clone files (FICLONE), a clone is read, which no
 * other process can change.
 */
import { constants } from 'node:fs';
import { copyFile, open, realpath, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError, LayerstackError, unlessMissing } from '../core/errors.ts';
import { decompress, unsupported } from '../layer/codec.ts';
import { readRange } from '../layer/range.ts';
import type { Capabilities } from '../system/caps.ts';
import { native } from '../system/native.ts';
import type { Archive } from '../transfer/archive/archive.ts';
import { openFile } from '../transfer/archive/file.ts';
import { openFolder } from '../transfer/archive/folder.ts';
import { isTarBlock } from '../transfer/archive/sniff.ts';
import { archiveErrors } from '../transfer/archive/source.ts';
import { FORMAT_MEMBERS, notATar } from '../transfer/archive/unknown.ts';
import { changed, versionOf, type FileVersion } from './file-version.ts';
import { inflate, type InflateOptions } from './inflate.ts';
import type { Place } from './place.ts';

const READ_ONLY = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const BLOCK = 512;

export interface SourceOptions extends InflateOptions {
  readonly caps: Pick<Capabilities, 'zstd'>;
}

export interface ArchiveInPlace {
  readonly archive: Archive;
  readonly isFolder: boolean;
  /** The version of the file, or of a folder's documents. */
  readonly versions: readonly FileVersion[];
  readonly notices: readonly string[];
  close(): Promise<void>;
}

/**
 * Returns the canonical path of an archive.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where it does not exist.
 */
export async function resolveArchive(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) throw error;
    throw new LayerstackError('ERR_INVALID_ARGUMENT', `${path}: no such archive or folder`, {
      path,
      cause: error,
    });
  }
}

/**
 * Opens the archive at a canonical path.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT unless it is a file or a folder; ERR_ARCHIVE_CHANGED
 *   while another process has it locked; ERR_ARCHIVE_INVALID, ERR_ARCHIVE_TRUNCATED,
 *   ERR_COMPRESSION_UNSUPPORTED; the errors of inflating.
 */
export async function openInPlace(
  path: string,
  place: Place,
  options: SourceOptions,
): Promise<ArchiveInPlace> {
  const file = await open(path, READ_ONLY);
  try {
    const facts = await file.stat();
    if (facts.isFile()) return await openTar(path, file, place, options);
    if (!facts.isDirectory())
      throw new LayerstackError(
        'ERR_INVALID_ARGUMENT',
        `${options.sourceName}: only a file or a folder can be mounted in place: load the archive into a store instead`,
        { path },
      );
  } catch (error) {
    await file.close();
    throw error;
  }
  await file.close();
  const versions = await documentVersions(path);
  const archive = await openFolder(path, FORMAT_MEMBERS);
  return { archive, isFolder: true, versions, notices: [], close: () => archive.close() };
}

/**
 * Returns the versions of the documents that name a folder's images: a tool replaces them to change an image.
 */
async function documentVersions(folder: string): Promise<FileVersion[]> {
  const versions: FileVersion[] = [];
  for (const name of FORMAT_MEMBERS) {
    const path = join(folder, name);
    const file = await unlessMissing(open(path, READ_ONLY));
    if (file === undefined) continue;
    try {
      versions.push(await versionOf(path, () => file.stat({ bigint: true })));
    } finally {
      await file.close();
    }
  }
  return versions;
}

async function openTar(
  path: string,
  file: FileHandle,
  place: Place,
  options: SourceOptions,
): Promise<ArchiveInPlace> {
  const { sourceName } = options;
  lockShared(sourceName, path, file.fd);
  const version = await versionOf(path, () => file.stat({ bigint: true }));
  const compression = await compressionOf(sourceName, file);
  const notices: string[] = [];
  let own: FileHandle | undefined;
  if (compression === 'none') own = await clone(file, place);
  else {
    const range = { fd: file.fd, offset: 0, size: Number(version.size) };
    const bytes = archiveErrors(sourceName, decompress(readRange(range), compression, options.caps));
    const inflated = await inflate(bytes, place, options);
    own = inflated.file;
    notices.push(`The archive is compressed: it was inflated into ${String(inflated.size)} bytes of disk`);
  }
  try {
    const archive = await openFile(sourceName, own ?? file);
    const close = async (): Promise<void> => {
      await own?.close();
      await file.close();
    };
    return { archive, isFolder: false, versions: [version], notices, close };
  } catch (error) {
    await own?.close();
    throw error;
  }
}

/**
 * Takes a shared lock on the file. So a file is not read while a program writes it under a lock, and a
 * program that wants the lock waits until the file is read.
 */
export function lockShared(sourceName: string, path: string, fd: number): void {
  try {
    if (native.tryFlock(fd, false)) return;
  } catch (error) {
    // Some network file systems have no locks. The version of the file shows changes all the same.
    if (isSystemError(error, 'ENOLCK', 'EOPNOTSUPP')) return;
    throw error;
  }
  throw changed(sourceName, path, 'is locked by a program that writes it');
}

async function compressionOf(sourceName: string, file: FileHandle): Promise<'none' | 'gzip' | 'zstd'> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(BLOCK), 0, BLOCK, 0);
  const head = buffer.subarray(0, bytesRead);
  const compression = native.sniffCompression(head);
  if (compression === 'none' && !isTarBlock(head)) throw notATar(sourceName, head);
  if (compression === 'bzip2' || compression === 'xz') throw unsupported(compression);
  return compression;
}

/**
 * Returns a clone of the file, in which no later write is visible; undefined where the file system cannot
 * clone.
 */
async function clone(file: FileHandle, place: Place): Promise<FileHandle | undefined> {
  const path = place.newName();
  try {
    await copyFile(`/proc/self/fd/${String(file.fd)}`, path, constants.COPYFILE_FICLONE_FORCE);
  } catch (error) {
    if (isSystemError(error)) return undefined;
    throw error;
  }
  return place.openUnnamed(path, constants.O_RDONLY);
}
