/** A full disk, told as one: system errors of the store's writers that mean "no space" become ERR_NO_SPACE. */
import { isSystemError, LayerstackError } from '../core/errors.ts';

/** `error`, or, for ENOSPC and EDQUOT, an ERR_NO_SPACE that has it as its cause. */
export function spaceError(error: unknown, root: string): unknown {
  if (!isSystemError(error, 'ENOSPC', 'EDQUOT')) return error;
  const what =
    error.code === 'EDQUOT' ? 'the disk quota is used up' : 'the file system (or its inode table) is full';
  return new LayerstackError('ERR_NO_SPACE', `no space left in the store ${root}: ${what}`, {
    path: error.path ?? root,
    syscall: error.syscall,
    cause: error,
  });
}
