/** Makes files that have no name, so that they end with the process or the mount that holds them. */
import { constants } from 'node:fs';
import { open, unlink, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isSystemError } from '../core/errors.ts';
import { randomName } from '../core/random.ts';

/** Node has no name for it. */
const O_TMPFILE = 0o20000000;

/**
 * Opens an empty file without a name on the directory's file system. Where that cannot have one, the file is
 * in the directory of temporary files, and its name is removed at once.
 */
export async function unnamedFile(directory: string): Promise<FileHandle> {
  const { O_RDWR, O_CREAT, O_EXCL, O_DIRECTORY } = constants;
  try {
    return await open(directory, O_TMPFILE | O_DIRECTORY | O_RDWR, 0o600);
  } catch (error) {
    if (!isSystemError(error, 'EOPNOTSUPP', 'EISDIR', 'ENOENT', 'EROFS')) throw error;
  }
  const path = join(tmpdir(), `.layerstack-index-${randomName(8).toString('hex')}`);
  const file = await open(path, O_RDWR | O_CREAT | O_EXCL, 0o600);
  await unlink(path).catch(async (error: unknown) => {
    await file.close();
    throw error;
  });
  return file;
}
