/** Turns the system errors of a full disk into ERR_NO_SPACE. */
import { isSystemError, LayerstackError } from '../core/errors.ts';

/**
 * Returns `error`, or, for ENOSPC and EDQUOT, an ERR_NO_SPACE that has it as its cause.
 * @param path the path of the store, or of the written file
 * @param where the place in words, for the message
 */
export function spaceError(error: unknown, path: string, where = `in the store ${path}`): unknown {
  if (!isSystemError(error, 'ENOSPC', 'EDQUOT')) return error;
  const what =
    error.code === 'EDQUOT' ? 'the disk quota is used up' : 'the file system (or its inode table) is full';
  return new LayerstackError('ERR_NO_SPACE', `no space left ${where}: ${what}`, {
    path: error.path ?? path,
    syscall: error.syscall,
    cause: error,
  });
}
