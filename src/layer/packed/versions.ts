/**
 * The versions of a packed layer's two files, in its file `versions`. An index is mounted only where both
 * files are those that this code wrote. An index of another tar would show wrong contents, and the kernel
 * must never mount an EROFS image that layerstack did not write.
 */
import type { FileHandle } from 'node:fs/promises';

/** Returns the text of `versions` for two open files, when their last byte is written. */
export async function versionsOf(tar: FileHandle, index: FileHandle): Promise<string> {
  return `${await versionOf(tar)}\n${await versionOf(index)}\n`;
}

async function versionOf(file: FileHandle): Promise<string> {
  const { ino, size, mtimeNs } = await file.stat({ bigint: true });
  return `${String(ino)} ${String(size)} ${String(mtimeNs)}`;
}
